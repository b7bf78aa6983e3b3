"""Evolution strategies on a spiking network of real weights, the baseline of Wang et al. 2023 and Sun et al. 2025.

A generation plays pairs of perturbed networks, W + σ ξ_p and W − σ ξ_p, ξ_p ~ N(0, 1) for every synapse (antithetic pairs),
one episode each, and moves W along the gradient of their ranks u ∈ [−½, ½] (average ranks for ties):

    g = 1/P Σ_p (u⁺_p − u⁻_p) σ ξ_p,   p = 1 … P = population / 2
    W ← W + η (Adam(g) − λ W)                                         AdamW (Loshchilov, Hutter 2019), λ = weight_decay

The network is the package's recurrent spiking network (network.py) with real weights, W ~ N(0, 1) at first, in place of
release: no signs of neurons, no −x beside x, and no expected sparsity in the gains (Wang et al. 2023, `DenseSNN`):

    i ← R_in Wᵢₙᵀ x                                                   constant during an environment step
    u ← α_syn u + R Wᵀ s,   v ← α_mem v + (1 − α_mem) (v_reset + u + i),   s = [v > v_threshold],   v ← v_reset where s
    y ← α_out y + (1 − α_out)/dt W_outᵀ s,   output = R_out y         read after the last simulation step

The output acts on the task as it is: of one output by its sign, of several by the largest, or as a number. Observations are
standardised by their running mean and deviation, as those of population rules.

Salimans, Ho, Chen, Sidor, Sutskever, "Evolution Strategies as a Scalable Alternative to Reinforcement Learning", arXiv
1703.03864 (2017). The constants (σ = 0.3, η = 0.15, λ = 0.1, 256 neurons) are those of the released code of Sun et al. 2025
for CartPole, which plays populations of 10,240. Ours: observations are divided by the standard deviation of all that were
seen, where that code takes the variance of the last of each episode; starts are drawn anew in every generation; the readout
filters what its synapses deliver (the same linear map as filtered rates); `starts`. Noise is not stored but drawn again for
the gradient, as Salimans et al. do.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numba import njit
from pydantic import Field

from rsrp_lava.arrays import Layout, Values
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.exact_sums import PLACES
from rsrp_lava.kernels.held import Held
from rsrp_lava.kernels.lanes import aligned_zeros, popcount
from rsrp_lava.kernels.neurons import lif_step
from rsrp_lava.kernels.normals import CHUNK, fill_normals
from rsrp_lava.kernels.random_bits import EVALUATION, MEMBRANE, NOISE, WEIGHTS, fill_start, fill_uniform
from rsrp_lava.kernels.rollout import normalise, specialise, task_functions
from rsrp_lava.learning.optimizers import OPTIMIZERS
from rsrp_lava.learning.transforms import centered_rank
from rsrp_lava.mapping.floating import floating_constants
from rsrp_lava.network import Network
from rsrp_lava.normaliser import Normaliser, Observations
from rsrp_lava.rules.base import WEIGHTS as LEARNED
from rsrp_lava.rules.base import Memory, Played, Problem, RuleOptions, WeightRule, size_of_weights
from rsrp_lava.tasks.base import EpisodeTask, Task
from rsrp_lava.threads import Threads

_ADAM = OPTIMIZERS["adam"]
#: Chunks of noise a thread sums over all pairs before it asks for more.
_CHUNKS_PER_PIECE = 8
_NORMALISER = "normaliser/"


class EsOptions(RuleOptions):
    """Constants of the rule; the defaults are the published code's for CartPole."""

    noise_std: float = Field(0.3, gt=0, description="σ of the perturbations")
    weight_decay: float = Field(0.1, ge=0, description="λ of AdamW: part of the weights, times the learning rate, an update")
    starts: Literal["own", "pair", "shared"] = Field(
        "own", description="which networks of a generation start alike: none, the two of a pair, or all"
    )


