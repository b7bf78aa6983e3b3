"""Training learns, repeats itself bit for bit, and survives being stopped at any moment."""

import dataclasses
import json
import random
import signal
import sys
import time

import numpy as np
import pytest
from numba.core.compiler_lock import global_compiler_lock
from rich.console import Console

from rsrp_lava import EngineError, Experiment, ExperimentError, RunFolderError, evaluate, load_run, release_sha256, train
from rsrp_lava.engines.fused import FusedEngine
from rsrp_lava.learning.rsrp import Rsrp, Update
from rsrp_lava.run_folder import RunFolder
from rsrp_lava.threads import available_threads
from rsrp_lava.watching import watch
from trainers import wait_for_records

VARIANTS = {
    "sgd": {"optimizer": "sgd"},
    "momentum": {"optimizer": "momentum"},
    "adam": {"optimizer": "adam"},
    "zero_mean": {"reward_transform": "zero_mean"},
    "reservoir": {"reservoir": True},
    "decay": {"decay": 0.1},
    "satr": {"rule": "satr"},
}
#: On Windows and macOS a test that sends signals would say little.
needs_signals = pytest.mark.skipif(sys.platform != "linux", reason="sends POSIX signals")


def without_time(records):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


def sha(result):
    return result.summary["release_sha256"]


class Interruption(Exception):
    pass


# One answer


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_seed_same_bits_with_any_number_of_threads(small, variant):
    experiment = small.replace(**VARIANTS[variant])
    threads = sorted({1, 1 + (available_threads() > 1), available_threads()})
    results = [train(experiment, threads=count) for count in [1, *threads]]
    assert len({sha(result) for result in results}) == 1
    for result in results[1:]:
        assert without_time(result.metrics) == without_time(results[0].metrics)
    assert sha(train(experiment.replace(seed=4))) != sha(results[0])


def test_variants_differ(small):
    assert len({sha(train(small.replace(**settings))) for settings in VARIANTS.values()}) == len(VARIANTS)


