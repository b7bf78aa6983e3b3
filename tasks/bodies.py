"""MuJoCo's bodies of Gymnasium's v5 environments, stepped in compiled code: on all processors, without the GIL.

| body | observation | reward of a step |
|---|---|---|
| InvertedPendulum-v5 | qpos, qvel | 1 while |angle| ≤ 0.2 rad |
| InvertedDoublePendulum-v5 | cart, sines, cosines, qvel, force on the cart | 10 − distance of the tip − angular velocities |
| HalfCheetah-v5 | qpos[1:], qvel | v − 0.1 Σ a² (v: velocity, a: actions) |
| Hopper-v5, Walker2d-v5 | qpos[1:], qvel within ± 10 | v + 1 while upright − 0.001 Σ a² |
| Humanoid-v5 | qpos[2:], qvel, cinert, cvel, qfrc_actuator, cfrc_ext | 1.25 v + 5 while upright − 0.1 Σ a² − contact |

`inverted_pendulum_five` is the first of them with five actions, 200 steps long: what SVPG is trained on (Yang et al. 2022).

Outputs are clipped to [−1, 1] and scaled to the range of each motor. Model files, constants and the order of MuJoCo's calls
are Gymnasium's (gymnasium/envs/mujoco/*_v5.py), so that observations agree bit for bit and rewards to rounding.
One model is shared; every thread has data of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numba import njit

from rsrp_lava.errors import ExperimentError
from rsrp_lava.kernels.compiling import kernel
from rsrp_lava.kernels.mujoco import (
    DATA,
    FIRST_ARRAY,
    MODEL,
    array,
    connect,
    mj_forward,
    mj_resetData,
    mj_rnePostConstraint,
    mj_step,
)
from rsrp_lava.tasks.actions import first_largest, in_range
from rsrp_lava.tasks.base import Body, EpisodeTask, TaskState

#: Arrays of mjData that kernels read, by their place in a simulation; then those of the model and the start.
_OF_DATA = (
    "qpos",
    "qvel",
    "ctrl",
    "cinert",
    "cvel",
    "qfrc_actuator",
    "qfrc_constraint",
    "cfrc_ext",
    "xipos",
    "site_xpos",
)
QPOS, QVEL, CTRL, CINERT, CVEL, QFRC_ACTUATOR, QFRC_CONSTRAINT, CFRC_EXT, XIPOS, SITE_XPOS = range(len(_OF_DATA))
BODY_MASS, START_QPOS, START_QVEL, CTRL_RANGE = range(len(_OF_DATA), len(_OF_DATA) + 4)
_STATE_SIZE = FIRST_ARRAY + CTRL_RANGE + 1
#: Constants that can be changed in every body, each with its usual value.
_OF_EVERY_BODY = {"gravity": "9.81 m/s²", "motor_strength": "its own"}


@dataclass(frozen=True)
class _Body:
    """What distinguishes a body; the functions are compiled for its numbers."""

    xml: str
    summary: str
    frame_skip: int
    noise: float  #: of the start, uniform within ±
    normal_velocity: bool  #: velocities start normally distributed, with this standard deviation
    observe: Callable[[Any], tuple[Any, int]]  #: sizes → compiled function, and how many numbers it writes
    reward: Callable[[Any], Any]  #: sizes → compiled function (simulation, place before, Σ a²) → reward, ended
    place: Callable[[Any], Any]  #: sizes → compiled function (simulation) → where the body is, in m
    #: Constants that can be changed besides those that every body has, each with its usual value.
    constants: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class _Sizes:
    """Of a loaded model."""

    nq: int
    nv: int
    nu: int
    nbody: int
    step_s: float  #: of an environment step


# --- where a body is ---------------------------------------------------------------------------------------------------


def _first_joint(sizes: _Sizes) -> Any:
    nq = sizes.nq

    @njit
    def place(simulation):
        return array(simulation, QPOS, nq)[0]

    return place


def _mass_center(sizes: _Sizes) -> Any:
    nbody = sizes.nbody

    @njit
    def place(simulation):
        mass, positions = array(simulation, BODY_MASS, nbody), array(simulation, XIPOS, 3 * nbody)
        moment, total = 0.0, 0.0
        for b in range(nbody):
            moment += mass[b] * positions[3 * b]
            total += mass[b]
        return moment / total

    return place


# --- observations ------------------------------------------------------------------------------------------------------


def _observe_state(skipped: int, limit: float) -> Callable[[_Sizes], tuple[Any, int]]:
    """qpos without its first `skipped`, then qvel within ± limit."""

    def make(sizes: _Sizes) -> tuple[Any, int]:
        nq, nv = sizes.nq, sizes.nv

        @kernel
        def observe(state, observation):
            simulation = state.view(np.int64)
            qpos, qvel = array(simulation, QPOS, nq), array(simulation, QVEL, nv)
            for k in range(skipped, nq):
                observation[k - skipped] = qpos[k]
            for k in range(nv):
                observation[nq - skipped + k] = min(max(qvel[k], -limit), limit)

        return observe, nq - skipped + nv

    return make


def _observe_double_pendulum(sizes: _Sizes) -> tuple[Any, int]:
    @kernel
    def observe(state, observation):
        simulation = state.view(np.int64)
        qpos, qvel, force = array(simulation, QPOS, 3), array(simulation, QVEL, 3), array(simulation, QFRC_CONSTRAINT, 3)
        observation[0] = qpos[0]
        for k in range(2):
            observation[1 + k] = math.sin(qpos[1 + k])
            observation[3 + k] = math.cos(qpos[1 + k])
        for k in range(3):
            observation[5 + k] = min(max(qvel[k], -10.0), 10.0)
        observation[8] = min(max(force[0], -10.0), 10.0)

    return observe, 9


def _observe_humanoid(sizes: _Sizes) -> tuple[Any, int]:
    nq, nv, nbody = sizes.nq, sizes.nv, sizes.nbody
    moving = ((QPOS, 2, nq), (QVEL, 0, nv), (CINERT, 10, 10 * nbody), (CVEL, 6, 6 * nbody))
    parts = (*moving, (QFRC_ACTUATOR, 6, nv), (CFRC_EXT, 6, 6 * nbody))

    @kernel
    def observe(state, observation):
        simulation = state.view(np.int64)
        written = 0
        for place, first, last in parts:
            values = array(simulation, place, last)
            for k in range(first, last):
                observation[written] = values[k]
                written += 1

    return observe, sum(last - first for _, first, last in parts)


# --- rewards -----------------------------------------------------------------------------------------------------------


def _reward_pendulum(sizes: _Sizes) -> Any:
    @njit
    def reward(simulation, moved, effort):
        qpos, qvel = array(simulation, QPOS, 2), array(simulation, QVEL, 2)
        finite = math.isfinite(qpos[0]) and math.isfinite(qpos[1]) and math.isfinite(qvel[0]) and math.isfinite(qvel[1])
        ended = not finite or abs(qpos[1]) > 0.2
        return (0.0 if ended else 1.0), ended

    return reward


def _reward_double_pendulum(sizes: _Sizes) -> Any:
    @njit
    def reward(simulation, moved, effort):
        tip, qvel = array(simulation, SITE_XPOS, 3), array(simulation, QVEL, 3)
        x, y = tip[0], tip[2]
        ended = y <= 1
        distance = 0.01 * x**2 + (y - 2) ** 2
        velocity = 1e-3 * qvel[1] ** 2 + 5e-3 * qvel[2] ** 2
        return (0.0 if ended else 10.0) - distance - velocity, ended

    return reward


def _reward_cheetah(sizes: _Sizes) -> Any:
    step_s = sizes.step_s

    @njit
    def reward(simulation, moved, effort):
        return moved / step_s - 0.1 * effort, False

    return reward


def _reward_hopper(sizes: _Sizes) -> Any:
    nq, nv, step_s = sizes.nq, sizes.nv, sizes.step_s

    @njit
    def reward(simulation, moved, effort):
        qpos, qvel = array(simulation, QPOS, nq), array(simulation, QVEL, nv)
        upright = qpos[1] > 0.7 and -0.2 < qpos[2] < 0.2
        for k in range(2, nq):
            upright = upright and -100.0 < qpos[k] < 100.0
        for k in range(nv):
            upright = upright and -100.0 < qvel[k] < 100.0
        return moved / step_s + (1.0 if upright else 0.0) - 1e-3 * effort, not upright

    return reward


def _reward_walker(sizes: _Sizes) -> Any:
    nq, step_s = sizes.nq, sizes.step_s

    @njit
    def reward(simulation, moved, effort):
        qpos = array(simulation, QPOS, nq)
        upright = 0.8 < qpos[1] < 2.0 and -1.0 < qpos[2] < 1.0
        return moved / step_s + (1.0 if upright else 0.0) - 1e-3 * effort, not upright

    return reward


def _reward_humanoid(sizes: _Sizes) -> Any:
    nq, nbody, step_s = sizes.nq, sizes.nbody, sizes.step_s

    @njit
    def reward(simulation, moved, effort):
        height, forces = array(simulation, QPOS, nq)[2], array(simulation, CFRC_EXT, 6 * nbody)
        contact = 0.0
        for k in range(6 * nbody):
            contact += forces[k] * forces[k]
        upright = 1.0 < height < 2.0
        earned = 1.25 * (moved / step_s) + (5.0 if upright else 0.0)
        return earned - (0.1 * effort + min(5e-7 * contact, 10.0)), not upright

    return reward


_BODIES = {
    "InvertedPendulum-v5": _Body(
        "inverted_pendulum.xml",
        "balance a pole on a cart",
        2,
        0.01,
        False,
        _observe_state(0, np.inf),
        _reward_pendulum,
        _first_joint,
        {"pole_length": "0.6 m", "pole_radius": "0.049 m"},
    ),
    "InvertedDoublePendulum-v5": _Body(
        "inverted_double_pendulum.xml",
        "balance two poles on a cart",
        5,
        0.1,
        True,
        _observe_double_pendulum,
        _reward_double_pendulum,
        _first_joint,
    ),
    "HalfCheetah-v5": _Body(
        "half_cheetah.xml",
        "run on two legs in a plane",
        5,
        0.1,
        True,
        _observe_state(1, np.inf),
        _reward_cheetah,
        _first_joint,
    ),
    "Hopper-v5": _Body(
        "hopper.xml", "hop on one leg", 4, 5e-3, False, _observe_state(1, 10.0), _reward_hopper, _first_joint
    ),
    "Walker2d-v5": _Body(
        "walker2d_v5.xml",
        "walk on two legs in a plane",
        4,
        5e-3,
        False,
        _observe_state(1, 10.0),
        _reward_walker,
        _first_joint,
    ),
    "Humanoid-v5": _Body(
        "humanoid.xml", "walk as a humanoid", 5, 1e-2, False, _observe_humanoid, _reward_humanoid, _mass_center
    ),
}


def body_ids() -> list[str]:
    """Gymnasium's environments that have a compiled twin here, sorted."""
    return sorted(_BODIES)


