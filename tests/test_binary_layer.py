"""Binary layers by table: exact against the twin for every shape, sign and magnitude, however rows are split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
from rsrp_lava.kernels.binary_layer import (
    BLOCK_ROWS,
    LARGEST_INPUT,
    batch_table,
    empty_table,
    fill_table,
    released_sums,
    signed_sums,
)
from rsrp_lava.kernels.release import bit_planes, draw_release, pack_bits, unpack_bits
from rsrp_lava.threads import Threads


def sums(select, theta, x, table=None):
    out = np.full((len(theta), x.shape[1]), -7, np.int32)
    select(batch_table(x) if table is None else table, pack_bits(theta), out)
    return out


def assert_equals_the_twin(theta, x):
    np.testing.assert_array_equal(sums(released_sums, theta, x), naive.selected_sums(theta, x))
    np.testing.assert_array_equal(sums(signed_sums, theta, x), naive.selected_sums(theta, x, unreleased=-1))


def assert_equals_numpy(theta, x):
    """For sizes the twin is too slow for: NumPy's product of int64."""
    weights, values = theta.astype(np.int64), x.astype(np.int64)
    np.testing.assert_array_equal(sums(released_sums, theta, x), weights @ values)
    np.testing.assert_array_equal(sums(signed_sums, theta, x), (2 * weights - 1) @ values)


@pytest.mark.parametrize("batch", [1, 31, 32, 33, 63, 64, 65, 128])
@pytest.mark.parametrize("inputs", [1, 5, 64, 100])
def test_sums_equal_the_twin(inputs, batch):
    random = np.random.default_rng(batch)
    theta = random.random((3, inputs)) < 0.5
    assert_equals_the_twin(theta, random.integers(0, 256, (inputs, batch)).astype(np.uint8))


@pytest.mark.parametrize("inputs", [15, 16, 17, 48, 49, 63, 65, 80, 81, 127, 128, 129, 300])
def test_every_number_of_inputs_in_the_last_word(inputs):
    random = np.random.default_rng(inputs)
    theta = random.random((2, inputs)) < 0.5
    assert_equals_the_twin(theta, random.integers(-300, 301, (inputs, 3)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int64])
def test_any_integer_type(dtype):
    random = np.random.default_rng(1)
    x = random.integers(max(np.iinfo(dtype).min, -1023), min(np.iinfo(dtype).max, 1023), (70, 34), endpoint=True)
    assert_equals_the_twin(random.random((4, 70)) < 0.5, x.astype(dtype))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    inputs=st.integers(1, 200),
    outputs=st.integers(1, 4),
    batch=st.integers(1, 70),
    largest=st.integers(0, LARGEST_INPUT),
    p=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 2**32),
)
def test_random_shapes_and_magnitudes(inputs, outputs, batch, largest, p, seed):
    random = np.random.default_rng(seed)
    x = random.integers(-largest, largest, (inputs, batch), endpoint=True).astype(np.int16)
    assert_equals_numpy(random.random((outputs, inputs)) < p, x)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(inputs=st.integers(60, 1000), seed=st.integers(0, 2**32), levels=st.sets(st.integers(-1023, 1023), min_size=1))
def test_segments_end_in_time(inputs, seed, levels):
    """Few levels make images whose sums run far to one side; all released or none is then the extreme of a segment."""
    random = np.random.default_rng(seed)
    x = random.choice(np.array(sorted(levels)), (inputs, 3)).astype(np.int16)
    theta = np.stack([np.ones(inputs, bool), np.zeros(inputs, bool), x[:, 0] > 0, x[:, 0] < 0, random.random(inputs) < 0.5])
    assert_equals_numpy(theta, x)


@pytest.mark.parametrize("value", [255, -255, 1023, -1023, 0, 1, 341, -341])
@pytest.mark.parametrize("inputs", [64, 192, 256, 257, 784, 3072])
def test_extremes_are_exact(value, inputs):
    """All inputs at one value, all synapses released or none or half; segments of 64 inputs where |x| = 1,023."""
    x = np.full((inputs, 33), value, np.int16)
    theta = np.stack([np.ones(inputs, bool), np.zeros(inputs, bool), np.arange(inputs) % 2 == 0])
    assert_equals_numpy(theta, x)


@pytest.mark.parametrize("first", [1023, -1023])
def test_both_signs_at_the_largest_magnitude(first):
    """In a segment of 64 inputs the sums of all positive and of all negative ones are 65,472 apart, of 65,535."""
    x = np.full((130, 2), first, np.int16)
    x[::2] *= -1
    theta = np.stack([x[:, 0] > 0, x[:, 0] < 0, np.ones(130, bool), np.zeros(130, bool)])
    assert_equals_the_twin(theta, x)


