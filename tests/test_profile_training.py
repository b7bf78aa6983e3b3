"""Training in a chip's arithmetic: one answer on both engines, for any number of threads, and after a crash."""

import importlib.util

import pytest

from rsrp_lava import Experiment, train
from rsrp_lava.learning.transforms import TRANSFORMS
from rsrp_lava.run_folder import RunFolder
from rsrp_lava.threads import available_threads

needs_lava = pytest.mark.skipif(importlib.util.find_spec("lava") is None, reason="Lava runs on Python 3.10 only")

NEAREST = {"learning_storage.p_bits": 4, "learning_storage.rounding": "nearest"}
NARROW = {"neuron.u.bits": 9, "neuron.v.bits": 15, "neuron.input_shift": 3, "neuron.threshold.shift": 3}
SHIFT = {"neuron.decay.form": "shift", "neuron.decay.bits": 4, "neuron.reset": "subtract", "synapse.min_delay": 0}
VARIANTS = {
    "loihi2": {},
    "nearest, 4 bits": {"profile_overrides": NEAREST},
    "float32 storage": {"profile_overrides": {"learning_storage.p_bits": None}, "p_bits": 16},
    "narrow registers": {"profile_overrides": NARROW},
    "shift, no delay": {"profile_overrides": SHIFT, "optimizer": "adam"},
    "reservoir, 100 neurons": {"reservoir": True, "network": {"n_neurons": 100, "excitatory_ratio": 0.3}},
}


def experiment(variant, **settings):
    small = {"population": 32, "generations": 3, "evaluation_episodes": 16, "seed": 7, "network": {"n_neurons": 64}}
    return Experiment(**{**small, "profile": "loihi2", **VARIANTS[variant], **settings})


def sha(result):
    return result.summary["release_sha256"]


def without_time(records):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


#: Minutes in a graph of Lava processes, and not much that the others do not show.
SLOW = {("float32 storage", 7), ("nearest, 4 bits", 7), ("loihi2", 8), ("loihi2", 9), ("narrow registers", 7)}
SLOW |= {("shift, no delay", 7), ("reservoir, 100 neurons", 7)}
CASES = [*((variant, 7) for variant in VARIANTS), ("loihi2", 8), ("loihi2", 9)]


@needs_lava
@pytest.mark.parametrize(
    ("variant", "seed"), [pytest.param(*case, marks=pytest.mark.slow) if case in SLOW else case for case in CASES]
)
def test_both_engines_agree_in_every_bit_and_every_metric(variant, seed):
    fused, lava = (train(experiment(variant, seed=seed, engine=engine)) for engine in ("fused", "lava"))
    assert sha(lava) == sha(fused)
    assert without_time(lava.metrics) == without_time(fused.metrics)


@pytest.mark.parametrize("variant", VARIANTS)
def test_metrics_say_what_integers_and_few_bits_lose(variant):
    result = train(experiment(variant))
    for record in result.metrics[:-1]:
        assert set(record["events"]) == {"u_overflow", "v_overflow", "input_cut"}
        assert ("lost_updates" in record) == ("stuck" in record) == (variant != "float32 storage")
    if variant != "float32 storage":
        last = result.metrics[-2]
        learned = [rho for name, rho in result.probabilities.items() if name != "recurrent" or "reservoir" not in variant]
        stuck = sum(int(((rho == 0) | (rho == 1)).sum()) for rho in learned) / sum(rho.size for rho in learned)
        assert last["stuck"] == stuck
        assert 0 < last["lost_updates"] < 1
        bits = 4 if variant.startswith("nearest") else 8
        assert all(((rho * 2**bits) % 1 == 0).all() for rho in learned)
    overflows = sum(record["events"]["u_overflow"] for record in result.metrics[:-1])
    assert (overflows > 0) == (variant == "narrow registers")


@pytest.mark.parametrize("variant", ["loihi2", "nearest, 4 bits", "narrow registers"])
def test_any_number_of_threads_gives_the_same(variant):
    results = [train(experiment(variant), threads=count) for count in sorted({1, 2, available_threads()})]
    assert len({sha(result) for result in results}) == 1
    assert all(without_time(result.metrics) == without_time(results[0].metrics) for result in results)
    assert sha(train(experiment(variant, seed=9))) != sha(results[0])


class Interruption(Exception):
    pass


@pytest.mark.parametrize("variant", ["loihi2", "shift, no delay"])
def test_a_resumed_run_equals_an_uninterrupted_one(variant, tmp_path, monkeypatch):
    settings = experiment(variant)
    whole = train(settings)
    saved = []

    def save_or_stop(folder, checkpoint, save_checkpoint=RunFolder.save_checkpoint):
        if len(saved) == 1:
            raise Interruption
        save_checkpoint(folder, checkpoint)
        saved.append(checkpoint)

    monkeypatch.setattr(RunFolder, "save_checkpoint", save_or_stop)
    with pytest.raises(Interruption):
        train(settings, out=tmp_path / "run")
    monkeypatch.undo()
    resumed = train(settings, resume=tmp_path / "run")
    assert sha(resumed) == sha(whole)
    assert without_time(resumed.metrics) == without_time(whole.metrics)


def test_equal_rewards_change_no_code(monkeypatch):
    """Whatever is drawn for the rounding: a probability no reward asked to move stays, bit for bit."""

    same = experiment("loihi2")
    ranked = TRANSFORMS["centered_rank"]
    monkeypatch.setitem(TRANSFORMS, "centered_rank", lambda returns, previous: ranked(returns * 0, previous))
    result = train(same)
    assert all((rho == 0.5).all() for rho in result.probabilities.values())
    assert all(record["lost_updates"] == 0 for record in result.metrics[:-1])
