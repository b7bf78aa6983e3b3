"""A whole generation of MNIST's classifier at the paper's scale: 20,480 networks 784-64-10, 64 images, with its credit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.timing import alternate
from rsrp_lava import Experiment
from rsrp_lava.engines import open_engine
from rsrp_lava.errors import DataError
from rsrp_lava.learning.rsrp import stored_credit
from rsrp_lava.learning.transforms import centered_rank
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.threads import Threads

_NETWORKS, _BLAS_NETWORKS, _BATCH = 20_480, 64, 64


def generation(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """Draw, forward pass, reward, rank, credit, update; beside it BLAS: the first layer's product alone."""
    name = "whole MNIST generation, N = 20,480"
    experiment = Experiment(task="mnist", population=_NETWORKS, batch=_BATCH)
    pool = Threads(threads)
    try:
        engine = open_engine(experiment, pool)
    except DataError:
        pool.close()
        yield (name, "—", "—", "—", "not measured: MNIST's files are not there (docs/data.md)")
        return
    rule, network = experiment.build_rule(), engine.network
    probabilities = network.initial_probabilities({})
    bits = experiment.build_draw().p_bits
    weights = np.where(np.random.default_rng(0).random((_BLAS_NETWORKS * 64, 784)) < 0.5, np.float32(-1), np.float32(1))
    pixels = np.ones((784, _BATCH), np.float32)

    def ours() -> None:
        outcome = engine.play(probabilities, Normaliser.start(0), 0, _NETWORKS)
        assert outcome.released is not None
        broadcast = centered_rank(outcome.returns)
        for projection, released in zip(network.projections, outcome.released, strict=True):
            rho = probabilities[projection.name]
            credit = stored_credit(projection.to_rows(rho), broadcast, bits, released, pool.map_ranges)
            rule.update(rho, projection.from_rows(credit), broadcast, {})

    engine.prepare(None)
    ours_s, blas_s, ratio = alternate(ours, lambda: weights @ pixels, rounds)
    pool.close()
    scale = _NETWORKS / _BLAS_NETWORKS
    note = "the first layer's products alone, BLAS float32 on stored ±1"
    yield (name, f"{ours_s:.2f} s", f"{blas_s * scale:.2f} s", f"{ratio * scale:.1f} ×", note)
