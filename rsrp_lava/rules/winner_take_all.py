"""Recurrent winner-take-all circuits: what they infer, and the local update of their synapses.

Units form circuits. In one of them exactly one unit is active: unit i of circuit c with the probability

    q_i = exp(u_i) / Σ_{k in c} exp(u_k),      u_i = b_i + Σ_k s_k W_ki + 2 Σ_j q_j W_ji

s: inputs in [0, 1]; W: symmetric between units (hence the 2: the energy −vᵀWv − sᵀWv − bᵀv counts a pair twice). The last
circuit holds one unit an action. q is the mean-field distribution of the units, found in one of two ways:

    rates    from random rates: q ← softmax(u(q)) until it moves by less than a tolerance, or an iteration count
    spikes   every step each circuit emits one spike, drawn from q, and input k one with probability s_k; after as many
             steps as the window is long, u is the window's average of what the spikes bring: q ← softmax(u)

A synapse filters its spikes before W; here their sum is filtered after it: the same linear map, one filter a unit.

The update, of decisions n with factors A_n, inputs and rates z_n = (q, s), errors e_n = A_n (v_n − q_n), v_n ~ q_n one
spike a circuit:

    G_ji = mean_n z_nj e_ni,      W_ji += step(G_ji + G_ij) between units, W_ki += step(G_ki) from inputs

Sums run over decisions in their order, one row of W after the other: rows may be on different threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from rsrp_lava.kernels.compiling import copy, kernel
from rsrp_lava.kernels.exact_math import exponential, fill_normal, fill_softmax, pick
from rsrp_lava.kernels.random_bits import ACTION, CIRCUIT_SPIKES, FIRST_RATES, NOISE, WEIGHTS, fill_uniform, fill_uniform_at


class Circuits(NamedTuple):
    """Synapses and biases of all units, and which units are a circuit."""

    recurrent: np.ndarray  #: float64, shape (units, units), symmetric; row: from
    input: np.ndarray  #: float64, shape (inputs, units)
    bias: np.ndarray  #: float64, shape (units,)
    bounds: np.ndarray  #: int64, shape (circuits + 1,): circuit c is units bounds[c] … bounds[c + 1] − 1


class Inference(NamedTuple):
    """How rates are found."""

    spiking: bool
    tolerance: float  #: mean change of a rate that ends the iterations
    iterations: int
    steps: int  #: of spikes
    window: np.ndarray  #: float64: what a spike is worth now, one step later, …; its sum is 1
    noise_std: float  #: of inputs; they are clipped to [0, 1] after it
    noise_everywhere: bool  #: also on inputs that are 0


class Key(NamedTuple):
    """What a decision's random numbers are a function of."""

    seed: int
    generation: int
    sample: int
    phase: int  #: 0 or random_bits.EVALUATION
    step: int


class Work(NamedTuple):
    """Room for one inference."""

    active: np.ndarray  #: int64: inputs that are not 0, and then units
    numbers: np.ndarray  #: float64: random
    doubled: np.ndarray  #: float64, shape (units,)
    drive: np.ndarray  #: … from inputs and biases
    potential: np.ndarray
    rates: np.ndarray
    brought: np.ndarray  #: shape (window, units): by the spikes of the last steps
    every: np.ndarray  #: int64: 0, 1, … all units


def bounds_of(circuits: int, neurons: int, actions: int) -> np.ndarray:
    """Bounds of so many hidden circuits of so many units, and of the circuit of actions."""
    return np.concatenate([np.arange(circuits + 1) * neurons, [circuits * neurons + actions]]).astype(np.int64)


def connections(bounds: np.ndarray, sparsity: float, action_sparsity: float, seed: int) -> np.ndarray:
    """Which units have a synapse, bool, shape (units, units): none within a circuit, and of pairs of circuits those that
    are kept, each by a draw: pairs of hidden circuits, and of a hidden one with that of the actions."""
    n_hidden = len(bounds) - 2
    pairs = np.zeros((n_hidden + 1, n_hidden + 1), bool)
    uniform = np.empty(n_hidden * n_hidden + n_hidden)
    fill_uniform(seed, 0, 1, WEIGHTS, uniform)
    pairs[:n_hidden, :n_hidden] = np.triu(uniform[n_hidden:].reshape(n_hidden, n_hidden) >= sparsity, 1)
    pairs[:n_hidden, n_hidden] = uniform[:n_hidden] >= action_sparsity
    sizes = np.diff(bounds)
    return np.repeat(np.repeat(pairs | pairs.T, sizes, axis=0), sizes, axis=1)


def first_circuits(n_inputs: int, bounds: np.ndarray, connected: np.ndarray, limit: float, seed: int) -> Circuits:
    """Circuits whose synapses are uniform in [0, limit), symmetric; biases are 0."""
    n_units = int(bounds[-1])
    uniform = np.empty((n_units + n_inputs) * n_units)
    fill_uniform(seed, 0, 0, WEIGHTS, uniform)
    drawn = limit * uniform.reshape(n_units + n_inputs, n_units)
    recurrent = 0.5 * (drawn[:n_units] + drawn[:n_units].T) * connected
    return Circuits(recurrent, drawn[n_units:].copy(), np.zeros(n_units), bounds)


