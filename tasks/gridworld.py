"""Gridworld: find the far corner of a slippery floor of 10 × 10 cells within 300 steps.

| | |
|---|---|
| observation | 100 numbers: 1 for the cell one is in, otherwise 0; cells are counted row by row |
| output | four numbers; the largest (the first of equal ones) goes up, down, left or right |
| slip | probabilities: 0.8 as meant, 0.05 each a quarter turn to the left or the right of it, 0.1 nowhere |
| walls | a step out of the grid goes nowhere |
| reward | 10 for the step that reaches the goal, otherwise 0 |
| start | cell 0 (published: 1), the upper left corner |
| end | cell 99 (published: 100), the lower right corner, or 300 steps |

The floor is that of Aenugu, "Training spiking neural networks using reinforcement learning", arXiv 2005.05941 (2020), as its
predecessor's code (arXiv 1910.06489) has it. The return is not discounted here: it is 10 if the goal was reached and 0 if
not, so mean return / 10 is the share of episodes that succeed, and the number of steps says how fast. Published is
10 · 0.9^(steps − 1), at most 10 · 0.9¹⁷ = 1.67, as 18 steps are the fewest. The best agent takes 22.13 steps on average; one
that goes right to the wall and then down takes 22.61.

Every episode slips its own way: a number drawn at its start is the key of a counter-based generator, and the count of
steps its counter, so an episode is the same on every machine.
"""

from __future__ import annotations

import numpy as np

from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.random_bits import SLIP, uniform
from rsrp_lava.tasks.actions import first_largest
from rsrp_lava.tasks.base import EpisodeTask

_SIDE = 10
_GOAL = _SIDE * _SIDE - 1
_REWARD = 10.0
#: Directions in the order of the outputs, as (rows, columns), and what is to the left and to the right of each.
_UP, _DOWN, _LEFT, _RIGHT = range(4)
_ROWS, _COLUMNS = (-1, 1, 0, 0), (0, 0, -1, 1)
_LEFT_OF, _RIGHT_OF = (_LEFT, _RIGHT, _DOWN, _UP), (_RIGHT, _LEFT, _UP, _DOWN)
_AS_MEANT, _VEERS_LEFT, _VEERS_RIGHT = 0.8, 0.85, 0.9  # cumulative; beyond the last it stays
#: Which number of the state is which.
_CELL, _KEY, _STEPS = range(3)


@kernel
def reset(state, random):
    """In the first cell; the random number becomes the key of the slips, an integer of 53 bits."""
    state[_CELL], state[_KEY], state[_STEPS] = 0.0, random[0] * 2.0**53, 0.0


@kernel
def observe(state, observation):
    """One-hot."""
    observation[:] = 0
    observation[np.int64(state[_CELL])] = 1


@kernel
def moved(cell, direction):
    """The cell next to this one, or this one, if there is a wall between."""
    row, column = cell // _SIDE + _ROWS[direction], cell % _SIDE + _COLUMNS[direction]
    inside = 0 <= row < _SIDE and 0 <= column < _SIDE
    return row * _SIDE + column if inside else cell


@kernel
def step(state, output):
    """Go where the largest output says, or slip."""
    direction, cell = first_largest(output), np.int64(state[_CELL])
    drawn = uniform(state[_KEY], 0, 0, SLIP, state[_STEPS])
    if drawn < _AS_MEANT:
        cell = moved(cell, direction)
    elif drawn < _VEERS_LEFT:
        cell = moved(cell, _LEFT_OF[direction])
    elif drawn < _VEERS_RIGHT:
        cell = moved(cell, _RIGHT_OF[direction])
    state[_CELL] = cell
    state[_STEPS] += 1.0
    ended = cell == _GOAL
    return _REWARD if ended else 0.0, ended


TASK = EpisodeTask(
    name="gridworld",
    summary="find the far corner of a slippery floor of 10 × 10 cells (Aenugu 2020, 300 steps)",
    n_observations=_SIDE * _SIDE,
    one_hot=((0, _SIDE * _SIDE),),
    n_outputs=4,
    state_size=3,
    random_size=1,
    max_steps=300,
    return_scale=_REWARD,
    perfect_return=_REWARD,
    reset=reset,
    observe=observe,
    step=step,
    n_actions=4,
)
