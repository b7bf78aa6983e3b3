"""What the rule ppo_lstm has of torch and sb3-contrib: environments, networks and learning. Imported only by the rule.

Only the public interface of the libraries is used, but for names that torch's Adam gives what it keeps.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv

from rsrp_lava.errors import EngineError

if TYPE_CHECKING:
    from rsrp_lava.rules.ppo_lstm import PpoLstmOptions

_WAY_OUT = "mend the environment"


class Episodes(gymnasium.Wrapper):
    """An environment with vectors as observations, whose every episode has a seed of its own, and whose faults are
    `EngineError`s."""

    def __init__(self, environment: Any, name: str, seeds: Iterator[int]) -> None:
        super().__init__(gymnasium.wrappers.FlattenObservation(environment))
        self._task, self._seeds = name, seeds

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode; `seed` is not used."""
        self._seed = next(self._seeds)
        try:
            observation, info = self.env.reset(seed=self._seed, options=options)
        except Exception as error:
            raise self._fault(f"reset raised {type(error).__name__}: {error}") from error
        return self._checked(observation), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`."""
        try:
            observation, given, terminated, truncated, info = self.env.step(action)
            reward = float(given)
        except Exception as error:
            raise self._fault(f"step raised {type(error).__name__}: {error}") from error
        if not np.isfinite(reward):
            raise self._fault(f"step gave reward {reward}")
        return self._checked(observation), reward, bool(terminated), bool(truncated), info

    def _checked(self, observation: Any) -> Any:
        if not np.isfinite(observation).all():
            raise self._fault("an observation is not finite")
        return observation

    def _fault(self, what: str) -> EngineError:
        return EngineError(f"{self._task}: {what} (episode with seed {self._seed}); {_WAY_OUT}")


class _Layer(BaseFeaturesExtractor):
    """ReLU(W x + b)."""

    def __init__(self, observation_space: gymnasium.spaces.Box, units: int) -> None:
        super().__init__(observation_space, units)
        self.linear = torch.nn.Linear(observation_space.shape[0], units)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(observations))


class _Stop(BaseCallback):
    """Ends learning with the episode of that number; `ended`: return and steps of each."""

    def __init__(self, episodes: int) -> None:
        super().__init__()
        self._episodes = episodes
        self.ended: list[tuple[float, int]] = []

    def _on_step(self) -> bool:
        told = [info["episode"] for info in self.locals["infos"] if "episode" in info]
        self.ended += [(float(episode["r"]), int(episode["l"])) for episode in told]
        return len(self.ended) < self._episodes


def open_model(environment: Episodes, learning_rate: float, o: PpoLstmOptions) -> RecurrentPPO:
    """New networks for that environment, and what trains them."""
    counted = gymnasium.wrappers.RecordEpisodeStatistics(environment)  # before rewards are divided
    scaled = gymnasium.wrappers.TransformReward(counted, lambda reward: float(reward) / o.reward_divisor)
    model = RecurrentPPO(
        "MlpLstmPolicy",
        DummyVecEnv([lambda: scaled]),
        learning_rate=learning_rate,
        n_steps=o.rollout_steps,
        batch_size=o.rollout_steps,
        n_epochs=o.epochs,
        gamma=o.discount,
        gae_lambda=o.gae_lambda,
        clip_range=o.clip,
        normalize_advantage=o.normalize_advantage,
        ent_coef=o.entropy_weight,
        vf_coef=o.value_weight,
        max_grad_norm=float("inf") if o.max_grad_norm is None else o.max_grad_norm,
        device="cpu",
        policy_kwargs={
            "net_arch": [],
            "ortho_init": False,
            "log_std_init": float(np.log(o.action_std)),
            "features_extractor_class": _Layer,
            "features_extractor_kwargs": {"units": o.hidden},
            "lstm_hidden_size": o.lstm,
            "shared_lstm": o.critic == "shared",
            "enable_critic_lstm": o.critic == "own",
            "optimizer_kwargs": {"eps": o.adam_epsilon},
        },
    )
    model.set_logger(Logger(folder=None, output_formats=[]))  # the usual one makes a folder
    return model


def parameters(model: RecurrentPPO) -> dict[str, np.ndarray]:
    """Parameters by name, each once, float32; the model's own memory."""
    return {name: parameter.detach().numpy() for name, parameter in model.policy.named_parameters()}


def load(model: RecurrentPPO, learned: Mapping[str, np.ndarray], adam: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Put parameters, and what Adam keeps of each, into the model."""
    own = parameters(model)
    for name, array in learned.items():
        own[name][...] = array
    optimizer = model.policy.optimizer
    kept = [{key: torch.tensor(array) for key, array in adam[name].items()} for name in own]
    optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(enumerate(kept))})


def store(model: RecurrentPPO, learned: Mapping[str, np.ndarray], adam: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Inverse of `load`: write into these arrays."""
    kept = model.policy.optimizer.state_dict()["state"]
    for k, (name, array) in enumerate(parameters(model).items()):
        learned[name][...] = array
        for key, moment in adam[name].items():
            moment[...] = kept[k][key].numpy()


def learn_episodes(model: RecurrentPPO, episodes: int) -> list[tuple[float, int]]:
    """Play and learn until so many episodes have ended; return and steps of each."""
    stop = _Stop(episodes)
    try:
        model.learn(sys.maxsize, callback=stop, log_interval=None)
    except ValueError as error:
        if "Expected parameter" not in str(error):
            raise
        raise EngineError(  # torch refuses a distribution that is not made of numbers
            "rule ppo_lstm: weights have grown until actions can no longer be drawn; lower learning_rate"
        ) from error
    return stop.ended


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """One thread, and all generators of random numbers seeded; afterwards all are as before."""
    threads, ours, numpys = torch.get_num_threads(), random.getstate(), np.random.get_state()  # noqa: NPY002, the library's
    with torch.random.fork_rng(devices=[]):
        try:
            torch.set_num_threads(1)
            set_random_seed(seed)
            yield
        finally:
            torch.set_num_threads(threads)
            random.setstate(ours)
            np.random.set_state(numpys)  # noqa: NPY002
