"""Robustness: every strength of nothing is `evaluate` itself, noise has its statistics, bodies are Gymnasium's, and what is
asked of it in vain is refused."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from scipy.stats import kstest

from rsrp_lava import Experiment, ExperimentError, Run, RunFolderError, evaluate, load_run, study, train
from rsrp_lava.kernels.exact_math import exponential, fill_normal
from rsrp_lava.kernels.random_bits import OBSERVATION_NOISE
from rsrp_lava.learners import WeightState
from rsrp_lava.studies.perturbations import OF_SYNAPSES, PERTURBATIONS, flip_probability, perturbed, refusal
from rsrp_lava.tasks import EnvironmentOptions, get_task
from rsrp_lava.tasks.data import load_data

TINY = {"population": 8, "generations": 2, "evaluation_episodes": 6}
WEIGHTS = {"rule": "nrl", "rule_options": {"hidden": [4]}, **TINY}
SMALL = {"episodes": 4, "draws": 2, "threads": 1}
CONSTANTS = ("gravity", "cart_mass", "pole_mass", "pole_length", "force")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders: two seeds of rsrp, one of a rule with weights."""
    folder = tmp_path_factory.mktemp("runs")
    settings = [{**TINY, "seed": seed, "network": {"n_neurons": 32}} for seed in (3, 4)] + [{**WEIGHTS, "seed": 5}]
    for settings_of_one, name in zip(settings, ("a", "b", "nrl"), strict=True):
        train(Experiment(**settings_of_one), out=folder / name, threads=1)
    return [folder / name for name in ("a", "b", "nrl")]


@pytest.fixture(scope="module")
def studied(runs, tmp_path_factory):
    output = tmp_path_factory.mktemp("study") / "robust"
    grids = {"input_noise": (0.1,), "weight_noise": "0.5", "parameter_noise": (0.3,), "knock_out": (0.4,), "body": (2,)}
    return study("robustness", output=output, runs=runs, **grids, **SMALL)


# --- what a study measures -----------------------------------------------------------------------------------------------


def test_no_strength_is_evaluate_bit_for_bit_for_every_perturbation_and_run(studied, runs):
    panels = {row["perturbation"] for row in studied.rows}
    assert panels == {*PERTURBATIONS, *(f"body.{name}" for name in CONSTANTS)} - {"body"}
    for path in runs:
        ref = evaluate(path, episodes=4, threads=1)
        neutral = [
            row
            for row in studied.rows
            if row["run"] == str(path) and row["strength"] == (1 if row["perturbation"].startswith("body") else 0)
        ]
        assert {row["perturbation"] for row in neutral} == panels
        assert {(row["final_return"], row["std_of_episodes"]) for row in neutral} == {
            (ref["mean_return"], ref["std_return"])
        }


@pytest.mark.parametrize("index", [0, 2])
def test_strength_zero_of_every_perturbation_changes_no_bit(runs, index):
    run = load_run(runs[index])
    ref = evaluate(run, episodes=4, threads=1)
    for name in OF_SYNAPSES:
        assert evaluate(perturbed(run, name, 0.0, 1), episodes=4, threads=1)["mean_return"] == ref["mean_return"]
    for name, strength in (("input_noise", 0.0), ("body.force", 1.0)):
        same = perturbed(run, name, strength, 0).experiment
        assert (same.fingerprint, same.build_task()) == (run.experiment.fingerprint, run.experiment.build_task())


def test_rows_are_the_means_over_draws_of_perturbed_runs(studied, runs):
    row = next(r for r in studied.rows if (r["label"], r["perturbation"], r["strength"]) == ("nrl", "weight_noise", 0.5))
    run = load_run(runs[2])
    means = [evaluate(perturbed(run, "weight_noise", 0.5, k), episodes=4, threads=1)["mean_return"] for k in (0, 1)]
    assert row["final_return"] == pytest.approx(np.mean(means), abs=1e-12)
    assert row["std_of_draws"] == pytest.approx(np.std(means), abs=1e-12)
    assert (row["draws"], row["episodes"], row["error"]) == (2, 4, None)


