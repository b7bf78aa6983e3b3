"""Rule satr: its step by hand, its bound, its estimate of the signal, and that it goes through every seam."""

import importlib.util
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsrp_lava import Experiment, ExperimentError, load_run, train
from rsrp_lava.engines.lava_messages import pack_update, unpack_update
from rsrp_lava.learning.optimizers import OPTIMIZERS
from rsrp_lava.learning.rsrp import Rsrp, Update, gradient_scale
from rsrp_lava.learning.satr import Satr, SatrOptions, inner, inverse_variance, mean_square
from rsrp_lava.learning.storage import Storage
from rsrp_lava.learning.transforms import TRANSFORMS, Broadcast, centered_rank

SMALL = {"rule": "satr", "population": 8, "generations": 4, "evaluation_episodes": 4, "evaluate_every": 4}
SMALL |= {"network": {"n_neurons": 16}}


def rule(learning_rate=1.0, epsilon=1e-3, decay=0.0, storage=None, **options):
    kept = Storage(None, "nearest", False, False) if storage is None else storage
    return Satr(OPTIMIZERS["sgd"], learning_rate, epsilon, decay, kept, SatrOptions(**options))


def step(satr, rho, credit, broadcast, state):
    """One step of the whole projection: g = credit · scale / N."""
    measured = satr.measure(rho, credit, broadcast, state)
    return satr.step(credit * gradient_scale(broadcast), state, measured)


def in_turn(satr, rho, generations):
    """Updates one after the other; generations: pairs of credit and broadcast."""
    state, updates = satr.start(rho.shape), []
    for credit, broadcast in generations:
        update = satr.update(rho, credit, broadcast, state)
        rho, state = update.probability, update.optimizer
        updates.append(update)
    return updates


# --- the step ----------------------------------------------------------------------------------------------------------


def test_the_first_step_by_hand():
    """Two synapses at ½, four samples, u = ±½: s² = ¼. g = (2 · ½ / 4, 0) = (¼, 0), ⟨g, g⟩ = 4 / 16 = ¼.

    η = ½, so γ = η / (2 √N) = ⅛; Ŝ = f s² = ⅛; η' = γ K Ŝ / ⟨g, g⟩ = ⅛, and the first synapse moves by ¼ of it.
    """
    broadcast = Broadcast(np.array([1, 1, -1, -1], np.int32), 0.5)
    (update,) = in_turn(rule(0.5, first_signal=0.5), np.full((1, 2), 0.5, np.float32), [(np.array([[2.0, 0.0]]), broadcast)])
    np.testing.assert_array_equal(update.probability, np.array([[0.53125, 0.5]], np.float32))
    np.testing.assert_array_equal(update.optimizer["earlier"], [[0.5, 0.0]])
    np.testing.assert_array_equal(update.optimizer["signal"], [1.0, 0.5, 0.01])


