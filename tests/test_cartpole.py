"""CartPole against Gymnasium's CartPole-v1: bit for bit in float64."""

import dataclasses

import gymnasium
import numpy as np
import pytest

import naive
from rsrp_lava.tasks import get_task

TASK = get_task("cartpole")
RIGHT, LEFT = np.array([0.1], np.float32), np.array([-0.1], np.float32)


@pytest.fixture(scope="module")
def gym():
    return gymnasium.make("CartPole-v1").unwrapped


def assert_same_step(gym, state, output):
    """Step both; our state is changed in place. Returns whether the episode ended."""
    observation = np.zeros(4)
    reward, ended = TASK.step(state, output)
    TASK.observe(state, observation)
    gym_observation, gym_reward, terminated, truncated, _ = gym.step(int(output[0] > 0))
    np.testing.assert_array_equal(state.view("u8"), np.asarray(gym.state, np.float64).view("u8"))
    np.testing.assert_array_equal(observation.view("u8"), gym_observation.astype(np.float64).view("u8"))
    assert (reward, ended, False) == (gym_reward, terminated, truncated)
    return ended


def test_a_thousand_random_episodes_equal_gymnasium_bit_for_bit(gym):
    random = np.random.default_rng(0)
    lengths = []
    for episode in range(1000):
        gym.reset(seed=episode)
        state, steps, ended = np.array(gym.state, np.float64), 0, False
        while not ended:
            ended = assert_same_step(gym, state, random.normal(size=1).astype(np.float32))
            steps += 1
        lengths.append(steps)
    assert 15 < np.mean(lengths) < 30
    assert max(lengths) > 60


def test_balanced_episodes_equal_gymnasium_bit_for_bit(gym):
    """A simple controller balances for 500 steps; now and then it is disturbed, so that all of the state is visited."""
    random = np.random.default_rng(1)
    longest = 0
    for episode in range(20):
        gym.reset(seed=episode)
        state = np.array(gym.state, np.float64)
        for step in range(TASK.max_steps):
            push = 0.1 * state[0] + 0.3 * state[1] + 3 * state[2] + state[3] + random.normal() * 0.1 * (episode % 3)
            longest = max(longest, step + 1)
            if assert_same_step(gym, state, np.array([push], np.float32)):
                break
    assert longest == 500


def test_single_steps_from_anywhere_equal_gymnasium_bit_for_bit(gym):
    """Around the limits of position and angle, which random episodes hardly reach, and at any speed."""
    random = np.random.default_rng(2)
    ends = 0
    for _ in range(3000):
        state = random.uniform([-2.8, -4, -0.25, -4], [2.8, 4, 0.25, 4])
        gym.reset()
        gym.state = state.copy()
        ends += assert_same_step(gym, state, random.choice([RIGHT, LEFT]))
    assert 500 < ends < 2500


@pytest.mark.parametrize(("index", "limit"), [(0, 2.4), (2, 12 * 2 * np.pi / 360)])
@pytest.mark.parametrize("side", [-1, 1])
def test_the_limits_themselves_are_still_inside(index, limit, side):
    """At rest the position (the angle) of the next step is this one's: ended only beyond the limit."""
    for factor, expected in ((1, False), (np.nextafter(1, 2), True)):
        state = np.zeros(4)
        state[index] = side * limit * factor
        assert TASK.step(state, RIGHT) == (1.0, expected)


@pytest.mark.parametrize("output", [0.0, -0.0, -1e-30, -5.0, np.nan])
def test_an_output_that_is_not_positive_pushes_left(output):
    state, left = np.zeros(4), np.zeros(4)
    TASK.step(state, np.array([output], np.float32))
    TASK.step(left, LEFT)
    np.testing.assert_array_equal(state, left)
    assert state[1] < 0


def test_the_smallest_positive_output_pushes_right():
    state = np.zeros(4)
    TASK.step(state, np.array([np.finfo(np.float32).smallest_subnormal]))
    assert state[1] > 0


def test_episodes_start_where_gymnasium_starts_them():
    """Uniform in [−0.05, 0.05): the ends, and the law of 10,000 starts."""
    state = np.empty(4)
    TASK.reset(state, np.array([0.0, 0.5, 0.25, 1 - 2.0**-53]))
    np.testing.assert_allclose(state, [-0.05, 0, -0.025, 0.05], rtol=0, atol=1e-16)
    starts = np.empty((10_000, 4))
    for sample, start in enumerate(starts):
        TASK.reset(start, np.random.default_rng(sample).random(4))
    assert np.all(np.abs(starts) <= 0.05)
    np.testing.assert_allclose(starts.mean(0), 0, atol=5 * 0.1 / np.sqrt(12 * 10_000))


def test_the_task_says_what_gymnasium_registers():
    spec = gymnasium.spec("CartPole-v1")
    assert TASK.max_steps == spec.max_episode_steps == 500
    assert TASK.return_scale == 500.0
    assert (TASK.n_observations, TASK.n_outputs, TASK.state_size, TASK.random_size) == (4, 1, 4, 4)
    assert dataclasses.is_dataclass(TASK)
    assert naive.TASK == 1001
