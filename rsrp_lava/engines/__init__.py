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
    from rsrp_lava.engines.batches import BatchEngine
    from rsrp_lava.engines.fused import FusedEngine
    from rsrp_lava.mapping import kernel_constants
    from rsrp_lava.network import LayeredNetwork
    from rsrp_lava.tasks import get_episode_task
    from rsrp_lava.tasks.data import load_data

    seed = experiment.seed if seed is None else seed
    network = experiment.build_network()
    if isinstance(network, LayeredNetwork):
        data = load_data(experiment.task, experiment.data)
        draw, independent = experiment.build_draw(), experiment.data_sampling == "independent"
        return BatchEngine(network, data, experiment.reward, experiment.batch, independent, seed, draw, threads)
    constants = kernel_constants(network, experiment.hardware)
    task = get_episode_task(experiment.task, "engine fused")
    return FusedEngine(network, constants, task, seed, experiment.build_draw(), threads)
