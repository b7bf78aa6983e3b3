"""Where a population is evaluated. An engine turns release probabilities into rewards; it knows nothing of learning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsrp_lava.threads import Threads

if TYPE_CHECKING:
    from rsrp_lava.engines.protocol import Engine
    from rsrp_lava.experiment import Experiment


def open_engine(experiment: Experiment, threads: Threads, seed: int | None = None, workers: int | None = None) -> Engine:
    """The engine an experiment asks for.

    `seed` replaces the experiment's; `workers`: of engine ray, by default a worker each processor of the cluster.
    """
    from rsrp_lava.tasks import GymTask

    if experiment.engine == "lava":
        from rsrp_lava.engines.lava import LavaEngine

        return LavaEngine(experiment)
    seed = experiment.seed if seed is None else seed
    if experiment.engine == "ray":
        from rsrp_lava.engines.ray import RayWorkers
        from rsrp_lava.engines.shards import ShardedEngine

        return ShardedEngine(experiment, RayWorkers(experiment, seed, workers), "ray")
    if isinstance(experiment.build_task(), GymTask):
        from rsrp_lava.engines.shards import ShardedEngine
        from rsrp_lava.engines.workers import LocalWorkers

        return ShardedEngine(experiment, LocalWorkers(experiment, seed, threads.count), "fused")
    return open_local(experiment, threads, seed)


def open_local(experiment: Experiment, threads: Threads, seed: int) -> Engine:
    """The engine that plays in this process, whatever engine the experiment names."""
    from rsrp_lava.engines.batches import open_batches
    from rsrp_lava.engines.fused import FusedEngine
    from rsrp_lava.engines.gym import GymEngine
    from rsrp_lava.mapping import kernel_constants
    from rsrp_lava.network import Network
    from rsrp_lava.tasks import ClassifyTask, GymTask
    from rsrp_lava.tasks.data import load_data

    network, task, draw = experiment.build_network(), experiment.build_task(), experiment.build_draw()
    constants = kernel_constants(network, experiment.hardware) if isinstance(network, Network) else None
    if isinstance(task, ClassifyTask):
        data = load_data(experiment.task, experiment.data, task.test_noise, task.dataset)
        independent = experiment.data_sampling == "independent"
        return open_batches(network, constants, data, experiment.reward, experiment.batch, independent, seed, draw, threads)
    assert isinstance(network, Network)
    assert constants is not None
    if isinstance(task, GymTask):
        return GymEngine(network, constants, task, seed, draw)
    return FusedEngine(network, constants, task, seed, draw, threads, experiment.environment.episodes_per_sample)
