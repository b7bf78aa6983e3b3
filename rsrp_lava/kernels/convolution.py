"""Convolutions of binary weights, 3 × 3 without padding, each followed by relu and 2 × 2 max-pooling: sums of integers.

All networks see the same pictures, so the sums of every sign pattern of three pixels are worked out once a batch; a network
adds three rows of them (nine, of colours) a filter and place. What comes out differs from network to network, but not from
filter to filter: the second convolution makes the table of binary_layer.py for each pixel, 16 channels at a time, which 64
filters read nine times each. Places that pooling leaves out are not computed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .binary_layer import GROUPS, LANES, PIECE, PIECE_ROWS, add_pair, add_piece, fill_piece
from .compiling import kernel
from .lanes import _pointer, _splat, aligned_zeros, popcount

_I16, _I64 = ir.IntType(16), ir.IntType(64)
_SUMS = ir.VectorType(_I16, LANES)
#: Sign patterns of three pixels.
_PATTERNS = 8


class Convolutions(NamedTuple):
    """One or two convolutions. With pixels x = 0 … 255 and weights w = ±1, in units of a pixel:

    s = Σ w x − round(255 · mean · Σ w)                       the pixels' mean is taken off afterwards, in whole units
    a = min(limit, (max(0, s) + half) >> shift)               after pooling; of a single convolution a = max(0, s)
    features = max(0, Σ w a)                                  of the second, after pooling
    """

    height: np.int64
    width: np.int64
    channels: np.int64  #: 1, or 3 colours
    filters: np.int64  #: of the first convolution
    filters2: np.int64  #: of the second, 0 without one
    offset: np.float64  #: 255 · mean
    shift: np.int64
    limit: np.int64  #: 9 · filters inputs of at most this much fit in an unsigned 16-bit sum


class PictureTable(NamedTuple):
    """Signed sums of three neighbouring pixels of a row (of colours: of the three of a pixel), from `picture_table`."""

    sums: np.ndarray  #: int16, shape (lanes/32 · height · columns · 8 · 32): pattern b has +x_k where bit k of b is set
    columns: int  #: places a row of the picture has
    batch: int


def picture_table(images: np.ndarray, convolutions: Convolutions) -> PictureTable:
    """The table of a batch: images, uint8, shape (batch, height · width · channels), channels last."""
    c = convolutions
    columns = int(c.width) - 2 if c.channels == 1 else int(c.width)
    groups = -(-len(images) // LANES)
    table = PictureTable(aligned_zeros(groups * int(c.height) * columns * _PATTERNS * LANES, np.int16), columns, len(images))
    _fill_pictures(images, c, table)
    return table


@kernel
def _fill_pictures(images, c, table):
    row = 0
    step = c.channels  # from one pixel of three to the next: along the row, or from colour to colour
    for first in range(0, table.batch, LANES):
        for y in range(c.height):
            for x in range(table.columns):
                pixel = (y * c.width + x) * step
                for pattern in range(_PATTERNS):
                    for lane in range(min(LANES, table.batch - first)):
                        total = 0
                        for k in range(3):
                            value = np.int64(images[first + lane, pixel + k])
                            total += value if (pattern >> k) & 1 else -value
                        table.sums[row * LANES + lane] = total
                    row += 1


def _make_pool(triples: int) -> Any:
    """Make the intrinsic that pools four places of a filter, each the sum of so many rows."""

    @intrinsic
    def pool(typingctx: Any, sums: Any, rows: Any, cut: Any, shift: Any, limit: Any, out: Any, start: Any) -> Any:
        """out[start + k] = min(limit, (max(0, max over 4 places of Σ rows − cut) + half) >> shift) for 32 lanes k."""

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            sums_, rows_, cut_, shift_, limit_, out_, start_ = arguments
            starts = context.make_array(signature.args[1])(context, builder, rows_).data

            def row(k: int) -> ir.Value:
                at = builder.load(builder.gep(starts, [ir.Constant(_I64, k)]))
                return builder.load(_pointer(context, builder, signature.args[0], sums_, at, _SUMS), align=2)

            def larger(a: ir.Value, b: ir.Value) -> ir.Value:
                return builder.select(builder.icmp_signed(">", a, b), a, b)

            best = None
            for place in range(4):
                total = row(triples * place)
                for k in range(1, triples):
                    total = builder.add(total, row(triples * place + k))
                best = total if best is None else larger(best, total)
            shift16 = builder.trunc(shift_, _I16)
            one = ir.Constant(_I16, 1)
            half = builder.lshr(builder.shl(one, shift16), one)
            positive = larger(builder.sub(best, _splat(builder, builder.trunc(cut_, _I16), LANES)), ir.Constant(_SUMS, None))
            shifted = builder.ashr(builder.add(positive, _splat(builder, half, LANES)), _splat(builder, shift16, LANES))
            most = _splat(builder, builder.trunc(limit_, _I16), LANES)
            value = builder.select(builder.icmp_signed("<", shifted, most), shifted, most)
            builder.store(value, _pointer(context, builder, signature.args[5], out_, start_, _SUMS), align=2)
            return context.get_dummy_value()

        return types.void(sums, rows, types.int64, types.int64, types.int64, out, types.intp), codegen

    return pool


_pool_of_pixels, _pool_of_colours = _make_pool(3), _make_pool(9)


@njit(nogil=True)
def _first_convolution(c, table, rows, group, out):
    """out (int16, shape (places · filters · 32,)): what is left of 32 pictures, place by place, pictures as lanes."""
    height, width = (c.height - 2) // 2, (c.width - 2) // 2
    single, last = c.channels == 1, c.filters2 == 0
    triples = 3 if single else 9
    shift, limit = (0, 2**15 - 1) if last else (c.shift, c.limit)
    chosen, here = np.empty(4 * triples, np.int64), np.empty(4 * triples, np.int64)
    picture = group * c.height * table.columns
    for y in range(height):
        for x in range(width):
            for place in range(4):
                for k in range(triples):
                    down, right = (k, 0) if single else (k // 3, k % 3)
                    pixel = (2 * y + place // 2 + down) * table.columns + 2 * x + place % 2 + right
                    here[triples * place + k] = (picture + pixel) * _PATTERNS * LANES
            for f in range(c.filters):
                word = rows[f]
                cut = np.int64(np.rint(c.offset * np.float64(2 * popcount(word) - 3 * triples)))
                for k in range(triples):
                    pattern = np.int64((word >> np.uint64(3 * k)) & np.uint64(7)) * LANES
                    for place in range(4):
                        chosen[triples * place + k] = here[triples * place + k] + pattern
                to = ((y * width + x) * c.filters + f) * LANES
                if single:
                    _pool_of_pixels(table.sums, chosen, cut, shift, limit, out, to)
                else:
                    _pool_of_colours(table.sums, chosen, cut, shift, limit, out, to)


@njit(nogil=True)
def _filter_bits(c, rows, pieces, bits):
    """bits[(tap · pieces + piece) · filters2 + f]: which of 16 channels of a tap filter f adds, in its lowest bits."""
    row_words = rows.shape[0] // c.filters2
    for f in range(c.filters2):
        for k in range(9 * pieces):
            word = rows[f * row_words + PIECE * k // 64] >> np.uint64(PIECE * k % 64)
            bits[k * c.filters2 + f] = word


@intrinsic
def _pool_sums(typingctx: Any, chosen: Any, everything: Any, places: Any, out: Any, start: Any) -> Any:
    """out[start + k] (float32) = max(0, max over 4 places of 2 · chosen − everything) for 32 lanes k.

    `places`: int64, shape (8,): where the four begin in `chosen` (int16, modulo 2^16), then in `everything` (int32).
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        chosen_, everything_, places_, out_, start_ = arguments
        starts = context.make_array(signature.args[2])(context, builder, places_).data
        totals = ir.VectorType(ir.IntType(32), LANES)
        best = ir.Constant(totals, None)
        for k in range(4):
            at = builder.load(builder.gep(starts, [ir.Constant(_I64, k)]))
            added = builder.load(_pointer(context, builder, signature.args[0], chosen_, at, _SUMS), align=2)
            at = builder.load(builder.gep(starts, [ir.Constant(_I64, 4 + k)]))
            every = builder.load(_pointer(context, builder, signature.args[1], everything_, at, totals), align=4)
            added = builder.zext(added, totals)
            value = builder.sub(builder.add(added, added), every)
            best = builder.select(builder.icmp_signed(">", value, best), value, best)
        floats = ir.VectorType(ir.FloatType(), LANES)
        place = _pointer(context, builder, signature.args[3], out_, start_, floats)
        builder.store(builder.sitofp(best, floats), place, align=4)
        return context.get_dummy_value()

    return types.void(chosen, everything, places, out, types.intp), codegen