def test_runs_that_differ_in_their_seed_are_one_curve(studied):
    curves = list(csv.DictReader((studied.output / "curves.csv").open()))
    at = {(c["perturbation"], c["label"], float(c["strength"])): c for c in curves}
    point = at["knock_out", "rsrp", 0.4]
    found = [
        row["final_return"]
        for row in studied.rows
        if (row["label"], row["perturbation"], row["strength"]) == ("rsrp", "knock_out", 0.4)
    ]
    assert (point["seeds"], at["knock_out", "nrl", 0.4]["seeds"], len(found)) == ("2", "1", 2)
    assert float(point["mean"]) == pytest.approx(np.mean(found))
    assert studied.files == ["results.csv", "curves.csv", "robustness.png", "report.md"]
    assert (studied.output / "robustness.png").read_bytes().startswith(b"\x89PNG")
    assert "pole_length, × 1 m" in (studied.output / "report.md").read_text()


def test_a_study_goes_on_with_more_runs(runs, tmp_path):
    chosen = {"perturbations": "knock_out", "knock_out": "0.5", **SMALL}
    first = study("robustness", output=tmp_path / "x", runs=runs[:1], **chosen)
    done = []
    more = study("robustness", output=tmp_path / "x", resume=True, runs=[runs[0], runs[2]], threads=1, progress=done.append)
    assert more.rows[:2] == first.rows
    assert [d.computed for d in done] == [False, False, True, True]
    again = study("robustness", output=tmp_path / "x", resume=True, threads=1, progress=done.append)
    assert again.rows == more.rows
    assert not any(d.computed for d in done[4:])


# --- synapses ------------------------------------------------------------------------------------------------------------


def test_a_flip_makes_a_weight_of_one_vary_by_sigma():
    """By enumeration of both outcomes: s = ±1 keeps its sign or changes it."""
    for sigma in (0.0, 0.1, 0.5, 0.9, 1.0):
        p = flip_probability(sigma)
        outcomes = [(1 - p, 1.0), (p, -1.0)]
        mean = sum(q * s for q, s in outcomes)
        assert math.sqrt(sum(q * (s - mean) ** 2 for q, s in outcomes)) == pytest.approx(sigma, abs=1e-7)
        assert mean == pytest.approx(math.sqrt(1 - sigma**2))
        of_release = [(1 - p, 1.0), (p, 0.0)]
        mean = sum(q * s for q, s in of_release)
        assert math.sqrt(sum(q * (s - mean) ** 2 for q, s in of_release)) == pytest.approx(sigma / 2, abs=1e-7)
    assert (flip_probability(0), flip_probability(1)) == (0, 0.5)


def test_releases_flip_or_fall_silent_as_often_as_they_should(runs):
    run = load_run(runs[0])
    before = np.concatenate([rho.ravel() > 0.5 for rho in run.probabilities.values()])

    def after(name, strength, draw=0):
        probabilities = perturbed(run, name, strength, draw).probabilities
        assert [rho.dtype for rho in probabilities.values()] == [np.float32] * 3
        return np.concatenate([rho.ravel() > 0.5 for rho in probabilities.values()])

    n = len(before)
    for sigma in (0.3, 0.8):
        p = flip_probability(sigma)
        flipped = after("weight_noise", sigma) != before
        assert abs(flipped.mean() - p) < 5 * math.sqrt(p * (1 - p) / n)
        assert (flipped <= (after("weight_noise", 1.0) != before)).all()  # the same numbers decide at every strength
    assert (after("weight_noise", 0.3) != after("weight_noise", 0.3, draw=1)).any()
    silenced = after("knock_out", 0.25)
    assert (silenced <= before).all()
    assert abs(silenced.sum() / before.sum() - 0.75) < 5 * math.sqrt(0.25 * 0.75 / before.sum())
    assert not after("knock_out", 1.0).any()
    rho = np.concatenate([rho.ravel() for rho in run.probabilities.values()]).astype(float)
    expected = np.array([0.5 * math.erfc(abs(r - 0.5) / (0.2 * math.sqrt(2))) for r in rho])
    flipped = after("parameter_noise", 0.2) != before
    assert abs(flipped.mean() - expected.mean()) < 5 * math.sqrt((expected * (1 - expected)).sum()) / n


