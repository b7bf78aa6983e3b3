"""PPO with an LSTM: the library itself is the oracle; what is ours is episodes, seeds, memory and resuming."""

import functools
import random
import sys

import gymnasium
import numpy as np
import pytest

from rsrp_lava import EngineError, Experiment, ExperimentError, rules, train
from rsrp_lava.kernels.random_bits import EVALUATION, fill_start
from rsrp_lava.rules import ppo_lstm
from rsrp_lava.threads import Threads

SMALL = {"hidden": 8, "lstm": 4}


def experiment(task="cartpole", **settings):
    options = {**SMALL, **settings.pop("rule_options", {})}
    return Experiment(
        **{"population": 2, "generations": 4, "evaluation_episodes": 3, "evaluate_every": 2, "task": task, **settings},
        rule="ppo_lstm",
        rule_options=options,
    )


def test_without_the_library_the_extra_is_named(monkeypatch, call):
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    monkeypatch.delitem(sys.modules, "rsrp_lava.rules.ppo_lstm_library", raising=False)
    monkeypatch.delattr(rules, "ppo_lstm_library", raising=False)
    monkeypatch.setattr(ppo_lstm, "_library", functools.cache(ppo_lstm._library.__wrapped__))
    code, _, stderr = call("train", "cartpole", "--rule", "ppo_lstm", "--out", "run")
    assert code == 2
    assert stderr.strip().endswith("is not installed; pip install 'rsrp-lava[baselines]'")
    assert len(stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"task": "digits"},
            "rule: ppo_lstm cannot learn digits: it plays environments of Gymnasium, and this task has none",
        ),
        (
            {"task": "gym:CartPole-v1", "environment": {"compiled": False, "on_error": "worst_rank"}},
            "it ranks no samples (environment.on_error)",
        ),
        ({"rule_options": {"epochs": 0}}, "rule_options.epochs: 0 — input should be greater than or equal to 1"),
        ({"rule_options": {"critic": "both"}}, "rule_options.critic: both — input should be 'own', 'shared' or 'none'"),
        ({"rule_options": {"clipp": 1}}, "rule_options.clipp: no such setting; did you mean 'rule_options.clip'?"),
        ({"rule_options": {"max_grad_norm": 0}}, "rule_options.max_grad_norm: 0 — input should be greater than 0"),
    ],
)
def test_what_it_cannot_do_is_refused(settings, text):
    with pytest.raises(ExperimentError) as error:
        experiment(**settings)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("space", "known"),
    [
        (gymnasium.spaces.Discrete(3), True),
        (gymnasium.spaces.Discrete(3, start=1), False),
        (gymnasium.spaces.Box(-1, 1, (2,)), True),
        (gymnasium.spaces.Box(-np.inf, 1, (2,)), False),
        (gymnasium.spaces.Box(0, 9, (2,), np.int64), False),
        (gymnasium.spaces.MultiDiscrete([2, 3]), True),
        (gymnasium.spaces.MultiDiscrete([[2], [3]]), False),
        (gymnasium.spaces.MultiBinary(3), False),
        (gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(2)]), False),
    ],
)
def test_actions_that_the_library_knows(space, known):
    assert ppo_lstm._is_known(space) == known


