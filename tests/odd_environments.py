"""Environments that are odd in one way each, for attacks; registered when this module is imported."""

import sys

import gymnasium
import numpy as np
from gymnasium import spaces


class Base(gymnasium.Env):
    """Works: five steps of reward 1."""

    observation_space = spaces.Box(-2.0, 2.0, (2,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(2, np.float32), 1.0, self.t >= 5, False, {}


def stepping(change):
    """A class whose step gives what `change` makes of a good one."""

    class Changed(Base):
        def step(self, action):
            return change(*super().step(action))

    return Changed


def with_spaces(**of):
    return type("Spaced", (Base,), of)


def raising(error, method="step"):
    def fail(self, *arguments, **named):
        raise error

    return type("Raising", (Base,), {method: fail})


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Incomparable(spaces.Box):
    def __eq__(self, other):
        raise RuntimeError("not now")

    __hash__ = None


class ChangesToIncomparable(Base):
    def reset(self, **named):
        first = super().reset(**named)
        self.observation_space = Incomparable(-2.0, 2.0, (2,))
        return first


class RefusesSeeds(Base):
    def reset(self):
        return super().reset()


class OnlyActions(gymnasium.Env):
    action_space = spaces.Discrete(2)


class Unreadable(Base):
    @property
    def observation_space(self):
        raise ValueError("open it first")


class Sometimes(Base):
    """A share of the episodes is bad, where their seed says so."""

    def __init__(self, share):
        self.share = share

    def reset(self, *, seed=None, options=None):
        first = super().reset(seed=seed, options=options)
        self.bad = self.np_random.random() < self.share
        return first


class Costly(Sometimes):
    """Finite rewards of which a few are infinite: always, or in episodes that start so."""

    def __init__(self, share=1.0):
        super().__init__(share)

    def step(self, action):
        observation, _, ended, truncated, info = super().step(action)
        return observation, -sys.float_info.max if self.bad else -1e200 * self.t, ended, truncated, info


class Fails(Sometimes):
    """An episode fails where its seed says so; the others cost 1,000."""

    def __init__(self, share=0.5):
        super().__init__(share)

    def step(self, action):
        if self.bad:
            raise RuntimeError("the solver did not converge")
        observation, _, ended, truncated, info = super().step(action)
        return observation, -200.0, ended, truncated, info


#: What Gymnasium cannot be asked to make, by name.
REFUSED = {
    "OnlyActions": OnlyActions,
    "Unreadable": Unreadable,
    "PlainDict": with_spaces(observation_space={"x": spaces.Box(-1.0, 1.0, (2,))}),
    "PlainList": with_spaces(action_space=[spaces.Discrete(2)]),
    "NoneSpace": with_spaces(action_space=None),
    "NoOutputs": with_spaces(action_space=spaces.Dict({})),
    "NoChoices": with_spaces(action_space=spaces.MultiDiscrete([])),
    "NoNumbers": with_spaces(action_space=spaces.Box(-1.0, 1.0, (0,))),
    "NoObservations": with_spaces(observation_space=spaces.Box(-1.0, 1.0, (0,))),
    "EmptyDict": with_spaces(observation_space=spaces.Dict({})),
    "Integers": with_spaces(action_space=spaces.Box(0, 255, (3,), np.uint8)),
}
#: What fails while it is played: samples rank worst, or the run ends with one message.
FAILING = {
    "ArrayFlags": stepping(lambda o, r, e, t, i: (o, r, np.array([e, e]), np.array([t, t]), i)),
    "TextFlag": stepping(lambda o, r, e, t, i: (o, r, "no", t, i)),
    "DictFlag": stepping(lambda o, r, e, t, i: (o, r, {"agent": False}, t, i)),
    "TextReward": stepping(lambda o, r, e, t, i: (o, "much", e, t, i)),
    "NoReward": stepping(lambda o, r, e, t, i: (o, None, e, t, i)),
    "ComplexReward": stepping(lambda o, r, e, t, i: (o, 1 + 2j, e, t, i)),
    "RaggedObservation": stepping(lambda o, r, e, t, i: ([[1], [2, 3]], r, e, t, i)),
    "TextObservation": stepping(lambda o, r, e, t, i: ("ab", r, e, t, i)),
    "Unspeakable": raising(Unspeakable()),
    "Talkative": raising(ValueError("x" * 100_000)),
    "Exits": raising(SystemExit("the licence has expired")),
    "Recursive": type("Recursive", (Base,), {"step": lambda self, action: self.step(action)}),
    "NoneReset": type("NoneReset", (Base,), {"reset": lambda self, **named: None}),
    "TextReset": type("TextReset", (Base,), {"reset": lambda self, **named: ("abc", {})}),
    "RefusesSeeds": RefusesSeeds,
    "ChangesToIncomparable": ChangesToIncomparable,
    "Costly": Costly,
    "Fails": Fails,
}
#: What is odd and does no harm.
HARMLESS = {
    "CloseRaises": raising(AttributeError("nothing to stop"), "close"),
    "CloseExits": raising(SystemExit(3), "close"),
    "NumberFlags": stepping(lambda o, r, e, t, i: (o, r, np.array([int(e)]), np.bool_(t), i)),
    "NoneInfo": stepping(lambda o, r, e, t, i: (o, np.array([[r]]), e, None, None)),
    "OneChoice": with_spaces(action_space=spaces.Discrete(1)),
}

for name, kind in (REFUSED | FAILING | HARMLESS).items():
    gymnasium.register(f"{name}-v0", kind, max_episode_steps=8)
gymnasium.register("Boundless-v0", Base, max_episode_steps=8, reward_threshold=float("nan"))


class Remembers(gymnasium.Wrapper):
    """As many packages write it: statistics of their own class, in a layer inside."""

    class RunningMeanStd:
        mean = 0.0

    def __init__(self, env):
        super().__init__(env)
        self.statistics = self.RunningMeanStd()


gymnasium.register("Inside-v0", lambda: Remembers(Base()), max_episode_steps=8)
