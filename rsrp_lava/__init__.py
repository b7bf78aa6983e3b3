"""Spiking networks that learn from reward alone, through the release probabilities of their synapses."""

from rsrp_lava.deploying import deploy
from rsrp_lava.errors import (
    CheckpointError,
    EngineError,
    ExperimentError,
    MappingError,
    ProfileError,
    RsrpError,
    RunFolderError,
)
from rsrp_lava.experiment import RULES, Experiment
from rsrp_lava.hardware_profiles import load_profile, profile_names
from rsrp_lava.network import Network, NetworkOptions, release_sha256
from rsrp_lava.runs import Run, evaluate, load_run, map_run, plot
from rsrp_lava.studies import study
from rsrp_lava.tasks import get_task, task_names
from rsrp_lava.training import Result, train

__version__ = "0.1.0"

__all__ = [
    "RULES",
    "CheckpointError",
    "EngineError",
    "Experiment",
    "ExperimentError",
    "MappingError",
    "Network",
    "NetworkOptions",
    "ProfileError",
    "Result",
    "RsrpError",
    "Run",
    "RunFolderError",
    "deploy",
    "evaluate",
    "get_task",
    "load_profile",
    "load_run",
    "map_run",
    "plot",
    "profile_names",
    "release_sha256",
    "study",
    "task_names",
    "train",
]
