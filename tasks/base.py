"""What a task is. A task knows nothing of spikes, networks or learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from rsrp_lava.tasks.data.options import DatasetOptions
from rsrp_lava.tasks.environment import EnvironmentOptions


@dataclass(frozen=True)
class TaskState:
    """What `reset`, `observe` and `step` are given, and what must live as long."""

    values: np.ndarray  #: float64, shape (state_size,)
    held: object = None


@dataclass(frozen=True)
class Body:
    """Constants of a task's body that can be changed."""

    #: By name, each with its usual value and unit, for people: {"gravity": "9.8 m/s²"}.
    usual: Mapping[str, str]
    #: The task with these constants (all of `usual`) times a factor.
    change: Callable[[EpisodeTask, Mapping[str, float]], EpisodeTask]


@dataclass(frozen=True)
class EpisodeTask:
    """An episode compiled for the fused engine: observation → output → reward, until it ends.

    The three functions are compiled with the signatures in `rsrp_lava.kernels.rollout`:

    - `reset(state, random)`: fill `state` (float64, `state_size`) from uniform numbers in [0, 1) (float64, `random_size`);
    - `observe(state, observation)`: write the observation (float64, `n_observations`);
    - `step(state, output) -> (reward, ended)`: act on the network's `output` (float32, `n_outputs`), advance `state`.
    """

    name: str
    summary: str
    n_observations: int
    n_outputs: int
    state_size: int
    random_size: int
    max_steps: int
    #: Magnitude of the range of returns; puts rewards that are not ranked on the scale of ranks. The return of a perfect
    #: episode where rewards are positive; where they are costs, what an episode without success costs.
    return_scale: float
    reset: Callable
    observe: Callable
    step: Callable
    #: The most an episode can earn, if that is known.
    perfect_return: float | None = None
    #: Mean return from which on it counts as solved (Gymnasium's reward threshold), if there is one.
    goal: float | None = None
    #: How many actions there are to choose from; 0: the action is a number, or several.
    n_actions: int = 0
    #: Of an action that is a number: the least and the largest (tasks/actions.in_range).
    action_range: tuple[float, float] | None = None
    #: The same task in Gymnasium, for hosts that run without this package; None if there is none.
    gymnasium_id: str | None = None
    #: Samples a thread plays before it asks for more: few, because episodes end at different times.
    samples_per_piece: int = 8
    #: States in which evaluation episodes start, float64, shape (episodes, state_size); None: as `reset` draws them.
    starts: np.ndarray | None = field(default=None, repr=False, compare=False)
    #: Whether all training samples of a generation start alike.
    shared_starts: bool = False
    #: Makes a state that is more than numbers (tasks/bodies.py); None: zeros, all of the task.
    simulation: Callable[[], TaskState] | None = None
    #: Observations that are one-hot: (first, size) of each part, of which one observation is 1 and the others 0.
    one_hot: tuple[tuple[int, int], ...] = ()
    #: Constants of its body that can be changed; None: it has none.
    body: Body | None = field(default=None, repr=False, compare=False)

    def open_state(self) -> TaskState:
        """A state for the episodes of one thread."""
        return self.simulation() if self.simulation else TaskState(np.zeros(self.state_size))


@dataclass(frozen=True)
class GymTask:
    """An environment that is stepped in Python (tasks/gym.py)."""

    name: str
    summary: str
    n_observations: int
    n_outputs: int
    max_steps: int
    #: The magnitude of a good return: the environment's reward threshold, or its time limit.
    return_scale: float
    gymnasium_id: str
    options: EnvironmentOptions
    #: Whether nobody has said when an episode ends, so that `max_steps` is ours; an experiment then records it as a setting.
    limit_assumed: bool = False
    perfect_return: float | None = None
    #: Observations that are one-hot: (first, size) of each part, of which one observation is 1 and the others 0.
    one_hot: tuple[tuple[int, int], ...] = ()
    #: Mean return from which on it counts as solved, if Gymnasium knows one.
    goal: float | None = None
    #: How many actions there are to choose from; 0: the action is a number, or several, or of several parts.
    n_actions: int = 0
    #: Whether all of the action are numbers in a range, to whose ends outputs are cut.
    bounded: bool = False
    #: Wrappers that keep running statistics over episodes: what a process plays then depends on what it has played before.
    remembering: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassifyTask:
    """Labelled images: pixels → scores → reward of a batch; `tasks.data` has the images, under the task's name."""

    name: str
    summary: str
    shape: tuple[int, int, int]  #: height, width, channels
    n_outputs: int
    n_test: int
    #: Accuracy and rewards are parts of 1.
    return_scale: float = 1.0
    perfect_return: float | None = 1.0
    #: σ of Gaussian noise on the test images, as a part of the range of a pixel.
    test_noise: float = 0.0
    #: Of one's own data: how they are read, and what they are.
    dataset: DatasetOptions | None = None


Task = EpisodeTask | GymTask | ClassifyTask
