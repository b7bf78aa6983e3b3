"""Tasks `gym:ID`: any environment that Gymnasium has registered, or that a module registers (`gym:module:ID`).

Environments that have a compiled twin (tasks/cartpole.py and others, tasks/bodies.py) are played by it; all others are
stepped in Python, in processes of their own.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from rsrp_lava.errors import ExperimentError
from rsrp_lava.tasks import consent
from rsrp_lava.tasks.base import GymTask
from rsrp_lava.tasks.environment import EnvironmentOptions, WrapperOptions

#: How names of these tasks begin.
PREFIX = "gym:"
#: Environment steps that end an episode where neither the environment nor the user gives a limit.
ASSUMED_MAX_STEPS = 1000
#: What an environment may raise that is a fault of its own; some packages end the program where they cannot go on.
FAULTS = (Exception, SystemExit)
#: Characters of what an environment says that a message repeats.
_MOST_WORDS = 500
_OLD_GYM = (
    "Gymnasium's reset gives (observation, info), its step (observation, reward, terminated, truncated, info); what is "
    "written for the old gym needs a wrapper (shimmy)"
)


class EpisodeFault(Exception):
    """An environment failed. `kind`: raised, not_finite or spaces."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Environment:
    """One environment as a network meets it: vectors in, vectors out. Whatever goes wrong is an `EpisodeFault`."""

    def __init__(self, id: str, options: EnvironmentOptions, **more: Any) -> None:
        """`more`: further arguments of `gymnasium.make`."""
        from rsrp_lava.tasks import spaces

        self._env = make(id, options, **more)
        try:
            self._spaces = (self._env.observation_space, self._env.action_space)
            self.n_observations = spaces.observation_size(self._spaces[0])
            self.n_outputs, self._decode = spaces.decoder(self._spaces[1])
            _refuse_empty(self._spaces, self.n_observations, self.n_outputs)
        except ExperimentError as error:
            self.close()
            raise ExperimentError(f"task {PREFIX}{id}: {error}{_wrappers_that_help(self._env)}") from None
        except FAULTS as error:
            self.close()
            raise ExperimentError(f"task {PREFIX}{id}: its spaces cannot be read: {in_words(error)}") from None
        self._flatten = functools.partial(spaces.flatten, self._spaces[0])
        self.one_hot = spaces.one_hot_parts(self._spaces[0])
        self.remembering = tuple(_remembering(self._env))
        self.n_actions, self.bounded = spaces.n_choices(self._spaces[1]), spaces.is_bounded(self._spaces[1])

    def reset(self, seed: int) -> np.ndarray:
        """Begin an episode; its first observation, float64."""
        try:
            observation, _ = _unpacked(self._env.reset(seed=seed), "(observation, info)", 2)
            vector = self._flatten(observation)
        except FAULTS as error:
            raise EpisodeFault("raised", f"reset(seed={seed}) raised {in_words(error)}") from error
        for what, before, after in self._changed_spaces():
            raise EpisodeFault("spaces", f"reset(seed={seed}) changed the {what} space from {before} to {after}")
        return self._checked(vector)

    def _changed_spaces(self) -> list[tuple[str, Any, Any]]:
        """What is another space than at the start, as it was and as it is."""
        try:
            now = (self._env.observation_space, self._env.action_space)
            both = zip(("observation", "action"), self._spaces, now, strict=True)
            return [(what, before, after) for what, before, after in both if after is not before and after != before]
        except FAULTS as error:
            raise EpisodeFault("raised", f"its spaces cannot be read any more: {in_words(error)}") from error

    def step(self, output: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Act on the network's output (float32): observation, reward, and whether the episode has ended."""
        try:
            observation, reward, terminated, truncated, _ = _unpacked(
                self._env.step(self._decode(output)), "(observation, reward, terminated, truncated, info)", 5
            )
            vector, reward = self._flatten(observation), _one_number(reward)
            ended = _one_flag("terminated", terminated) or _one_flag("truncated", truncated)
        except FAULTS as error:
            unpacking = isinstance(error, ValueError) and "values to unpack" in str(error)  # in a wrapper of Gymnasium's
            raise EpisodeFault("raised", f"step raised {in_words(error)}{f'; {_OLD_GYM}' if unpacking else ''}") from error
        if not np.isfinite(reward):
            raise EpisodeFault("not_finite", f"step gave reward {reward}")
        return self._checked(vector), reward, ended

    def _checked(self, vector: np.ndarray) -> np.ndarray:
        if vector.shape != (self.n_observations,):
            raise EpisodeFault("spaces", f"an observation has {vector.size} values, not {self.n_observations}")
        return vector

    def close(self) -> None:
        """End it. What that raises is of no consequence: nothing is asked of this environment any more."""
        with suppress(*FAULTS):
            self._env.close()


def in_words(error: BaseException) -> str:
    """What was raised, and where: file and line of the last place that is the environment's own."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # an exception's own words are code too
        text = ""
    said = f"{type(error).__name__}: {text[:_MOST_WORDS]}{'…' if len(text) > _MOST_WORDS else ''}" if text else ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_the_users(frame.filename)]
    if not said:
        frame = (own or frames)[-1] if frames else None
        place = f" in {frame.filename}, line {frame.lineno}: {frame.line}" if frame else ""
        return f"{type(error).__name__}{place}"
    return f"{said} ({own[-1].filename}, line {own[-1].lineno})" if own else said


def _is_the_users(file: str) -> bool:
    """Whether a file is the environment's own: not ours, nor one of what calls environments or is called by them."""
    installed = "site-packages" in file or "dist-packages" in file
    return not file.startswith(("<", *_folders())) and (installed or not file.startswith(os.path.dirname(os.__file__)))


@functools.cache
def _folders() -> tuple[str, ...]:
    import gymnasium

    package = sys.modules[__name__.partition(".")[0]]
    files = (gymnasium.__file__, package.__file__, np.__file__, __file__)
    return tuple(os.path.dirname(file or "") + os.sep for file in files)


def _unpacked(returned: Any, names: str, count: int) -> Any:
    if not isinstance(returned, tuple) or len(returned) != count:
        gave = f"{len(returned)} values" if isinstance(returned, tuple) else f"a {type(returned).__name__}"
        raise TypeError(f"it gave {gave}, not {names}; {_OLD_GYM}")
    return returned


def _one_number(reward: Any) -> float:
    if np.size(reward) != 1:
        raise TypeError(f"the reward is {np.size(reward)} numbers, and one is learned from; a wrapper must weigh them")
    return float(np.asarray(reward).item())


def _one_flag(name: str, flag: Any) -> bool:
    if flag is None or isinstance(flag, bool):
        return bool(flag)
    if np.size(flag) != 1 or np.asarray(flag).dtype.kind not in "biuf":
        what = f"{np.size(flag)} values" if np.size(flag) != 1 else f"of type {type(flag).__name__}"
        raise TypeError(f"{name} is {what}, and an episode ends or does not; a wrapper must make it one True or False")
    return bool(np.asarray(flag).item())


def _refuse_empty(of: tuple[Any, Any], n_observations: int, n_outputs: int) -> None:
    if n_observations == 0:
        raise ExperimentError(f"observation space: {of[0]} has no values, and a network that sees nothing learns nothing")
    if n_outputs == 0:
        raise ExperimentError(f"action space: {of[1]} has no parts, so that there is nothing to choose")


def _wrappers_that_help(env: Any) -> str:
    """Wrappers of the environment's own package with which its spaces are vectors, found by trying them."""
    import gymnasium

    from rsrp_lava.tasks import spaces

    package = type(env.unwrapped).__module__.partition(".")[0]
    found = []
    with suppress(Exception):  # it need not have such a module
        module = importlib.import_module(f"{package}.wrappers")
        for name, wrapper in vars(module).items():
            if isinstance(wrapper, type) and issubclass(wrapper, gymnasium.ObservationWrapper):
                with suppress(Exception):  # nor can every wrapper be put around this environment without arguments
                    if spaces.has_size(wrapper(env).observation_space):
                        found.append(f"{module.__name__}:{name}")
    own = f"; {package} has {', '.join(found)}" if found and package != "gymnasium" else ""
    return f"{own} (--wrapper NAME, or environment.wrappers in YAML and Python)"


def make(id: str, options: EnvironmentOptions, **more: Any) -> Any:
    """The environment, wrapped; `more`: further arguments of `gymnasium.make`. `ExperimentError` if it cannot be made."""
    import gymnasium

    module, colon, name = id.rpartition(":")
    try:
        if colon:
            _import(module, f"task {PREFIX}{id}")
        if options.kwargs and not consent.is_gymnasiums(name):
            consent.require([consent.arguments_of(name)], f"task {PREFIX}{id}")
        env = gymnasium.make(
            name, max_episode_steps=options.max_steps, disable_env_checker=True, **{**options.kwargs, **more}
        )
        if not colon:
            _refuse_unknown_elsewhere(name)
        for wrapper in options.wrappers:
            env = _wrapped(env, wrapper)
    except ExperimentError:
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        bodies = "; for MuJoCo's bodies: pip install 'rsrp-lava[mujoco]'" if "mujoco" in str(error).lower() else ""
        raise ExperimentError(f"task {PREFIX}{id}: {str(error).rstrip('.')}{bodies}") from None
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv):
        raise ExperimentError(f"task {PREFIX}{id}: Gymnasium has no environment {name}; {_nearest(module, name)}") from None
    except ModuleNotFoundError as error:
        raise ExperimentError(f"task {PREFIX}{id}: {_missing(error, module, name)}") from None
    except SystemExit as error:
        raise ExperimentError(
            f"task {PREFIX}{id}: the environment cannot be made: {in_words(error)}; what ends a program, such as reading "
            "its arguments, belongs under if __name__ == '__main__' in its module"
        ) from None
    except FAULTS as error:
        raise ExperimentError(f"task {PREFIX}{id}: the environment cannot be made: {in_words(error)}") from None
    return env


