"""Passes over synapses in pieces and on threads: the bits of whole arrays, written here as NumPy writes them."""

import math

import numpy as np
import pytest

from rsrp_lava.kernels.random_bits import ROUNDING, fill_uniform, fill_uniform_part
from rsrp_lava.kernels.ranges import SYNAPSES_PER_PIECE, in_turn, rows_per_piece
from rsrp_lava.kernels.release import bit_planes, pack_bits, thresholds
from rsrp_lava.learning.hedonistic import Hedonistic, exponential
from rsrp_lava.learning.optimizers import OPTIMIZERS
from rsrp_lava.learning.rsrp import Rsrp, entropy_bits, histogram, stored_credit
from rsrp_lava.learning.satr import Satr
from rsrp_lava.learning.storage import FLOAT32, Storage
from rsrp_lava.learning.transforms import Broadcast, centered_rank
from rsrp_lava.threads import Threads, available_threads

SHAPES = [(3, 5), (1, 2), (200, 331)]  # the last: three pieces, the last of them not full
EPSILON = 1e-3


@pytest.fixture(scope="module")
def threads():
    pool = Threads(min(2, available_threads()))
    yield pool
    pool.close()


def backwards(work, n, piece):
    """`MapRanges` that begins at the end."""
    for first in reversed(range(0, n, piece)):
        work(first, min(first + piece, n))


def of_shape(shape, seed=0, codes=None):
    random = np.random.default_rng(seed)
    rho = random.uniform(EPSILON, 1 - EPSILON, shape).astype(np.float32)
    if codes:
        rho = (np.rint(rho * codes) / codes).astype(np.float32)
    return rho


# --- bit planes --------------------------------------------------------------------------------------------------------


