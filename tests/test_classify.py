"""Learning to classify: the engine's batches and evaluation, one answer for any split, and settings that make no sense."""

import json

import numpy as np
import pytest

import naive
from rsrp_lava import Experiment, ExperimentError, deploy, evaluate, load_run, map_run, plot, study, train
from rsrp_lava.engines import open_engine
from rsrp_lava.tasks.data import load_data
from rsrp_lava.threads import Threads

SMALL = {"task": "digits", "population": 32, "generations": 5, "evaluate_every": 2, "layers": {"hidden": [12]}, "seed": 3}


def sha(result):
    return result.summary["release_sha256"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("classify") / "run"
    train(Experiment(**SMALL), out=out, threads=1)
    return load_run(out)


def engine(**settings):
    return open_engine(Experiment(**{**SMALL, **settings}), Threads(1))


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own():
    batches = [engine(batch=100).order.indices(generation) for generation in range(28)]  # 14 batches of 1,442 images
    first, second = (np.concatenate(batches[start : start + 14]) for start in (0, 14))
    for epoch in (first, second):
        assert len(set(epoch.tolist())) == 1400
        assert 0 <= epoch.min() <= epoch.max() < 1442
    assert (first != second).any()
    assert (engine(batch=100).order.indices(14) == batches[14]).all()
    assert (engine(batch=100, seed=4).order.indices(14) != batches[14]).any()
    assert len(engine(batch=5000).order.indices(1)) == 1442


def test_samples_draw_images_of_their_own_from_all():
    drawn = np.concatenate([engine(batch=64).own_indices(2, sample) for sample in range(400)])
    counts = np.bincount(drawn, minlength=1442)
    assert len(counts) == 1442
    expected = len(drawn) / 1442
    assert ((counts - expected) ** 2 / expected).sum() < 1442 + 5 * np.sqrt(2 * 1442)  # chi-square, five deviations
    assert (engine().own_indices(2, 0) != engine().own_indices(2, 1)).any()


def test_independent_samples_are_scored_on_their_own_images(run):
    """Sample 4 earns what it would earn if all saw its images."""
    independent, shared = engine(data_sampling="independent", batch=16), engine(batch=16)
    shared.order.indices = lambda generation: independent.own_indices(generation, 4)
    arguments = (run.probabilities, run.normaliser, 2, 8)
    assert independent.play(*arguments).returns[4] == shared.play(*arguments).returns[4]
    assert (independent.play(*arguments).returns != shared.play(*arguments).returns).any()


def test_an_evaluation_is_the_accuracy_of_the_thresholded_network_on_the_test_images(run):
    """Image by image, but for those whose two largest scores are as good as equal: these networks are small."""
    data, network = load_data("digits"), run.experiment.build_network()
    released = {name: rho > 0.5 for name, rho in run.probabilities.items()}
    scores = naive.layered_scores(network, released, data.test.images, data.mean, data.std)
    ref = scores.argmax(axis=0) == data.test.labels
    comp = engine().play(run.probabilities, run.normaliser, run.generation, 10_000, deterministic=True).returns
    second, first = np.sort(scores, axis=0)[-2:]
    decided = first - second > 1e-5
    assert decided.mean() > 0.9
    np.testing.assert_array_equal(comp[decided], ref[decided])
    assert evaluate(run)["mean_return"] == run.metrics[-1]["evaluation_return"] == comp.mean()
    assert evaluate(run, episodes=100)["mean_return"] == comp[:100].mean()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"data_sampling": "independent", "reward": "recall"},
        {"layers": {"hidden": [9, 7], "ei": "2:1", "mirror_input": True}, "reward": "cross_entropy", "optimizer": "adam"},
        pytest.param({"layers": {"conv": [16], "hidden": [8]}}, marks=pytest.mark.slow),
        {"profile_overrides": {"learning_storage.p_bits": 6, "learning_storage.rounding": "stochastic"}},
    ],
)
def test_any_number_of_threads_gives_the_same(settings):
    results = [train(Experiment(**{**SMALL, **settings}), threads=threads) for threads in (1, 2)]
    assert sha(results[0]) == sha(results[1])
    assert results[0].summary["final_test_accuracy"] == results[1].summary["final_test_accuracy"]


def test_a_resumed_run_equals_an_uninterrupted_one(run, tmp_path):
    train(Experiment(**{**SMALL, "generations": 3}), out=tmp_path / "run")
    resumed = train(Experiment(**SMALL), resume=tmp_path / "run")
    assert sha(resumed) == evaluate(run)["release_sha256"]
    assert [record.keys() for record in resumed.metrics] == [record.keys() for record in run.metrics]


def test_evaluations_come_when_they_are_due_and_change_nothing(run):
    """Every second generation and at the end; how often does not decide what is learned."""
    assert [record["generation"] for record in run.metrics if "evaluation_return" in record] == [0, 2, 4, 5]
    often = train(Experiment(**{**SMALL, "evaluate_every": 1}), threads=1)
    assert sha(often) == evaluate(run)["release_sha256"]
    assert often.summary["final_test_accuracy"] == run.metrics[-1]["evaluation_return"]
    assert Experiment(**SMALL).fingerprint == Experiment(**{**SMALL, "evaluate_every": 1}).fingerprint