def names() -> frozenset[str]:
    """Gymnasium's ids of the environments that have a compiled twin, whether MuJoCo is installed or not."""
    return frozenset(_BODIES)


@functools.cache
def get_body(id: str) -> EpisodeTask | None:
    """The compiled twin of one of Gymnasium's MuJoCo environments; None if there is none.

    Raises `ExperimentError` if MuJoCo is not installed.
    """
    if id not in _BODIES:
        return None
    body = _BODIES[id]
    model = _load(id, body.xml)
    sizes = _Sizes(model.nq, model.nv, model.nu, model.nbody, model.opt.timestep * body.frame_skip)
    observe, n_observations = body.observe(sizes)
    import gymnasium

    spec = gymnasium.spec(id)
    assert spec.max_episode_steps
    return EpisodeTask(
        name=f"gym:{id}",
        summary=f"{body.summary} (MuJoCo; Gymnasium {id}, {spec.max_episode_steps} steps)",
        n_observations=n_observations,
        n_outputs=model.nu,
        state_size=_STATE_SIZE,
        random_size=model.nq + 2 * model.nv,
        max_steps=spec.max_episode_steps,
        return_scale=spec.reward_threshold or 1000.0,
        goal=spec.reward_threshold,
        reset=_make_reset(sizes, body.noise, body.normal_velocity),
        observe=observe,
        step=_make_step(sizes, body),
        gymnasium_id=id,
        samples_per_piece=1,
        simulation=functools.partial(_open, model),
        body=Body({**_OF_EVERY_BODY, **body.constants}, functools.partial(_changed, id, body.xml)),
    )


