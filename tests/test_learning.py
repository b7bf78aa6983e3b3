"""Reward transforms, optimizers, the rule: hand values, symmetries, limits."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
from rsrp_lava import Experiment, train
from rsrp_lava.learning.hedonistic import Hedonistic, exponential
from rsrp_lava.learning.optimizers import OPTIMIZERS
from rsrp_lava.learning.rsrp import Rsrp, entropy_bits
from rsrp_lava.learning.transforms import TRANSFORMS, Broadcast, centered_rank, mean_reward, none, normalized_rank, zero_mean

NAN = math.nan
FLOAT32_HALF = np.full((3, 5), 0.5, np.float32)


def fixed(function):
    return settings(derandomize=True, deadline=None, max_examples=200)(function)


def scalars(broadcast):
    return (broadcast.units * broadcast.scale).tolist()


rewards_with_ties = st.lists(st.integers(-4, 4).map(float) | st.just(NAN) | st.floats(-1e6, 1e6), min_size=2, max_size=40)


# --- centered rank -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([1.0, 2.0], [-1 / 2, 1 / 2]),
        ([7.0, 7.0], [0, 0]),
        ([10.0, 30.0, 20.0], [-1 / 2, 1 / 2, 0]),
        ([1.0, 2.0, 2.0, 3.0], [-1 / 2, 0, 0, 1 / 2]),
        ([5.0, 5.0, 1.0], [1 / 4, 1 / 4, -1 / 2]),
        ([NAN, -1e300, 0.0], [-1 / 2, 0, 1 / 2]),
        ([NAN, NAN, 0.0], [-1 / 4, -1 / 4, 1 / 2]),
        ([math.inf, 1.0, 2.0], [1 / 2, -1 / 2, 0]),
        ([-0.0, 0.0, 1.0], [-1 / 4, -1 / 4, 1 / 2]),
    ],
)
def test_centered_rank_by_hand(rewards, expected):
    assert scalars(centered_rank(np.array(rewards))) == expected


@fixed
@given(rewards_with_ties)
def test_centered_rank_equals_its_definition_and_sums_to_zero(rewards):
    broadcast = centered_rank(np.array(rewards))
    assert broadcast.units.dtype == np.int32
    assert int(broadcast.units.sum()) == 0
    assert np.abs(broadcast.units).max() <= len(rewards) - 1
    np.testing.assert_allclose(scalars(broadcast), naive.centered_rank(rewards), rtol=0, atol=1e-15)


@fixed
@given(rewards_with_ties, st.randoms(use_true_random=False))
def test_centered_rank_follows_a_permutation(rewards, random):
    order = list(range(len(rewards)))
    random.shuffle(order)
    shuffled = centered_rank(np.array(rewards)[order])
    np.testing.assert_array_equal(shuffled.units, centered_rank(np.array(rewards)).units[order])


@fixed
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=40))
def test_centered_rank_sees_the_order_only(rewards):
    values = np.array(rewards, float)
    units = centered_rank(values).units
    for monotone in (3 * values - 7, values**3, np.exp(values / 10), np.arctan(values)):
        np.testing.assert_array_equal(centered_rank(monotone).units, units)
    np.testing.assert_array_equal(centered_rank(-values).units, -units)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 1000, 10_240])
@pytest.mark.parametrize("reward", [0.0, 500.0, NAN, -math.inf])
def test_equal_rewards_have_rank_zero(n, reward):
    broadcast = centered_rank(np.full(n, reward))
    assert broadcast.units.shape == (n,)
    assert not broadcast.units.any()
    assert math.isfinite(broadcast.scale)


# --- rewards that keep their scale -------------------------------------------------------------------------------------


def test_none_is_the_reward_itself_to_one_part_in_a_million():
    rewards = np.array([0.0, 1.0, -3.0, 500.0, 123.456, NAN])
    np.testing.assert_allclose(scalars(none(rewards)), [0.0, 1.0, -3.0, 500.0, 123.456, -3.0], rtol=0, atol=500 / 2**20)
    assert scalars(none(np.array([1.0, 2.0, -4.0]))) == [1.0, 2.0, -4.0]  # integers are exact
    assert np.abs(none(np.array([1e300, -1e300])).units).max() <= 2**20


@fixed
@given(rewards_with_ties)
def test_normalized_rank_has_the_variance_of_ranks_without_ties(rewards):
    values = np.array(rewards)
    broadcast, ranked = normalized_rank(values), centered_rank(values)
    np.testing.assert_array_equal(broadcast.units, ranked.units)
    u, without_ties = np.array(scalars(broadcast)), np.array(scalars(centered_rank(np.arange(len(rewards), dtype=float))))
    expected = (without_ties**2).sum() if ranked.units.any() else 0.0
    assert (u**2).sum() == pytest.approx(expected, rel=1e-12)


def test_normalized_rank_without_ties_is_centered_rank():
    for n in (2, 3, 10, 1000, 2**20):
        values = np.arange(float(n))
        assert normalized_rank(values).scale == centered_rank(values).scale


def test_normalized_rank_of_one_success():
    n = 256
    alone = np.zeros(n)
    alone[7] = 1.0
    factor = normalized_rank(alone).scale / centered_rank(alone).scale
    assert factor == pytest.approx(math.sqrt((n + 1) / 3), rel=1e-12)


def expected_credit(transform, n, rho):
    """Exact mean of 1/N Σ u_i (θ_i − ρ) over all draws of one synapse in n samples, where the reward is the release."""
    total = 0.0
    for released in itertools.product((0.0, 1.0), repeat=n):
        theta = np.array(released)
        probability = np.prod(np.where(theta == 1, rho, 1 - rho))
        total += probability * float((np.array(scalars(transform(theta))) * (theta - rho)).mean())
    return total


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("rho", [0.5, 0.2])
def test_the_first_step_of_zero_mean_is_not_shortened(n, rho):
    assert expected_credit(zero_mean, n, rho) == pytest.approx(rho * (1 - rho), rel=1e-5)  # Cov(R, θ); u in steps of 2^-20


def expected_rise_at_the_clip(n, rate, epsilon):
    """Exact mean of ρ' − ρ of a synapse at ρ = ε that no reward depends on, over all draws; ranks without ties."""
    u = np.array(scalars(centered_rank(np.arange(float(n)))))
    rise = 0.0
    for released in itertools.product((0.0, 1.0), repeat=n):
        theta = np.array(released)
        probability = np.prod(np.where(theta == 1, epsilon, 1 - epsilon))
        rise += probability * max(0.0, rate / n * float((u * (theta - epsilon)).sum()))
    return rise


