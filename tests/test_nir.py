"""NIR graphs: read back equal, played from the file alone, and run by snnTorch and Norse beside our kernel."""

import sys

import numpy as np
import pytest

from rsrp_lava import (
    EngineError,
    MappingError,
    Network,
    NetworkOptions,
    RunFolderError,
    deploy,
    get_task,
    load_profile,
    load_run,
    release_sha256,
)
from rsrp_lava.export import build_deployment, play
from rsrp_lava.export.nir_arithmetic import RealArithmetic
from rsrp_lava.export.nir_graph import (
    DEFAULT_DIALECT,
    DIALECTS,
    DIGEST,
    Dialect,
    get_dialect,
    graph_sha256,
    to_nir,
    write_nir,
)
from rsrp_lava.export.nir_player import NirPlayer, graph_constants, input_stream, play_graph, read_nir
from rsrp_lava.export.starts import start_of
from rsrp_lava.export.verify import verify, verify_nir

nir = pytest.importorskip("nir", reason='needs nir: pip install "rsrp-lava[nir]"')

TASK = get_task("cartpole")
KEY = {"seed": 5, "generation": 2}
MEAN, INVERSE_STD = np.array([0.1, -0.2, 0.05, 0.3]), np.array([5.0, 4.0, 20.0, 4.0])
INTEGER_NEURONS = {
    "nearest": {"neuron.decay.rounding": "nearest"},
    "floor": {"neuron.decay.rounding": "floor"},
    "shift": {"neuron.decay.form": "shift", "neuron.decay.bits": 4},
    "narrow, wrapping above": {"neuron.u.bits": 10, "neuron.u.overflow": "wrap_above"},
    "narrow, wrapping below": {"neuron.u.bits": 10, "neuron.u.overflow": "wrap_below"},
    "narrow, saturating": {"neuron.u.bits": 10, "neuron.u.overflow": "saturate"},
    "no synaptic current": {"neuron.synaptic_current": False},
    "greater or equal": {"neuron.threshold.compare": "ge"},
    "delay-free": {"synapse.min_delay": 0},
}


def deployed(profile="ideal", release="threshold", samples=1, n_neurons=48, overrides=None, probabilities=None, **options):
    """A network nobody trained: probabilities from a fixed seed, dense enough to keep spiking."""
    network = Network(NetworkOptions(n_neurons=n_neurons, **options), TASK.n_observations, TASK.n_outputs)
    rng = np.random.default_rng(n_neurons)
    drawn = {p.name: rng.random((p.n_pre, p.n_post)).astype(np.float32) for p in network.projections}
    return build_deployment(
        network,
        load_profile(profile, overrides),
        probabilities or drawn,
        MEAN,
        INVERSE_STD,
        release=release,
        samples=samples,
        key=(5, 2),
        provenance={"run": "runs/example", "experiment": "task: cartpole\n", "list": [1, "a"], "nothing": None, "p": 0.1},
    )


