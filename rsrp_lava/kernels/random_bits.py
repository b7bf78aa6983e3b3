"""Counter-based random bits: every random number is a pure function of what it is for.

    bits = Threefry4x64-13(key = (seed, generation, sample, stream), counter = (word, block, 0, 0))

Threefry (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011) needs only adds, rotations
and exclusive ors, so it runs at full vector width; 13 rounds are one more than the fewest that pass BigCrush. No state, no
order: any thread, machine or process draws the same bits, and nothing has to be stored to draw them again.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .compiling import kernel

_PARITY = np.uint64(0x1BD11BDAA9FC1A22)

#: Streams: the fourth word of the key says what the bits are for. Projection k draws from stream RELEASE + k.
RELEASE = 0
MEMBRANE = 1000
TASK = 1001
RESERVOIR = 1002
#: Rounding of stored probabilities: projection k draws from ROUNDING + k.
ROUNDING = 3000
#: Which images a generation (every sample of it: BATCHES + 1) sees.
BATCHES = 4000
#: Which of a user's data are for testing.
SPLIT = 4002
#: Of rules that keep weights: their first values, their actions, and the noise they explore with.
WEIGHTS = 5000
ACTION = 5001
NOISE = 5002
#: From 5010 on, what a single rule or task needs besides; two rules never play together, so they may have the same numbers.
#: Spikes at random: of inputs, and of a rule that draws releases at every spike, SPIKES + 1 those of neurons.
SPIKES = 5010
#: Which images label neurons, and the spikes of those.
LABELLING = 5011
LABELLING_SPIKES = 5012
#: Of winner-take-all circuits: the rates they start an inference from, and spikes on the way.
FIRST_RATES = 5010
CIRCUIT_SPIKES = 5011
#: Of tasks that draw at every step: their key is a number drawn at the start of the episode.
SLIP = 5010
#: Noise on observations (its key is a number drawn at the start of the episode), and what a study does to synapses.
OBSERVATION_NOISE = 7000
PERTURBATION = 7001
#: Outputs of no network: random actions, which returns are compared with.
RANDOM_ACTIONS = 8000
#: Added to MEMBRANE, TASK and the streams of rules for evaluation episodes: they never share a number with training.
EVALUATION = 1000


@njit(inline="always")
def _mix(x, y, rotation):
    x = x + y
    return x, ((y << np.uint64(rotation)) | (y >> np.uint64(64 - rotation))) ^ x


@njit(inline="always")
def threefry(k0, k1, k2, k3, c0, c1):
    """Threefry4x64 with 13 rounds: four random words for key (k0, k1, k2, k3) and counter (c0, c1, 0, 0), all uint64."""
    k4 = k0 ^ k1 ^ k2 ^ k3 ^ _PARITY
    x0, x1, x2, x3 = c0 + k0, c1 + k1, k2, k3
    x0, x1 = _mix(x0, x1, 14)
    x2, x3 = _mix(x2, x3, 16)
    x0, x3 = _mix(x0, x3, 52)
    x2, x1 = _mix(x2, x1, 57)
    x0, x1 = _mix(x0, x1, 23)
    x2, x3 = _mix(x2, x3, 40)
    x0, x3 = _mix(x0, x3, 5)
    x2, x1 = _mix(x2, x1, 37)
    x0, x1, x2, x3 = x0 + k1, x1 + k2, x2 + k3, x3 + k4 + np.uint64(1)
    x0, x1 = _mix(x0, x1, 25)
    x2, x3 = _mix(x2, x3, 33)
    x0, x3 = _mix(x0, x3, 46)
    x2, x1 = _mix(x2, x1, 12)
    x0, x1 = _mix(x0, x1, 58)
    x2, x3 = _mix(x2, x3, 22)
    x0, x3 = _mix(x0, x3, 32)
    x2, x1 = _mix(x2, x1, 32)
    x0, x1, x2, x3 = x0 + k2, x1 + k3, x2 + k4, x3 + k0 + np.uint64(2)
    x0, x1 = _mix(x0, x1, 14)
    x2, x3 = _mix(x2, x3, 16)
    x0, x3 = _mix(x0, x3, 52)
    x2, x1 = _mix(x2, x1, 57)
    x0, x1 = _mix(x0, x1, 23)
    x2, x3 = _mix(x2, x3, 40)
    x0, x3 = _mix(x0, x3, 5)
    x2, x1 = _mix(x2, x1, 37)
    x0, x1, x2, x3 = x0 + k3, x1 + k4, x2 + k0, x3 + k1 + np.uint64(3)
    x0, x1 = _mix(x0, x1, 25)
    x2, x3 = _mix(x2, x3, 33)
    return x0, x1, x2, x3


@njit(nogil=True)
def _unit_interval(word):
    """The top 53 bits of a word as a float64 in [0, 1)."""
    return np.float64(word >> np.uint64(11)) * 2.0**-53


@njit(nogil=True)
def _fill_blocks(key, first_block, step, out):
    """Fill `out` from the blocks of four numbers `first_block` …"""
    for block in range((out.shape[0] + 3) // 4):
        words = threefry(key[0], key[1], key[2], key[3], np.uint64(first_block + block), np.uint64(step))
        for lane in range(min(4, out.shape[0] - 4 * block)):
            out[4 * block + lane] = _unit_interval(words[lane])


@kernel
def fill_uniform_at(seed, generation, sample, stream, step, out):
    """Fill `out` (float64, shape (n,)) with uniform numbers in [0, 1), 53 bits each: a function of the key (the first four)
    and of `step` alone."""
    _fill_blocks((np.uint64(seed), np.uint64(generation), np.uint64(sample), np.uint64(stream)), 0, step, out)


@kernel
def fill_uniform_part(seed, generation, sample, stream, first, out):
    """The numbers `first` … of those that `fill_uniform` gives a longer array; first: a multiple of 4."""
    _fill_blocks((np.uint64(seed), np.uint64(generation), np.uint64(sample), np.uint64(stream)), first // 4, 0, out)


@kernel
def fill_uniform(seed, generation, sample, stream, out):
    """`fill_uniform_at` of step 0."""
    fill_uniform_at(seed, generation, sample, stream, 0, out)


@njit(nogil=True)
def uniform(seed, generation, sample, stream, step):
    """One uniform number in [0, 1), 53 bits: a function of the key and of `step` alone."""
    key = np.uint64(seed), np.uint64(generation), np.uint64(sample), np.uint64(stream)
    return _unit_interval(threefry(key[0], key[1], key[2], key[3], np.uint64(0), np.uint64(step))[0])


@kernel
def fill_start(seed, generation, phase, sample, shared, out):
    """The uniform numbers that episodes of a sample start from; phase: 0 or EVALUATION.

    `shared`: all training samples of a generation start alike, as sample 0 does; evaluation episodes never do.
    """
    fill_uniform(seed, generation, 0 if shared and phase == 0 else sample, TASK + phase, out)
