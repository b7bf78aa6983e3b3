"""Vector operations on bits that Numba cannot express: LLVM vectors of 64 (or 256) lanes, one lane a neuron or synapse.

A 64-bit word *is* a mask of 64 lanes, so packing spikes into words and adding where a bit is set need no arithmetic on
AVX-512 (mask registers) and little elsewhere; LLVM lowers the same code for every CPU. No operation here is allowed to
change rounding: no fast-math, no contraction.

Arrays given to these functions should start at a multiple of 64 bytes (`aligned_zeros`): otherwise every second vector
straddles two cache lines, which costs a factor of two.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_BIT, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


class Lanes:
    """A vector of lanes inside a `lanewise` function: numbers or a mask, with the operators the equations need.

    The other operand may be a Python number. Shifts to the right keep the sign (floor); `&` is bitwise on numbers and
    masks, `|` on masks.
    """

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder = builder
        self.value = value

    @property
    def _is_float(self) -> bool:
        return isinstance(self.value.type.element, ir.FloatType)

    def _lanes(self, other: Lanes | int) -> Lanes:
        if isinstance(other, Lanes):
            return other
        return Lanes(self.builder, ir.Constant(self.value.type, [other] * self.value.type.count))

    def _as_float(self) -> ir.Value:
        if self._is_float:
            return self.value
        return self.builder.sitofp(self.value, ir.VectorType(ir.FloatType(), self.value.type.count))

    def _combine(self, other: Lanes | int, float_op: str, int_op: str) -> Lanes:
        other = self._lanes(other)
        if self._is_float or other._is_float:
            return Lanes(self.builder, getattr(self.builder, float_op)(self._as_float(), other._as_float()))
        return Lanes(self.builder, getattr(self.builder, int_op)(self.value, other.value))

    def _compare(self, relation: str, other: Lanes | int) -> Lanes:
        other = self._lanes(other)
        if self._is_float or other._is_float:
            return Lanes(self.builder, self.builder.fcmp_ordered(relation, self._as_float(), other._as_float()))
        return Lanes(self.builder, self.builder.icmp_signed(relation, self.value, other.value))

    def __add__(self, other: Lanes | int) -> Lanes:
        return self._combine(other, "fadd", "add")

    def __sub__(self, other: Lanes | int) -> Lanes:
        return self._combine(other, "fsub", "sub")

    def __mul__(self, other: Lanes | int) -> Lanes:
        return self._combine(other, "fmul", "mul")

    def __neg__(self) -> Lanes:
        return self._lanes(0) - self

    def __rshift__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.builder, self.builder.ashr(self.value, self._lanes(other).value))

    def __and__(self, other: Lanes | int) -> Lanes:
        return Lanes(self.builder, self.builder.and_(self.value, self._lanes(other).value))

    def __or__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.or_(self.value, other.value))

    def __gt__(self, other: Lanes | int) -> Lanes:
        return self._compare(">", other)

    def __lt__(self, other: Lanes | int) -> Lanes:
        return self._compare("<", other)


def where(mask: Lanes, yes: Lanes, no: Lanes) -> Lanes:
    """Lane by lane: `yes` where the mask is set, `no` elsewhere."""
    return Lanes(mask.builder, mask.builder.select(mask.value, yes.value, no.value))


def never(like: Lanes) -> Lanes:
    """A mask with no lane set."""
    count = like.value.type.count
    return Lanes(like.builder, ir.Constant(ir.VectorType(_BIT, count), [0] * count))


def _splat(builder: ir.IRBuilder, scalar: ir.Value, count: int) -> ir.Value:
    vector = ir.VectorType(scalar.type, count)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_I32, 0))
    zeros = ir.Constant(ir.VectorType(_I32, count), [0] * count)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _pointer(context: Any, builder: ir.IRBuilder, ty: Any, array: ir.Value, index: ir.Value, pointee: ir.Type) -> Any:
    data = context.make_array(ty)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(pointee))


def lanewise(masks: int = 1, width: int = 64) -> Callable[[Callable[..., Any]], Any]:
    """Compile difference equations written for one neuron into one step of `width` neurons (8, 16, 32 or 64).

    The decorated `equations(first, second, …, constants)` takes arrays (one lane a neuron) and, last, a NamedTuple of
    scalars (or of such NamedTuples, whose methods may take and return lanes). It returns its masks, and the new values of
    the arrays it changes by name. The compiled function is called inside kernels as
    `word = step(start, (first, second, …), constants)`: it reads lanes `start … start + width − 1`, writes the changed
    arrays back, and returns the mask as a 64-bit word (bit k: lane start + k); several `masks` as a tuple of words.
    """

    def decorate(equations: Callable[..., Any]) -> Any:
        names = list(inspect.signature(equations).parameters)[:-1]

        @intrinsic
        def step(typingctx: Any, start: Any, arrays: Any, constants: Any) -> Any:
            def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
                start_value, array_values, constant_values = arguments
                lanes, places = {}, {}
                for index, (name, ty) in enumerate(zip(names, signature.args[1], strict=True)):
                    element = context.get_data_type(ty.dtype)
                    array = builder.extract_value(array_values, index)
                    places[name] = _pointer(context, builder, ty, array, start_value, ir.VectorType(element, width))
                    value = builder.load(places[name], align=ty.dtype.bitwidth // 8)
                    if isinstance(element, ir.IntType) and element.width < 32:
                        value = builder.sext(value, ir.VectorType(_I32, width))
                    lanes[name] = Lanes(builder, value)
                splats = _splat_all(builder, signature.args[2], constant_values, width)
                result, changed = equations(*(lanes[name] for name in names), splats)
                for name, lanes_out in changed.items():
                    align = signature.args[1][names.index(name)].dtype.bitwidth // 8
                    builder.store(lanes_out.value, places[name], align=align)
                words = [_word(builder, mask) for mask in (result if masks > 1 else (result,))]
                return words[0] if masks == 1 else context.make_tuple(builder, signature.return_type, words)

            returned = types.uint64 if masks == 1 else types.UniTuple(types.uint64, masks)
            return returned(types.intp, arrays, constants), codegen

        return step

    return decorate


def _word(builder: ir.IRBuilder, mask: Lanes) -> ir.Value:
    width = mask.value.type.count
    bits = builder.bitcast(mask.value, ir.IntType(width))
    return bits if width == 64 else builder.zext(bits, _I64)


def _splat_all(builder: ir.IRBuilder, ty: Any, value: ir.Value, width: int) -> Any:
    """A NamedTuple of scalars as the same NamedTuple of lanes; nested ones likewise."""
    if not isinstance(ty, types.NamedTuple | types.NamedUniTuple):
        return Lanes(builder, _splat(builder, value, width))
    parts = (_splat_all(builder, ty[k], builder.extract_value(value, k), width) for k in range(len(ty)))
    return ty.instance_class(*parts)


@intrinsic
def popcount(typingctx: Any, word: Any) -> Any:
    """Number of set bits of a 64-bit word."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), codegen


