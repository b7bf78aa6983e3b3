"""Words as masks: with mask registers and without, the same additions."""

import numpy as np
import pytest
from llvmlite import ir
from numba import njit

from rsrp_lava.kernels import lanes
from rsrp_lava.kernels.lanes import add_rows_where, add_where, aligned_zeros
from rsrp_lava.kernels.release import unpack_bits


@pytest.fixture(params=[True, False], ids=["mask registers", "spread bits"])
def registers(request, monkeypatch):
    monkeypatch.setattr(lanes, "_has_mask_registers", lambda context: request.param)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
def test_add_where_adds_where_bits_are_set(registers, dtype):
    @njit
    def add(totals, words, amount):
        for w in range(words.shape[0]):
            add_where(totals, 64 * w, words[w], amount)

    random = np.random.default_rng(1)
    words = np.array([0, 2**64 - 1, 1, 2**63, *random.integers(0, 2**64, 5, np.uint64)], np.uint64)
    totals = aligned_zeros(64 * len(words), dtype)
    totals[:] = random.integers(-100, 100, len(totals))
    ref = totals + np.where(unpack_bits(words, (1, len(totals)))[0], dtype(-3), dtype(0))
    add(totals, words, dtype(-3))
    np.testing.assert_array_equal(totals, ref)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_rows_are_added_where_their_bits_are_set_in_order(registers, dtype):
    """Floating-point sums depend on their order, and on nothing being added where a bit is not set."""

    @njit
    def add(totals, values, rows, first, stride):
        add_rows_where(totals, values, rows, first, stride)

    random = np.random.default_rng(2)
    rows = random.integers(0, 2**64, 40 * 3, np.uint64)
    values = (random.normal(size=39) * 10.0 ** random.integers(-3, 4, 39)).astype(dtype)
    values[:4] = [0, -0.0, 7, -7]
    totals = aligned_zeros(64, dtype)
    ref = totals.copy()
    for k, value in enumerate(values):
        bits = unpack_bits(rows[2 + 3 * k : 3 + 3 * k], (1, 64))[0].astype(bool)
        ref[bits] += value
    add(totals, values, rows, 2, 3)
    np.testing.assert_array_equal(totals.view(np.uint32), ref.view(np.uint32))
    add(totals, values[:0], rows, 2, 3)
    np.testing.assert_array_equal(totals.view(np.uint32), ref.view(np.uint32))


@pytest.mark.parametrize(("row_words", "bits"), [(1, 16), (4, 8), (4, 16)])
def test_rows_of_spiking_neurons_are_counted_by_sign(registers, row_words, bits):
    sum_rows = lanes._signed_row_sum(row_words, ir.IntType(bits))

    @njit
    def count(spikes, excitatory, rows, out):
        sum_rows(spikes, excitatory, rows, row_words, 0, out)

    random = np.random.default_rng(2)
    spikes, excitatory = random.integers(0, 2**64, (2, 3), np.uint64)
    rows = aligned_zeros(64 * 3 * row_words, np.uint64)
    rows[:] = random.integers(0, 2**64, len(rows), np.uint64)
    out = aligned_zeros(64 * row_words, np.int16)
    count(spikes, excitatory, rows, out)
    fired, excites = (unpack_bits(words, (1, 192))[0] for words in (spikes, excitatory))
    released = unpack_bits(rows, (192, 64 * row_words)).astype(int)
    np.testing.assert_array_equal(out, np.where(excites, 1, -1)[fired] @ released[fired])
