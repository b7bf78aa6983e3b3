"""Peak memory at the paper's scale, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

_PROGRAM = """
import json, resource, sys, time
from rsrp_lava import Experiment, train
result = train(Experiment(task="cartpole", population=10240, generations=3))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"peak": peak, "synapses": sum(rho.size for rho in result.probabilities.values())}))
"""


def paper_scale(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """Three generations with 10,240 samples, against what storing every sample's synapses as bytes would take."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    stored = 10240 * measured["synapses"]
    yield (
        "peak memory, N = 10,240",
        f"{measured['peak'] / 2**20:.0f} MiB",
        f"{stored / 2**20:.0f} MiB",
        f"{stored / measured['peak']:.1f} ×",
        "synapses of all samples, a byte each",
    )
