"""PPO with an LSTM: proximal policy optimisation, the gradient by backpropagation through time, as sb3-contrib has it.

The reference of the field that spikes nowhere. Observation x_t, h_t = ReLU(W x_t + b); (m_t, c_t) = LSTM(h_t, m_{t−1},
c_{t−1}); policy π from a layer on m_t, value V from one on the LSTM of the critic. Every T steps, whether or not an episode
ends among them, K epochs of Adam at rate η on the mean over these steps of

    −min(r_t A_t, clip(r_t, 1 − ε, 1 + ε) A_t) + c_V (G_t − V(x_t))² − c_H H(π_t),   r_t = π(a_t) / π_old(a_t)
    A_t = δ_t + γ λ A_{t+1},   δ_t = R_t / s + γ V(x_{t+1}) − V(x_t),   G_t = A_t + V(x_t);   s divides rewards

Schulman et al., "Proximal policy optimization algorithms", arXiv 1707.06347 (2017). Sizes and constants are those of the PPO
that Sun et al. 2025 compare with on CartPole. There, policy and value share one LSTM; G_t is R_t + γ V(x_{t+1}), anew in
every epoch; its loss is Huber's, of which c_V = ½ is the quadratic part; an episode's end cuts the T steps short, and a time
limit counts as an end. Here all these are the library's: `critic` chooses what the value is read from, and the value of the
state at a time limit stands for what was cut off.

Training plays Gymnasium's environment of the task, episode k from a seed of (seed, generation, k). A generation ends with
its last episode; steps after its last update, T − 1 at most, teach nothing. Evaluation: the most probable action (of numbers
the mean), the LSTM at 0 when an episode starts.

Unlike every other rule, this one is not bit for bit the same on every machine: torch's sums and exponentials depend on its
version and on the processor. On one machine, with the same versions, a run is the same for any number of threads (it uses
one) and however often it is resumed.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from contextlib import ExitStack, closing
from typing import Any, Literal

import numpy as np
from pydantic import Field

from rsrp_lava.errors import EngineError
from rsrp_lava.kernels.random_bits import ACTION, EVALUATION, WEIGHTS, fill_start, fill_uniform
from rsrp_lava.rules.base import WEIGHTS as LEARNED
from rsrp_lava.rules.base import Memory, Played, RuleOptions, WeightRule, size_of_weights, weights
from rsrp_lava.tasks.base import ClassifyTask, GymTask, Task
from rsrp_lava.tasks.environment import EnvironmentOptions
from rsrp_lava.tasks.gym import make
from rsrp_lava.threads import Threads

#: Evaluation episodes played side by side. Always so many rows, used or not: sums of a row do not depend on the others.
_ROWS = 16
#: What torch's Adam keeps of every parameter: its means, and (one number, always the same) its steps.
_ADAM = ("exp_avg", "exp_avg_sq", "step")


class PpoLstmOptions(RuleOptions):
    """Constants; the defaults are those for CartPole."""

    hidden: int = Field(64, ge=1, description="units of the layer before the LSTM")
    lstm: int = Field(32, ge=1, description="units of an LSTM")
    critic: Literal["own", "shared", "none"] = Field(
        "own", description="an LSTM for the value; the policy's, which it does not teach; or a layer in its place"
    )
    rollout_steps: int = Field(20, ge=2, description="T, environment steps from one update to the next")
    epochs: int = Field(2, ge=1, description="K, gradient steps an update")
    discount: float = Field(0.98, ge=0, le=1, description="γ")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="λ of the advantages")
    clip: float = Field(0.1, gt=0, description="ε, how far probabilities move an update")
    reward_divisor: float = Field(100.0, gt=0, description="s, by which rewards are divided")
    value_weight: float = Field(0.5, ge=0, description="c_V")
    entropy_weight: float = Field(0.0, ge=0, description="c_H")
    normalize_advantage: bool = Field(False, description="advantages of an update to mean 0 and deviation 1")
    max_grad_norm: float | None = Field(None, gt=0, description="cut gradients to this norm; none: never")
    action_std: float = Field(1.0, gt=0, description="of actions that are numbers: their deviation at first")
    adam_epsilon: float = Field(1e-8, gt=0, description="added to the root of Adam's second moment")


class PpoLstm(WeightRule):
    """See the equations above; weights start as torch's."""

    summary = "PPO with an LSTM, by backpropagation: the reference without spikes (Schulman et al. 2017; extra baselines)"
    Options = PpoLstmOptions
    automatic_rate = 5e-4
    options: PpoLstmOptions

    @classmethod
    def refusal(cls, task: Task) -> str | None:
        """See `rules.base.WeightRule.refusal`: it needs an environment of Gymnasium's, and actions the library knows."""
        if isinstance(task, ClassifyTask) or task.gymnasium_id is None:
            return "it plays environments of Gymnasium, and this task has none"
        if not isinstance(task, GymTask):
            return None
        if task.options.on_error != "fail":
            return "it ranks no samples (environment.on_error)"
        with closing(make(task.gymnasium_id, task.options)) as environment:
            space = environment.action_space
        return None if _is_known(space) else f"its library has no actions of {space}"

    def start(self) -> Memory:
        """See `rules.base.WeightRule.start`."""
        library = _library()
        with closing(self._open(0, 0, ())) as environment, library.reproducible(self._torch_seed(0, WEIGHTS)):
            parameters = library.parameters(self._model(environment))
        memory = {LEARNED + name: array.copy() for name, array in parameters.items()}
        for kept in _ADAM:
            for name, array in parameters.items():
                memory[f"adam/{kept}/{name}"] = np.zeros(() if kept == "step" else array.shape, np.float32)
        return memory

    def prepare(self, memory: Memory) -> None:
        """See `rules.base.WeightRule.prepare`."""
        _library()

    def learn(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """See `rules.base.WeightRule.learn`."""
        played: list[Played] = []
        threads.call(lambda: played.append(self._learn(memory, generation, episodes)))
        return played[0]

    def _learn(self, memory: Memory, generation: int, episodes: int) -> Played:
        library, before = _library(), _adam_steps(memory)
        training, torch_seed = self._open(generation, 0, itertools.count()), self._torch_seed(generation, ACTION)
        with closing(training) as environment, library.reproducible(torch_seed):
            model = self._model(environment)
            library.load(model, *_parts(memory))
            ended = library.learn_episodes(model, episodes)
            library.store(model, *_parts(memory))
        returns, steps = zip(*ended, strict=True)
        updates, measures = _adam_steps(memory) - before, size_of_weights(memory)
        return Played(np.array(returns, float), np.array(steps, np.int64), updates, measures)

    def evaluate(self, memory: Memory, generation: int, episodes: int, threads: Threads) -> Played:
        """See `rules.base.WeightRule.evaluate`."""
        played: list[Played] = []
        threads.call(lambda: played.append(self._evaluate(memory, generation, episodes)))
        return played[0]

    def _evaluate(self, memory: Memory, generation: int, episodes: int) -> Played:
        library = _library()
        returns, steps = np.zeros(episodes), np.zeros(episodes, np.int64)
        with ExitStack() as opened, library.reproducible(0):  # no number is drawn but a new network's first weights
            rows = [self._open(generation, EVALUATION, range(row, episodes, _ROWS)) for row in range(_ROWS)]
            for row in rows:
                opened.callback(row.close)
            model = self._model(rows[0])
            library.load(model, *_parts(memory))
            for first in range(0, episodes, _ROWS):
                part = slice(first, first + _ROWS)
                _play(model, rows, returns[part], steps[part])
        return Played(returns, steps)

    def _torch_seed(self, generation: int, stream: int) -> int:
        drawn = np.empty(1)
        fill_uniform(self.problem.seed, generation, 0, stream, drawn)
        return int(drawn[0] * 2**32)

    def _open(self, generation: int, phase: int, episodes: Iterable[int]) -> Any:
        """An environment that plays those episodes of the generation, in their order. `ExperimentError`: cannot be made."""
        library, task = _library(), self.problem.task
        assert not isinstance(task, ClassifyTask)
        assert task.gymnasium_id is not None
        options = task.options if isinstance(task, GymTask) else EnvironmentOptions(max_steps=task.max_steps)

        def seed(episode: int) -> int:
            drawn = np.empty(1)
            fill_start(self.problem.seed, generation, phase, episode, False, drawn)
            return int(drawn[0] * 2**31)  # as other rules start these environments (engines/gym.py)

        return library.Episodes(make(task.gymnasium_id, options), task.name, map(seed, episodes))

    def _model(self, environment: Any) -> Any:
        return _library().open_model(environment, self.problem.learning_rate, self.options)


def _play(model: Any, rows: list[Any], returns: np.ndarray, steps: np.ndarray) -> None:
    """An episode each of the first rows, side by side; `returns` and `steps` are zeros."""
    observations = np.zeros((len(rows), *rows[0].observation_space.shape), rows[0].observation_space.dtype)
    running = list(range(len(returns)))
    for row in running:
        observations[row], _ = rows[row].reset()
    state, starts = None, np.ones(len(rows), bool)
    while running:
        actions, state = model.predict(observations, state, starts, deterministic=True)
        starts = np.zeros(len(rows), bool)
        for row in tuple(running):
            observations[row], reward, terminated, truncated, _ = rows[row].step(actions[row])
            returns[row] += reward
            steps[row] += 1
            if terminated or truncated:
                running.remove(row)


def _parts(memory: Memory) -> tuple[Memory, dict[str, Memory]]:
    """Parameters by name, and of each what Adam keeps."""
    learned = weights(memory)
    return learned, {name: {kept: memory[f"adam/{kept}/{name}"] for kept in _ADAM} for name in learned}


def _adam_steps(memory: Memory) -> int:
    """Gradient steps so far."""
    return int(max(array for name, array in memory.items() if name.startswith("adam/step/")))


def _is_known(space: Any) -> bool:
    """Whether sb3-contrib can learn such actions. It takes MultiBinary too, but version 2.9 fails at the first update."""
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return bool(space.start == 0)
    if isinstance(space, spaces.MultiDiscrete):
        return len(space.shape) == 1 and not space.start.any()
    if isinstance(space, spaces.Box):
        return bool(np.issubdtype(space.dtype, np.floating) and space.is_bounded())
    return False


@functools.cache
def _library() -> Any:
    """rules/ppo_lstm_library.py; `EngineError` where what it imports is not installed."""
    try:
        from rsrp_lava.rules import ppo_lstm_library
    except ImportError as error:
        raise EngineError(
            f"rule ppo_lstm: {error.name or error} is not installed; pip install 'rsrp-lava[baselines]'"
        ) from None
    return ppo_lstm_library
