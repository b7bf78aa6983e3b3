"""Drawing releases and summing credit, a synapse and sample at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.timing import alternate
from rsrp_lava.kernels.release import bit_planes, draw_release
from rsrp_lava.learning.rsrp import release_credit
from rsrp_lava.learning.transforms import centered_rank
from rsrp_lava.threads import Threads

_SHAPE, _P_BITS = (256, 256), 16
_SYNAPSES = _SHAPE[0] * _SHAPE[1]
_PROBABILITY = np.random.default_rng(0).uniform(0.01, 0.99, _SHAPE).astype(np.float32)


def _draw(samples: int, pool: Threads) -> None:
    planes = bit_planes(_PROBABILITY, _P_BITS)

    def work(first: int, last: int) -> None:
        out = np.empty(planes.shape[1], np.uint64)
        for sample in range(first, last):
            draw_release(planes, 0, 0, sample, 0, out)

    pool.map_ranges(work, samples, 256)


def draws(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """Ours (exact in 16 bits, counter-based) against `Generator.random(float32) < p`."""
    pool, samples, numpy_samples = Threads(threads), 4096, 64
    generator = np.random.default_rng(1)
    ours, other, ratio = alternate(
        lambda: _draw(samples, pool),
        lambda: [generator.random(_SHAPE, np.float32) < _PROBABILITY for _ in range(numpy_samples)],
        rounds,
    )
    ours_ns, other_ns = ours / samples / _SYNAPSES * 1e9, other / numpy_samples / _SYNAPSES * 1e9
    ratio *= samples / numpy_samples
    pool.close()
    yield ("Bernoulli draw", f"{ours_ns:.3f} ns", f"{other_ns:.3f} ns", f"{ratio:.0f} ×", "NumPy random() < p, one thread")


def credit(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """Ours (drawing θ again and summing Σ u θ in integers), less the draw, against a BLAS product with stored θ."""
    pool, samples, numpy_samples = Threads(threads), 2048, 512
    broadcast = centered_rank(np.random.default_rng(2).random(samples))
    stored = (np.random.default_rng(3).random((numpy_samples, _SYNAPSES), np.float32) < 0.5).astype(np.float32)
    u = broadcast.units[:numpy_samples].astype(np.float32)
    planes = bit_planes(_PROBABILITY, _P_BITS)

    def ours() -> np.ndarray:
        return release_credit(_PROBABILITY, planes, broadcast, _P_BITS, (0, 0, 0), pool.map_ranges)

    both, blas, _ = alternate(ours, lambda: u @ stored, rounds)
    redraw, _, _ = alternate(lambda: _draw(samples, pool), lambda: None, rounds)
    total_ns, draw_ns = (value / samples / _SYNAPSES * 1e9 for value in (both, redraw))
    blas_ns = blas / numpy_samples / _SYNAPSES * 1e9
    pool.close()
    ours_ns = total_ns - draw_ns
    note = f"BLAS u @ θ on stored float32 θ ({4 * _SYNAPSES // 1024} KiB a sample)"
    yield ("credit, a synapse and sample", f"{ours_ns:.3f} ns", f"{blas_ns:.3f} ns", f"{blas_ns / ours_ns:.1f} ×", note)
    yield ("credit with its draw", f"{total_ns:.3f} ns", "—", "—", "nothing is stored: θ is drawn again")