@pytest.mark.parametrize("n", [4, 8, 12])
def test_a_neutral_synapse_at_the_clip_rises_as_the_docs_say(n):
    rate, epsilon = 0.5 * math.sqrt(n), 1e-3
    by_formula = epsilon * rate / n * np.maximum(scalars(centered_rank(np.arange(float(n)))), 0).sum()
    assert expected_rise_at_the_clip(n, rate, epsilon) == pytest.approx(by_formula, rel=0.02)


def test_zero_mean_compares_with_the_previous_generation():
    rewards = np.array([1.0, 2.0, 6.0])
    assert scalars(zero_mean(rewards)) == [-3.0, -1.5, 4.5]  # the first generation: the mean of the others
    assert scalars(zero_mean(rewards[:1])) == [0.0]
    assert scalars(zero_mean(rewards, 1.0)) == [0.0, 1.0, 5.0]
    assert scalars(zero_mean(np.full(3, 9.0), 9.0)) == [0.0, 0.0, 0.0]
    assert scalars(zero_mean(np.array([NAN, 1.0, 5.0]), 0.0)) == [1.0, 1.0, 5.0]


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
@pytest.mark.parametrize(
    "rewards",
    [
        [],
        [3.0],
        [NAN, NAN],
        [math.inf, 1.0, -math.inf],
        [1e-300, 2e-300],
        [1e-320, 2e-320],
        [0.0, -0.0],
        [1e308, 1e308, 0.0],
        [1.7e308, -1.7e308],
    ],
)
def test_transforms_give_finite_integers_for_any_reward(name, rewards):
    if not rewards and name == "zero_mean":
        pytest.skip("a mean of nothing; a population has at least two samples")
    broadcast = TRANSFORMS[name](np.array(rewards, float), None)
    assert broadcast.units.dtype == np.int32
    assert broadcast.units.shape == (len(rewards),)
    assert np.abs(broadcast.units.astype(np.int64)).max(initial=0) <= max(2**20, len(rewards))
    assert 0 < broadcast.scale < math.inf


