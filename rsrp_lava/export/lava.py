"""A deployment as a folder that runs in Lava by itself: stock LIF and Dense processes, and a host that plays the task.

This file imports no Lava; the folder's script does, in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from rsrp_lava.errors import EngineError, MappingError
from rsrp_lava.export.deployment import Deployment
from rsrp_lava.export.npz import arrays_of, write_arrays
from rsrp_lava.files import replace_file
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
    write_arrays(folder / "network.npz", arrays)
    files = resources.files("rsrp_lava.export.lava_folder")
    for name in ("run.py", "host.py"):
        replace_file(folder / name, files.joinpath(name).read_bytes())
    text = _README.format(
        task=task.name,
        profile=deployment.profile.name,
        release=deployment.release,
        networks=len(deployment.synapses),
        neurons=deployment.constants.n_neurons,
    )
    replace_file(folder / "README.md", text.encode())


def run_folder(
    folder: Path, states: np.ndarray, observations: np.ndarray, potentials: np.ndarray
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Run the folder's script from given starts; yields every episode's result and spikes as it ends.

    Starts and spikes are kept in the folder meanwhile. Whatever ends this process ends the script too.

    Parameters
    ----------
    states : float64, shape (episodes, state_size): of the task
    observations : float64, shape (episodes, n_observations): in these states
    potentials : int64, shape (episodes, K, n_neurons)

    Raises `EngineError` with the script's last words if it fails.
    """
    n = potentials[0].size
    starts, log = folder / "starts.npz", folder / "log"
    recorded = [folder / f"episode-{k}.npy" for k in range(len(states))]
    guard = resources.files("rsrp_lava.export.lava_folder").joinpath("guard.py")
    command = [sys.executable, str(guard), sys.executable, "-B", str(folder / "run.py"), "--json"]
    command += ["--episodes", str(len(states)), "--starts", str(starts), "--record", str(folder)]
    try:
        np.savez(starts, states=states, observations=observations, potentials=potentials)
        with (
            open(log, "w+b") as said,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True
            ) as worker,
        ):
            assert worker.stdin is not None
            assert worker.stdout is not None
            try:
                for line in worker.stdout:
                    result = json.loads(line)
                    packed = np.load(recorded[result["episode"]])
                    yield result, np.unpackbits(packed, axis=1)[:, :n].astype(bool)
                if worker.wait() != 0:
                    said.seek(0)
                    raise EngineError(f"run.py failed:\n{said.read()[-4000:].decode(errors='replace')}")
            finally:
                worker.stdin.close()  # by which the guard knows that all must end
    finally:
        for path in (starts, log, *recorded):
            with suppress(OSError):
                path.unlink()