def spike_window(shape: str, length: int, tau_rise: float, tau_decay: float) -> np.ndarray:
    """The window of so many steps, uniform or a double exponential, its sum 1; time constants in steps."""
    if shape == "uniform":
        return np.full(length, 1.0 / length)
    window = np.array([exponential(-t / tau_decay) - exponential(-t / tau_rise) for t in range(length)])
    return window / sum(window.tolist())


@njit(nogil=True)
def room(circuits, inference):
    """`Work` for an inference of these circuits."""
    n_inputs, n_units = circuits.input.shape
    n_numbers = max(n_inputs, n_units, circuits.bounds.shape[0])
    return Work(
        np.zeros(n_inputs + n_units, np.int64),
        np.zeros(n_numbers),
        np.zeros(n_units),
        np.zeros(n_units),
        np.zeros(n_units),
        np.zeros(n_units),
        np.zeros((inference.window.shape[0] if inference.spiking else 0, n_units)),
        np.arange(n_units),
    )


@njit(nogil=True)
def add_rows(rows, which, n, factors, total):
    """total += factors[k] rows[k] for the first n numbers k in `which`, one after the other; four a pass."""
    done = 0
    while done + 4 <= n:
        k0, k1, k2, k3 = which[done], which[done + 1], which[done + 2], which[done + 3]
        f0, f1, f2, f3 = factors[k0], factors[k1], factors[k2], factors[k3]
        r0, r1, r2, r3 = rows[k0], rows[k1], rows[k2], rows[k3]
        for i in range(total.shape[0]):
            total[i] = (((total[i] + f0 * r0[i]) + f1 * r1[i]) + f2 * r2[i]) + f3 * r3[i]
        done += 4
    while done < n:
        factor, row = factors[which[done]], rows[which[done]]
        for i in range(total.shape[0]):
            total[i] += factor * row[i]
        done += 1


@njit(nogil=True)
def add_noise(inference, key, work, inputs):
    """Noise on the inputs, in place, within [0, 1]; `work.active` then lists those that are not 0. Returns how many."""
    n = 0
    if inference.noise_std > 0:
        for k in range(inputs.shape[0]):
            if inputs[k] > 0 or inference.noise_everywhere:
                work.active[n] = k
                n += 1
        fill_normal(key.seed, key.generation, key.sample, NOISE + key.phase, key.step, work.numbers[:n])
        for a in range(n):
            k = work.active[a]
            inputs[k] = min(max(inputs[k] + inference.noise_std * work.numbers[a], 0.0), 1.0)
    n = 0
    for k in range(inputs.shape[0]):
        if inputs[k] != 0:
            work.active[n] = k
            n += 1
    return n


@njit(nogil=True)
def choose_rates(bounds, potential, rates):
    """The softmax of every circuit."""
    for c in range(bounds.shape[0] - 1):
        fill_softmax(potential[bounds[c] : bounds[c + 1]], rates[bounds[c] : bounds[c + 1]])


@njit(nogil=True)
def draw_spikes(bounds, rates, uniform, spikes):
    """The active unit of every circuit, int64, for a uniform number each."""
    for c in range(bounds.shape[0] - 1):
        spikes[c] = bounds[c] + pick(rates[bounds[c] : bounds[c + 1]], uniform[c])


@kernel
def infer(circuits, inference, key, inputs, work, rates):
    """Rates of all units for these inputs, which get their noise, in place."""
    bounds = circuits.bounds
    n_active = add_noise(inference, key, work, inputs)
    n_units = rates.shape[0]
    fill_uniform_at(key.seed, key.generation, key.sample, FIRST_RATES + key.phase, key.step, work.numbers[:n_units])
    choose_rates(bounds, work.numbers[:n_units], rates)
    if inference.spiking:
        _infer_by_spikes(circuits, inference, key, inputs, n_active, work, rates)
        return
    copy(circuits.bias, work.drive)
    add_rows(circuits.input, work.active, n_active, inputs, work.drive)
    for _ in range(inference.iterations):
        for i in range(n_units):
            work.doubled[i] = 2.0 * rates[i]
        copy(work.drive, work.potential)
        add_rows(circuits.recurrent, work.every, n_units, work.doubled, work.potential)
        choose_rates(bounds, work.potential, work.rates)
        change = 0.0
        for i in range(n_units):
            change += abs(work.rates[i] - rates[i])
        if change < inference.tolerance * n_units:
            return
        copy(work.rates, rates)


