"""A layer of binary weights: sums of small integers that rows of bits select, for a whole batch at once.

All networks of a population see the same batch, so what weights can do with a few inputs is worked out once: a *table* of
the sums of every subset of 5, 5 and 6 inputs (of each 16), 32 images as lanes. A network then adds one table row, 64 bytes,
for every five or six of its weights (the "method of four Russians", Arlazarov, Dinic, Kronrod and Faradzhev 1970). Nothing
is multiplied and nothing is rounded: sums are integers, so any order and any split give the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .compiling import kernel
from .lanes import _pointer, _splat, aligned_zeros

#: Images a vector: 64 bytes of 16-bit sums, one register of AVX-512, two of AVX2.
LANES = 32
#: Inputs of a table row. A word of 64 takes 12 rows of a table of 32 KiB, about the first-level cache. Smaller groups add
#: more rows, larger ones fall out of the cache (docs/kernels.md).
GROUPS = (5, 5, 6)
PIECE = sum(GROUPS)
PIECE_ROWS = sum(2**group for group in GROUPS)
#: Rows of bits that pass over the table of one word before the next: their 64 KiB of sums stay in the second-level cache.
BLOCK_ROWS = 1024
#: Largest magnitude of an input: 64 of them fit in an unsigned 16-bit sum, 64 · 1,023 < 2^16.
LARGEST_INPUT = 1023

_I16, _I32, _I64 = (ir.IntType(bits) for bits in (16, 32, 64))
_SUMS, _TOTALS = ir.VectorType(_I16, LANES), ir.VectorType(_I32, LANES)


class BatchTable(NamedTuple):
    """Sums of subsets of a batch's inputs, from `batch_table`.

    Sums are kept modulo 2^16 over a *segment* of the inputs. If `low` is the sum of the segment's negative inputs, the sum
    of any of its inputs lies within low … low + Σ |x|; a segment ends before Σ |x| exceeds 65,535 for any image. So

        u = (Σ_i θ_i x_i − low) mod 2^16,  0 ≤ u < 2^16,        Σ_i θ_i x_i = low + u        exactly.

    Pixels up to 255 have segments of 256 inputs or more; a typical batch of MNIST, mostly dark, is a single one.
    """

    sums: np.ndarray  #: int16, shape (lanes/32 · n_pieces · 128 · 32,): group of images, 16 inputs, row, image
    n_pieces: int  #: ⌈inputs/16⌉
    ends: np.ndarray  #: int64, shape (words + 1,): the word at which each segment ends; last of all, how many there are
    low: np.ndarray  #: int16, shape (words · lanes,): `low` modulo 2^16, one row of lanes a segment
    negative: np.ndarray  #: int32, shape (lanes,): Σ of all negative inputs
    minus_magnitude: np.ndarray  #: int32, shape (lanes,): −Σ |x|


def empty_table(n_inputs: int, batch: int) -> BatchTable:
    """Room for the table of a batch (lanes: `batch`, padded to a multiple of 32); see `fill_table`."""
    if n_inputs < 1:
        raise ValueError("a layer needs at least one input")
    words, lanes, pieces = -(-n_inputs // 64), -(-batch // LANES) * LANES, -(-n_inputs // PIECE)
    return BatchTable(
        aligned_zeros(lanes * pieces * PIECE_ROWS, np.int16),
        pieces,
        np.zeros(words + 1, np.int64),
        aligned_zeros(words * lanes, np.int16),
        aligned_zeros(lanes, np.int32),
        aligned_zeros(lanes, np.int32),
    )


def batch_table(x: np.ndarray) -> BatchTable:
    """The table of a batch, for `signed_sums` and `released_sums`.

    Parameters
    ----------
    x : integers, shape (inputs, batch)        −1,023 … 1,023, else ValueError: pixels, or inputs times the sign of their
        neuron, mirrored inputs [x, −x], sums of four pixels
    """
    table = empty_table(*x.shape)
    fill_table(x, table)
    return table


@kernel
def fill_table(x, table):
    """`batch_table` into the room of an earlier table of the same shape."""
    n_inputs, batch = x.shape
    lanes = table.negative.shape[0]
    if table.n_pieces != (n_inputs + PIECE - 1) // PIECE or not 0 <= lanes - batch < LANES:
        raise ValueError("the table was made for a batch of another shape")
    _find_segments(x, table)
    inputs = aligned_zeros(PIECE * LANES, np.int16)
    row = 0
    for first in range(0, lanes, LANES):
        n = min(LANES, batch - first)
        for piece in range(table.n_pieces):
            inputs[:] = 0
            for k in range(min(PIECE, n_inputs - PIECE * piece)):
                for lane in range(n):
                    inputs[LANES * k + lane] = x[PIECE * piece + k, first + lane]
            fill_piece(inputs, 0, table.sums, LANES * row)
            row += PIECE_ROWS


@njit(nogil=True)
def _find_segments(x, table):
    """Cut the inputs into segments of whole words, as long as Σ |x| of every image allows, and sum over each."""
    n_inputs, batch = x.shape
    low, negative, minus_magnitude = table.low, table.negative, table.minus_magnitude
    low[:] = 0
    negative[:] = 0
    minus_magnitude[:] = 0
    so_far, word_sum, word_low = np.zeros(batch, np.int64), np.zeros(batch, np.int64), np.zeros(batch, np.int64)
    n_words, segment = table.ends.shape[0] - 1, 0
    for word in range(n_words):
        word_sum[:] = 0
        word_low[:] = 0
        for i in range(64 * word, min(64 * word + 64, n_inputs)):
            for b in range(batch):
                value = np.int64(x[i, b])
                if not -LARGEST_INPUT <= value <= LARGEST_INPUT:
                    raise ValueError("inputs of a binary layer must lie within -1023 ... 1023")
                word_sum[b] += abs(value)
                word_low[b] += min(value, 0)
        overflows = False
        for b in range(batch):
            overflows |= so_far[b] + word_sum[b] > 65535
        if overflows:  # never at the first word: 64 · 1,023 fits
            table.ends[segment] = word
            segment += 1
            so_far[:] = 0
        for b in range(batch):
            so_far[b] += word_sum[b]
            minus_magnitude[b] -= word_sum[b]
            negative[b] += word_low[b]
            low[segment * negative.shape[0] + b] += word_low[b]  # modulo 2^16, as all sums
    table.ends[segment] = n_words
    table.ends[n_words] = segment + 1


@intrinsic
def fill_piece(typingctx: Any, inputs: Any, first: Any, sums: Any, start: Any) -> Any:
    """The rows of 16 inputs, inputs[first + 32 · i + k] for 32 lanes k: sums of their subsets from sums[start] on."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        inputs_, first_, sums_, start_ = arguments
        x = _pointer(context, builder, signature.args[0], inputs_, first_, _SUMS)
        rows = _pointer(context, builder, signature.args[2], sums_, start_, _SUMS)
        i, row = 0, 0
        for group in GROUPS:
            of_group = [ir.Constant(_SUMS, None)]
            for bit in range(group):  # subsets with this input come 2^bit rows after those without it
                value = builder.load(builder.gep(x, [ir.Constant(_I64, i + bit)]), align=2)
                of_group += [builder.add(lower, value) for lower in of_group]
            for k, total in enumerate(of_group):
                builder.store(total, builder.gep(rows, [ir.Constant(_I64, row + k)]), align=2)
            i, row = i + group, row + 2**group
        return context.get_dummy_value()

    return types.void(inputs, types.intp, sums, types.intp), codegen


