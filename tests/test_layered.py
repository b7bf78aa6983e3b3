"""Layered networks of binary weights and their rewards, against networks written as one would on paper."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import naive
from rsrp_lava.kernels.binary_layer import batch_table
from rsrp_lava.kernels.convolution import convolve, picture_table, room_for
from rsrp_lava.kernels.layered import score_images, score_networks
from rsrp_lava.kernels.random_bits import RELEASE
from rsrp_lava.kernels.release import bit_planes, draw_release, unpack_bits
from rsrp_lava.kernels.rewards import REWARDS, reward
from rsrp_lava.mapping.layered import layered_constants
from rsrp_lava.network import LayeredNetwork, LayeredOptions

NETWORKS = {
    "MLP": {},
    "deeper": {"hidden": (20, 12)},
    "no hidden layer": {"hidden": ()},
    "E/I 1:1": {"ei": "1:1", "hidden": 9},
    "E/I 3:1, mirrored": {"ei": "3:1", "hidden": "16,8", "mirror_input": True},
    "a convolution": {"conv": 16, "hidden": "none"},
    "two convolutions": {"conv": "32,16", "hidden": 7},
    "two, of odd pieces of channels": {"conv": "48,16", "hidden": "none"},
}
#: Height, width, channels: of the plain networks only the product counts.
SHAPES = {"a convolution": (5, 7, 3), "two convolutions": (11, 14, 1), "two, of odd pieces of channels": (10, 10, 3)}
KEY = (3, 2**40)


def releases(network, probabilities, sample):
    """θ of every projection, bool, shape (n_pre, n_post)."""
    drawn = {}
    for index, p in enumerate(network.projections):
        words = np.zeros(p.rows_shape[0] * -(-p.rows_shape[1] // 64), np.uint64)
        planes = bit_planes(p.to_rows(probabilities[p.name]), 16)
        draw_release(planes, *KEY, sample, RELEASE + index, words)
        drawn[p.name] = p.from_rows(unpack_bits(words, p.rows_shape))
    return drawn


def room(network, samples):
    """For the releases of so many samples."""
    return tuple(np.zeros((samples, p.words), np.uint64) for p in network.projections)


@pytest.fixture(params=NETWORKS)
def case(request):
    """A network of some pixels, its sources, a batch of 37 images, their table and labels."""
    random = np.random.default_rng(1)
    network = LayeredNetwork(LayeredOptions(**NETWORKS[request.param]), SHAPES.get(request.param, (5, 5, 2)), 5)
    probabilities = {p.name: random.random((p.n_pre, p.n_post)).astype(np.float32) for p in network.projections}
    sources = tuple(bit_planes(p.to_rows(probabilities[p.name]), 16) for p in network.projections)
    images = random.integers(0, 256, (37, network.n_inputs)).astype(np.uint8)
    labels = random.integers(0, 5, 37).astype(np.uint8)
    x = images.T.astype(np.int16)
    if network.options.conv:
        table = picture_table(images, layered_constants(network, 0.3, 0.2).first)
    else:
        table = batch_table(np.concatenate([x, -x]) if network.options.mirror_input else x)
    return network, probabilities, sources, images, labels, table


def test_scores_are_those_of_the_network_on_paper(case):
    network, probabilities, sources, images, _, table = case
    comp = np.empty((5, 37), np.float32)
    for sample in (0, 7):
        score_images(sources, layered_constants(network, 0.3, 0.2), table, KEY, sample, room(network, 1), comp)
        ref = naive.layered_scores(network, releases(network, probabilities, sample), images, 0.3, 0.2)
        np.testing.assert_allclose(comp, ref, rtol=0, atol=2e-5 * np.abs(ref).max())


@pytest.mark.parametrize("kind", REWARDS)
def test_a_population_earns_what_each_network_does_alone(case, kind):
    """Whatever the split into pieces; the reward is that of the network's own scores."""
    network, _, sources, _, labels, table = case
    constants = layered_constants(network, 0.3, 0.2)
    whole, pieces, scores = np.full(7, np.nan), np.full(7, np.nan), np.empty((5, 37), np.float32)
    score_networks(sources, constants, table, labels, REWARDS[kind], KEY, (0, 7), room(network, 7), whole)
    for first, last in ((0, 1), (1, 4), (4, 7)):
        earned, own_room = pieces[first:last], room(network, last - first)
        score_networks(sources, constants, table, labels, REWARDS[kind], KEY, (first, last), own_room, earned)
    assert (whole == pieces).all()
    for sample in range(7):
        score_images(sources, constants, table, KEY, sample, room(network, 1), scores)
        assert whole[sample] == pytest.approx(naive.classification_reward(kind, scores, labels), rel=1e-12)


