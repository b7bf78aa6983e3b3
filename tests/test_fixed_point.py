"""Integer arithmetic equals formulas in Python's unbounded integers, at every width, at the limits and around them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive_fixed as naive
from drivers import Operation, decay_all, drive_neurons, overflow_all, step_fixed_lif, step_fixed_readout
from rsrp_lava.kernels import fixed_point as kernel
from rsrp_lava.kernels.release import pack_bits, unpack_bits

i = np.int32
WIDTHS = range(8, 31)
#: (threshold.compare, reset) of a neuron.
FIRING = [("gt", "zero"), ("gt", "subtract"), ("ge", "zero"), ("ge", "subtract")]


def multiplication(d, bits, rounding):
    keep, mask = i(2**bits - d), i(2**bits - 1)
    if rounding == "toward_zero":
        return kernel.MultiplyTowardZero(keep, i(bits), mask)
    return kernel.MultiplyRounded(keep, i(bits), mask, i(2 ** (bits - 1) if rounding == "nearest" else 0))


def register(bits, kind):
    limit = 2 ** (bits - 1)
    if kind == "saturate_at_zero":
        return kernel.Saturate(i(0), i(2 * limit - 1))
    if kind == "saturate":
        return kernel.Saturate(i(1 - limit), i(limit - 1))
    return (kernel.WrapAbove if kind == "wrap_above" else kernel.WrapBelow)(i(limit))


def edges(width, seed=0):
    """±limit, ±limit ± 1, 0, ±1, all powers of two ± 1, and random values between; no duplicates."""
    limit = 2 ** (width - 1)
    near = {side * 2**k + step for k in range(width) for side in (-1, 1) for step in (-1, 0, 1)}
    near |= {0, -limit - 1, limit + 1}
    return sorted(near | set(np.random.default_rng(seed).integers(-limit, limit, 64).tolist()))


def lanes(values):
    padded = np.zeros(-(-len(values) // 64) * 64, np.int32)
    padded[: len(values)] = values
    return padded


def decayed(values, decay):
    x = lanes(values)
    decay_all(x, Operation(decay))
    return x[: len(values)].tolist()


def overflowed(values, overflow):
    x = lanes(values)
    words = np.zeros(len(x) // 64, np.uint64)
    overflow_all(x, Operation(overflow), words)
    return list(zip(x[: len(values)].tolist(), unpack_bits(words, (1, len(values)))[0].tolist(), strict=True))


# Decays


@pytest.mark.parametrize("rounding", ["toward_zero", "floor", "nearest"])
@pytest.mark.parametrize("bits", range(1, 16))
def test_multiplying_decays_equal_the_formula_at_every_width(bits, rounding):
    for width in WIDTHS:
        values = edges(width, bits)
        for d in {0, 1, 2 ** (bits - 1), 2**bits - 1, 2**bits, 389 % 2**bits}:
            expected = [naive.multiply(x, d, bits, rounding) for x in values]
            assert decayed(values, multiplication(d, bits, rounding)) == expected, (width, d)


def test_shifting_decay_equals_the_formula_at_every_width():
    for width in WIDTHS:
        values = edges(width)
        for dash in range(1, 31):
            expected = [naive.shift_down(x, dash) for x in values]
            assert decayed(values, kernel.ShiftDown(i(dash))) == expected, (width, dash)


def test_linear_leak_equals_the_formula_at_every_width():
    for width in WIDTHS:
        values = edges(width)
        for leak in (0, 1, 2, 127, 2 ** (width - 2), 2**15 - 1):
            expected = [naive.linear_leak(x, leak) for x in values]
            assert decayed(values, kernel.LinearLeak(i(leak))) == expected, (width, leak)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    values=st.lists(st.integers(-(2**29), 2**29), min_size=1, max_size=64),
    bits=st.integers(1, 15),
    part=st.floats(0, 1),
    rounding=st.sampled_from(["toward_zero", "floor", "nearest"]),
)
def test_any_state_of_thirty_bits_decays_by_the_formula(values, bits, part, rounding):
    d = round(part * 2**bits)
    assert decayed(values, multiplication(d, bits, rounding)) == [naive.multiply(x, d, bits, rounding) for x in values]


@pytest.mark.parametrize("form", ["multiply", "shift", "linear"])
def test_what_decays_ends_at_zero(form):
    """Toward zero, with a floor of 1, or by a constant: nothing is left for ever, from either side."""
    towards_zero = multiplication(200, 12, "toward_zero")
    decay = {"multiply": towards_zero, "shift": kernel.ShiftDown(i(4)), "linear": kernel.LinearLeak(i(9))}
    x = lanes([2**12, -(2**12), 1, -1, 17, -17])
    for _ in range(1000):
        decay_all(x, Operation(decay[form]))
    assert not x.any()


# Overflow


@pytest.mark.parametrize("kind", ["saturate", "saturate_at_zero", "wrap_above", "wrap_below"])
def test_overflow_equals_the_formula_at_every_width(kind):
    """Also far outside: a sum of many synapses can turn a narrow register more than once."""
    for width in WIDTHS:
        limit = 2 ** (width - 1)
        turns = {turn * limit + step for turn in range(-7, 8) for step in (-2, -1, 0, 1, 2)}
        values = [x for x in sorted({*edges(width), *turns}) if abs(x) < 2**31 - limit]
        expected = [naive.overflow(x, width, kind) for x in values]
        assert overflowed(values, register(width, kind)) == expected, width
        assert {over for _, over in expected} == {True, False}


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    values=st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=64),
    width=st.integers(8, 30),
    kind=st.sampled_from(["saturate", "saturate_at_zero", "wrap_above", "wrap_below"]),
)
def test_any_sum_of_31_bits_overflows_by_the_formula(values, width, kind):
    assert overflowed(values, register(width, kind)) == [naive.overflow(x, width, kind) for x in values]


@pytest.mark.parametrize("kind", ["saturate", "wrap_above", "wrap_below"])
def test_what_a_register_holds_stays_as_it_is(kind):
    low = {"saturate": -127, "wrap_above": -127, "wrap_below": -128}[kind]
    high = {"saturate": 127, "wrap_above": 128, "wrap_below": 127}[kind]
    assert overflowed(range(low, high + 1), register(8, kind)) == [(x, False) for x in range(low, high + 1)]
    below, above = overflowed([low - 1, high + 1], register(8, kind))
    assert (below[0], above[0]) == ((low, high) if kind == "saturate" else (high, low))
    assert below[1]
    assert above[1]


def test_a_sum_that_cannot_overflow_is_not_checked():
    values = edges(30)
    assert overflowed(values, kernel.CannotOverflow(i(1))) == [(x, False) for x in values]


# Whole steps


class Neurons:
    """Constants of a population both ways: for the kernel, and as the twin's steps."""

    def __init__(self, form, d, bits, rounding, widths, kinds, weight, threshold, compare, reset):
        self.form, self.d, self.bits, self.rounding = form, d, bits, rounding
        self.widths, self.kinds, self.weight = widths, kinds, weight
        self.threshold, self.compare, self.reset = threshold, compare, reset

    def decay_kernel(self, d):
        if self.form == "multiply":
            return multiplication(d, self.bits, self.rounding)
        return kernel.ShiftDown(i(d)) if self.form == "shift" else kernel.LinearLeak(i(d))

    def decay(self, x, d):
        if self.form == "multiply":
            return naive.multiply(x, d, self.bits, self.rounding)
        return naive.shift_down(x, d) if self.form == "shift" else naive.linear_leak(x, d)

    def constants(self):
        threshold = i(self.threshold - (self.compare == "ge"))
        reset = kernel.ResetToZero(i(0)) if self.reset == "zero" else kernel.ResetBySubtraction(i(self.threshold))
        (u_bits, v_bits), (u_kind, v_kind) = self.widths, self.kinds
        return kernel.FixedLif(
            u_decay=self.decay_kernel(self.d[0]),
            u_overflow=register(u_bits, u_kind),
            weight=i(self.weight),
            v_decay=self.decay_kernel(self.d[1]),
            v_overflow=register(v_bits, v_kind),
            threshold=threshold,
            reset=reset,
            v_scale=np.float64(1),
            v_origin=np.float64(0),
            v_limit=i(2 ** (v_bits - 1) - 1),
        )

    def step(self, u, v, bias, count):
        u, u_over = naive.overflow(self.decay(u, self.d[0]) + self.weight * count, self.widths[0], self.kinds[0])
        v, v_over = naive.overflow(self.decay(v, self.d[1]) + u + bias, self.widths[1], self.kinds[1])
        spike = v > self.threshold or (v == self.threshold and self.compare == "ge")
        reset = 0 if self.reset == "zero" else v - self.threshold
        return u, reset if spike else v, spike, u_over, v_over


