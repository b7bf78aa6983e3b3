"""Every design rule has a network that keeps it and one that breaks it; both say rule, object, used, limit and way out."""

import copy
import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsrp_lava import Experiment, MappingError, load_profile
from rsrp_lava.mapping import check, quantise
from rsrp_lava.mapping.check import MappedNetwork
from rsrp_lava.mapping.placement import place
from rsrp_lava.mapping.rules import RULES, Finding, Plan


class Case(NamedTuple):
    """A chip (with changed numbers), a network, and constants changed by hand where `quantise` would never choose them."""

    profile: str = "loihi1"
    numbers: dict = {}  # noqa: RUF012
    network: dict = {}  # noqa: RUF012
    by_hand: dict = {}  # noqa: RUF012


class Broken(NamedTuple):
    case: Case
    object: str
    used: object
    limit: object


def n(neurons, **options):
    return {"n_neurons": neurons, **options}


# rule → (a network that keeps it, one that breaks it and what must be said)
CASES = {
    "weight_width": (Case(by_hand={"weight": 255}), Broken(Case(by_hand={"weight": 256}), "the recurrent weight", 9, 8)),
    "weights_per_target": (
        Case(numbers={"synapse.weights_per_target": 1}, network=n(64, excitatory_ratio=1.0)),
        Broken(Case(numbers={"synapse.weights_per_target": 1}), "weights at a recurrent neuron", 2, 1),
    ),
    "sign_modes": (
        Case(numbers={"synapse.sign_modes": ["excitatory"]}, network=n(64, excitatory_ratio=1.0)),
        Broken(Case(numbers={"synapse.sign_modes": ["excitatory"]}), "signs", "none", "excitatory"),
    ),
    "loop_delay": (
        Case("xylo"),
        Broken(Case(numbers={"synapse.min_delay": 2}), "recurrent loop", 1, "2 … 62"),
    ),
    "fan_in": (Case("xylo", network=n(55)), Broken(Case("xylo", network=n(56)), "end in a recurrent neuron", 64, 63)),
    "fan_out": (Case("xylo", network=n(63)), Broken(Case("xylo", network=n(64)), "leave a recurrent neuron", 65, 64)),
    "threshold_range": (
        Case(by_hand={"threshold": 131071}),
        Broken(Case(by_hand={"threshold": 131072}), "threshold", 131072, "1 … 131071"),
    ),
    "threshold_precision": (
        Case("odin"),
        Broken(Case("odin", network=n(48)), "error of the threshold", 0.014482, 0.01),
    ),
    "time_constants": (Case(), Broken(Case("xylo"), "error of tau_mem", 0.225269, 0.05)),
    "step_bound": (
        Case(by_hand={"weight": 255}),
        Broken(Case(by_hand={"weight_exponent": 7}), "change of u", 51 * 2**13 * 128, 2**24),
    ),
    "overflow": (
        Case("spinnaker2", by_hand={"largest_u": 1.0, "bias_exponent": 0}),
        Broken(Case("xylo", by_hand={"largest_trace": 40000.0}), "possible readout trace", 40000, 32767),
    ),
    "graded_input": (Case(), Broken(Case("xylo"), "graded input", "new bias", "not writable")),
    "input_range": (Case(), Broken(Case("truenorth"), "5 deviations of every", 1911, 255)),
    "external_inputs": (
        Case("xylo", {"limits.external_inputs": 8}),
        Broken(Case("xylo", {"limits.external_inputs": 7}), "input channels", 8, 7),
    ),
    "external_outputs": (Case("odin"), Broken(Case("odin", network=n(257)), "read by the host", 257, 256)),
    "release_support": (Case("spinnaker2"), Broken(Case(), "stochastic release", "a draw a synapse", "a draw a neuron")),
    "release_levels": (Case("xylo"), Broken(Case("truenorth", network=n(128)), "recurrent neuron can have", 136, 4)),
    "cores": (Case("spinnaker2"), Broken(Case("spinnaker2", network=n(4096)), "cores of the chip", 586, 152)),
    "neurons_per_core": (
        Case("truenorth"),
        Broken(Case("truenorth", network=n(257)), "neurons of core 0", 257, 256),
    ),
    "inputs_per_core": (
        Case("truenorth", network=n(248)),
        Broken(Case("truenorth", network=n(249)), "axons in of core 0", 257, 256),
    ),
    "outputs_per_core": (
        Case("truenorth", network=n(128)),
        Broken(Case("truenorth", network=n(129)), "axons out of core 0", 258, 256),
    ),
    "synapse_memory": (
        Case("odin", network=n(248)),
        Broken(Case("odin", network=n(256)), "synapse bits of core 0", 264 * 1024, 2**18),
    ),
    "decays_per_core": (
        Case(numbers={"limits.distinct_decays_per_core": 2}),
        Broken(Case(numbers={"limits.distinct_decays_per_core": 1}), "pairs of decays of core 0", 2, 1),
    ),
    "thresholds_per_core": (
        Case(numbers={"limits.distinct_thresholds_per_core": 2}),
        Broken(Case(numbers={"limits.distinct_thresholds_per_core": 1}), "thresholds of core 0", 2, 1),
    ),
    "synapses_per_chip": (
        Case("xylo", network=n(248)),
        Broken(Case("xylo", network=n(249)), "synapses of the chip", 257 * 249 + 249, 64000),
    ),
}
WARNINGS = {"threshold_precision", "time_constants", "overflow", "input_range", "release_support", "release_levels"}


