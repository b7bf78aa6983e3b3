"""One evaluation episode of a trained run, played in Gymnasium's own environment and written as an animation."""

from __future__ import annotations

import functools
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from rsrp_lava.engines import open_local
from rsrp_lava.engines.gym import GymEngine
from rsrp_lava.engines.processes import environment_variables
from rsrp_lava.engines.protocol import Engine
from rsrp_lava.errors import EngineError, ExperimentError, RunFolderError
from rsrp_lava.experiment import Experiment
from rsrp_lava.files import replacing
from rsrp_lava.kernels.random_bits import EVALUATION, TASK, fill_uniform
from rsrp_lava.reporting.animation import SUFFIXES, Animation, animation_format
from rsrp_lava.runs import Run, load_run
from rsrp_lava.signals import interrupts_wait_for_compiling
from rsrp_lava.tasks import ClassifyTask, EpisodeTask, GymTask
from rsrp_lava.tasks.gym import FAULTS, Environment, EpisodeFault, in_words, make
from rsrp_lava.threads import Threads

#: Pictures a second of an environment that does not say.
_USUAL_FPS = 30
#: What pygame is told, unless it was told otherwise: no window, no sound, no greeting.
_NO_DISPLAY = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
#: Ways in which MuJoCo draws without a display, the first one that works is taken (values of MUJOCO_GL).
_WITHOUT_DISPLAY = ("egl", "osmesa") if sys.platform.startswith("linux") else ()
#: Draws a picture in a process of its own: a driver can end it, and OpenGL takes one way for good.
_TRIAL = """
import mujoco
renderer = mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8)
renderer.render()
renderer.close()
"""


