"""Networks on batches of labelled images: the population in compiled kernels, networks spread over threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from rsrp_lava import machine
from rsrp_lava.engines.baseline import guess
from rsrp_lava.engines.protocol import Outcome
from rsrp_lava.kernels.arithmetic import EVENTS, NetworkConstants
from rsrp_lava.kernels.binary_layer import BatchTable, empty_table, fill_table
from rsrp_lava.kernels.convolution import Convolutions, PictureTable, picture_table
from rsrp_lava.kernels.fixed_point import FixedInput
from rsrp_lava.kernels.layered import score_images, score_networks
from rsrp_lava.kernels.pictures import score_pictures, show_pictures
from rsrp_lava.kernels.random_bits import BATCHES, fill_uniform
from rsrp_lava.kernels.rewards import REWARDS
from rsrp_lava.mapping.layered import layered_constants
from rsrp_lava.mapping.release import ReleaseDraw
from rsrp_lava.network import LayeredNetwork, Network, ReleaseProbabilities
from rsrp_lava.normaliser import Normaliser, Observations, Scaling
from rsrp_lava.tasks.data import DataSet
from rsrp_lava.threads import Threads

#: Rows of weights a call of the kernel: they share each part of the batch's table while it is in the cache.
_ROWS_PER_PIECE = 1024
#: Bytes of releases that are kept from a generation until its credit, and the part of the memory that they may be; more are
#: drawn a second time.
_KEPT_BYTES, _KEPT_PART = 2**31, 4
#: Test images an evaluation takes together.
_IMAGES_PER_TABLE = 512

Table = BatchTable | PictureTable
#: Releases of networks, one array a projection: uint64, shape (networks, words).
Released = tuple[np.ndarray, ...]


class BatchOrder:
    """Which images a generation sees when all samples share them.

    All training images in a new order every epoch, from (seed, epoch); what is left of less than a batch is left out.
    """

    def __init__(self, seed: int, n: int, batch: int) -> None:
        self._seed, self._n, self._batch = seed, n, batch
        self._epoch: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def indices(self, generation: int) -> np.ndarray:
        """The generation's images, int64."""
        epoch, position = divmod(generation, self._n // self._batch)
        if self._epoch[0] != epoch:
            uniform = np.empty(self._n)
            fill_uniform(self._seed, epoch, 0, BATCHES, uniform)
            self._epoch = (epoch, np.argsort(uniform, kind="stable"))
        return self._epoch[1][position * self._batch : (position + 1) * self._batch]


class Scorer(Protocol):
    """How networks of one kind see images."""

    rows: int  #: rows of weights of one network that the table is read for

    def table(self, images: np.ndarray) -> Table:
        """What all networks share of these images (uint8, shape (n, pixels))."""
        ...

    def score(
        self,
        sources: tuple[Any, ...],
        table: Table,
        labels: np.ndarray,
        reward: int,
        key: tuple[int, int],
        samples: tuple[int, int],
        released: Released,
        rewards: np.ndarray,
    ) -> np.ndarray:
        """Write the reward of each of these samples; returns what integers lost (int64, kernels/arithmetic.EVENTS)."""
        ...

    def outputs(
        self,
        sources: tuple[Any, ...],
        table: Table,
        key: tuple[int, int],
        first: int,
        released: Released,
        scores: np.ndarray,
    ) -> np.ndarray:
        """Write the outputs of one network for test images `first` …; returns what integers lost."""
        ...


class _Layers:
    """Layers without spikes."""

    def __init__(self, network: LayeredNetwork, data: DataSet) -> None:
        self._constants = layered_constants(network, data.mean, data.std)
        self._mirror = network.options.mirror_input
        self.rows = int(self._constants.sizes[0])

    def table(self, images: np.ndarray) -> Table:
        if isinstance(self._constants.first, Convolutions):
            return picture_table(images, self._constants.first)
        return _table_of(images.T.astype(np.int16), self._mirror)

    def score(self, sources, table, labels, reward, key, samples, released, rewards):  # type: ignore[no-untyped-def]
        score_networks(sources, self._constants, table, labels, reward, key, samples, released, rewards)
        return np.zeros(len(EVENTS), np.int64)

    def outputs(self, sources, table, key, first, released, scores):  # type: ignore[no-untyped-def]
        score_images(sources, self._constants, table, key, 0, released, scores)
        return np.zeros(len(EVENTS), np.int64)


class _Spikes:
    """A layer of spiking neurons."""

    def __init__(self, network: Network, constants: NetworkConstants, data: DataSet) -> None:
        self._constants, self.rows = constants, network.options.n_neurons
        pixels = np.arange(256, dtype=np.float32) - np.float32(data.zero)
        inputs = constants.input
        whole = pixels * inputs.per_unit if isinstance(inputs, FixedInput) else pixels
        self._of_pixel = np.rint(whole).astype(np.int16)

    def table(self, images: np.ndarray) -> Table:
        return _table_of(self._of_pixel[images.T], mirror=True)

    def score(self, sources, table, labels, reward, key, samples, released, rewards):  # type: ignore[no-untyped-def]
        events = np.zeros(len(EVENTS), np.int64)
        score_pictures(sources, self._constants, table, labels, reward, key, samples, released, rewards, events)
        return events

    def outputs(self, sources, table, key, first, released, scores):  # type: ignore[no-untyped-def]
        events = np.zeros(len(EVENTS), np.int64)
        show_pictures(sources, self._constants, table, key, first, released, scores, events)
        return events


def _table_of(inputs: np.ndarray, mirror: bool) -> BatchTable:
    if mirror:
        inputs = np.concatenate([inputs, -inputs])
    table = empty_table(*inputs.shape)
    fill_table(np.ascontiguousarray(inputs), table)
    return table


def open_batches(
    network: LayeredNetwork | Network,
    constants: NetworkConstants | None,
    data: DataSet,
    reward: str,
    batch: int,
    independent: bool,
    seed: int,
    draw: ReleaseDraw,
    threads: Threads,
) -> BatchEngine:
    """The engine for a network that classifies; `constants` are those of a spiking one."""
    if isinstance(network, LayeredNetwork):
        return BatchEngine(network, _Layers(network, data), data, reward, batch, independent, seed, draw, threads)
    assert constants is not None
    return BatchEngine(network, _Spikes(network, constants, data), data, reward, batch, independent, seed, draw, threads)


class BatchEngine:
    """Scores a batch of images with samples of a network. `play` of a generation always sees the same images."""

    name = "fused"
    learn = None
    stopping = "stopping after the generation in flight (again: at once)"
    stop: Sequence[int] = ()

    def __init__(
        self,
        network: LayeredNetwork | Network,
        scorer: Scorer,
        data: DataSet,
        reward: str,
        batch: int,
        independent: bool,
        seed: int,
        draw: ReleaseDraw,
        threads: Threads,
    ) -> None:
        self.network, self._scorer, self.data, self.seed = network, scorer, data, seed
        self.batch = min(batch, len(data.train))
        self._reward, self._independent, self._draw, self.threads = REWARDS[reward], independent, draw, threads
        self.order = BatchOrder(seed, len(data.train), self.batch)
        self._kept = self._room(0)

    def prepare(self, state: object = None) -> None:
        """See `engines.protocol.Engine.prepare`."""
        half = self.network.initial_probabilities({})
        none = Normaliser.start(self.network.n_observed)
        self.play(half, none, 0, 1)
        self.play(half, none, 0, 1, deterministic=True)

    def play(
        self,
        probabilities: ReleaseProbabilities,
        normaliser: Scaling,
        generation: int,
        samples: int,
        deterministic: bool = False,
        first: int = 0,
        episodes: int | None = None,
    ) -> Outcome:
        """See `engines.protocol.Engine.play`: returns are rewards of a batch, `steps` how many images each network saw.

        `deterministic`: returns of one network, 1 for each of the first `samples` test images that it classifies, else 0.
        """
        if deterministic:
            images = min(samples, max(0, len(self.data.test) - first))
            returns, events = self._classify(probabilities, generation, first, images)
            steps = np.ones(len(returns), np.int64)
        else:
            returns, events = self._rewards(probabilities, generation, first, samples)
            steps = np.full(samples, self.batch, np.int64)
        kept = None if deterministic or len(self._kept[0]) != samples else self._kept
        return Outcome(returns, steps, Observations.none(self.network.n_observed), events, kept)

    def play_blindly(self, episodes: int, first: int = 0) -> Outcome:
        """See `engines.protocol.Engine.play_blindly`."""
        return guess(self.data, episodes, first)

    def _room(self, samples: int) -> Released:
        """Room for the releases of so many samples, one array a projection."""
        return tuple(np.empty((samples, p.words), np.uint64) for p in self.network.projections)

    def _rewards(
        self, probabilities: ReleaseProbabilities, generation: int, first: int, samples: int
    ) -> tuple[np.ndarray, np.ndarray]:
        sources = self._draw.sources(self.network.projections, probabilities, False, self.threads.map_ranges)
        key, rewards, lost = (self.seed, generation), np.zeros(samples), []
        shared = None if self._independent else self._batch(self.order.indices(generation))
        most = min(_KEPT_BYTES, (machine.memory_bytes() or _KEPT_BYTES * _KEPT_PART) // _KEPT_PART)
        keeps = 8 * samples * sum(p.words for p in self.network.projections) <= most
        if len(self._kept[0]) != (samples if keeps else 0):
            self._kept = self._room(samples if keeps else 0)

        def score(batch: tuple[Table, np.ndarray], begin: int, end: int) -> None:
            released = tuple(kept[begin:end] for kept in self._kept) if keeps else self._room(end - begin)
            table, labels = batch
            scored, earned = (first + begin, first + end), rewards[begin:end]
            lost.append(self._scorer.score(sources, table, labels, self._reward, key, scored, released, earned))

        def work(begin: int, end: int) -> None:
            if shared is not None:
                score(shared, begin, end)
                return
            for k in range(begin, end):
                score(self._batch(self.own_indices(generation, first + k)), k, k + 1)

        self.threads.map_ranges(work, samples, max(1, _ROWS_PER_PIECE // self._scorer.rows))
        return rewards, np.sum(lost, axis=0)

    def own_indices(self, generation: int, sample: int) -> np.ndarray:
        """One sample's own images, int64, drawn with replacement."""
        uniform = np.empty(self.batch)
        fill_uniform(self.seed, generation, sample, BATCHES + 1, uniform)
        return (uniform * len(self.data.train)).astype(np.int64)

    def _batch(self, indices: np.ndarray) -> tuple[Table, np.ndarray]:
        """The table and the labels of these training images."""
        return self._scorer.table(self.data.train.images[indices]), self.data.train.labels[indices]

    def _classify(
        self, probabilities: ReleaseProbabilities, generation: int, first: int, images: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """1 for each test image whose class has the largest score (the first of equal ones), else 0; θ = [ρ > ½]."""
        sources = self._draw.sources(self.network.projections, probabilities, deterministic=True)
        correct, lost = np.zeros(images), []

        def work(begin: int, end: int) -> None:
            shown = slice(first + begin, first + end)
            labels = self.data.test.labels[shown].astype(np.int64)
            scores = np.empty((self.network.n_outputs, end - begin), np.float32)
            table = self._scorer.table(self.data.test.images[shown])
            lost.append(self._scorer.outputs(sources, table, (self.seed, generation), first + begin, self._room(1), scores))
            correct[begin:end] = scores.argmax(axis=0) == labels

        self.threads.map_ranges(work, images, _IMAGES_PER_TABLE)
        return correct, np.sum(lost, axis=0)

    def close(self) -> None:
        """See `engines.protocol.Engine.close`."""
        self.threads.close()


__all__ = ["BatchEngine", "BatchOrder", "open_batches"]
