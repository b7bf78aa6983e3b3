"""The Lava engine: the same bits as the fused engine, and nothing left behind whatever happens."""

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import rsrp_lava.engines.lava as lava_engine
from drivers import run_network
from endless_task import ENDLESS
from lava_sessions import children_of_sessions, needs_lava
from rsrp_lava import EngineError, Experiment, load_run, train
from rsrp_lava.engines.lava_messages import GraphStart
from rsrp_lava.kernels.rollout import Synapses
from rsrp_lava.learners import State
from rsrp_lava.mapping import floating_constants
from rsrp_lava.mapping.release import ReleaseDraw
from rsrp_lava.normaliser import Normaliser

HERE = Path(__file__).parent
#: Seconds. On a quiet machine everything ends within five; a busy one is no fault.
NOT_HANGING = 120
SMALL = {"population": 8, "generations": 3, "evaluation_episodes": 4, "seed": 3, "network": {"n_neurons": 64}}
LABELS = ["environment", "recurrent synapses", "reward broadcaster"]
OTHERS = ["input encoder", "input synapses", "readout synapses", "LIF", "readout"]


@needs_lava
@pytest.mark.parametrize(
    "settings",
    [
        {"environment": {"starts": "shared", "max_steps": 40}, "evaluate_every": 2},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"rule": "hedonistic"}, marks=pytest.mark.slow),
        pytest.param({"reservoir": True}, marks=pytest.mark.slow),
        pytest.param({"reward_transform": "zero_mean"}, marks=pytest.mark.slow),
        pytest.param({"reward_transform": "none", "optimizer": "momentum"}, marks=pytest.mark.slow),
        pytest.param({"optimizer": "adam", "decay": 0.01, "p_bits": 10}, marks=pytest.mark.slow),
        pytest.param({"network": {"n_neurons": 100, "excitatory_ratio": 0.3}, "population": 12}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_both_engines_end_with_the_same_bits(settings, nothing_left):
    experiment = Experiment(**{"population": 64, "generations": 3, "evaluation_episodes": 16, "seed": 7, **settings})
    lava, fused = train(experiment.replace(engine="lava")), train(experiment)
    assert lava.stopped_by is None  # a signal from outside is no difference between engines
    assert lava.summary["release_sha256"] == fused.summary["release_sha256"]
    for ours, theirs in zip(lava.metrics, fused.metrics, strict=True):
        assert {k: v for k, v in ours.items() if k != "seconds"} == {k: v for k, v in theirs.items() if k != "seconds"}


@needs_lava
def test_a_run_may_change_engines_between_generations(tmp_path, nothing_left):
    experiment = Experiment(**SMALL, optimizer="adam").replace(generations=4)
    straight = train(experiment).summary["release_sha256"]
    out = tmp_path / "run"
    train(experiment.replace(generations=1), out=out)
    train(experiment.replace(generations=3, engine="lava"), resume=out)
    lava_checkpoint = load_run(out)
    train(experiment.replace(generations=3), out=tmp_path / "fused")
    fused_checkpoint = load_run(tmp_path / "fused")
    np.testing.assert_array_equal(lava_checkpoint.normaliser.mean, fused_checkpoint.normaliser.mean)
    assert train(experiment, resume=out).summary["release_sha256"] == straight


@needs_lava
@pytest.mark.parametrize("environment_steps", [30, pytest.param(310, marks=pytest.mark.slow)])
def test_spikes_of_both_engines_are_equal_in_every_substep(environment_steps, tmp_path):
    networks = 4
    experiment = Experiment(population=networks, evaluation_episodes=1, seed=11)
    network = experiment.build_network()
    random = np.random.default_rng(0)
    probabilities = {p.name: random.uniform(0.05, 0.95, (p.n_pre, p.n_post)).astype(np.float32) for p in network.projections}
    rule = experiment.build_rule()
    optimizer = {p.name: rule.optimizer.start((p.n_pre, p.n_post)) for p in network.projections}
    start = GraphStart(experiment, 0, probabilities, optimizer, Normaliser.start(4), None, True)
    (tmp_path / "start").write_bytes(pickle.dumps(start))
    steps = 33 * environment_steps
    script = [sys.executable, HERE / "lava_spikes.py", tmp_path / "start", tmp_path / "spikes.npy", str(steps)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    recorded = np.load(tmp_path / "spikes.npy")

    synapses = Synapses(*(ReleaseDraw().source(p, probabilities[p.name]) for p in network.projections))
    constants = floating_constants(network)._replace(substeps=1)
    for sample in range(networks):
        start_random = np.zeros(1)
        lava_engine_uniform(experiment.seed, sample, start_random)
        state, observations = np.zeros(2), np.zeros((environment_steps, 4))
        ENDLESS.reset(state, start_random)
        for t in range(environment_steps):
            ENDLESS.observe(state, observations[t])
            ENDLESS.step(state, np.zeros(1, np.float32))
        spikes = np.zeros((steps, recorded.shape[2]), np.uint64)
        currents, outputs = np.zeros((steps, 256), np.float32), np.zeros((environment_steps, 1), np.float32)
        run_network(
            synapses,
            constants,
            (experiment.seed, 0, 0),
            sample,
            observations.astype(np.float32),
            33,
            spikes,
            currents,
            outputs,
        )
        assert spikes.any()
        np.testing.assert_array_equal(recorded[:, sample], spikes)


def lava_engine_uniform(seed, sample, out):
    from rsrp_lava.kernels.random_bits import TASK, fill_uniform

    fill_uniform(seed, 0, sample, TASK, out)


@needs_lava
@pytest.mark.parametrize("phase", ["step", pytest.param("learn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("label", [*LABELS, *(pytest.param(label, marks=pytest.mark.slow) for label in OTHERS)])
def test_a_failing_process_is_named_with_its_traceback(label, phase, fault, tmp_path, nothing_left):
    fault(label, phase)
    with pytest.raises(EngineError, match=f"'{label}' failed") as caught:
        train(Experiment(**SMALL, engine="lava"))
    assert "ValueError: injected fault" in str(caught.value)
    assert "faulty_worker.py" in str(caught.value)
    assert time.time() - float((tmp_path / "time").read_text()) < NOT_HANGING  # Lava itself would wait for ever


@needs_lava
@pytest.mark.parametrize("character", ["ρ", "\U0001f9e0"])
def test_of_a_long_traceback_the_end_is_shown(character, fault, nothing_left):
    fault("LIF", "step", character * 30_000)
    with pytest.raises(EngineError, match="'LIF' failed") as caught:
        train(Experiment(**SMALL, engine="lava"))
    assert len(str(caught.value)) < 33_000


@needs_lava
@pytest.mark.parametrize(
    ("label", "phase"), [("LIF", "build"), pytest.param("reward broadcaster", "half", marks=pytest.mark.slow)]
)
def test_a_child_killed_in_an_awkward_moment_is_reported(label, phase, fault, nothing_left):
    """While others are still being started; in the middle of a message, the rest of which will never come."""
    fault(label, phase)
    with pytest.raises(EngineError, match=rf"'{label}' \(pid \d+\) ended with exit code -9; .*resume"):
        train(Experiment(**SMALL, engine="lava"))


@needs_lava
def test_lava_that_cannot_be_imported_is_reported_at_once(fault, nothing_left):
    fault("lava", "import")
    started = time.time()
    with pytest.raises(EngineError, match=r"'Lava runtime' failed(?s:.*)No module named 'lava.magma'"):
        train(Experiment(**{**SMALL, "network": {"n_neurons": 512}}, engine="lava"))  # more than a socket's buffer holds
    assert time.time() - started < NOT_HANGING


def test_a_worker_that_cannot_start_says_why(monkeypatch, nothing_left):
    monkeypatch.setattr(lava_engine, "require_lava", lambda target: None)
    monkeypatch.setattr(lava_engine.LavaEngine, "worker", "no_such_module")
    with pytest.raises(EngineError, match=r"exit code 1(?s:.*)No module named"):
        train(Experiment(**{**SMALL, "network": {"n_neurons": 512}}, engine="lava"))


@needs_lava
def test_children_compile_nothing(fault, nothing_left):
    fault("compile", "children")
    experiment = Experiment(**SMALL, optimizer="adam")
    lava = train(experiment.replace(engine="lava")).summary["release_sha256"]
    assert lava == train(experiment).summary["release_sha256"]


@needs_lava
@pytest.mark.slow
def test_modules_in_the_current_folder_are_not_taken_for_others(tmp_path, monkeypatch, nothing_left):
    (tmp_path / "lava.py").write_text("raise RuntimeError('the wrong lava')")
    monkeypatch.chdir(tmp_path)
    train(Experiment(**{**SMALL, "generations": 1}, engine="lava"))


@needs_lava
@pytest.mark.slow
@pytest.mark.parametrize(("tag", "potential"), [("floating_pt", 2e-3), ("fixed_pt", 0)])
def test_single_processes_equal_stock_ones_spike_for_spike(tag, potential):
    """Between stock RingBuffer and Monitor, in place of stock Dense and LIF. Stock LIF computes in float64, ours in
    float32: potentials part by less than 10⁻⁴ of a threshold of 20, too little to move a spike here. Integers agree."""
    done = subprocess.run([sys.executable, HERE / "lava_stock.py", tag], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["currents"] == 0
    assert report["spikes"] > 10_000
    assert report["mismatches"] == 0
    assert report["potential"] <= potential


WRONG = {
    "StochasticDense(p=np.full(3, 0.5))": "StochasticDense p: shape (3,) must be (n_pre, n_post), both 1 or more",
    "StochasticDense(p=np.zeros((0, 2)))": "StochasticDense p: shape (0, 2) must be (n_pre, n_post), both 1 or more",
    "StochasticDense(p=[[0.5, 1.5]])": "StochasticDense p: 1.5 must be a probability, 0 to 1",
    "StochasticDense(p=[[0.5, np.nan]])": "StochasticDense p: nan must be a probability, 0 to 1",
    "StochasticDense(p=np.full((32768, 1), 0.5))": "StochasticDense p: 32768 presynaptic neurons must be 32767 or fewer",
    "StochasticDense(p=[[0.5], [0.5]], signs=[1])": "StochasticDense signs: shape (1,) must be (2,), one a row of p",
    "StochasticDense(p=[[0.5], [0.5]], signs=[1, 0])": "StochasticDense signs: 0 must be 1 (excites) or -1 (inhibits)",
    "LIF(shape=(2, 3))": "LIF shape: (2, 3) must be (n,)",
}


@needs_lava
def test_processes_refuse_what_they_cannot_compute():
    script = (
        "import json, sys\nimport numpy as np\nfrom rsrp_lava import ExperimentError\n"
        "from rsrp_lava.processes.lif.process import LIF\n"
        "from rsrp_lava.processes.stochastic_synapse.process import StochasticDense\n"
        "def refusal(text):\n    try:\n        eval(text)\n    except ExperimentError as error:\n        return str(error)\n"
        "StochasticDense(p=[[0, 1]], signs=[-1]), LIF(shape=(2,))\n"
        "print(json.dumps({text: refusal(text) for text in json.loads(sys.argv[1])}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(list(WRONG))], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    refusals = json.loads(done.stdout)
    for text, message in WRONG.items():
        assert (refusals[text] or "").startswith(message), text


@pytest.fixture
def start_cli(tmp_path):
    """Start a training run under Lava in its own process; it and its session are ended after the test."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "rsrp_lava.cli", "train", "cartpole", "--engine", "lava", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


LONG = ("--population", 64, "--generations", 10_000, "--evaluation-episodes", 4)


def wait_for(condition, seconds=NOT_HANGING):
    limit = time.time() + seconds
    while not condition():
        assert time.time() < limit
        time.sleep(0.02)


@needs_lava
def test_a_killed_child_is_reported(start_cli, tmp_path, nothing_left):
    process = start_cli(*LONG, "--out", tmp_path / "run")
    wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists())
    workers = children_of_sessions()
    os.kill(workers[4], signal.SIGKILL)
    _, errors = process.communicate(timeout=NOT_HANGING)
    assert process.returncode == 2
    assert "Lava" in errors
    assert load_run(tmp_path / "run").generation >= 1


@needs_lava
@pytest.mark.parametrize(
    "when",
    ["compiling", "stepping", *(pytest.param(late, marks=pytest.mark.slow) for late in ("learning", "learning late"))],
)
def test_interrupt_ends_the_graph(when, start_cli, tmp_path, nothing_left):
    process = start_cli(*LONG, "--out", tmp_path / "run", "--json")
    if when == "compiling":
        wait_for(children_of_sessions)
    else:
        wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists())
        time.sleep({"stepping": 0.15, "learning": 0.0, "learning late": 0.5}[when])
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=NOT_HANGING)
    assert process.returncode == 130
    assert "the generation in flight is given up" in errors
    run = load_run(tmp_path / "run")
    of_last_update = [record["evaluation_return"] for record in run.metrics if record["generation"] == run.generation]
    # Rarely there: the graph was just done with the next generation's evaluation, and it is not thrown away.
    assert json.loads(output)["final_eval_return"] == (of_last_update[0] if of_last_update else None)
    assert "continue with: rsrp-lava train --resume" in errors
    assert "Traceback" not in errors


@needs_lava
@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGKILL, -9)]
)
def test_sigterm_and_sigkill_leave_nothing(number, code, start_cli, tmp_path, nothing_left):
    out = tmp_path / "run"
    process = start_cli(*LONG, "--out", out)
    wait_for(lambda: (out / "metrics.jsonl").exists())
    process.send_signal(number)
    process.communicate(timeout=NOT_HANGING)
    assert process.returncode == code
    load_run(out)
    wait_for(lambda: not children_of_sessions())


@needs_lava
@pytest.mark.slow
def test_ten_runs_in_a_row_leave_no_descriptors_handlers_or_start_method(nothing_left):
    train(Experiment(**SMALL, engine="lava"))
    descriptors, handlers = len(os.listdir("/proc/self/fd")), logging.getLogger().handlers[:]
    for seed in range(10):
        train(Experiment(**{**SMALL, "generations": 1, "seed": seed}, engine="lava"))
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert logging.getLogger().handlers == handlers
    assert "lava" not in sys.modules


@needs_lava
@pytest.mark.slow
def test_a_second_ctrl_c_while_the_session_ends_leaves_nothing(monkeypatch, nothing_left):
    experiment = Experiment(**SMALL, engine="lava")
    engine = lava_engine.LavaEngine(experiment)
    engine.prepare(State.start(experiment))
    engine.play({}, Normaliser.start(4), 0, 4, deterministic=True)
    kill = os.killpg

    def kill_interrupted(*arguments):
        kill(*arguments)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "killpg", kill_interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.close()


@needs_lava
def test_hardware_that_is_not_there_is_an_error_and_no_silent_simulation(tmp_path, nothing_left):
    with pytest.raises(EngineError, match=r"hardware backend not installed: .*use --lava-target simulation") as caught:
        train(Experiment(**SMALL, engine="lava", lava_target="loihi2"), out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert "lava" not in sys.modules


def test_without_lava_one_line_says_why_and_how(tmp_path, monkeypatch):
    monkeypatch.setattr(lava_engine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError) as caught:
        train(Experiment(**SMALL, engine="lava"), out=tmp_path / "run")
    message = str(caught.value)
    assert "Python 3.10" in message
    assert "--engine fused" in message
    assert "\n" not in message
    assert not (tmp_path / "run").exists()


@needs_lava
@pytest.mark.slow
def test_cartpole_is_learned_inside_lava(nothing_left):
    experiment = Experiment(population=128, seed=0)
    lava, fused = (train(experiment.replace(engine=engine), until=475).summary for engine in ("lava", "fused"))
    assert lava["final_eval_return"] >= 475
    assert lava["release_sha256"] == fused["release_sha256"]
    assert json.dumps(lava)
