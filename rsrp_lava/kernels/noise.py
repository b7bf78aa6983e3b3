"""A layer of a network that learns from noise (rules/noise.py has the equations and their source), piece by piece.

The rule's kernel plays whole episodes with these functions, and the Lava processes of a layer one step at a time with the
kernels below them: the same operations in the same order, so the bits are the same. All numbers are float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .compiling import copy, kernel
from .exact_math import exponential, fill_normal, fill_softmax, logarithm, pick
from .random_bits import ACTION, NOISE, uniform

#: What becomes of the noise; REINFORCE has none, and its errors are no layer's own.
NRL, RMHL, REINFORCE = range(3)


@njit(nogil=True)
def weighted_sums(w, x, a):
    """a_j = Σ_i x_i w_ij, in the order of i; shapes (n_in, n_out), (n_in,), (n_out,)."""
    a[:] = 0.0
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            a[j] += x[i] * w[i, j]


@njit(nogil=True)
def rectify(a, slope):
    """LeakyReLU, in place."""
    for j in range(a.shape[0]):
        a[j] = a[j] if a[j] > 0 else slope * a[j]


@njit(nogil=True)
def log_policy(scores, action):
    """log softmax(scores)[action]."""
    largest = scores.max()
    total = 0.0
    for k in range(scores.shape[0]):
        total += exponential(scores[k] - largest)
    return scores[action] - largest - logarithm(total)


@njit(nogil=True)
def sum_of_squares(noise):
    """|ξ|²."""
    total = 0.0
    for j in range(noise.shape[0]):
        total += noise[j] * noise[j]
    return total


@njit(nogil=True)
def add_outer(trace, factor, pre, post):
    """e += factor · pre postᵀ; shapes (n_in, n_out), (n_in,), (n_out,)."""
    for i in range(trace.shape[0]):
        scaled = factor * pre[i]
        for j in range(trace.shape[1]):
            trace[i, j] += scaled * post[j]


@njit(nogil=True, error_model="numpy")
def noise_factor(difference, n_units, squares):
    """Of NRL's trace in a layer of n units: Δ n / Σ_k |ξ_k|², all layers; of immediate reward, with n = 1, Δ / |ξ|²."""
    return difference * n_units / squares


@njit(nogil=True)
def take_noise(key, t, noise_std, noise):
    """ξ of all units of the network at step t; key: (seed, generation, episode)."""
    fill_normal(key[0], key[1], key[2], NOISE, t, noise)
    noise *= noise_std


@njit(nogil=True)
def draw_action(scores, policy, key, t):
    """The action of step t, from π = softmax(scores), which is written."""
    fill_softmax(scores, policy)
    return pick(policy, uniform(key[0], key[1], key[2], ACTION, t))


@njit(nogil=True)
def episode_step(total, mean_reward, learning_rate, average_rate):
    """η δ of an episode with the return R, and the mean reward after it; nan: there was none before."""
    average = total if np.isnan(mean_reward) else mean_reward
    step = learning_rate * (total - average) / (abs(total) if total != 0 else 1.0)
    return step, average + average_rate * (total - average)


@njit(nogil=True)
def reward_step(reward, average, learning_rate, average_rate):
    """η δ of a reward that teaches by itself, and the mean reward after it; nan: it is the episode's first."""
    average = reward if np.isnan(average) else average
    return learning_rate * (reward - average), average + average_rate * (reward - average)


@njit(nogil=True)
def teach(w, trace, step):
    """W += step · e; the trace is used up."""
    w += step * trace
    trace[:] = 0.0


# ------------------------------------------------------------------------ a step of one Lava process; row 0 without noise


#: For a Lava process, which calls it by itself: kept on disk, so that a start does not compile it again.
teach_alone = kernel(teach.py_func)


@kernel
def start_signals(observation, scale, s):
    """s (2, n_in): the observation (float64, shape (n_in,)) times its scale, for both networks."""
    for i in range(observation.shape[0]):
        s[0, i] = s[1, i] = scale[i] * observation[i]


@kernel
def layer_sums(w, s, a):
    """a (2, n_out) of s (2, n_in)."""
    for network in range(2):
        weighted_sums(w, s[network], a[network])


@kernel
def disturb(a, key, t, noise_std, first, everyone, noise):
    """The noise ξ of the units from `first` on into `noise`, and onto a[1]; returns |ξ|². `everyone`: room for all ξ."""
    take_noise(key, t, noise_std, everyone)
    copy(everyone[first : first + noise.shape[0]], noise)
    for j in range(noise.shape[0]):
        a[1, j] += noise[j]
    return sum_of_squares(noise)


@kernel
def hidden_activity(a, slope):
    """a (2, n) becomes x."""
    rectify(a[0], slope)
    rectify(a[1], slope)


@kernel
def decide(a, method, key, t, policy):
    """The action of step t, and of NRL Δ = log π̃(a) − log π(a); else 1."""
    action = draw_action(a[1] if method == RMHL else a[0], policy, key, t)
    if method == RMHL:
        return action, 1.0
    return action, log_policy(a[1], action) - log_policy(a[0], action)


@kernel
def note_step(trace, s, noise, method, immediate, difference, squares):
    """e += …, of a step that is over; `squares`: Σ_k |ξ_k|² of all layers."""
    factor = 1.0
    if method == NRL:
        if immediate:
            factor = noise_factor(difference, 1, sum_of_squares(noise))
        else:
            factor = noise_factor(difference, noise.shape[0], squares)
    add_outer(trace, factor, s[0] if method == NRL and immediate else s[1], noise)