@intrinsic
def add_where(typingctx: Any, totals: Any, start: Any, word: Any, amount: Any) -> Any:
    """`totals[start + k] += amount` for every set bit k of `word`; one integer dtype for `totals` and `amount`."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        array, index, bits, value = arguments
        vector = ir.VectorType(context.get_data_type(signature.args[0].dtype), 64)
        place = _pointer(context, builder, signature.args[0], array, index, vector)
        align = signature.args[0].dtype.bitwidth // 8
        mask = _mask_of(context, builder, bits, vector.element.width)
        new = _add_masked(builder, builder.load(place, align=align), mask, _splat(builder, value, 64))
        builder.store(new, place, align=align)
        return context.get_dummy_value()

    return types.void(totals, types.intp, types.uint64, totals.dtype), codegen


@intrinsic
def add_rows_where(typingctx: Any, totals: Any, values: Any, rows: Any, first: Any, stride: Any) -> Any:
    """`totals[j] += values[k]` for every set bit j of word `rows[first + k · stride]`, in the order of k; 64 totals.

    One dtype of 32 bits for `totals` and `values`. Floating-point totals must not be −0.0 (a sum that began at 0 never is).
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        totals_, values_, rows_, first_, stride_ = arguments
        element = context.get_data_type(signature.args[0].dtype)
        vector = ir.VectorType(element, 64)
        value_array = context.make_array(signature.args[1])(context, builder, values_)
        n = builder.extract_value(value_array.shape, 0)
        place = _pointer(context, builder, signature.args[0], totals_, ir.Constant(_I64, 0), vector)
        before = builder.block
        each, add, done = (builder.append_basic_block(name) for name in ("each_value", "add_value", "values_done"))
        start = builder.load(place, align=4)
        builder.branch(each)

        builder.position_at_end(each)
        k, running = builder.phi(_I64), builder.phi(vector)
        k.add_incoming(ir.Constant(_I64, 0), before)
        running.add_incoming(start, before)
        builder.cbranch(builder.icmp_signed("<", k, n), add, done)

        builder.position_at_end(add)
        index = builder.add(first_, builder.mul(k, stride_))
        word = builder.load(_pointer(context, builder, signature.args[2], rows_, index, _I64), align=8)
        amounts = _splat(builder, builder.load(builder.gep(value_array.data, [k])), 64)
        running.add_incoming(_add_masked(builder, running, _mask_of(context, builder, word, 32), amounts), add)
        k.add_incoming(builder.add(k, ir.Constant(_I64, 1)), add)
        builder.branch(each)

        builder.position_at_end(done)
        builder.store(running, place, align=4)
        return context.get_dummy_value()

    return types.void(totals, values, rows, types.intp, types.intp), codegen


