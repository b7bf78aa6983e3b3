"""Why a run does not learn: every rule by a table of records, at both sides of its threshold; and no false alarms."""

import io

import numpy as np
import pytest
from rich.console import Console

import faulty_environments  # noqa: F401 (registers its environments)
from rsrp_lava import Experiment, diagnosis, load_run, train
from rsrp_lava.diagnosis import WINDOW, Facts, compare_due, notice

FACTS = Facts(generations=100, population=256, evaluation_episodes=32, n_actions=4, bounded=False)
BASELINES = {
    "nothing": {"return": -100.0, "std": 0.0, "episodes": 32},
    "random": {"return": -90.0, "std": 8.0, "episodes": 32},
}


def records(n, **changes):
    """A run that has learned nothing: sampled and evaluated like random actions, by numbers that do not rise."""
    random = np.random.default_rng(1)
    found = []
    for generation in range(n):
        record = {
            "generation": generation,
            "sampled_return": -90.0 + random.normal(),
            "sampled_std": 8.0,
            "tied_returns": 0.1,
            "evaluation_return": -100.0 if generation == 0 else -91.0 + random.normal() / 10,
            "evaluation_std": 8.0,
            "sampled_outputs": {"silent": 0.1, "at_limit": 0.2, "same_choice": 0.4},
            "evaluation_outputs": {"silent": 0.1, "at_limit": 0.2, "same_choice": 0.4},
            "network_share": 0.8,
            "seconds": 1.0 * (generation + 1),
        }
        record |= {key: value(generation) if callable(value) else value for key, value in changes.items()}
        found.append({key: value for key, value in record.items() if value is not None})
    if found:
        found[0].setdefault("baselines", BASELINES)
    return found


def outputs(**parts):
    return {"silent": 0.1, "at_limit": 0.2, "same_choice": 0.4} | parts


@pytest.mark.parametrize(
    ("cause", "words", "changes", "facts"),
    [
        ("silent", "network.input_gain (it is 0.1), say to 1", {"sampled_outputs": outputs(silent=0.5)}, {}),
        ("silent", "100%", {"sampled_outputs": outputs(silent=1.0, same_choice=1.0), "tied_returns": 1.0}, {}),
        ("equal", "population (it is 256)", {"tied_returns": 0.96}, {}),
        ("equal", "environment.wrappers", {"tied_returns": 1.0, "sampled_return": 0.0}, {}),
        (
            "saturated",
            "network.output_gain (it is 5), say to 1",
            {"sampled_outputs": outputs(at_limit=0.91)},
            {"bounded": True},
        ),
        ("one_choice", "evaluated networks", {"evaluation_outputs": outputs(same_choice=1.0)}, {}),
        ("one_choice", "sampled networks", {"sampled_outputs": outputs(same_choice=0.99)}, {}),
        ("noise", "episodes_per_sample (it is 1), say to 4, or environment.starts: shared", {"network_share": 0.38}, {}),
        ("noise", "0.38 of the variance", {"network_share": 0.38}, {"shared_starts": True, "episodes_per_sample": 4}),
        ("no_better", "random actions -90.0; lower population (it is 256), say to 32", {}, {}),
        ("no_better", "change learning_rate", {}, {"population": 16}),
    ],
)
def test_a_cause_is_named_with_its_setting(cause, words, changes, facts):
    facts = diagnosis.Facts(**{**vars(FACTS), **facts})
    found = notice(records(WINDOW, **changes), facts)
    assert found is not None
    assert found.cause == cause
    assert words in found.text


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"sampled_outputs": outputs(silent=0.49)}, {}),
        ({"tied_returns": 0.94}, {}),
        ({"sampled_outputs": outputs(at_limit=0.89)}, {"bounded": True}),
        ({"sampled_outputs": outputs(at_limit=1.0)}, {}),  # actions are chosen: nothing is cut
        ({"sampled_outputs": outputs(same_choice=1.0), "evaluation_outputs": outputs(same_choice=1.0)}, {"n_actions": 0}),
        ({"network_share": 0.5}, {}),
        ({"sampled_outputs": None, "evaluation_outputs": None, "network_share": None}, {"repeatable": False}),  # engine lava
    ],
)
def test_below_its_threshold_a_cause_is_not_named(changes, facts):
    found = notice(records(WINDOW, **changes), diagnosis.Facts(**{**vars(FACTS), **facts}))
    assert found is not None
    assert found.cause == "no_better"