def _refuse_unknown_elsewhere(name: str) -> None:
    """`ExperimentError` for an environment that only this process has registered: others play it, now and later."""
    import gymnasium

    module = _module_of(gymnasium.registry.get(name))
    if module is None:
        return
    plugins = {entry.module.partition(".")[0] for entry in importlib.metadata.entry_points(group="gymnasium.envs")}
    if module.partition(".")[0] in {"gymnasium", *plugins}:
        return
    if module == "__main__":
        raise ExperimentError(
            f"task {PREFIX}{name}: is registered by this notebook or script only, and the processes that play it do not see "
            f"that; put the environment and its gymnasium.register into a file, say my_env.py, and name it "
            f"{PREFIX}my_env:{name}"
        )
    raise ExperimentError(
        f"task {PREFIX}{name}: is registered by module {module}, which the processes that play it do not import by "
        f"themselves; name it {PREFIX}{module}:{name}"
    )


def _module_of(spec: Any) -> str | None:
    """The module that has an environment's class or function."""
    entry = getattr(spec, "entry_point", None)
    return entry.partition(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", None)


def _import(module: str, source: str) -> Any:
    """The module, which somebody has let run; as with `python -m`, one in the current folder is found."""
    consent.require(consent.of_module(module), source)
    top = module.partition(".")[0]
    found = top in sys.modules or importlib.util.find_spec(top) is not None
    if not found and os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    return importlib.import_module(module)


def _nearest(module: str, name: str) -> str:
    """The way to an environment when nobody has registered `name`."""
    import gymnasium

    namespace = name.rpartition("/")[0]
    known = {id: id.rpartition("/")[0] for id in gymnasium.registry}
    if namespace and not difflib.get_close_matches(namespace, {*known.values()} - {""}, n=1):
        return (
            f"none has the namespace {namespace}: install the package that registers it, and name its module: "
            f"{PREFIX}{module or 'MODULE'}:{name}"
        )
    stems: dict[str, list[str]] = {}
    for id in known:
        stems.setdefault(_stem(id), []).append(id)
    close = [_stem(name)] if _stem(name) in stems else _close_to(_stem(name), stems)
    if not close:
        return (
            "name the module that registers it: gym:MODULE:ID (what a notebook registers, or a module only when it runs as "
            "a program, does not count)"
        )
    same_version = [id for id in stems[close[0]] if _version(id) == _version(name)]
    found = (same_version or sorted(stems[close[0]], key=_version))[-1]
    owner = _module_of(gymnasium.registry[found]) or ""
    if owner.startswith("gymnasium."):
        return f"did you mean {PREFIX}{found}?"
    named = module if module and (module + ".").startswith(owner.partition(".")[0] + ".") else owner
    return f"did you mean {PREFIX}{named + ':' if named else ''}{found}?"


def _stem(id: str) -> str:
    """An id without its version."""
    stem, dash, version = id.rpartition("-v")
    return stem if dash and version.isdigit() else id


def _close_to(stem: str, stems: Iterable[str]) -> list[str]:
    """The nearest one, also if only capital letters differ; none that is merely as long."""
    by_small = {known.lower(): known for known in stems}
    return [by_small[small] for small in difflib.get_close_matches(stem.lower(), by_small, n=1, cutoff=0.7)]


def _version(id: str) -> int:
    version = id.rpartition("-v")[2]
    return int(version) if version.isdigit() else -1


def _missing(error: ModuleNotFoundError, module: str, name: str) -> str:
    """What to do about a module that is not there: the user's own, or one that it needs."""
    missing = str(error.name)
    if not module or not (module + ".").startswith(missing + "."):
        return f"the environment cannot be made: {in_words(error)}; install the package that has {missing}"
    beside = {path.stem for path in Path().glob("*.py")}
    close = difflib.get_close_matches(missing, {*importlib.metadata.packages_distributions(), *beside}, n=1, cutoff=0.7)
    rest = module[len(missing) :]
    hint = f"did you mean {PREFIX}{close[0]}{rest}:{name}?" if close else "install its package, or run where its file is"
    return f"No module named {missing}; {hint}"


def _wrapped(env: Any, wrapper: WrapperOptions) -> Any:
    around = _wrapper(wrapper.name)
    try:
        return around(env, **wrapper.kwargs)
    except FAULTS as error:
        raise ExperimentError(
            f"environment.wrappers: {wrapper.name} cannot be put around it with kwargs {wrapper.kwargs}: {in_words(error)}"
        ) from None


def _wrapper(name: str) -> Any:
    """The class of that name. Nothing is called to find it."""
    import gymnasium

    source = "environment.wrappers"
    consent.require(consent.of_wrapper(name), source)
    module, _, attribute = name.rpartition(":")
    found = getattr(_import(module or "gymnasium.wrappers", source), attribute, None)
    if found is None:
        raise ExperimentError(
            f"{source}: {name} is not in {module or 'gymnasium.wrappers'}; give a name of "
            "gymnasium.wrappers, or MODULE:CLASS"
        )
    if not (isinstance(found, type) and issubclass(found, gymnasium.Wrapper)):
        raise ExperimentError(
            f"{source}: {name} is no wrapper, which is a subclass of gymnasium.Wrapper; give a name of "
            "gymnasium.wrappers, or MODULE:CLASS"
        )
    return found


def _remembering(env: Any) -> Iterator[str]:
    """Names of the layers of an environment that hold running statistics which its episodes change."""
    import gymnasium

    while True:
        held = vars(env).values() if hasattr(env, "__dict__") else ()
        if any("RunningMeanStd" in type(one).__name__ for one in held) and getattr(env, "update_running_mean", True):
            yield type(env).__name__
        if not isinstance(env, gymnasium.Wrapper):
            return
        env = env.env


def remembered(task: Any) -> str | None:
    """Why a run of this task is no function of its seed, and the way out; None if nothing says so."""
    if not isinstance(task, GymTask) or not task.remembering:
        return None
    names = " and ".join(task.remembering)
    keep = "keep" if len(task.remembering) > 1 else "keeps"
    return (
        f"environment.wrappers: {names} {keep} running statistics of all episodes a process has played, so that results "
        "depend on the number of processes, and no checkpoint holds them; leave it out: observations are standardised "
        "anyway (exactly, and saved), and of rewards only ranks count (TransformReward with a constant factor scales them)"
    )


def describe(id: str, options: EnvironmentOptions) -> GymTask:
    """The task of an environment. Makes it once, to see its spaces; `ExperimentError` if it cannot be learned."""
    return _describe(id, _Options(options))


class _Options:
    """Options, to look up what is known of an environment: equal if all their values are, and of the same types."""

    def __init__(self, options: EnvironmentOptions) -> None:
        self.options = options
        self._values = repr(options.model_dump())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Options) and other._values == self._values

    def __hash__(self) -> int:
        return hash(self._values)


@functools.lru_cache(maxsize=256)
def _describe(id: str, asked: _Options) -> GymTask:
    options = asked.options
    environment = Environment(id, options)
    spec = environment._env.spec
    environment.close()
    limit = (spec.max_episode_steps if spec else None) or options.max_steps
    goal = spec.reward_threshold if spec and spec.reward_threshold and np.isfinite(spec.reward_threshold) else None
    return GymTask(
        name=PREFIX + id,
        summary=f"Gymnasium's {id}",
        n_observations=environment.n_observations,
        n_outputs=environment.n_outputs,
        max_steps=limit or ASSUMED_MAX_STEPS,
        limit_assumed=limit is None,
        return_scale=abs(goal) if goal else float(limit or ASSUMED_MAX_STEPS),
        gymnasium_id=id,
        options=options,
        one_hot=environment.one_hot,
        goal=goal,
        n_actions=environment.n_actions,
        bounded=environment.bounded,
        remembering=environment.remembering,
    )