def _make_add(pieces: int) -> Any:
    """Make the intrinsic that adds the rows chosen by the lowest 16 · `pieces` bits of a word; sums stay in registers."""

    @intrinsic
    def add_rows(typingctx: Any, sums: Any, first: Any, word: Any, partial: Any, start: Any) -> Any:
        """`partial[start + k] += Σ_g sums[first + 32 · (row of group g of word) + k]` for 32 lanes k, modulo 2^16."""

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            sums_, first_, word_, partial_, start_ = arguments
            place = _pointer(context, builder, signature.args[3], partial_, start_, _SUMS)
            rows = _pointer(context, builder, signature.args[0], sums_, first_, _SUMS)
            total, row, shift = builder.load(place, align=2), 0, 0
            for group in pieces * GROUPS:
                bits = builder.and_(builder.lshr(word_, ir.Constant(_I64, shift)), ir.Constant(_I64, 2**group - 1))
                chosen = builder.gep(rows, [builder.add(bits, ir.Constant(_I64, row))])
                total = builder.add(total, builder.load(chosen, align=2))
                row, shift = row + 2**group, shift + group
            builder.store(total, place, align=2)
            return context.get_dummy_value()

        return types.void(sums, types.intp, types.uint64, partial, types.intp), codegen

    return add_rows


add_word, add_pair, add_piece = _make_add(4), _make_add(2), _make_add(1)