@interrupts_wait_for_compiling()
def record(
    run: Run | str | Path,
    *,
    output: str | Path = "episode.gif",
    episode: int = 0,
    fps: float | None = None,
    max_steps: int | None = None,
    seed: int | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Play a deterministic episode, θ = [ρ > ½], in Gymnasium's environment, and write what it looks like.

    It is the episode that `evaluate` plays, from the same start. It is played twice: first as there, and the two returns are
    compared.

    Parameters
    ----------
    run : a run or its folder
    output : file to write, as GIF or MP4 by its suffix
    episode : which of the evaluation's, from 0
    fps : pictures a second; by default the environment's own (a GIF shows 50 at most)
    max_steps : environment steps that end the episode; by default as in training
    seed : of the starts; by default the run's own
    progress : called with (steps played, steps of the episode)

    Returns
    -------
    dict: run, task, seed, episode, return, env_steps, frames, fps, output; evaluation_return and same_as_evaluation: what
    `evaluate` earns in this episode, and whether that is what was recorded

    Raises `ExperimentError`, `EngineError` (the environment failed), `RunFolderError` (among others if the file cannot be
    written)
    """
    output = Path(output)
    suffix = output.suffix.lower()
    if suffix not in SUFFIXES:
        raise RunFolderError(f"{output}: recordings are written as {' or '.join(SUFFIXES)}; choose another name (-o)")
    run = run if isinstance(run, Run) else load_run(run)
    seed = run.experiment.seed if seed is None else seed
    for what, number, most in (("episode", episode, 2**20 - 1), ("seed", seed, 2**63 - 1)):
        if not 0 <= number <= most:
            raise ExperimentError(f"{what}: {number} must be between 0 and {most}")
    if fps is not None and not 0.1 <= fps <= 1000:
        raise ExperimentError(f"fps: {fps:g} must be between 0.1 and 1000")
    if run.experiment.weight_rule is not None:
        raise ExperimentError(
            f"record: rule {run.experiment.rule} keeps weights, and only networks that release are played in Gymnasium; "
            "take a run of rule rsrp, hedonistic or satr"
        )
    evaluated = _locally(run.experiment, max_steps)
    task = evaluated.build_task()
    assert not isinstance(task, ClassifyTask)
    filmed = _in_gymnasium(evaluated)
    usual_fps, mujoco = _look(filmed)
    write = animation_format(suffix)
    wanted = {**_NO_DISPLAY, **(_way_to_draw(filmed.task) if mujoco else {})}
    missing = {name: value for name, value in wanted.items() if not os.environ.get(name)}
    with environment_variables(missing), _replacing(output) as path:
        progress(0, task.max_steps)
        expected, steps = _play(open_local(evaluated, Threads(1), seed), run, episode)
        with _closing(write(path, usual_fps if fps is None else fps)) as animation:
            film = _Film(animation, lambda done: progress(done, steps))
            engine = open_local(filmed, Threads(1), seed)
            assert isinstance(engine, GymEngine)
            start = _start(task, seed, run.generation, episode)
            engine.open_environment = functools.partial(_Filmed, engine.task, start, film.add)
            earned, played = _play(engine, run, episode)
    return {
        "run": str(run.path),
        "task": run.experiment.task,
        "seed": seed,
        "episode": episode,
        "return": earned,
        "env_steps": played,
        "frames": film.pictures,
        "fps": animation.fps,
        "output": str(output),
        "evaluation_return": expected,
        "same_as_evaluation": played == steps and math.isclose(earned, expected, rel_tol=1e-9, abs_tol=1e-9 * steps),
    }


# --- what is played ----------------------------------------------------------------------------------------------------


def _locally(experiment: Experiment, max_steps: int | None) -> Experiment:
    """The experiment as it is evaluated in this process; a failing environment is an error."""
    options = {**experiment.environment.model_dump(), "on_error": "fail"}
    if experiment.classifies:
        raise ExperimentError(
            f"record: {experiment.task} has images, not episodes, and nothing moves; take a run of cartpole or gym:ID"
        )
    experiment.environment.refuse_disturbed(
        f"this run is played with it, and record draws Gymnasium's {experiment.task}, which has none; take a run without it"
    )
    if max_steps is not None:
        options["max_steps"] = max_steps
    return experiment.replace(engine="fused", lava_target="simulation", environment=options)


def _in_gymnasium(experiment: Experiment) -> Experiment:
    """The experiment in Gymnasium's own environment, stepped in Python."""
    task = experiment.build_task()
    if isinstance(task, GymTask):
        return experiment
    assert isinstance(task, EpisodeTask)
    if task.gymnasium_id is None:
        raise ExperimentError(f"record: {task.name} is not in Gymnasium, which draws; take a run of cartpole or gym:ID")
    options = {**experiment.environment.model_dump(), "compiled": False}
    return experiment.replace(task=f"gym:{task.gymnasium_id}", environment=options)


def _look(experiment: Experiment) -> tuple[float, bool]:
    """Pictures a second of the environment, and whether MuJoCo draws it; `ExperimentError` if it cannot be drawn."""
    task = experiment.build_task()
    assert isinstance(task, GymTask)
    env = make(task.gymnasium_id, task.options)
    metadata, mujoco = env.metadata, hasattr(env.unwrapped, "mujoco_renderer")
    with suppress(*FAULTS):  # nothing is asked of this one any more
        env.close()
    modes = metadata.get("render_modes") or ()
    if "rgb_array" not in modes:
        raise ExperimentError(
            f"record: {task.name} draws no pictures: its render_modes are {list(modes)}; give it rgb_array"
        )
    return metadata.get("render_fps") or _USUAL_FPS, mujoco


def _play(engine: Engine, run: Run, episode: int) -> tuple[float, int]:
    """Return and steps of the episode. Ends the engine."""
    try:
        engine.prepare(None)
        played = engine.play(run.probabilities, run.normaliser, run.generation, 1, deterministic=True, first=episode)
    except EngineError as error:
        if isinstance(fault := error.__cause__, EpisodeFault):
            raise EngineError(
                f"{run.experiment.task}: {fault} (episode {episode}); mend the environment, or record another (--episode)"
            ) from fault
        raise
    finally:
        engine.close()
    return float(played.returns[0]), int(played.steps[0])


#: Puts Gymnasium's environment (unwrapped) where the episode starts; the first observation.
Start = Callable[[Any], np.ndarray]


def _start(task: EpisodeTask | GymTask, seed: int, generation: int, episode: int) -> Start | None:
    """Where the compiled task starts; None for others: the environment then starts from the same seed."""
    if isinstance(task, GymTask):
        return None

    def start(env: Any) -> np.ndarray:
        state, random, observation = task.open_state(), np.empty(task.random_size), np.empty(task.n_observations)
        fill_uniform(seed, generation, episode, TASK + EVALUATION, random)
        task.reset(state.values, random)
        if task.simulation:
            data: Any = state.held[1]  # type: ignore[index]
            env.set_state(data.qpos.copy(), data.qvel.copy())
        else:
            env.state = state.values.copy()
        task.observe(state.values, observation)
        return observation

    return start


# --- what is seen ------------------------------------------------------------------------------------------------------


class _Film:
    """Pictures on their way to the animation."""

    def __init__(self, animation: Animation, progress: Callable[[int], None]) -> None:
        self._animation, self._progress = animation, progress
        self.pictures = 0

    def add(self, picture: np.ndarray) -> None:
        """The next one."""
        self._animation.add(picture)
        self._progress(self.pictures)
        self.pictures += 1


class _Filmed(Environment):
    """Gymnasium's environment, which shows itself at the start and after every step."""

    def __init__(self, task: GymTask, start: Start | None, show: Callable[[np.ndarray], None]) -> None:
        super().__init__(task.gymnasium_id, task.options, render_mode="rgb_array")
        self._name, self._start, self._show = task.name, start, show
        self._shape: tuple[int, ...] | None = None
        if start is not None:
            decode = self._decode
            self._decode = lambda output: _in_double(decode(output))

    def reset(self, seed: int) -> np.ndarray:
        """See `Environment.reset`."""
        observation = super().reset(seed)
        if self._start is not None:
            observation = self._start(self._env.unwrapped)
        self._show(self._picture())
        return observation

    def step(self, output: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """See `Environment.step`."""
        env = self._env.unwrapped
        if self._start is not None and hasattr(env, "state"):
            env.state = _in_double(env.state)
        stepped = super().step(output)
        self._show(self._picture())
        return stepped

    def _picture(self) -> np.ndarray:
        import gymnasium

        try:
            picture = self._env.render()
        except gymnasium.error.DependencyNotInstalled as error:
            raise ExperimentError(f"task {self._name}: {error}; for all of it: pip install 'rsrp-lava[record]'") from None
        except FAULTS as error:
            raise EngineError(f"{self._name}: render raised {in_words(error)}; mend the environment") from error
        drawn = isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
        if not drawn or picture.shape != (self._shape or picture.shape):
            given = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
            wanted = "height × width × 3, uint8" if self._shape is None else f"uint8 {self._shape} as before"
            raise EngineError(f"{self._name}: render gave {given}, not a picture ({wanted}); mend the environment")
        self._shape = picture.shape
        return picture


def _in_double(values: Any) -> Any:
    """float64 for float32, which compiled tasks compute in; NumPy 2 would compute in float32 with numbers of Python's."""
    return np.asarray(values, np.float64) if isinstance(values, np.ndarray) and values.dtype == np.float32 else values


# --- where it is drawn and written -------------------------------------------------------------------------------------


def _way_to_draw(task: str) -> dict[str, str]:
    """MUJOCO_GL, as it is set or as it works here; `ExperimentError` if nothing does."""
    given = os.environ.get("MUJOCO_GL")
    problems = {}
    for way in (given,) if given else _WITHOUT_DISPLAY:
        problems[way] = _problem(way)
        if problems[way] is None:
            return {"MUJOCO_GL": way}
    if not problems:
        return {}
    raise ExperimentError(
        f"record: MuJoCo cannot draw {task} here ({'; '.join(f'MUJOCO_GL={way}: {why}' for way, why in problems.items())}); "
        + ("unset MUJOCO_GL, or " if given else "")
        + "install what draws without a display (Debian: apt-get install libegl1 libgl1-mesa-dri, or libosmesa6)"
    )


@functools.cache
def _problem(way: str) -> str | None:
    """Why MuJoCo cannot draw with this MUJOCO_GL; None if it can."""
    with tempfile.TemporaryDirectory() as folder:  # MuJoCo may write a log
        command, variables = [sys.executable, "-c", _TRIAL], {**os.environ, "MUJOCO_GL": way}
        try:
            done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            return "no picture within a minute"
    if done.returncode == 0:
        return None
    said = re.search(r"\b\w*(Error|Exception): .*", done.stderr)
    return said[0] if said else f"exit code {done.returncode}"


@contextmanager
def _closing(animation: Animation) -> Iterator[Animation]:
    """The animation, which is whole at the end, or has failed already."""
    try:
        yield animation
    except BaseException:
        with suppress(OSError):
            animation.close()
        raise
    animation.close()


@contextmanager
def _replacing(output: Path) -> Iterator[Path]:
    """A file beside `output`, which replaces it at the end: `files.replace_file` of what is written bit by bit."""
    try:
        with replacing(output) as beside:
            yield beside.path
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise RunFolderError(f"{output}: cannot be written ({reason}); choose another name (-o)") from None


__all__ = ["record"]