@njit(nogil=True)
def _sum_channels(table, pieces, total):
    """total[k]: all channels of a pixel, from the last row of every group of its table (they fit: 9 times as many do)."""
    total[:] = 0
    row = 0
    for _ in range(pieces):
        for group in GROUPS:
            row += 2**group
            for lane in range(LANES):
                total[lane] += table[(row - 1) * LANES + lane]


@njit(nogil=True)
def _second_convolution(c, rows, room, features, first):
    """features[place · filters2 + f, first + k] (float32) of the 32 pictures k whose `room.a` the first convolution left.

    Σ w a = 2 Σ θ a − Σ a: the first sum is kept modulo 2^16, which it does not reach; the second is that of all filters.
    """
    wide = (c.width - 2) // 2  # of a
    height, width = (((c.height - 2) // 2) - 2) // 2, (wide - 2) // 2
    rows_up, across, pieces, filters = 2 * height, 2 * width, c.filters // PIECE, c.filters2
    a, table, chosen, everything, of_pixel = room.a, room.table, room.chosen, room.everything, room.of_pixel
    _filter_bits(c, rows, pieces, room.bits)
    chosen[:] = 0
    everything[:] = 0
    for y in range(rows_up + 2):
        for x in range(across + 2):
            pixel = (y * wide + x) * c.filters * LANES
            for piece in range(pieces):
                fill_piece(a, pixel + piece * PIECE * LANES, table, piece * PIECE_ROWS * LANES)
            _sum_channels(table, pieces, of_pixel)
            for tap in range(9):
                up, left = y - tap // 3, x - tap % 3
                if 0 <= up < rows_up and 0 <= left < across:
                    place = up * across + left
                    there = everything[place * LANES : (place + 1) * LANES]
                    for lane in range(LANES):
                        there[lane] += of_pixel[lane]
                    of_tap = room.bits[tap * pieces * filters : (tap + 1) * pieces * filters]
                    _add_pixel(table, of_tap, chosen, place * filters)
    _pool_features(c, room, features, first)


@njit(nogil=True)
def _pool_features(c, room, features, first):
    height, width = (((c.height - 2) // 2) - 2) // 2, (((c.width - 2) // 2) - 2) // 2
    filters, batch, across = c.filters2, features.shape[1], 2 * width
    flat, places = features.reshape(-1), np.empty(8, np.int64)
    for y in range(height):
        for x in range(width):
            for f in range(filters):
                for k in range(4):
                    place = (2 * y + k // 2) * across + 2 * x + k % 2
                    places[k], places[4 + k] = (place * filters + f) * LANES, place * LANES
                feature = (y * width + x) * filters + f
                if first + LANES <= batch:
                    _pool_sums(room.chosen, room.everything, places, flat, feature * batch + first)
                else:  # fewer than 32 pictures are left
                    _pool_sums(room.chosen, room.everything, places, room.last, 0)
                    for lane in range(batch - first):
                        features[feature, first + lane] = room.last[lane]


@njit(nogil=True)
def _add_pixel(table, bits, chosen, place):
    """chosen[place + f] += the channels of one pixel that filter f adds at one tap."""
    pieces = table.shape[0] // (PIECE_ROWS * LANES)
    filters = bits.shape[0] // pieces
    together = 2 if pieces % 2 == 0 else 1  # the bits of an odd piece may begin at the end of a word
    for piece in range(0, pieces, together):
        of_piece = bits[piece * filters : (piece + 1) * filters]
        rows = piece * PIECE_ROWS * LANES
        for f in range(filters):
            if together == 2:
                add_pair(table, rows, of_piece[f], chosen, (place + f) * LANES)
            else:
                add_piece(table, rows, of_piece[f], chosen, (place + f) * LANES)


class Room(NamedTuple):
    """Where `convolve` works, for 32 pictures at a time; from `room_for`."""

    a: np.ndarray  #: int16, shape (places · filters · 32,): what the first convolution leaves
    table: np.ndarray  #: int16: sums of subsets of a pixel's channels (binary_layer.py)
    of_pixel: np.ndarray  #: int16, shape (32,): all channels of a pixel
    bits: np.ndarray  #: uint64, shape (9 · pieces · filters2,)
    chosen: np.ndarray  #: int16, shape (places · filters2 · 32,): Σ θ a modulo 2^16
    everything: np.ndarray  #: int32, shape (places · 32,): Σ a
    last: np.ndarray  #: float32, shape (32,)


@njit(nogil=True)
def room_for(c):
    """A `Room`."""
    height, width = (c.height - 2) // 2, (c.width - 2) // 2
    pieces, filters2 = c.filters // PIECE, c.filters2
    places = 4 * ((height - 2) // 2) * ((width - 2) // 2) if filters2 else 0
    return Room(
        aligned_zeros(height * width * c.filters * LANES, np.int16),
        aligned_zeros(pieces * PIECE_ROWS * LANES, np.int16),
        aligned_zeros(LANES, np.int16),
        aligned_zeros(9 * pieces * filters2, np.uint64),
        aligned_zeros(places * filters2 * LANES, np.int16),
        aligned_zeros(places * LANES, np.int32),
        aligned_zeros(LANES, np.float32),
    )


@njit(nogil=True)
def convolve(c, table, rows, rows2, room, features):
    """Features (float32, shape (places · filters, batch)) of one network for a batch: places row by row, filters last.

    Parameters
    ----------
    c : Convolutions;  table : from `picture_table`
    rows, rows2 : uint64: the released synapses of the filters, a row a filter: weights in the order (row, column, channel)
        of their 3 × 3 places (`rows2` is not read without a second convolution)
    room : from `room_for`
    """
    for first in range(0, table.batch, LANES):
        _first_convolution(c, table, rows, first // LANES, room.a)
        if c.filters2:
            _second_convolution(c, rows2, room, features, first)
        else:
            for i in range(features.shape[0]):
                for lane in range(min(LANES, table.batch - first)):
                    features[i, first + lane] = np.float32(room.a[i * LANES + lane])