@intrinsic
def _widen(typingctx: Any, partial: Any, start: Any, low: Any, low_start: Any, factor: Any, total: Any, to: Any) -> Any:
    """`total[to + k] += factor · ((partial[start + k] − low[low_start + k]) mod 2^16)` for 32 lanes k."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        partial_, start_, low_, low_start_, factor_, total_, to_ = arguments
        sums = builder.load(_pointer(context, builder, signature.args[0], partial_, start_, _SUMS), align=2)
        lowest = builder.load(_pointer(context, builder, signature.args[2], low_, low_start_, _SUMS), align=2)
        above = builder.mul(builder.zext(builder.sub(sums, lowest), _TOTALS), _splat(builder, factor_, LANES))
        place = _pointer(context, builder, signature.args[5], total_, to_, _TOTALS)
        builder.store(builder.add(builder.load(place, align=4), above), place, align=4)
        return context.get_dummy_value()

    return types.void(partial, types.intp, low, types.intp, types.int32, total, types.intp), codegen


@njit(nogil=True)
def _select(table, rows, factor, offset, total):
    """total[j, b] = offset[b] + factor · Σ_segments u[j, b]        u as in `BatchTable`"""
    n_rows, batch = total.shape
    row_words, lanes = table.ends.shape[0] - 1, offset.shape[0]
    if rows.shape[0] != n_rows * row_words or not 0 <= lanes - batch < LANES:
        raise ValueError("rows, totals and table do not fit together")
    block_rows = min(BLOCK_ROWS, n_rows)
    stride = block_rows + 8  # not a power of two, whose multiples would share one set of the cache
    columns = aligned_zeros(row_words * stride, np.uint64)
    partial = aligned_zeros(block_rows * LANES, np.int16)
    last = aligned_zeros(LANES, np.int32)
    flat = total.reshape(-1)
    for begin in range(0, n_rows, BLOCK_ROWS):
        n = min(BLOCK_ROWS, n_rows - begin)
        for r in range(n):  # the same word of all rows side by side: in place, each would cost a cache line
            total[begin + r] = offset[:batch]
            for word in range(row_words):
                columns[word * stride + r] = rows[(begin + r) * row_words + word]
        for first in range(0, lanes, LANES):
            at = first * table.n_pieces * PIECE_ROWS
            word = 0
            for segment in range(table.ends[row_words]):
                partial[: n * LANES] = 0
                while word < table.ends[segment]:
                    column = columns[word * stride : word * stride + n]
                    pieces = min(4, table.n_pieces - 4 * word)
                    if pieces == 4:
                        for r in range(n):
                            add_word(table.sums, at, column[r], partial, LANES * r)
                    else:  # the last word, partly padding
                        for piece in range(pieces):
                            there = at + piece * PIECE_ROWS * LANES
                            for r in range(n):
                                add_piece(table.sums, there, column[r] >> np.uint64(PIECE * piece), partial, LANES * r)
                    at += pieces * PIECE_ROWS * LANES
                    word += 1
                low_start = segment * lanes + first
                if first + LANES <= batch:
                    for r in range(n):
                        _widen(partial, LANES * r, table.low, low_start, factor, flat, (begin + r) * batch + first)
                else:  # fewer than 32 images are left
                    for r in range(n):
                        last[:] = 0
                        _widen(partial, LANES * r, table.low, low_start, factor, last, 0)
                        for b in range(first, batch):
                            total[begin + r, b] += last[b - first]


@kernel
def released_sums(table, rows, total):
    """Sum of the inputs whose synapse released, for every row of bits and every image.

        total[j, b] = Σ_i θ_ji x_ib  =  Σ_segments u_jb + Σ_i min(x_ib, 0)        u as in `BatchTable`

    Parameters
    ----------
    table : of x, from `batch_table`
    rows : uint64, shape (outputs · ⌈inputs/64⌉,)  bits θ_ji as in `release.pack_bits`, the padding zero. Rows of several
        networks may follow each other, and should: 1,000 rows a call use each part of the table while it is in the cache
    total : int32, shape (outputs, batch)      written; exact for up to 2^20 inputs
    """
    _select(table, rows, np.int32(1), table.negative, total)


@kernel
def signed_sums(table, rows, total):
    """Product of a matrix of ±1, −1 where a synapse did not release, with the batch; parameters as `released_sums`.

    total[j, b] = Σ_i (2 θ_ji − 1) x_ib  =  2 Σ_segments u_jb − Σ_i |x_ib|        u as in `BatchTable`
    """
    _select(table, rows, np.int32(2), table.minus_magnitude, total)
