"""Engine ray on one machine: two workers against one, and the bytes of a generation."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from benchmarks.bodies import HUMANOID
from benchmarks.timing import alternate
from rsrp_lava.engines import open_engine
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.threads import Threads

_SAMPLES = 512


def ray_workers(threads: int, rounds: int) -> Iterator[tuple[str, ...]]:
    """A generation of Humanoid with as many Ray workers as threads, against one worker."""
    label = "engine ray, Humanoid-v5"
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("mujoco") is None:
        yield (label, "—", "—", "—", "not measured: Ray or MuJoCo is not installed")
        return
    import ray

    ray.init(address="local", num_cpus=threads + 1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    engines = [open_engine(HUMANOID.replace(engine="ray"), Threads(1), workers=workers) for workers in (threads, 1)]
    try:
        half, normaliser, generation = HUMANOID.build_network().initial_probabilities({}), Normaliser.start(348), 0
        for engine in engines:
            engine.prepare(None)
            normaliser = normaliser.update(engine.play(half, normaliser, 0, 64).observations)

        def play(engine: int) -> int:
            nonlocal generation
            generation += 1
            learned = {name: rho.copy() for name, rho in half.items()}  # arrays that were sent are not sent again
            return engines[engine].play(learned, normaliser, generation // 2, _SAMPLES).traffic_bytes

        play(0), play(1)
        many, one, ratio = alternate(lambda: play(0), lambda: play(1), rounds)
        sent = play(0)
    finally:
        for engine in engines:
            engine.close()
        ray.shutdown()
    yield (
        f"{label}, {threads} workers",
        f"{many:.2f} s",
        f"{one:.2f} s",
        f"{100 * ratio / threads:.0f} %",
        "one worker; the ratio is the efficiency",
    )
    least = 4 * sum(rho.size for rho in half.values()) + 16 * _SAMPLES
    yield (
        f"{label}, sent a generation",
        f"{sent:,} B",
        f"{least:,} B",
        f"{sent / least:.3f} ×",
        "4 B a synapse, 16 B a sample",
    )