WORST = {  # all causes at once
    "tied_returns": 1.0,
    "sampled_outputs": outputs(silent=1.0, at_limit=1.0, same_choice=1.0),
    "evaluation_outputs": outputs(silent=1.0, same_choice=1.0),
    "network_share": 0.0,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"sampled_return": lambda g: -90.0 + g},  # rises
        {"evaluation_return": lambda g: -90.0 + g / 10, "sampled_return": -90.0},
        {"evaluation_return": lambda g: -70.0 if g else -100.0},  # has learned: above both baselines
        {"evaluation_return": lambda g: None if g else -100.0},  # was not evaluated since
    ],
    ids=["sampled rises", "evaluation rises", "has learned", "not evaluated"],
)
def test_progress_is_no_cause_for_a_notice(changes):
    assert notice(records(WINDOW, **{**WORST, **changes}), FACTS) is None
    assert not compare_due(records(WINDOW, **{**changes, "network_share": None}), FACTS)


def test_fewer_generations_say_nothing_yet_and_a_solved_task_nothing_more():
    assert notice(records(WINDOW - 1, **WORST), FACTS) is None
    assert notice([], FACTS) is None
    solved = diagnosis.Facts(**{**vars(FACTS), "goal": -92.0})
    assert notice(records(3 * WINDOW, **WORST), solved) is None


def test_it_is_said_once():
    said = records(WINDOW)
    said[-1]["notice"] = notice(said, FACTS)._asdict()
    assert notice([*said, *records(40, **WORST)], FACTS) is None
    assert not compare_due(said, FACTS)


def test_networks_are_compared_before_chance_or_no_progress_is_named():
    before = records(WINDOW, network_share=None)
    assert compare_due(before, FACTS)
    assert notice(before, FACTS) is None
    assert not compare_due(records(WINDOW - 1, network_share=None), FACTS)
    assert not compare_due(records(WINDOW, **{**WORST, "network_share": None}), FACTS)  # another cause is known
    after = [*records(WINDOW, network_share=None), {**records(WINDOW + 1)[-1], "network_share": None}]
    assert not compare_due(after, FACTS)  # measured: no returns differed
    assert notice(after, FACTS).cause == "no_better"


def test_on_a_plateau_above_the_baselines_only_chance_is_named_and_later():
    plateau = {"evaluation_return": lambda g: -50.0 if g else -100.0, "network_share": 0.3}
    assert notice(records(2 * WINDOW - 1, **plateau), FACTS) is None
    assert notice(records(2 * WINDOW, **plateau), FACTS).cause == "noise"
    assert notice(records(2 * WINDOW, **{**plateau, "network_share": 0.7}), FACTS) is None
    assert compare_due(records(2 * WINDOW, **{**plateau, "network_share": None}), FACTS)
    assert not compare_due(records(2 * WINDOW - 1, **{**plateau, "network_share": None}), FACTS)


@pytest.mark.parametrize(("each", "generations", "said"), [(100, 100, True), (100, 70, False), (90, 100, False)])
def test_time_is_named_where_it_takes_long_to_tell_anything(each, generations, said):
    """3 generations: 300 s at least, and all of them two hours at least."""
    facts = diagnosis.Facts(**{**vars(FACTS), "generations": generations})
    slow = records(3, seconds=lambda g: each * (g + 1.0))
    found = notice(slow, facts)
    assert (found is not None) == said
    if found:
        assert found.cause == "time"
        assert "20 generations that show whether anything is learned take 33 min, all 100 take 2 h 47 min" in found.text
        slow[-1]["notice"] = found._asdict()
        assert notice(slow, facts) is None
        more = records(WINDOW)
        more[2]["notice"] = found._asdict()
        assert notice(more, facts).cause == "no_better"  # said in addition


def test_records_of_old_have_no_measurements_and_are_judged_by_what_they_have():
    """Then evaluation 0, in which nothing released, is the one baseline."""
    keys = ("generation", "sampled_return", "sampled_std", "evaluation_return", "evaluation_std", "seconds")
    old = [{key: record[key] for key in keys} for record in records(WINDOW)]
    assert notice(old, FACTS) is None  # above doing nothing
    assert notice([{**record, "evaluation_return": -100.0} for record in old], FACTS) is None  # networks are compared first
    lava = diagnosis.Facts(**{**vars(FACTS), "repeatable": False})
    found = notice([{**record, "evaluation_return": -100.0} for record in old], lava)
    assert "doing nothing -100.0" in found.text