class DenseState(NamedTuple):
    """A network at work, float32; neurons are padded to whole words of 64, with weights of 0."""

    u: np.ndarray  #: synaptic current
    v: np.ndarray  #: membrane potential
    drive: np.ndarray  #: input current, constant during an environment step
    delivered: np.ndarray  #: what the last spikes brought to every neuron, then to every output
    spikes: np.ndarray  #: int64: numbers of the neurons that spiked
    trace: np.ndarray  #: of every output
    output: np.ndarray
    inputs: np.ndarray  #: shape (observations, neurons): input weights
    rows: np.ndarray  #: row i: weights from neuron i to all neurons, then to all outputs; the last row is 0


@njit(nogil=True)
def _new_state(n_neurons, n_observed, n_outputs):
    """A network at rest, all weights 0."""
    lanes = -(-n_neurons // 64) * 64
    width = lanes + -(-n_outputs // 16) * 16
    return DenseState(
        aligned_zeros(lanes, np.float32),
        aligned_zeros(lanes, np.float32),
        aligned_zeros(lanes, np.float32),
        aligned_zeros(width, np.float32),
        np.zeros(lanes + 3, np.int64),
        np.zeros(n_outputs, np.float32),
        np.zeros(n_outputs, np.float32),
        aligned_zeros(n_observed * lanes, np.float32).reshape(n_observed, lanes),
        aligned_zeros((lanes + 1) * width, np.float32).reshape(lanes + 1, width),
    )


@njit(nogil=True)
def _set_weights(state, n_neurons, weights, noise, noise_std):
    """The network's weights: `weights + noise_std · noise`, both flat: input, recurrent, readout."""
    n_observed, lanes, n_outputs, k = state.inputs.shape[0], state.u.shape[0], state.output.shape[0], 0
    for i in range(n_observed):
        for j in range(n_neurons):
            state.inputs[i, j] = weights[k + j] + noise_std * noise[k + j]
        k += n_neurons
    for i in range(n_neurons):
        for j in range(n_neurons):
            state.rows[i, j] = weights[k + j] + noise_std * noise[k + j]
        k += n_neurons
    for i in range(n_neurons):
        for o in range(n_outputs):
            state.rows[i, lanes + o] = weights[k + o] + noise_std * noise[k + o]
        k += n_outputs


@njit(nogil=True)
def _add_rows(rows, spikes, n_spikes, delivered):
    """delivered = Σ rows of the neurons that spiked, in their order; four at a time, the last filled up with rows of 0."""
    delivered[:] = 0
    for k in range(n_spikes, n_spikes + 3):
        spikes[k] = rows.shape[0] - 1
    for k in range(0, n_spikes, 4):
        a, b, c, d = rows[spikes[k]], rows[spikes[k + 1]], rows[spikes[k + 2]], rows[spikes[k + 3]]
        for j in range(delivered.shape[0]):
            delivered[j] = (((delivered[j] + a[j]) + b[j]) + c[j]) + d[j]


@njit(nogil=True)
def _simulate(state, network, observation):
    """One environment step of the network, from a standardised observation to `state.output`."""
    drive, readout, lanes, one = state.drive, network.readout, state.u.shape[0], np.uint64(1)
    drive[:] = 0
    for i in range(observation.shape[0]):
        row, x = state.inputs[i], observation[i]
        for j in range(lanes):
            drive[j] += x * row[j]
    for j in range(lanes):
        drive[j] *= network.input.weight
    for _ in range(network.substeps):
        n_spikes = 0
        for first in range(0, lanes, 64):
            fired = lif_step(first, (state.u, state.v, drive, state.delivered), network.lif)
            while fired:
                rest = fired & (fired - one)
                state.spikes[n_spikes] = first + popcount((fired ^ rest) - one)
                n_spikes += 1
                fired = rest
        _add_rows(state.rows, state.spikes, n_spikes, state.delivered)
        for o in range(state.trace.shape[0]):
            state.trace[o] = readout.alpha_out * state.trace[o] + readout.trace_gain * state.delivered[lanes + o]
    for o in range(state.output.shape[0]):
        state.output[o] = readout.output_weight * state.trace[o]


@njit(nogil=True)
def _play_episode(functions, state, network, scaling, sizes, key, sample, start, task_state):
    """An episode of the network, which starts as `start` does, with potentials of `sample`: (return, steps)."""
    reset, observe, step = functions.value
    n_random, n_observed, _, max_steps = sizes
    mean, inverse_std, sums = scaling
    seed, generation, phase = key
    random, potentials = np.empty(n_random), np.empty(network.n_neurons)
    observation, z = np.zeros(n_observed), np.zeros(n_observed, np.float32)
    fill_uniform(seed, generation, sample, MEMBRANE + phase, potentials)
    fill_start(seed, generation, phase, start, False, random)
    for j in range(network.n_neurons):
        state.v[j] = np.float32(potentials[j])
    state.u[:] = 0
    state.delivered[:] = 0
    state.trace[:] = 0
    reset(task_state, random)
    total, played, ended = 0.0, np.int64(0), False
    while played < max_steps and not ended:
        observe(task_state, observation)
        normalise(observation, mean, inverse_std, z, sums)
        _simulate(state, network, z)
        reward, ended = step(task_state, state.output)
        total += reward
        played += 1
    return total, played


@kernel
def play_pairs(functions, weights, network, scaling, sizes, key, noise_std, sharing, task_state, pairs, returns, steps):
    """Play an episode with each network of the pairs `pairs[0] … pairs[1] − 1`.

    Parameters
    ----------
    functions : the task's (rollout.task_functions);  task_state : float64, the task's
    weights : float32, flat: input, recurrent, readout
    network : NetworkConstants (kernels/arithmetic.py)
    scaling : (mean, 1/standard deviation of observations, their exact sums, added to), as of rollout.normalise
    sizes : (random_size, n_observations, n_outputs, max_steps);  key : (seed, generation, 0)
    sharing : how many networks one after the other start alike
    returns, steps : float64 and int64, of these networks, written: W + σ ξ, then W − σ ξ of every pair
    """
    state = _new_state(network.n_neurons, sizes[1], sizes[2])
    noise = np.empty(-(-weights.shape[0] // CHUNK) * CHUNK, np.float32)
    for pair in range(pairs[0], pairs[1]):
        fill_normals(key[0], key[1], pair, NOISE, 0, noise)
        for sign in range(2):
            _set_weights(state, network.n_neurons, weights, noise, -noise_std if sign else noise_std)
            sample, place = 2 * pair + sign, 2 * (pair - pairs[0]) + sign
            returns[place], steps[place] = _play_episode(
                functions, state, network, scaling, sizes, key, sample, sample // sharing, task_state
            )


@kernel
def play_unperturbed(functions, weights, network, scaling, sizes, key, task_state, samples, returns, steps):
    """Play episodes `samples[0] … samples[1] − 1` with the weights as they are; see `play_pairs`."""
    state = _new_state(network.n_neurons, sizes[1], sizes[2])
    _set_weights(state, network.n_neurons, weights, weights, np.float32(0))
    for sample in range(samples[0], samples[1]):
        returns[sample - samples[0]], steps[sample - samples[0]] = _play_episode(
            functions, state, network, scaling, sizes, key, sample, sample, task_state
        )


@kernel
def sum_noise(differences, key, first_chunk, out):
    """out = Σ_p differences_p ξ_p, of the chunks of synapses from `first_chunk` on; the noise is drawn again.

    Every synapse adds in the order of the pairs, so that no sum depends on how chunks are split over threads.
    """
    noise = np.empty(out.shape[0], np.float32)
    out[:] = 0.0
    for pair in range(differences.shape[0]):
        if differences[pair] != 0:
            fill_normals(key[0], key[1], pair, NOISE, first_chunk, noise)
            difference = np.float64(differences[pair])
            for k in range(out.shape[0]):
                out[k] += difference * noise[k]


class Es(WeightRule):
    """See the equations above. A generation of `episodes` plays `episodes / 2` pairs and makes one update."""

    summary = "evolution strategies: antithetic perturbations of real weights, ranked (Salimans et al. 2017)"
    Options = EsOptions
    automatic_rate = 0.15
    settings = frozenset({"network"})
    network_unused = WeightRule.network_unused | {"excitatory_ratio", "expected_sparsity"}
    episodes_together = 2
    bytes_per_synapse = 4 + 2 * 16  #: weights, and Adam's moments before and after
    options: EsOptions
    _SHARING: ClassVar[dict[str, int]] = {"own": 1, "pair": 2, "shared": 2**62}

    def __init__(self, problem: Problem, options: RuleOptions) -> None:
        super().__init__(problem, options)
        assert isinstance(problem.task, EpisodeTask)
        self.task: EpisodeTask = problem.task
        #: Gains without expected sparsity are those of synapses that are all there.
        whole = problem.network.model_copy(update={"expected_sparsity": 1.0})
        self.network = Network(whole, self.task.n_observations, self.task.n_outputs)
        self._constants = floating_constants(self.network)

    @classmethod
    def refusal(cls, task: Task) -> str | None:
        """It learns whatever is an episode that is compiled, also with actions that are numbers."""
        return None if isinstance(task, EpisodeTask) else "it plays episodes that are compiled, and this task has none"

    def start(self) -> Memory:
        """See `rules.base.WeightRule.start`."""
        drawn = np.empty(-(-self._n_weights // CHUNK) * CHUNK, np.float32)
        fill_normals(self.problem.seed, 0, 0, WEIGHTS, 0, drawn)
        weights = {LEARNED + name: w.copy() for name, w in self._by_name(drawn).items()}
        adam = {f"adam/{name}": array for name, array in _ADAM.start((self._n_weights,)).items()}
        return {**weights, **adam, **_of_normaliser(Normaliser.start(self.task.n_observations))}

    def layouts(self) -> list[Layout]:
        """See `rules.base.WeightRule.layouts`."""
        limits = {"adam/square": (0.0,), "adam/decay": (0.0, 1.0)}
        kept = {
            name: Values.like(array, *limits.get(name, ()))
            for name, array in self.start().items()
            if not name.startswith(_NORMALISER)
        }
        return [
            Layout({**kept, **normaliser.arrays}, check=normaliser.check)
            for normaliser in Normaliser.layouts(self.task.n_observations, _NORMALISER, with_count=True)
        ]

    def prepare(self, memory: Memory) -> None:
        """See `rules.base.WeightRule.prepare`."""
        arguments, nothing = self._arguments(memory, 0, 0), ((0, 0), np.zeros(0), np.zeros(0, np.int64))
        state = np.zeros(0)
        specialise(play_pairs, self._functions, *arguments, *self._exploring, state, *nothing)
        specialise(play_unperturbed, self._functions, *arguments, state, *nothing)
        sum_noise(np.zeros(0, np.int64), (self.problem.seed, 0), 0, np.zeros(0))

    def learn(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """See `rules.base.WeightRule.learn`."""
        played, seen = self._play(memory, generation, episodes, threads)
        self._update(memory, self.gradient(played.returns, generation, threads))
        normaliser = _normaliser(memory).update(seen)
        for name in [name for name in memory if name.startswith(_NORMALISER)]:
            del memory[name]  # also those of earlier versions
        memory.update(_of_normaliser(normaliser))
        return Played(played.returns, played.steps, 1, size_of_weights(memory))

    def gradient(self, returns: np.ndarray, generation: int, threads: Threads) -> np.ndarray:
        """g of the equations, flat (float64), from what the networks of the generation earned."""
        ranks = centered_rank(returns)
        differences = ranks.units[0::2].astype(np.int64) - ranks.units[1::2]
        n_chunks = -(-self._n_weights // CHUNK)
        sums = np.empty(n_chunks * CHUNK)

        def work(first: int, last: int) -> None:
            sum_noise(differences, (self.problem.seed, generation), first, sums[first * CHUNK : last * CHUNK])

        threads.map_ranges(work, n_chunks, _CHUNKS_PER_PIECE)
        return sums[: self._n_weights] * (ranks.scale * self.options.noise_std / len(differences))

    def evaluate(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """See `rules.base.WeightRule.evaluate`: the weights without perturbation."""
        returns, steps = np.zeros(episodes), np.zeros(episodes, np.int64)
        weights, network, scaling, *rest = self._arguments(memory, generation, EVALUATION)

        def work(first: int, last: int) -> None:
            state, of_these = self.task.open_state(), slice(first, last)
            arguments = (weights, network, scaling, *rest)
            play_unperturbed(self._functions, *arguments, state.values, (first, last), returns[of_these], steps[of_these])

        threads.map_ranges(work, episodes, self.task.samples_per_piece)
        return Played(returns, steps)

    def _play(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> tuple[Played, Observations]:
        """The perturbed networks' episodes, and what they observed."""
        returns, steps = np.zeros(episodes), np.zeros(episodes, np.int64)
        weights, network, (mean, inverse_std, none), *rest = self._arguments(memory, generation, 0)
        parts = list[Observations]()

        def work(first: int, last: int) -> None:
            sums, state, of_these = np.zeros_like(none), self.task.open_state(), slice(2 * first, 2 * last)
            played = (returns[of_these], steps[of_these])
            arguments = (weights, network, (mean, inverse_std, sums), *rest, *self._exploring)
            play_pairs(self._functions, *arguments, state.values, (first, last), *played)
            parts.append(Observations.of(sums))

        threads.map_ranges(work, episodes // 2, max(1, self.task.samples_per_piece // 2))
        return Played(returns, steps), Observations.joined(parts)

    def _update(self, memory: Memory, gradient: np.ndarray) -> None:
        """AdamW, in float64; weights are stored as float32."""
        rate, decay = self.problem.learning_rate, self.options.weight_decay
        state = {name.removeprefix("adam/"): array for name, array in memory.items() if name.startswith("adam/")}
        direction, state = _ADAM.step(gradient, state)
        weights = self._flat(memory).astype(np.float64)
        weights += rate * (direction - decay * weights)
        for name, new in self._by_name(weights).items():
            memory[LEARNED + name][:] = new
        for name, new in state.items():
            memory[f"adam/{name}"][:] = new

    @property
    def _shapes(self) -> dict[str, tuple[int, int]]:
        n_neurons = self.network.options.n_neurons
        return {
            "input": (self.task.n_observations, n_neurons),
            "recurrent": (n_neurons, n_neurons),
            "readout": (n_neurons, self.task.n_outputs),
        }

    @property
    def _n_weights(self) -> int:
        return sum(n_pre * n_post for n_pre, n_post in self._shapes.values())

    def _by_name(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """The projections' parts of a flat array, as matrices."""
        parts, first = {}, 0
        for name, (n_pre, n_post) in self._shapes.items():
            parts[name] = flat[first : first + n_pre * n_post].reshape(n_pre, n_post)
            first += n_pre * n_post
        return parts

    def _flat(self, memory: Memory) -> np.ndarray:
        """Inverse of `_by_name`, of the weights."""
        return np.concatenate([memory[LEARNED + name].ravel() for name in self._shapes])

    @functools.cached_property
    def _functions(self) -> Held:
        return task_functions(self.task.reset, self.task.observe, self.task.step)

    @property
    def _exploring(self) -> tuple:
        return (np.float32(self.options.noise_std), self._SHARING[self.options.starts])

    def _arguments(self, memory: Memory, generation: int, phase: int) -> tuple[Any, ...]:
        """What both kernels begin with, after the task's functions; the sums of observations are zeros."""
        task, normaliser = self.task, _normaliser(memory)
        summed = 0 if phase == EVALUATION else task.n_observations
        scaling = (normaliser.mean, normaliser.inverse_std, np.zeros((summed, PLACES), np.int64))
        sizes = (task.random_size, task.n_observations, task.n_outputs, task.max_steps)
        return (self._flat(memory), self._constants, scaling, sizes, (self.problem.seed, generation, phase))


def _of_normaliser(normaliser: Normaliser) -> Memory:
    return {_NORMALISER + name: array for name, array in normaliser.to_arrays().items()}


def _normaliser(memory: Memory) -> Normaliser:
    """Inverse of `_of_normaliser`; also of memories of earlier versions."""
    arrays = {name.removeprefix(_NORMALISER): array for name, array in memory.items() if name.startswith(_NORMALISER)}
    return Normaliser.from_arrays(arrays)
