"""Optimizers: from the natural gradient of a projection to the step of its release probabilities.

Only additions, multiplications, divisions and square roots in float64: correctly rounded everywhere, so the same on every
machine. Gradients point uphill.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rsrp_lava.kernels.plasticity import advance_adam, advance_momentum

#: State of an optimizer for one projection: arrays by name, all of them in the checkpoint.
OptimizerState = dict[str, np.ndarray]


@dataclass(frozen=True)
class Optimizer:
    """`start(shape of the gradient)` gives the first state; `step(gradient, state)` the direction and the next state."""

    start: Callable[[tuple[int, ...]], OptimizerState]
    step: Callable[[np.ndarray, OptimizerState], tuple[np.ndarray, OptimizerState]]
    #: The automatic learning rate for a population of N, with ranks in [−½, ½].
    automatic_rate: Callable[[int], float]


def _no_state(shape: tuple[int, ...]) -> OptimizerState:
    return {}


def _sgd(gradient: np.ndarray, state: OptimizerState) -> tuple[np.ndarray, OptimizerState]:
    """The plain natural-gradient step: the gradient itself."""
    return gradient, state


_MOMENTUM = 0.9


def _zero_velocity(shape: tuple[int, ...]) -> OptimizerState:
    return {"velocity": np.zeros(shape)}


def _momentum(gradient: np.ndarray, state: OptimizerState) -> tuple[np.ndarray, OptimizerState]:
    """Heavy ball: velocity ← 0.9 velocity + gradient; the step is the velocity."""
    velocity = np.empty_like(gradient)
    advance_momentum(gradient.ravel(), state["velocity"].ravel(), _MOMENTUM, velocity.reshape(-1))
    return velocity, {"velocity": velocity}


_BETA1, _BETA2, _ADAM_EPSILON = 0.9, 0.999, 1e-8


def _zero_moments(shape: tuple[int, ...]) -> OptimizerState:
    return {"mean": np.zeros(shape), "square": np.zeros(shape), "decay": np.ones(2)}


def _adam(gradient: np.ndarray, state: OptimizerState) -> tuple[np.ndarray, OptimizerState]:
    """Adam (Kingma, Ba 2015, algorithm 1); `decay` holds β₁^t and β₂^t as products, as `pow` differs between machines."""
    decay = state["decay"] * np.array([_BETA1, _BETA2])
    mean, square, direction = (np.empty_like(gradient) for _ in range(3))
    before, after = (state["mean"].ravel(), state["square"].ravel()), (mean.reshape(-1), square.reshape(-1))
    bias = (float(1 - decay[0]), float(1 - decay[1]))
    advance_adam(gradient.ravel(), before, (_BETA1, _BETA2), bias, _ADAM_EPSILON, after, direction.reshape(-1))
    return direction, {"mean": mean, "square": square, "decay": decay}


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(_no_state, _sgd, lambda n: 0.5 * float(np.sqrt(n))),
    "momentum": Optimizer(_zero_velocity, _momentum, lambda n: (1 - _MOMENTUM) * 0.5 * float(np.sqrt(n))),
    "adam": Optimizer(_zero_moments, _adam, lambda n: 0.15),
}
