"""A body whose network is simulated too, against the body alone; and one call of the network from Python."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from benchmarks.timing import alternate, seconds
from rsrp_lava import Experiment
from rsrp_lava.engines import open_engine, open_local
from rsrp_lava.engines.gym import GymEngine
from rsrp_lava.engines.protocol import Normaliser
from rsrp_lava.engines.threads import Threads
from rsrp_lava.kernels.rollout import act, draw_sample, start_episode

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
    ours, other, ratio = alternate(
        lambda: engine.play(half, normaliser, 1, _SAMPLES), lambda: step_alone(steps, threads), rounds
    )
    engine.close()
    yield (
        label,
        f"{steps / ours:,.0f} /s",
        f"{steps / other:,.0f} /s",
        f"{100 * ratio:.0f} %",
        "MuJoCo alone, random actions, the same threads",
    )


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

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(threads)]
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
    observations = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    potentials = np.zeros(256)

    def episode() -> None:
        draw_sample(playing.state, playing.synapses, (0, 0, 0), 1)
        start_episode(playing.state, engine._constants, potentials)
        for observation in observations.copy():
            act(playing.state, engine._constants, observation, *playing.scaling, playing.tally)

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
