"""Layers of spiking neurons that classify: against neurons written one by one, and against the deployed network."""

import importlib.util

import numpy as np
import pytest

import naive
from rsrp_lava import Experiment, ExperimentError, deploy, load_run, map_run, train
from rsrp_lava.deploying import deployment_of
from rsrp_lava.engines import open_engine
from rsrp_lava.export import play
from rsrp_lava.kernels.random_bits import MEMBRANE
from rsrp_lava.kernels.rewards import REWARDS, reward
from rsrp_lava.mapping.floating import floating_constants
from rsrp_lava.tasks.data import load_data
from rsrp_lava.threads import Threads

SMALL = {
    "task": "digits",
    "population": 24,
    "generations": 4,
    "batch": 20,
    "evaluate_every": 2,
    "layers": {"hidden": [12], "neurons": "lif"},
    "seed": 5,
}
needs_lava = pytest.mark.skipif(importlib.util.find_spec("lava") is None, reason="needs lava-nc (Python 3.10 only)")


@pytest.fixture(scope="module", params=["ideal", "loihi2"])
def run(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("pictures") / "run"
    train(Experiment(**SMALL, profile=request.param), out=out, threads=1)
    return load_run(out)


def test_rewards_are_those_of_neurons_computed_one_by_one():
    """Floating point; some samples of a generation with probabilities of all sizes."""
    experiment = Experiment(**SMALL)
    network, data = experiment.build_network(), load_data("digits")
    engine, random = open_engine(experiment, Threads(1)), np.random.default_rng(0)
    probabilities = {p.name: random.random((p.n_pre, p.n_post)).astype(np.float32) for p in network.projections}
    probabilities["recurrent"][:] = 0
    returns = engine.play(probabilities, None, 3, 6).returns
    c, chosen = floating_constants(network), engine.order.indices(3)
    assert network.substeps == 16
    for sample in (0, 5):
        key = (experiment.seed, 3, sample)
        theta = {
            p.name: p.from_rows(naive.draw_release(p.to_rows(probabilities[p.name]), 16, *key, index))
            for index, p in enumerate(network.projections)
        }
        potentials = naive.uniforms(*key, MEMBRANE, 12)
        scores = np.zeros((10, len(chosen)), np.float32)
        for b, image in enumerate(chosen):
            pixels = data.train.images[image].astype(int)
            drive = np.float32(c.input.weight) * (np.concatenate([pixels, -pixels]) @ theta["input"]).astype(np.float32)
            scores[:, b] = _outputs(network, c, drive, potentials, theta["readout"])
        assert returns[sample] == reward(REWARDS["soft_recall"], scores, data.train.labels[chosen])


def _outputs(network, c, drive, potentials, readout):
    u, v = [np.float32(0)] * len(drive), [np.float32(p) for p in potentials]
    trace = np.zeros(10, np.float32)
    for _ in range(network.substeps):
        counts = np.zeros(10, int)
        for j in range(len(drive)):
            u[j], v[j], spike = naive.lif_step(u[j], v[j], drive[j], 0, c.lif)
            counts += spike * (1 if network.excitatory[j] else -1) * readout[j]
        trace = c.readout.alpha_out * trace + c.readout.trace_gain * counts.astype(np.float32)
    return c.readout.output_weight * trace


def test_an_evaluation_is_what_the_deployed_network_does(run):
    """Image by image: two kernels, two ways to add up the input."""
    experiment = run.experiment
    outcome = open_engine(experiment, Threads(1)).play(
        run.probabilities, run.normaliser, run.generation, 355, deterministic=True
    )
    deployment = deployment_of(run, experiment.profile, "threshold")
    played = play(deployment, experiment.deployed_task("test"), 355, seed=experiment.seed, generation=run.generation)
    np.testing.assert_array_equal(outcome.returns, played.returns)
    assert outcome.events.tolist() == list(played.events.values())
    assert played.spikes.sum() > 0
    assert 0 < outcome.returns.mean() < 1
    assert run.metrics[-1]["evaluation_return"] == outcome.returns.mean()


@pytest.mark.parametrize("settings", [{}, {"profile": "loihi2"}, {"data_sampling": "independent"}, {"optimizer": "adam"}])
def test_any_number_of_threads_gives_the_same(settings):
    first, second = (train(Experiment(**SMALL, **settings), threads=threads).summary for threads in (1, 2))
    assert first["release_sha256"] == second["release_sha256"]
    assert first["final_test_accuracy"] == second["final_test_accuracy"]


def test_recurrent_synapses_never_release(run):
    assert (run.probabilities["recurrent"] == 0).all()
    assert (run.probabilities["input"] != 0.5).any()


def test_pixels_become_whole_numbers_on_a_chip(run):
    """A white pixel's integer is below 1,023 and above half of it, so nothing is lost by rounding that need be."""
    mapped = map_run(run, profile="loihi2")
    q = mapped.quantised
    assert 511 < 255 * q.per_unit <= 1023
    assert not mapped.violations


@pytest.mark.parametrize("target", ["npz", "nir"])
def test_an_export_does_the_same(run, target, tmp_path):
    if target == "nir":
        pytest.importorskip("nir")
    report = deploy(run, to=target, output=tmp_path / "out", verify=True, episodes=30)
    assert report["mismatches"] == 0
    assert report["steps"] == 30 * 16
    assert report["spikes"] > 0
    assert report["mean_return"] == report["kernel_mean_return"]


@needs_lava
def test_stock_lava_does_the_same(tmp_path):
    train(Experiment(**SMALL, profile="loihi2"), out=tmp_path / "run", threads=1)
    report = deploy(tmp_path / "run", to="lava", output=tmp_path / "out", verify=True, episodes=3)
    assert (report["mismatches"], report["steps"]) == (0, 48)
    assert report["spikes"] > 0
    assert report["mean_return"] == report["kernel_mean_return"]


def test_more_pictures_than_there_are_is_an_error(run, tmp_path):
    with pytest.raises(ExperimentError, match=r"episodes: 356 must be at most 355, the test images of digits"):
        deploy(run, to="npz", output=tmp_path / "out", episodes=356)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"ei": "none"}, "layers.neurons: synapses of lif neurons are 0 or 1"),
        ({"mirror_input": False}, "layers.neurons: synapses of lif neurons are 0 or 1"),
        ({"hidden": [8, 8]}, "layers.neurons: lif makes one hidden layer"),
    ],
)
def test_layers_that_cannot_spike_are_refused(layers, message):
    with pytest.raises(ExperimentError, match=message):
        Experiment(task="digits", layers={"neurons": "lif", **layers})


def test_the_recipe_of_spiking_neurons_is_its_own():
    spiking, plain = Experiment(task="digits", layers={"neurons": "lif"}), Experiment(task="digits")
    assert spiking.layers.mirror_input
    assert spiking.network.tau_out_ms == 1000
    assert plain.network == Experiment(task="cartpole").network
    assert spiking.replace(seed=1).replace(seed=0) == spiking
    assert spiking.build_network().options.excitatory_ratio == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_are_learned_by_spikes(seed):
    assert train(Experiment(task="digits", layers={"neurons": "lif"}, seed=seed)).summary["final_test_accuracy"] >= 0.9