@pytest.mark.parametrize("name", ["weight_noise", "parameter_noise"])
def test_noise_on_weights_is_normal_of_its_size(runs, name):
    run = load_run(runs[2])
    big = np.linspace(-3, 1, 20_000).reshape(100, 200)
    state = dataclasses.replace(run.state, memory={**run.state.memory, "weights/layer1": big})
    changed = perturbed(dataclasses.replace(run, state=state), name, 0.2, 0).state.memory
    size = np.abs(big).mean() if name == "weight_noise" else 1.0
    assert kstest((changed["weights/layer1"] - big).ravel() / (0.2 * size), "norm").pvalue > 1e-3
    assert state.memory["weights/layer1"] is big
    assert (changed["weights/layer2"] != run.state.memory["weights/layer2"]).all()
    rest = [key for key in changed if not key.startswith("weights/")]
    assert all((changed[key] == run.state.memory[key]).all() for key in rest)


@pytest.mark.parametrize("index", [0, 2])
def test_all_synapses_knocked_out_leave_the_return_of_an_empty_network(runs, index):
    run = load_run(runs[index])
    if index == 0:
        nothing = {name: np.zeros_like(rho) for name, rho in run.probabilities.items()}
        empty = dataclasses.replace(run.state, probabilities=nothing)
    else:
        zeros = {k: np.zeros_like(v) if k.startswith("weights/") else v for k, v in run.state.memory.items()}
        empty = dataclasses.replace(run.state, memory=zeros)
    ref = evaluate(dataclasses.replace(run, state=empty), episodes=4, threads=1)
    found = evaluate(perturbed(run, "knock_out", 1.0, 0), episodes=4, threads=1)
    assert found["mean_return"] == ref["mean_return"]


def test_synapses_that_do_not_learn_stay(tmp_path):
    train(Experiment(**TINY, network={"n_neurons": 32}, reservoir=True), out=tmp_path / "run", threads=1)
    run = load_run(tmp_path / "run")
    for name in OF_SYNAPSES:
        after = perturbed(run, name, 1.0, 0).probabilities
        assert (after["recurrent"] == run.probabilities["recurrent"]).all()
        assert (after["input"] != run.probabilities["input"]).any()


def test_circuits_stay_symmetric_and_connected_as_they_were():
    rule = Experiment(rule="svpg", rule_options={"circuits": 4, "neurons": 3, "sparsity": 0.5}).build_weight_rule()
    memory = rule.start()
    unconnected = ~rule._rule.net.connected
    noise = np.random.default_rng(0).normal(size=memory["weights/recurrent"].shape)
    memory["weights/recurrent"][:] = noise
    rule.restore(memory)
    w = memory["weights/recurrent"]
    assert (w == w.T).all()
    assert (w[unconnected] == 0).all()
    assert (np.triu(w)[~unconnected] == np.triu(noise)[~unconnected]).all()
    again = w.copy()
    rule.restore(memory)
    assert (w == again).all()


def test_a_knocked_out_synapse_that_draws_at_every_spike_never_releases():
    experiment = Experiment(rule="hedonistic_spikes", network={"n_neurons": 16}, **TINY)
    state = WeightState(0, experiment.rule, experiment.build_weight_rule().start())
    memory = perturbed(Run(Path(), experiment, state, []), "knock_out", 1.0, 0).state.memory
    released = [1.0 / (1.0 + exponential(-q)) for q in memory["weights/neurons"].ravel().tolist()]
    assert max(released) < 1e-80


def test_weights_stay_within_their_limits():
    rule = Experiment(rule="r_stdp").build_weight_rule()
    memory = rule.start()
    memory["weights/motor"] += np.linspace(-99, 99, memory["weights/motor"].size).reshape(memory["weights/motor"].shape)
    rule.restore(memory)
    motor = memory["weights/motor"]
    assert (motor.min(), motor.max()) == (rule.options.weight_min, rule.options.weight_max)
    rule = Experiment(task="digits", rule="stdp").build_weight_rule()
    memory = rule.start()
    before = memory["weights/input"].copy()
    rule.restore(memory)
    assert (memory["weights/input"] == before).all()
    memory["weights/input"] -= 0.1
    rule.restore(memory)
    assert (memory["weights/input"] == np.maximum(before - 0.1, 0)).all()