def _has_mask_registers(context: Any) -> bool:
    """Whether a word loaded from memory can serve as a mask of 64 lanes as it is (AVX-512)."""
    _, _, features = context.codegen().magic_tuple()
    return "+avx512bw" in features


def _mask_of(context: Any, builder: ir.IRBuilder, word: ir.Value, width: int) -> ir.Value:
    """The 64 bits of a word as a mask of 64 lanes, for lanes of `width` bits.

    Without mask registers LLVM takes the bits out one at a time, which is forty times slower than spreading them: every lane
    gets the part of the word that holds its bit, keeps that bit, and is compared with it.
    """
    if _has_mask_registers(context):
        return builder.bitcast(word, ir.VectorType(_BIT, 64))
    vector = ir.VectorType(ir.IntType(width), 64)
    parts = ir.Constant(ir.VectorType(_I32, 64), [lane // width for lane in range(64)])
    own_bit = ir.Constant(vector, [1 << lane % width for lane in range(64)])
    copies = builder.bitcast(_splat(builder, word, width), vector)
    bits = builder.and_(builder.shuffle_vector(copies, ir.Constant(vector, ir.Undefined), parts), own_bit)
    return builder.icmp_signed("==", bits, own_bit)


def _count_where(context: Any, builder: ir.IRBuilder, counts: ir.Value, place: ir.Value, row_words: int) -> ir.Value:
    """`counts` plus one in every lane whose bit is set in the `row_words` words at `place`."""
    width = counts.type.element.width
    words = (builder.load(builder.gep(place, [ir.Constant(_I64, k)]), align=8) for k in range(row_words))
    masks = [_mask_of(context, builder, word, width) for word in words]
    while len(masks) > 1:  # neighbours join: 64 lanes, 128, 256
        order = ir.Constant(ir.VectorType(_I32, 2 * masks[0].type.count), list(range(2 * masks[0].type.count)))
        masks = [builder.shuffle_vector(masks[k], masks[k + 1], order) for k in range(0, len(masks), 2)]
    return _add_masked(builder, counts, masks[0], ir.Constant(counts.type, [1] * counts.type.count))


def _add_masked(builder: ir.IRBuilder, old: ir.Value, mask: ir.Value, amounts: ir.Value) -> ir.Value:
    """old + amounts where the mask is set, old elsewhere (as floating point: unless it is −0.0)."""
    if isinstance(old.type.element, ir.FloatType):
        return builder.fadd(old, builder.select(mask, amounts, ir.Constant(old.type, None)))
    return builder.add(old, builder.and_(builder.sext(mask, old.type), amounts))  # a set lane is −1: all ones


def _signed_row_sum(row_words: int, counter: ir.IntType) -> Any:
    """Make the intrinsic that sums packed rows over `64 * row_words` lanes held in registers (see `sum_rows`).

    Unsigned counters of that type, one for each sign, must not overflow.
    """
    lanes = 64 * row_words
    counts, result = ir.VectorType(counter, lanes), ir.VectorType(_I16, lanes)
    zero = ir.Constant(counts, None)

    @intrinsic
    def signed_row_sum(typingctx: Any, spikes: Any, excitatory: Any, rows: Any, stride: Any, column: Any, out: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            spikes_, excitatory_, rows_, stride_, column_, out_ = arguments
            spike_array = context.make_array(signature.args[0])(context, builder, spikes_)
            sign_array = context.make_array(signature.args[1])(context, builder, excitatory_)
            n_words = builder.extract_value(spike_array.shape, 0)

            def add_population(flip: int) -> ir.Value:
                """Sum of the rows of the spiking neurons of one sign; flip = 0: excitatory, -1: inhibitory."""
                before = builder.block
                each_word, each_spike, add_row, word_done, done = (
                    builder.append_basic_block(name) for name in ("word", "spike", "row", "word_done", "done")
                )
                builder.branch(each_word)
                builder.position_at_end(each_word)
                word, word_total = builder.phi(_I64), builder.phi(counts)
                word.add_incoming(ir.Constant(_I64, 0), before)
                word_total.add_incoming(zero, before)
                sign = builder.xor(builder.load(builder.gep(sign_array.data, [word])), ir.Constant(_I64, flip))
                pending0 = builder.and_(builder.load(builder.gep(spike_array.data, [word])), sign)
                row0 = builder.mul(builder.shl(word, ir.Constant(_I64, 6)), stride_)
                builder.branch(each_spike)

                builder.position_at_end(each_spike)
                pending, running = builder.phi(_I64), builder.phi(counts)
                pending.add_incoming(pending0, each_word)
                running.add_incoming(word_total, each_word)
                any_left = builder.icmp_unsigned("!=", pending, ir.Constant(_I64, 0))
                builder.cbranch(any_left, add_row, word_done)

                builder.position_at_end(add_row)
                lane = builder.cttz(pending, ir.Constant(_BIT, 1))
                index = builder.add(builder.add(row0, builder.mul(lane, stride_)), column_)
                place = _pointer(context, builder, signature.args[2], rows_, index, _I64)
                running.add_incoming(_count_where(context, builder, running, place, row_words), add_row)
                pending.add_incoming(builder.and_(pending, builder.sub(pending, ir.Constant(_I64, 1))), add_row)
                builder.branch(each_spike)

                builder.position_at_end(word_done)
                next_word = builder.add(word, ir.Constant(_I64, 1))
                word.add_incoming(next_word, word_done)
                word_total.add_incoming(running, word_done)
                builder.cbranch(builder.icmp_signed("<", next_word, n_words), each_word, done)
                builder.position_at_end(done)
                return running if counter is _I16 else builder.zext(running, result)

            difference = builder.sub(add_population(0), add_population(-1))
            place = _pointer(context, builder, signature.args[5], out_, builder.mul(column_, ir.Constant(_I64, 64)), result)
            builder.store(difference, place, align=2)
            return context.get_dummy_value()

        return types.void(spikes, excitatory, rows, types.intp, types.intp, out), codegen

    return signed_row_sum


_sum_one_word = _signed_row_sum(1, _I16)
_sum_four_words = _signed_row_sum(4, _I16)
_sum_four_words_of_few = _signed_row_sum(4, _I8)


@njit(nogil=True)
def sum_rows(spikes, excitatory, rows, out):
    """Signed number of released synapses that carry a spike, for every postsynaptic neuron.

        out[j] = Σ_i s_i · θ_ij · spike_i        s_i = +1 excitatory, −1 inhibitory presynaptic neuron

    Work grows with the number of spikes, not of neurons: one masked add a spike and 64 targets (8-bit counters).

    Parameters
    ----------
    spikes : uint64, shape (n_pre_words,)       bit i % 64 of word i // 64: presynaptic neuron i spiked
    excitatory : uint64, shape (n_pre_words,)   same packing: neuron i is excitatory
    rows : uint64, shape (64 · n_pre_words · n_post_words,)  row i: bits θ_ij of all targets j
    out : int16, shape (64 · n_post_words,)     written; exact for up to 32,767 neurons of each sign
    """
    stride = out.shape[0] // 64
    n_spikes = 0
    for w in range(spikes.shape[0]):
        n_spikes += popcount(spikes[w])
    column = 0
    while column + 4 <= stride:
        if n_spikes < 256:  # 8-bit counters suffice, at half the work
            _sum_four_words_of_few(spikes, excitatory, rows, stride, column, out)
        else:
            _sum_four_words(spikes, excitatory, rows, stride, column, out)
        column += 4
    while column < stride:
        _sum_one_word(spikes, excitatory, rows, stride, column, out)
        column += 1


@njit(nogil=True)
def aligned_zeros(length, dtype):
    """Zeros that start at a multiple of 64 bytes, the width of a cache line and of an AVX-512 register."""
    item = np.empty(1, dtype).itemsize
    buffer = np.zeros(length * item + 64, np.uint8)
    first = (64 - buffer.ctypes.data % 64) % 64
    return buffer[first : first + length * item].view(dtype)


__all__ = ["Lanes", "add_rows_where", "add_where", "aligned_zeros", "lanewise", "never", "popcount", "sum_rows", "where"]
