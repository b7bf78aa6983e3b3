"""Acrobot, both mountain cars and the pendulum against Gymnasium's: bit for bit, as CartPole in test_cartpole.py.

As there, it is assumed that NumPy's sine and cosine (here also powers) of a float64 scalar are the C library's.
"""

import math
from dataclasses import dataclass

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.acrobot import wrap
from scipy.stats import kstest

from rsrp_lava import Experiment, train
from rsrp_lava.tasks import acrobot, get_task, recipe

#: NumPy 2 keeps a float32 scalar times a Python number in float32, where NumPy 1 and the tasks compute in float64. There
#: Gymnasium is given state and action in float64, which makes its arithmetic that of NumPy 1.
FLOAT32_IS_CONTAGIOUS = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
#: Where each state variable starts: uniform between these.
STARTS = {
    "acrobot": [(-0.1, 0.1)] * 4,
    "mountain_car": [(-0.6, -0.4), (0, 0)],
    "mountain_car_continuous": [(-0.6, -0.4), (0, 0)],
    "pendulum": [(-np.pi, np.pi), (-1, 1)],
}
#: Where single steps start: up to every limit (beyond the angles'), more often than random episodes get there.
ANYWHERE = {
    "acrobot": [(-np.pi, np.pi), (-np.pi, np.pi), (-4 * np.pi, 4 * np.pi), (-9 * np.pi, 9 * np.pi)],
    "mountain_car": [(-1.2, 0.6), (-0.07, 0.07)],
    "mountain_car_continuous": [(-1.2, 0.6), (-0.07, 0.07)],
    "pendulum": [(-20, 20), (-8, 8)],
}
EPISODES = {"acrobot": 12, "mountain_car": 40, "mountain_car_continuous": 12, "pendulum": 40}

every_task = pytest.mark.parametrize("name", STARTS)


@dataclass
class Trajectory:
    """An episode from the first step on; arrays have a row a step."""

    states: np.ndarray
    observations: np.ndarray
    rewards: np.ndarray
    ended: bool


def trajectory(steps):
    states, observations, rewards, ends = zip(*steps, strict=True)
    assert not any(ends[:-1])
    return Trajectory(np.array(states), np.array(observations), np.array(rewards), ends[-1])


def play(task, state, policy):
    """Our episode from this state, and its outputs; `policy(step, state)` gives an output."""
    steps, outputs, state = [], [], state.copy()
    while len(steps) < task.max_steps and not (steps and steps[-1][3]):
        outputs.append(np.array(policy(len(steps), state), np.float32))
        observation = np.empty(task.n_observations)
        reward, ended = task.step(state, outputs[-1])
        task.observe(state, observation)
        steps.append((state.copy(), observation, reward, ended))
    return trajectory(steps), outputs


def action_of(gym, output):
    if isinstance(gym.action_space, gymnasium.spaces.Discrete):
        return int(np.argmax(output))
    low, high = gym.action_space.low, gym.action_space.high
    action = low + (np.clip(output, -1, 1) + 1) / 2 * (high - low)
    assert action.dtype == np.float32
    assert gym.action_space.contains(action)
    return action


def gym_step(gym, output):
    """State, observation, reward, terminated, truncated."""
    action = action_of(gym, output)
    if FLOAT32_IS_CONTAGIOUS:
        gym.unwrapped.state = np.asarray(gym.unwrapped.state, np.float64)
        action = action if isinstance(action, int) else action.astype(np.float64)
    observation, reward, terminated, truncated, _ = gym.step(action)
    return np.array(gym.unwrapped.state, np.float64), observation, reward, terminated, truncated


def replay(gym, outputs):
    """Gymnasium's episode with these outputs, which must last exactly as long as they do."""
    steps = []
    for output in outputs:
        *step, truncated = gym_step(gym, output)
        steps.append(step)
        assert truncated == (len(steps) == gym.spec.max_episode_steps)
    assert steps[-1][3] or truncated
    return trajectory(steps)