def test_history_ignores_nan_like_the_transform_does():
    assert mean_reward(np.array([NAN, 2.0, 4.0])) == (2.0 + 2.0 + 4.0) / 3
    assert mean_reward(np.array([NAN, NAN])) is None
    for previous in (None, 5.0):  # nothing was measured: nothing is learned
        assert not TRANSFORMS["zero_mean"](np.array([NAN, NAN]), previous).units.any()


# --- optimizers --------------------------------------------------------------------------------------------------------


def directions(name, gradients):
    optimizer = OPTIMIZERS[name]
    state, out = optimizer.start(np.shape(gradients[0])), []
    for gradient in gradients:
        direction, state = optimizer.step(np.array(gradient, float), state)
        out.append(direction)
    return out


def test_sgd_steps_along_the_gradient():
    assert [d.tolist() for d in directions("sgd", [[1.0, -2.0], [0.5, 0.0]])] == [[1.0, -2.0], [0.5, 0.0]]


def test_momentum_by_hand():
    """1;  0.9·1 + 1 = 1.9;  0.9·1.9 + 0 = 1.71;  0.9·1.71 − 2 = −0.461"""
    steps = directions("momentum", [[1.0], [1.0], [0.0], [-2.0]])
    np.testing.assert_allclose(np.concatenate(steps), [1.0, 1.9, 1.71, -0.461], rtol=1e-14)


def test_adam_by_hand():
    """Step 1: m̂ = g, v̂ = g², so ±1. Step 2 with g = 0 after g = 1: m̂ = 0.09/0.19, v̂ = 0.000999/0.001999."""
    first, second = directions("adam", [[1.0, -4.0], [0.0, 0.0]])
    np.testing.assert_allclose(first, [1, -1], rtol=1e-7)
    np.testing.assert_allclose(second, np.array([1, -1]) * (0.09 / 0.19) / math.sqrt(0.000999 / 0.001999), rtol=1e-7)


