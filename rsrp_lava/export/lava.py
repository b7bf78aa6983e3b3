"""A deployment as a folder that runs in Lava by itself: stock LIF and Dense processes, and a host that plays the task.

This file imports no Lava; the folder's script does, in a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from rsrp_lava.errors import EngineError, MappingError
from rsrp_lava.export.deployment import Deployment
from rsrp_lava.export.npz import arrays_of
from rsrp_lava.hardware_profiles import load_profile
from rsrp_lava.tasks import EpisodeTask

#: Test images that go with the folder of a network that classifies.
_PICTURES = 1000

_README = """\
# A spiking network for Lava

Trained on {task}; profile {profile}; release: {release}; {networks} network(s) of {neurons} neurons.

    pip install lava-nc==0.10.0 gymnasium      # Python 3.10
    python run.py --episodes 3                 # bit-accurate simulation (fixed_pt)
    python run.py --hardware                   # Loihi 2, with Intel's lava-loihi; never tried there

`network.npz` holds the integers (`about`: where they come from), `run.py` builds stock LIF and Dense processes from them,
`host.py` plays the task on the CPU.
"""


def require_stock_lif(deployment: Deployment) -> None:
    """Raise `MappingError` unless stock Lava processes compute as the deployment's profile does."""
    stock, profile = load_profile("loihi2").neuron, deployment.profile
    assert stock is not None
    if profile.neuron is None or profile.neuron.model_copy(update={"max_refractory": stock.max_refractory}) != stock:
        raise MappingError(
            f"--to lava: stock LIF does not compute as the neurons of profile {profile.name}; choose loihi1 or loihi2, "
            "or --to npz, which takes every profile"
        )


def write_lava(deployment: Deployment, task: EpisodeTask, folder: Path) -> None:
    """Write the folder. Raises `MappingError` for a profile or task Lava cannot run, `OSError`."""
    require_stock_lif(deployment)
    arrays = arrays_of(deployment, task)
    if task.starts is not None:
        arrays["states"] = task.starts[:_PICTURES].astype(np.uint8)
    elif task.gymnasium_id is None:
        raise MappingError(f"--to lava: the host plays Gymnasium tasks, and {task.name} is none; choose --to npz")
    np.savez_compressed(folder / "network.npz", **arrays)
    files = resources.files("rsrp_lava.export.lava_folder")
    for name in ("run.py", "host.py"):
        (folder / name).write_text(files.joinpath(name).read_text("utf-8"), "utf-8")
    text = _README.format(
        task=task.name,
        profile=deployment.profile.name,
        release=deployment.release,
        networks=len(deployment.synapses),
        neurons=deployment.constants.n_neurons,
    )
    (folder / "README.md").write_text(text, "utf-8")


def run_folder(
    folder: Path, states: np.ndarray, observations: np.ndarray, potentials: np.ndarray
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Run the folder's script from given starts; yields every episode's result and spikes as it ends.

    Parameters
    ----------
    states : float64, shape (episodes, state_size): of the task
    observations : float64, shape (episodes, n_observations): in these states
    potentials : int64, shape (episodes, K, n_neurons)

    Raises `EngineError` with the script's last words if it fails.
    """
    n = potentials[0].size
    scratch = Path(tempfile.mkdtemp(prefix="rsrp-lava-"))
    try:
        np.savez(scratch / "starts.npz", states=states, observations=observations, potentials=potentials)
        command = [sys.executable, str(folder / "run.py"), "--json", "--episodes", str(len(states))]
        command += ["--starts", str(scratch / "starts.npz"), "--record", str(scratch)]
        with (
            open(scratch / "log", "w+b") as log,
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            ) as worker,
        ):
            try:
                assert worker.stdout is not None
                for line in worker.stdout:
                    result = json.loads(line)
                    packed = np.load(scratch / f"episode-{result['episode']}.npy")
                    yield result, np.unpackbits(packed, axis=1)[:, :n].astype(bool)
                if worker.wait() != 0:
                    log.seek(0)
                    raise EngineError(f"{folder}/run.py failed:\n{log.read()[-4000:].decode(errors='replace')}")
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(worker.pid, signal.SIGKILL)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
