"""A small network that estimates what each action will earn, Q(s, a), trained by backpropagation and Adam.

Two hidden layers of ReLU. Its target is that of expected SARSA, y = r + γ Σ_a π(a|s') Q(s', a); 0 follows the end of an
episode. All its numbers are one vector, layer after layer: the matrix (n_in, n_out), then the biases.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from rsrp_lava.kernels.compiling import copy, kernel
from rsrp_lava.kernels.random_bits import WEIGHTS, fill_uniform


class Critic(NamedTuple):
    """What a critic has learned, and what Adam remembers."""

    parameters: np.ndarray  #: float64
    first_moments: np.ndarray
    second_moments: np.ndarray
    decays: np.ndarray  #: β₁ᵗ, β₂ᵗ after t steps


class CriticOptions(NamedTuple):
    """Constants of the training."""

    n_hidden: int
    rate: float
    epochs: int  #: how often an update sees each of its steps
    minibatch: int  #: steps a gradient
    discount: float


_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8


def first_critic(n_inputs: int, n_hidden: int, n_actions: int, seed: int) -> Critic:
    """Weights and biases uniform within ± 1 / √n_in."""
    sizes = [(n_inputs, n_hidden), (n_hidden, n_hidden), (n_hidden, n_actions)]
    layers = []
    for layer, (n_in, n_out) in enumerate(sizes):
        drawn = np.empty((n_in + 1) * n_out)
        fill_uniform(seed, 0, 2 + layer, WEIGHTS, drawn)
        layers.append((2.0 * drawn - 1.0) / np.sqrt(n_in))
    parameters = np.concatenate(layers)
    return Critic(parameters, np.zeros_like(parameters), np.zeros_like(parameters), np.ones(2))


@njit(nogil=True)
def _layers(parameters, n_inputs, n_hidden, n_actions):
    """Views: matrices and biases of the three layers."""
    a = n_inputs * n_hidden
    b = a + n_hidden
    c = b + n_hidden * n_hidden
    d = c + n_hidden
    e = d + n_hidden * n_actions
    return (
        (parameters[:a].reshape(n_inputs, n_hidden), parameters[a:b]),
        (parameters[b:c].reshape(n_hidden, n_hidden), parameters[c:d]),
        (parameters[d:e].reshape(n_hidden, n_actions), parameters[e : e + n_actions]),
    )


@njit(nogil=True)
def _layer(layer, rectified, x, y):
    w, bias = layer
    copy(bias, y)
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            y[j] += x[i] * w[i, j]
    if rectified:
        for j in range(y.shape[0]):
            y[j] = max(y[j], 0.0)


@njit(nogil=True)
def _values(layers, x, hidden, values):
    _layer(layers[0], True, x, hidden[0])
    _layer(layers[1], True, hidden[0], hidden[1])
    _layer(layers[2], False, hidden[1], values)


@kernel
def fill_values(critic, n_hidden, inputs, values):
    """Q of every step and action: inputs (steps, n), values (steps, actions)."""
    layers = _layers(critic.parameters, inputs.shape[1], n_hidden, values.shape[1])
    hidden = np.zeros((2, n_hidden))
    for t in range(inputs.shape[0]):
        _values(layers, inputs[t], hidden, values[t])


@njit(nogil=True)
def _add_gradient(layers, gradients, x, hidden, errors, below):
    """Add the gradient of one step; `errors`: those of the values."""
    for layer in range(3):
        k = 2 - layer
        source = x if k == 0 else hidden[k - 1]
        if layer == 0:
            _add_layer(layers[2], gradients[2], source, errors, below[1])
        elif layer == 1:
            _add_layer(layers[1], gradients[1], source, below[1], below[0])
        else:
            _add_layer(layers[0], gradients[0], source, below[0], below[0][:0])


@njit(nogil=True)
def _add_layer(layer, gradient, source, errors, below):
    """Gradient of a layer's weights; errors of the rectified units below it, if `below` has room."""
    w, (gradient_w, gradient_bias) = layer[0], gradient
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            gradient_w[i, j] += source[i] * errors[j]
    gradient_bias += errors
    for i in range(below.shape[0]):
        total = 0.0
        for j in range(w.shape[1]):
            total += w[i, j] * errors[j]
        below[i] = total if source[i] > 0 else 0.0


@njit(nogil=True)
def _adam(critic, gradient, rate):
    critic.decays[0] *= _BETA1
    critic.decays[1] *= _BETA2
    first, second = critic.first_moments, critic.second_moments
    for k in range(gradient.shape[0]):
        first[k] = _BETA1 * first[k] + (1.0 - _BETA1) * gradient[k]
        second[k] = _BETA2 * second[k] + (1.0 - _BETA2) * (gradient[k] * gradient[k])
        mean, square = first[k] / (1.0 - critic.decays[0]), second[k] / (1.0 - critic.decays[1])
        critic.parameters[k] -= rate * mean / (np.sqrt(square) + _TINY)


@kernel
def train_critic(critic, options, inputs, policies, actions, rewards, follows):
    """Several epochs over steps in their order.

    policies (steps, actions);  follows: int64, the step after each one, −1 after the end of an episode, −2 where the
    episode was cut: nothing is known of what would have followed, and the step is left out.
    """
    n_steps, n_actions = policies.shape
    values, targets = np.zeros((n_steps, n_actions)), np.zeros(n_steps)
    gradient = np.zeros_like(critic.parameters)
    layers = _layers(critic.parameters, inputs.shape[1], options.n_hidden, n_actions)
    gradients = _layers(gradient, inputs.shape[1], options.n_hidden, n_actions)
    hidden, below = np.zeros((2, options.n_hidden)), np.zeros((2, options.n_hidden))
    errors = np.zeros(n_actions)
    for _ in range(options.epochs):
        fill_values(critic, options.n_hidden, inputs, values)
        for t in range(n_steps):
            targets[t] = rewards[t]
            if follows[t] >= 0:
                for a in range(n_actions):
                    targets[t] += options.discount * (policies[follows[t], a] * values[follows[t], a])
        for first in range(0, n_steps, options.minibatch):
            last = min(first + options.minibatch, n_steps)
            gradient[:] = 0.0
            for t in range(first, last):
                if follows[t] == -2:
                    continue
                _values(layers, inputs[t], hidden, values[t])
                errors[:] = 0.0
                errors[actions[t]] = (values[t, actions[t]] - targets[t]) / (last - first)
                _add_gradient(layers, gradients, inputs[t], hidden, errors, below)
            _adam(critic, gradient, options.rate)
