"""STDP on images: steps against a slow twin, labels, learning on the package's digits, resuming, threads, refusals."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

import naive
from rsrp_lava import Experiment
from rsrp_lava.errors import ExperimentError
from rsrp_lava.kernels.random_bits import SPIKES
from rsrp_lava.network import NetworkOptions
from rsrp_lava.rules import Problem, stdp
from rsrp_lava.tasks import ClassifyTask, get_task
from rsrp_lava.tasks.data import DataSet, Labelled
from rsrp_lava.threads import Threads, available_threads

REAL = Path(os.environ.get("RSRP_DATA") or "no RSRP_DATA")

#: Of 8 × 8 digits: fewer pixels, so that each must count for more.
DIGITS = {"neurons": 40, "weight_sum": 12.0, "intensity": 5.0, "labelling_images": 1000, "theta_plus_mv": 0.02}


def rule_of(task="digits", options=DIGITS, **settings):
    return Experiment(task=task, rule="stdp", rule_options=options, **settings).build_weight_rule()


@pytest.fixture(scope="module")
def threads():
    one = Threads(1)
    yield one
    one.close()


# --- the equations -----------------------------------------------------------------------------------------------------


class Twin:
    """One network, written from the equations: neurons one by one, lists and math.exp."""

    def __init__(self, w, theta, options, rate):
        self.w, self.theta, self.o, self.rate = [list(row) for row in w], list(theta), options, rate
        n = len(self.theta)
        self.v, self.ge, self.gi, self.held = [-65.0] * n, [0.0] * n, [0.0] * n, [0] * n
        self.iv, self.ige, self.iheld = [-60.0] * n, [0.0] * n, [0] * n
        self.y1, self.y2, self.x = [0.0] * n, [0.0] * n, [0.0] * len(self.w)

    @staticmethod
    def toward(v, rest, ge, gi, tau):
        g = 1 + ge + gi
        end = (rest - 100 * gi) / g
        return end + (v - end) * math.exp(-0.5 * g / tau)

    def step(self, inputs):
        """Half a millisecond; returns the excitatory neurons that fire."""
        o, n = self.o, len(self.v)
        fires, inhibits = [], []
        for j in range(n):
            if self.held[j] > 0:
                self.held[j] -= 1
            else:
                self.v[j] = self.toward(self.v[j], -65, self.ge[j], self.gi[j], 100)
                if self.v[j] > -52 + self.theta[j] - 20:
                    fires.append(j)
            if self.iheld[j] > 0:
                self.iheld[j] -= 1
            else:
                self.iv[j] = self.toward(self.iv[j], -60, self.ige[j], 0, 10)
                if self.iv[j] > -40:
                    inhibits.append(j)
            self.ge[j] *= math.exp(-0.5)
            self.ige[j] *= math.exp(-0.5)
            self.gi[j] *= math.exp(-0.25)
            self.y1[j] *= math.exp(-0.5 / 20)
            self.y2[j] *= math.exp(-0.5 / 40)
            self.theta[j] *= math.exp(-0.5 / o.tau_theta_ms)
        self.x = [x * math.exp(-0.5 / 20) for x in self.x]
        for i in inputs:
            for j in range(n):
                self.ge[j] += self.w[i][j]
                self.w[i][j] = max(0.0, self.w[i][j] - self.rate * o.depression_ratio * self.y1[j])
            self.x[i] = 1.0
        for j in fires:
            for i in range(len(self.w)):
                self.w[i][j] = min(1.0, self.w[i][j] + self.rate * self.x[i] * self.y2[j])
            self.y1[j] = self.y2[j] = 1.0
            self.theta[j] += o.theta_plus_mv
            self.v[j], self.held[j] = -65.0, 10
            self.ige[j] += o.excitation
        for j in inhibits:
            self.iv[j], self.iheld[j] = -45.0, 4
            for other in range(n):
                if other != j:
                    self.gi[other] += o.inhibition
        return fires

    def present(self, image, key):
        """Returns spikes and presentations."""
        lit, presentation = [i for i, pixel in enumerate(image) if pixel], 0
        while True:
            counts = [0] * len(self.v)
            intensity = self.o.intensity * (1 + presentation / 2)
            n_shown, n_dark = round(2 * self.o.presentation_ms), round(2 * self.o.rest_ms)
            for t in range(n_shown + n_dark):
                firing = []
                for k, i in enumerate(lit if t < n_shown else []):
                    word = naive.threefry4x64(key, (k // 8, presentation * n_shown + t, 0, 0))[k % 8 // 2]
                    half = word >> 32 if k % 2 else word % 2**32
                    if half < image[i] / 8 * intensity / 2000 * 2**32:
                        firing.append(i)
                for j in self.step(firing):
                    counts[j] += t < n_shown
            for j in range(len(self.v)):
                total = sum(row[j] for row in self.w)
                for row in self.w:
                    row[j] *= self.o.weight_sum / total
            presentation += 1
            if sum(counts) >= self.o.least_spikes or presentation == self.o.presentations:
                return counts, presentation


def made_up(images, classes, shape, n_classes=2):
    """A data set of these images, for training and for testing."""
    part = Labelled(np.array(images, np.uint8).reshape(len(classes), -1), np.array(classes, np.uint8))
    for array in (part.images, part.labels):
        array.flags.writeable = False
    return DataSet("made up", part, part, n_classes, shape, 0.0, 1.0, "")


def built(monkeypatch, data, options, rate=0.01, seed=1):
    """The rule on a data set that is made up."""
    monkeypatch.setattr(stdp, "load_data", lambda *given: data)
    task = ClassifyTask("made up", "", data.shape, data.n_classes, len(data.test))
    return stdp.Stdp(Problem(task, rate, seed, NetworkOptions()), stdp.StdpOptions(**options))


TWO = {
    "neurons": 2,
    "weight_sum": 6.0,
    "intensity": 10.0,
    "presentation_ms": 60.0,
    "rest_ms": 12.0,
    "least_spikes": 4,
    "presentations": 3,
    "depression_ratio": 0.5,
    "tau_theta_ms": 500.0,
    "theta_plus_mv": 5.0,
}


@pytest.mark.parametrize("changes", [{}, {"weight_sum": 2.0}, {"intensity": 4.0, "least_spikes": 9}])
def test_two_neurons_do_as_the_twin_of_the_equations(monkeypatch, threads, changes):
    """Twelve inputs (two words of random bits), three images one after the other, with presentations again."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 12)) * (rng.random((3, 12)) < 0.85)
    rule = built(monkeypatch, made_up(images, [0, 1, 0], (3, 4, 1)), TWO | changes, rate=0.05, seed=7)
    memory = rule.start()
    twin = Twin(memory["weights/input"].copy(), memory["theta_mv"], rule.options, 0.05)
    order = rule._images(3 * 5, 3)  # of generation 5
    played = rule.learn(memory, 5, 3, threads)
    spikes, presentations = zip(*(twin.present(images[order[k]].tolist(), (7, 5, k, SPIKES)) for k in range(3)), strict=True)
    assert played.measures["spikes an image"] == pytest.approx(np.sum(spikes) / 3)
    assert played.updates == sum(presentations)
    assert np.sum(spikes) > 4
    assert np.all(np.sum(spikes, axis=0) > 0)  # both neurons, so that each inhibited the other
    assert memory["weights/input"] == pytest.approx(np.array(twin.w), rel=1e-9)
    assert memory["theta_mv"] == pytest.approx(twin.theta, rel=1e-9)
    state = [twin.v, twin.ge, twin.gi, twin.held, twin.y1, twin.y2, twin.iv, twin.ige, twin.iheld]
    assert memory["neurons"] == pytest.approx(np.array(state), rel=1e-9, abs=1e-12)
    assert memory["inputs"] == pytest.approx(twin.x, rel=1e-9)