def assert_steps_equal(neurons, u, v, bias, count, dtype):
    arrays = [lanes(u), lanes(v), lanes(bias), lanes(count).astype(dtype)]
    words, events = np.zeros(len(arrays[0]) // 64, np.uint64), np.zeros(3, np.int64)
    step_fixed_lif(*arrays, neurons.constants(), words, events)
    expected = [neurons.step(*state) for state in zip(u, v, bias, count, strict=True)]
    new_u, new_v, spikes, u_over, v_over = (list(column) for column in zip(*expected, strict=True))
    assert arrays[0][: len(u)].tolist() == new_u
    assert arrays[1][: len(u)].tolist() == new_v
    assert unpack_bits(words, (1, len(u)))[0].tolist() == spikes
    assert events.tolist() == [sum(u_over), sum(v_over), 0]
    return expected


@pytest.mark.parametrize(("compare", "reset"), FIRING)
@pytest.mark.parametrize("form", ["multiply", "shift", "linear"])
@pytest.mark.parametrize("width", [8, 16, 24, 30])
def test_neurons_equal_the_twin_at_the_limits(width, form, compare, reset):
    """Every pair of edge values of u and v, with biases that reach the threshold exactly."""
    kinds = ("wrap_above", "saturate") if form == "multiply" else ("saturate", "wrap_below")
    limit = 2 ** (width - 1)
    threshold = limit // 4
    d = {"multiply": (389, 200), "shift": (3, 4), "linear": (5, 1)}[form]
    neurons = Neurons(form, d, 12, "toward_zero", (width, width), kinds, limit // 8, threshold, compare, reset)
    values = [-limit + 1, -limit + 2, -1, 0, 1, threshold - 1, threshold, threshold + 1, limit - 2, limit - 1]
    pairs = [(u, v) for u in values for v in values]
    u, v = zip(*pairs, strict=True)
    at_threshold = [threshold - neurons.step(a, b, 0, 0)[0] - neurons.decay(b, d[1]) for a, b in pairs]
    spikes = []
    for step, count in ((-1, 0), (0, 0), (1, 0), (0, 3), (0, -9)):
        bias = [max(-limit, min(limit, t + step)) for t in at_threshold]
        expected = assert_steps_equal(neurons, u, v, bias, [count] * len(u), np.int16)
        spikes.append(sum(spike for _, _, spike, _, _ in expected))
    assert spikes[0] < spikes[1] <= spikes[2] if compare == "ge" else spikes[0] <= spikes[1] < spikes[2]


@settings(derandomize=True, deadline=None, max_examples=150)
@given(data=st.data())
def test_any_neurons_equal_the_twin(data):
    """All widths and constants; counts as 16 and as 32 bits."""
    widths = data.draw(st.tuples(st.integers(8, 30), st.integers(8, 30)))
    form, rounding = data.draw(st.sampled_from([("multiply", "floor"), ("multiply", "toward_zero"), ("shift", "floor")]))
    kinds = ("wrap_below", "saturate") if rounding == "floor" else ("wrap_above", "saturate")
    bits = data.draw(st.integers(1, 15))
    d = data.draw(st.tuples(*[st.integers(1, 30) if form == "shift" else st.integers(0, 2**bits)] * 2))
    u_limit, v_limit = (2 ** (width - 1) for width in widths)
    threshold = data.draw(st.integers(1, v_limit - 1))
    compare, reset = data.draw(st.sampled_from(FIRING))
    neurons = Neurons(form, d, bits, rounding, widths, kinds, data.draw(st.integers(1, u_limit)), threshold, compare, reset)
    n = data.draw(st.integers(1, 64))
    u = data.draw(st.lists(st.integers(-u_limit + 1, u_limit - 1), min_size=n, max_size=n))
    v = data.draw(st.lists(st.integers(-v_limit + 1, v_limit - 1), min_size=n, max_size=n))
    bias = data.draw(st.lists(st.integers(-v_limit, v_limit), min_size=n, max_size=n))
    count = data.draw(st.lists(st.integers(-2, 2), min_size=n, max_size=n))
    assert_steps_equal(neurons, u, v, bias, count, data.draw(st.sampled_from([np.int16, np.int32])))


@pytest.mark.parametrize("kind", ["saturate", "wrap_above", "wrap_below"])
@pytest.mark.parametrize("n_outputs", [1, 8, 11])
def test_readout_equals_the_twin(n_outputs, kind):
    random = np.random.default_rng(n_outputs)
    constants = kernel.FixedReadout(multiplication(200, 12, "toward_zero"), register(16, kind), i(1500), np.float32(0.37))
    padded = -(-n_outputs // 8) * 8
    trace, counts = np.zeros(padded, np.int32), np.zeros(padded, np.int32)
    output, events, expected, overflows = np.zeros(n_outputs, np.float32), np.zeros(3, np.int64), [0] * n_outputs, 0
    for _ in range(200):
        counts[:n_outputs] = random.integers(-12, 13, n_outputs)
        step_fixed_readout(trace, counts, constants, output, events)
        for o in range(n_outputs):
            value = naive.multiply(expected[o], 200, 12, "toward_zero") + 1500 * int(counts[o])
            expected[o], over = naive.overflow(value, 16, kind)
            overflows += over
        assert trace[:n_outputs].tolist() == expected
        np.testing.assert_array_equal(output, np.float32(0.37) * np.array(expected, np.float32))
    assert events.tolist() == [0, overflows, 0]
    assert overflows > 10


# Input


def driven(observation, per_unit, limit, shift, released):
    rows, n = pack_bits(released), released.shape[1]
    drive, events = np.full(-(-n // 64) * 64, 7, np.int32), np.zeros(3, np.int64)
    constants = kernel.FixedInput(np.float32(per_unit), i(limit), i(shift), i(0))
    drive_neurons(constants, np.asarray(observation, np.float32), rows, drive, events)
    assert not drive[n:].any()
    assert events[:2].tolist() == [0, 0]
    return drive[:n].tolist(), int(events[2])


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    observation=st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=20),
    per_unit=st.floats(0.125, 3000, width=32),
    limit=st.sampled_from([1, 127, 4095]),
    shift=st.integers(0, 7),
    seed=st.integers(0, 99),
)
def test_graded_input_equals_the_formula(observation, per_unit, limit, shift, seed):
    released = np.random.default_rng(seed).random((2 * len(observation), 100)) < 0.5
    expected = naive.graded_input(observation, per_unit, limit, shift, released)
    assert driven(observation, per_unit, limit, shift, released) == expected


def test_graded_input_rounds_halves_to_even_and_mirrors():
    released = np.zeros((2, 64), bool)
    released[0, :32], released[1, 32:] = True, True
    for x, rounded in ((0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (2.4999, 2), (-2.6, -3)):
        assert driven([x], 1, 4095, 3, released) == ([8 * rounded] * 32 + [-8 * rounded] * 32, 0)


@pytest.mark.parametrize("n_inputs", [1, 64, 400, 3000])
@pytest.mark.parametrize("x", [2.0**24, 1e9, 1e38, np.inf])
def test_absurd_observations_are_cut_and_keep_their_sign(n_inputs, x):
    """Sums of any number of inputs stay within 32 bits."""
    released = np.zeros((2 * n_inputs, 64), bool)
    released[:n_inputs, :32], released[n_inputs:, 32:] = True, True
    assert driven([x] * n_inputs, 500, 4095, 4, released) == ([4095 << 4] * 32 + [-4095 << 4] * 32, 64)
    assert driven([-x] * n_inputs, 500, 4095, 4, released) == ([-4095 << 4] * 32 + [4095 << 4] * 32, 64)