@pytest.mark.parametrize("save", [1, 2, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_run_equals_uninterrupted_one(small, tmp_path, monkeypatch, variant, save):
    """The interruption comes between metrics and checkpoint: metrics are one generation ahead and must be cut."""
    experiment = small.replace(**VARIANTS[variant])
    whole = train(experiment)
    saved = []

    def save_or_stop(folder, checkpoint, save_checkpoint=RunFolder.save_checkpoint):
        if len(saved) == save:
            raise Interruption
        save_checkpoint(folder, checkpoint)
        saved.append(checkpoint)

    monkeypatch.setattr(RunFolder, "save_checkpoint", save_or_stop)
    with pytest.raises(Interruption):
        train(experiment, out=tmp_path / "run")
    monkeypatch.undo()
    assert len(RunFolder.open(tmp_path / "run").read_metrics()) == save + 1
    resumed = train(experiment, resume=tmp_path / "run")
    assert sha(resumed) == sha(whole)
    assert without_time(resumed.metrics) == without_time(whole.metrics)
    assert without_time(load_run(tmp_path / "run").metrics) == without_time(whole.metrics)


@pytest.mark.parametrize("variant", ["sgd", "adam"])
def test_extending_a_finished_run_equals_a_longer_run(small, run, variant, tmp_path):
    experiment = small.replace(**VARIANTS[variant])
    train(experiment, out=tmp_path / "extended")
    longer = experiment.replace(generations=7)
    resumed = train(longer, resume=tmp_path / "extended")
    whole = train(longer)
    assert sha(resumed) == sha(whole)
    assert without_time(resumed.metrics) == without_time(whole.metrics)
    assert load_run(tmp_path / "extended").experiment == longer


def test_max_env_steps_ends_after_the_generation_that_reaches_them(small, tmp_path):
    whole = train(small)
    steps = [record["env_steps"] for record in whole.metrics]
    limited = train(small.replace(max_env_steps=steps[1]), out=tmp_path / "run")
    assert limited.summary["generations"] == 2
    assert limited.summary["env_steps"] == steps[1]
    assert watch(tmp_path / "run", once=True, console=Console(quiet=True)).state == "finished"
    assert train(small.replace(max_env_steps=steps[1] + 1)).summary["generations"] == 3
    assert sha(train(small.replace(max_env_steps=steps[1]), resume=tmp_path / "run")) == sha(
        limited
    )  # nothing is left to do
    assert sha(train(small, resume=tmp_path / "run")) == sha(whole)


@pytest.mark.parametrize("limit", [0, -5, 1.5, True, "many"])
def test_max_env_steps_is_a_whole_number(small, limit):
    with pytest.raises(ExperimentError, match="max_env_steps"):
        small.replace(max_env_steps=limit)


def test_max_env_steps_is_not_for_images():
    with pytest.raises(ExperimentError, match=r"max_env_steps .*: 1000 — digits has images"):
        Experiment(task="digits", max_env_steps=1000)
    assert Experiment(task="cartpole", max_env_steps="1e6").max_env_steps == 1_000_000


def test_resuming_a_finished_run_changes_nothing(small, run):
    before = load_run(run)
    result = train(small, resume=run)
    after = load_run(run)
    assert sha(result) == release_sha256(before.probabilities) == release_sha256(after.probabilities)
    assert after.metrics == before.metrics


# Being stopped


@needs_signals
@pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments_equals_never_interrupted(times, small, tmp_path, start):
    generations, short = 60 + 30 * times, {"max_steps": 10}  # however well it learns
    experiment = small.replace(generations=generations, optimizer="adam", network={"n_neurons": 64}, environment=short)
    config, out = tmp_path / "config.yaml", tmp_path / "run"
    config.write_text(experiment.to_yaml())
    moments = random.Random(0)
    process = start("--config", config, "--out", out)
    wait_for_records(process, out, 1)
    for _ in range(times):
        time.sleep(moments.uniform(0, 0.01))  # a generation with its checkpoint takes some milliseconds
        assert process.poll() is None, "finished before it was killed so often"
        process.kill()
        process.communicate()
        progress = load_run(out).generation
        process = start("--resume", out)
        wait_for_records(process, out, progress + moments.randint(1, 8))
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    whole, survivor = train(experiment), load_run(out)
    assert release_sha256(survivor.probabilities) == sha(whole)
    assert without_time(survivor.metrics) == without_time(whole.metrics)
    assert not list(out.glob(".*"))


@needs_signals
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_stops_after_the_generation_in_flight(small, tmp_path, start, number, code):
    out, config = tmp_path / "run", tmp_path / "config.yaml"
    config.write_text(small.replace(generations=100_000).to_yaml())
    process = start("--config", config, "--out", out, "--until", 500.5, "--json")
    wait_for_records(process, out, 3)
    process.send_signal(number)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == code
    done = json.loads(output)["generations"]
    assert "stopping after the generation in flight (again: at once)" in errors
    assert f"stopped after generation {done}; continue with: rsrp-lava train --resume {out} --until 500.5\n" in errors
    assert "Traceback" not in errors
    run = load_run(out)
    assert run.generation == done >= 3
    assert [record["generation"] for record in run.metrics] == list(range(done + 1))
    assert (out / "curves.png").exists()

    resumed = train(run.experiment.replace(generations=done + 2), resume=out)
    assert sha(resumed) == sha(train(run.experiment.replace(generations=done + 2)))


@needs_signals
@pytest.mark.parametrize("threads", [1, min(2, available_threads())])
def test_second_interrupt_stops_at_once(tmp_path, start, threads):
    """With a generation of a minute in flight. The run is as it was after the last finished one."""
    out = tmp_path / "run"
    arguments = ("--population", 2**20, "--evaluation-episodes", 8, "--threads", threads, "--out", out)
    process = start("cartpole", *arguments)
    while not out.exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(1.5)  # now it plays
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert load_run(out).generation == 0


@needs_signals
def test_second_interrupt_waits_for_a_compilation(small):
    """An exception inside LLVM is lost, or frees memory twice."""
    compiled = []

    def interrupt(record):
        with global_compiler_lock:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.5)
            compiled.append(record["generation"])
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        train(small, progress=interrupt)
    assert compiled == [0]


def test_signal_handlers_are_given_back(small):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train(small)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_until_stops_as_soon_as_the_return_is_reached(tmp_path):
    experiment = Experiment(population=64, generations=40)
    result = train(experiment, until=100, out=tmp_path / "run")
    returns = [record["evaluation_return"] for record in result.metrics]
    assert max(returns[:-1]) < 100 <= returns[-1]
    assert 0 < result.summary["generations"] < 40
    assert result.stopped_by is None
    assert train(experiment, resume=tmp_path / "run", until=100).metrics == result.metrics


def test_until_reached_before_the_first_generation_leaves_a_usable_run(small, tmp_path):
    result = train(small, until=1, out=tmp_path / "run")
    assert result.summary["generations"] == 0
    assert evaluate(tmp_path / "run")["mean_return"] == result.summary["final_eval_return"]
    assert sha(train(small, resume=tmp_path / "run")) == sha(train(small))


def test_until_nan_is_refused(small):
    with pytest.raises(ExperimentError, match="until: nan"):
        train(small, until=float("nan"))


def test_the_learning_rate_is_halved_every_so_many_generations(small, monkeypatch):
    rates = []
    moved = Rsrp.moved
    monkeypatch.setattr(Rsrp, "moved", lambda self, *a: rates.append(self.learning_rate) or moved(self, *a))
    train(small.replace(learning_rate=2.0, halve_learning_rate_every=2, generations=5))
    assert rates[1::3] == [2.0, 2.0, 1.0, 1.0, 0.5]  # the first is of compiling
    with pytest.raises(ExperimentError, match="halve_learning_rate_every: the processes of engine lava"):
        small.replace(engine="lava", halve_learning_rate_every=2)
    with pytest.raises(ExperimentError, match="halve_learning_rate_every: 0"):
        small.replace(halve_learning_rate_every=0)


@pytest.fixture
def clock(monkeypatch):
    """A list whose number is added to the clock that durations are measured by; the clock of the day jumps about."""
    ahead, days = [0.0], random.Random(0)
    monkeypatch.setattr(time, "perf_counter", lambda now=time.perf_counter: now() + ahead[0])
    monkeypatch.setattr(time, "time", lambda: days.uniform(0, 2e9))
    return ahead


@pytest.mark.parametrize("max_time", [2500, "2500", "2500s", "41m40s"])
def test_max_time_stops_after_the_generation_in_which_it_passes_and_is_of_this_call(small, tmp_path, clock, max_time):
    """Every generation takes 1000 s and some milliseconds; nothing is lost, and a resume has all of the time again."""

    def pass_time(record):
        clock[0] += 1000

    experiment, out = small.replace(generations=8), tmp_path / "run"
    first = train(experiment, out=out, max_time=max_time, progress=pass_time)
    assert (first.summary["generations"], first.stopped_by) == (3, None)
    assert load_run(out).generation == 3
    assert load_run(out).metrics[-1] == first.metrics[-1]
    assert "sampled_return" not in first.metrics[-1]
    assert train(experiment, resume=out, max_time=max_time, progress=pass_time).summary["generations"] == 6
    last = train(experiment, resume=out, max_time=max_time, progress=pass_time)
    assert last.summary["generations"] == 8
    whole = train(experiment)
    assert sha(last) == sha(whole)
    assert without_time(last.metrics) == without_time(whole.metrics)


def test_every_call_gets_on_however_short_its_time(small, tmp_path):
    out = tmp_path / "run"
    train(small.replace(evaluate_every=2), out=out, max_time=1e-9)
    for done in (1, 2, 3, 4, 4):
        run = load_run(out)
        assert run.generation == done
        assert run.metrics[-1].keys() >= {"evaluation_return"}
        train(run.experiment, resume=out, max_time="0.000001s")


def test_max_time_that_is_none_is_refused_before_anything_is_written(small, tmp_path):
    for wrong in (0, "soon", float("nan")):
        with pytest.raises(ExperimentError, match=r"max_time: .* is no length of time above 0"):
            train(small, out=tmp_path / "run", max_time=wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_clock_of_the_day_that_jumps_changes_no_duration(small, clock):
    started = time.perf_counter()
    result = train(small, max_time=3600, progress=True)
    elapsed = time.perf_counter() - started
    seconds = [0, *(record["seconds"] for record in result.metrics)]
    assert result.summary["generations"] == small.generations
    assert seconds == sorted(seconds)
    assert 0 < seconds[-1] + result.summary["compile_seconds"] < elapsed + 0.001


# An engine that cannot start


@pytest.fixture
def broken(monkeypatch):
    """Every engine fails as it is made ready."""

    def prepare(engine, state):
        raise EngineError("it cannot start")

    monkeypatch.setattr(FusedEngine, "prepare", prepare)


def test_a_run_whose_engine_cannot_start_is_left_as_it_was(small, run, files, broken):
    ahead = {**load_run(run).metrics[1], "generation": 4}  # a kill between metrics and checkpoint leaves such a record
    RunFolder.open(run).append_metrics(ahead)
    before = files(run)
    with pytest.raises(EngineError, match="cannot start"):
        train(small.replace(generations=7), resume=run)
    assert files(run) == before


def test_a_new_run_whose_engine_cannot_start_leaves_nothing(small, tmp_path, files, broken):
    (tmp_path / "empty").mkdir()
    before = files(tmp_path)
    for out in (tmp_path / "a" / "run", tmp_path / "empty"):
        with pytest.raises(EngineError, match="cannot start"):
            train(small, out=out)
    assert files(tmp_path) == before


# Learning


def learn():
    return train(Experiment(population=128, generations=25, seed=0)).summary


def test_cartpole_is_learned_from_reward():
    assert learn()["final_eval_return"] >= 400


def test_nothing_is_learned_when_the_update_is_zeroed(monkeypatch):
    """The test above would notice: without the update the return stays at that of random networks (about 20)."""
    monkeypatch.setattr(
        Rsrp, "update", lambda self, probability, credit, broadcast, state, *rest: Update(probability, state, 0, 0)
    )
    summary = learn()
    assert summary["final_eval_return"] < 60
    assert summary["final_sampled_return"] < 60


def test_nothing_is_learned_from_equal_rewards(small, monkeypatch):
    """Equal ranks leave every probability at one half, bit for bit."""
    monkeypatch.setattr("rsrp_lava.learning.transforms._nan_worst", np.zeros_like)
    assert all((rho == 0.5).all() for rho in train(small).probabilities.values())


def test_reservoir_keeps_its_recurrent_synapses(small):
    result = train(small.replace(reservoir=True))
    recurrent = result.probabilities["recurrent"]
    assert set(np.unique(recurrent)) == {0, 1}
    assert 0.4 < recurrent.mean() < 0.6
    assert result.metrics[-1]["entropy_bits"]["recurrent"] == 0
    assert all((result.probabilities[name] != 0.5).any() for name in ("input", "readout"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "settings",
    [
        {"population": 128},
        {"population": 256},
        {"population": 256, "reservoir": True, "generations": 100},
        {"population": 2048, "optimizer": "adam", "learning_rate": 0.15},
    ],
    ids=["128", "256", "reservoir", "adam"],
)
def test_five_seeds_end_at_the_maximum(settings, seed):
    """The table of the README. The paper: 500 ± 0 with N = 10,240 and 100 generations, the reservoir too."""
    summary = train(Experiment(seed=seed, **{"generations": 70, **settings})).summary
    assert (summary["final_eval_return"], summary["eval_std"]) == (500, 0)


# What is recorded


def test_metrics_record_every_generation_and_the_last_evaluation(small, run):
    metrics = load_run(run).metrics
    assert [record["generation"] for record in metrics] == list(range(small.generations + 1))
    *played, final = metrics
    of_samples = {"sampled_return", "sampled_std", "tied_returns", "sampled_outputs", "evaluation_outputs"}
    of_samples |= {"update_ratio", "update_ratio_in_all"}
    for record in played:
        of_evaluation = {"evaluation_return", "evaluation_std"}
        once = {"baselines"} if record["generation"] == 0 else set()
        assert record.keys() == {"generation", *of_samples, *of_evaluation, *once, "entropy_bits", "env_steps", "seconds"}
        assert 1 <= record["sampled_return"] <= 500
    assert final.keys() == (played[1].keys() - of_samples) | {"ended_by"}
    assert final["ended_by"] == "length"
    assert metrics[0]["entropy_bits"] == {"input": 1, "recurrent": 1, "readout": 1}
    assert all(0 < bits < 1 for bits in final["entropy_bits"].values())
    assert np.isclose(np.diff([0, *(record["env_steps"] for record in played)]).sum(), played[-1]["env_steps"])
    steps = np.diff([0, *(record["env_steps"] for record in played)])
    assert steps.tolist() == [record["sampled_return"] * small.population for record in played]  # one reward a step
    assert all(np.diff([record["seconds"] for record in played]) > 0)


def test_summary_agrees_with_the_run(small, run):
    result, on_disk = train(small), load_run(run)
    last = on_disk.metrics[-1]
    assert sha(result) == release_sha256(on_disk.probabilities)
    assert (result.summary["final_eval_return"], result.summary["eval_std"]) == (
        last["evaluation_return"],
        last["evaluation_std"],
    )
    assert result.summary["final_sampled_return"] == on_disk.metrics[-2]["sampled_return"]
    assert result.summary["env_steps"] == last["env_steps"]
    assert result.summary["generations"] == small.generations == on_disk.generation


@pytest.mark.parametrize("threads", [1, None])
def test_evaluate_repeats_the_last_evaluation_exactly(run, threads):
    final = load_run(run).metrics[-1]
    report = evaluate(run, threads=threads)
    assert (report["mean_return"], report["std_return"]) == (final["evaluation_return"], final["evaluation_std"])
    assert report["episodes"] == 16
    assert report["min_return"] <= report["mean_return"] <= report["max_return"]
    assert evaluate(load_run(run)) == report
    assert evaluate(run, seed=9)["mean_return"] != report["mean_return"]


def test_progress_is_called_with_every_record(small, tmp_path):
    records = []
    result = train(small, out=tmp_path / "run", progress=records.append)
    assert records == result.metrics[:-1] == load_run(tmp_path / "run").metrics[:-1]


def test_without_out_nothing_is_written(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train(small)
    assert list(tmp_path.iterdir()) == []
    assert result.run is result.summary["run"] is None


# What is refused


@pytest.mark.parametrize("wrong", ["cartpole", {"task": "cartpole"}, None, Experiment])
def test_what_is_no_experiment_is_refused(wrong):
    with pytest.raises(
        ExperimentError, match=r"experiment: .* is no Experiment; write train\(Experiment\(task=.cartpole.\)"
    ):
        train(wrong)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 4}, "seed 3 → 4"),
        ({"population": 8, "optimizer": "adam"}, "population 16 → 8, optimizer sgd → adam"),
        ({"network": {"n_neurons": 33}}, "network.n_neurons 32 → 33"),
    ],
)
def test_resume_with_other_settings_is_refused(small, run, files, changes, named):
    before = files(run)
    with pytest.raises(RunFolderError) as caught:
        train(small.replace(**changes), resume=run)
    assert str(caught.value) == f"{run}: was started with other settings ({named}); resume without changing them"
    assert files(run) == before