def planes_of_arrays(probability, p_bits):
    """All thresholds, then their bits, highest plane count a multiple of four."""
    n_planes = -(-p_bits // 4) * 4
    codes = thresholds(probability, p_bits)
    always = codes == 2**p_bits
    codes = np.where(always, 2**n_planes - 1, codes << (n_planes - p_bits))
    return np.stack([pack_bits(always), *(pack_bits((codes >> bit) & 1 == 1) for bit in range(n_planes))])


@pytest.mark.parametrize("p_bits", range(1, 33))
def test_bit_planes_are_the_bits_of_the_thresholds(p_bits, threads):
    random = np.random.default_rng(p_bits)
    for shape in ((1, 1), (3, 64), (7, 65), (5, 130), (2, SYNAPSES_PER_PIECE // 2 + 1), (3, SYNAPSES_PER_PIECE + 1)):
        rho = random.random(shape, np.float32)
        special = np.array(
            [0, 1, 0.5, 2.0**-p_bits, 2.0**-p_bits / 2, 1 - 2.0**-24, 1e-30, np.nextafter(0.5, 1)], np.float32
        )
        where = random.random(shape) < 0.3
        rho[where] = random.choice(special, where.sum())
        expected = planes_of_arrays(rho, p_bits)
        for map_ranges in (in_turn, threads.map_ranges):
            np.testing.assert_array_equal(bit_planes(rho, p_bits, map_ranges), expected)


# --- updates -----------------------------------------------------------------------------------------------------------


def step_of_arrays(optimizer, gradient, state):
    if optimizer == "sgd":
        return gradient, {}
    if optimizer == "momentum":
        velocity = 0.9 * state["velocity"] + gradient
        return velocity, {"velocity": velocity}
    mean = 0.9 * state["mean"] + (1 - 0.9) * gradient
    square = 0.999 * state["square"] + (1 - 0.999) * (gradient * gradient)
    decay = state["decay"] * np.array([0.9, 0.999])
    return (mean / (1 - decay[0])) / (np.sqrt(square / (1 - decay[1])) + 1e-8), {
        "mean": mean,
        "square": square,
        "decay": decay,
    }


def satr_of_arrays(rule, rho, gradient, broadcast, state):
    def inner(a, b):
        return float(np.add.accumulate((a * b * inverse).ravel())[-1])

    units, n = broadcast.units.astype(np.int64), len(broadcast.units)
    energy = float((units * units).sum()) * (broadcast.scale * broadcast.scale) / n
    variance_of = rho * (1 - rho)
    inverse = np.divide(1.0, variance_of, out=np.zeros_like(variance_of), where=variance_of > 0)
    relative = gradient / math.sqrt(energy)
    weight, signal, variance = state["signal"].tolist()
    earlier = state["earlier"] / max(weight, 1.0)
    noise = inner(earlier, earlier) / n
    if noise > 0:
        variance += rule.options.drift
        gain = variance / (variance + noise)
        signal = min(1.0, max(0.0, signal + gain * (inner(relative, earlier) - signal)))
        variance = (1 - gain) * variance
    most = 0.5 * math.sqrt(n) * max(signal, rule.options.floor) * int(np.count_nonzero(inverse)) / n
    length = inner(relative, relative)
    keep = 1 - 1 / rule.options.memory
    new = {"earlier": keep * state["earlier"] + relative, "signal": np.array([keep * weight + 1, signal, variance])}
    return gradient * (most / length if length > most else 1.0), new


def update_of_arrays(rule, optimizer, probability, credit, broadcast, state, key):
    """The whole update as array operations: probabilities, the state, and what was asked for and lost."""
    gradient = credit * (broadcast.scale / len(broadcast.units))
    rho = probability.astype(np.float64)
    if isinstance(rule, Satr):
        direction, state = satr_of_arrays(rule, rho, gradient, broadcast, state)
    else:
        direction, state = step_of_arrays(optimizer, gradient, state)
    if isinstance(rule, Hedonistic):
        odds = exponential(rule.learning_rate * direction)
        rho = rho * odds / (1 - rho + rho * odds) + rule.decay * (0.5 - rho)
    else:
        rho = rho + rule.learning_rate * direction + rule.decay * (0.5 - rho)
    storage = rule.storage
    if storage.p_bits is None:
        low = np.float32(rule.epsilon)
        return np.clip(rho.astype(np.float32), low, np.float32(1) - low), state, 0, 0
    rho = np.clip(rho, np.minimum(rule.epsilon, probability), np.maximum(1 - rule.epsilon, probability))
    scaled = rho * 2.0**storage.p_bits
    if storage.rounding == "nearest":
        codes = np.rint(scaled)
    else:
        uniform = np.empty(rho.size)
        fill_uniform(key[0], key[1], 0, ROUNDING + key[2], uniform)
        codes = np.floor(scaled) + (uniform.reshape(rho.shape) < scaled - np.floor(scaled))
    codes = np.clip(codes, 0 if storage.zero else 1, 2**storage.p_bits - (0 if storage.one else 1))
    new = (codes / 2.0**storage.p_bits).astype(np.float32)
    asked = rho != probability
    return new, state, int(asked.sum()), int((asked & (new == probability)).sum())


STORAGES = [FLOAT32, Storage(4, "nearest"), Storage(6, "stochastic", True, True)]
RULES = [(Rsrp, name) for name in sorted(OPTIMIZERS)] + [(Hedonistic, "momentum"), (Satr, "sgd")]


@pytest.mark.parametrize("storage", STORAGES, ids=lambda storage: f"{storage.p_bits}-{storage.rounding}")
@pytest.mark.parametrize(("kind", "optimizer"), RULES, ids=lambda value: value if isinstance(value, str) else value.__name__)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_updates_in_pieces_are_those_of_whole_arrays(kind, optimizer, storage, shape, threads):
    """Three generations, bit for bit, with pieces in order, in the other order, and on threads."""
    rule = kind(OPTIMIZERS[optimizer], 0.7, EPSILON, 0.003, storage)
    for map_ranges in (in_turn, backwards, threads.map_ranges):
        random = np.random.default_rng(1)
        rho = expected = of_shape(shape, 2, storage.p_bits and 2**storage.p_bits)
        state = twin = rule.start(shape)
        for generation in range(3):
            broadcast = centered_rank(random.normal(size=40))
            credit = random.integers(-500, 500, shape).astype(float)
            key = (3, generation, 1)
            update = rule.update(rho, credit, broadcast, state, key, map_ranges)
            expected, twin, asked, lost = update_of_arrays(rule, optimizer, expected, credit, broadcast, twin, key)
            rho, state = update.probability, update.optimizer
            np.testing.assert_array_equal(rho.view("u4"), expected.view("u4"))
            assert (update.asked, update.lost) == (asked, lost)
            assert state.keys() == twin.keys()
            for name, array in twin.items():
                np.testing.assert_array_equal(state[name].view("u8"), array.view("u8"), err_msg=name)
        assert rho.size < 100 or (rho != of_shape(shape, 2, storage.p_bits and 2**storage.p_bits)).any()


@pytest.mark.parametrize("shape", [(3, 5), (130, 64), (70, 1000)], ids=str)
@pytest.mark.parametrize("units", [(3, -1, -2, 0), (5, 7, -1, 100_000)], ids=["sum 0", "sum not 0"])
def test_credit_is_the_integer_sum_less_its_mean(shape, units, threads):
    random = np.random.default_rng(4)
    rho, released = of_shape(shape, 5), random.random((len(units), *shape)) < 0.5
    broadcast = Broadcast(np.array(units, np.int32), 0.5)
    words = np.stack([pack_bits(each) for each in released])
    sums = np.tensordot(np.array(units, np.int64), released.astype(np.int64), 1)
    expected = sums - int(np.sum(units)) * (thresholds(rho, 16) / 2.0**16)
    for map_ranges in (in_turn, backwards, threads.map_ranges):
        np.testing.assert_array_equal(stored_credit(rho, broadcast, 16, words, map_ranges), expected)


@pytest.mark.parametrize(("first", "n"), [(0, 1), (4, 7), (400, 1000), (8, 0)])
def test_a_part_of_uniform_numbers_is_that_part(first, n):
    whole, part = np.empty(first + n), np.empty(n)
    fill_uniform(1, 2, 3, 4, whole)
    fill_uniform_part(1, 2, 3, 4, first, part)
    np.testing.assert_array_equal(part, whole[first:])


# --- what is measured of all synapses ----------------------------------------------------------------------------------


def test_entropy_does_not_depend_on_pieces_in_whatever_order(threads):
    rho = of_shape((700, 500), 6)
    rho[:9], rho[9:20] = 0, 1
    p = np.clip(rho.astype(float), 1e-300, 1 - 1e-16)
    exact = math.fsum(np.where((rho > 0) & (rho < 1), -(p * np.log2(p) + (1 - p) * np.log2(1 - p)), 0).ravel()) / rho.size
    found = {entropy_bits(rho, map_ranges) for map_ranges in (in_turn, backwards, threads.map_ranges)}
    assert len(found) == 1
    assert found.pop() == pytest.approx(exact, rel=1e-13)


def test_histograms_count_every_synapse():
    rho = of_shape((300, 211), 7)
    np.testing.assert_array_equal(histogram(rho), np.bincount(np.rint(rho.ravel() * 32).astype(int), minlength=33))


@pytest.mark.parametrize(("n", "piece"), [(0, 4), (1, 4), (4, 4), (9, 4), (5, 100)])
def test_ranges_cover_everything_once(n, piece):
    seen = []
    in_turn(lambda first, last: seen.extend(range(first, last)), n, piece)
    assert seen == list(range(n))
    assert rows_per_piece(0) >= rows_per_piece(2**40) == 1