def test_potentiation_needs_a_spike_before_and_an_input_that_fired(monkeypatch):
    """By hand: η x y₂, y₂ of before; depression η r y₁; both within [0, 1]."""
    w, theta = np.array([[0.5, 0.999], [0.001, 0.5]]), np.zeros(2)
    layers = stdp.Layers(w, theta, np.zeros((9, 2)), np.array([0.4, 0.0]))
    stdp._potentiate(layers, 0, 0.1)
    assert w[:, 0].tolist() == [0.5, 0.001]  # its first spike: y₂ was 0
    layers.neurons[stdp._Y2, 0] = 0.25
    stdp._potentiate(layers, 0, 0.1)
    assert w[:, 0] == pytest.approx([0.5 + 0.1 * 0.4 * 0.25, 0.001], abs=1e-15)
    layers.neurons[stdp._Y2, 1] = 1.0
    stdp._potentiate(layers, 1, 0.1)
    assert w[:, 1].tolist() == [1.0, 0.5]
    layers.neurons[stdp._Y1] = 0.5, 0.25
    stdp._input_spike(layers, 1, 0.02)
    assert w[1] == pytest.approx([0.0, 0.5 - 0.02 * 0.25], abs=1e-15)
    assert layers.inputs.tolist() == [0.4, 1.0]
    assert layers.neurons[stdp._GE].tolist() == [0.001, 0.5]  # as they were before the depression