def test_resume_with_fewer_generations_is_refused(small, run, files):
    before = files(run)
    with pytest.raises(RunFolderError, match="has finished 4 generations already; generations = 2 would go back: give 4 or"):
        train(small.replace(generations=2), resume=run)
    assert files(run) == before


def test_resume_and_out_together_are_refused(small, run, tmp_path):
    with pytest.raises(RunFolderError, match="stays in its folder; leave out the other one, "):
        train(small, resume=run, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_run_of_a_chip_is_evaluated_here(run):
    loaded = load_run(run)
    on_chip = dataclasses.replace(loaded, experiment=loaded.experiment.replace(engine="lava", lava_target="loihi2"))
    assert evaluate(on_chip) == evaluate(loaded)


@pytest.mark.parametrize("threads", [0, -1, available_threads() + 1])
def test_threads_the_machine_does_not_have_are_refused(small, tmp_path, threads):
    with pytest.raises(ExperimentError, match=rf"threads: {threads} is not possible.*choose 1 to {available_threads()}"):
        train(small, threads=threads, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("wrong", [{"episodes": 0}, {"episodes": 10**12}, {"seed": -1}, {"seed": 2**63}, {"threads": 10**6}])
def test_evaluate_refuses_what_cannot_be(run, wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(ExperimentError, match=f"{name}: {value} "):
        evaluate(run, **wrong)
