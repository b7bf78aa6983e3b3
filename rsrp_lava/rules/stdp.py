"""Unsupervised STDP on images: weights learn what images look like, and labels are given to neurons afterwards.

Pixels fire as Poisson processes onto n excitatory neurons; each of those excites one inhibitory neuron, which inhibits all
excitatory neurons but its own. A step is ½ ms. Both kinds, with g in units of the leak, E_e = 0 mV and E_i = −100 mV:

    τ dv/dt = (v_rest − v) + g_e (E_e − v) + g_i (E_i − v),   τ_e dg_e/dt = −g_e,   τ_i dg_i/dt = −g_i
    a spike where v > v_threshold (excitatory: v > v_threshold + θ − 20 mV); then v = v_reset, held there for a while
    θ: + theta_plus_mv at every own spike, decays with tau_theta_ms

| | τ | rest | reset | threshold | held | excited by | inhibited by |
|---|---|---|---|---|---|---|---|
| excitatory | 100 ms | −65 mV | −65 mV | −52 mV | 5 ms | w an input spike, τ_e = 1 ms | `inhibition` (17), τ_i = 2 ms |
| inhibitory | 10 ms | −60 mV | −45 mV | −40 mV | 2 ms | `excitation` (10.4), τ_e = 1 ms | nothing |

Every spike sets the traces it belongs to, to 1; they decay with 20 ms (x of an input, y₁ of a neuron) and 40 ms (y₂):

    input spike    w ← max(0, w − η r y₁)                r = `depression_ratio`, η = the learning rate
    neuron spike   w ← min(1, w + η x y₂)                y₂ as it was before this spike

A presentation is `presentation_ms` of rates pixel/8 · intensity (Hz), `rest_ms` of darkness, and weights of every neuron
scaled to the sum `weight_sum`. If the neurons fired fewer than `least_spikes` spikes, the image is presented again, with
half of the first intensity added. Nothing here knows labels or rewards.

Evaluation changes neither w nor θ. `labelling_images` TRAINING images, drawn by the counter, are shown, and a neuron gets
the label of the class it fires most spikes at on average (none if it is silent); test images have no part in it. A test
image belongs to the class whose neurons fire most on average; the return of an image is 1 if that is right, else 0. The
training return of an image is the same, with labels from the spikes that neurons fired at the training images before it
(a running mean over about the last hundred images of every class): what the network would have answered.

Diehl, Cook, "Unsupervised learning of digit recognition using spike-timing-dependent plasticity", Frontiers in
Computational Neuroscience 9:99 (2015): the reference `STDP` in Fig. 6A of Sun et al. 2025. Constants are those of the
authors' code. Ours: v is solved exactly for conductances that hold for a step (Brian's way with such equations is
Euler's step); input spikes arrive at once (theirs after 0 to 10 ms); an evaluated image starts from a network at rest,
so that images can be shown in any order; an image of no light is shown once, and none more than `presentations` times; a
silent neuron has no label (theirs is 0); in a step, input spikes come before the neurons'; after a presentation,
conductances and traces below 1e-100 are 0, and an inhibitory neuron less than 1e-4 mV from rest is at rest (both save
time only).

θ settles near spikes an image / n · theta_plus_mv · tau_theta_ms / 500 ms and must stay far below 72 mV, where nothing
fires any more and every image is presented again and again: a small network needs a smaller `theta_plus_mv`.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numba import njit
from pydantic import Field

from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.exact_math import exponential
from rsrp_lava.kernels.random_bits import (
    BATCHES,
    EVALUATION,
    LABELLING,
    LABELLING_SPIKES,
    SPIKES,
    WEIGHTS,
    fill_uniform,
    threefry,
)
from rsrp_lava.rules.base import Memory, Played, Problem, RuleOptions, WeightRule
from rsrp_lava.tasks.base import ClassifyTask, Task
from rsrp_lava.tasks.data import DataSet, load_data
from rsrp_lava.threads import Threads

STEP_MS = 0.5
_E_TAU_MS, _E_REST_MV, _E_RESET_MV, _E_THRESHOLD_MV, _E_HELD_STEPS = 100.0, -65.0, -65.0, -52.0, 10
_I_TAU_MS, _I_REST_MV, _I_RESET_MV, _I_THRESHOLD_MV, _I_HELD_STEPS = 10.0, -60.0, -45.0, -40.0, 4
_THETA_OFFSET_MV, _INHIBITORY_MV = 20.0, -100.0
_TAU_GE_MS, _TAU_GI_MS = 1.0, 2.0
_TAU_X_MS, _TAU_Y1_MS, _TAU_Y2_MS = 20.0, 20.0, 40.0
#: Of the running mean response that training returns come from.
_RESPONSE_RATE = 0.01
#: At the next image, smaller conductances and traces are 0 (processors are slow at numbers that are smaller still), and
#: inhibitory neurons that near to rest are at rest.
_NOTHING, _NEAR_MV = 1e-100, 1e-4
#: Evaluated images a thread shows before it asks for more.
_PIECE = 16

#: Rows of the state of the neurons: what an excitatory neuron has, then an inhibitory one. `held`: steps left.
_V, _GE, _GI, _HELD, _Y1, _Y2, _INHIBITORY_V, _INHIBITORY_GE, _INHIBITORY_HELD = range(9)


class StdpOptions(RuleOptions):
    """Constants of the rule; the defaults are the published code's, for images of 28 × 28."""

    neurons: int = Field(400, ge=1, le=2**14, description="excitatory neurons, and as many inhibitory ones")
    intensity: float = Field(2.0, gt=0, description="of the first presentation; a white pixel fires 31.875 Hz times it")
    presentation_ms: float = Field(350.0, ge=STEP_MS, le=1e5, description="how long an image is shown")
    rest_ms: float = Field(150.0, ge=0, le=1e5, description="darkness after every presentation, in training")
    least_spikes: int = Field(5, ge=0, description="an image that draws fewer is shown again, brighter")
    presentations: int = Field(20, ge=1, le=1000, description="of an image at most")
    weight_sum: float = Field(78.0, gt=0, description="sum of a neuron's weights at the start of every presentation")
    depression_ratio: float = Field(0.01, ge=0, description="r: the learning rate of input spikes over that of neurons'")
    excitation: float = Field(10.4, gt=0, description="conductance of an excitatory spike at its inhibitory neuron")
    inhibition: float = Field(17.0, ge=0, description="conductance of an inhibitory spike at the other excitatory neurons")
    theta_plus_mv: float = Field(0.05, ge=0, description="what a spike adds to its neuron's threshold")
    theta_start_mv: float = Field(20.0, description="θ before the first image")
    tau_theta_ms: float = Field(1e7, gt=0, description="time constant of θ")
    labelling_images: int = Field(10_000, ge=1, description="training images that label neurons, at an evaluation")