@pytest.mark.parametrize("kind", REWARDS)
@given(st.data())
def test_rewards_are_those_of_their_formulas(kind, data):
    """Scores of few values, so that they tie; single classes; one image."""
    classes, batch = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 9))
    values = st.sampled_from([-2.0, 0.0, 0.5, 3.0])
    scores = np.array(data.draw(st.lists(values, min_size=classes * batch, max_size=classes * batch)), np.float32)
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=batch, max_size=batch)), np.uint8)
    scores = scores.reshape(classes, batch)
    ref = naive.classification_reward(kind, scores, labels)
    assert reward(REWARDS[kind], scores, labels) == pytest.approx(ref, rel=1e-12, abs=1e-15)


def test_extremes_of_the_rewards():
    """A hit is worth 5/6 of soft recall (the rank counts the class itself), the last of ten classes 5/15; NaN is last."""
    labels = np.zeros(1, np.uint8)
    best, worst = np.zeros((10, 1), np.float32), np.zeros((10, 1), np.float32)
    best[0], worst[0] = 1, -1
    unknown = np.full((10, 1), np.nan, np.float32)
    for kind, expected in (("soft_recall", (5 / 6, 5 / 15, 5 / 15)), ("accuracy", (1, 0, 0)), ("recall", (1, 0, 0))):
        assert tuple(reward(REWARDS[kind], scores, labels) for scores in (best, worst, unknown)) == expected
    tie = np.zeros((3, 1), np.float32)  # the first of equal scores is the answer
    assert [reward(REWARDS["accuracy"], tie, np.array([label], np.uint8)) for label in range(3)] == [1, 0, 0]
    assert reward(REWARDS["cross_entropy"], np.float32([[1000], [0]]), labels) == 0
    assert reward(REWARDS["cross_entropy"], np.float32([[0], [1000]]), labels) == -1000
    assert reward(REWARDS["cross_entropy"], np.zeros((10, 1), np.float32), labels) == pytest.approx(-math.log(10))


def test_soft_recall_weighs_classes_not_images():
    """Nine images of class 0, all right, and one of class 1, wrong: (5/6 + 5/7) / 2, whatever the nine."""
    scores, labels = np.zeros((2, 10), np.float32), np.zeros(10, np.uint8)
    scores[0], labels[9] = 1, 1
    assert reward(REWARDS["soft_recall"], scores, labels) == pytest.approx((5 / 6 + 5 / 7) / 2)
    assert reward(REWARDS["accuracy"], scores, labels) == 0.9


@pytest.mark.parametrize(
    ("ei", "counts"), [("none", [1.0] * 8), ("1:1", [1.0] * 4 + [-1.0] * 4), ("3:1", [1.0] * 6 + [-3.0] * 2)]
)
def test_inhibitory_neurons_balance_the_excitatory_ones(ei, counts):
    """−E/I for each: a layer whose neurons all do the same delivers nothing."""
    network = LayeredNetwork(LayeredOptions(ei=ei, hidden=8), (2, 2, 1), 3)
    assert network.inhibition(1).tolist() == counts
    assert ei == "none" or sum(counts) == 0


def test_projections_are_named_by_their_place():
    def names(*hidden):
        return [p.name for p in LayeredNetwork(LayeredOptions(hidden=hidden), (2, 2, 1), 3).projections]

    assert (names(), names(5), names(5, 6)) == (["readout"], ["input", "readout"], ["input", "hidden", "readout"])
    assert names(5, 6, 7) == ["input", "hidden1", "hidden2", "readout"]
    mirrored = LayeredNetwork(LayeredOptions(mirror_input=True), (2, 2, 1), 3)
    assert [(p.n_pre, p.n_post) for p in mirrored.projections] == [(8, 64), (64, 3)]


def test_convolutions_share_their_filters_between_places():
    network = LayeredNetwork(LayeredOptions(conv="32,64", hidden="none"), (28, 28, 1), 10)
    assert [(p.name, p.n_pre, p.n_post) for p in network.projections] == [
        ("conv1", 9, 32),
        ("conv2", 288, 64),
        ("readout", 1600, 10),
    ]
    names = [p.name for p in LayeredNetwork(LayeredOptions(conv=16, hidden="8,8"), (8, 8, 1), 3).projections]
    assert names == ["conv1", "hidden1", "hidden2", "readout"]


def test_largest_sums_of_a_second_convolution_do_not_overflow():
    """All weights +1 and all pixels white: 288 inputs, each cut at the limit."""
    network = LayeredNetwork(LayeredOptions(conv="32,16", hidden="none"), (10, 10, 1), 3)
    for mean in (0.0, 0.5):
        constants = layered_constants(network, mean, 0.2)
        images = np.full((33, 100), 255, np.uint8)
        table = picture_table(images, constants.first)
        rows, rows2 = np.full(32, 2**9 - 1, np.uint64), np.tile(np.array([2**64 - 1] * 4 + [2**32 - 1], np.uint64), 16)
        features = np.zeros((16, 33), np.float32)
        convolve(constants.first, table, rows, rows2, room_for(constants.first), features)
        released = {"conv1": np.ones((9, 32), bool), "conv2": np.ones((288, 16), bool)}
        expected, _ = naive.convolution_features(network, released, images[0], mean)
        assert (features == expected[:, None]).all()
        assert mean > 0 or expected.max() == 288 * min(227, (9 * 255 + 4) // 8)