def _changed(id: str, xml: str, task: EpisodeTask, factors: Mapping[str, float]) -> EpisodeTask:
    """The task with a model of its own; sizes are the same, and so is everything compiled."""
    model = _changed_model(id, xml, tuple(factors.items()))
    return dataclasses.replace(task, simulation=functools.partial(_open, model))


@functools.lru_cache(maxsize=64)
def _changed_model(id: str, xml: str, factors: tuple[tuple[str, float], ...]) -> Any:
    return _load(id, xml, dict(factors))


FIVE_FORCES = "inverted_pendulum_five"
FIVE_FORCES_SUMMARY = "balance a pole on a cart with five forces (MuJoCo; 200 steps)"


@functools.cache
def five_forces() -> EpisodeTask:
    """InvertedPendulum with a choice of the forces −3, −1.5, 0, 1.5 and 3, and reward 1 for every step, the last too.

    Raises `ExperimentError` if MuJoCo is not installed.
    """
    try:
        body = get_body("InvertedPendulum-v5")
    except ExperimentError as error:  # it names the body
        raise ExperimentError(f"task {FIVE_FORCES}: {str(error).partition(': ')[2]}") from None
    assert body is not None
    push = body.step

    @kernel
    def step(state, output):
        force = np.empty(1, np.float32)  # as a part of the largest
        force[0] = np.float32(0.5 * (first_largest(output) - 2))
        return 1.0, push(state, force)[1]

    return dataclasses.replace(
        body,
        name=FIVE_FORCES,
        summary=FIVE_FORCES_SUMMARY,
        n_outputs=5,
        n_actions=5,
        max_steps=200,
        return_scale=200.0,
        perfect_return=200.0,
        goal=None,
        step=step,
        gymnasium_id=None,
    )