class Constants(NamedTuple):
    """Of the kernels; see the equations above."""

    steps: int  #: of a presentation
    dark_steps: int  #: after it
    least_spikes: int
    presentations: int
    intensity: float
    weight_sum: float
    potentiation: float  #: η
    depression: float  #: η r
    excitation: float
    inhibition: float
    theta_plus_mv: float
    tau_theta_ms: float


class Layers(NamedTuple):
    """The network."""

    weights: np.ndarray  #: float64, shape (n_inputs, n)
    theta_mv: np.ndarray  #: float64, shape (n,)
    neurons: np.ndarray  #: float64, shape (9, n): what changes from step to step, by row
    inputs: np.ndarray  #: float64, shape (n_inputs,): traces x


# --- a step ------------------------------------------------------------------------------------------------------------


@njit(nogil=True)
def _decay(tau_ms):
    """What is left of 1 after a step."""
    return exponential(-STEP_MS / tau_ms)


@njit(nogil=True)
def _toward(v, leak_mv, g_e, g_i, step):
    """v a step later, for constant conductances; `step` in units of τ."""
    g = 1.0 + g_e + g_i
    end = (leak_mv + g_i * _INHIBITORY_MV) / g
    return end + (v - end) * exponential(-step * g)


@njit(nogil=True)
def _step_excitatory(neurons, theta_mv, fired):
    """Membranes and conductances of the excitatory layer, a step later; who fires into `fired`. Returns how many."""
    v, g_e, g_i, held, n_fired = neurons[_V], neurons[_GE], neurons[_GI], neurons[_HELD], 0
    decay_e, decay_i, step = _decay(_TAU_GE_MS), _decay(_TAU_GI_MS), STEP_MS / _E_TAU_MS
    for j in range(v.shape[0]):
        moved = _toward(v[j], _E_REST_MV, g_e[j], g_i[j], step)
        free = held[j] <= 0.0
        v[j] = moved if free else v[j]
        held[j] -= 0.0 if free else 1.0
        g_e[j] *= decay_e
        g_i[j] *= decay_i
        fires = free and v[j] > _E_THRESHOLD_MV - _THETA_OFFSET_MV + theta_mv[j]
        fired[j] = fires
        n_fired += fires
    return n_fired


