"""Synaptic sums and neurons: bit for bit against the twin, closed forms, limits."""

import numpy as np
import pytest

import naive
from drivers import add_rows, step_lif
from rsrp_lava.kernels.neurons import LifConstants
from rsrp_lava.kernels.release import pack_bits, unpack_bits

CONSTANTS = naive.Constants(n_inputs=4, n_neurons=256, real=np.float32)
LIF = LifConstants(
    CONSTANTS.alpha_syn,
    CONSTANTS.weight,
    CONSTANTS.alpha_mem,
    CONSTANTS.gain,
    CONSTANTS.v_threshold,
    CONSTANTS.v_reset,
)


def packed(bits):
    return pack_bits(np.asarray(bits, bool)[None, :])


def padded(values, dtype):
    out = np.zeros(-(-len(values) // 64) * 64, dtype)
    out[: len(values)] = values
    return out


def summed(spikes, excitatory, released):
    out = np.full(-(-released.shape[1] // 64) * 64, -9, np.int16)  # must be overwritten
    add_rows(packed(spikes), packed(excitatory), pack_bits(released), out)
    assert not out[released.shape[1] :].any()
    return out[: released.shape[1]].tolist()


def stepped(u, v, drive, count, constants=LIF):
    """New (u, v, spikes) of the kernel; any number of neurons."""
    arrays = [padded(values, dtype) for values, dtype in ((u, "f4"), (v, "f4"), (drive, "f4"), (count, "i2"))]
    words = np.zeros(len(arrays[0]) // 64, np.uint64)
    step_lif(*arrays, constants, words)
    return arrays[0][: len(u)], arrays[1][: len(u)], unpack_bits(words, (1, len(u)))[0]


@pytest.mark.parametrize("n", [64, 100, 128, 192, 256, 320, 576])
@pytest.mark.parametrize("activity", [0.0, 0.05, 0.5, 1.0])
def test_row_sums_equal_the_twin(n, activity):
    random = np.random.default_rng(n)
    released = random.random((n, n)) < 0.5
    spikes = random.random(n) < activity
    for boundary in (0, n // 2, n // 3, n):  # n // 3 is inside a word
        excitatory = np.arange(n) < boundary
        assert summed(spikes, excitatory, released) == naive.sum_rows(spikes, excitatory, released)
    mixed = random.random(n) < 0.3
    assert summed(spikes, mixed, released) == naive.sum_rows(spikes, mixed, released)


def test_row_sums_reach_their_limits():
    everything = np.ones((256, 256), bool)
    yes, no = np.ones(256, bool), np.zeros(256, bool)
    assert summed(yes, yes, everything) == [256] * 256
    assert summed(yes, no, everything) == [-256] * 256
    assert summed(yes, np.arange(256) < 128, everything) == [0] * 256
    assert summed(no, yes, everything) == [0] * 256
    assert summed(yes, yes, ~everything) == [0] * 256
    assert summed(np.arange(256) < 255, yes, everything) == [255] * 256  # the most that 8-bit counters hold


def test_a_spike_reaches_the_targets_of_its_own_row_only():
    released = np.random.default_rng(0).random((130, 130)) < 0.5
    for i in (0, 63, 64, 127, 128, 129):
        spikes = np.arange(130) == i
        assert summed(spikes, np.ones(130, bool), released) == released[i].astype(int).tolist()
        assert summed(spikes, np.zeros(130, bool), released) == (-released[i].astype(int)).tolist()


def test_neurons_equal_the_twin_bit_for_bit():
    random = np.random.default_rng(8)
    u, v = random.normal(0, 2, 320).astype("f4"), random.random(320).astype("f4")
    spiked = 0
    for _ in range(100):
        drive = random.normal(0, 2, 320).astype("f4")
        count = random.integers(-40, 41, 320).astype("i2")
        new_u, new_v, spikes = stepped(u, v, drive, count)
        expected = [naive.lif_step(u[j], v[j], drive[j], count[j], CONSTANTS) for j in range(320)]
        np.testing.assert_array_equal(new_u.view("u4"), np.array([e[0] for e in expected], "f4").view("u4"))
        np.testing.assert_array_equal(new_v.view("u4"), np.array([e[1] for e in expected], "f4").view("u4"))
        np.testing.assert_array_equal(spikes, [e[2] for e in expected])
        u, v, spiked = new_u, new_v, spiked + spikes.sum()
    assert 1000 < spiked < 31000  # both branches were taken often


def test_extreme_counts_keep_their_value():
    for n in (-32768, -1, 0, 1, 32767):
        u, _, _ = stepped([0.0], [0.0], [0.0], [n])
        assert u[0] == np.float32(CONSTANTS.weight * np.float32(n))


def test_reaching_the_threshold_is_no_spike():
    """No input and α_mem = 1: v stays where it is, so 1.0 is compared with exactly 1.0."""
    constants = LIF._replace(alpha_mem=np.float32(1), gain=np.float32(0))
    above = np.nextafter(np.float32(1), np.float32(2))
    below = np.nextafter(np.float32(1), np.float32(0))
    _, v, spikes = stepped([0] * 3, [below, 1.0, above], [0] * 3, [0] * 3, constants)
    assert spikes.tolist() == [False, False, True]
    assert v.tolist() == [below, 1.0, 0.0]


def test_a_spike_resets_the_membrane_and_keeps_the_current():
    constants = LIF._replace(v_reset=np.float32(-0.25))
    u, v, spikes = stepped([100.0, 0.0], [0.9, 0.9], [0, 0], [0, 0], constants)
    assert spikes.tolist() == [True, False]
    assert v[0] == np.float32(-0.25)
    assert u[0] == np.float32(constants.alpha_syn * np.float32(100))


def test_constant_drive_follows_the_closed_form():
    """v_n = I (1 − αⁿ) while no neuron spikes (I < threshold), from v = 0, without synaptic input.

    Tolerance: a step rounds by up to 2⁻²³ · 3 or so, and 1 / (1 − α) ≈ 20 steps are remembered: 10⁻⁵.
    """
    drive = np.linspace(-3, 0.99, 64).astype("f4")
    u, v = np.zeros(64, "f4"), np.zeros(64, "f4")
    alpha = float(np.exp(-0.5 / 10))
    for n in range(1, 201):
        u, v, spikes = stepped(u, v, drive, np.zeros(64, "i2"))
        assert not spikes.any()
        np.testing.assert_allclose(v, drive * (1 - alpha**n), rtol=0, atol=1e-5)


def test_synaptic_current_decays_geometrically():
    """u_n = R k α_synⁿ⁻¹ after k synapses arrive at step 1."""
    u, v = np.zeros(64, "f4"), np.zeros(64, "f4")
    count = np.arange(64) - 60
    for n in range(1, 60):
        u, v, _ = stepped(u, v, np.zeros(64, "f4"), count if n == 1 else np.zeros(64, "i2"))
        np.testing.assert_allclose(u, 0.25 * count * np.exp(-0.1 * (n - 1)), rtol=1e-5)


def test_suprathreshold_drive_spikes_at_the_expected_step():
    """From v = 0, I (1 − αⁿ) > 1 first holds at n = ⌈ln(1 − 1/I) / ln α⌉ = ⌈−20 ln(1 − 1/I)⌉."""
    drive = np.array([1.1, 1.5, 2.0, 3.0, 10.0, 50.0], "f4")
    expected = np.ceil(-20 * np.log(1 - 1 / drive.astype(float))).astype(int)
    u, v = np.zeros(6, "f4"), np.zeros(6, "f4")
    first = np.zeros(6, int)
    for n in range(1, 100):
        u, v, spikes = stepped(u, v, drive, np.zeros(6, "i2"))
        first[(first == 0) & spikes] = n
    assert first.tolist() == expected.tolist()
