"""`make bench`: speed and memory of this package beside plain NumPy, JAX and stock Lava, every ratio measured in one run.

Timings alternate between ours and the other, several times; the table shows medians. Nothing here decides a test.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import binary_layer, bodies, classifier, cluster, jax_network, memory, network, pieces, synapses
from rsrp_lava.threads import available_threads

Measure = Callable[[int, int], Iterator[tuple[str, ...]]]
#: What is measured, by name.
_MEASURES: dict[str, Measure] = {
    "numpy": network.against_numpy,
    "jax": jax_network.against_jax,
    "fixed_point": network.fixed_point,
    "lava": network.against_lava,
    "lava_population": network.lava_population,
    "draws": synapses.draws,
    "credit": synapses.credit,
    "short_episodes": pieces.short_episodes,
    "large_network": pieces.large_network,
    "binary_layer": binary_layer.forward,
    "classifier": classifier.generation,
    "network_call": bodies.network_call,
    "humanoid": bodies.humanoid,
    "ray": cluster.ray_workers,
    "memory": memory.paper_scale,
}


def main() -> None:
    """Run all measurements and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=min(2, available_threads()), help="default: 2")
    parser.add_argument("--rounds", type=int, default=5, help="times each pair is measured (default: 5)")
    parser.add_argument("--only", nargs="+", choices=[*_MEASURES], metavar="NAME", help=f"of {', '.join(_MEASURES)}")
    arguments = parser.parse_args()
    console = Console()
    console.print(f"{_processor()}, {arguments.threads} threads, Python {platform.python_version()}", highlight=False)
    table = Table("measure", "ours", "beside it", "ratio", "what the other is")
    with console.status("measuring …"):
        for name in arguments.only or _MEASURES:
            for row in _MEASURES[name](arguments.threads, arguments.rounds):
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
