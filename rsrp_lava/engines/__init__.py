"""Where a population is evaluated. An engine turns release probabilities into rewards; it knows nothing of learning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsrp_lava.engines.threads import Threads

if TYPE_CHECKING:
    from rsrp_lava.engines.protocol import Engine
    from rsrp_lava.experiment import Experiment


def open_engine(experiment: Experiment, threads: Threads, seed: int | None = None) -> Engine:
    """The engine an experiment asks for; `seed` replaces the experiment's."""
    if experiment.engine == "lava":
        from rsrp_lava.engines.lava import LavaEngine

        threads.close()
        return LavaEngine(experiment)
    from rsrp_lava.engines.batches import open_batches
    from rsrp_lava.engines.fused import FusedEngine
    from rsrp_lava.mapping import kernel_constants
    from rsrp_lava.network import Network
    from rsrp_lava.tasks import ClassifyTask, get_task
    from rsrp_lava.tasks.data import load_data

    seed = experiment.seed if seed is None else seed
    network, task, draw = experiment.build_network(), get_task(experiment.task), experiment.build_draw()
    constants = kernel_constants(network, experiment.hardware) if isinstance(network, Network) else None
    if isinstance(task, ClassifyTask):
        data, independent = load_data(experiment.task, experiment.data), experiment.data_sampling == "independent"
        return open_batches(network, constants, data, experiment.reward, experiment.batch, independent, seed, draw, threads)
    assert isinstance(network, Network)
    assert constants is not None
    return FusedEngine(network, constants, task, seed, draw, threads)