@njit(nogil=True)
def _infer_by_spikes(circuits, inference, key, inputs, n_active, work, rates):
    """See above. What a step's spikes bring is kept for as long as the window."""
    bounds, length, n_units = circuits.bounds, inference.window.shape[0], rates.shape[0]
    n_circuits = bounds.shape[0] - 1
    uniform = np.empty(n_circuits + n_active)
    spikes = np.empty(n_circuits, np.int64)
    fired, ones, twos = np.empty(n_active, np.int64), np.ones(inputs.shape[0]), np.full(n_units, 2.0)
    order, newest = np.empty(length, np.int64), np.empty(length)
    for t in range(inference.steps):
        drawn = np.uint64(key.step) * np.uint64(inference.steps) + np.uint64(t)
        fill_uniform_at(key.seed, key.generation, key.sample, CIRCUIT_SPIKES + key.phase, drawn, uniform)
        draw_spikes(bounds, rates, uniform, spikes)
        n_fired = 0
        for a in range(n_active):
            if uniform[n_circuits + a] < inputs[work.active[a]]:
                fired[n_fired] = work.active[a]
                n_fired += 1
        brought = work.brought[t % length]
        brought[:] = 0.0
        add_rows(circuits.input, fired, n_fired, ones, brought)
        add_rows(circuits.recurrent, spikes, n_circuits, twos, brought)
        if t + 1 >= length:
            for back in range(length):
                order[back] = (t - back) % length
                newest[order[back]] = inference.window[back]
            copy(circuits.bias, work.potential)
            add_rows(work.brought, order, length, newest, work.potential)
            choose_rates(bounds, work.potential, rates)


@kernel
def act(bounds, key, work, rates, errors):
    """One spike a circuit, drawn from the rates: v − q into `errors`; returns the action."""
    n_circuits = bounds.shape[0] - 1
    uniform, spikes = work.numbers[:n_circuits], work.active[:n_circuits]
    fill_uniform_at(key.seed, key.generation, key.sample, ACTION + key.phase, key.step, uniform)
    draw_spikes(bounds, rates, uniform, spikes)
    for i in range(rates.shape[0]):
        errors[i] = -rates[i]
    for c in range(n_circuits):
        errors[spikes[c]] += 1.0
    return spikes[n_circuits - 1] - bounds[n_circuits - 1]


@njit(nogil=True)
def best_action(bounds, rates):
    """The most probable action, the first of equal ones."""
    return np.argmax(rates[bounds[bounds.shape[0] - 2] :])


class Steps(NamedTuple):
    """How a gradient becomes a step."""

    rate: float
    rmsprop: bool
    decay: float  #: of the running mean square gradient
    recurrent: np.ndarray  #: mean squares of the gradients, as the synapses; empty without RMSprop
    input: np.ndarray
    bias: np.ndarray


_TINY = 1e-8


@njit(nogil=True)
def _step(steps, squares, gradient, values):
    """values += step, of one row; `squares`: its row, or anything without RMSprop."""
    if not steps.rmsprop:
        for i in range(values.shape[0]):
            values[i] += steps.rate * gradient[i]
        return
    for i in range(values.shape[0]):
        squares[i] = steps.decay * squares[i] + (1.0 - steps.decay) * (gradient[i] * gradient[i])
        values[i] += steps.rate * gradient[i] / (np.sqrt(squares[i]) + _TINY)


@njit(nogil=True)
def _sum_decisions(column, rows, used, work, factors, total):
    """total = Σ_n column[n] rows[n] over decisions n in `used`; `work` lists those whose factor is not 0."""
    n = 0
    for u in range(used.shape[0]):
        factors[used[u]] = column[used[u]]
        if column[used[u]] != 0:
            work[n] = used[u]
            n += 1
    total[:] = 0.0
    add_rows(rows, work, n, factors, total)


@kernel
def learn_rows(circuits, connected, steps, rates, inputs, errors, used, first, last):
    """Change rows `first` … `last` − 1 of the synapses: rows of units, then of inputs.

    rates (decisions, units), inputs (decisions, n), errors (decisions, units; times their factor): float64
    used : int64, the decisions whose factor is not 0, ascending;  connected : see `connections`
    """
    n_units, n_decisions = rates.shape[1], rates.shape[0]
    work, factors = np.empty(n_decisions, np.int64), np.empty(n_decisions)
    total, mirrored = np.empty(n_units), np.empty(n_units)
    for row in range(first, last):
        if row >= n_units:
            k = row - n_units
            _sum_decisions(inputs[:, k], errors, used, work, factors, total)
            total /= n_decisions
            _step(steps, steps.input[k if steps.rmsprop else 0], total, circuits.input[k])
            continue
        _sum_decisions(rates[:, row], errors, used, work, factors, total)
        _sum_decisions(errors[:, row], rates, used, work, factors, mirrored)
        for i in range(n_units):
            total[i] = (total[i] + mirrored[i]) / n_decisions if connected[row, i] else 0.0
        _step(steps, steps.recurrent[row if steps.rmsprop else 0], total, circuits.recurrent[row])


@kernel
def learn_biases(circuits, steps, errors):
    """Change the biases by the mean of these errors (decisions, units)."""
    total = np.zeros(errors.shape[1])
    for n in range(errors.shape[0]):
        total += errors[n]
    total /= errors.shape[0]
    _step(steps, steps.bias, total, circuits.bias)