def test_labels_and_answers():
    responses = np.array([[1.0, 0.0, 2.0, 0.5], [1.0, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    labels = np.zeros(4, np.int64)
    stdp.label_neurons(responses, labels)
    assert labels.tolist() == [0, -1, 1, 0]
    assert stdp.answer(labels, np.array([3, 9, 2, 0]), 3) == 1  # 3/2 of class 0, 2 of class 1; the silent one has no say
    assert stdp.answer(labels, np.array([4, 9, 2, 0]), 3) == 0  # 2 and 2: the first
    assert stdp.answer(np.full(4, -1), np.ones(4, np.int64), 3) == 0


def test_every_image_once_an_epoch(monkeypatch):
    rule = built(monkeypatch, made_up(np.ones((7, 4)), [0, 1, 0, 1, 0, 1, 0], (2, 2, 1)), TWO)
    shown = np.concatenate([rule._images(5 * generation, 5) for generation in range(7)])
    assert shown.tolist() == rule._images(0, 35).tolist()
    epochs = shown.reshape(5, 7)
    assert np.all(np.sort(epochs, axis=1) == np.arange(7))
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_darkness_is_shown_once(monkeypatch, threads):
    rule = built(monkeypatch, made_up(np.zeros((2, 4)), [0, 1], (2, 2, 1)), TWO)
    played = rule.learn(rule.start(), 0, 2, threads)
    assert (played.updates, played.measures["spikes an image"]) == (2, 0)


# --- learning ----------------------------------------------------------------------------------------------------------


def bars_learned(monkeypatch, threads, rate):
    """After 400 images of four bars: how much of a neuron's weights is on one of them (1: that bar alone), and accuracy."""
    bars = np.zeros((4, 4, 4))
    bars[range(4), range(4)] = 255
    options = {"neurons": 8, "weight_sum": 2.5, "intensity": 10.0, "presentation_ms": 150.0, "tau_theta_ms": 1e5}
    rule = built(monkeypatch, made_up(bars, [0, 1, 2, 3], (4, 4, 1), 4), options, rate)
    memory = rule.start()
    rule.learn(memory, 0, 400, threads)
    of_bars = memory["weights/input"].reshape(4, 4, 8).sum(axis=1) / 2.5
    return of_bars.max(axis=0).mean(), rule.evaluate(memory, 1, 4, threads).returns.mean()


def test_neurons_become_bars(monkeypatch, threads):
    learned, accuracy = bars_learned(monkeypatch, threads, 0.05)
    assert learned > 0.9
    assert accuracy == 1
    assert bars_learned(monkeypatch, threads, 1e-9)[0] < 0.4


def digits_learned(threads, rate):
    """Training returns of the last 1,000 of 3,000 images, and test accuracy."""
    rule = rule_of(learning_rate=rate)
    memory = rule.start()
    returns = [rule.learn(memory, generation, 1000, threads).returns.mean() for generation in range(3)]
    return returns[-1], rule.evaluate(memory, 3, 355, threads).returns.mean()


@pytest.mark.slow
def test_digits_are_told_apart(threads):
    trained, accuracy = digits_learned(threads, 0.02)
    assert trained > 0.7
    assert accuracy > 0.72
    assert max(digits_learned(threads, 1e-9)) < 0.6


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "MNIST/raw").exists(), reason="RSRP_DATA names no folder with MNIST/raw")
def test_mnist(threads):
    rule = rule_of("mnist", {"neurons": 100, "labelling_images": 1000})
    memory = rule.start()
    rule.learn(memory, 0, 3000, threads)
    assert rule.evaluate(memory, 1, 500, threads).returns.mean() > 0.65


# --- promises ----------------------------------------------------------------------------------------------------------


def test_resumed_and_threaded_learning_is_the_same_bits(threads):
    def trained(generations, memory, first, pool):
        for k in range(first, first + generations):
            rule_of().learn(memory, k, 20, pool)
        return memory

    whole = trained(4, rule_of().start(), 0, threads)
    half = {name: array.copy() for name, array in trained(2, rule_of().start(), 0, threads).items()}
    many = Threads(min(2, available_threads()))
    resumed = trained(2, half, 2, many)
    for name, array in whole.items():
        assert array.tobytes() == resumed[name].tobytes(), name
    before = {name: array.copy() for name, array in whole.items()}
    one, two = (rule_of().evaluate(whole, 4, 40, pool) for pool in (threads, many))
    many.close()
    assert one.returns.tobytes() == two.returns.tobytes()
    assert all(array.tobytes() == before[name].tobytes() for name, array in whole.items())


def test_preparing_changes_nothing():
    rule = rule_of()
    memory, before = rule.start(), rule.start()
    rule.prepare(memory)
    assert all(array.tobytes() == before[name].tobytes() for name, array in memory.items())


def test_an_evaluation_shows_all_test_images_at_most(threads):
    rule = rule_of(options=DIGITS | {"labelling_images": 10})
    assert len(rule.evaluate(rule.start(), 0, 10_000, threads).returns) == 355


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"task": "cartpole"}, "stdp cannot learn cartpole: it learns what images look like, and this task has none"),
        ({"task": "cifar10"}, "stdp cannot learn cifar10: it sees how light a pixel is, and these have colours"),
        ({"rule_options": {"neurons": 0}}, "rule_options.neurons: 0"),
        ({"rule_options": {"presentation_ms": 0.1}}, "rule_options.presentation_ms"),
        ({"rule_options": {"noise": 1}}, "rule_options.noise"),
        ({"batch": 3}, "batch (--batch): 3 — rule stdp has no use for it"),
    ],
)
def test_refused(settings, says):
    with pytest.raises(ExperimentError) as error:
        Experiment(**{"task": "digits", "rule": "stdp", **settings})
    assert says in str(error.value)


@pytest.mark.parametrize("task", ["mnist", "fashion_mnist", "digits"])
def test_accepted(task):
    assert stdp.Stdp.refusal(get_task(task)) is None
    folder = {} if task == "digits" else {"data": "anywhere"}
    experiment = Experiment(task=task, rule="stdp", **folder, rule_options={"neurons": 9})
    assert experiment.build_weight_rule().start()["weights/input"].shape[1] == 9
