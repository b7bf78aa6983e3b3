"""Time that is not arithmetic: calls of short episodes from Python, and passes over the synapses of a large network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba import njit, types

from benchmarks.timing import alternate
from rsrp_lava import Experiment
from rsrp_lava.engines.fused import FusedEngine
from rsrp_lava.kernels.release import bit_planes, pack_bits, thresholds
from rsrp_lava.kernels.rollout import OBSERVE_SIGNATURE, RESET_SIGNATURE, STEP_SIGNATURE, play_episodes
from rsrp_lava.learners import open_learner
from rsrp_lava.learners.population import PopulationLearner
from rsrp_lava.learning.rsrp import entropy_bits
from rsrp_lava.learning.transforms import centered_rank
from rsrp_lava.threads import Threads

_POPULATION = 2048
_LARGE, _SAMPLES, _P_BITS = 4096, 32, 16


@njit(nogil=True)
def _take(functions):
    return len(functions)


class _ResolvingEngine(FusedEngine):
    """Has Numba look up the task's functions at every call, as passing the functions themselves does."""

    def prepare(self, start: object = None) -> None:
        """Before the threads ask: `_take` is compiled once."""
        signatures = (RESET_SIGNATURE, OBSERVE_SIGNATURE, STEP_SIGNATURE)
        _take.compile((types.Tuple([types.FunctionType(signature) for signature in signatures]),))
        _take.disable_compile()

    @property
    def _functions(self) -> Any:  # type: ignore[override]
        _take((self.task.reset, self.task.observe, self.task.step))
        return super()._functions


def short_episodes(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """Generation 0 of CartPole, about 20 steps per episode, with functions held and with functions resolved per call."""
    with _learner(Experiment(task="cartpole", population=_POPULATION), threads) as learner:
        engine, state = learner.engine, learner.state
        assert isinstance(engine, FusedEngine)
        resolving = _ResolvingEngine(
            engine.network, engine._constants, engine.task, engine.seed, engine.draw, engine.threads
        )
        resolving.prepare()

        def play(engine: FusedEngine) -> Callable[[], object]:
            return lambda: engine.play(state.probabilities, state.normaliser, 0, _POPULATION)

        ours, other, ratio = alternate(play(engine), play(resolving), rounds)
        shown = (f"{seconds / _POPULATION * 1e6:.1f} µs" for seconds in (ours, other))
        yield ("sample of generation 0 (CartPole)", *shown, f"{ratio:.2f} ×", "functions resolved at every call")
        nothing = (*engine._arguments(state.probabilities, state.normaliser, 0, False), engine.task.open_state().values)
        tally = engine._tally(0)
        ours, other, ratio = alternate(
            lambda: [play_episodes(engine._functions, *nothing, (0, 0), tally) for _ in range(100)],
            lambda: [play_episodes(resolving._functions, *nothing, (0, 0), tally) for _ in range(100)],
            rounds,
        )
        shown = (f"{seconds / 100 * 1e6:.1f} µs" for seconds in (ours, other))
        yield ("a call of its kernel, no sample", *shown, f"{ratio:.0f} ×", "functions resolved at every call")


def large_network(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """Passes over the synapses of 4,096 neurons, against the same arithmetic in whole arrays on one thread."""
    pool, random = Threads(threads), np.random.default_rng(0)
    rho = random.uniform(0.01, 0.99, (_LARGE, _LARGE)).astype(np.float32)
    broadcast, rule = centered_rank(random.random(_SAMPLES)), Experiment(population=_SAMPLES).build_rule()
    credit, state = random.integers(-99, 99, rho.shape).astype(float), rule.start(rho.shape)
    for what, ours, other in (
        ("bit planes", lambda: bit_planes(rho, _P_BITS, pool.map_ranges), lambda: _planes_of_arrays(rho, _P_BITS)),
        (
            "update",
            lambda: rule.update(rho, credit, broadcast, state, map_ranges=pool.map_ranges),
            lambda: rule.update(rho, credit, broadcast, state, map_ranges=_at_once),
        ),
        ("entropy", lambda: entropy_bits(rho, pool.map_ranges), lambda: entropy_bits(rho, _at_once)),
    ):
        mine, theirs, ratio = alternate(ours, other, rounds)
        shown = (f"{seconds / rho.size * 1e9:.1f} ns" for seconds in (mine, theirs))
        yield (f"{what}, per synapse (4,096 neurons)", *shown, f"{ratio:.1f} ×", "in whole arrays, one thread")
    pool.close()
    experiment = Experiment(task="cartpole", population=_SAMPLES, network={"n_neurons": _LARGE})
    with _learner(experiment, threads) as learner:
        before = learner.state
        played = learner.engine.play(before.probabilities, before.normaliser, 0, _SAMPLES)
        mine, theirs, ratio = alternate(
            lambda: learner._learn(played),
            lambda: learner.engine.play(before.probabilities, before.normaliser, 0, _SAMPLES),
            rounds,
        )
        label = f"learning of a generation (4,096 neurons, N = {_SAMPLES})"
        yield (label, f"{mine:.2f} s", f"{theirs:.2f} s", f"{ratio:.1f} ×", "playing it (generation 0)")


@contextmanager
def _learner(experiment: Experiment, threads: int) -> Iterator[PopulationLearner]:
    learner = open_learner(experiment, Threads(threads))
    assert isinstance(learner, PopulationLearner)
    learner.prepare()
    try:
        yield learner
    finally:
        learner.close()


def _at_once(work: Callable[[int, int], None], n: int, piece: int) -> None:
    """`MapRanges` of one call."""
    work(0, n)


def _planes_of_arrays(probability: np.ndarray, p_bits: int) -> np.ndarray:
    """`bit_planes` as array operations; p_bits a multiple of 4, and no probability of 0 or 1."""
    codes = thresholds(probability, p_bits)
    return np.stack([pack_bits(codes == 2**p_bits), *(pack_bits((codes >> bit) & 1 == 1) for bit in range(p_bits))])


__all__ = ["large_network", "short_episodes"]
