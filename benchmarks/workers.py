"""`python -m benchmarks.workers RUN [RUN ...]`: how busy a population keeps many workers, from episodes as they are played.

Plays the networks of a run's last generation, takes the lengths of their episodes, and hands them to W workers as the engine
does: each takes the next sample when it is free. A generation lasts until the last one ends:

    busy = Σ lengths / (W · longest sum of a worker)         the part of all workers' time that is spent playing

A generation is N episodes, so W workers play W · busy times as many environment steps per second as one.
"""

from __future__ import annotations

import argparse
import heapq
from pathlib import Path

import numpy as np

from rsrp_lava.learners import open_learner
from rsrp_lava.runs import load_run
from rsrp_lava.threads import Threads

_WORKERS, _POPULATIONS, _DRAWS = (2, 16, 64), (8, 16, 32, 64, 128, 256), 200


def busy(lengths: np.ndarray, workers: int) -> float:
    """Part of the workers' time that is spent playing samples of these lengths, in their order."""
    ends = [0] * workers
    for length in lengths:
        heapq.heappush(ends, heapq.heappop(ends) + int(length))
    return float(lengths.sum() / (workers * max(ends)))


def lengths_of(path: Path, samples: int = 512) -> np.ndarray:
    """Environment steps of episodes of networks drawn from a run's release probabilities, int64, shape (samples,)."""
    run = load_run(path)
    learner = open_learner(run.experiment, Threads())
    try:
        learner.prepare()
        played = learner.engine.play(run.probabilities, run.normaliser, run.generation, samples)  # type: ignore[union-attr]
    finally:
        learner.close()
    return played.steps


def main() -> None:
    """Print a table per run: mean `busy` of generations of N samples drawn from those lengths."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    random = np.random.default_rng(0)
    for path in parser.parse_args().runs:
        lengths = lengths_of(path)
        print(f"\n{path.name}: {lengths.mean():.0f} steps per episode, {lengths.min()} to {lengths.max()}\n")
        print(
            "| N | " + " | ".join(f"{workers} workers" for workers in _WORKERS) + " |\n" + "|---" * (len(_WORKERS) + 1) + "|"
        )
        for n in _POPULATIONS:
            cells = []
            for workers in _WORKERS:
                part = float(np.mean([busy(random.choice(lengths, n), workers) for _ in range(_DRAWS)]))
                cells.append(f"{workers * part:.1f} × ({part:.0%})")
            print(f"| {n} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
