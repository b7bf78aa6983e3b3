"""Whole episodes of a population of networks: one sample at a time, its synapses in the first-level cache throughout."""

from __future__ import annotations

import threading
import warnings
from typing import Any, NamedTuple

import numpy as np
from numba import njit, typeof, types
from numba.core.caching import FunctionCache
from numba.core.errors import NumbaExperimentalFeatureWarning

from .arithmetic import (
    NetworkConstants,
    input_drive,
    integrate,
    neuron_step,
    read_output,
    readout_lanes,
    start_potentials,
    state_zeros,
)
from .compiling import keep_on_disk, kernel
from .exact_sums import PLACES, add_exactly
from .generators import count_words
from .held import Held
from .lanes import aligned_zeros, popcount, sum_rows
from .random_bits import EVALUATION, MEMBRANE, RELEASE, fill_start, fill_uniform
from .release import draw_release
from .running import LARGEST_Z, standardised

# Function pointers have been stable for years; Numba still announces them as experimental when they are passed.
warnings.filterwarnings("ignore", message="First-class function type", category=NumbaExperimentalFeatureWarning)

#: Compiled signatures of a task's three functions, called through pointers (3 ns per environment step).
RESET_SIGNATURE = types.void(types.float64[::1], types.float64[::1])
OBSERVE_SIGNATURE = types.void(types.float64[::1], types.float64[::1])
STEP_SIGNATURE = types.Tuple((types.float64, types.boolean))(types.float64[::1], types.float32[::1])

#: One thread at a time looks up what a task's functions are compiled to.
_RESOLVING = threading.Lock()


class Synapses(NamedTuple):
    """What the three projections draw from: bit planes, of which a single one is a fixed release, or another generator."""

    input: Any  #: row k (of 2 · d_in: x, then −x): bits of the targets
    recurrent: Any  #: row i: bits of the targets of neuron i
    readout: Any  #: row o: bits of the neurons that feed output o


class NetworkState(NamedTuple):
    """State and synapses of one sample; arrays are padded to whole words of 64 neurons and aligned."""

    u: np.ndarray  #: synaptic current; float32, or int32 in integer arithmetic, as v, drive and trace
    v: np.ndarray  #: membrane potential
    drive: np.ndarray  #: input current, constant during an environment step
    delivered: np.ndarray  #: int16, released synapses that carried a spike, signed
    spikes: np.ndarray  #: uint64, spikes of the last substep
    counts: np.ndarray  #: int32, shape (readout lanes,): the same for the readout
    trace: np.ndarray  #: shape (readout lanes,): filtered spike rate of each output (floating point: spikes/ms)
    output: np.ndarray  #: float32, shape (n_out,)
    z: np.ndarray  #: float32, shape (d_in,): the standardised observation
    input_rows: np.ndarray  #: uint64, released input synapses
    recurrent_rows: np.ndarray  #: uint64
    readout_rows: np.ndarray  #: uint64


class Tally(NamedTuple):
    """What a rollout reports, of its samples in their order; the sums are added to."""

    returns: np.ndarray  #: float64, shape (samples,)
    steps: np.ndarray  #: int64, shape (samples,)
    observation_sums: np.ndarray  #: int64, shape (d_in, exact_sums.PLACES); (0, PLACES): observations are not summed
    events: np.ndarray  #: int64, shape (3,): what integers lost (kernels/arithmetic.py)
    outputs: np.ndarray  #: int64, shape (2 + choices,): what the networks answered (`count_output`)


def no_outputs(n_outputs: int) -> np.ndarray:
    """`Tally.outputs` before the first environment step; one output stands for two choices, by its sign."""
    return np.zeros(2 + max(2, n_outputs), np.int64)


@njit(nogil=True)
def count_output(output, counts):
    """Count the answer of one environment step.

    counts[0]        every output is exactly 0
    counts[1]        every output is at −1 or 1, or beyond (where numbers in a range are cut)
    counts[2 + o]    output o is the largest, the first of equal ones; of a single output, whether it is positive
    """
    silent, at_limit, choice = True, True, 0
    for o in range(output.shape[0]):
        silent = silent and output[o] == 0
        at_limit = at_limit and abs(output[o]) >= 1
        if output[o] > output[choice]:
            choice = o
    if output.shape[0] == 1:
        choice = 1 if output[0] > 0 else 0
    counts[0] += silent
    counts[1] += at_limit
    counts[2 + choice] += 1


