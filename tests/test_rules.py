"""Rules that keep weights, under the same roof as the others: settings, run folders, resuming, what cannot be done."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rsrp_lava import Experiment, ExperimentError, RunFolderError, evaluate, load_run, map_run, plot, train
from rsrp_lava.learners import open_learner
from rsrp_lava.rules import WEIGHT_RULES
from rsrp_lava.threads import Threads

SETTINGS = {"task": "cartpole", "rule": "nrl", "population": 20, "generations": 4, "evaluation_episodes": 8, "seed": 3}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "run"
    return train(Experiment(**SETTINGS), out=path, threads=1)


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[k], second[k], equal_nan=True) for k in first)


def test_a_resumed_run_and_other_threads_learn_the_same_bits(whole, tmp_path):
    train(Experiment(**{**SETTINGS, "generations": 2}), out=tmp_path / "run")
    resumed = train(Experiment(**SETTINGS), resume=tmp_path / "run")
    assert same(resumed.state.memory, whole.state.memory)
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]
    assert [r["sampled_return"] for r in resumed.metrics[:4]] == [r["sampled_return"] for r in whole.metrics[:4]]
    assert resumed.summary["env_steps"] == whole.summary["env_steps"] == sum_of_steps(whole)


def sum_of_steps(result):
    """A step of CartPole earns 1."""
    return round(20 * sum(record["sampled_return"] for record in result.metrics if "sampled_return" in record))


def test_the_learning_rate_decides_what_is_learned(whole):
    other = train(Experiment(**SETTINGS, learning_rate=1e-9))
    assert other.summary["weights_sha256"] != whole.summary["weights_sha256"]


def test_an_evaluation_is_repeated_and_changes_nothing(whole):
    report = evaluate(whole.run)
    assert (report["mean_return"], report["std_return"]) == (
        whole.summary["final_eval_return"],
        whole.summary["eval_std"],
    )
    assert report["weights_sha256"] == whole.summary["weights_sha256"]
    assert evaluate(whole.run, episodes=200, seed=9)["episodes"] == 200


def test_the_run_folder_says_everything_and_is_drawn(whole, tmp_path):
    run = load_run(whole.run)
    assert run.experiment.rule_options == Experiment(**SETTINGS).rule_options
    assert run.experiment.fingerprint == Experiment(**SETTINGS).fingerprint
    assert (whole.run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert plot(run, output=tmp_path / "curves.png").is_file()
    assert run.metrics[1]["measures"].keys() == {"root mean square weight"}


def test_what_needs_release_probabilities_says_so(whole):
    with pytest.raises(ExperimentError, match="rule nrl: keeps weights, no release probabilities"):
        map_run(whole.run)
    with pytest.raises(ExperimentError, match="rule nrl: keeps weights"):
        _ = whole.probabilities


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rule_options": {"noise": 1}}, "rule_options.noise: no such setting; did you mean 'rule_options.noise_std'"),
        ({"rule_options": {"noise_std": -1}}, "rule_options.noise_std: -1"),
        ({"rule_options": [1]}, "rule_options: .* must hold settings"),
        ({"decay": 0.1}, "decay .*: 0.1 — rule nrl has no use for it; leave it out$"),
        ({"network": {"n_neurons": 9}}, "network.n_neurons: 9 — rule nrl has no use for it"),
        ({"task": "pendulum"}, "rule: nrl cannot learn pendulum: it chooses among a few actions"),
        ({"task": "digits"}, "rule: nrl cannot learn digits"),
        ({"engine": "ray"}, "engine: rule nrl plays in this process"),
        ({"environment": {"episodes_per_sample": 2}}, "environment: rule nrl plays one episode after the other"),
        ({"rule": "rsrp", "rule_options": {"noise_std": 1}}, "rule_options .*: .* — rule rsrp has no use for it"),
        ({"rule": ["nrl"]}, "rule"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings, said):
    with pytest.raises(ExperimentError, match=said):
        Experiment(**{**SETTINGS, **settings})


def test_other_options_are_another_run(whole):
    with pytest.raises(RunFolderError, match=r"rule_options.noise_std 0.001 → 0.5"):
        train(Experiment(**SETTINGS, rule_options={"noise_std": 0.5}, learning_rate="auto"), resume=whole.run)


def test_the_command(call):
    options = ("--rule-options", "noise_std=0.01", "--rule-options", "hidden=[8, 4]", "--learning-rate", 0.01)
    code, out, said = call("train", "cartpole", "--rule", "nrl", *options, "--population", 5, "--generations", 2, "--json")
    assert code == 0, said
    summary = json.loads(out.splitlines()[-1])
    run = load_run(summary["run"])
    assert run.experiment.rule_options["hidden"] == (8, 4)
    assert [array.shape for array in run.state.memory.values()] == [(4, 8), (8, 4), (4, 2), (1,)]
    code, _, said = call("train", "cartpole", "--rule", "nrl", "--rule-options", "hidden=x")
    assert (code, "rule_options.hidden" in said) == (2, True)


@pytest.mark.parametrize("rule", WEIGHT_RULES)
def test_every_rule_says_what_it_is(rule, call):
    code, out, _ = call("rules")
    assert code == 0
    assert rule in out
    assert WEIGHT_RULES[rule].Options().model_dump() is not None


def test_learners_can_be_made_ready_side_by_side():
    learners = [open_learner(Experiment(**SETTINGS), Threads(1)) for _ in range(4)]
    learners[0].prepare()  # compiled: what follows is quick, and many of it
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda k: learners[k % 4].prepare(), range(60)))


def test_a_run_is_named_by_what_it_sees():
    settings = {"population": 7, "generations": 1, "evaluation_episodes": 1}
    for task, rule, seen in (("cue", "nrl", "7 episodes"), ("digits", "stdp", "7 images"), ("cue", "rsrp", "7 samples")):
        experiment = Experiment(task=task, rule=rule, **settings)
        assert seen in experiment.title
        assert rule == "rsrp" or seen in experiment.label