@njit(nogil=True)
def _step_inhibitory(neurons, fired):
    """The same of the inhibitory layer, most of which is exactly at rest and stays there."""
    v, g_e, held, n_fired = neurons[_INHIBITORY_V], neurons[_INHIBITORY_GE], neurons[_INHIBITORY_HELD], 0
    decay, step = _decay(_TAU_GE_MS), STEP_MS / _I_TAU_MS
    for j in range(v.shape[0]):
        if v[j] == _I_REST_MV and g_e[j] == 0.0:
            fired[j] = False
            continue
        moved = _toward(v[j], _I_REST_MV, g_e[j], 0.0, step)
        free = held[j] <= 0.0
        v[j] = moved if free else v[j]
        held[j] -= 0.0 if free else 1.0
        g_e[j] *= decay
        fires = free and v[j] > _I_THRESHOLD_MV
        fired[j] = fires
        n_fired += fires
    return n_fired


@njit(nogil=True)
def _step_traces(layers, tau_theta_ms):
    """Traces and θ, a step later."""
    y1, y2, x, theta_mv = layers.neurons[_Y1], layers.neurons[_Y2], layers.inputs, layers.theta_mv
    decay_1, decay_2 = _decay(_TAU_Y1_MS), _decay(_TAU_Y2_MS)
    decay_x, decay_theta = _decay(_TAU_X_MS), _decay(tau_theta_ms)
    for j in range(y1.shape[0]):
        y1[j] *= decay_1
        y2[j] *= decay_2
        theta_mv[j] *= decay_theta
    for i in range(x.shape[0]):
        x[i] *= decay_x


@njit(nogil=True)
def _input_spike(layers, i, depression):
    """Input i fires: its weights excite; if the network learns (depression ≥ 0), they are depressed."""
    w, g_e, y1 = layers.weights[i], layers.neurons[_GE], layers.neurons[_Y1]
    if depression < 0.0:
        for j in range(w.shape[0]):
            g_e[j] += w[j]
        return
    for j in range(w.shape[0]):
        g_e[j] += w[j]
        depressed = w[j] - depression * y1[j]
        w[j] = depressed if depressed > 0.0 else 0.0
    layers.inputs[i] = 1.0


@njit(nogil=True)
def _potentiate(layers, j, potentiation):
    """Excitatory neuron j fires: its weights from inputs that fired lately grow, the more if it fired lately too."""
    weights, x = layers.weights, layers.inputs
    scaled = potentiation * layers.neurons[_Y2, j]
    for i in range(x.shape[0]):
        weights[i, j] = min(1.0, weights[i, j] + scaled * x[i])
    layers.neurons[_Y1, j] = layers.neurons[_Y2, j] = 1.0


