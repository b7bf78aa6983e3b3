"""The first layer of the MNIST network, 784 to 64 with weights of ±1, for many networks and a batch of 64 images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.timing import alternate
from rsrp_lava.kernels.binary_layer import batch_table, signed_sums
from rsrp_lava.kernels.release import bit_planes, draw_release, unpack_bits
from rsrp_lava.threads import Threads

_INPUTS, _OUTPUTS, _BATCH = 784, 64, 64
_NETWORKS, _BLAS_NETWORKS, _PIECE = 1024, 64, 16
_PRODUCTS = _INPUTS * _OUTPUTS * _BATCH  # multiply-adds a network


def forward(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """Ours on bits, the same integers as BLAS on stored float32 matrices of ±1; then ours with the draw of its bits."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (_INPUTS, _BATCH)).astype(np.uint8)  # brighter than MNIST: several segments
    planes = bit_planes(random.uniform(0.01, 0.99, (_OUTPUTS, _INPUTS)).astype(np.float32), 16)
    rows = np.empty((_NETWORKS, planes.shape[1]), np.uint64)
    total = np.empty((_NETWORKS, _OUTPUTS, _BATCH), np.int32)
    pool = Threads(threads)

    def draw(first: int, last: int) -> None:
        for network in range(first, last):
            draw_release(planes, 0, 0, network, 0, rows[network])

    def multiply(first: int, last: int) -> None:
        signed_sums(table, rows[first:last].reshape(-1), total[first:last].reshape(-1, _BATCH))

    def both(first: int, last: int) -> None:
        draw(first, last)
        multiply(first, last)

    table = batch_table(images)
    pool.map_ranges(draw, _NETWORKS, _PIECE)
    shape = (_BLAS_NETWORKS * _OUTPUTS, _INPUTS)
    weights = 2 * unpack_bits(rows[:_BLAS_NETWORKS].ravel(), shape).astype(np.float32) - 1
    pixels = images.astype(np.float32)

    def ours() -> np.ndarray:
        table = batch_table(images)  # a batch a step, so its table counts
        pool.map_ranges(multiply, _NETWORKS, _PIECE)
        return table.sums

    ours_s, blas_s, ratio = alternate(ours, lambda: weights @ pixels, rounds)
    if not np.array_equal((weights @ pixels).astype(np.int32), total[:_BLAS_NETWORKS].reshape(-1, _BATCH)):
        raise RuntimeError("the table and BLAS disagree")
    both_s, _, _ = alternate(lambda: pool.map_ranges(both, _NETWORKS, _PIECE), lambda: None, rounds)
    pool.close()
    ours_rate, blas_rate, both_rate = (
        networks * _PRODUCTS / seconds / 1e9
        for networks, seconds in ((_NETWORKS, ours_s), (_BLAS_NETWORKS, blas_s), (_NETWORKS, both_s))
    )
    ratio *= _NETWORKS / _BLAS_NETWORKS
    note = f"BLAS float32, stored ±1 ({4 * _INPUTS * _OUTPUTS // 1024} KiB a network), G multiply-adds/s"
    yield ("binary layer 784-64, batch 64", f"{ours_rate:.0f} G/s", f"{blas_rate:.0f} G/s", f"{ratio:.1f} ×", note)
    yield ("binary layer with its draw", f"{both_rate:.0f} G/s", "—", "—", "16-bit probabilities, nothing is stored")
