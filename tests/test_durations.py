"""Lengths of time are read as they are meant, or refused."""

import math
import time

import numpy as np
import pytest

from rsrp_lava import ExperimentError
from rsrp_lava.durations import TimeLimit, to_seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90),
        (0.5, 0.5),
        (np.float32(2), 2),
        ("90", 90),
        ("1e3", 1000),
        (" 90 ", 90),
        ("90s", 90),
        ("30m", 1800),
        ("1.5h", 5400),
        (".5h", 1800),
        ("1h30m", 5400),
        ("1H 30M 5S", 5405),
        ("1h5s", 3605),
        ("100m", 6000),
    ],
)
def test_time_as_people_write_it(value, seconds):
    assert to_seconds("max_time", value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "soon", "1d", "30m1h", "1h30", "1h1h", "h", "-5", "-5m", "0", "0s", "0h0m", "nan", "inf", "1:30", "."),
        *(0, -1, math.nan, math.inf, 10**400, True, None, [90]),
    ],
)
def test_what_is_no_time_is_refused_with_the_way_out(value):
    with pytest.raises(ExperimentError) as caught:
        to_seconds("max_time", value)
    message = str(caught.value)
    assert message.startswith("max_time: ")
    assert " is no length of time above 0; give seconds, or text such as 90s, 30m, 1.5h or 1h30m, or leave it out" in message
    assert len(message) < 200


def test_a_limit_runs_from_its_beginning(monkeypatch):
    now = [5.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    limit, none = TimeLimit(10), TimeLimit(None)
    now[0] = 50.0
    assert (limit.left(), none.left()) == (10, math.inf)
    limit.begin()
    none.begin()
    now[0] = 62.5
    assert (limit.left(), none.left()) == (-2.5, math.inf)
