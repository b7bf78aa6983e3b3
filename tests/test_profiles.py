"""Hardware profiles: all that ship load and compute, and a file that is wrong is refused with the path of the key."""

import os
import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from rsrp_lava import Experiment, ProfileError, load_profile, profile_names, train
from rsrp_lava.hardware_profiles import profile_values
from rsrp_lava.mapping import quantise
from rsrp_lava.reporting.tables import profile_line, profile_table

CHIPS = ["generic-int8", "loihi1", "loihi2", "odin", "spinnaker2", "truenorth", "xylo"]
#: A file up to the value of a leaf; three brackets are open.
LEAF = "extends: loihi1\nname: mine\nneuron: {u: {bits: {unit: bit, source: a test, status: inferred, value: "
ABLATION = {"extends": "loihi1", "name": "mine"}


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """A function: writes a profile that extends loihi1 and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(tree, name="mine.yaml"):
        text = tree if isinstance(tree, str) else yaml.safe_dump({**ABLATION, **tree})
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    return write


def leaf(value, unit="bit", **changes):
    made = {"value": value, "unit": unit, "source": "a test", "status": "inferred", **changes}
    return {key: entry for key, entry in made.items() if entry is not None}


def test_the_profiles_there_are():
    assert profile_names() == sorted(["ideal", *CHIPS])


@pytest.mark.parametrize("name", ["ideal", *CHIPS])
def test_every_number_has_a_unit_a_source_and_a_status(name):
    profile = load_profile(name)
    assert profile.name == name
    assert not profile.provenance.validated_on_silicon
    values = profile_values(profile)
    assert values.keys() == profile.facts.keys()
    assert len(values) >= 35
    assert all(len(fact.source) >= 4 for fact in profile.facts.values())
    table = profile_table(profile)
    assert all(path in table for path in values)
    counts = [int(number) for number in re.findall(r"(\d+) (?:documented|emulator|inferred)", profile_line(profile))]
    assert sum(counts) == len(values)


@pytest.mark.parametrize("name", CHIPS)
def test_every_chip_plays_episodes(name):
    experiment = Experiment(
        profile=name, population=8, generations=1, evaluation_episodes=8, network={"n_neurons": 48}, seed=2
    )
    quantised = quantise(experiment.build_network(), experiment.hardware)
    assert abs(quantised.threshold_error) <= 0.5 / quantised.threshold_exact  # half a step
    summary = train(experiment, threads=1).summary
    assert summary["env_steps"] >= 8 * 8  # a pole does not fall within 8 steps
    assert 8 <= summary["final_eval_return"] <= 500


@pytest.mark.slow
@pytest.mark.parametrize("name", CHIPS)
def test_every_chip_learns_to_balance(name):
    result = train(Experiment(profile=name, generations=40, seed=1), until=475)
    assert result.summary["final_eval_return"] >= 475


@pytest.mark.parametrize(
    ("tree", "place", "why"),
    [
        ({"neuron": {"u": {"bits": leaf(24, "step")}}}, "neuron.u.bits.unit", "'step' — must be 'bit'"),
        ({"neuron": {"u": {"bits": leaf(24, None)}}}, "neuron.u.bits.unit", "None — must be 'bit'"),
        ({"arithmetic": leaf("integer", "bit")}, "arithmetic.unit", "must be None"),
        ({"neuron": {"u": {"bits": leaf(24, source=None)}}}, "neuron.u.bits.source", "missing"),
        ({"neuron": {"u": {"bits": leaf(24, source="    ")}}}, "neuron.u.bits.source", "at least 3 characters"),
        ({"neuron": {"u": {"bits": leaf(24, status=None)}}}, "neuron.u.bits.status", "missing"),
        ({"neuron": {"u": {"bits": leaf(24, status="measured")}}}, "neuron.u.bits.status", "'measured'"),
        ({"neuron": {"u": {"bits": leaf(24, note="x")}}}, "neuron.u.bits.note", "'x'"),
        ({"neuron": {"u": {"bits": leaf(31)}}}, "neuron.u.bits", "31 — input should be less than or equal to 30"),
        ({"neuron": {"u": {"bits": leaf(7)}}}, "neuron.u.bits", "7 — input should be greater than or equal to 8"),
        ({"neuron": {"u": {"bits": leaf("24")}}}, "neuron.u.bits", "'24'"),
        ({"neuron": {"u": {"bits": leaf(True)}}}, "neuron.u.bits", "True"),
        ({"neuron": {"u": {"bits": leaf(float("nan"))}}}, "neuron.u.bits", "nan"),
        ({"neuron": {"u": {"bits": 24}}}, "neuron.u.bits", "must be {value, unit: bit, source, status}, not 24"),
        ({"neuron": {"u": 24}}, "neuron.u", "must be a section, not 24"),
        ({"neuron": {"u": {"bitz": leaf(24)}}}, "neuron.u.bitz", "did you mean 'bits'?"),
        ({"neurons": {}}, "neurons", "did you mean 'neuron'?"),
        ({"digest": "x"}, "digest", "unknown key"),
        ({"neuron": None}, "neuron", "is missing; arithmetic: integer needs it"),
        ({"synapse": {"weight_bits": leaf([8, 17])}}, "synapse.weight_bits", "must be between 1 and 16"),
        ({"synapse": {"weight_bits": leaf([])}}, "synapse.weight_bits", "at least 1"),
        ({"synapse": {"min_delay": leaf(63, "step")}}, "synapse.min_delay", "63 is above max_delay: 62"),
        ({"provenance": {"validated_on_silicon": True}}, "provenance.validated_on_silicon", "True"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(profile, tree, place, why):
    with pytest.raises(ProfileError, match=re.escape(f"profile {Path(profile(tree)).absolute()}: {place}")) as error:
        load_profile("mine.yaml")
    assert why in str(error.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "not valid YAML"),
        ("- 1", "must hold the sections of a profile"),
        ("", "must hold the sections of a profile"),
        ("!!python/object:os.system {}", "not valid YAML"),
        ("extends: mine.yaml", "extends itself"),
        ("extends: loihi3", "unknown profile 'loihi3': did you mean 'loihi"),
        ("extends: other.yaml", "cannot be read (no such file or directory)"),
        ("name: alone\nsummary: nothing else", "provenance: is missing"),
        ("extends: loihi1\nname: a\nname: b", "'name' is given twice"),
        (f"{LEAF}!!binary aGVsbG8=}}}}}}", "could not determine a constructor for the tag"),
        (f"{LEAF}!!set {{a, b}}}}}}}}", "could not determine a constructor for the tag"),
        (f"{LEAF}!!int ''}}}}}}", "a value cannot be read"),
        (f"{LEAF}{'1' * 5000}}}}}}}", "a value cannot be read"),
        (f"{LEAF}2020-13-45}}}}}}", "neuron.u.bits: '2020-13-45' — input should be a valid integer"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("name: big\n#" + 100_000 * "x", "more than 100,000 characters"),
    ],
)
def test_files_that_are_no_profile(profile, text, why):
    with pytest.raises(ProfileError, match=re.escape(why)):
        load_profile(profile(text))


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("arithmetic: must be {value, source, status}, not [", "extends: loihi1\narithmetic: {bomb}"),
        ("neuron: must be a section, not [", "extends: loihi1\nneuron: {bomb}"),
        ("neuron.u.bits: [", "{leaf}{bomb}}}}}}}"),
        ("neuron.u.bits.unit: [", "extends: loihi1\nneuron: {{u: {{bits: {{value: 1, unit: {bomb}}}}}}}"),
        ("neuron.u.bits.source: [", "extends: loihi1\nneuron: {{u: {{bits: {{value: 1, unit: bit, source: {bomb}}}}}}}"),
        ("name: [", "extends: loihi1\nname: {bomb}"),
    ],
)
def test_a_few_lines_that_name_each_other_do_not_become_a_flood(profile, place, text):
    """Every list holds nine times the one before: 9^9 values, which must be neither built nor printed."""
    levels = "abcdefgh"
    lists = [f"&{c} [{', '.join(['*' + before] * 9)}]" for before, c in pairwise(levels)]
    bomb = f"[&a [x, x, x, x, x, x, x, x, x], {', '.join(lists)}]"
    with pytest.raises(ProfileError) as error:
        load_profile(profile(text.format(bomb=bomb, leaf=LEAF)))
    assert place in str(error.value)
    assert len(str(error.value)) < 2000


def test_only_the_first_of_many_mistakes_are_named(profile):
    with pytest.raises(ProfileError, match=r"; and 990 more$") as error:
        load_profile(profile({"synapse": {"weight_bits": leaf(["x"] * 1000)}}))
    assert len(str(error.value)) < 2000


def test_what_a_file_cannot_set_is_not_offered(profile):
    with pytest.raises(ProfileError, match="unknown key 'x'") as error:
        load_profile(profile({"x": 1}))
    assert "digest" not in str(error.value)
    assert "facts" not in str(error.value)


def test_profiles_that_extend_each_other(profile):
    profile("extends: b.yaml", "a.yaml")
    profile("extends: a.yaml", "b.yaml")
    with pytest.raises(ProfileError, match=r"extends itself .*a\.yaml → .*b\.yaml → .*a\.yaml"):
        load_profile("a.yaml")


def test_a_parent_is_found_beside_its_child(profile, tmp_path, monkeypatch):
    (tmp_path / "profiles").mkdir()
    profile({"neuron": {"u": {"bits": leaf(20)}}}, "profiles/below.yaml")
    profile("extends: below.yaml\nname: above", "profiles/above.yaml")
    assert load_profile("profiles/above.yaml").neuron.u.bits == 20
    monkeypatch.chdir(tmp_path / "profiles")
    assert load_profile("above.yaml").neuron.u.bits == 20


def test_one_number_replaced_and_all_others_kept(profile):
    mine, loihi = load_profile(profile({"neuron": {"u": {"bits": leaf(16)}}})), load_profile("loihi1")
    changed = {path for path, value in profile_values(mine).items() if value != profile_values(loihi)[path]}
    assert changed == {"neuron.u.bits"}
    assert mine.facts["neuron.u.bits"].source == "a test"
    assert mine.digest != loihi.digest == load_profile(profile({})).digest  # names do not count


def test_an_edited_file_is_read_again(profile):
    before = Experiment(profile=profile({"release": {"p_bits": leaf(9)}}))
    assert (before.hardware.p_bits, before.comparator_bits) == (9, 9)
    os.utime(profile({"release": {"p_bits": leaf(10)}}), ns=(1, 1))
    assert load_profile("mine.yaml").p_bits == 10
    assert before.hardware.p_bits == 9  # a running experiment keeps what it started with


def test_a_file_and_overrides_in_an_experiment(profile):
    name = profile({"learning_storage": {"p_bits": leaf(5)}})
    experiment = Experiment(profile=name, profile_overrides={"learning_storage.rounding": "nearest"})
    assert (experiment.hardware.learning_storage.p_bits, experiment.build_rule().storage.rounding) == (5, "nearest")
    assert experiment.hardware.facts["learning_storage.rounding"].source == "override of the experiment"
    assert experiment.fingerprint != experiment.replace(profile_overrides={}).fingerprint
    result = train(experiment.replace(population=8, generations=1, evaluation_episodes=8, network={"n_neurons": 32}))
    codes = {float(p) * 2**5 for rho in result.probabilities.values() for p in rho.ravel()}
    assert codes == {round(code) for code in codes}


@pytest.mark.parametrize("path", ["learning_storage.p_bitz", "learning_storage", "p_bits", "neuron.u.bits.value", "facts"])
def test_overrides_name_leaves_that_exist(path):
    with pytest.raises(ProfileError, match=re.escape(f"profile loihi1 has no {path}")):
        load_profile("loihi1", {path: 4})


def test_an_override_is_checked_as_a_file_is():
    with pytest.raises(ProfileError, match=r"profile loihi1: neuron\.u\.bits: 99"):
        load_profile("loihi1", {"neuron.u.bits": 99})


def test_an_ablation_does_not_inherit_what_was_shown_for_its_parent(profile):
    mine = load_profile(profile("extends: loihi1", "narrow.yaml"))
    assert (mine.name, mine.provenance.summary) == ("narrow", "An ablation of loihi1; compared with nothing.")
    assert mine.provenance.not_modeled == load_profile("loihi1").provenance.not_modeled
    assert mine.digest == load_profile("loihi1").digest
    named = load_profile(profile("extends: loihi1\nname: mine\nprovenance: {summary: compared with a board}", "b.yaml"))
    assert (named.name, named.provenance.summary) == ("mine", "compared with a board")
