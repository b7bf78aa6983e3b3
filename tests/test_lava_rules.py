"""Rules on the Lava engine: those that keep weights learn the same bits in a graph of processes, or say that they cannot."""

import pytest

from lava_sessions import needs_lava
from rsrp_lava import EngineError, Experiment, ExperimentError, load_run, train
from rsrp_lava.engines.lava import LavaGraph
from rsrp_lava.learners import open_learner
from rsrp_lava.rules import WEIGHT_RULES
from rsrp_lava.threads import Threads

CARTPOLE = {"task": "cartpole", "population": 4, "evaluation_episodes": 2, "seed": 3, "environment": {"max_steps": 20}}
NRL = {**CARTPOLE, "rule": "nrl", "rule_options": {"hidden": (8, 5)}, "generations": 4}
R_STDP = {"sim_time_ms": 5.0, "input_rate_hz": 300.0, "motor_neurons": 4}
SETTINGS = [
    {**NRL, "rule_options": {"hidden": (8, 5), "observation_scale": (0.5, 1, 2, 1)}},
    {**NRL, "rule": "r_stdp", "rule_options": {**R_STDP, "hidden": 12, "hidden_probability": 0.2}},
    {**NRL, "rule": "r_stdp", "rule_options": {**R_STDP, "reward_timing": "immediate"}},
]
SLOW = [
    {**NRL, "rule": "rmhl"},
    {**NRL, "rule_options": {"hidden": (), "reward_timing": "immediate"}},
    {**NRL, "task": "cue"},
    {**NRL, "task": "gridworld"},
    {**NRL, "rule": "r_stdp", "task": "acrobot", "rule_options": R_STDP},
    {**NRL, "rule": "r_stdp", "rule_options": {**R_STDP, "critic": "reward", "reward_timing": "immediate"}},
    {**NRL, "rule": "r_stdp", "rule_options": {**R_STDP, "critic": "reward", "observation_std": (1, 0.5, 0.1, 0.8)}},
]


def without_seconds(metrics):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in metrics]


@needs_lava
@pytest.mark.parametrize("settings", [*SETTINGS, *(pytest.param(slow, marks=pytest.mark.slow) for slow in SLOW)], ids=str)
def test_weights_are_the_same_bits_and_a_run_may_change_engines(settings, monkeypatch, tmp_path, nothing_left):
    """Two generations in Lava between others of the compiled rule; children of Lava's compile nothing."""
    monkeypatch.setattr(LavaGraph, "worker", "faulty_worker")
    monkeypatch.setenv("FAULT", "compile:children")
    experiment = Experiment(**settings)
    straight = train(experiment, threads=1)
    out = tmp_path / "run"
    first = train(experiment.replace(generations=1), out=out, threads=1)
    lava = train(experiment.replace(generations=3, engine="lava"), resume=out, threads=1)
    assert lava.stopped_by is None
    assert (lava.summary["engine"], load_run(out).generation) == ("lava", 3)
    assert lava.summary["weights_sha256"] != first.summary["weights_sha256"]  # something was learned
    assert without_seconds(lava.metrics[:3]) == without_seconds(straight.metrics[:3])
    last = train(experiment, resume=out, threads=1)
    assert last.summary["weights_sha256"] == straight.summary["weights_sha256"]
    assert without_seconds(last.metrics) == without_seconds(straight.metrics)
    assert last.state.memory.keys() == straight.state.memory.keys()
    for name, array in straight.state.memory.items():
        assert array.tobytes() == last.state.memory[name].tobytes(), name


@needs_lava
def test_hedonistic_is_the_same_bits_in_lava(nothing_left):
    network = {"n_neurons": 64}
    experiment = Experiment(**CARTPOLE, rule="hedonistic", generations=2, network=network).replace(population=8)
    lava, fused = (train(experiment.replace(engine=engine), threads=1) for engine in ("lava", "fused"))
    assert lava.summary["release_sha256"] == fused.summary["release_sha256"]
    assert without_seconds(lava.metrics) == without_seconds(fused.metrics)


@needs_lava
@pytest.mark.parametrize(
    ("label", "phase", "said"),
    [
        ("synapses 2", "learn", "'synapses 2' failed(?s:.*)ValueError: injected fault"),
        ("reward broadcaster", "half", r"'reward broadcaster' \(pid \d+\) ended with exit code -9; .*resume"),
    ],
)
def test_what_fails_in_the_graph_is_reported_and_nothing_hangs(label, phase, said, fault, tmp_path, nothing_left):
    open_learner(Experiment(**NRL), Threads(1)).prepare()  # compiled before the clock runs
    fault(label, phase)
    with pytest.raises(EngineError, match=said):
        train(Experiment(**NRL, engine="lava"), out=tmp_path / "run")
    assert load_run(tmp_path / "run").generation <= 1  # the fault is late in the first generation, or in the second


def test_what_lava_cannot_do_is_refused(call):
    for rule, kind in WEIGHT_RULES.items():
        task = "mnist" if rule == "stdp" else "cartpole"
        if kind.lava is None and not kind.refusal(Experiment(task=task).build_task()):
            with pytest.raises(ExperimentError, match=f"engine: rule {rule} plays in this process, not on lava"):
                Experiment(task=task, rule=rule, engine="lava")
    code, _, said = call("train", "cartpole", "--rule", "es", "--engine", "lava")
    assert (code, "engine: rule es plays in this process, not on lava; leave engine out" in said) == (2, True)
    options = {"critic": "angle", "reward_timing": "immediate"}
    with pytest.raises(ExperimentError, match=r"critic: angle looks at the pole.*use another, or use engine fused"):
        Experiment(rule="r_stdp", rule_options=options, engine="lava")
