"""Deployments against the engine, against a player that knows only the arrays, and against stock Lava."""

import errno
import gc
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import weakref

import numpy as np
import pytest

import rsrp_lava
from rsrp_lava import Experiment, ExperimentError, MappingError, deploy, get_task, load_profile, load_run, train
from rsrp_lava.deploying import deployment_of
from rsrp_lava.engines import open_engine
from rsrp_lava.export import play
from rsrp_lava.export.npz import read_npz, write_npz
from rsrp_lava.export.play import play_each
from rsrp_lava.export.verify import verify
from rsrp_lava.kernels.random_bits import RELEASE
from rsrp_lava.kernels.release import draw_release, unpack_bits
from rsrp_lava.threads import Threads

TASK = get_task("cartpole")
needs_lava = pytest.mark.skipif(importlib.util.find_spec("lava") is None, reason="needs lava-nc (Python 3.10 only)")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has learned a little: episodes of some dozens of steps."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(Experiment(population=64, generations=4, evaluation_episodes=8, network={"n_neurons": 100}), out=out)
    return load_run(out)


@pytest.fixture(scope="module")
def seeds(run):
    return {"seed": run.experiment.seed, "generation": run.generation}


@pytest.mark.parametrize("profile", ["ideal", "loihi2"])
def test_threshold_is_the_engines_evaluation(run, seeds, profile):
    engine = open_engine(run.experiment.replace(profile=profile), Threads(1))
    engine.prepare(None)
    ref = engine.play(run.probabilities, run.normaliser, run.generation, 8, deterministic=True)
    engine.close()
    out = play(deployment_of(run, profile, "threshold"), TASK, 8, **seeds, record=True)
    np.testing.assert_array_equal(out.returns, ref.returns)
    np.testing.assert_array_equal(out.steps, ref.steps)
    assert list(out.events.values()) == ref.events.tolist()
    assert [train.sum() for train in out.trains] == out.spikes.tolist()
    assert all(len(train) == 33 * steps for train, steps in zip(out.trains, out.steps, strict=True))