# --- noise on observations -------------------------------------------------------------------------------------------------


def noisy_episode(task, random, steps=4):
    """What the functions of a task with noise show, step by step, without a kernel around them."""
    state, output, seen = task.open_state().values, np.ones(task.n_outputs, np.float32), []
    task.reset(state, random)
    for _ in range(steps):
        observation = np.zeros(task.n_observations)
        task.observe(state, observation)
        again = np.zeros_like(observation)
        task.observe(state, again)
        assert (observation == again).all()
        seen.append(observation)
        task.step(state, output)
    return np.array(seen)


def test_noise_is_added_to_what_is_observed_and_to_nothing_else():
    plain, noisy = get_task("cartpole"), get_task("cartpole", EnvironmentOptions(observation_noise=0.3))
    random = np.linspace(0.1, 0.9, 5)
    clean = noisy_episode(plain, random[:4])
    for step, shown in enumerate(noisy_episode(noisy, random)):
        noise = np.empty(4)
        fill_normal(random[4] * 2.0**53, 0, 0, OBSERVATION_NOISE, float(step), noise)
        np.testing.assert_array_equal(shown, clean[step] + 0.3 * noise)


def test_noise_on_observations_is_normal_and_new_at_every_step():
    task = get_task("cue", EnvironmentOptions(observation_noise=0.5))
    plain = get_task("cue")
    found = []
    for key in range(40):
        random = np.full(task.random_size, 0.25)
        random[-1] = key / 64
        found.append(noisy_episode(task, random) - noisy_episode(plain, random[:-1]))
    noise = np.concatenate(found).ravel() / 0.5
    assert kstest(noise, "norm").pvalue > 1e-3
    assert len(np.unique(noise.round(5))) > 0.98 * len(noise)


def test_training_with_noise_is_the_same_for_any_number_of_threads_and_another_run():
    noisy = Experiment(**TINY, network={"n_neurons": 32}, environment={"observation_noise": 0.2})
    assert noisy.fingerprint != noisy.replace(environment={"observation_noise": 0.0}).fingerprint
    hashes = {train(noisy, threads=threads).summary["release_sha256"] for threads in (1, None)}
    assert len(hashes) == 1
    assert hashes != {train(noisy.replace(environment={"observation_noise": 0.0}), threads=1).summary["release_sha256"]}


def test_a_run_that_learned_in_noise_is_compared_with_one_that_did_not(runs, tmp_path):
    settings = {**TINY, "seed": 3, "network": {"n_neurons": 32}, "environment": {"observation_noise": 0.2}}
    train(Experiment(**settings), out=tmp_path / "noisy", threads=1)
    chosen = {"perturbations": "input_noise", "input_noise": "0.2", **SMALL}
    result = study("robustness", output=tmp_path / "x", runs=[runs[0], tmp_path / "noisy"], **chosen)
    assert len({row["label"] for row in result.rows}) == 2
    assert any("observation_noise = 0.2" in row["label"] for row in result.rows)
    row = next(row for row in result.rows if row["run"] == str(tmp_path / "noisy") and row["strength"] == 0.2)
    assert row["final_return"] == evaluate(tmp_path / "noisy", episodes=4, threads=1)["mean_return"]  # its own noise


# --- bodies --------------------------------------------------------------------------------------------------------------


def change_cartpole(gym, name, factor):
    attribute = {"cart_mass": "masscart", "pole_mass": "masspole", "pole_length": "length", "force": "force_mag"}.get(
        name, name
    )
    setattr(gym, attribute, getattr(gym, attribute) * factor)
    gym.total_mass = gym.masspole + gym.masscart
    gym.polemass_length = gym.masspole * gym.length


def change_pendulum(gym, name, factor):
    attribute = {"gravity": "g", "mass": "m", "length": "l"}[name]
    setattr(gym, attribute, getattr(gym, attribute) * factor)