def test_one_bright_image_ends_the_segment_of_all():
    x = np.zeros((784, 70), np.uint8)
    assert batch_table(x).ends[-1] == 1
    x[:, 69] = 255
    table = batch_table(x)
    assert table.ends[: table.ends[-1]].tolist() == [4, 8, 12, 13]  # 256 · 255 = 65,280
    assert_equals_numpy(np.random.default_rng(2).random((5, 784)) < 0.5, x)


def test_a_sum_of_65535_still_fits_and_one_more_does_not():
    x = np.zeros((128, 1), np.int16)
    x[:64], x[64] = 1023, 63
    assert batch_table(x).ends[-1] == 1
    assert_equals_the_twin(np.ones((1, 128), bool), x)
    x[65] = -1
    assert batch_table(x).ends[-1] == 2
    assert_equals_the_twin(np.stack([np.ones(128, bool), x[:, 0] < 0]), x)


def test_mirrored_inputs_and_signs_are_served_by_the_table():
    """[x, −x] with signs ±1 an input: the table is made of signed inputs, weights stay bits."""
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (50, 40)).astype(np.int16)
    signs = random.choice([-1, 1], (100, 1))
    theta = random.random((6, 100)) < 0.5
    expected = (theta * signs.T) @ np.concatenate([pixels, -pixels])
    np.testing.assert_array_equal(sums(released_sums, theta, np.concatenate([pixels, -pixels]) * signs), expected)


@pytest.mark.parametrize("rows", [BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 2 * BLOCK_ROWS + 5])
def test_more_rows_than_a_block(rows):
    random = np.random.default_rng(rows)
    assert_equals_numpy(random.random((rows, 70)) < 0.5, random.integers(0, 256, (70, 33)).astype(np.uint8))


def test_drawn_releases_of_many_networks_on_threads():
    """What `draw_release` writes is what the kernel reads; a range of networks a call, a range of ranges a thread."""
    random = np.random.default_rng(4)
    probability = random.random((10, 100), np.float32)
    planes = bit_planes(probability, 16)
    x = random.integers(0, 256, (100, 65)).astype(np.uint8)
    table = batch_table(x)
    rows = np.empty((24, planes.shape[1]), np.uint64)
    total = np.empty((24, 10, 65), np.int32)

    def work(first, last):
        for network in range(first, last):
            draw_release(planes, 1, 2, network, 0, rows[network])
        signed_sums(table, rows[first:last].reshape(-1), total[first:last].reshape(-1, 65))

    threads = Threads(min(2, Threads().count))
    try:
        threads.map_ranges(work, 24, 5)
    finally:
        threads.close()
    for network in range(24):
        theta = unpack_bits(rows[network], (10, 100))
        np.testing.assert_array_equal(total[network], (2 * theta.astype(int) - 1) @ x.astype(int))


def test_a_table_can_be_filled_again():
    random = np.random.default_rng(5)
    table = empty_table(150, 40)
    theta = random.random((3, 150)) < 0.5
    for largest in (1023, 5, 255):
        x = random.integers(-largest, largest + 1, (150, 40)).astype(np.int16)
        fill_table(x, table)
        np.testing.assert_array_equal(sums(signed_sums, theta, x, table), (2 * theta.astype(int) - 1) @ x.astype(int))


def test_images_in_any_memory_order():
    random = np.random.default_rng(6)
    images = random.integers(0, 256, (40, 100)).astype(np.uint8)  # one image a row, as data sets store them
    assert_equals_the_twin(random.random((2, 100)) < 0.5, images.T)


@pytest.mark.parametrize("value", [1024, -1024, 2**40])
def test_larger_inputs_are_refused(value):
    x = np.zeros((100, 3), np.int64)
    x[99, 2] = value
    with pytest.raises(ValueError, match="1023"):
        batch_table(x)


def test_what_does_not_fit_together_is_refused():
    x = np.zeros((100, 3), np.uint8)
    table = batch_table(x)
    with pytest.raises(ValueError, match="fit together"):
        signed_sums(table, np.zeros(5, np.uint64), np.zeros((2, 3), np.int32))
    with pytest.raises(ValueError, match="fit together"):
        signed_sums(table, np.zeros(4, np.uint64), np.zeros((2, 33), np.int32))
    with pytest.raises(ValueError, match="another shape"):
        fill_table(np.zeros((200, 3), np.uint8), table)
    with pytest.raises(ValueError, match="at least one input"):
        batch_table(np.zeros((0, 3), np.uint8))


def test_no_rows_and_no_images():
    assert sums(signed_sums, np.zeros((0, 10), bool), np.zeros((10, 3), np.uint8)).shape == (0, 3)
    assert sums(signed_sums, np.zeros((2, 10), bool), np.zeros((10, 0), np.uint8)).shape == (2, 0)