def changed(model, path, value):
    """A copy of a profile with one number replaced."""
    first, _, rest = path.partition(".")
    return model.model_copy(update={first: changed(getattr(model, first), rest, value) if rest else value})


def quantised(case):
    profile = load_profile(case.profile)
    for path, value in case.numbers.items():
        profile = changed(profile, path, value)
    return replace(quantise(Experiment(network=case.network).build_network(), profile), **case.by_hand)


def findings(name, q, probabilities=None):
    (rule,) = [rule for rule in RULES if rule.__name__ == name]
    return list(rule(Plan(q, place(q), probabilities)))


def test_every_rule_has_a_case():
    assert list(CASES) == [rule.__name__ for rule in RULES]


@pytest.mark.parametrize("rule", CASES)
def test_a_network_that_keeps_it(rule):
    found = findings(rule, quantised(CASES[rule][0]))
    assert found
    assert [finding.status for finding in found] == ["ok"] * len(found)


@pytest.mark.parametrize("rule", CASES)
def test_a_network_that_breaks_it(rule):
    broken = CASES[rule][1]
    found = [finding for finding in findings(rule, quantised(broken.case)) if broken.object in finding.object]
    (finding,) = found
    assert finding.status == ("warning" if rule in WARNINGS else "violated")
    if isinstance(broken.used, str):
        assert broken.used in finding.used
        assert broken.limit in finding.limit
    else:
        assert (finding.used, finding.limit) == (broken.used, broken.limit)


@pytest.mark.parametrize("rule", CASES)
def test_what_is_said(rule):
    """An error names rule, object, used, limit and the way out; a warning raises nothing and is in the record."""
    broken = CASES[rule][1]
    q = quantised(broken.case)
    only = tuple(r for r in RULES if r.__name__ == rule)
    mapped = check(q, strict=False, rules=only)
    said = [finding for finding in mapped.findings if broken.object in finding.object]
    (record,) = [entry for entry in mapped.record()["rules"] if broken.object in entry["object"]]
    assert record["rule"] == rule
    assert record["status"] == said[0].status
    if rule in WARNINGS:
        assert check(q, rules=only).warnings == mapped.warnings != ()
        return
    with pytest.raises(MappingError) as error:
        check(q, rules=only)
    text = str(error.value)
    used, limit = (f"{v:,}" if isinstance(v, int) else str(v) for v in (said[0].used, said[0].limit))
    assert f"{rule}: {said[0].object}: {used}, limit {limit}; {said[0].way_out}" in text
    assert q.profile.name in text
    assert len(said[0].way_out) > 10


def test_all_violations_are_named_at_once():
    q = quantised(Case("truenorth"))
    with pytest.raises(MappingError) as error:
        check(q)
    rules = re.findall(r"^  (\w+):", str(error.value), re.MULTILINE)
    assert rules == ["fan_in", "graded_input", "inputs_per_core", "outputs_per_core", "synapse_memory"]


