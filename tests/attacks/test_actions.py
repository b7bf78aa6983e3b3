"""Actions stay in their Box, whatever its type and bounds; Gymnasium's own `contains` is the judge."""

import numpy as np
import pytest
from gymnasium import spaces

from rsrp_lava.tasks.spaces import decoder

TYPES = (np.float16, np.float32, np.float64, np.longdouble)
OUTPUTS = (-1, 1, 0, -2, 2, 0.3, -0.7, 1e30, -1e30, 1e-30)


def random_box(random, dtype, kind):
    """Decimal bounds; of the whole type; one-sided; without an upper one here and there; of any size; a single point."""
    size, most = int(random.integers(1, 4)), np.finfo(dtype).max
    decimals = np.round(random.normal(0, 3, size), 1)
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = {
            "decimal": lambda: (decimals, decimals + np.round(5 * random.random(size), 1)),
            "huge": lambda: (-most * random.random(size).astype(dtype), most * random.random(size).astype(dtype)),
            "whole": lambda: (np.full(size, -most, dtype), np.full(size, most, dtype)),
            "below": lambda: (np.full(size, -np.inf), decimals),
            "some": lambda: (decimals, np.where(random.random(size) < 0.5, np.inf, decimals + 0.3)),
            "scaled": lambda: (decimals * 10.0 ** random.integers(-4, 4), 10.0 ** random.integers(5, 300) * np.ones(size)),
            "point": lambda: (decimals, decimals),
        }[kind]()
        low = np.clip(low.astype(dtype), -np.inf, most)
        high = np.where(np.isposinf(high), np.inf, np.maximum(np.clip(high.astype(dtype), None, most), low)).astype(dtype)
    return spaces.Box(low, high, dtype=dtype)


@pytest.mark.parametrize("kind", ["decimal", "huge", "whole", "below", "some", "scaled", "point"])
@pytest.mark.parametrize("dtype", TYPES)
def test_actions_are_in_their_box(kind, dtype):
    random = np.random.default_rng(7)
    for _ in range(150):
        box = random_box(random, dtype, kind)
        size, decode = decoder(box)
        for output in OUTPUTS:
            with np.errstate(over="raise", invalid="raise"):
                action = decode(np.full(size, output, np.float32))
            assert action.dtype == box.dtype
            assert box.contains(action)
            assert np.isfinite(action).all()


@pytest.mark.parametrize("dtype", TYPES)
def test_the_ends_are_reached_and_the_middle_is_the_middle(dtype):
    most = np.finfo(dtype).max
    for low, high in ((-0.1, 0.1), (0.3, 0.7), (-most, most), (-3, 3), (-most, 1)):
        box = spaces.Box(dtype(low), dtype(high), (1,), dtype)
        _, decode = decoder(box)
        least, middle, largest = (decode(np.array([output], np.float32))[0] for output in (-5, 0, 5))
        assert (least, largest) == (box.low[0], box.high[0])
        assert abs(middle - (box.low[0] / 2 + box.high[0] / 2)) <= 2e-3 * abs(middle) + dtype(1e-7)


def test_a_box_without_dimensions_gives_an_array():
    box = spaces.Box(-0.1, 0.1, (), np.float64)
    _, decode = decoder(box)
    action = decode(np.ones(1, np.float32))
    assert isinstance(action, np.ndarray)
    assert box.contains(action)


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (-2, 2), (-3, 3), (-0.4, 0.4), (0, 5)])
def test_bounds_that_float32_holds_keep_their_bits(low, high):
    """As they were computed before: low + place · span, in float32."""
    random = np.random.default_rng(1)
    for dtype in (np.float32, np.float64):
        box = spaces.Box(
            np.full(500, np.float32(low)).astype(dtype), np.full(500, np.float32(high)).astype(dtype), dtype=dtype
        )
        _, decode = decoder(box)
        output = random.uniform(-1.2, 1.2, 500).astype(np.float32)
        place = (np.clip(output, np.float32(-1), np.float32(1)) + np.float32(1)) / np.float32(2)
        before = box.low.astype(np.float32) + place * (box.high.astype(np.float32) - box.low.astype(np.float32))
        np.testing.assert_array_equal(decode(output), before.astype(dtype))
