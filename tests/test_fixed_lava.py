"""Integer neurons and synapses equal stock Lava's bit-accurate ones (select_tag fixed_pt)."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("lava") is None, reason="Lava runs on Python 3.10 only"),
]


def report_of(part):
    script = [sys.executable, HERE / "lava_fixed.py", part]
    done = subprocess.run(script, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_neuron_step_is_that_of_stock_lif_for_any_registers_and_states():
    report = report_of("lif")
    assert report["steps"] == 56 * 4 * 5120 >= 10**6
    assert report["mismatches"] == 0
    assert min(report["spikes"], report["u_overflow"], report["v_overflow"], report["at_threshold"]) > 1000
    assert min(report["u_landed"]) > 1000  # sums of exactly ±limit and ±limit ± 1


@pytest.mark.slow
def test_a_recurrent_network_of_stock_processes_spikes_alike_for_a_million_neuron_steps():
    report = report_of("network")
    assert report["steps"] >= 10**6
    assert report["mismatches"] == 0
    assert report["potential"] == 0
    assert report["spikes"] > 10_000
    assert report["events"] == [0, 0, 0]


def test_synapses_of_one_sign_are_those_of_stock_dense_and_mixed_ones_are_not():
    """With mixed signs the lowest bit of a weight is the sign's: +1 becomes 0 and −1 becomes −2, whence a Dense a sign."""
    report = report_of("dense")
    assert report["mismatches"] == [0] * 10
    assert min(report["active"]) > 1000
    assert not report["mixed_equals_signed_sum"]
    assert report["mixed_equals_0_and_minus_2"]
