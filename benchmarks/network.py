"""One simulation step of one network, in whole CartPole episodes of a population: draws, physics and readout included."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.timing import alternate, seconds
from rsrp_lava import Experiment, train
from rsrp_lava.engines import open_engine
from rsrp_lava.engines.protocol import Engine
from rsrp_lava.network import Network, ReleaseProbabilities
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.threads import Threads

_POPULATION = 2048
#: Networks NumPy simulates together; 256 KiB of synapses each, so more would only leave the cache further behind.
_NUMPY_NETWORKS = 64


def trained(threads: int) -> tuple[Engine, ReleaseProbabilities, Normaliser]:
    """A network that balances for hundreds of steps, so that episodes are as long as they are in most of training."""
    experiment = Experiment(task="cartpole", population=256, generations=15)
    result = train(experiment, threads=threads)
    engine = open_engine(experiment, Threads(threads))
    engine.prepare(None)
    normaliser = Normaliser.start(engine.network.n_inputs)
    for generation in range(3):
        normaliser = normaliser.update(engine.play(result.probabilities, normaliser, generation, 64).observations)
    return engine, result.probabilities, normaliser


def against_numpy(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """Ours against float32 matrix products (BLAS) for a batch of networks."""
    engine, probabilities, normaliser = trained(threads)
    ours_steps = engine.play(probabilities, normaliser, 0, _POPULATION).steps.sum() * engine.network.substeps
    batch, substeps = NumpyBatch(engine.network, probabilities, _NUMPY_NETWORKS), 33
    observations = np.random.default_rng(0).normal(size=(_NUMPY_NETWORKS, 4)).astype(np.float32)
    ours, other, ratio = alternate(
        lambda: engine.play(probabilities, normaliser, 0, _POPULATION),
        lambda: batch.environment_step(observations, substeps),
        rounds,
    )
    ours_ns = ours / ours_steps * 1e9
    other_ns = other / (_NUMPY_NETWORKS * substeps) * 1e9
    ratio *= ours_steps / (_NUMPY_NETWORKS * substeps)
    label = f"network-substep (256 neurons, N = {_POPULATION})"
    yield (label, f"{ours_ns:.1f} ns", f"{other_ns:,.0f} ns", f"{ratio:.0f} ×", "NumPy, batched float32 matmul")


def fixed_point(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """Integers of profile loihi2 against floating point: one network, releases drawn with 16 bits in both."""
    floating, probabilities, normaliser = trained(threads)
    experiment = Experiment(task="cartpole", profile="loihi2", p_bits=16)
    integer = open_engine(experiment, Threads(threads))
    integer.prepare(None)
    arguments = (probabilities, normaliser, 0, _POPULATION)
    steps = [engine.play(*arguments).steps.sum() * engine.network.substeps for engine in (integer, floating)]
    ours, other, ratio = alternate(lambda: integer.play(*arguments), lambda: floating.play(*arguments), rounds)
    label = f"network-substep in integers (profile loihi2, N = {_POPULATION})"
    row = (f"{ours / steps[0] * 1e9:.1f} ns", f"{other / steps[1] * 1e9:.1f} ns", f"{ratio * steps[0] / steps[1]:.2f} ×")
    yield (label, *row, "floating point (ratio: other over ours)")


def against_lava(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """Ours against stock Lava processes, LIF with a recurrent Dense, one network as Lava runs it."""
    label = "network-substep, against Lava"
    if importlib.util.find_spec("lava") is None:
        yield (label, "—", "—", "—", "not measured: Lava is not installed (Python 3.10 only)")
        return
    engine, probabilities, normaliser = trained(threads)
    ours_steps = engine.play(probabilities, normaliser, 0, _POPULATION).steps.sum() * engine.network.substeps
    with StockLava(engine.network, probabilities) as lava:
        ours, other, ratio = alternate(
            lambda: engine.play(probabilities, normaliser, 0, _POPULATION), lambda: lava.run(500), rounds
        )
    ours_ns, other_ns = ours / ours_steps * 1e9, other / 500 * 1e9
    ratio *= ours_steps / 500
    yield (label, f"{ours_ns:.1f} ns", f"{other_ns:,.0f} ns", f"{ratio:,.0f} ×", "stock Lava LIF + Dense, one network")


def lava_population(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """One generation of whole episodes inside the Lava graph of this package, against stock Lava for one network."""
    label = f"network-substep inside Lava (N = {_POPULATION})"
    if importlib.util.find_spec("lava") is None:
        yield (label, "—", "—", "—", "not measured: Lava is not installed (Python 3.10 only)")
        return
    from rsrp_lava.engines.lava import LavaEngine
    from rsrp_lava.learners import State

    fused, probabilities, normaliser = trained(threads)
    experiment = Experiment(task="cartpole", population=_POPULATION, evaluation_episodes=1, generations=2, engine="lava")
    state = State.start(experiment)
    state.probabilities, state.normaliser = probabilities, normaliser
    lava = LavaEngine(experiment)
    try:
        lava.prepare(state)
        ours = seconds(lambda: lava.play(probabilities, normaliser, 0, 1, deterministic=True))
        played = lava.play(probabilities, normaliser, 0, _POPULATION).steps.sum() * lava.network.substeps
    finally:
        lava.close()
    with StockLava(fused.network, probabilities) as stock:
        other = statistics.median(seconds(lambda: stock.run(500)) for _ in range(rounds)) / 500
    ours /= played
    yield (
        label,
        f"{ours * 1e9:.0f} ns",
        f"{other * 1e9:,.0f} ns",
        f"{other / ours:,.0f} ×",
        "stock Lava LIF + Dense, one network",
    )


class NumpyBatch:
    """The network of rsrp_lava.network as anyone would write it in NumPy: one dense float32 matrix a network."""

    def __init__(self, network: Network, probabilities: ReleaseProbabilities, networks: int) -> None:
        random = np.random.default_rng(1)
        self.network = network
        signs = np.where(network.excitatory, 1, -1).astype(np.float32)
        self.input, self.recurrent, self.readout = (
            (random.random((networks, *rho.shape), np.float32) < rho).astype(np.float32) for rho in probabilities.values()
        )
        self.signs = signs
        neurons = network.options.n_neurons
        self.u, self.v, self.rate, self.spike = (np.zeros((networks, 1, neurons), np.float32) for _ in range(4))

    def environment_step(self, x: np.ndarray, substeps: int) -> np.ndarray:
        """`substeps` simulation steps with constant input `x`, shape (networks, n_inputs); returns the outputs."""
        n, o = self.network, self.network.options
        a_syn, a_mem, a_out = (np.float32(n.decay(tau)) for tau in (o.tau_syn_ms, o.tau_mem_ms, o.tau_out_ms))
        drive = np.float32(n.input_weight) * np.matmul(np.concatenate([x, -x], axis=1)[:, None, :], self.input)
        for _ in range(substeps):
            self.u = a_syn * self.u + np.float32(n.recurrent_weight) * np.matmul(self.spike, self.recurrent)
            self.v = a_mem * self.v + (1 - a_mem) * (np.float32(o.v_reset) + self.u + drive)
            fired = self.v > o.v_threshold
            self.v[fired] = o.v_reset
            self.spike = fired * self.signs
            self.rate = a_out * self.rate + (1 - a_out) / np.float32(o.dt_ms) * self.spike
        return np.float32(n.output_weight) * np.matmul(self.rate, self.readout)


class StockLava:
    """The same recurrent network from Lava's own processes."""

    def __init__(self, network: Network, probabilities: ReleaseProbabilities) -> None:
        from lava.magma.core.run_configs import Loihi2SimCfg
        from lava.proc.dense.process import Dense
        from lava.proc.lif.process import LIF

        o = network.options
        signs = np.where(network.excitatory, 1.0, -1.0)
        released = np.random.default_rng(2).random(probabilities["recurrent"].shape) < probabilities["recurrent"]
        lif = LIF(
            shape=(o.n_neurons,),
            du=1 - network.decay(o.tau_syn_ms),
            dv=1 - network.decay(o.tau_mem_ms),
            vth=o.v_threshold / (1 - network.decay(o.tau_mem_ms)),
            bias_mant=1.5 * np.random.default_rng(3).random(o.n_neurons),
        )
        dense = Dense(weights=(network.recurrent_weight * released * signs[:, None]).T)
        lif.s_out.connect(dense.s_in)
        dense.a_out.connect(lif.a_in)
        self._lif, self._config = lif, Loihi2SimCfg(select_tag="floating_pt")

    def __enter__(self) -> StockLava:
        self.run(1)
        time.sleep(0.5)
        return self

    def run(self, steps: int) -> None:
        """Run that many steps."""
        from lava.magma.core.run_conditions import RunSteps

        self._lif.run(condition=RunSteps(num_steps=steps), run_cfg=self._config)

    def __exit__(self, *error: object) -> None:
        self._lif.stop()