def naive_updates(rho, generations, rate, options, epsilon):
    """The docstring's equations in rational numbers, but for the square roots."""
    rho = [Fraction(float(p)) for p in rho.ravel()]
    signal, variance, earlier = Fraction(options.first_signal), Fraction(options.first_variance), []
    decay, seen = 1 - 1 / Fraction(options.memory), []
    for credit, broadcast in generations:
        n, u = len(broadcast.units), [int(units) * Fraction(broadcast.scale) for units in broadcast.units]
        s2 = sum(x * x for x in u) / n
        if s2:
            g = [Fraction(float(c)) * Fraction(broadcast.scale) / n for c in credit.ravel()]
            metric, root = [1 / (p * (1 - p)) for p in rho], Fraction(math.sqrt(s2))
            if earlier:
                weights = [decay**age for age in reversed(range(len(earlier)))]
                m = [
                    sum(w * past[k] for w, past in zip(weights, earlier, strict=True)) / sum(weights)
                    for k in range(len(rho))
                ]
                r = sum(x * x * f for x, f in zip(m, metric, strict=True)) / n
                if r:
                    z = sum(a * b * f for a, b, f in zip(m, g, metric, strict=True)) / root
                    variance += Fraction(options.drift)
                    gain = variance / (variance + r)
                    signal, variance = min(max(signal + gain * (z - signal), 0), 1), (1 - gain) * variance
            length = sum(x * x * f for x, f in zip(g, metric, strict=True))
            best = Fraction(rate / (2 * math.sqrt(n))) * len(rho) * max(signal, Fraction(options.floor)) * s2 / length
            moved = [p + min(best, Fraction(rate)) * x for p, x in zip(rho, g, strict=True)]
            low = Fraction(float(np.float32(epsilon)))
            rho = [Fraction(float(np.float32(float(min(max(p, low), 1 - low))))) for p in moved]
            earlier.append([x / root for x in g])
        seen.append(([float(p) for p in rho], float(signal), float(variance)))
    return seen


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 5), st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from([1.0, 4.0, 10.0]))
def test_updates_equal_a_twin_in_rational_numbers(seed, n_generations, first_signal, memory):
    random = np.random.default_rng(seed)
    rho, generations = random.uniform(0.05, 0.95, (1, 2)).astype(np.float32), []
    for _ in range(n_generations):
        broadcast = centered_rank(random.integers(0, 4, 5).astype(float))
        generations.append((random.normal(size=(1, 2)) * 6 * broadcast.units.any(), broadcast))
    satr = rule(0.7, epsilon=0.01, first_signal=first_signal, memory=memory, drift=0.03)
    updates = in_turn(satr, rho, generations)
    for update, (expected, signal, variance) in zip(
        updates, naive_updates(rho, generations, 0.7, satr.options, 0.01), strict=True
    ):
        np.testing.assert_allclose(update.probability[0], expected, rtol=0, atol=1e-6)
        np.testing.assert_allclose(update.optimizer["signal"][1:], [signal, variance], rtol=1e-4, atol=1e-5)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.integers(0, 2**32), st.sampled_from(sorted(TRANSFORMS)), st.floats(0.01, 100), st.integers(2, 40))
def test_the_divergence_of_a_step_is_that_of_the_bound(seed, transform, learning_rate, n):
    """½ ⟨step, step⟩ ≤ κ Ŝ, κ = ½ (γ K)² Ŝ / ⟨g, g⟩; the exact divergence is with it as the step gets small."""
    random = np.random.default_rng(seed)
    satr = rule(learning_rate)
    rho, state = random.uniform(1e-3, 1 - 1e-3, (6, 7)), satr.start((6, 7))
    for _ in range(4):
        broadcast = TRANSFORMS[transform](random.normal(size=n) * 10.0 ** random.integers(-3, 4), None)
        gradient = random.normal(size=rho.shape) * 10.0 ** random.integers(-6, 4)
        direction, state = step(satr, rho, gradient / gradient_scale(broadcast), broadcast, state)
        taken, f = learning_rate * direction, max(state["signal"][1], satr.options.floor)
        energy, signal = (gradient**2 / (rho * (1 - rho))).sum(), f * mean_square(broadcast)
        kappa = 0.5 * (learning_rate / (2 * math.sqrt(n)) * rho.size) ** 2 * signal / energy
        bound = min(kappa * signal, 0.5 * learning_rate**2 * energy)
        quadratic = 0.5 * (taken**2 / (rho * (1 - rho))).sum()
        assert quadratic == pytest.approx(bound, rel=1e-9)
        small = 1e-3 * (rho * (1 - rho)).min() / np.abs(taken).max()
        new = rho + small * taken
        exact = (new * np.log(new / rho) + (1 - new) * np.log((1 - new) / (1 - rho))).sum()
        assert exact == pytest.approx(bound * small**2, rel=0.01, abs=1e-12)
        assert 0 <= state["signal"][1] <= 1
        assert state["signal"][2] > 0


