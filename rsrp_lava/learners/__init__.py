"""What learns between two checkpoints: a population of sampled networks, or a rule that keeps weights."""

from __future__ import annotations

from rsrp_lava.engines import open_engine
from rsrp_lava.experiment import Experiment
from rsrp_lava.learners.population import PopulationLearner, State
from rsrp_lava.learners.protocol import Learner, Record
from rsrp_lava.learners.weights import WeightLearner, WeightState
from rsrp_lava.run_folder import RunFolder
from rsrp_lava.threads import Threads


def open_learner(experiment: Experiment, pool: Threads, seed: int | None = None, workers: int | None = None) -> Learner:
    """What an experiment's rule learns with, before its first generation.

    `seed` replaces the experiment's in all that is played; `workers`: of engine ray.
    """
    if experiment.weight_rule is not None:
        return WeightLearner(experiment, pool, experiment.seed if seed is None else seed)
    return PopulationLearner(experiment, open_engine(experiment, pool, seed, workers), pool)


def read_state(folder: RunFolder) -> State | WeightState:
    """What the run's checkpoint holds; `CheckpointError` for one that does not fit the run's experiment."""
    kind = State if folder.experiment.weight_rule is None else WeightState
    return kind.from_checkpoint(folder.load_checkpoint(kind.layouts(folder.experiment)), folder.experiment)


__all__ = [
    "Learner",
    "PopulationLearner",
    "Record",
    "State",
    "WeightLearner",
    "WeightState",
    "open_learner",
    "read_state",
]
