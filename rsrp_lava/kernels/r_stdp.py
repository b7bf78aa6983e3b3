"""Reward-modulated STDP, piece by piece (rules/r_stdp.py has the equations and their sources).

The rule's kernel plays whole episodes with these functions, and Lava processes one substep: the same operations in the same
order, so the bits are the same. All numbers are float64; spikes are 0 or 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from .compiling import kernel
from .random_bits import ACTION, SPIKES, uniform
from .running import with_one_more

#: Where the third factor comes from.
REWARD, PREDICTION_ERROR, ANGLE = range(3)
#: Traces below this are 0, before they become numbers that processors are slow with.
_FORGOTTEN = 1e-9


class Coding(NamedTuple):
    """Observations as input spikes."""

    edges: np.ndarray  #: float64, shape (bins − 1,), rising; of standardised observations
    mean: np.ndarray  #: float64, shape (d_in,)
    deviation: np.ndarray  #: … empty if both are to be those of what was observed
    spike_probability: float  #: a substep


class Lif(NamedTuple):
    """Neurons, and how many substeps they have."""

    substeps: int
    synapse_decay: float
    membrane_decay: float
    threshold: float
    inhibition: float


class Stdp(NamedTuple):
    """Spike pairs to eligibility."""

    plus_decay: float
    minus_decay: float
    eligibility_decay: float
    a_plus: float
    a_minus: float


class Teaching(NamedTuple):
    """Eligibility and reward to weights."""

    critic: int
    immediate: bool
    learning_rate: float
    average_rate: float
    return_scale: float
    weight_min: float
    weight_max: float
    conserve_output: bool


@njit(nogil=True)
def standardisation(coding, seen, mean, deviation):
    """Means and deviations of an episode: those given, or of what was observed before it."""
    for k in range(mean.shape[0]):
        if coding.deviation.shape[0]:
            mean[k], deviation[k] = coding.mean[k], coding.deviation[k]
        else:
            mean[k] = seen[1, k]
            deviation[k] = math.sqrt(seen[2, k] / seen[0, k]) if seen[2, k] > 0 else 1.0


@njit(nogil=True)
def note(observation, seen):
    """One more observation; rows of `seen`: how many, their mean, the sum of squared differences from it."""
    for k in range(observation.shape[0]):
        seen[0, k] += 1.0
        seen[1, k], seen[2, k] = with_one_more(observation[k], seen[0, k], seen[1, k], seen[2, k])


@njit(nogil=True)
def encode(observation, mean, deviation, edges, active):
    """The input neuron of each observation's bin."""
    for k in range(observation.shape[0]):
        z, place = (observation[k] - mean[k]) / deviation[k], 0
        for edge in range(edges.shape[0]):
            if z > edges[edge]:
                place += 1
        active[k] = k * (edges.shape[0] + 1) + place


@njit(nogil=True)
def excite(decay, weights, spikes, u):
    """u_j = decay · u_j + Σ_i s_i w_ij."""
    for j in range(u.shape[0]):
        u[j] *= decay
    for i in range(spikes.shape[0]):
        if spikes[i] > 0:
            for j in range(u.shape[0]):
                u[j] += weights[i, j]


@njit(nogil=True)
def fire(lif, u, v, spikes):
    """Membranes take up their current and spike."""
    for j in range(u.shape[0]):
        v[j] = lif.membrane_decay * v[j] + (1.0 - lif.membrane_decay) * u[j]
        spikes[j] = 1.0 if v[j] > lif.threshold else 0.0
        if spikes[j] > 0:
            v[j] = 0.0


@njit(nogil=True)
def fire_inputs(active, spike_probability, key, phase, substep, inputs):
    """Spikes of the input neurons; of those whose bin it is, `active`, at random. key: (seed, generation, episode)."""
    inputs[:] = 0.0
    for k in range(active.shape[0]):
        draw = uniform(key[0], key[1], key[2], SPIKES + phase, substep * active.shape[0] + k)
        inputs[active[k]] = 1.0 if draw < spike_probability else 0.0


@njit(nogil=True)
def inhibit(inhibition, fired, u):
    """u −= c · spikes of the other actions, a substep ago."""
    size, everyone = u.shape[0] // fired.shape[0], fired.sum()
    for action in range(fired.shape[0]):
        loss = inhibition * (everyone - fired[action])
        for j in range(action * size, (action + 1) * size):
            u[j] -= loss