def test_adam_follows_its_algorithm_for_twenty_steps():
    """Kingma, Ba 2015, algorithm 1, with β₁ = 0.9, β₂ = 0.999, ε = 10⁻⁸."""
    gradients = np.random.default_rng(0).normal(size=(20, 2, 3)) * 10.0 ** np.arange(-3, 3).reshape(2, 3)
    m = v = np.zeros((2, 3))
    for t, (g, direction) in enumerate(zip(gradients, directions("adam", gradients), strict=True), start=1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        expected = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(direction, expected, rtol=1e-10)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_optimizers_leave_gradient_and_state_as_they_were(name):
    optimizer = OPTIMIZERS[name]
    gradient = np.array([1.0, -2.0])
    _, state = optimizer.step(gradient, optimizer.start((2,)))
    kept = {key: value.copy() for key, value in state.items()}
    again = [optimizer.step(gradient, state)[0] for _ in range(2)]
    np.testing.assert_array_equal(*again)
    np.testing.assert_array_equal(gradient, [1.0, -2.0])
    for key, value in kept.items():
        np.testing.assert_array_equal(state[key], value)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_no_gradient_is_no_step(name):
    for direction in directions(name, [[0.0, 0.0]] * 5):
        assert not direction.any()


# --- the rule ----------------------------------------------------------------------------------------------------------


def rule(optimizer="sgd", learning_rate=1.0, epsilon=1e-3, decay=0.0, kind=Rsrp):
    return kind(OPTIMIZERS[optimizer], learning_rate, epsilon, decay)


of_every_rule = pytest.mark.parametrize("kind", [Rsrp, Hedonistic])


def updated(rho, credit, broadcast, **options):
    plasticity = rule(**options)
    return plasticity.update(rho, credit, broadcast, plasticity.optimizer.start(rho.shape))[0]


BROADCAST = Broadcast(np.array([3, -1, -2, 0], np.int32), 0.25)


def test_the_step_is_the_mean_credit_times_the_learning_rate():
    """ρ + η/N Σ u (θ − ρ) = 0.5 + 0.1 · (2 · 0.25 / 4) and its mirror."""
    credit = np.array([[2.0, -2.0, 0.0]])
    new = updated(np.full((1, 3), 0.5, np.float32), credit, BROADCAST, learning_rate=0.1)
    np.testing.assert_array_equal(new, np.array([[0.5125, 0.4875, 0.5]], np.float32))
    assert new.dtype == np.float32


@of_every_rule
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_equal_rewards_leave_probabilities_bit_for_bit_unchanged(optimizer, kind):
    rho = np.random.default_rng(0).uniform(1e-3, 1 - 1e-3, (50, 70)).astype(np.float32)
    rho[0, 0], rho[0, 1] = np.float32(1e-3), np.float32(1) - np.float32(1e-3)
    broadcast = centered_rank(np.full(64, 17.0))
    new = updated(rho, np.zeros(rho.shape), broadcast, optimizer=optimizer, learning_rate=8.0, kind=kind)
    np.testing.assert_array_equal(new.view("u4"), rho.view("u4"))


@of_every_rule
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 0.49])
def test_probabilities_stay_within_epsilon(optimizer, epsilon, kind):
    random = np.random.default_rng(1)
    rho = random.uniform(epsilon, 1 - epsilon, (20, 20)).astype(np.float32)
    credit = random.normal(size=(20, 20)) * 10.0 ** random.integers(-3, 12, (20, 20))
    new = updated(rho, credit, BROADCAST, optimizer=optimizer, epsilon=epsilon, learning_rate=30.0, kind=kind)
    low, high = np.float32(epsilon), np.float32(1) - np.float32(epsilon)
    assert new.min() == low
    assert new.max() == high


@of_every_rule
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_flipping_the_rewards_mirrors_the_step(optimizer, kind):
    credit = np.random.default_rng(2).integers(-30, 31, FLOAT32_HALF.shape).astype(float)
    up = updated(FLOAT32_HALF, credit, BROADCAST, optimizer=optimizer, learning_rate=0.05, kind=kind)
    down = updated(FLOAT32_HALF, -credit, BROADCAST, optimizer=optimizer, learning_rate=0.05, kind=kind)
    assert np.any(up != FLOAT32_HALF)
    np.testing.assert_allclose(up - np.float32(0.5), np.float32(0.5) - down, rtol=0, atol=2**-24)


@of_every_rule
def test_decay_moves_towards_one_half(kind):
    """λ of the way, from either side; ½ itself stays."""
    rho = np.array([[0.1, 0.5, 0.9, 0.999]], np.float32)
    new = updated(rho, np.zeros((1, 4)), BROADCAST, decay=0.25, kind=kind)
    np.testing.assert_allclose(new, [[0.2, 0.5, 0.8, 0.87425]], rtol=1e-6)
    assert new[0, 1] == np.float32(0.5)


