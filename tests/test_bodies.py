"""MuJoCo's bodies in compiled code against Gymnasium's v5 environments, step for step."""

import gymnasium
import numpy as np
import pytest

pytest.importorskip("mujoco", reason="MuJoCo is not installed (extra mujoco)")

from rsrp_lava import Experiment, ExperimentError, train
from rsrp_lava.tasks import get_task
from rsrp_lava.tasks.bodies import body_ids


@pytest.fixture(scope="module", params=body_ids())
def body(request):
    task, env = get_task(f"gym:{request.param}"), gymnasium.make(request.param).unwrapped
    yield task, task.open_state(), env
    env.close()


def action_of(space, output):
    """Outputs within [−1, 1] are scaled to the range of the motors."""
    part = (np.clip(output, np.float32(-1), np.float32(1)) + np.float32(1)) / np.float32(2)
    return space.low + part * (space.high - space.low)


def observed(task, state):
    observation = np.full(task.n_observations, np.nan)
    task.observe(state.values, observation)
    return observation


def start_alike(task, state, env, random):
    """Reset both, Gymnasium's to where ours has started."""
    env.reset(seed=0)
    task.reset(state.values, random)
    data = state.held[1]
    env.set_state(data.qpos.copy(), data.qvel.copy())
    return env._get_obs()


def test_episodes_equal_gymnasium(body):
    """Observations bit for bit; rewards but for the order and the width in which squares are added."""
    task, state, env = body
    random = np.random.default_rng(1)
    steps, ends = 0, 0
    for scale in (0.0, 0.3, 1.0, 3.0):
        for _ in range(2):
            theirs = start_alike(task, state, env, random.random(task.random_size))
            np.testing.assert_array_equal(observed(task, state), theirs)
            for _ in range(150):
                output = (random.normal(size=task.n_outputs) * scale).astype(np.float32)
                theirs, reward, terminated, _, _ = env.step(action_of(env.action_space, output))
                earned, ended = task.step(state.values, output)
                np.testing.assert_array_equal(observed(task, state), theirs)
                assert (earned, ended) == (pytest.approx(reward, rel=1e-9, abs=1e-6), bool(terminated))
                steps += 1
                if ended:
                    ends += 1
                    break
    assert steps > 50
    assert ends > 0 or task.gymnasium_id == "HalfCheetah-v5"


def test_starts_are_spread_as_gymnasiums(body):
    """Means and deviations of 2,000 starts of each, within five standard errors."""
    task, state, env = body
    random = np.random.default_rng(2)
    n, ours, theirs = 2000, [], []
    for k in range(n):
        task.reset(state.values, random.random(task.random_size))
        ours.append(np.concatenate([state.held[1].qpos, state.held[1].qvel]))
        if k < 500:  # theirs are slow
            env.reset(seed=k)
            theirs.append(np.concatenate([env.data.qpos, env.data.qvel]))
    ours, theirs = np.array(ours), np.array(theirs)
    spread = theirs.std(0)
    assert (abs(ours.mean(0) - theirs.mean(0)) <= 5 * spread * np.sqrt(1 / n + 1 / 500) + 1e-12).all()
    assert (abs(ours.std(0) - spread) <= 5 * spread / np.sqrt(2 * 500) + 1e-12).all()


def test_a_reset_leaves_nothing_of_the_last_episode(body):
    task, state, _ = body
    random = np.random.default_rng(3).random(task.random_size)
    outputs = np.random.default_rng(4).normal(size=(20, task.n_outputs)).astype(np.float32)
    seen = []
    for _ in range(2):
        task.reset(state.values, random)
        seen.append([(task.step(state.values, output)[0], observed(task, state).tolist()) for output in outputs])
    assert seen[0] == seen[1]


def test_the_task_is_what_gymnasium_registered(body):
    task, _, env = body
    spec = gymnasium.spec(task.gymnasium_id)
    assert (task.n_observations,) == env.observation_space.shape
    assert (task.n_outputs,) == env.action_space.shape
    assert task.max_steps == spec.max_episode_steps == 1000


def test_a_body_that_becomes_unstable_leaves_no_file_behind(body, tmp_path, monkeypatch, capfd):
    task, state, _ = body
    monkeypatch.chdir(tmp_path)
    task.reset(state.values, np.full(task.random_size, 0.5))
    state.held[1].qvel[:] = 1e12
    task.step(state.values, np.zeros(task.n_outputs, np.float32))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_one_answer_with_any_number_of_threads():
    experiment = Experiment(
        task="gym:Hopper-v5", population=16, generations=2, evaluation_episodes=4, network={"n_neurons": 64}
    )
    assert len({train(experiment, threads=threads).summary["release_sha256"] for threads in (1, 2)}) == 1


def test_compiled_and_python_episodes_agree():
    """The same network learns in both; their starts differ, so only what does not depend on them is compared."""
    options = {"population": 8, "generations": 1, "evaluation_episodes": 4, "network": {"n_neurons": 32}}
    compiled = Experiment(task="gym:InvertedPendulum-v5", **options)
    python = compiled.replace(environment={"compiled": False})
    assert compiled.build_network() == python.build_network()
    assert compiled.fingerprint != python.fingerprint
    ours, theirs = (train(experiment, threads=1).summary for experiment in (compiled, python))
    assert 1 <= ours["final_sampled_return"] <= 60
    assert 1 <= theirs["final_sampled_return"] <= 60


def test_engine_lava_refuses_bodies():
    with pytest.raises(ExperimentError, match="engine lava needs"):
        Experiment(task="gym:Hopper-v5", engine="lava")
