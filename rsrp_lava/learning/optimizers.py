"""Optimizers: from the natural gradient of a projection to the step of its release probabilities.

Only additions, multiplications, divisions and square roots in float64: correctly rounded everywhere, so the same on every
machine. Gradients point uphill.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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
    velocity = _MOMENTUM * state["velocity"] + gradient
    return velocity, {"velocity": velocity}


_BETA1, _BETA2, _ADAM_EPSILON = 0.9, 0.999, 1e-8


def _zero_moments(shape: tuple[int, ...]) -> OptimizerState:
    return {"mean": np.zeros(shape), "square": np.zeros(shape), "decay": np.ones(2)}


def _adam(gradient: np.ndarray, state: OptimizerState) -> tuple[np.ndarray, OptimizerState]:
    """Adam (Kingma, Ba 2015, algorithm 1); `decay` holds β₁^t and β₂^t as products, as `pow` differs between machines."""
    mean = _BETA1 * state["mean"] + (1 - _BETA1) * gradient
    square = _BETA2 * state["square"] + (1 - _BETA2) * (gradient * gradient)
    decay = state["decay"] * np.array([_BETA1, _BETA2])
    direction = (mean / (1 - decay[0])) / (np.sqrt(square / (1 - decay[1])) + _ADAM_EPSILON)
    return direction, {"mean": mean, "square": square, "decay": decay}


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(_no_state, _sgd, lambda n: 0.5 * float(np.sqrt(n))),
    "momentum": Optimizer(_zero_velocity, _momentum, lambda n: (1 - _MOMENTUM) * 0.5 * float(np.sqrt(n))),
    "adam": Optimizer(_zero_moments, _adam, lambda n: 0.15),
}
