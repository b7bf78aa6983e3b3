"""`make bench`: speed and memory of this package beside plain NumPy and stock Lava, every ratio measured in one run.

Timings alternate between ours and the other, several times; the table shows medians. Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import binary_layer, bodies, classifier, cluster, memory, network, synapses
from rsrp_lava.threads import available_threads


def main() -> None:
    """Run all measurements and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=min(2, available_threads()), help="default: 2")
    parser.add_argument("--rounds", type=int, default=5, help="times each pair is measured (default: 5)")
    arguments = parser.parse_args()
    console = Console()
    console.print(f"{_processor()}, {arguments.threads} threads, Python {platform.python_version()}", highlight=False)
    table = Table("measure", "ours", "beside it", "ratio", "what the other is")
    with console.status("measuring …"):
        for measure in (
            network.against_numpy,
            network.fixed_point,
            network.against_lava,
            network.lava_population,
            synapses.draws,
            synapses.credit,
            binary_layer.forward,
            classifier.generation,
            bodies.network_call,
            bodies.humanoid,
            cluster.ray_workers,
        ):
            for row in measure(arguments.threads, arguments.rounds):
                table.add_row(*row)
        for row in memory.paper_scale():
            table.add_row(*row)
    console.print(table)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
