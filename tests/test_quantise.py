"""Constants of a network in a chip's integers: closed forms, rounding within half a step, bounds that hold."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from drivers import record_network
from naive_fixed import Chip
from rsrp_lava.errors import MappingError
from rsrp_lava.hardware_profiles import load_profile
from rsrp_lava.kernels import fixed_point as kernel
from rsrp_lava.kernels.release import pack_bits
from rsrp_lava.kernels.rollout import Synapses
from rsrp_lava.mapping import floating_constants, quantise
from rsrp_lava.network import Network, NetworkOptions

LOIHI2 = load_profile("loihi2")


def mapped(profile=LOIHI2, n_inputs=4, n_outputs=1, **options):
    return quantise(Network(NetworkOptions(**options), n_inputs, n_outputs), profile)


def loihi2(**overrides):
    return load_profile("loihi2", {f"neuron.{path}": value for path, value in overrides.items()})


UNSHIFTED = {"input_shift": 0, "threshold.shift": 0}
SHIFT = loihi2(**{"decay.form": "shift", "decay.bits": 4, "reset": "subtract"})
LINEAR = loihi2(**{"decay.form": "linear", "synaptic_current": False, "threshold.compare": "ge"})
#: Profiles whose rounding can add to |u|, and some that overflow.
PROFILES = {
    "loihi2": LOIHI2,
    "floor": loihi2(**{"decay.rounding": "floor"}),
    "nearest": loihi2(**{"decay.rounding": "nearest"}),
    "nearest, narrow": loihi2(**{"decay.rounding": "nearest", "u.bits": 16, "v.bits": 20, **UNSHIFTED}),
    "floor, narrow": loihi2(**{"decay.rounding": "floor", "u.bits": 14, "v.bits": 18, **UNSHIFTED}),
    "shift": SHIFT,
    "shift, narrow": loihi2(**{"decay.form": "shift", "decay.bits": 4, "u.bits": 15, "v.bits": 16, **UNSHIFTED}),
    "linear": LINEAR,
}
networks = st.builds(
    NetworkOptions,
    n_neurons=st.integers(2, 600),
    excitatory_ratio=st.floats(0, 1),
    dt_ms=st.floats(0.1, 2),
    tau_syn_ms=st.floats(1, 50),
    tau_mem_ms=st.floats(1, 100),
    tau_out_ms=st.floats(1, 100),
    v_threshold=st.floats(0.1, 5),
    v_reset=st.floats(-3, 0),
    recurrent_gain=st.floats(0.2, 5),
    input_gain=st.floats(0.01, 1),
)
anything = settings(derandomize=True, deadline=None, max_examples=15)


def quantised(profile, options, n_inputs=4):
    try:
        return quantise(Network(options, n_inputs, 1), profile)
    except MappingError:
        assume(False)


# Closed forms


def test_time_constants_of_the_paper_on_loihi():
    """du = 4096 (1 − e^(−0.5/5)) − 1 = 388.79 → 389 and dv = 4096 (1 − e^(−0.5/10)) = 199.76 → 200; the readout as v."""
    m = mapped()
    assert (m.u_decay.register, m.v_decay.register, m.readout_decay.register) == (389, 200, 200)
    assert m.u_decay.kept == 1 - 390 / 4096
    assert m.v_decay.kept == 1 - 200 / 4096
    assert m.v_decay.effective_tau_ms == pytest.approx(-0.5 / math.log(1 - 200 / 4096), rel=1e-12)
    assert abs(m.u_decay.error) < 2e-3
    assert abs(m.v_decay.error) < 2e-3


def test_threshold_is_the_rounded_formula():
    """A released synapse adds w·2^(6 + e) to u where the network has R; V = U/(1 − a_m) a unit; charge kept."""
    m = mapped()
    weight = m.weight << (6 + m.weight_exponent)
    charge = (390 / 4096) / (1 - math.exp(-0.1))
    unit = weight / (0.25 * charge)  # R = 10/5 · √(2/(0.5 · 256)) = 1/4
    exact = unit / (200 / 4096) / 64
    assert m.threshold == round(exact)
    assert m.threshold_exact == pytest.approx(exact, rel=1e-12)
    assert abs(m.threshold_error) <= 0.5 / exact
    assert m.constants().lif.threshold == m.threshold << 6
    assert m.constants().lif.weight == weight


@pytest.mark.parametrize(("form", "tau", "dash"), [("shift", 5.0, 3), ("shift", 10.0, 4), ("shift", 40.0, 6)])
def test_shift_of_a_time_constant(form, tau, dash):
    """e^(−0.1) ≈ 1 − 1/8 (not 1/16), e^(−0.05) ≈ 1 − 1/16 (hardware emulators: 7.5 and 15.5 steps instead of 10 and 20)."""
    decay = mapped(SHIFT, tau_syn_ms=tau).u_decay
    assert (decay.register, decay.kept) == (dash, 1 - 2.0**-dash)


@pytest.mark.parametrize("bits", [1, 4, 12, 15])
def test_any_width_of_a_shift_is_mapped(bits):
    decay = mapped(loihi2(**{"decay.form": "shift", "decay.bits": bits}), tau_mem_ms=100.0).v_decay
    assert decay.register == min(2**bits - 1, 8)  # 200 steps: 2^-8 is 255.5, 2^-7 127.5


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("name", ["tau_syn_ms", "tau_mem_ms", "tau_out_ms"])
def test_a_time_constant_too_long_becomes_the_longest_there_is(name, offset):
    """A register that leaks nothing would never forget, and no scale would fit."""
    profile = loihi2(**{"decay.u_offset": offset, "decay.v_offset": offset})
    m = mapped(profile, **{name: 1e6}, recurrent_gain=1e-4 if name == "tau_mem_ms" else 1)
    decay = {"tau_syn_ms": m.u_decay, "tau_mem_ms": m.v_decay, "tau_out_ms": m.readout_decay}[name]
    assert decay.register + offset == 1
    assert decay.kept == 4095 / 4096
    assert decay.error < -0.99


def test_a_membrane_that_leaks_linearly_takes_from_half_a_threshold_what_it_should():
    m = mapped(loihi2(**{"decay.form": "linear", "decay.bits": 15, "synaptic_current": False, "threshold.compare": "ge"}))
    half = m.threshold * 64 / 2
    assert m.v_decay.register == round((1 - math.exp(-0.05)) * half)
    assert m.constants().lif.u_decay == kernel.MultiplyTowardZero(0, 1, 1)
    assert m.constants().lif.threshold == m.threshold * 64 - 1


def test_a_linear_leak_of_the_synaptic_current_is_refused():
    with pytest.raises(MappingError, match=r"neuron.synaptic_current.*false"):
        mapped(loihi2(**{"decay.form": "linear"}))


def test_no_threshold_that_fits_is_refused_with_the_way_out():
    with pytest.raises(MappingError, match=r"no weight .* gives profile loihi2 a threshold .*network.recurrent_gain"):
        mapped(recurrent_gain=1e-6)


def test_floating_point_is_not_quantised():
    with pytest.raises(MappingError, match=r"profile ideal: is floating point"):
        mapped(load_profile("ideal"))


# Rounding


@anything
@given(options=networks, n_inputs=st.integers(1, 40), name=st.sampled_from(["loihi2", "nearest", "shift"]))
def test_every_constant_is_within_half_a_step(options, n_inputs, name):
    m = quantised(PROFILES[name], options, n_inputs)
    network, neuron = m.network, m.profile.neuron
    assert abs(m.threshold - m.threshold_exact) <= 0.5
    back = m.threshold_exact * 2**neuron.threshold.shift / m.potential_unit
    assert back == pytest.approx(options.v_threshold - options.v_reset, rel=1e-9)
    gain = 1 - m.v_decay.kept
    assert m.current_unit == pytest.approx(m.potential_unit * gain, rel=1e-9)
    if neuron.decay.form == "multiply":
        offsets = (neuron.decay.u_offset, neuron.decay.v_offset, neuron.decay.v_offset)
        for decay, offset in zip((m.u_decay, m.v_decay, m.readout_decay), offsets, strict=True):
            exact = (1 - math.exp(-options.dt_ms / decay.tau_ms)) * 2**neuron.decay.bits
            inside = offset < exact < 2**neuron.decay.bits - 1
            assert not inside or abs(decay.register + offset - exact) <= 0.5
    # what a spike delivers in all, R / (1 − α): the same in integers as in floating point
    step = (m.weight << (neuron.input_shift + m.weight_exponent)) / m.current_unit
    delivered = network.recurrent_weight / (1 - network.decay(options.tau_syn_ms))
    assert step / (1 - m.u_decay.kept) == pytest.approx(delivered, rel=1e-9)
    # one unit of input: within half a mantissa, half of 2^exponent
    per_unit = m.per_unit * 2**m.bias_exponent / m.current_unit
    assert per_unit == pytest.approx(network.input_weight, rel=1e-9)


@anything
@given(options=networks)
def test_the_readout_has_the_gain_of_the_floating_one(options):
    """A synapse that carries a spike at every step drives both outputs to R_out / dt."""
    m = quantised(LOIHI2, options)
    trace = (m.readout_weight << (6 + m.readout_exponent)) / (1 - m.readout_decay.kept)
    assert trace * m.readout_scale == pytest.approx(m.network.output_weight / options.dt_ms, rel=1e-9)


@anything
@given(options=networks)
def test_a_quiet_membrane_follows_the_floating_one(options):
    """One step of V from anywhere, without input, back in potentials: within the error of dv, and one integer."""
    m = quantised(LOIHI2, options)
    chip, floating = Chip(m), floating_constants(m.network)
    span = options.v_threshold - options.v_reset
    for v in np.linspace(options.v_reset - span, options.v_threshold, 7):
        if abs(v - options.v_reset) * m.potential_unit >= 2**23 - 1:
            continue
        held = round((v - options.v_reset) * m.potential_unit)
        after = chip.lif_step(0, held, 0, 0)[1]
        expected = options.v_reset + float(floating.lif.alpha_mem) * (v - options.v_reset)
        slack = abs(v - options.v_reset) * (0.51 / 4096 + 1e-6) + 2 / m.potential_unit
        clamped = m.v_decay.register in (1, 4095)
        assert clamped or abs(options.v_reset + after / m.potential_unit - expected) <= slack


# Bounds


def largest_reached(step, count, weight):
    """|x| of a register that gets weight · count at every step, of either sign, until it no longer changes."""
    reached = 0
    for sign in (-1, 1):
        x, before = 0, None
        for _ in range(30_000):
            if x == before:
                break
            before, x = x, step(x) + sign * weight * count
            reached = max(reached, abs(x))
    return reached


@pytest.mark.parametrize("name", PROFILES)
@anything
@given(options=networks)
def test_no_current_and_no_trace_exceeds_its_bound(name, options):
    """All synapses of one sign release and all neurons spike, for ever; unbounded registers."""
    m = quantised(PROFILES[name], options)
    chip, neuron = Chip(m), m.profile.neuron
    excitatory = round(options.n_neurons * options.excitatory_ratio)
    count = max(excitatory, options.n_neurons - excitatory)
    d = neuron.decay
    u_step = (lambda x: chip.decay(x, m.u_decay.register, d.u_offset)) if neuron.synaptic_current else (lambda x: 0)
    assert largest_reached(u_step, count, m.weight << chip.shift) <= m.largest_u
    if d.form != "linear":
        trace_step = lambda x: chip.decay(x, m.readout_decay.register, d.v_offset)  # noqa: E731
        step = m.readout_weight << (neuron.input_shift + m.readout_exponent)
        assert largest_reached(trace_step, count, step) <= m.largest_trace
    constants = m.constants()
    unchecked = isinstance(constants.lif.u_overflow, kernel.CannotOverflow)
    assert unchecked == (m.largest_u < 2 ** (neuron.u.bits - 1) - 1)
    # 32 bits hold every sum: the state before, and what one step adds
    v_limit = 2 ** (neuron.v.bits - 1)
    bias = m.bias_limit << m.bias_exponent
    assert v_limit + 2 ** (neuron.u.bits - 1) + bias < 2**31
    assert 2 ** (neuron.u.bits - 1) + (m.weight << chip.shift) * count < 2**31
    assert (m.threshold << neuron.threshold.shift) < v_limit - 1  # or no neuron could spike


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_a_network_at_its_loudest_stays_below_the_bound_and_counts_nothing(ratio):
    """Every synapse releases; with ratio 1 a strong input makes every neuron spike at every step."""
    m = mapped(n_neurons=128, excitatory_ratio=ratio)
    constants = m.constants()._replace(substeps=1)
    assert isinstance(constants.lif.u_overflow, kernel.CannotOverflow)
    synapses = Synapses(*(pack_bits(np.ones(p.rows_shape, bool))[None, :] for p in m.network.projections))
    synapses.input[:, synapses.input.shape[1] // 2 :] = 0  # x only, not −x
    observations = np.full((6, 4), 2.5, np.float32)
    rows, events = 6 * 33, np.zeros(3, np.int64)
    spikes, u, v = np.zeros((rows, 2), np.uint64), *np.zeros((2, rows, 128), np.int32)
    trace, outputs = np.zeros((rows, 8), np.int32), np.zeros((6, 1), np.float32)
    record_network(synapses, constants, (1, 2, 0), 0, observations, spikes, u, v, trace, outputs, events)
    assert np.abs(u).max() <= m.largest_u
    assert np.abs(trace).max() <= m.largest_trace
    assert events[0] == events[2] == 0
    if ratio == 1:
        assert np.abs(u).max() > 0.98 * m.largest_u
        assert np.abs(trace).max() > 0.98 * m.largest_trace