@pytest.mark.parametrize("profile", ["loihi1", "loihi2", "generic-int8", "spinnaker2"])
def test_the_cartpole_network_fits(profile):
    mapped = check(quantised(Case(profile)))
    assert mapped.violations == ()
    assert {usage.resource: usage.used for usage in mapped.utilisation}["cores"] == (3 if profile == "spinnaker2" else 1)


def test_chips_without_graded_input_take_a_smaller_network_but_for_its_input():
    for profile, neurons in {"truenorth": 128, "xylo": 55, "odin": 248}.items():
        mapped = check(quantised(Case(profile, network=n(neurons))), strict=False)
        assert {finding.rule for finding in mapped.violations} == {"graded_input"}
        check(quantised(Case(profile, {"neuron.bias.writable": True}, n(48))))


@pytest.mark.parametrize(("weight", "holds"), [(50, True), (51, False), (1, False)])
def test_mixed_signs_destroy_odd_weights(weight, holds):
    """Lava's fixed-point Dense keeps even weights only: ±1 → 0, −2."""
    case = Case(numbers={"synapse.sign_modes": ["mixed"]}, by_hand={"weight": weight})
    (finding,) = findings("sign_modes", quantised(case))
    assert finding.holds == holds
    assert "one block of synapses a sign" in finding.way_out


def test_one_observation_has_an_end_of_its_own():
    """Kernels stop a single observation at 2^17, so that sums fit 32 bits: a bias without an exponent would reach it."""
    q = quantised(Case("spinnaker2", {"neuron.bias.bits": 30, "neuron.bias.max_exponent": 0}))
    every, one = findings("input_range", q)
    assert (every.status, one.status, one.limit) == ("ok", "warning", 2**17)
    assert one.used == round(5 * q.per_unit)


def test_levels_are_counted_from_the_probabilities():
    """TrueNorth has one probability an axon type and neuron, sign included: two signs of ½ and ¼ are four, 0 is none."""
    q = quantised(Case("truenorth", network=n(8)))
    rho = {"input": np.zeros((8, 8)), "recurrent": np.zeros((8, 8)), "readout": np.full((8, 1), 0.3)}
    count = lambda: findings("release_levels", q, rho)[0].used  # noqa: E731
    assert count() == 0
    rho["recurrent"][[0, 1, 4, 5], 2] = [0.5, 0.25, 0.5, 0.25]
    assert count() == 4
    rho["input"][0, 2] = 0.25  # as an excitatory source with ¼
    assert count() == 4
    rho["input"][1, 2] = 0.75
    assert count() == 5


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["loihi2", "odin", "spinnaker2", "truenorth", "xylo"]), st.integers(2, 400))
def test_checking_changes_nothing(profile, neurons):
    q = quantised(Case(profile, network=n(neurons)))
    rho = q.network.initial_probabilities({})
    before, kept = repr(q), copy.deepcopy(rho)
    first, second = (check(q, rho, strict=False) for _ in range(2))
    assert first == second
    assert isinstance(first, MappedNetwork)
    assert repr(q) == before
    assert all(np.array_equal(rho[name], kept[name]) for name in rho)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["generic-int8", "loihi1", "odin", "spinnaker2", "truenorth", "xylo"]), st.integers(2, 1500))
def test_the_readout_cannot_overflow_where_its_smallest_weight_fits(profile, neurons):
    """The readout's exponent may be below that of the recurrent weights: sharing it, 600 neurons would overflow on Loihi."""
    q = quantised(Case(profile, network=n(neurons)))
    found = {finding.object: finding for finding in findings("overflow", q)}
    assert found["largest possible readout trace"].holds or (q.readout_weight, q.readout_exponent) == (1, 0)
    assert q.readout_exponent <= q.weight_exponent


def test_a_finding_prints_what_there_is_to_know():
    finding = Finding("axons of core 3", 5000, 4096, False, "use fewer", rule="inputs")
    assert str(finding) == "inputs: axons of core 3: 5,000, limit 4,096; use fewer"