@of_every_rule
def test_update_leaves_its_arguments_as_they_were(kind):
    rho, credit = FLOAT32_HALF.copy(), np.ones(FLOAT32_HALF.shape)
    updated(rho, credit, BROADCAST, kind=kind)
    np.testing.assert_array_equal(rho, FLOAT32_HALF)
    np.testing.assert_array_equal(credit, 1)


def test_hedonistic_steps_by_hand():
    """q = logit ρ moves by η · 2 · 0.25 / 4 = η / 8, and by its mirror."""
    rho = np.array([[0.5, 0.2, 0.9]], np.float32)
    new = updated(rho, np.array([[2.0, 2.0, -2.0]]), BROADCAST, learning_rate=4.0, kind=Hedonistic)
    logit = np.log(rho.astype(float) / (1 - rho.astype(float))) + np.array([0.5, 0.5, -0.5])
    np.testing.assert_allclose(new, 1 / (1 + np.exp(-logit)), rtol=1e-6)


def test_exponentials_are_exact_to_the_last_bits():
    x = np.concatenate([np.linspace(-40, 40, 100_001), [0.0, -0.0, 1e-300, 1e300, -1e300]])
    np.testing.assert_allclose(exponential(x), np.exp(np.clip(x, -64, 64)), rtol=1e-15)
    assert exponential(np.zeros(1))[0] == 1.0


@pytest.mark.parametrize(("kind", "natural"), [(Rsrp, True), (Hedonistic, False)])
def test_the_expected_step_is_the_gradient_of_the_expected_reward(kind, natural):
    """All 16 releases of four synapses, weighed by their probability, against the derivative of Σ_θ P(θ) R(θ).

    RSRP's is the natural gradient, ρ (1 − ρ) times ∂J/∂ρ; in q = logit ρ the plain one, which moves ρ by ρ (1 − ρ) ∂J/∂q.
    """
    rho = np.array([[0.3, 0.5, 0.8, 0.6]])
    theta = np.array(list(itertools.product([0, 1], repeat=4)))
    rewards = np.random.default_rng(5).normal(size=16)

    def weights(p):
        return np.where(theta == 1, p, 1 - p).prod(axis=1)

    h = 1e-6
    slope = np.array([(weights(rho + h * e) - weights(rho - h * e)) @ rewards / (2 * h) for e in np.eye(4)])
    credit = ((weights(rho) * rewards) @ (theta - rho))[None]
    plasticity = rule(kind=kind, learning_rate=1e-4)
    moved = plasticity.moved(rho, credit) - rho
    metric = rho * (1 - rho)
    np.testing.assert_allclose(moved[0], 1e-4 * (metric * (1 if natural else metric) * slope)[0], rtol=1e-3)


@pytest.mark.parametrize("name", ["rsrp", "hedonistic", "satr"])
def test_every_rule_learns(name):
    """Twelve generations of CartPole; with the update zeroed nothing changes."""
    result = train(Experiment(rule=name, population=64, generations=12, evaluation_episodes=32, evaluate_every=12))
    first, last = (result.metrics[k]["sampled_return"] for k in (0, 11))
    assert last > 1.5 * first


def test_entropy_in_bits():
    """H(½) = 1, H(¼) = 2 − ¾ log₂ 3, H(0) = H(1) = 0."""
    quarter = 2 - 0.75 * math.log2(3)
    assert entropy_bits(np.full((4, 4), 0.5, np.float32)) == 1.0
    assert entropy_bits(np.array([[0.0, 1.0]], np.float32)) == 0.0
    assert entropy_bits(np.array([[0.25, 0.75]], np.float32)) == pytest.approx(quarter, abs=1e-12)
    assert entropy_bits(np.array([[0.0, 0.25, 0.5, 1.0]], np.float32)) == pytest.approx((quarter + 1) / 4, abs=1e-12)
    assert entropy_bits(np.zeros((0, 3), np.float32)) == 0.0