def _load(id: str, xml: str, factors: Mapping[str, float] | None = None) -> Any:
    """The model, with constants times these factors, and its library known to the compiler."""
    import ctypes

    import gymnasium

    try:
        import gymnasium.envs.mujoco  # imports imageio too
        import mujoco
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise ExperimentError(f"task gym:{id}: needs MuJoCo ({error}); pip install 'rsrp-lava[mujoco]'") from None
    except Exception as error:  # it looks for OpenGL when it is imported
        way = os.environ.get("MUJOCO_GL", "")
        raise ExperimentError(
            f"task gym:{id}: MuJoCo cannot be imported ({type(error).__name__}: {error}); unset MUJOCO_GL ({way}), or "
            "install what it names"
        ) from None
    folder = Path(mujoco.__file__).parent
    library = next((path for pattern in ("libmujoco*", "mujoco.dll") for path in sorted(folder.glob(pattern))), None)
    if library is None:
        raise ExperimentError(f"task gym:{id}: MuJoCo's library is not in {folder}; reinstall mujoco, or use --no-compiled")
    connect(ctypes.CDLL(str(library)))
    assets = Path(gymnasium.envs.mujoco.__file__).parent / "assets"
    if factors is None:
        return mujoco.MjModel.from_xml_path(str(assets / xml))
    model = mujoco.MjModel.from_xml_string(_with_pole((assets / xml).read_text("utf-8"), factors))
    model.opt.gravity[:] *= factors["gravity"]
    model.actuator_gear[:] *= factors["motor_strength"]
    return model