def assert_equal(first, second):
    """Deep equality of what `to_dict` gives, types of containers aside (HDF5 keeps tuples as arrays)."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    else:
        np.testing.assert_array_equal(np.asarray(first), np.asarray(second))
        assert np.asarray(first).dtype.kind == np.asarray(second).dtype.kind


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("profile", ["ideal", "loihi2"])
@pytest.mark.parametrize(("release", "samples"), [("threshold", 1), ("frozen_sample", 3), ("mean_field", 1)])
def test_a_graph_is_read_back_equal(tmp_path, dialect, profile, release, samples):
    deployment = deployed(profile, release, samples)
    graph = to_nir(deployment, dialect)
    assert_equal(graph.to_dict(), nir.read(write_nir(deployment, tmp_path / "a.nir", dialect)).to_dict())
    n = samples * 48
    assert graph.nodes["neurons"].nodes["w_rec"].weight.shape == (n, n)
    assert graph.nodes["neurons"].nodes["lif"].tau_mem.shape == (n,)
    assert list(graph.nodes) == sorted(graph.nodes, key=lambda name: (name == "output", name))  # snnTorch's reader needs it
    assert graph.metadata["provenance"] == {
        "run": "runs/example",
        "experiment": "task: cartpole\n",
        "list": '[1, "a"]',
        "p": 0.1,
    }


def test_weights_are_the_synapses_with_their_signs():
    deployment = deployed(n_neurons=6)
    (synapses,) = deployment.synapses
    graph, options = to_nir(deployment, "physical"), deployment.network
    weight = graph.nodes["neurons"].nodes["w_rec"].weight
    for i in range(6):  # R = K_h v_th tau_mem / tau_syn √(2 / (s n)) = 2 √(2 / 3)
        for j in range(6):
            sign = 1 if i < 3 else -1
            assert weight[j, i] == pytest.approx(sign * synapses["recurrent"][i, j] * 2 * np.sqrt(2 / 3), rel=1e-6)
    np.testing.assert_allclose(
        graph.nodes["input_synapses"].weight, synapses["input"].T * 0.1 * 10 * np.sqrt(2 / (0.5 * 4)), rtol=1e-6
    )
    sign = np.where(options.excitatory, 1, -1)
    np.testing.assert_allclose(  # trace of one spike a step: 1/dt = 2 spikes/ms; R_out = 5 √(1 / 3)
        graph.nodes["readout_synapses"].weight[0], sign * synapses["readout"][:, 0] * 2 * 5 / np.sqrt(3), rtol=1e-6
    )
    neurons = graph.nodes["neurons"].nodes["lif"]
    assert (neurons.tau_syn[0], neurons.tau_mem[0]) == pytest.approx((5e-3, 10e-3), rel=1e-12)
    assert graph.nodes["readout_traces"].tau[0] == pytest.approx(10e-3, rel=1e-12)


def test_networks_of_an_ensemble_do_not_touch():
    deployment = deployed(release="frozen_sample", samples=3)
    graph = to_nir(deployment)
    whole = graph.nodes["neurons"].nodes["w_rec"].weight.reshape(3, 48, 3, 48)
    for a in range(3):
        for b in range(3):
            ref = deployment.synapses[a]["recurrent"].T if a == b else np.zeros((48, 48))
            np.testing.assert_array_equal(whole[a, :, b] != 0, ref != 0)


def test_metadata_holds_what_nir_has_no_place_for(tmp_path):
    deployment = deployed("loihi2")
    metadata = nir.read(write_nir(deployment, tmp_path / "a.nir", "norse")).metadata
    for name, rho in deployment.probabilities.items():
        np.testing.assert_array_equal(metadata["release_probabilities"][name], rho)
    np.testing.assert_array_equal(metadata["normaliser"]["inverse_std"], INVERSE_STD)
    told = {"dialect": "norse", "profile": "loihi2", "release": "threshold", "dt_ms": 0.5, "substeps": 33, "networks": 1}
    assert {key: metadata[key] for key in told} == told
    assert metadata["profile_sha256"] == deployment.profile.digest
    assert metadata["readout"]["delay_steps"] == 1


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9048, 0.9995])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_reader_recovers_what_is_kept(dialect, kept):
    chosen: Dialect = get_dialect(dialect)
    assert chosen.kept(chosen.tau_s(kept, 5e-4), 5e-4) == pytest.approx(kept, abs=1e-12)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("profile", ["ideal", "loihi2"])
@pytest.mark.parametrize(("release", "samples"), [("threshold", 1), ("frozen_sample", 3), ("mean_field", 1)])
def test_a_player_of_the_file_agrees_with_our_kernel(tmp_path, dialect, profile, release, samples):
    deployment = deployed(profile, release, samples)
    path = write_nir(deployment, tmp_path / "a.nir", dialect)
    report = verify_nir(path, deployment, TASK, 3, **KEY)
    assert report["mismatches"] == 0
    assert report["spikes"] > 1000
    assert report["mean_return"] == report["kernel_mean_return"]
    assert report == verify("nir", path, deployment, TASK, episodes=3, **KEY)


@pytest.mark.parametrize("overrides", INTEGER_NEURONS.values(), ids=INTEGER_NEURONS)
def test_every_integer_neuron_that_nir_can_express_agrees(tmp_path, overrides):
    deployment = deployed("loihi1", overrides=overrides)
    path = write_nir(deployment, tmp_path / "a.nir")
    if "neuron.u.bits" in overrides:
        assert play(deployment, TASK, 2, **KEY).events["u_overflow"] > 0
    report = verify_nir(path, deployment, TASK, 2, **KEY)
    assert (report["mismatches"], report["spikes"] > 100) == (0, True)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_another_reset_potential_is_a_shift(tmp_path, dialect):
    deployment = deployed(v_reset=-0.5, v_threshold=0.75)
    path = write_nir(deployment, tmp_path / "a.nir", dialect)
    neurons = nir.read(path).nodes["neurons"].nodes["lif"]
    assert neurons.v_threshold[0] - neurons.v_reset[0] == 1.25
    assert (neurons.v_reset == neurons.v_leak).all()
    for arithmetic in ("profile", "real"):
        assert verify_nir(path, deployment, TASK, 2, **KEY, arithmetic=arithmetic)["mismatches"] == 0


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_graph_taken_literally_is_the_floating_point_network(tmp_path, dialect):
    """No constants but the graph's, float64 instead of float32, and the input through the synapses' filter."""
    deployment = deployed()
    path = write_nir(deployment, tmp_path / "a.nir", dialect)
    report = verify_nir(path, deployment, TASK, 3, **KEY, arithmetic="real")
    assert (report["mismatches"], report["spikes"] > 1000) == (0, True)


def test_without_rounding_integers_are_only_near(tmp_path):
    """Rounding toward zero takes up to one integer from u and v at every step: same rates, not the same spikes."""
    deployment = deployed("loihi2")
    path = write_nir(deployment, tmp_path / "a.nir")
    report = verify_nir(path, deployment, TASK, 5, **KEY, arithmetic="real")
    assert report["mismatches"] > 0
    state, uniform = start_of(TASK, 48, 1, **KEY, episode=0)
    real, exact = (play_graph(NirPlayer(read_nir(path), a), TASK, state, uniform)[1] for a in ("real", "profile"))
    assert real[:66].sum() == pytest.approx(exact[:66].sum(), rel=0.1)


@pytest.mark.parametrize(
    ("node", "field", "factor"),
    [("lif", "tau_syn", 1.02), ("lif", "tau_mem", 1.02), ("lif", "v_threshold", 1.02), ("w_rec", "weight", 1.02)],
)
@pytest.mark.parametrize("profile", ["ideal", "loihi2"])
def test_a_wrong_constant_is_found(tmp_path, profile, node, field, factor):
    deployment = deployed(profile)
    graph = to_nir(deployment)
    wrong = graph.nodes["neurons"].nodes[node]
    setattr(wrong, field, getattr(wrong, field) * factor)
    graph.metadata[DIGEST] = graph_sha256(graph)
    nir.write(tmp_path / "a.nir", graph)
    if field == "weight" or (field, profile) == ("tau_syn", "loihi2"):  # metadata contradict it
        with pytest.raises(MappingError, match=r"not multiples of their unit|its metadata say"):
            verify_nir(tmp_path / "a.nir", deployment, TASK, 1, **KEY)
    else:
        assert verify_nir(tmp_path / "a.nir", deployment, TASK, 1, **KEY)["mismatches"] > 0
    assert verify_nir(tmp_path / "a.nir", deployment, TASK, 1, **KEY, arithmetic="real")["mismatches"] > 0


def test_the_input_stream_passes_the_filter_unchanged():
    """I ← a I + s with s_t = x_t − a x_{t−1} is I_t = x_t."""
    graph = to_nir(deployed())
    observations = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    stream, current, a = input_stream(graph, observations), np.zeros(8), np.exp(-0.5 / 5)
    z = np.clip((observations - MEAN) * INVERSE_STD, -10, 10).astype(np.float32)
    assert stream.shape == (4 * 33, 8)
    for t, s in enumerate(stream):
        current = a * current + s
        np.testing.assert_allclose(current, np.concatenate([z[t // 33], -z[t // 33]]), rtol=1e-12, atol=1e-12)


def test_the_default_is_right_for_the_reader_that_deploy_names(run, tmp_path):
    """Whoever assumes dt = 0.1 ms asks for r = tau_mem / dt and refuses the default; Norse asks for r = 1."""
    report = deploy(run, to="nir", output=tmp_path / "out", episodes=1)
    graph = read_nir(tmp_path / "out" / "network.nir")
    neurons = graph.nodes["neurons"].nodes["lif"]
    assert report["dialect"] == graph.metadata["dialect"] == DEFAULT_DIALECT == "norse"
    assert report["readers"] == graph.metadata["readers"]
    assert report["readers"].startswith("Norse")
    assert (neurons.r == 1).all()
    assert not np.isclose(neurons.r, neurons.tau_mem / 1e-4).any()
    told = {name: deploy(run, to="nir", output=tmp_path / name, dialect=name, episodes=1)["readers"] for name in DIALECTS}
    assert told == {name: dialect.readers for name, dialect in DIALECTS.items()}
    assert told["physical"].startswith("none as it is")
    report = deploy(run, to="nir", output=tmp_path / "chip", profile="loihi1", episodes=1)
    assert "none rounds as loihi1 does" in report["readers"]
    assert "readers" not in deploy(run, to="npz", output=tmp_path / "npz", episodes=1)


def test_deploy_writes_and_verifies_a_graph(run, tmp_path):
    report = deploy(run, to="nir", output=tmp_path / "out", profile="loihi2", dialect="norse", verify=True, episodes=2)
    assert (report["dialect"], report["mismatches"], report["spikes"] > 0) == ("norse", 0, True)
    metadata = read_nir(tmp_path / "out" / "network.nir").metadata
    assert metadata["dialect"] == "norse"
    assert metadata["release_sha256"] == release_sha256(load_run(run).probabilities)
    assert metadata["provenance"]["experiment"] == load_run(run).experiment.to_yaml()


# --- errors -----------------------------------------------------------------------------------------------------------


def test_errors_name_the_way_out(tmp_path, monkeypatch):
    deployment = deployed()
    with pytest.raises(MappingError, match="unknown dialect 'snntorsh': did you mean 'snntorch'"):
        to_nir(deployment, "snntorsh")
    with pytest.raises(RunFolderError, match="cannot be written"):
        write_nir(deployment, tmp_path / "none" / "a.nir")
    (tmp_path / "text.nir").write_text("text")
    for path in (tmp_path / "text.nir", tmp_path / "missing.nir"):
        with pytest.raises(RunFolderError, match="not a readable NIR file"):
            read_nir(path)
    with pytest.raises(MappingError, match="no 'dialect'; write it with"):
        graph_constants(nir.NIRGraph.from_list(nir.Linear(np.ones((2, 2)))))
    with pytest.raises(MappingError, match="unknown arithmetic 'reel': did you mean 'real'"):
        NirPlayer(to_nir(deployment), "reel")
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(EngineError, match=r'pip install "rsrp-lava\[nir\]"'):
        to_nir(deployment)


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        ({"neuron.decay.form": "linear", "neuron.synaptic_current": False}, "linear leak"),
        ({"neuron.reset": "subtract"}, "reset by"),
    ],
)
def test_neurons_that_nir_cannot_express_are_refused(overrides, what):
    with pytest.raises(MappingError, match=f"loihi1 have a {what}"):
        to_nir(deployed("loihi1", overrides=overrides))


def test_an_ensemble_too_large_for_one_matrix_is_refused():
    with pytest.raises(MappingError, match=r"12000 neurons.*fewer samples"):
        to_nir(deployed(release="frozen_sample", samples=250))


# --- other programs ---------------------------------------------------------------------------------------------------


def recorded(deployment, graph, env_steps=12):
    """Input stream, initial potentials (in the graph's units) and our kernel's spikes of the start of an episode."""
    train = play(deployment, TASK, 1, **KEY, record=True).trains[0]
    n, networks = deployment.constants.n_neurons, len(deployment.synapses)
    player, (state, uniform) = NirPlayer(graph), start_of(TASK, n, networks, **KEY, episode=0)
    observations, observe = [], np.zeros(4)
    player.start(uniform.ravel())
    for _ in range(min(env_steps, len(train) // 33)):
        TASK.observe(state, observe)
        observations.append(observe.copy())
        player.advance(observe)
        TASK.step(state, player.output())
    stream = input_stream(graph, np.array(observations))
    potentials = uniform.ravel() + graph.metadata["initial_potential"]["low"]
    return stream.astype(np.float32), potentials.astype(np.float32), train[: len(stream)]


def run_snntorch(path, stream, potentials):
    """(spikes, what the graph's output was) of snnTorch's own import of a file."""
    torch = pytest.importorskip("torch", reason="needs torch")
    reader = pytest.importorskip("snntorch.import_nir", reason="needs snntorch and nirtorch")
    network = reader.import_from_nir(nir.read(path))
    spikes, outputs, state = [], [], None
    network.neurons.lif.register_forward_hook(lambda _, inputs, output: spikes.append(output[0].numpy() > 0))
    network.neurons.lif.syn, network.neurons.lif.mem = torch.zeros(1, len(potentials)), torch.from_numpy(potentials)[None]
    with torch.no_grad():
        for x in torch.from_numpy(stream)[:, None]:
            output, state = network(x, state)
            outputs.append(output[0].numpy())
    return np.array(spikes), np.array(outputs)


def run_spikingjelly(path, stream, potentials):
    """The same with SpikingJelly."""
    torch = pytest.importorskip("torch", reason="needs torch")
    reader = pytest.importorskip("spikingjelly.activation_based.nir_exchange", reason="needs spikingjelly >= 2")
    network = reader.import_from_nir(nir.read(path))
    spikes, outputs, state = [], [], None
    network.neurons.lif.register_forward_hook(lambda _, inputs, output: spikes.append(output[0][0].numpy() > 0))
    network.neurons.lif.module.v = torch.from_numpy(potentials)[None]
    with torch.no_grad():
        for x in torch.from_numpy(stream)[:, None]:
            output, state = network(x, state)
            outputs.append(output[0].numpy())
    return np.array(spikes), np.array(outputs)


def run_norse(path, stream, potentials, **settings):
    """The same with Norse."""
    torch = pytest.importorskip("torch", reason="needs torch")
    norse = pytest.importorskip("norse.torch", reason="needs norse")
    from nirtorch.graph_executor import GraphExecutorState
    from norse.torch.functional.lif_box import LIFBoxFeedForwardState

    network = norse.from_nir(nir.read(path), **settings)
    spikes, outputs = [], []
    network.neurons.lif.register_forward_hook(lambda _, inputs, output: spikes.append(output[0][0].numpy() > 0))
    neurons = GraphExecutorState(state={"lif": ((None, LIFBoxFeedForwardState(torch.from_numpy(potentials)[None])),)})
    state = GraphExecutorState(state={"neurons": (neurons,)})
    with torch.no_grad():
        for x in torch.from_numpy(stream)[:, None]:
            output, state = network(x, state)
            outputs.append(output[0].numpy())
    return np.array(spikes), np.array(outputs)


def run_norse_at_a_tenth(path, stream, potentials):
    return run_norse(path, stream, potentials, dt=1e-4)


READERS = {"snntorch": run_snntorch, "norse": run_norse}
PLAYED_RIGHT = [
    (run_snntorch, "snntorch"),
    (run_spikingjelly, "snntorch"),
    (run_norse_at_a_tenth, "snntorch"),
    (run_norse, "norse"),
]
REFUSED = [(run_snntorch, AssertionError), (run_spikingjelly, ValueError)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("reader", "dialect"), PLAYED_RIGHT)
@pytest.mark.parametrize(("release", "samples"), [("threshold", 1), ("frozen_sample", 3), ("mean_field", 1)])
def test_other_programs_spike_as_our_kernel_does(tmp_path, reader, dialect, release, samples):
    deployment = deployed("ideal", release, samples)
    path = write_nir(deployment, tmp_path / "a.nir", dialect)
    graph = nir.read(path)
    stream, potentials, ref = recorded(deployment, graph)
    out, outputs = reader(path, stream, potentials)
    assert ref.sum() > 200
    np.testing.assert_array_equal(out, ref)
    np.testing.assert_allclose(outputs, ref @ graph.nodes["readout_synapses"].weight.T, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("dialect", READERS)
def test_other_programs_compute_a_chips_effective_constants(tmp_path, dialect):
    """They know nothing of its rounding, so the reference is the graph in real numbers."""
    deployment = deployed("loihi2")
    path = write_nir(deployment, tmp_path / "a.nir", dialect)
    graph = nir.read(path)
    stream, potentials, exact = recorded(deployment, graph)
    constants = graph_constants(graph)
    reference, spikes, ref = RealArithmetic(constants), np.zeros(48, bool), []
    reference.start(potentials - graph.metadata["initial_potential"]["low"])
    for s in stream.astype(np.float64):
        reference.x = constants.synapse_kept * reference.x_before + s  # what the filter makes of the stream
        spikes = reference.step(spikes)
        ref.append(spikes)
    out, _ = READERS[dialect](path, stream, potentials)
    np.testing.assert_array_equal(out, np.array(ref))
    assert 0 < (out != exact).sum() < 2 * exact.sum()


@pytest.mark.parametrize(("reader", "error"), REFUSED)
@pytest.mark.parametrize("dialect", ["norse", "physical"])
def test_readers_that_check_refuse_what_is_not_for_them(tmp_path, reader, error, dialect):
    """No stream is needed: they look at the constants when they read them."""
    path = write_nir(deployed(), tmp_path / "a.nir", dialect)
    with pytest.raises(error, match=r"tau_mem / dt|r not supported"):
        reader(path, np.zeros((1, 8), np.float32), np.zeros(48, np.float32))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("dialect", "wrong"), [("norse", "physical"), ("norse", "snntorch")])
def test_the_wrong_dialect_is_noticed(tmp_path, dialect, wrong):
    deployment = deployed()
    path = write_nir(deployment, tmp_path / "a.nir", wrong)
    stream, potentials, ref = recorded(deployment, to_nir(deployment, wrong))
    out, _ = READERS[dialect](path, stream, potentials)
    assert (out != ref).sum() > 100
