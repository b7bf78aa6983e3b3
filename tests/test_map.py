"""`rsrp-lava map` and `map_run`: a run's network on a chip, and what each chip's arithmetic becomes in the kernels."""

import json
import re

import numpy as np
import pytest

import rsrp_lava
from rsrp_lava import Experiment, MappingError, load_profile, load_run, map_run
from rsrp_lava.kernels import fixed_point as kernel
from rsrp_lava.mapping import quantise
from rsrp_lava.mapping.rules import RULES

ONE_BIT = """
name: one-bit
extends: loihi1
synapse:
  weight_bits: {value: [1], unit: bit, source: "ablation: binary synapses", status: inferred}
"""


def test_the_table_has_every_resource_constant_and_rule(run, call, files):
    before = files(run)
    code, out, err = call("map", run, "--profile", "loihi2")
    assert (code, err) == (0, "")
    assert files(run) == before
    for words in (
        r"cores +1 +128 +0\.8",
        r"synapse bits of the fullest core +[\d,]+ +1,048,576",
        r"0 +recurrent 0–31, readout 0–0 +64 +64",
        r"tau_syn +5 ms +4\.997 ms +-0\.06 %",
        r"threshold +[\d.]+ +\d+ +[+-]0\.\d+ % +mantissa",
        r"never run on silicon",
        r"warning: release_support: .*deploy a network without",
    ):
        assert re.search(words, out), words
    listed = re.findall(r"^([a-z]\w+) .* (ok|warning|violated)$", out, re.MULTILINE)
    assert {name for name, _ in listed} == {rule.__name__ for rule in RULES}


def test_json_says_the_same_as_python(run, call):
    code, out, err = call("map", run, "--profile", "truenorth", "--json")
    assert code == 2  # graded input
    assert "profile truenorth cannot hold this network" in err
    assert "Traceback" not in err
    mapped = map_run(run, profile="truenorth")
    record = json.loads(out)
    assert record == {**json.loads(json.dumps(mapped.record())), "run": str(run)}
    assert record["violated"] == len(mapped.violations) == 1
    assert record["validated_on_silicon"] is False
    with pytest.raises(MappingError, match="graded_input"):
        map_run(load_run(run), profile="truenorth", strict=True)


def test_a_file_an_override_and_the_runs_own_profile(run, call, tmp_path):
    (tmp_path / "one-bit.yaml").write_text(ONE_BIT, encoding="utf-8")
    assert "1 bit a synapse" in call("map", run, "--profile", "one-bit.yaml")[1]
    split = map_run(run, profile="one-bit.yaml", overrides={"limits.neurons_per_core": 12})
    assert [core.size for core in split.cores] == [12, 12, 9]
    code, _, err = call("map", run)  # trained in floating point
    assert code == 2
    assert "profile ideal: is floating point; there is nothing to quantise" in err
    chip = Experiment(
        profile="loihi1",
        profile_overrides={"limits.neurons_per_core": 20},
        **{"population": 8, "generations": 1, "evaluation_episodes": 8, "network": {"n_neurons": 32}},
    )
    rsrp_lava.train(chip, out="own", threads=1)
    assert [core.size for core in map_run("own").cores] == [20, 13]


def test_the_profiles_command(call):
    code, out, err = call("profiles", "odin")
    assert (code, err) == (0, "")
    assert re.search(r"^neuron\.v\.overflow +saturate_at_zero +documented +ODIN src", out, re.MULTILINE)
    assert call("profiles", "odinn")[0] == 2


def constants(profile):
    experiment = Experiment(profile=profile)
    return quantise(experiment.build_network(), experiment.hardware).constants()


def test_truenorth_and_odin_leak_linearly_and_keep_no_current():
    for profile, leak in {"truenorth": 48, "odin": 1}.items():
        made = constants(profile)
        assert made.lif.v_decay == kernel.LinearLeak(leak)
        assert made.lif.u_decay == kernel.MultiplyTowardZero(0, 1, 1)  # u ← 0 · u >> 1
        assert made.readout.decay == kernel.MultiplyRounded(2**15 - 1598, 15, 2**15 - 1, 2**14)  # the host's
        assert made.readout.overflow.__class__ is kernel.CannotOverflow
    assert constants("odin").lif.v_overflow == kernel.Saturate(0, 255)
    assert constants("odin").lif.threshold == 55 - 1  # spikes where v ≥ 55


def test_xylo_shifts_and_resets_by_subtraction():
    made = constants("xylo")
    assert (made.lif.u_decay, made.lif.v_decay) == (kernel.ShiftDown(3), kernel.ShiftDown(4))
    assert made.lif.reset == kernel.ResetBySubtraction(1510)
    assert made.lif.v_overflow == kernel.Saturate(1 - 2**15, 2**15 - 1)


@pytest.mark.parametrize("profile", ["truenorth", "odin"])
def test_a_spike_brings_its_charge_at_once_where_nothing_outlasts_a_step(profile):
    """Σ_t α_s^t R = R / (1 − α_s) arrives in one step: threshold / weight is that of the whole charge, times the gain."""
    experiment = Experiment(profile=profile)
    network, o = experiment.build_network(), experiment.network
    q = quantise(network, load_profile(profile))
    charge = network.recurrent_weight / (1 - np.exp(-o.dt_ms / o.tau_syn_ms))
    expected = o.v_threshold / (charge * (1 - np.exp(-o.dt_ms / o.tau_mem_ms)))
    assert np.isclose(q.threshold_exact / q.weight, expected, rtol=1e-12)


@pytest.mark.parametrize("profile", ["generic-int8", "odin", "spinnaker2", "truenorth", "xylo", "one-bit.yaml"])
def test_every_chips_kernels_equal_plain_numpy(run, profile, tmp_path, monkeypatch):
    """The exported arrays are played by a NumPy program of their own; one-bit's readout has a smaller exponent."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one-bit.yaml").write_text(ONE_BIT, encoding="utf-8")
    report = rsrp_lava.deploy(run, to="npz", output=tmp_path / "arrays", profile=profile, verify=True, episodes=2)
    assert report["spikes"] > 100
    assert report["mismatches"] == 0
    assert report["mean_return"] == report["kernel_mean_return"]