@njit(nogil=True)
def _decay(trace, factor):
    for i in range(trace.shape[0]):
        trace[i] = trace[i] * factor if trace[i] > _FORGOTTEN else 0.0


@njit(nogil=True)
def pair(stdp, pre, post, pre_trace, post_trace, eligibility):
    """A substep of traces and eligibility (n_pre, n_post), after its spikes (0 or 1) of sources and targets."""
    _decay(pre_trace, stdp.plus_decay)
    _decay(post_trace, stdp.minus_decay)
    for i in range(pre.shape[0]):
        pre_trace[i] += pre[i]
    some_post = post.sum() > 0
    for i in range(pre.shape[0]):
        row = eligibility[i]
        for j in range(row.shape[0]):
            row[j] *= stdp.eligibility_decay
        if pre[i] > 0:
            for j in range(row.shape[0]):
                row[j] -= stdp.a_minus * post_trace[j]
        if some_post and pre_trace[i] > 0:
            gain = stdp.a_plus * pre_trace[i]
            for j in range(row.shape[0]):
                row[j] += gain * post[j]
    for j in range(post.shape[0]):
        post_trace[j] += post[j]


@njit(nogil=True)
def count(motor, fired):
    """Spikes of every action's motor neurons in this substep."""
    size = motor.shape[0] // fired.shape[0]
    for action in range(fired.shape[0]):
        fired[action] = motor[action * size : (action + 1) * size].sum()


@njit(nogil=True)
def most(counts, draw):
    """The action with the most spikes; of equal ones the one a uniform number picks."""
    largest, equals = counts.max(), 0
    for action in range(counts.shape[0]):
        equals += counts[action] == largest
    place = int(draw * equals)
    for action in range(counts.shape[0]):
        if counts[action] == largest:
            if place == 0:
                return action
            place -= 1
    return 0


@njit(nogil=True)
def _running(values, k, value, rate):
    """values[k], a running mean (nan: none yet), moves towards the value; returns the value's difference from it before."""
    if np.isnan(values[k]):
        values[k] = value
    difference = value - values[k]
    values[k] += rate * difference
    return difference


@njit(nogil=True)
def step_factor(teaching, reward, ended, expected):
    """M of a step, of the critics that look at reward alone."""
    if teaching.critic == REWARD:
        return reward
    factor = _running(expected, 0, reward, teaching.average_rate)
    return factor - expected[0] if ended else factor


@njit(nogil=True)
def episode_factor(teaching, total, expected):
    """M of an episode. D begins with the first |R|, so that early steps are small."""
    if teaching.critic == REWARD:
        return total / teaching.return_scale
    error = _running(expected, 0, total, teaching.average_rate)
    _running(expected, 1, abs(total) if np.isnan(expected[1]) else abs(error), teaching.average_rate)
    return error / expected[1] if expected[1] > 0 else 0.0


@njit(nogil=True)
def teach(weights, eligibility, factor, teaching):
    """w_ij ← clip(w_ij + η M (e_ij − ē_i)), |M| ≤ 1."""
    step = teaching.learning_rate * min(max(factor, -1.0), 1.0)
    if step == 0.0:
        return
    for i in range(weights.shape[0]):
        row, trace = weights[i], eligibility[i]
        mean = trace.sum() / trace.shape[0] if teaching.conserve_output else 0.0
        for j in range(row.shape[0]):
            row[j] = min(max(row[j] + step * (trace[j] - mean), teaching.weight_min), teaching.weight_max)


@njit(nogil=True)
def vote(counts, key, t):
    """The action of environment step t."""
    return most(counts, uniform(key[0], key[1], key[2], ACTION, t))


# For Lava processes, which call each by itself: kept on disk, so that a start does not compile them again.
standardisation_alone, note_alone, encode_alone = (
    kernel(standardisation.py_func),
    kernel(note.py_func),
    kernel(encode.py_func),
)
fire_inputs_alone, excite_alone, inhibit_alone = kernel(fire_inputs.py_func), kernel(excite.py_func), kernel(inhibit.py_func)
fire_alone, count_alone, pair_alone = kernel(fire.py_func), kernel(count.py_func), kernel(pair.py_func)
teach_alone, vote_alone = kernel(teach.py_func), kernel(vote.py_func)
step_factor_alone, episode_factor_alone = kernel(step_factor.py_func), kernel(episode_factor.py_func)
