"""The gridworld against a twin written from its description, and the law of its slips."""

import numpy as np
import pytest
from scipy.stats import chisquare

import naive
from rsrp_lava import Experiment, train
from rsrp_lava.tasks import get_task
from rsrp_lava.threads import available_threads

TASK = get_task("gridworld")
#: Fourth word of the key of a slip, and the second and third.
SLIP = 5010
UP, DOWN, LEFT, RIGHT = range(4)
#: Where a step leads that goes as meant, to its left and to its right: names of compass points, clockwise.
COMPASS = "NESW"
POINT = {UP: "N", DOWN: "S", LEFT: "W", RIGHT: "E"}


def neighbour(cell, point):
    """Cells are numbered 1 … 100, as published."""
    wall = {"N": cell <= 10, "S": cell > 90, "W": cell % 10 == 1, "E": cell % 10 == 0}[point]
    return cell if wall else cell + {"N": -10, "S": 10, "W": -1, "E": 1}[point]


def outcomes(cell, action):
    """{cell: probability} after one step, in twentieths: 16 as meant, 1 to the left, 1 to the right, 2 stay."""
    ahead = COMPASS.index(POINT[action])
    law = {}
    for turn, part in ((0, 16), (-1, 1), (1, 1), (None, 2)):
        to = cell if turn is None else neighbour(cell, COMPASS[(ahead + turn) % 4])
        law[to] = law.get(to, 0) + part
    return {to: part / 20 for to, part in law.items()}


def twin_step(cell, key, count, action):
    """The slip is drawn from 53 random bits: below 0.8 as meant, below 0.85 left, below 0.9 right."""
    u = (naive.threefry4x64((key, 0, 0, SLIP), (0, count, 0, 0))[0] >> 11) / 2**53
    if u >= 0.9:
        return cell
    turn = 0 if u < 0.8 else -1 if u < 0.85 else 1
    return neighbour(cell, COMPASS[(COMPASS.index(POINT[action]) + turn) % 4])


def started(random):
    state = np.full(TASK.state_size, 7.0)
    TASK.reset(state, np.array([random]))
    return state


def go(state, action):
    return TASK.step(state, np.eye(4, dtype=np.float32)[action])


def cell_of(state):
    """As published, from the observation, of which exactly one number is 1."""
    observation = np.full(100, 9.0)
    TASK.observe(state, observation)
    assert sorted(set(observation)) == [0, 1]
    assert observation.sum() == 1
    return int(np.argmax(observation)) + 1


@pytest.mark.parametrize("episode", range(6))
def test_episodes_are_the_twin_s(episode):
    random = np.random.default_rng(episode)
    start = [0.0, 1 - 2.0**-53, *random.random(4)][episode]
    state, cell, key = started(start), 1, int(start * 2**53)
    assert cell_of(state) == 1
    for count in range(600):
        action = int(random.choice(4, p=[0.1, 0.4, 0.1, 0.4] if count > 100 else [0.25] * 4))
        cell = twin_step(cell, key, count, action)
        reward, ended = go(state, action)
        assert cell_of(state) == cell
        assert (reward, ended) == ((10.0, True) if cell == 100 else (0.0, False))
        if ended:
            break
    else:
        pytest.fail("the goal is found in this many steps, or something is wrong")


@pytest.mark.parametrize("cell", [1, 10, 91, 45, 50])
def test_slips_are_as_published(cell):
    """In one long episode: also successive slips are independent."""
    for action in range(4):
        state, expected = started(0.37 + 0.1 * action), outcomes(cell, action)
        counts = dict.fromkeys(expected, 0)
        for _ in range(4000):
            state[0] = cell - 1
            go(state, action)
            counts[cell_of(state)] += 1
        if len(expected) > 1:
            law = np.array([4000 * expected[to] for to in counts])
            assert chisquare(list(counts.values()), law).pvalue > 1e-3


def test_first_slips_of_many_episodes_are_as_published():
    counts = dict.fromkeys(outcomes(45, RIGHT), 0)
    for start in np.random.default_rng(1).random(4000):
        state = started(start)
        state[0] = 44
        go(state, RIGHT)
        counts[cell_of(state)] += 1
    law = np.array([4000 * outcomes(45, RIGHT)[to] for to in counts])
    assert chisquare(list(counts.values()), law).pvalue > 1e-3


def test_steps_of_a_sensible_agent_are_those_of_the_law():
    """Right to the wall, then down: the expected number of steps solves a linear system."""
    policy = {cell: RIGHT if cell % 10 else DOWN for cell in range(1, 100)}
    system, steps = np.eye(99), []
    for cell, action in policy.items():
        for to, p in outcomes(cell, action).items():
            if to < 100:
                system[cell - 1, to - 1] -= p
    expected = np.linalg.solve(system, np.ones(99))[0]
    for start in np.random.default_rng(2).random(1000):
        state, ended, count = started(start), False, 0
        while not ended:
            _, ended = go(state, policy[cell_of(state)])
            count += 1
        steps.append(count)
    assert 22 < expected < 24
    assert abs(np.mean(steps) - expected) < 3 * np.std(steps) / np.sqrt(1000)


def test_the_largest_output_decides_the_first_of_equal_ones():
    state = started(0.5)
    for output, action in (([0, 0, 0, 0], UP), ([-1, 2, 2, 1], DOWN), ([-3, -2, -1, -1], LEFT), ([0, 0, 0, 1e-6], RIGHT)):
        state[0], state[2] = 44, 0
        twin = twin_step(45, int(0.5 * 2**53), 0, action)
        TASK.step(state, np.array(output, np.float32))
        assert cell_of(state) == twin != 45


def test_task_says_what_it_is():
    assert (TASK.n_actions, TASK.n_outputs, TASK.max_steps, TASK.perfect_return) == (4, 4, 300, 10.0)


def test_engine_plays_it_alike_with_any_number_of_threads():
    experiment = Experiment(task="gridworld", population=12, generations=1, evaluation_episodes=2, network={"n_neurons": 16})
    one, two = (train(experiment, threads=n) for n in (1, min(2, available_threads())))
    assert one.summary["release_sha256"] == two.summary["release_sha256"]
    assert one.metrics[-1]["env_steps"] == two.metrics[-1]["env_steps"] > 0


@pytest.mark.slow
def test_rsrp_learns_it():
    result = train(Experiment(task="gridworld", generations=20, network={"n_neurons": 64}), until=9.0)
    assert result.metrics[-1]["evaluation_return"] >= 9.0
