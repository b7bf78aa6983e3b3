"""A cue whose reward comes late: answer two bits with their exclusive or, and hear whether it was right five steps later.

| | |
|---|---|
| observation | two cue bits (−1, 1; 0 while none is shown), then four distractors, uniform in [−1, 1) at every step |
| action | 0: the bits are equal, 1: they differ; it counts at the step of the cue only |
| reward | 1 at the end of a trial that was answered right, else 0 |
| a trial | the cue for one step, then five steps without |
| end | ten trials, 60 steps |

A network without a hidden layer cannot know more than chance, 5 of 10; a learning rule has to find which of six actions the
reward was for, while distractors go on.
"""

from __future__ import annotations

import numpy as np

from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.tasks.base import EpisodeTask

_TRIALS, _DELAY, _DISTRACTORS = 10, 5, 4
_TRIAL_STEPS = 1 + _DELAY
_STEPS = _TRIALS * _TRIAL_STEPS
#: The state: steps taken, the answer given in this trial, then the random numbers of the episode (cues, then distractors).
_RANDOM = 2


@kernel
def reset(state, random):
    """Keep the episode's random numbers."""
    state[0] = state[1] = 0.0
    for k in range(random.shape[0]):
        state[_RANDOM + k] = random[k]


@kernel
def _cue(state):
    """The two bits of this trial, as 0 … 3."""
    return np.int64(4.0 * state[_RANDOM + np.int64(state[0]) // _TRIAL_STEPS])


@kernel
def observe(state, observation):
    """The cue at the first step of a trial, distractors at all."""
    t = np.int64(state[0])
    observation[0] = observation[1] = 0.0
    if t % _TRIAL_STEPS == 0:
        cue = _cue(state)
        observation[0], observation[1] = 2.0 * (cue // 2) - 1.0, 2.0 * (cue % 2) - 1.0
    for k in range(_DISTRACTORS):
        observation[2 + k] = np.float32(2.0 * state[_RANDOM + _TRIALS + t * _DISTRACTORS + k] - 1.0)


@kernel
def step(state, output):
    """Take note of the answer to a cue; reward it at the end of the trial."""
    t = np.int64(state[0])
    if t % _TRIAL_STEPS == 0:
        cue = _cue(state)
        right = (cue // 2) ^ (cue % 2)
        state[1] = 1.0 if (output[0] > 0) == (right == 1) else 0.0
    over = t % _TRIAL_STEPS == _DELAY
    reward = state[1] if over else 0.0
    state[0] = t + 1.0
    return reward, t + 1 == _STEPS


TASK = EpisodeTask(
    name="cue",
    summary="answer a cue, rewarded five steps later: exclusive or of two bits, ten trials",
    n_observations=2 + _DISTRACTORS,
    n_outputs=1,
    state_size=_RANDOM + _TRIALS + _STEPS * _DISTRACTORS,
    random_size=_TRIALS + _STEPS * _DISTRACTORS,
    max_steps=_STEPS,
    return_scale=10.0,
    perfect_return=10.0,
    reset=reset,
    observe=observe,
    step=step,
    n_actions=2,
)