@njit(nogil=True)
def new_state(constants, n_in, n_out, input_rows, recurrent_rows, readout_rows):
    """A `NetworkState` of zeros with these synapses."""
    words = constants.excitatory.shape[0]
    return NetworkState(
        state_zeros(constants.lif, 64 * words),
        state_zeros(constants.lif, 64 * words),
        state_zeros(constants.lif, 64 * words),
        aligned_zeros(64 * words, np.int16),
        aligned_zeros(words, np.uint64),
        aligned_zeros(readout_lanes(constants.readout, n_out), np.int32),
        state_zeros(constants.lif, readout_lanes(constants.readout, n_out)),
        np.zeros(n_out, np.float32),
        np.zeros(n_in, np.float32),
        input_rows,
        recurrent_rows,
        readout_rows,
    )


@kernel
def allocate_state(synapses, constants, n_in, n_out):
    """A `NetworkState` of zeros, with room for its synapses."""
    return new_state(
        constants,
        n_in,
        n_out,
        aligned_zeros(count_words(synapses.input), np.uint64),
        aligned_zeros(count_words(synapses.recurrent), np.uint64),
        aligned_zeros(count_words(synapses.readout), np.uint64),
    )


@kernel
def draw_sample(state, synapses, key, sample):
    """Draw the release of every synapse, which a sample keeps for all its episodes; key = (seed, generation, …)."""
    seed, generation = key[0], key[1]
    draw_release(synapses.input, seed, generation, sample, RELEASE, state.input_rows)
    draw_release(synapses.recurrent, seed, generation, sample, RELEASE + 1, state.recurrent_rows)
    draw_release(synapses.readout, seed, generation, sample, RELEASE + 2, state.readout_rows)


@kernel
def start_episode(state, constants, potentials):
    """Initial membrane potentials (float64 in [0, 1)), everything else at rest."""
    start_potentials(constants.lif, potentials, state.v)
    state.u[:] = 0
    state.spikes[:] = np.uint64(0)
    state.trace[:] = 0


@njit(inline="always")
def readout_count(spikes, excitatory, readout_rows, output):
    """Signed number of released synapses that carry a spike to one output: excitatory minus inhibitory."""
    words = spikes.shape[0]
    arrived = 0
    for w in range(words):
        bits = spikes[w] & readout_rows[output * words + w]
        arrived += 2 * popcount(bits & excitatory[w]) - popcount(bits)
    return arrived


@njit(nogil=True)
def simulate(state, constants, events):
    """The simulation steps of one environment step: synapses (with last step's spikes), neurons, readout trace.

        trace_o ← α_out trace_o + (1 − α_out)/dt · Σ_i s_i θ_io spike_i
        output_o = R_out · trace_o                                          read once, after the last step

    The readout filters what its synapses deliver, where the released code filters each neuron's rate and then sums; the
    two are the same linear map, and this one needs a counter an output instead of a trace a neuron. On a chip the spikes
    reach the readout one step later (`readout_delay`).
    """
    u, v, drive, delivered, spikes = state.u, state.v, state.drive, state.delivered, state.spikes
    recurrent_rows, excitatory, lif = state.recurrent_rows, constants.excitatory, constants.lif
    for _ in range(constants.substeps):
        if constants.readout_delay:
            advance_readout(state, constants, events)
        if constants.recurrent:
            sum_rows(spikes, excitatory, recurrent_rows, delivered)
        for w in range(spikes.shape[0]):
            spikes[w] = neuron_step(lif, 64 * w, (u, v, drive, delivered), events)
        if not constants.readout_delay:
            advance_readout(state, constants, events)
    read_output(constants.readout, state.trace, state.output)


@njit(inline="always")
def advance_readout(state, constants, events):
    """One step of the readout, from the spikes there are."""
    for o in range(state.output.shape[0]):
        state.counts[o] = readout_count(state.spikes, constants.excitatory, state.readout_rows, o)
    integrate(constants.readout, state.counts, state.trace, events)


@njit(nogil=True)
def normalise(observation, mean, inverse_std, z, sums, limit=LARGEST_Z):
    """Standardise an observation x (running.standardised), and add x and x² to the exact sums.

    observation, mean, inverse_std : float64, shape (d_in,);  z : float32, same shape, written
    sums : of `Tally`;  limit : of |z|
    """
    for d in range(observation.shape[0]):
        z[d] = np.float32(standardised(observation[d], mean[d], inverse_std[d], limit))
    if sums.shape[0] > 0:
        bits, flat, place = observation.view(np.int64), sums.reshape(-1), np.uint64(0)
        for d in range(observation.shape[0]):
            add_exactly(bits[d], flat, place)
            place += np.uint64(PLACES)