def change_mountain_car(gym, name, factor):
    setattr(gym, name, getattr(gym, name) * factor)


def change_acrobot(gym, name, factor):
    if name == "torque":
        gym.AVAIL_TORQUE = [factor * torque for torque in gym.AVAIL_TORQUE]
        return
    kind, _, link = name.partition("_")
    attributes = {"mass": ["LINK_MASS_"], "length": ["LINK_LENGTH_", "LINK_COM_POS_"]}[kind]
    for attribute in attributes:
        setattr(gym, attribute + link, getattr(gym, attribute + link) * factor)


BODIES = [
    *(("CartPole-v1", "cartpole", name, change_cartpole) for name in CONSTANTS),
    *(("Pendulum-v1", "pendulum", name, change_pendulum) for name in ("gravity", "mass", "length")),
    *(("MountainCar-v0", "mountain_car", name, change_mountain_car) for name in ("gravity", "force")),
    *(("Acrobot-v1", "acrobot", name, change_acrobot) for name in ("mass_1", "mass_2", "length_1", "length_2", "torque")),
]


@pytest.mark.parametrize(("id", "task", "constant", "change"), BODIES)
@pytest.mark.parametrize("factor", [0.3, 4.0])
def test_another_body_moves_as_gymnasiums_with_that_constant(id, task, constant, change, factor):
    gym = gymnasium.make(id).unwrapped
    change(gym, constant, factor)
    ours, random = get_task(task, EnvironmentOptions(body={constant: factor})), np.random.default_rng(0)
    exact = task != "pendulum"  # its Gymnasium writes length² as a power
    for seed in range(4):
        gym.reset(seed=seed)
        gym.state = np.asarray(gym.state, np.float64)
        state = ours.open_state().values
        state[: len(gym.state)] = gym.state
        for _ in range(40):
            output = random.uniform(-1, 1, ours.n_outputs).astype(np.float32)
            action = int(output[0] > 0) if task == "cartpole" else int(output.argmax())
            if task == "pendulum":
                low, high = np.float32(-2), np.float32(2)
                action = (low + (np.clip(output, -1, 1) + 1) / 2 * (high - low)).astype(np.float64)
            _, ended = ours.step(state, output)
            terminated = gym.step(action)[2]
            gym.state = np.asarray(gym.state, np.float64)
            compare = np.testing.assert_array_equal if exact else np.testing.assert_allclose
            compare(state[: len(gym.state)], gym.state, **({} if exact else {"rtol": 1e-9, "atol": 1e-12}))
            assert ended == terminated
            if ended:
                break


def test_a_factor_of_one_is_the_usual_body_in_state_and_fingerprint():
    same = Experiment(**TINY, environment={"body": {"pole_length": 1.0}})
    assert same.build_task() == Experiment(**TINY).build_task()
    assert same.fingerprint == Experiment(**TINY).fingerprint
    usual = get_task("cartpole")
    changed = usual.body.change(usual, dict.fromkeys(CONSTANTS, 1.0))  # the same numbers, read from the state
    state, other = np.array([0.1, -0.2, 0.05, 0.3]), changed.open_state().values
    other[:4] = state
    for _ in range(50):
        output = np.random.default_rng(int(1e6 * abs(state[0]))).normal(size=1).astype(np.float32)
        assert usual.step(state, output) == changed.step(other, output)
        np.testing.assert_array_equal(state.view("u8"), other[:4].view("u8"))