def test_a_step_within_the_bound_is_that_of_rsrp():
    random = np.random.default_rng(0)
    rho, broadcast = random.uniform(0.1, 0.9, (5, 6)).astype(np.float32), centered_rank(random.normal(size=16))
    credit = 0.01 * random.normal(size=rho.shape)
    plain = Rsrp(OPTIMIZERS["sgd"], 2.0, 1e-3, 0.1)
    (update,) = in_turn(rule(2.0, decay=0.1), rho, [(credit, broadcast)])
    np.testing.assert_array_equal(update.probability, plain.update(rho, credit, broadcast, {}).probability)


def test_equal_rewards_change_neither_probabilities_nor_memory():
    random = np.random.default_rng(1)
    rho = random.uniform(1e-3, 1 - 1e-3, (50, 70)).astype(np.float32)
    different, equal = centered_rank(random.normal(size=64)), centered_rank(np.full(64, 17.0))
    first, second = in_turn(rule(8.0), rho, [(random.normal(size=rho.shape), different), (np.zeros(rho.shape), equal)])
    np.testing.assert_array_equal(second.probability.view("u4"), first.probability.view("u4"))
    for name, slot in first.optimizer.items():
        np.testing.assert_array_equal(second.optimizer[name], slot)


def test_synapses_stuck_at_0_and_1_count_for_nothing():
    """Stored in a few bits, ρ may be 0 or 1: the others learn as if these were not there."""
    storage = Storage(4, "nearest", True, True)
    broadcast, few = centered_rank(np.arange(8.0)), np.array([[0.5, 0.25]], np.float32)
    many, credit = np.concatenate([few, [[0.0, 1.0]]], axis=1, dtype=np.float32), np.array([[9.0, -7.0]])
    generations = [(credit, broadcast), (0.5 * credit, broadcast)]
    longer = [(np.concatenate([c, np.zeros((1, 2))], axis=1), b) for c, b in generations]
    for short, long in zip(
        in_turn(rule(2.0, storage=storage), few, generations),
        in_turn(rule(2.0, storage=storage), many, longer),
        strict=True,
    ):
        np.testing.assert_array_equal(long.probability, np.concatenate([short.probability, [[0, 1]]], axis=1))
        np.testing.assert_array_equal(long.optimizer["signal"], short.optimizer["signal"])
        assert short.asked == long.asked > 0


def test_steps_do_not_depend_on_the_scale_of_rewards():
    """Powers of two are exact."""
    credits, units = np.random.default_rng(2).normal(size=(3, 4, 5)), np.array([5, -3, -2, 0], np.int32)
    rho = np.full((4, 5), 0.3, np.float32)
    small, large = (
        in_turn(rule(2.0 / scale), rho, [(credit, Broadcast(units, scale)) for credit in credits])
        for scale in (2.0**-4, 2.0**9)
    )
    np.testing.assert_array_equal(small[-1].probability, large[-1].probability)
    np.testing.assert_array_equal(small[-1].optimizer["signal"], large[-1].optimizer["signal"])


# --- the estimate ------------------------------------------------------------------------------------------------------


def test_sums_are_made_one_after_the_other():
    a, b = np.random.default_rng(3).normal(size=(2, 97, 31)) * 1e3
    total = 0.0
    for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True):
        total += x * y * 0.7
    assert inner(a, b, np.full(a.shape, 0.7)) == total


