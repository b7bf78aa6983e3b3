"""`python -m benchmarks.scaling`: what a generation of Humanoid-v5 costs, part by part; from it, what the paper's run would.

Nothing else may run on the machine meanwhile. Prints the tables of docs/scaling.md.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from benchmarks.bodies import HUMANOID
from benchmarks.timing import seconds
from rsrp_lava.engines import open_local
from rsrp_lava.kernels.exact_sums import PLACES
from rsrp_lava.kernels.held import hold
from rsrp_lava.kernels.random_bits import TASK, fill_uniform
from rsrp_lava.kernels.rollout import Synapses, Tally, act, allocate_state, draw_sample, no_outputs, start_episode
from rsrp_lava.learning.rsrp import release_credit
from rsrp_lava.learning.transforms import TRANSFORMS
from rsrp_lava.mapping import kernel_constants
from rsrp_lava.network import Network
from rsrp_lava.normaliser import Normaliser
from rsrp_lava.tasks import EpisodeTask
from rsrp_lava.threads import Threads

#: Sun et al. 2025, Humanoid: samples a generation, generations; steps of an episode that does not fall.
_SAMPLES, _GENERATIONS, _STEPS = 10_240, 2_000, 1_000
_CORES = (2, 64, 1_000)
#: Bytes a second between machines (10 Gbit/s), and processors a machine.
_BANDWIDTH, _CORES_A_MACHINE = 1.25e9, 64


def main() -> None:
    """Measure and print."""
    parts = measure()
    print("| part | cost on one core |\n|---|---|")
    for name, (cost, unit, scale) in parts.items():
        print(f"| {name} | {cost * scale:,.2f} {unit} |")
    print()
    print("| cores | environment steps/s | a generation | draw | physics and network | credit | sent | the whole run |")
    print("|---|---|---|---|---|---|---|---|")
    for cores in _CORES:
        print(predicted(parts, cores))


def measure() -> dict[str, tuple[float, str, float]]:
    """Means in seconds, with the unit to show them in and its factor."""
    network, task, draw = HUMANOID.build_network(), HUMANOID.build_task(), HUMANOID.build_draw()
    assert isinstance(network, Network)
    assert isinstance(task, EpisodeTask)
    engine = open_local(HUMANOID, Threads(1), 0)
    engine.prepare(None)
    half = network.initial_probabilities({})
    normaliser = Normaliser.start(network.n_inputs)
    normaliser = normaliser.update(engine.play(half, normaliser, 0, 32).observations)
    constants = kernel_constants(network, HUMANOID.hardware)
    synapses = Synapses(*(draw.source(p, half[p.name]) for p in network.projections))
    state, simulation = allocate_state(synapses, constants, network.n_inputs, network.n_outputs), task.open_state()
    sums, events = np.zeros((network.n_inputs, PLACES), np.int64), np.zeros(3, np.int64)
    tally = Tally(np.zeros(0), np.zeros(0, np.int64), sums, events, no_outputs(network.n_outputs))
    scaling = (normaliser.mean, normaliser.inverse_std)
    held = hold((state, constants, *scaling, tally))
    observation, random = np.zeros(network.n_inputs), np.empty(task.random_size)
    spent: dict[str, list[float]] = {"draw": [], "physics": [], "network": []}
    for sample in range(64):
        started = time.perf_counter()
        draw_sample(state, synapses, (0, 1, 0), sample)
        spent["draw"].append(time.perf_counter() - started)
        start_episode(state, constants, np.zeros(constants.n_neurons))
        fill_uniform(0, 1, sample, TASK, random)
        task.reset(simulation.values, random)
        ended = False
        while not ended:
            task.observe(simulation.values, observation)
            started = time.perf_counter()
            act(held, observation)
            acted = time.perf_counter()
            _, ended = task.step(simulation.values, state.output)
            spent["network"].append(acted - started)
            spent["physics"].append(time.perf_counter() - acted)
    steps = int(engine.play(half, normaliser, 1, 64).steps.sum())
    whole = statistics.median(seconds(lambda: engine.play(half, normaliser, 1, 64)) for _ in range(5)) / steps
    broadcast = TRANSFORMS["centered_rank"](np.arange(256.0), None)
    synapses_of = sum(rho.size for rho in half.values())

    def credit() -> None:
        for index, projection in enumerate(network.projections):
            rows, source = projection.to_rows(half[projection.name]), draw.source(projection, half[projection.name])
            release_credit(rows, source, broadcast, draw.p_bits, (0, 0, index), Threads(1).map_ranges)

    credit()
    one = statistics.median(seconds(credit) for _ in range(5)) / (256 * synapses_of)
    means = {name: statistics.fmean(values) for name, values in spent.items()}  # a step with contacts costs several others
    return {
        "draw of a sample's synapses": (means["draw"], "ms", 1e3),
        "physics of an environment step (MuJoCo)": (means["physics"], "µs", 1e6),
        "network of an environment step": (means["network"], "µs", 1e6),
        "an environment step in the kernel, all of it": (whole, "µs", 1e6),
        "credit of a synapse and sample, drawn again": (one, "ns", 1e9),
        "synapses": (synapses_of, "", 1),
    }


def predicted(parts: dict[str, tuple[float, str, float]], cores: int) -> str:
    """A line of the table: the paper's run on so many cores, credit on one machine's."""
    draw, _, _, step, credit, synapses = (value for value, *_ in parts.values())
    machines = -(-cores // _CORES_A_MACHINE)
    drawn, played = _SAMPLES * draw / cores, _SAMPLES * _STEPS * step / cores
    credited = _SAMPLES * synapses * credit / min(cores, _CORES_A_MACHINE)
    sent = 4 * synapses * machines + 16 * _SAMPLES
    generation = drawn + played + credited + sent / _BANDWIDTH
    hours = generation * _GENERATIONS / 3600
    shown = f"{hours / 24:,.1f} days" if hours > 48 else f"{hours:,.1f} h"
    return (
        f"| {cores:,} | {_SAMPLES * _STEPS / generation:,.0f} | {generation:,.2f} s | {drawn:.3f} s | {played:,.2f} s | "
        f"{credited:.3f} s | {sent / 1e6:.1f} MB | {shown} |"
    )


if __name__ == "__main__":
    main()
