"""Layered networks on batches of labelled images: the population in compiled kernels, networks spread over threads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rsrp_lava.engines.protocol import Normaliser, Observations, Outcome
from rsrp_lava.engines.threads import Threads
from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.kernels.binary_layer import BatchTable, empty_table, fill_table
from rsrp_lava.kernels.layered import score_images, score_networks
from rsrp_lava.kernels.random_bits import BATCHES, fill_uniform
from rsrp_lava.kernels.rewards import REWARDS
from rsrp_lava.mapping.layered import layered_constants
from rsrp_lava.mapping.release import ReleaseDraw, fixed_release
from rsrp_lava.network import LayeredNetwork, ReleaseProbabilities
from rsrp_lava.tasks.data import DataSet

#: Rows of weights a call of the kernel: they share each part of the batch's table while it is in the cache.
_ROWS_PER_PIECE = 1024
#: Bytes of releases that are kept from a generation until its credit; more are drawn a second time.
_KEPT_BYTES = 2**31
#: Test images an evaluation takes together.
_IMAGES_PER_TABLE = 512


class BatchEngine:
    """Scores a batch of images with samples of a network. `play` of a generation always sees the same images."""

    name = "fused"
    learn = None
    stopping = "stopping after the generation in flight (again: at once)"
    stop: Sequence[int] = ()

    def __init__(
        self,
        network: LayeredNetwork,
        data: DataSet,
        reward: str,
        batch: int,
        independent: bool,
        seed: int,
        draw: ReleaseDraw,
        threads: Threads,
    ) -> None:
        self.network, self.data, self.batch, self.seed = network, data, min(batch, len(data.train)), seed
        self._reward, self._independent, self._draw, self.threads = REWARDS[reward], independent, draw, threads
        self._constants = layered_constants(network, data.mean, data.std)
        self._epoch: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))
        self._kept = self._room(0)

    def prepare(self, state: object = None) -> None:
        """See `engines.protocol.Engine.prepare`."""
        half = self.network.initial_probabilities({})
        none = Normaliser.start(0)
        self.play(half, none, 0, 1)
        self.play(half, none, 0, 1, deterministic=True)

    def play(
        self,
        probabilities: ReleaseProbabilities,
        normaliser: Normaliser,
        generation: int,
        samples: int,
        deterministic: bool = False,
    ) -> Outcome:
        """See `engines.protocol.Engine.play`: returns are rewards of a batch, `steps` how many images each network saw.

        `deterministic`: returns of one network, 1 for each of the first `samples` test images that it classifies, else 0.
        """
        if deterministic:
            returns = self._classify(probabilities, min(samples, len(self.data.test)))
            steps = np.ones(len(returns), np.int64)
        else:
            returns = self._rewards(probabilities, generation, samples)
            steps = np.full(samples, self.batch, np.int64)
        kept = None if deterministic or len(self._kept[0]) != samples else self._kept
        nothing = Observations(0.0, np.zeros(0), np.zeros(0))
        return Outcome(returns, steps, nothing, np.zeros(len(EVENTS), np.int64), kept)

    def _room(self, samples: int) -> tuple[np.ndarray, ...]:
        """Room for the releases of so many samples, one array a projection."""
        return tuple(np.empty((samples, words), np.uint64) for words in self.network.release_words)

    def _rewards(self, probabilities: ReleaseProbabilities, generation: int, samples: int) -> np.ndarray:
        sources = tuple(self._draw.source(p, probabilities[p.name]) for p in self.network.projections)
        key, rewards = (self.seed, generation), np.zeros(samples)
        shared = None if self._independent else self._batch(self.shared_indices(generation))
        keeps = 8 * samples * sum(self.network.release_words) <= _KEPT_BYTES
        if len(self._kept[0]) != (samples if keeps else 0):
            self._kept = self._room(samples if keeps else 0)

        def score(batch: tuple[BatchTable, np.ndarray], first: int, last: int) -> None:
            released = tuple(kept[first:last] for kept in self._kept) if keeps else self._room(last - first)
            table, labels = batch
            score_networks(sources, self._constants, table, labels, self._reward, key, (first, last), released, rewards)

        def work(first: int, last: int) -> None:
            if shared is not None:
                score(shared, first, last)
                return
            for sample in range(first, last):
                score(self._batch(self.own_indices(generation, sample)), sample, sample + 1)

        self.threads.map_ranges(work, samples, max(1, _ROWS_PER_PIECE // self.network.sizes[1]))
        return rewards

    def shared_indices(self, generation: int) -> np.ndarray:
        """The generation's images, int64: all training images in a new order every epoch, those of half a batch left out."""
        n = len(self.data.train)
        epoch, position = divmod(generation, n // self.batch)
        if self._epoch[0] != epoch:
            uniform = np.empty(n)
            fill_uniform(self.seed, epoch, 0, BATCHES, uniform)
            self._epoch = (epoch, np.argsort(uniform, kind="stable"))
        return self._epoch[1][position * self.batch : (position + 1) * self.batch]

    def own_indices(self, generation: int, sample: int) -> np.ndarray:
        """One sample's own images, int64, drawn with replacement."""
        uniform = np.empty(self.batch)
        fill_uniform(self.seed, generation, sample, BATCHES + 1, uniform)
        return (uniform * len(self.data.train)).astype(np.int64)

    def _batch(self, indices: np.ndarray) -> tuple[BatchTable, np.ndarray]:
        """The table and the labels of these training images."""
        return self._table(self.data.train.images[indices]), self.data.train.labels[indices]

    def _table(self, images: np.ndarray) -> BatchTable:
        inputs = images.T.astype(np.int16)
        if self.network.options.mirror_input:
            inputs = np.concatenate([inputs, -inputs])
        table = empty_table(*inputs.shape)
        fill_table(np.ascontiguousarray(inputs), table)
        return table

    def _classify(self, probabilities: ReleaseProbabilities, images: int) -> np.ndarray:
        """1 for each test image whose class has the largest score (the first of equal ones), else 0; θ = [ρ > ½]."""
        sources = tuple(fixed_release(p, probabilities[p.name] > 0.5) for p in self.network.projections)
        correct = np.zeros(images)

        def work(first: int, last: int) -> None:
            labels = self.data.test.labels[first:last].astype(np.int64)
            scores = np.empty((self.network.n_outputs, last - first), np.float32)
            table = self._table(self.data.test.images[first:last])
            score_images(sources, self._constants, table, last - first, (self.seed, 0), 0, self._room(1), scores)
            correct[first:last] = scores.argmax(axis=0) == labels

        self.threads.map_ranges(work, images, _IMAGES_PER_TABLE)
        return correct

    def close(self) -> None:
        """See `engines.protocol.Engine.close`."""
        self.threads.close()


__all__ = ["BatchEngine"]
