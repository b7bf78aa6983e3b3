"""Leases: every sample is played once, whoever is slow or lost; and packed answers."""

import pickle
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsrp_lava.engines.leases import Leases, pieces
from rsrp_lava.engines.packing import pack, unpack
from rsrp_lava.engines.protocol import Outcome
from rsrp_lava.normaliser import Observations


@given(st.integers(0, 1000), st.integers(1, 5000), st.integers(1, 64))
def test_pieces_cover_the_samples_once_in_few_and_small_ones_last(first, samples, workers):
    cut = list(pieces(first, samples, workers))
    assert [sample for begin, size in cut for sample in range(begin, begin + size)] == list(range(first, first + samples))
    sizes = [size for _, size in cut]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1 or len(sizes) <= workers
    assert len(sizes) <= workers * (np.log2(samples) + 2)


@settings(deadline=None)
@given(st.data())
def test_every_piece_is_finished_once_whoever_is_lost(data):
    """Workers take, finish and are lost in any order; time passes in leaps."""
    leases = Leases(deque(pieces(3, 40, 3)))
    expected, holding, now = set(leases.waiting), {}, 0.0
    for _ in range(400):
        worker = data.draw(st.integers(0, 3))
        now += data.draw(st.sampled_from([0.0, 0.1, 5.0]))
        event = data.draw(st.sampled_from(["finish", "finish", "lose"]))
        if worker not in holding:
            lease = leases.take(worker, now)
            if lease is not None:
                assert lease not in leases.finished
                holding[worker] = lease
        elif event == "finish":
            leases.finish(holding.pop(worker), worker, worker, now)
        else:
            lost = leases.lose(worker)
            others = {held for holder, held in holding.items() if holder != worker}
            assert lost in ([], [holding[worker]])
            assert (lost == []) == (holding[worker] in leases.finished or holding[worker] in others)
            del holding[worker]
        if leases.done:
            break
    for worker in range(4):  # whatever was left is finished by workers that are never lost
        while not leases.done:
            if worker in holding:
                leases.finish(holding.pop(worker), worker, worker, now)
            now += 100
            lease = leases.take(worker, now)
            if lease is None:
                break
            holding[worker] = lease
    assert leases.done
    assert set(leases.finished) == expected
    assert len(leases.in_order()) == len(expected)


def test_a_straggler_is_helped_once_and_the_first_answer_wins():
    leases = Leases(deque([(0, 5), (5, 5)]))
    slow, quick = leases.take("slow", 0.0), leases.take("quick", 0.0)
    leases.finish(quick, "quick", "q", 3.0)
    assert leases.take("quick", 5.9) is None  # twice the longest piece so far are not over
    assert leases.take("quick", 6.1) == slow
    assert leases.take("third", 99.0) is None
    leases.finish(slow, "quick", "helper", 7.0)
    assert leases.done
    leases.finish(slow, "slow", "late", 8.0)
    assert leases.in_order() == ["helper", "q"]


def test_a_piece_that_two_have_waits_only_when_both_are_lost():
    leases = Leases(deque([(0, 5)]))
    leases.take("one", 0.0)
    leases.take("other", 10.0)
    assert leases.lose("one") == []
    assert leases.lose("other") == [(0, 5)]
    assert leases.losses[0, 5] == 1
    assert leases.take("third", 11.0) == (0, 5)


@given(st.lists(st.integers(-(2**62), 2**62), min_size=2, max_size=20).filter(lambda values: len(values) % 2 == 0))
def test_packed_answers_come_back_exact(values):
    sums = np.array(values, np.int64).reshape(2, -1)
    returns = np.array([np.nan, -1.5, 1e300])
    outcome = Outcome(
        returns, np.array([3, 4, 5]), Observations(np.array([0, 198]), sums), np.array([1, 2, 3]), faults={"raised": 1}
    )
    back = unpack(pack(outcome, False))
    np.testing.assert_array_equal(back.returns, returns)
    np.testing.assert_array_equal(back.steps, outcome.steps)
    np.testing.assert_array_equal(back.observations.digits, sums)
    np.testing.assert_array_equal(back.observations.places, [0, 198])
    assert (back.events.tolist(), back.faults) == ([1, 2, 3], {"raised": 1})
    assert unpack(pack(outcome, True)).observations.digits.shape == (0, sums.shape[1])


def test_answers_are_small():
    """16 bytes a sample, and observations' sums of a real size packed to less than they are."""
    random = np.random.default_rng(0)
    sums = (2.0**31 * 3000 + random.normal(size=(15, 348)) * 2**36).astype(np.int64)  # digits of 3,000 numbers
    outcome = Outcome(np.zeros(64), np.zeros(64, np.int64), Observations(np.arange(15), sums), np.zeros(3, np.int64))
    assert len(pack(outcome, False)) < 64 * 16 + 0.75 * sums.nbytes + 200
    assert len(pack(outcome, True)) < 64 * 16 + 200


def test_an_answer_is_no_program():
    """What workers send is read without pickle."""
    with pytest.raises(Exception, match=r".") as error:
        unpack(pickle.dumps(print))
    assert not isinstance(error.value, AssertionError)