def test_frozen_samples_are_what_training_would_draw_next(run):
    deployment = deployment_of(run, "ideal", "frozen_sample", 3)
    draw = run.experiment.build_draw()
    for index, projection in enumerate(run.experiment.build_network().projections):
        for sample in range(3):
            words = np.zeros(projection.rows_shape[0] * -(-projection.rows_shape[1] // 64), np.uint64)
            source = draw.source(projection, run.probabilities[projection.name])
            draw_release(source, run.experiment.seed, run.generation, sample, RELEASE + index, words)
            ref = projection.from_rows(unpack_bits(words, projection.rows_shape))
            np.testing.assert_array_equal(deployment.synapses[sample][projection.name], ref)


def test_axonal_samples_are_nested_along_every_axon(run):
    rho = run.probabilities["recurrent"]
    for synapses in deployment_of(run, "ideal", "axonal", 2).synapses:
        by_probability = np.take_along_axis(synapses["recurrent"], np.argsort(rho, axis=1, kind="stable"), axis=1)
        codes = np.take_along_axis(np.rint(rho * 2**16), np.argsort(rho, axis=1, kind="stable"), axis=1)
        assert (np.diff(by_probability, axis=1)[np.diff(codes, axis=1) > 0] >= 0).all()


def test_mean_field_weights_are_proportional_to_the_probabilities(run):
    deployment = deployment_of(run, "loihi2", "mean_field")
    q = deployment.quantised
    (synapses,) = deployment.synapses
    for name, top in (("input", 64), ("recurrent", q.weight), ("readout", q.readout_weight)):
        np.testing.assert_allclose(synapses[name] / top, run.probabilities[name], atol=0.5 / top)


@pytest.mark.parametrize("profile", ["ideal", "loihi2"])
@pytest.mark.parametrize(("release", "samples"), [("threshold", 1), ("frozen_sample", 3), ("axonal", 2), ("mean_field", 1)])
def test_a_player_that_knows_only_the_arrays_agrees(run, seeds, tmp_path, profile, release, samples):
    deployment = deployment_of(run, profile, release, samples)
    write_npz(deployment, TASK, tmp_path / "network.npz")
    report = verify("npz", tmp_path / "network.npz", deployment, TASK, episodes=2, **seeds)
    assert report["mismatches"] == 0
    assert report["spikes"] > 10
    assert report["mean_return"] == report["kernel_mean_return"]


OTHER_CHIPS = [
    {"neuron.decay.form": "shift", "neuron.decay.bits": 4, "neuron.reset": "subtract"},
    {"neuron.decay.form": "linear", "neuron.threshold.compare": "ge", "neuron.synaptic_current": False},
    {"neuron.decay.rounding": "nearest", "neuron.u.overflow": "wrap_below", "neuron.v.bits": 20, "neuron.u.bits": 20},
    {"neuron.decay.rounding": "floor", "neuron.u.overflow": "saturate", "neuron.u.bits": 14, "neuron.v.bits": 18},
]


@pytest.mark.parametrize("overrides", OTHER_CHIPS, ids=["shift", "linear", "nearest", "floor"])
def test_the_arrays_say_how_other_chips_compute(run, seeds, tmp_path, overrides):
    from rsrp_lava.export import build_deployment

    profile = load_profile("loihi2", overrides)
    network, normaliser = run.experiment.build_network(), run.normaliser
    deployment = build_deployment(network, profile, run.probabilities, normaliser.mean, 1 / normaliser.std)
    write_npz(deployment, TASK, tmp_path / "network.npz")
    report = verify("npz", tmp_path / "network.npz", deployment, TASK, episodes=1, **seeds)
    assert report["mismatches"] == 0
    assert report["spikes"] > 0


@pytest.mark.parametrize("name", ["vth", "dv", "recurrent", "per_unit", "input"])
def test_a_wrong_number_in_the_file_is_noticed(run, seeds, tmp_path, name):
    deployment, path = deployment_of(run, "loihi2", "threshold"), tmp_path / "network.npz"
    write_npz(deployment, TASK, path)
    arrays = read_npz(path)
    arrays[name] = (arrays[name] * 1.25).astype(arrays[name].dtype) if name != "input" else arrays[name][:, ::-1]
    np.savez(path, **arrays)
    assert verify("npz", path, deployment, TASK, episodes=1, **seeds)["mismatches"] > 0


def test_an_ensemble_reads_out_the_mean_of_its_networks(run, seeds):
    """The same network several times is that network, up to initial potentials; traces stay within bounds."""
    one, three = deployment_of(run, "loihi2", "frozen_sample"), deployment_of(run, "loihi2", "frozen_sample", 3)
    assert three.quantised.largest_trace < 2**23
    assert three.quantised.readout_weight <= one.quantised.readout_weight / 3 + 1
    unit = [d.quantised.readout_scale * d.quantised.readout_weight * len(d.synapses) for d in (one, three)]
    assert unit[0] == pytest.approx(unit[1])


STOCK = [
    *(pytest.param(*late, marks=pytest.mark.slow) for late in [("threshold", 1), ("frozen_sample", 2)]),
    ("mean_field", 1),
]


@needs_lava
@pytest.mark.parametrize(("release", "samples"), STOCK)
def test_stock_lava_spikes_the_same(run, tmp_path, release, samples):
    report = deploy(run, profile="loihi2", to="lava", release=release, samples=samples, output=tmp_path / "chip",
                    episodes=2, verify=True)  # fmt: skip
    assert report["mismatches"] == 0
    assert report["spikes"] > 10
    assert report["mean_return"] == report["kernel_mean_return"] == report["returns"][-1]["mean_return"]


@needs_lava
@pytest.mark.slow
def test_twenty_whole_episodes_in_stock_lava_spike_the_same_and_balance(tmp_path):
    """Trained in floating point with the recipe, every synapse fixed by its threshold."""
    train(Experiment(generations=12, seed=0), out=tmp_path / "run")
    report = deploy(tmp_path / "run", profile="loihi2", to="lava", output=tmp_path / "chip", episodes=20, verify=True)
    assert report["mismatches"] == 0
    assert report["steps"] >= 20 * 33 * 475
    assert report["spikes"] > 100_000
    assert report["mean_return"] == report["kernel_mean_return"] >= 475


@needs_lava
def test_the_lava_folder_runs_by_itself(run, tmp_path):
    deploy(run, profile="loihi2", to="lava", output=tmp_path / "chip", episodes=1)
    shutil.move(tmp_path / "chip", tmp_path / "elsewhere")
    command = [sys.executable, str(tmp_path / "elsewhere" / "run.py"), "--json", "--seed", "3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["return"] == result["steps"] > 1
    done = subprocess.run([*command, "--hardware"], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 1
    assert "lava-loihi" in done.stderr
    assert "Traceback" not in done.stderr


@needs_lava
def test_a_script_that_fails_is_reported_and_leaves_nothing(run, seeds, tmp_path):
    deploy(run, profile="loihi2", to="lava", output=tmp_path / "chip", episodes=1)
    (tmp_path / "chip" / "run.py").write_text("raise ValueError('no such chip')\n")
    before = set(os.listdir("/tmp"))
    with pytest.raises(rsrp_lava.EngineError, match="no such chip"):
        verify("lava", tmp_path / "chip", deployment_of(run, "loihi2", "threshold"), TASK, episodes=1, **seeds)
    assert not [name for name in set(os.listdir("/tmp")) - before if name.startswith("rsrp-lava-")]


def test_verifying_keeps_the_spikes_of_one_episode_only(run, seeds, tmp_path, monkeypatch):
    """Of two while one replaces the other: 64 networks of 256 neurons have 270 MB of them in 500 steps."""
    deployment, path, trains, most = deployment_of(run, "ideal", "threshold"), tmp_path / "network.npz", [], []

    def count_those_kept(done, of):
        gc.collect()
        most.append(sum(train() is not None for train in trains))

    def remembered(*arguments, **options):
        for episode in play_each(*arguments, **options):
            trains.append(weakref.ref(episode[3]))
            yield episode

    monkeypatch.setattr("rsrp_lava.export.verify.play_each", remembered)
    write_npz(deployment, TASK, path)
    verify("npz", path, deployment, TASK, episodes=4, progress=count_those_kept, **seeds)
    assert max(most) <= 2 < len(most)


def test_deploy_reports_returns_against_the_size_of_the_ensemble(run, tmp_path):
    report = deploy(run, profile="loihi2", to="npz", release="frozen_sample", samples=5, output=tmp_path / "d", episodes=4)
    assert [row["networks"] for row in report["returns"]] == [1, 2, 4, 5]
    assert json.loads((tmp_path / "d" / "deployment.json").read_text()) == report
    about = json.loads(str(read_npz(tmp_path / "d" / "network.npz")["about"]))
    assert about["provenance"]["release_sha256"] == rsrp_lava.release_sha256(run.probabilities)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"to": "nirr"}, ExperimentError, "unknown target 'nirr'"),
        ({"to": "npz", "release": "thresh"}, ExperimentError, "did you mean 'threshold'"),
        ({"to": "npz", "samples": 0}, ExperimentError, "samples: 0 must be between 1 and 256"),
        ({"to": "npz", "release": "frozen_sample", "samples": 257}, ExperimentError, "samples: 257"),
        ({"to": "nir", "release": "frozen_sample", "samples": 164}, MappingError, "16,400 neurons, limit 16,384; .* 163"),
        ({"to": "lava", "release": "axonal", "samples": 164, "profile": "loihi2"}, MappingError, "take at most 163"),
        ({"to": "npz", "dialect": "snntorch"}, ExperimentError, "dialect: snntorch is of NIR graphs, not of npz"),
        ({"to": "npz", "episodes": 2**20 + 1}, ExperimentError, "episodes: 1048577 must be between"),
        ({"to": "npz", "samples": 2}, MappingError, "frozen_sample"),
        ({"to": "npz", "profile": "loihi3"}, rsrp_lava.ProfileError, "loihi2"),
        ({"to": "lava", "profile": "ideal"}, MappingError, "choose loihi1 or loihi2"),
    ],
)
def test_what_cannot_be_deployed_leaves_no_folder(run, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        deploy(run, output=tmp_path / "new", **{"episodes": 1, **arguments})
    assert not (tmp_path / "new").exists()


def test_deploy_says_what_the_chip_would_refuse(run, tmp_path):
    assert deploy(run, profile="loihi2", to="npz", output=tmp_path / "a", episodes=1)["violations"] == []
    violations = deploy(run, profile="odin", to="npz", output=tmp_path / "b", episodes=1)["violations"]
    assert any("graded_input" in violation for violation in violations)


def test_a_folder_with_content_is_left_alone(run, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(MappingError, match="not an empty folder"):
        deploy(run, to="npz", output=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_made_or_filled_is_an_error(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(MappingError, match=r"file/new: cannot be written \(not a directory\); .*choose another -o DIR"):
        deploy(run, to="npz", output=tmp_path / "file" / "new", episodes=1)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("rsrp_lava.deploying.write_npz", full)
    with pytest.raises(MappingError, match=r"new: cannot be written \(no space left on device\); make room"):
        deploy(run, to="npz", output=tmp_path / "new", episodes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_is_no_export_is_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"no archive")
    with pytest.raises(MappingError, match="is no exported network"):
        read_npz(tmp_path / "x.npz")


def test_command_line(run, tmp_path):
    command = [sys.executable, "-m", "rsrp_lava.cli", "deploy", str(run.path), "--profile", "loihi2", "--to", "npz"]
    options = ["-o", str(tmp_path / "out"), "--episodes", "2", "--verify", "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {"steps", "spikes", "mismatches", "mean_return"} <= set(report)
    assert report["mismatches"] == 0
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=900)
    assert done.returncode == 2
    assert "not an empty folder" in done.stderr
    assert "Traceback" not in done.stderr