def _with_pole(xml: str, factors: Mapping[str, float]) -> str:
    """The model's text, with another pole of the inverted pendulum; mass and inertia follow from it at the same density."""
    if "pole_length" not in factors:
        return xml
    tree = ElementTree.fromstring(xml)
    pole = tree.find(".//geom[@name='cpole']")
    assert pole is not None
    for attribute, factor in (("fromto", factors["pole_length"]), ("size", factors["pole_radius"])):
        pole.set(attribute, " ".join(repr(float(number) * factor) for number in pole.attrib[attribute].split()))
    return ElementTree.tostring(tree, encoding="unicode")


def _open(model: Any) -> TaskState:
    """A simulation of its own: the addresses that kernels read, and the data they belong to."""
    import mujoco

    data = mujoco.MjData(model)
    start_qpos, start_qvel = data.qpos.copy(), data.qvel.copy()
    arrays = [getattr(data, name) for name in _OF_DATA]
    arrays += [model.body_mass, start_qpos, start_qvel, model.actuator_ctrlrange]
    addresses = np.zeros(_STATE_SIZE, np.int64)
    addresses[[MODEL, DATA]] = model._address, data._address
    addresses[FIRST_ARRAY:] = [values.ctypes.data for values in arrays]
    return TaskState(addresses.view(np.float64), (model, data, arrays))


def _make_reset(sizes: _Sizes, noise: float, normal_velocity: bool) -> Any:
    nq, nv = sizes.nq, sizes.nv

    @kernel
    def reset(state, random):
        simulation = state.view(np.int64)
        qpos, qvel = array(simulation, QPOS, nq), array(simulation, QVEL, nv)
        start_qpos, start_qvel = array(simulation, START_QPOS, nq), array(simulation, START_QVEL, nv)
        mj_resetData(simulation[MODEL], simulation[DATA])
        for k in range(nq):
            qpos[k] = start_qpos[k] + (-noise + (noise + noise) * random[k])
        for k in range(nv):
            if normal_velocity:  # Box and Muller 1958
                radius = math.sqrt(-2.0 * math.log(1.0 - random[nq + k]))
                qvel[k] = start_qvel[k] + noise * radius * math.cos(2.0 * math.pi * random[nq + nv + k])
            else:
                qvel[k] = start_qvel[k] + (-noise + (noise + noise) * random[nq + k])
        mj_forward(simulation[MODEL], simulation[DATA])

    return reset


def _make_step(sizes: _Sizes, body: _Body) -> Any:
    nu, frame_skip = sizes.nu, body.frame_skip
    place, reward = body.place(sizes), body.reward(sizes)

    @kernel
    def step(state, output):
        simulation = state.view(np.int64)
        ctrl, limits = array(simulation, CTRL, nu), array(simulation, CTRL_RANGE, 2 * nu)
        effort = 0.0
        for k in range(nu):
            action = in_range(output[k], limits[2 * k], limits[2 * k + 1])
            ctrl[k] = action
            effort += np.float64(action) * np.float64(action)
        before = place(simulation)
        for _ in range(frame_skip):
            mj_step(simulation[MODEL], simulation[DATA])
        mj_rnePostConstraint(simulation[MODEL], simulation[DATA])
        return reward(simulation, place(simulation) - before, effort)

    return step