def test_another_pole_of_mujoco_moves_as_a_model_written_so(tmp_path):
    pytest.importorskip("mujoco")
    from gymnasium.envs import mujoco

    text = (Path(mujoco.__file__).parent / "assets" / "inverted_pendulum.xml").read_text("utf-8")
    for usual, other in (
        ('fromto="0 0 0 0.001 0 0.6"', 'fromto="0 0 0 0.002 0 1.2"'),
        ('size="0.049 0.3"', 'size="0.0245 0.6"'),
        ("-9.81", "-4.905"),
    ):
        assert text.count(usual) == 1
        text = text.replace(usual, other)
    (tmp_path / "other.xml").write_text(text)
    gym = gymnasium.make("InvertedPendulum-v5", xml_file=str(tmp_path / "other.xml")).unwrapped
    body = {"pole_length": 2.0, "pole_radius": 0.5, "gravity": 0.5}
    task, random = get_task("inverted_pendulum_five", EnvironmentOptions(body=body)), np.random.default_rng(0)
    opened, seen = task.open_state(), np.zeros(4)
    task.reset(opened.values, random.random(task.random_size))
    gym.reset(seed=0)
    gym.set_state(opened.held[1].qpos, opened.held[1].qvel)
    for _ in range(30):
        output = random.normal(size=5).astype(np.float32)
        task.step(opened.values, output)
        observation = gym.step(np.array([1.5 * (int(output.argmax()) - 2)], np.float32))[0]
        task.observe(opened.values, seen)
        np.testing.assert_array_equal(seen, observation)


def test_noise_and_another_body_go_together():
    task = get_task("cartpole", EnvironmentOptions(observation_noise=0.1, body={"gravity": 2.0}))
    alone = get_task("cartpole", EnvironmentOptions(body={"gravity": 2.0}))
    random, ends = np.full(5, 0.7), []
    for each in (task, alone):
        state = each.open_state().values
        each.reset(state, random[: each.random_size])
        for _ in range(5):
            each.step(state, np.ones(1, np.float32))
        ends.append(state[:4].copy())
    assert (ends[0] == ends[1]).all()


# --- refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"body": {"pole_lenght": 2}}, "did you mean 'pole_length'"),
        ({"body": {"pole_lenght": 1}}, "did you mean 'pole_length'"),
        ({"body": {"gravity": 0}}, "body.gravity"),
        ({"observation_noise": -1}, "observation_noise"),
        ({"observation_noise": float("inf")}, "observation_noise"),
        ({"observation_noise": True}, "observation_noise"),
    ],
)
def test_environments_that_cannot_be_are_refused(environment, said):
    with pytest.raises(ExperimentError, match=said):
        Experiment(task="cartpole", environment=environment)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": "cue", "environment": {"body": {"gravity": 2}}}, "cue has no constants"),
        ({"task": "digits", "environment": {"body": {"force": 2}}}, "tasks with episodes"),
        (
            {"task": "gym:CartPole-v1", "environment": {"compiled": False, "observation_noise": 1}},
            "is for episodes that are compiled",
        ),
        ({"engine": "lava", "environment": {"observation_noise": 1}}, "engine lava plays cartpole as it is"),
    ],
)
def test_tasks_and_engines_without_them_say_so(settings, said):
    with pytest.raises(ExperimentError, match=said):
        Experiment(**settings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"perturbations": "weigth_noise"}, "did you mean 'weight_noise'"),
        ({"perturbations": "body.lenght"}, "unknown constant of the body 'lenght'"),
        ({"knock_out": "1.5"}, "more than all synapses"),
        ({"weight_noise": "1.5"}, "at most 1"),
        ({"body": "0"}, "no body"),
        ({"input_noise": "-1"}, "input_noise"),
        ({"draws": 0}, "draws"),
        ({"task": "pendulum"}, "the runs are of cartpole"),
        ({"nosuch": 1}, "nosuch"),
    ],
)
def test_studies_that_cannot_be_are_refused(runs, tmp_path, options, said):
    with pytest.raises(ExperimentError, match=said):
        study("robustness", output=tmp_path / "x", runs=runs, **options)
    assert not (tmp_path / "x").exists()


def test_runs_of_different_tasks_or_no_runs_are_refused(runs, tmp_path):
    short = Experiment(**TINY, network={"n_neurons": 32}, environment={"max_steps": 50})
    train(short, out=tmp_path / "short", threads=1)
    with pytest.raises(ExperimentError, match=r"different tasks .*cartpole of 50 steps"):
        study("robustness", output=tmp_path / "x", runs=[runs[0], tmp_path / "short"])
    with pytest.raises(RunFolderError, match="nowhere"):
        study("robustness", output=tmp_path / "x", runs=[tmp_path / "nowhere"])
    (tmp_path / "short" / "checkpoint.npz").unlink()
    with pytest.raises(RunFolderError, match="checkpoint"):
        study("robustness", output=tmp_path / "x", runs=[tmp_path / "short"])
    with pytest.raises(ExperimentError, match="runs"):
        study("robustness", output=tmp_path / "x")