class Odd(gymnasium.Env):
    """Ends after five steps; fails as it is told to. What it was given is in `seen`: seeds, and (action, reward)s."""

    observation_space = gymnasium.spaces.Dict(
        {"n": gymnasium.spaces.Discrete(2), "x": gymnasium.spaces.Box(-1, 1, (2,), np.float64)}
    )
    seen: list = []  # noqa: RUF012

    def __init__(self, fault=None, actions="box", length=5):
        self.fault, self.length = fault, length
        spaces = {
            "box": gymnasium.spaces.Box(np.float32([-1, 0]), np.float32([1, 3])),
            "discrete": gymnasium.spaces.Discrete(3),
            "several": gymnasium.spaces.MultiDiscrete([2, 3]),
            "tuple": gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(2)]),
        }
        self.action_space = spaces[actions]

    def _observe(self):
        x = self.np_random.uniform(-1, 1, 2)
        return {"n": int(x[0] > 0), "x": np.array([np.nan, 0]) if self.fault == "observation" and self.t == 3 else x}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seen.append(seed)
        self.t = 0
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.t += 1
        if self.fault == "raise" and self.t == 3:
            raise RuntimeError("lost")
        reward = np.inf if self.fault == "reward" and self.t == 3 else float(self.np_random.normal())
        self.seen.append((action, reward))
        return self._observe(), reward, self.t == self.length, False, {}


gymnasium.register("PpoOdd-v0", Odd, max_episode_steps=50)


def odd(**kwargs):
    return experiment(f"gym:{__name__}:PpoOdd-v0", environment={"kwargs": kwargs})


def test_actions_the_library_has_not_are_refused():
    with pytest.raises(ExperimentError, match=r"its library has no actions of Tuple\(Discrete\(2\)\); choose another rule"):
        odd(actions="tuple")


@pytest.fixture
def library():
    pytest.importorskip("torch", reason='needs torch: pip install "rsrp-lava[baselines]"')
    pytest.importorskip("sb3_contrib", reason='needs sb3-contrib: pip install "rsrp-lava[baselines]"')
    return ppo_lstm._library()


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_resumed_run_is_the_run(library, tmp_path):
    """Through the checkpoint, and with another number of threads: same weights, moments and records."""
    whole = train(experiment(), threads=1)
    train(experiment(generations=2), threads=1, out=tmp_path / "run")
    there = min(2, Threads().count)
    resumed = train(experiment(), threads=there, resume=tmp_path / "run")
    assert same(whole.state.memory, resumed.state.memory)
    assert whole.summary["weights_sha256"] == resumed.summary["weights_sha256"]
    strip = lambda records: [{k: v for k, v in r.items() if k != "seconds"} for r in records]  # noqa: E731
    assert strip(whole.metrics) == strip(resumed.metrics)
    assert whole.state.updates > 0
    start = experiment().build_weight_rule().start()
    assert not np.array_equal(
        whole.state.memory["weights/lstm_actor.weight_hh_l0"], start["weights/lstm_actor.weight_hh_l0"]
    )


def test_seeds_and_generations_differ(library):
    rule, threads = experiment().build_weight_rule(), Threads(1)
    other = experiment(seed=1).build_weight_rule()
    assert not same(rule.start(), other.start())
    played = [rule.learn(rule.start(), generation, 3, threads).returns.tolist() for generation in (0, 0, 1)]
    assert played[0] == played[1] != played[2]


def test_nothing_else_changes(library):
    """Evaluation changes no memory, and neither it nor learning the generators and threads of the process."""
    import torch

    rule, threads = experiment().build_weight_rule(), Threads(1)
    memory = rule.start()
    kept = {name: array.copy() for name, array in memory.items()}
    count = torch.get_num_threads()
    random.seed(1), np.random.seed(2), torch.manual_seed(3)  # noqa: NPY002
    expected = random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002
    random.seed(1), np.random.seed(2), torch.manual_seed(3)  # noqa: NPY002
    first = rule.evaluate(memory, 0, 5, threads)
    assert same(memory, kept)
    rule.learn({name: array.copy() for name, array in memory.items()}, 0, 2, threads)
    assert same(memory, kept)
    assert (random.random(), np.random.random(), torch.rand(1).item()) == expected  # noqa: NPY002
    assert torch.get_num_threads() == count
    again = rule.evaluate(memory, 0, 5, threads)
    assert np.array_equal(first.returns, again.returns)


