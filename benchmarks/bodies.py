"""A body whose network is simulated too, against the body alone; and one call of the network from Python."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np

from benchmarks.timing import alternate, seconds
from rsrp_lava import Experiment
from rsrp_lava.engines import open_engine, open_local
from rsrp_lava.engines.fused import FusedEngine
from rsrp_lava.engines.gym import GymEngine
from rsrp_lava.kernels.held import hold
from rsrp_lava.kernels.random_bits import MEMBRANE, TASK, fill_uniform
from rsrp_lava.kernels.rollout import act, allocate_state, draw_sample, start_episode
from rsrp_lava.network import ReleaseProbabilities
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.tasks import EpisodeTask
from rsrp_lava.threads import Threads

HUMANOID = Experiment(task="gym:Humanoid-v5", population=128)
#: A body that falls over is put up again; without contacts with the ground it would be cheaper than in training.
_SAMPLES = 256


def humanoid(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """Environment steps of a generation against MuJoCo's own steps with random actions, on the same processors."""
    label = "environment steps of Humanoid-v5"
    if importlib.util.find_spec("mujoco") is None:
        yield (label, "—", "—", "—", "not measured: MuJoCo is not installed")
        return
    engine = open_engine(HUMANOID, Threads(threads))
    engine.prepare(None)
    half = HUMANOID.build_network().initial_probabilities({})
    normaliser = Normaliser.start(348)
    normaliser = normaliser.update(engine.play(half, normaliser, 0, _SAMPLES).observations)
    steps = int(engine.play(half, normaliser, 1, _SAMPLES).steps.sum())
    # The networks' actions make more contacts than random ones, and contacts are most of the physics.
    episodes = list(recorded(half, normaliser))
    for actions, alone in (
        ("random", lambda: step_alone(steps, threads)),
        ("the networks'", lambda: repeat(episodes, threads)),
    ):
        ours, other, ratio = alternate(lambda: engine.play(half, normaliser, 1, _SAMPLES), alone, rounds)
        yield (
            label,
            f"{steps / ours:,.0f} /s",
            f"{steps / other:,.0f} /s",
            f"{100 * ratio:.0f} %",
            f"MuJoCo alone, {actions} actions, the same threads",
        )
    engine.close()


def recorded(half: ReleaseProbabilities, normaliser: Normaliser) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Of each sample of generation 1 the random numbers of its start and its actions."""
    task, engine = HUMANOID.build_task(), open_local(HUMANOID, Threads(1), 0)
    assert isinstance(task, EpisodeTask)
    assert isinstance(engine, FusedEngine)
    synapses, constants, mean, inverse_std, _, key = engine._arguments(half, normaliser, 1, False)
    simulation, state = task.open_state(), allocate_state(synapses, constants, task.n_observations, task.n_outputs)
    held = hold((state, constants, mean, inverse_std, engine._tally(0)))
    observation = np.zeros(task.n_observations)
    for sample in range(_SAMPLES):
        random, potentials = np.empty(task.random_size), np.empty(constants.n_neurons)
        draw_sample(state, synapses, key, sample)
        fill_uniform(0, 1, sample, MEMBRANE, potentials)
        fill_uniform(0, 1, sample, TASK, random)
        start_episode(state, constants, potentials)
        task.reset(simulation.values, random)
        actions, ended = [], False
        while not ended:
            task.observe(simulation.values, observation)
            act(held, observation)
            actions.append(state.output.copy())
            _, ended = task.step(simulation.values, state.output)
        yield random, actions


def repeat(episodes: list[tuple[np.ndarray, list[np.ndarray]]], threads: int) -> None:
    """The physics of recorded episodes, on threads."""
    task = HUMANOID.build_task()
    assert isinstance(task, EpisodeTask)

    def work(first: int) -> None:
        simulation = task.open_state()
        for random, actions in episodes[first::threads]:
            task.reset(simulation.values, random)
            for action in actions:
                task.step(simulation.values, action)

    in_threads(work, threads)


def step_alone(steps: int, threads: int) -> None:
    """Humanoid steps with random actions on threads; bodies that fall start anew."""
    import mujoco

    body: Any = HUMANOID.build_task()
    model = body.open_state().held[0]

    def work(seed: int) -> None:
        random, data = np.random.default_rng(seed), mujoco.MjData(model)
        for _ in range(steps // threads):
            data.ctrl[:] = random.uniform(-0.4, 0.4, model.nu)
            mujoco.mj_step(model, data, nstep=5)
            mujoco.mj_rnePostConstraint(model, data)
            if not 1.0 < data.qpos[2] < 2.0:
                mujoco.mj_resetData(model, data)

    in_threads(work, threads)


def in_threads(work: Callable[[int], None], threads: int) -> None:
    """Call `work(0)`, `work(1)`, … at the same time."""
    workers = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def network_call(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """256 neurons, 33 simulation steps, from Python, with the draw of an episode's synapses spread over its steps."""
    experiment = Experiment(task="gym:CartPole-v1", environment={"compiled": False})
    engine = open_local(experiment, Threads(1), 0)
    assert isinstance(engine, GymEngine)
    engine.prepare(None)
    half = experiment.build_network().initial_probabilities({})
    playing = engine._open(half, Normaliser.start(4), deterministic=False)
    observations = np.random.default_rng(0).normal(size=(200, 4))
    potentials = np.zeros(256)

    def episode() -> None:
        draw_sample(playing.state, playing.synapses, (0, 0, 0), 1)
        start_episode(playing.state, engine._constants, potentials)
        for observation in observations.copy():
            act(playing.held, observation)

    episode()
    times = sorted(seconds(episode) / 200 for _ in range(10 * rounds))
    env = gymnasium.make("CartPole-v1").unwrapped
    env.reset(seed=0)
    started = time.perf_counter()
    for k in range(2000):
        env.step(k % 2)
    alone = (time.perf_counter() - started) / 2000
    middle = times[len(times) // 2]
    yield (
        "network call of an environment step, from Python",
        f"{middle * 1e6:.1f} µs",
        f"{alone * 1e6:.1f} µs",
        f"{alone / middle:.2f} ×",
        "CartPole-v1's own step in Python",
    )