def assert_same_bits(ours, theirs):
    if theirs.dtype == np.float32:  # observations: ours hold the same numbers in float64
        theirs = theirs.astype(np.float64)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)  # says where
    assert ours.tobytes() == theirs.tobytes()  # also the sign of zero


def assert_same_episode(name, gym, seed, policy):
    """Play one from Gymnasium's start; returns it."""
    gym.reset(seed=seed)
    ours, outputs = play(get_task(name), np.array(gym.unwrapped.state, np.float64), policy)
    theirs = replay(gym, outputs)
    for array in ("states", "observations", "rewards"):
        assert_same_bits(getattr(ours, array), getattr(theirs, array))
    assert ours.ended == theirs.ended
    return ours


@pytest.fixture
def gym(name):
    return gymnasium.make(get_task(name).gymnasium_id, disable_env_checker=True)


def random_output(random, size):
    """Moderate, exactly equal or extreme ones."""
    kind = random.integers(3)
    return (random.normal(size=size), random.integers(-1, 2, size), random.choice([-10, 10], size))[kind]


# --- steps -------------------------------------------------------------------------------------------------------------


@every_task
def test_random_episodes_equal_gymnasium_bit_for_bit(name, gym):
    """An output is held for some steps in every second episode, so that the car and the links get somewhere."""
    task, random = get_task(name), np.random.default_rng(0)
    for episode in range(EPISODES[name]):
        held = [random_output(random, task.n_outputs) for _ in range(task.max_steps)]
        span = 1 + 24 * (episode % 2)
        assert_same_episode(name, gym, episode, lambda step, _, held=held, span=span: held[step // span])


#: Forces along the velocity: the energy grows, and the goal is reached.
PUMPS = {
    "acrobot": lambda state: [-state[3], 0, state[3]],
    "mountain_car": lambda state: [-state[1], 0, state[1] or 1],
    "mountain_car_continuous": lambda state: [10 if state[1] >= 0 else -10],
    "pendulum": lambda state: [10 if state[1] >= 0 else -10],
}


@every_task
def test_pumped_episodes_equal_gymnasium_to_the_goal(name, gym):
    """… which the pendulum does not have: it turns over and over, at the largest speed there is."""
    task = get_task(name)
    for seed in range(10):
        pumped = assert_same_episode(name, gym, seed, lambda step, state: PUMPS[name](state))
        assert pumped.ended == (name != "pendulum")
        assert (len(pumped.rewards) < task.max_steps) == pumped.ended
        if name == "acrobot":
            first, second = pumped.states[-1, :2]
            assert -math.cos(first) - math.cos(first + second) > 1
            assert (pumped.rewards[:-1] == -1).all()
            assert pumped.rewards[-1] == 0
        elif name == "mountain_car":
            assert pumped.states[-1, 0] >= 0.5 > pumped.states[:-1, 0].max()
            assert (pumped.rewards == -1).all()
        elif name == "mountain_car_continuous":
            assert pumped.states[-1, 0] >= np.float32(0.45) > pumped.states[:-1, 0].max()
            np.testing.assert_allclose(pumped.rewards, [*[-0.1] * (len(pumped.rewards) - 1), 99.9], rtol=1e-15)
        else:
            assert abs(pumped.states).max(axis=0)[0] > 4 * np.pi
            assert abs(pumped.states).max(axis=0)[1] == 8


@every_task
def test_single_steps_from_anywhere_equal_gymnasium_bit_for_bit(name, gym):
    """Speeds beyond their limits, angles beyond π and both ends of the hill are among them; so is the end."""
    task, random = get_task(name), np.random.default_rng(1)
    low, high = np.array(ANYWHERE[name]).T
    ours, theirs = [], []
    gym = gym.unwrapped
    gym.reset()
    for _ in range(4000):
        state = random.uniform(low, high)
        if name == "mountain_car_continuous":
            state = state.astype(np.float32).astype(np.float64)
        gym.state = state.copy()
        output = random_output(random, task.n_outputs).astype(np.float32)
        theirs.append(gym_step(gym, output)[:4])
        observation = np.empty(task.n_observations)
        reward, ended = task.step(state, output)
        task.observe(state, observation)
        ours.append((state, observation, reward, ended))
    for mine, gyms in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True):
        assert_same_bits(np.array(mine), np.array(gyms))
    states, ends = np.array([step[0] for step in ours]), sum(step[3] for step in ours)
    assert (20 < ends < 3980) == (name != "pendulum")
    if name == "acrobot":
        assert (abs(states[:, 2]) == 4 * np.pi).sum() > 20
        assert (abs(states[:, 3]) == 9 * np.pi).sum() > 20
        assert abs(states[:, :2]).max() <= np.pi
    elif name == "pendulum":
        assert (abs(states[:, 1]) == 8).sum() > 20
    else:
        assert (states[:, 0] == states[:, 0].min()).sum() > 20  # at the wall, where the car stops
        assert (states[states[:, 0] == states[:, 0].min(), 1] == 0).all()
        assert (states[:, 0] == states[:, 0].max()).sum() > 20
        assert (abs(states[:, 1]) == abs(states[:, 1]).max()).sum() > 20


@pytest.mark.parametrize(
    ("name", "goal", "push", "finest", "found"),
    [
        ("mountain_car", 0.5, -0.001, 2.0**-55, {(False, False), (True, True)}),
        ("mountain_car_continuous", 0.45, 0.125 * 0.0015, 2.0**-30, {(False, False), (False, True), (True, True)}),
    ],
)
def test_the_goal_itself_is_the_end(name, gym, goal, push, finest, found):
    """Velocities that lead to the goal or miss it by the last bits; found: at the goal after the step, ended.

    The continuous car's goal is no float32: it counts before the position is rounded, here downwards.
    """
    task, gym = get_task(name), gym.unwrapped
    gym.reset()
    position, output = 0.4375, np.full(task.n_outputs, 0.125, np.float32)
    velocity = goal - position - push + 0.0025 * math.cos(3 * position)
    seen = set()
    for k in range(-4, 5):
        state = np.array([position, velocity + k * finest])
        if name == "mountain_car_continuous":
            state[1] = np.float32(state[1])
        gym.state = state.copy()
        _, ended = task.step(state, output)
        gym_state, _, _, terminated, _ = gym_step(gym, output)
        assert_same_bits(state, gym_state)
        assert ended == terminated
        seen.add((bool(state[0] >= goal), ended))
    assert seen == found


def test_angles_are_wrapped_as_in_gymnasium():
    """Also by more than a turn, and at the limits, which stay what they are."""
    for angle in (np.pi, np.nextafter(np.pi, 4), -np.pi, np.nextafter(-np.pi, -4), 0.5, -3, 6.5, -7, 20, -20):
        assert acrobot.wrapped(float(angle)) == wrap(angle, -np.pi, np.pi)
    assert acrobot.wrapped(np.pi) == -acrobot.wrapped(-np.pi) == np.pi


@pytest.mark.parametrize("name", ["acrobot", "mountain_car"])
@pytest.mark.parametrize(
    ("output", "action"),
    [([0, 0, 0], 0), ([1, 1, 0], 0), ([0, 1, 1], 1), ([1, 0, 1], 0), ([-10, -10, 10], 2), ([-0.0, 0.0, -1], 0)],
)
def test_the_first_of_the_largest_outputs_acts(name, output, action):
    task = get_task(name)
    acted, clear = np.array([-0.5, 0, 0, 0][: task.state_size]), np.array([-0.5, 0, 0, 0][: task.state_size])
    task.step(acted, np.array(output, np.float32))
    task.step(clear, np.eye(3, dtype=np.float32)[action])
    np.testing.assert_array_equal(acted, clear)


@pytest.mark.parametrize(
    ("name", "cost"), [("mountain_car_continuous", 0.1), ("pendulum", 0.001 * 4)], ids=lambda value: str(value)
)
def test_an_output_beyond_one_is_the_largest_action(name, cost):
    """The reward of a step from rest (upright: without other costs) is the cost of the action."""
    task = get_task(name)
    for output, part in ((1, 1), (10, 1), (-1, 1), (-10, 1), (0.5, 0.25), (-0.5, 0.25), (0, 0)):
        reward, ended = task.step(np.zeros(2), np.array([output], np.float32))
        assert (reward, ended) == (pytest.approx(-cost * part, rel=1e-15), False)


# --- starts ------------------------------------------------------------------------------------------------------------


def start(task, random):
    state, observation = np.full(task.state_size, np.nan), np.empty(task.n_observations)
    task.reset(state, random)
    task.observe(state, observation)
    return state, observation


@every_task
def test_the_same_random_numbers_start_episodes_as_in_gymnasium(name, gym):
    """Gymnasium draws them from `default_rng(seed)`. Acrobot's first sines and cosines are of float32 there."""
    task = get_task(name)
    for seed in range(200):
        gym_observation, _ = gym.reset(seed=seed)
        state, observation = start(task, np.random.default_rng(seed).random(task.random_size))
        assert_same_bits(state, np.asarray(gym.unwrapped.state, np.float64))
        if name == "acrobot":
            np.testing.assert_array_max_ulp(observation.astype(np.float32), gym_observation, 2)
            gym.unwrapped.state = state
            gym_observation = gym.unwrapped._get_ob()
        assert_same_bits(observation, gym_observation)


@every_task
def test_starts_are_uniform(name):
    """The ends, the law of each variable in 10,000 starts, and that variables are independent."""
    task, random = get_task(name), np.random.default_rng(2)
    low, high = np.array(STARTS[name], float).T
    for uniform, end in ((0.0, low), (1 - 2.0**-53, high)):
        np.testing.assert_allclose(start(task, np.full(task.random_size, uniform))[0], end, rtol=1e-7)
    states = np.array([start(task, random.random(task.random_size))[0] for _ in range(10_000)])
    for variable, a, b in zip(states.T, low, high, strict=True):
        if a == b:
            assert (variable == a).all()
        else:
            assert kstest(variable, "uniform", (a, b - a)).pvalue > 1e-3
    varying = states[:, low < high]
    correlation = np.atleast_2d(np.corrcoef(varying.T)) - np.eye(varying.shape[1])
    np.testing.assert_allclose(correlation, 0, atol=5 / np.sqrt(10_000))


# --- as a task ---------------------------------------------------------------------------------------------------------


@every_task
def test_the_task_says_what_gymnasium_registers(name, gym):
    task, actions = get_task(name), gym.action_space
    assert task.name == name
    assert task.max_steps == gym.spec.max_episode_steps
    assert gym.spec.id in task.summary
    assert (task.n_observations,) == gym.observation_space.shape
    assert task.n_outputs == (actions.n if isinstance(actions, gymnasium.spaces.Discrete) else math.prod(actions.shape))
    assert task.state_size == len(STARTS[name])


@every_task
def test_networks_play_it_with_its_recipe(name):
    """A generation of small networks; returns are within the scale that the task says."""
    small = {"population": 8, "generations": 1, "evaluation_episodes": 4, "network": {"n_neurons": 16}}
    experiment, settings = Experiment(task=name, **small), recipe(name)
    assert experiment.learning_rate == settings["learning_rate"]
    assert experiment.network.input_gain == settings.get("network", {}).get("input_gain", 0.1)
    scale = get_task(name).return_scale
    first = train(experiment).metrics[0]
    assert -scale <= first["sampled_return"] <= scale
    assert math.isfinite(first["evaluation_return"])