@njit(nogil=True)
def _run(layers, constants, lit, bounds, key, presentation, learns, counts):
    """A presentation, and if the network learns, the darkness after it; `counts`: spikes of neurons during the former.

    lit : inputs that may fire, int64;  bounds : their probabilities in a step times 2³², float64
    key : (seed, generation, sample, stream) of their random bits
    """
    neurons, excited = layers.neurons, layers.neurons[_INHIBITORY_GE]
    n = neurons.shape[1]
    fired, inhibits = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
    depression, n_dark = (constants.depression, constants.dark_steps) if learns else (-1.0, 0)
    k0, k1, k2, k3 = np.uint64(key[0]), np.uint64(key[1]), np.uint64(key[2]), np.uint64(key[3])
    counts[:] = 0
    for t in range(constants.steps + n_dark):
        n_fired = _step_excitatory(neurons, layers.theta_mv, fired)
        n_inhibits = _step_inhibitory(neurons, inhibits)
        if learns:
            _step_traces(layers, constants.tau_theta_ms)
        shown = t < constants.steps
        for block in range((lit.shape[0] + 7) // 8 if shown else 0):
            words = threefry(k0, k1, k2, k3, np.uint64(block), np.uint64(presentation * constants.steps + t))
            for lane in range(min(8, lit.shape[0] - 8 * block)):
                word = words[lane >> 1]
                half = word >> np.uint64(32) if lane & 1 else word & np.uint64(0xFFFFFFFF)
                if np.float64(half) < bounds[8 * block + lane]:
                    _input_spike(layers, lit[8 * block + lane], depression)
        for j in range(n if n_fired else 0):
            if fired[j]:
                counts[j] += shown
                excited[j] += constants.excitation
                neurons[_V, j], neurons[_HELD, j] = _E_RESET_MV, _E_HELD_STEPS
                if learns:
                    _potentiate(layers, j, constants.potentiation)
                    layers.theta_mv[j] += constants.theta_plus_mv
        for j in range(n if n_inhibits else 0):
            neurons[_GI, j] += constants.inhibition * (n_inhibits - inhibits[j])
            if inhibits[j]:
                neurons[_INHIBITORY_V, j], neurons[_INHIBITORY_HELD, j] = _I_RESET_MV, _I_HELD_STEPS


# --- a presentation ----------------------------------------------------------------------------------------------------


@kernel
def rest_neurons(neurons):
    """Set the state of the neurons to rest."""
    neurons[:] = 0.0
    neurons[_V] = _E_REST_MV
    neurons[_INHIBITORY_V] = _I_REST_MV


@kernel
def scale_weights(weights, weight_sum):
    """Scale the weights of every neuron (a column) to this sum; columns of zeros stay."""
    factors = np.zeros(weights.shape[1])
    for i in range(weights.shape[0]):
        for j in range(weights.shape[1]):
            factors[j] += weights[i, j]
    for j in range(weights.shape[1]):
        factors[j] = weight_sum / factors[j] if factors[j] > 0.0 else 0.0
    for i in range(weights.shape[0]):
        for j in range(weights.shape[1]):
            weights[i, j] *= factors[j]


@njit(nogil=True)
def _settle(layers):
    """What decays to its rest, and is as good as there, is there."""
    for row in (_GE, _GI, _Y1, _Y2, _INHIBITORY_GE):
        for j in range(layers.neurons.shape[1]):
            if layers.neurons[row, j] < _NOTHING:
                layers.neurons[row, j] = 0.0
    v = layers.neurons[_INHIBITORY_V]
    for j in range(v.shape[0]):
        v[j] = _I_REST_MV if abs(v[j] - _I_REST_MV) < _NEAR_MV else v[j]
    for i in range(layers.inputs.shape[0]):
        if layers.inputs[i] < _NOTHING:
            layers.inputs[i] = 0.0


@njit(nogil=True)
def _present(layers, constants, image, key, learns, counts):
    """Show an image until the neurons have fired enough; `counts` (int64) are the spikes of the last presentation.

    Returns how many presentations there were. Unless the network learns, each of them starts from rest.
    """
    lit, presentations = np.flatnonzero(image), 0
    bounds = np.empty(lit.shape[0])
    while True:
        intensity = constants.intensity * (1.0 + 0.5 * presentations)
        for k in range(lit.shape[0]):
            bounds[k] = image[lit[k]] * (intensity / 8.0 * (STEP_MS / 1000.0) * 2.0**32)
        if not learns:
            rest_neurons(layers.neurons)
        _run(layers, constants, lit, bounds, key, presentations, learns, counts)
        if learns:
            _settle(layers)
            scale_weights(layers.weights, constants.weight_sum)
        presentations += 1
        enough = counts.sum() >= constants.least_spikes or lit.shape[0] == 0
        if enough or presentations >= constants.presentations:
            return presentations


# --- labels ------------------------------------------------------------------------------------------------------------


@kernel
def label_neurons(responses, labels):
    """The class that every neuron fires most at (the first of equal ones) into `labels`; −1 if it is silent.

    responses : float64, shape (n_classes, n): mean spikes at an image of each class
    """
    for j in range(labels.shape[0]):
        labels[j] = np.argmax(responses[:, j])
        if responses[labels[j], j] <= 0.0:
            labels[j] = -1


@kernel
def answer(labels, counts, n_classes):
    """The class whose neurons fired most on average, the first of equal ones."""
    spikes, members = np.zeros(n_classes), np.zeros(n_classes)
    for j in range(labels.shape[0]):
        if labels[j] >= 0:
            spikes[labels[j]] += counts[j]
            members[labels[j]] += 1.0
    for k in range(n_classes):
        spikes[k] = spikes[k] / members[k] if members[k] > 0.0 else -1.0
    return np.argmax(spikes)


# --- images ------------------------------------------------------------------------------------------------------------


@kernel
def learn_images(layers, responses, constants, images, classes, chosen, key, returns, tally):
    """Learn from images, one after the other.

    images, classes : of the training set, uint8;  chosen : which of them, int64;  key : (seed, generation)
    responses : running mean spikes, float64, shape (n_classes, n)
    returns : float64, written: 1 where the answer was right, else 0;  tally : int64, spikes and presentations are added
    """
    counts, labels = np.zeros(responses.shape[1], np.int64), np.zeros(responses.shape[1], np.int64)
    for k in range(chosen.shape[0]):
        spike_key = (key[0], key[1], k, SPIKES)
        tally[1] += _present(layers, constants, images[chosen[k]], spike_key, True, counts)
        tally[0] += counts.sum()
        label_neurons(responses, labels)
        known = classes[chosen[k]]
        returns[k] = answer(labels, counts, responses.shape[0]) == known
        for j in range(counts.shape[0]):
            responses[known, j] += _RESPONSE_RATE * (counts[j] - responses[known, j])


@kernel
def show_images(layers, constants, images, chosen, key, stream, first, counts):
    """Spikes of every neuron at the images `chosen`, into `counts` (int64, shape (images, n)); learns nothing.

    first : number of the first of them;  layers : `neurons` is used, and is this thread's own
    """
    for k in range(chosen.shape[0]):
        _present(layers, constants, images[chosen[k]], (key[0], key[1], first + k, stream), False, counts[k])


class Stdp(WeightRule):
    """See the equations above."""

    summary = "unsupervised STDP on images, labels given to neurons afterwards (Diehl & Cook 2015)"
    Options = StdpOptions
    automatic_rate = 0.01
    settings = frozenset({"data", "dataset"})
    options: StdpOptions
    task: ClassifyTask

    def __init__(self, problem: Problem, options: RuleOptions) -> None:
        super().__init__(problem, options)
        assert isinstance(problem.task, ClassifyTask)
        self.task = problem.task

    @classmethod
    def refusal(cls, task: Task) -> str | None:
        """See `rules.base.WeightRule.refusal`: pictures without colours."""
        if not isinstance(task, ClassifyTask):
            return "it learns what images look like, and this task has none"
        return "it sees how light a pixel is, and these have colours" if task.shape[2] > 1 else None

    def start(self) -> Memory:
        """See `rules.base.WeightRule.start`: weights 0.3 (u + 0.01), u uniform, then scaled; the network at rest."""
        n, n_inputs = self.options.neurons, math.prod(self.task.shape)
        drawn, neurons = np.empty(n_inputs * n), np.empty((9, n))
        fill_uniform(self.problem.seed, 0, 0, WEIGHTS, drawn)
        weights = 0.3 * (drawn.reshape(n_inputs, n) + 0.01)
        scale_weights(weights, self.options.weight_sum)
        rest_neurons(neurons)
        return {
            "weights/input": weights,
            "theta_mv": np.full(n, self.options.theta_start_mv),
            "neurons": neurons,
            "inputs": np.zeros(n_inputs),
            "responses": np.zeros((self.task.n_outputs, n)),
        }

    def restore(self, memory: Memory) -> None:
        """See `rules.base.WeightRule.restore`: none is negative."""
        np.maximum(memory["weights/input"], 0.0, out=memory["weights/input"])

    def prepare(self, memory: Memory) -> None:
        """See `rules.base.WeightRule.prepare`."""
        self._learn(memory, np.zeros(0, np.int64), 0)
        self._show(memory, 0, 0, self.data.test.images, np.zeros(0, np.int64), 0)
        labels = np.zeros(0, np.int64)
        label_neurons(np.zeros((self.task.n_outputs, 0)), labels)
        answer(labels, labels, self.task.n_outputs)

    def learn(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """See `rules.base.WeightRule.learn`: images one after the other, all of the training set in an order of its own
        every epoch."""
        chosen, learned = self._images(generation * episodes, episodes), []
        threads.call(lambda: learned.append(self._learn(memory, chosen, generation)))
        returns, (spikes, presentations) = learned[0]
        measures = {
            "mean θ (mV)": float(np.mean(memory["theta_mv"])),
            "spikes an image": spikes / episodes,
            "presentations an image": presentations / episodes,
        }
        return Played(returns, np.ones(episodes, np.int64), int(presentations), measures)

    def evaluate(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """See `rules.base.WeightRule.evaluate`: the first test images, at most all; labels come from training images."""
        labels = self._labels(memory, generation, threads)
        shown = np.arange(min(episodes, len(self.data.test)))
        test, n_classes = self.data.test, self.task.n_outputs
        spikes = self._responses(memory, generation, SPIKES + EVALUATION, test.images, shown, threads)
        returns = np.array([float(answer(labels, spikes[k], n_classes) == test.labels[k]) for k in shown])
        return Played(returns, np.ones(len(returns), np.int64))

    @functools.cached_property
    def data(self) -> DataSet:
        """The images, read once."""
        return load_data(self.task.name, self.problem.data, self.task.test_noise, self.task.dataset)

    @property
    def constants(self) -> Constants:
        """Numbers of the rule, for the kernels."""
        o, rate = self.options, self.problem.learning_rate
        return Constants(
            round(o.presentation_ms / STEP_MS),
            round(o.rest_ms / STEP_MS),
            o.least_spikes,
            o.presentations,
            o.intensity,
            o.weight_sum,
            rate,
            rate * o.depression_ratio,
            o.excitation,
            o.inhibition,
            o.theta_plus_mv,
            o.tau_theta_ms,
        )

    def _images(self, first: int, count: int) -> np.ndarray:
        """Numbers of the training images that are presented as number `first` … of the run."""
        n, epochs = len(self.data.train), []
        for epoch in range(first // n, (first + count - 1) // n + 1):
            epochs.append(_shuffled(n, (self.problem.seed, epoch, 0, BATCHES)))
        begin = first % n
        return np.concatenate(epochs)[begin : begin + count]

    def _learn(self, memory: Memory, chosen: np.ndarray, generation: int) -> tuple[np.ndarray, np.ndarray]:
        """Training returns of these images, and the sum of their spikes and presentations."""
        train, returns, tally = self.data.train, np.zeros(len(chosen)), np.zeros(2, np.int64)
        key = (self.problem.seed, generation)
        learn_images(
            _layers(memory), memory["responses"], self.constants, train.images, train.labels, chosen, key, returns, tally
        )
        return returns, tally

    def _labels(self, memory: Memory, generation: int, threads: Threads) -> np.ndarray:
        """Labels of the neurons, from training images."""
        train = self.data.train
        chosen = _shuffled(len(train), (self.problem.seed, generation, 0, LABELLING))[: self.options.labelling_images]
        spikes = self._responses(memory, generation, LABELLING_SPIKES, train.images, chosen, threads)
        means = np.zeros((self.task.n_outputs, self.options.neurons))
        for label in range(self.task.n_outputs):
            of_class = spikes[train.labels[chosen] == label]
            means[label] = of_class.sum(axis=0) / max(1, len(of_class))
        labels = np.zeros(self.options.neurons, np.int64)
        label_neurons(means, labels)
        return labels

    def _responses(
        self, memory: Memory, generation: int, stream: int, images: np.ndarray, chosen: np.ndarray, threads: Threads
    ) -> np.ndarray:
        """Spikes of every neuron at these images: int64, shape (images, neurons)."""
        counts = np.zeros((len(chosen), self.options.neurons), np.int64)

        def work(first: int, last: int) -> None:
            counts[first:last] = self._show(memory, generation, stream, images, chosen[first:last], first)

        threads.map_ranges(work, len(chosen), _PIECE)
        return counts

    def _show(
        self, memory: Memory, generation: int, stream: int, images: np.ndarray, chosen: np.ndarray, first: int
    ) -> np.ndarray:
        """The same, of the images from number `first` on, in this thread."""
        counts = np.zeros((len(chosen), self.options.neurons), np.int64)
        layers = _layers({**memory, "neurons": np.empty_like(memory["neurons"])})
        show_images(layers, self.constants, images, chosen, (self.problem.seed, generation), stream, first, counts)
        return counts


def _layers(memory: Memory) -> Layers:
    return Layers(memory["weights/input"], memory["theta_mv"], memory["neurons"], memory["inputs"])


def _shuffled(n: int, key: tuple[int, int, int, int]) -> np.ndarray:
    """0 … n − 1 in an order that the key of random bits decides."""
    uniform = np.empty(n)
    fill_uniform(*key, uniform)
    return np.argsort(uniform, kind="stable")