def test_signal_energy_is_at_most_that_of_the_broadcast():
    """Bessel: over all 16 releases of four synapses, weighed by their probability."""
    rho = np.array([0.2, 0.5, 0.7, 0.9])
    theta = np.array(list(itertools.product([0, 1], repeat=4)))
    weight = np.where(theta == 1, rho, 1 - rho).prod(axis=1)
    inverse = inverse_variance(rho)
    for seed in range(20):
        u = np.random.default_rng(seed).normal(size=16)
        signal = (weight * u) @ (theta - rho)
        assert inner(signal, signal, inverse) <= weight @ u**2
    linear = (theta - rho) @ np.array([1.0, -2.0, 0.5, 3.0])  # nothing but signal: equal
    signal = (weight * linear) @ (theta - rho)
    assert inner(signal, signal, inverse) == pytest.approx(weight @ linear**2, rel=1e-12)


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_measurement_and_its_noise(slope):
    """z = ⟨g, m⟩ / s over 20,000 generations of 16 samples: mean f and, of ranks without signal, variance r.

    u = slope · (θ₀ − ρ₀)/√(ρ₀ (1 − ρ₀)) + noise, so that f = slope² / s²; m is the expected g / s and something orthogonal.
    """
    random = np.random.default_rng(4)
    rho, samples, repeats = np.array([0.1, 0.3, 0.5, 0.8, 0.95]), 16, 20_000
    theta = random.random((repeats, samples, 5)) < rho
    centred = (theta - rho) / np.sqrt(rho * (1 - rho))
    u = slope * centred[:, :, 0] + math.sqrt(1 - slope**2) * random.choice([-1.0, 1.0], (repeats, samples))
    g = (u[:, :, None] * (theta - rho)).mean(axis=1)
    along = np.sqrt(rho * (1 - rho)) * np.array([slope, 0.4, -0.2, 0.1, 0.3])
    inverse = inverse_variance(rho)
    z = np.array([inner(one, along, inverse) for one in g])
    error = z.std() / math.sqrt(repeats)
    assert abs(z.mean() - slope**2) < 4 * error
    if slope == 0:
        assert z.var() == pytest.approx(inner(along, along, inverse) / samples, rel=0.05)
        energy = np.array([inner(one, one, inverse) for one in g])
        assert energy.mean() == pytest.approx(5 / samples, rel=0.02)  # K s² / N


def drawn_generations(signal, rho, samples, n_generations, seed):
    """Credit and broadcast of ranks of signal · θ₀-like projections plus noise."""
    random = np.random.default_rng(seed)
    weights = random.choice([-1.0, 1.0], rho.size) / np.sqrt(rho.size)
    for _ in range(n_generations):
        theta = random.random((samples, rho.size)) < rho.ravel()
        reward = math.sqrt(signal) * 2 * (theta - 0.5) @ weights + math.sqrt(1 - signal) * random.normal(size=samples)
        broadcast = centered_rank(reward)
        yield (broadcast.units @ (theta - rho.ravel())).reshape(rho.shape), broadcast


@pytest.mark.parametrize(("signal", "low", "high"), [(0.0, 0.0, 0.12), (0.8, 0.5, 0.95)])
def test_the_signal_is_found(signal, low, high):
    """64 synapses whose ρ are kept still, 64 samples, 200 generations: f, which starts at ¼, goes to where it should."""
    satr, rho = rule(), np.full((8, 8), 0.5)
    state, seen = satr.start(rho.shape), []
    for credit, broadcast in drawn_generations(signal, rho, 64, 200, 5):
        _, state = step(satr, rho, credit, broadcast, state)
        seen.append(state["signal"][1])
    assert low <= np.mean(seen[50:]) <= high


def test_what_cannot_be_measured_changes_little():
    """4 samples, 65,536 synapses: f stays near ¼."""
    satr, rho = rule(), np.full((256, 256), 0.5)
    state = satr.start(rho.shape)
    for credit, broadcast in drawn_generations(0.5, rho, 4, 20, 6):
        _, state = step(satr, rho, credit, broadcast, state)
    assert abs(state["signal"][1] - 0.25) < 0.1


# --- the seams ---------------------------------------------------------------------------------------------------------


def test_update_leaves_its_arguments_as_they_were():
    satr, rho = rule(), np.full((3, 5), 0.5, np.float32)
    (first,) = in_turn(satr, rho, [(np.ones(rho.shape), centered_rank(np.arange(4.0)))])
    kept = {name: slot.copy() for name, slot in first.optimizer.items()}
    satr.update(rho, np.ones(rho.shape), centered_rank(np.arange(4.0)), first.optimizer)
    np.testing.assert_array_equal(rho, 0.5)
    for name, slot in kept.items():
        np.testing.assert_array_equal(first.optimizer[name], slot)