def test_images_are_judged_by_their_accuracy():
    facts = Facts(100, 256, 1000, classifies=True, repeatable=False, bounded=False, goal=1.0)
    guess = {"guess": {"return": 0.113, "std": 0.316, "episodes": 1000}}
    fields = {"sampled_return": 0.5, "evaluation_std": 0.32, "sampled_outputs": None, "evaluation_outputs": None}
    fields |= {"network_share": None, "tied_returns": 0.1}
    poor, good = (records(WINDOW, evaluation_return=value, **fields) for value in (0.12, 0.9))
    poor[0]["baselines"] = good[0]["baselines"] = guess
    assert "guessing one class 0.113" in notice(poor, facts).text
    assert notice(good, facts) is None


def test_facts_are_those_of_the_experiment():
    cartpole, pendulum = Facts.of(Experiment()), Facts.of(Experiment(task="pendulum"))
    assert (cartpole.n_actions, cartpole.bounded, cartpole.goal, cartpole.repeatable) == (2, False, 500.0, True)
    assert (pendulum.n_actions, pendulum.bounded, pendulum.goal) == (0, True, None)
    assert (pendulum.episodes_per_sample, pendulum.shared_starts) == (4, True)
    lake = Facts.of(Experiment(task="gym:FrozenLake-v1"))
    assert (lake.n_actions, lake.bounded) == (4, False)
    assert lake.goal == pytest.approx(0.7, abs=0.05)
    assert Facts.of(Experiment(task="digits")).classifies
    assert Facts.of(Experiment(rule="es")).keeps_weights
    assert not Facts.of(Experiment(rule="es")).repeatable


# --- in training -------------------------------------------------------------------------------------------------------


def indifferent(generations=23, gain=1.0, **kwargs):
    return Experiment(
        task="gym:faulty_environments:Indifferent-v0",
        population=16,
        generations=generations,
        evaluation_episodes=8,
        evaluate_every=5,
        environment={"kwargs": kwargs},
        network={"n_neurons": 32, "input_gain": gain},
    )


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"rewards": "flat", "blind": True}, "silent"),
        ({"rewards": "noise", "gain": 1e-6}, "silent"),
        ({"rewards": "flat"}, "equal"),
        ({"rewards": "noise"}, "noise"),
    ],
    ids=["blind", "weak input", "flat", "noise"],
)
def test_a_run_that_cannot_learn_says_why_once(settings, cause):
    heard = []
    result = train(indifferent(**settings), threads=1, progress=heard.append)
    notices = [record["notice"] for record in heard if "notice" in record]
    assert [found["cause"] for found in notices] == [cause]
    assert result.notices == result.summary["notices"] == [notices[0]["text"]]
    if cause == "noise":
        assert [record["generation"] for record in heard if "network_share" in record] == [WINDOW]


def test_a_notice_is_shown_and_watched_and_not_repeated_by_a_resume(tmp_path, call):
    out = tmp_path / "run"
    experiment = indifferent(rewards="flat")
    train(experiment.replace(generations=WINDOW + 1), out=out, threads=1)
    resumed = train(experiment, resume=out, threads=1)
    assert len(resumed.notices) == 1
    assert resumed.metrics == load_run(out).metrics
    assert sum("notice" in record for record in load_run(out).metrics) == 1
    code, shown, _ = call("watch", out, "--once")
    assert code == 0
    assert shown.count("returns are equal") == 1
    assert f"notice, generation {WINDOW - 1}: " in shown


def test_progress_prints_a_notice_as_a_line_that_stays():
    from rsrp_lava.reporting.progress import RunLine, TerminalProgress

    text = io.StringIO()
    progress = TerminalProgress("a run", RunLine(9, False), Console(file=text, width=60))
    record = {"generation": 3, "sampled_return": 1.0, "env_steps": 5}
    progress({**record, "notice": {"cause": "equal", "text": "returns are equal: so it is"}})
    progress({**record, "generation": 4})
    progress.close()
    assert text.getvalue().count("notice, generation 3: returns are equal: so it is (docs/not-learning.md)") == 1


def test_a_notice_changes_nothing_that_is_learned(monkeypatch):
    experiment = indifferent(rewards="noise")
    told = train(experiment, threads=1)
    monkeypatch.setattr(diagnosis, "notice", lambda records, facts: None)
    monkeypatch.setattr(diagnosis, "compare_due", lambda records, facts: False)
    untold = train(experiment, threads=1)
    assert (len(told.notices), len(untold.notices)) == (1, 0)
    assert told.summary["release_sha256"] == untold.summary["release_sha256"]


def test_what_is_learned_gives_no_cause():
    assert train(Experiment(population=128, generations=30)).notices == []


@pytest.mark.slow
@pytest.mark.parametrize("task", ["cartpole", "acrobot", "digits", "mountain_car_continuous"])
def test_no_false_alarm_with_a_recipe(task):
    result = train(Experiment(task=task))
    assert result.notices == []