def test_rewards_and_sampling_are_part_of_what_is_learned():
    start = Experiment(**SMALL)
    for change in ({"reward": "recall"}, {"batch": 65}, {"data_sampling": "independent"}, {"layers": {"hidden": [13]}}):
        assert start.replace(**change).fingerprint != start.fingerprint


def test_until_counts_evaluations_only():
    result = train(Experiment(**{**SMALL, "generations": 50, "population": 128}), until=0.3)
    assert result.summary["final_test_accuracy"] >= 0.3
    assert result.summary["generations"] % 2 == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "lava"}, "engine: digits is classified in batches of images"),
        ({"profile": "loihi2"}, r"profile \(--profile\): 'loihi2' — digits is classified"),
        ({"reservoir": True}, r"reservoir \(--reservoir\): True — digits is classified"),
        ({"network": {"n_neurons": 8}}, "network.n_neurons: 8 — digits is classified"),
        ({"profile_overrides": {"release.scope": "axon"}}, "release: digits is classified with ideal random bits"),
        ({"task": "cartpole", "layers": {"hidden": [3]}}, r"layers.hidden \(--hidden\): .* — is for tasks that classify"),
        ({"task": "cartpole", "layers": {}, "batch": 3}, r"layers \(--layers\): {} — is for tasks that classify"),
        ({"reward": "soft"}, "unknown reward 'soft'"),
        ({"layers": {"hiden": [3]}}, r"layers.hiden: no such setting; did you mean 'layers.hidden'\?"),
        ({"layers": {"hidden": [0]}}, r"layers.hidden.0: 0 — input should be greater than or equal to 1"),
        ({"layers": {"ei": "4:1"}}, "layers.ei"),
        ({"layers": {"conv": [16], "ei": "1:1"}}, "layers.conv: convolutions have weights of ±1"),
        ({"layers": {"conv": [16, 16, 16]}}, "layers.conv"),
        ({"layers": {"conv": [8]}}, "layers.conv.0: 8"),
        ({"histograms_at": [-1]}, "histograms_at.0: -1"),
        ({"batch": 0}, "batch: 0"),
        ({"evaluate_every": 0}, "evaluate_every: 0"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings, message):
    with pytest.raises(ExperimentError, match=message):
        Experiment(**{**SMALL, **settings})


def test_what_needs_spikes_or_episodes_says_so(run, tmp_path):
    for call, message in (
        (lambda: deploy(run, to="npz", output=tmp_path / "out", profile="loihi2"), "deploy: the network .* has no spikes"),
        (lambda: map_run(run, profile="loihi2"), "map: the network of this digits run has no spikes"),
        (lambda: study("quantization", "digits", tmp_path / "study"), "digits: has no episodes"),
    ):
        with pytest.raises(ExperimentError, match=message):
            call()
    assert not list(tmp_path.iterdir())


def test_the_command_trains_evaluates_and_draws(tmp_path, call):
    small = (
        "--population",
        "32",
        "--generations",
        "4",
        "--hidden",
        "12,8",
        "--ei",
        "1:1",
        "--mirror-input",
        "--batch",
        "20",
    )
    code, out, err = call("train", "digits", *small, "--out", "run", "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["final_test_accuracy"] == summary["final_eval_return"]
    assert summary["env_steps"] == 4 * 32 * 20
    assert "images/s" in err
    saved = load_run("run").experiment.layers
    assert (saved.hidden, saved.ei, saved.mirror_input) == ((12, 8), "1:1", True)
    code, out, err = call("evaluate", "run", "--json")
    assert json.loads(out)["mean_return"] == summary["final_test_accuracy"]
    assert "accuracy" in err
    assert plot("run", output="curves.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = call("train", "mnist", "--data", str(tmp_path), "--out", "none")
    assert (code, out) == (2, "")
    assert "mnist" in err
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_are_learned(seed):
    assert train(Experiment(task="digits", seed=seed)).summary["final_test_accuracy"] >= 0.93


def test_releases_that_are_drawn_again_earn_the_same_credit(run, monkeypatch):
    """A population whose releases do not fit in memory learns the same."""
    monkeypatch.setattr("rsrp_lava.engines.batches._KEPT_BYTES", 0)
    assert sha(train(Experiment(**SMALL), threads=1)) == evaluate(run)["release_sha256"]


def test_histograms_are_kept_of_chosen_generations():
    result = train(Experiment(**SMALL, histograms_at=[0, 3, 5]), threads=1)
    kept = {record["generation"]: record["histogram"] for record in result.metrics if "histogram" in record}
    assert list(kept) == [0, 3, 5]
    assert kept[0]["input"][16] == 64 * 12
    assert sum(kept[5]["readout"]) == 12 * 10
    assert (
        kept[5]["readout"]
        == np.bincount(np.rint(result.probabilities["readout"].ravel() * 32).astype(int), minlength=33).tolist()
    )