def test_an_episode_is_evaluated_alike_beside_any_others(library):
    rule, threads = experiment().build_weight_rule(), Threads(1)
    memory = rule.start()
    few, many = (rule.evaluate(memory, 0, episodes, threads) for episodes in (3, 19))
    assert np.array_equal(few.steps, many.steps[:3])
    assert many.steps.min() > 0
    assert len(set(rule.evaluate(memory, 1, 19, threads).steps) | set(many.steps)) > 1


@pytest.mark.parametrize("critic", ["own", "shared", "none"])
@pytest.mark.parametrize("task", ["cartpole", "pendulum"])
def test_the_library_alone_plays_the_same(library, task, critic):
    """What was learned, in a RecurrentPPO of our own making, evaluates to the same returns: action by action, one episode
    at a time."""
    import torch
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from torch import nn

    class Extractor(BaseFeaturesExtractor):
        def __init__(self, space):
            super().__init__(space, 8)
            self.linear = nn.Linear(space.shape[0], 8)

        def forward(self, x):
            return nn.functional.relu(self.linear(x))

    e = experiment(task, rule_options={"critic": critic}, environment={"max_steps": 60}, learning_rate=0.02)
    rule, threads = e.build_weight_rule(), Threads(1)
    memory = rule.start()
    rule.learn(memory, 0, 3, threads)
    played = rule.evaluate(memory, 1, 3, threads)

    env = gymnasium.make(rule.problem.task.gymnasium_id, max_episode_steps=60)
    kwargs = {"net_arch": [], "features_extractor_class": Extractor, "lstm_hidden_size": 4}
    kwargs |= {"shared_lstm": critic == "shared", "enable_critic_lstm": critic == "own"}
    model = RecurrentPPO("MlpLstmPolicy", env, policy_kwargs=kwargs, device="cpu")
    names = {name for name, _ in model.policy.named_parameters()}
    assert names == {name.removeprefix("weights/") for name in memory if name.startswith("weights/")}
    model.policy.load_state_dict({n: torch.tensor(memory[f"weights/{n}"]) for n in names}, strict=False)
    for episode in range(3):
        drawn = np.empty(1)
        fill_start(e.seed, 1, EVALUATION, episode, False, drawn)
        observation, _ = env.reset(seed=int(drawn[0] * 2**31))
        total, steps, state, start, ended = 0.0, 0, None, True, False
        while not ended:
            action, state = model.predict(observation, state, np.array([start]), deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            total, steps, start, ended = total + reward, steps + 1, False, terminated or truncated
        assert steps == played.steps[episode]
        assert total == pytest.approx(played.returns[episode], rel=1e-4)
    assert len(set(played.returns)) > 1


def test_learning_is_the_librarys(library):
    """A generation's weights are those that RecurrentPPO itself reaches from the same start, seed and episodes."""
    import torch

    e = experiment(rule_options={"rollout_steps": 8}, population=2)
    rule = e.build_weight_rule()
    memory = rule.start()
    start = {name.removeprefix("weights/"): array.copy() for name, array in memory.items() if name.startswith("weights/")}
    played = rule.learn(memory, 5, 2, Threads(1))
    n_steps = int(played.steps.sum())
    assert played.updates == 2 * (n_steps // 8) - (0 if n_steps % 8 else 2)
    with library.reproducible(rule._torch_seed(5, ppo_lstm.ACTION)):
        model = rule._model(rule._open(5, 0, iter(range(100))))
        model.policy.load_state_dict({name: torch.tensor(array) for name, array in start.items()}, strict=False)
        model.learn((played.updates // 2) * 8)
    for name, parameter in model.policy.named_parameters():
        assert np.array_equal(parameter.detach().numpy(), memory[f"weights/{name}"]), name


@pytest.mark.parametrize("actions", ["box", "discrete", "several"])
def test_episodes_are_the_environments_own(library, actions):
    """Returns are undivided sums, every episode has its own seed, actions stay in their space, and a generation ends with
    its last episode."""
    rule = odd(actions=actions).build_weight_rule()
    Odd.seen.clear()
    memory = rule.start()
    Odd.seen.clear()
    played = rule.learn(memory, 2, 7, Threads(1))
    episodes, current = [], None
    for entry in Odd.seen:
        if isinstance(entry, tuple):
            current[1].append(entry[1])
        else:
            current = (entry, [])
            episodes.append(current)
    assert not episodes[-1][1]  # the library resets at once
    assert len(episodes) == 8
    assert played.returns.tolist() == [sum(rewards) for _, rewards in episodes[:-1]]
    assert played.steps.tolist() == [5] * 7
    assert played.updates == 2 * (35 // 20)
    starts = []
    for k in range(8):
        drawn = np.empty(1)
        fill_start(0, 2, 0, k, False, drawn)
        starts.append(int(drawn[0] * 2**31))
    assert [seed for seed, _ in episodes] == starts
    assert len(set(starts)) == 8


def test_too_few_steps_for_an_update_change_nothing(library):
    rule = odd().build_weight_rule()
    memory = rule.start()
    kept = {name: array.copy() for name, array in memory.items()}
    played = rule.learn(memory, 0, 3, Threads(1))
    assert (played.updates, len(played.returns)) == (0, 3)
    assert same(memory, kept)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("raise", f"gym:{__name__}:PpoOdd-v0: step raised RuntimeError: lost (episode with seed "),
        ("reward", f"gym:{__name__}:PpoOdd-v0: step gave reward inf (episode with seed "),
        ("observation", f"gym:{__name__}:PpoOdd-v0: an observation is not finite (episode with seed "),
    ],
)
def test_an_environment_that_fails_ends_the_run(library, fault, text):
    rule = odd(fault=fault).build_weight_rule()
    memory = rule.start()
    for play in (rule.learn, rule.evaluate):
        with pytest.raises(EngineError) as error:
            play(memory, 0, 2, Threads(1))
        assert str(error.value).startswith(text)
        assert str(error.value).endswith("; mend the environment")


def test_weights_that_explode_end_the_run(library):
    rule = experiment(learning_rate=1e30, rule_options={"rollout_steps": 4}).build_weight_rule()
    with pytest.raises(EngineError, match="until actions can no longer be drawn; lower learning_rate"):
        rule.learn(rule.start(), 0, 20, Threads(1))


class Recall(gymnasium.Env):
    """Say in the second step what was shown in the first: nothing but a memory earns more than ½."""

    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown, self.t = int(self.np_random.integers(2)), 0
        return np.array([2 * self.shown - 1, 0], np.float32), {}

    def step(self, action):
        self.t += 1
        return np.array([0, 1], np.float32), float(self.t == 2 and action == self.shown), self.t == 2, False, {}


gymnasium.register("PpoRecall-v0", Recall, max_episode_steps=5)


def recalled(**settings):
    options = {"rollout_steps": 32, "reward_divisor": 1.0, "normalize_advantage": True, "epochs": 4}
    e = experiment("gym:PpoRecall-v0", rule_options=options, population=400, **settings)
    rule = e.build_weight_rule()
    memory = rule.start()
    rule.learn(memory, 0, e.population, Threads(1))
    return rule.evaluate(memory, 1, 64, Threads(1)).returns.mean()


def test_it_learns_what_only_a_memory_can(library):
    assert recalled(learning_rate=0.02) > 0.95
    assert recalled(learning_rate=1e-9) < 0.8


@pytest.mark.slow
def test_it_learns_cartpole(library):
    """Random pushes last 22 steps on average."""
    options = {"hidden": 64, "lstm": 32}
    result = train(experiment(population=50, generations=3, rule_options=options, evaluate_every=3), threads=1)
    returns = [record["sampled_return"] for record in result.metrics if "sampled_return" in record]
    assert returns[0] < 40
    assert returns[-1] > 100
