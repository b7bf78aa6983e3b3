"""The network in JAX, in the manner of the released code: float32 products with the sampled synapses of every network.

Written from the equations (docs/kernels.md, rsrp_lava/network.py). JAX plays the population as one array program: `vmap`
over networks, `scan` over simulation steps, compiled by `jit`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.network import trained
from benchmarks.timing import alternate
from rsrp_lava.network import Network, ReleaseProbabilities

_POPULATION = 2048
#: Networks JAX plays at a time: a generation of 1,024 or 256, and few enough for their synapses to stay in a cache.
_AT_A_TIME = (1024, 256, 64, 16)


def against_jax(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """Ours, whole episodes with draws and physics, against JAX's simulation steps alone, on the same processors."""
    label = "network-substep (256 neurons), against JAX"
    if importlib.util.find_spec("jax") is None:
        yield (label, "—", "—", "—", "not measured: JAX is not installed (extra jax)")
        return
    os.environ.setdefault("NPROC", str(threads))  # XLA's threads; read when it starts
    engine, probabilities, normaliser = trained(threads)
    substeps = engine.network.substeps
    steps = engine.play(probabilities, normaliser, 0, _POPULATION).steps.sum() * substeps
    for networks in _AT_A_TIME:
        batch = JaxBatch.drawn(engine.network, probabilities, networks)
        observations = np.random.default_rng(0).normal(size=(networks, 4)).astype(np.float32)
        calls = max(1, 256 // networks)
        ours, other, ratio = alternate(
            lambda: engine.play(probabilities, normaliser, 0, _POPULATION),
            lambda batch=batch, x=observations, calls=calls: [batch.environment_step(x) for _ in range(calls)],
            rounds,
        )
        done = networks * substeps * calls
        row = (f"{ours / steps * 1e9:.1f} ns", f"{other / done * 1e9:,.0f} ns", f"{ratio * steps / done:.0f} ×")
        yield (label, *row, f"JAX, {networks} networks at a time")
    engine.close()


class JaxBatch:
    """Networks whose synapses are dense float32 matrices, 0 or 1.

    i = R_in [x, −x] θ_in                                             constant during an environment step
    u ← α_syn u + R (s ∘ spike) θ,   v ← α_mem v + (1 − α_mem) (v_reset + u + i)
    spike = [v > v_threshold],   v ← v_reset where it spikes
    rate ← α_out rate + (1 − α_out)/dt (s ∘ spike),   output = R_out rate θ_out     s: ±1, the sign of a neuron
    """

    def __init__(self, network: Network, synapses: tuple[np.ndarray, ...], v: np.ndarray | None = None) -> None:
        """`synapses`: of every projection, shape (networks, n_pre, n_post), 0 or 1; `v`: potentials at first, else 0."""
        import jax.numpy as jnp

        self.synapses = tuple(jnp.asarray(each, jnp.float32) for each in synapses)
        shape = (len(synapses[0]), network.options.n_neurons)
        nothing = jnp.zeros(shape, jnp.float32)
        self.state = (nothing, nothing if v is None else jnp.asarray(v, jnp.float32), nothing, nothing)
        self._step = _compiled(network)

    @classmethod
    def drawn(cls, network: Network, probabilities: ReleaseProbabilities, networks: int) -> JaxBatch:
        """Synapses drawn by JAX itself."""
        import jax

        keys = jax.random.split(jax.random.key(0), len(probabilities))
        return cls(
            network,
            tuple(
                jax.random.bernoulli(key, rho, (networks, *rho.shape))
                for key, rho in zip(keys, probabilities.values(), strict=True)
            ),
        )

    def environment_step(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The simulation steps of one environment step with the observations x, float32, shape (networks, n_inputs).

        Returns
        -------
        outputs, float32, shape (networks, n_outputs);  spikes, float32, shape (networks, simulation steps): of every network
        how many neurons spiked
        """
        self.state, output, spikes = self._step(self.synapses, self.state, x)
        return output.block_until_ready(), spikes


def _compiled(network: Network) -> Any:
    """(synapses, state, x) → (state, output, number of spikes), of all networks."""
    import jax
    import jax.numpy as jnp

    o, f = network.options, np.float32
    a_syn, a_mem, a_out = (f(network.decay(tau)) for tau in (o.tau_syn_ms, o.tau_mem_ms, o.tau_out_ms))
    r_in, r, r_out = f(network.input_weight), f(network.recurrent_weight), f(network.output_weight)
    signs = jnp.asarray(np.where(network.excitatory, 1, -1), jnp.float32)

    def environment_step(synapses: Any, state: Any, x: Any) -> Any:
        into, recurrent, readout = synapses
        drive = r_in * (jnp.concatenate([x, -x]) @ into)

        def substep(state: Any, _: None) -> Any:
            u, v, rate, signed = state
            u = a_syn * u + r * (signed @ recurrent)
            v = a_mem * v + (1 - a_mem) * (f(o.v_reset) + u + drive)
            spike = v > f(o.v_threshold)
            v, signed = jnp.where(spike, f(o.v_reset), v), spike * signs
            rate = a_out * rate + (1 - a_out) / f(o.dt_ms) * signed
            return (u, v, rate, signed), spike.sum()

        state, spikes = jax.lax.scan(substep, state, None, length=network.substeps)
        return state, r_out * (state[2] @ readout), spikes

    return jax.jit(jax.vmap(environment_step))


__all__ = ["JaxBatch", "against_jax"]