def test_panels_a_task_has_not_are_left_out_and_said(tmp_path):
    train(Experiment(task="cue", **WEIGHTS), out=tmp_path / "cue", threads=1)
    result = study("robustness", output=tmp_path / "x", runs=[tmp_path / "cue"], input_noise="1", knock_out="1", **SMALL)
    assert {row["perturbation"] for row in result.rows} == {"input_noise", *OF_SYNAPSES}
    assert "no constants that can be changed" in result.report
    with pytest.raises(ExperimentError, match="leave body out"):
        study("robustness", output=tmp_path / "y", runs=[tmp_path / "cue"], perturbations="body")


def test_weights_of_plus_and_minus_one_cannot_be_knocked_out(tmp_path):
    settings = {"population": 8, "generations": 1, "layers": {"hidden": [8]}, "evaluation_episodes": 20}
    train(Experiment(task="digits", **settings), out=tmp_path / "digits", threads=1)
    run = load_run(tmp_path / "digits")
    assert "±1" in refusal(run, "knock_out")
    assert "no body" in refusal(run, "body")
    ref = evaluate(run, threads=1)["mean_return"]
    for name in ("input_noise", "weight_noise", "parameter_noise"):
        assert refusal(run, name) is None
        assert evaluate(perturbed(run, name, 0.0, 0), threads=1)["mean_return"] == ref


def test_noise_on_test_images_is_normal_where_it_is_not_clipped():
    clean, noisy = load_data("digits"), load_data("digits", test_noise=0.1)
    assert noisy.train is clean.train
    assert (noisy.test.images.shape, noisy.test.images.dtype) == (clean.test.images.shape, np.uint8)
    middle = (clean.test.images > 100) & (clean.test.images < 155)
    added = (noisy.test.images.astype(float) - clean.test.images)[middle] / 25.5
    assert abs(added.mean()) < 5 / math.sqrt(added.size)
    assert abs(added.std() - 1) < 5 / math.sqrt(2 * added.size)
    assert abs((noisy.test.images[clean.test.images == 0] == 0).mean() - 0.5) < 0.03
    assert load_data("digits", test_noise=0.1) is noisy


# --- the command ---------------------------------------------------------------------------------------------------------


def test_the_command(call, runs):
    chosen = ("--perturbations", "knock_out,body.force", "--knock-out", "0.5", "--body", "2", "--episodes", 4, "--draws", 1)
    code, out, said = call("study", "robustness", *runs, *chosen, "-o", "robust", "--threads", 1, "--json")
    assert code == 0, said
    result = json.loads(out.splitlines()[-1])
    assert [row["strength"] for row in result["rows"]] == [0.0, 0.5, 1.0, 2.0] * 3
    assert call("study", "robustness", "-o", "robust", "--resume", "--threads", 1)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("RUN", "-o", "x", "--perturbations", "nois"), "unknown perturbation 'nois'"),
        (("nowhere", "-o", "x"), "nowhere"),
        (("-o", "x"), "runs"),
        (("-o", "x", "--resume"), "holds no study"),
    ],
)
def test_the_command_refuses_without_a_traceback(call, runs, arguments, said):
    code, _, error = call("study", "robustness", *(runs[0] if word == "RUN" else word for word in arguments))
    assert (code, said in error, "Traceback" in error) == (2, True, False)


def test_training_takes_noise_and_a_body_as_options(call):
    settings = ("--population", 8, "--generations", 1, "--evaluation-episodes", 2, "--threads", 1)
    code, _, said = call("train", "cartpole", *settings, "--observation-noise", "0.1", "--body", "force=2", "--out", "r")
    assert code == 0, said
    environment = load_run("r").experiment.environment
    assert (environment.observation_noise, environment.body) == (0.1, {"force": 2.0})
    assert call("train", "cartpole", "--body", "force")[0] == 2
    code, _, said = call("record", "r")
    assert (code, "environment.observation_noise: this run is played with it, and record draws" in said) == (2, True)