@njit(nogil=True)
def sense_and_simulate(state, constants, observation, mean, inverse_std, tally):
    """One environment step of the network: from an observation to `state.output`."""
    normalise(observation, mean, inverse_std, state.z, tally.observation_sums)
    input_drive(constants.input, state.z, state.input_rows, state.drive, tally.events)
    simulate(state, constants, tally.events)
    count_output(state.output, tally.outputs)


@kernel
def act(held, observation):
    """One environment step of the network, `state.output`; False for an observation that is not finite.

    `held.value`: (state, constants, mean, inverse_std, tally), as of `sense_and_simulate` (kernels/held.py).
    """
    state, constants, mean, inverse_std, tally = held.value
    for d in range(observation.shape[0]):
        if not np.isfinite(observation[d]):
            return False
    sense_and_simulate(state, constants, observation, mean, inverse_std, tally)
    return True


@kernel
def play_episodes(task, synapses, constants, mean, inverse_std, sizes, key, task_state, samples, tally):
    """Play whole episodes with each of the samples `samples[0] … samples[1] − 1`; a return is the mean of its episodes'.

    Parameters
    ----------
    task : the task's functions (`task_functions`)
    synapses : Synapses;  constants : NetworkConstants
    mean, inverse_std : float64, shape (d_in,)    of observations (normaliser.Scaling)
    sizes : (random_size, d_in, n_out, max_steps, episodes, shared starts)
    key : (seed, generation, phase)               phase: 0 or random_bits.EVALUATION
    task_state : float64, of the task, written
    samples : (first, last)
    tally : Tally, written
    """
    reset, observe, step = task.value
    seed, generation, phase = key
    n_random, n_neurons, episodes = sizes[0], constants.n_neurons, sizes[4]
    random = np.empty(episodes * n_random, np.float64)
    potentials = np.empty(episodes * n_neurons, np.float64)
    observation = np.zeros(sizes[1], np.float64)
    state = allocate_state(synapses, constants, sizes[1], sizes[2])
    for sample in range(samples[0], samples[1]):
        draw_sample(state, synapses, key, sample)
        fill_uniform(seed, generation, sample, MEMBRANE + phase, potentials)
        fill_start(seed, generation, phase, sample, sizes[5], random)
        total, steps = 0.0, np.int64(0)
        for episode in range(episodes):
            start_episode(state, constants, potentials[episode * n_neurons : (episode + 1) * n_neurons])
            reset(task_state, random[episode * n_random : (episode + 1) * n_random])
            played, ended = 0, False
            while played < sizes[3] and not ended:
                observe(task_state, observation)
                sense_and_simulate(state, constants, observation, mean, inverse_std, tally)
                reward, ended = step(task_state, state.output)
                total += reward
                played += 1
            steps += played
        tally.returns[sample - samples[0]] = total / episodes
        tally.steps[sample - samples[0]] = steps


@kernel
def _hold_functions(functions):
    return Held(functions)


def task_functions(reset: Any, observe: Any, step: Any) -> Held:
    """A task's three compiled functions as kernels take them: `reset, observe, step = held.value`.

    They are function pointers, not the functions themselves: otherwise every task would have a rollout of its own and none
    could be cached on disk. Numba looks up what a function is compiled to whenever one is passed, which takes 0.25 ms for
    three; here that is done once.
    """
    functions, signatures = (reset, observe, step), (RESET_SIGNATURE, OBSERVE_SIGNATURE, STEP_SIGNATURE)
    for compiled, signature in zip(functions, signatures, strict=True):
        if signature.args not in compiled.overloads:
            if type(compiled._cache) is FunctionCache:  # a user's @njit(cache=True)
                keep_on_disk(compiled)
            compiled.compile(signature)
    with _RESOLVING:
        if not _hold_functions.overloads:
            _hold_functions.compile((types.Tuple([types.FunctionType(signature) for signature in signatures]),))
            _hold_functions.disable_compile()  # only then does Numba take a compiled function for a pointer
        held = _hold_functions(functions)
    held.functions = functions  # a pointer does not keep alive what it points to
    return held


def specialise(function: Any, *arguments: Any) -> None:
    """Compile (or load from the cache) a kernel for arguments of these types, without calling it."""
    function.compile(tuple(typeof(argument) for argument in arguments))


__all__ = [
    "EVALUATION",
    "NetworkConstants",
    "NetworkState",
    "Synapses",
    "Tally",
    "act",
    "allocate_state",
    "draw_sample",
    "no_outputs",
    "play_episodes",
    "specialise",
    "start_episode",
    "task_functions",
]