def test_state_passes_through_messages_of_the_lava_graph():
    satr, random = rule(), np.random.default_rng(7)
    generations = [(random.normal(size=(3, 4)), centered_rank(random.normal(size=8))) for _ in range(3)]
    update = in_turn(satr, np.full((3, 4), 0.5, np.float32), generations)[-1]
    again = unpack_update(pack_update(update), (3, 4), satr)
    np.testing.assert_array_equal(again.probability, update.probability)
    assert again.optimizer.keys() == update.optimizer.keys() == satr.start((3, 4)).keys()
    for name, slot in update.optimizer.items():
        np.testing.assert_array_equal(again.optimizer[name], slot)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reward_transform": "zero_mean", "decay": 0.1},
        {"profile_overrides": {"learning_storage.p_bits": 8}},
        {"halve_learning_rate_every": 2},
    ],
)
def test_resumed_run_has_the_same_bits(tmp_path, changes):
    whole = train(Experiment(**SMALL, **changes), out=tmp_path / "whole")
    train(Experiment(**{**SMALL, **changes, "generations": 2}), out=tmp_path / "part")
    resumed = train(Experiment(**SMALL, **changes), resume=tmp_path / "part")
    assert resumed.summary["release_sha256"] == whole.summary["release_sha256"]
    ours, theirs = (load_run(tmp_path / name).state.optimizer for name in ("whole", "part"))
    for name, slots in ours.items():
        assert slots.keys() == {"earlier", "signal"}
        assert slots["earlier"].any()
        for slot, array in slots.items():
            np.testing.assert_array_equal(theirs[name][slot], array)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("lava") is None, reason="Lava runs on Python 3.10 only")
def test_engine_lava_gives_the_same_bits():
    settings = {**SMALL, "evaluate_every": 1, "network": {"n_neurons": 64}}
    fused, lava = (train(Experiment(**{**settings, "engine": name})) for name in ("fused", "lava"))
    assert lava.summary["release_sha256"] == fused.summary["release_sha256"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": "adam"}, "optimizer: rule satr finds the length of its steps itself, not with adam; choose sgd"),
        ({"rule_options": {"memory": 0}}, "rule_options.memory: 0 — "),
        ({"rule_options": {"first_signal": 1.5}}, "rule_options.first_signal: 1.5 — "),
        ({"rule_options": {"memori": 3}}, "rule_options.memori: no such setting; did you mean 'rule_options.memory'"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes, said):
    with pytest.raises(ExperimentError, match=said):
        Experiment(rule="satr", **changes)


def test_options_are_of_the_run():
    usual, other = Experiment(rule="satr"), Experiment(rule="satr", rule_options={"memory": 3})
    assert usual.rule_options == SatrOptions().model_dump()
    assert other.build_rule().options.memory == 3
    assert other.fingerprint != usual.fingerprint
    assert "memory = 3" in other.label
    assert Experiment.recorded(other.model_dump()) == other
    assert usual.resolved_learning_rate == 4 * Experiment().resolved_learning_rate


def learned():
    """Mean sampled return of a small population's first and last generations of CartPole."""
    result = train(Experiment(rule="satr", population=16, generations=20, evaluation_episodes=8, evaluate_every=20))
    returns = [record["sampled_return"] for record in result.metrics if "sampled_return" in record]
    return np.mean(returns[:3]), np.mean(returns[-3:])


def test_cartpole_is_learned():
    first, last = learned()
    assert last > 4 * first


def test_nothing_is_learned_when_the_update_is_zeroed(monkeypatch):
    monkeypatch.setattr(
        Satr, "update", lambda self, probability, credit, broadcast, state, *rest: Update(probability, state, 0, 0)
    )
    first, last = learned()
    assert last < 2 * first
