"""What the arrays of an experiment take in memory, before any is made.

Only what is there at one time for certain is counted, each array once: an experiment that is refused could not have run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rsrp_lava import machine
from rsrp_lava.errors import ExperimentError
from rsrp_lava.experiment import Experiment
from rsrp_lava.kernels.binary_layer import LANES, PIECE, PIECE_ROWS
from rsrp_lava.network import LayeredNetwork, Network
from rsrp_lava.tasks import ClassifyTask, EpisodeTask


class Part(NamedTuple):
    """Bytes that follow from one setting."""

    setting: str  #: with its value
    bytes: int
    way_out: str


def require_room(experiment: Experiment, threads: int = 1, *, learns: bool) -> None:
    """`ExperimentError` if the arrays of this experiment are larger than the memory there is.

    `learns`: or else networks are only played. A checkpoint takes less than learning does.
    """
    available, parts = machine.memory_bytes(), list(parts_of(experiment, threads, learns=learns))
    needed = sum(part.bytes for part in parts)
    if available is None or needed <= available:
        return
    largest = max(parts, key=lambda part: part.bytes)
    part = "" if needed == largest.bytes else f" ({machine.in_words(needed)} with everything else)"
    raise ExperimentError(
        f"{largest.setting}: needs {machine.in_words(largest.bytes)} of memory{part}, and this process may have "
        f"{machine.in_words(available)}; {largest.way_out}, or use a machine with more memory"
    )


def parts_of(experiment: Experiment, threads: int, *, learns: bool) -> Iterator[Part]:
    """What each setting takes."""
    if experiment.weight_rule is not None:
        yield from _weights(experiment)
        return
    network, task = experiment.build_network(), experiment.build_task()
    yield _synapses(experiment, network, learns)
    if isinstance(task, ClassifyTask) and isinstance(network, LayeredNetwork) and not network.options.conv:
        yield _batch(experiment, network, threads)
    if experiment.engine == "lava" and isinstance(network, Network) and isinstance(task, EpisodeTask):
        yield _lava_samples(experiment, network, task)


def _synapses(experiment: Experiment, network: Network | LayeredNetwork, learns: bool) -> Part:
    """Probabilities before and after the update, their optimizer's state before and after, credit and bit planes."""
    sizes = {p.name: p.n_pre * p.n_post for p in network.projections}
    planes = {p.name: 8 * p.words * (1 + 4 * -(-experiment.build_draw().p_bits // 4)) for p in network.projections}
    probabilities = 4 * sum(sizes.values())
    playing, learning = probabilities + sum(planes.values()), 0
    plastic = [p for p in network.projections if p.plastic]
    if learns:
        rule = experiment.build_rule()
        per_synapse = sum(array.itemsize for array in rule.start((1, 1)).values() if array.shape == (1, 1))
        state = per_synapse * sum(sizes[p.name] for p in plastic)
        playing += state
        learning = 2 * (probabilities + state) + max(8 * 64 * p.words + planes[p.name] for p in plastic)
    largest = max(sizes, key=lambda name: sizes[name])
    setting, way_out = _size_of(experiment, network, largest)
    return Part(setting, max(playing, learning), way_out)


def _size_of(experiment: Experiment, network: Network | LayeredNetwork, projection: str) -> tuple[str, str]:
    """The setting that makes a projection as large as it is, and what to do about it."""
    if isinstance(network, LayeredNetwork) or network.pictures:
        layers = experiment.layers
        if projection.startswith("conv"):
            return f"layers.conv: {','.join(map(str, layers.conv))}", "use fewer filters"
        return f"layers.hidden: {','.join(map(str, layers.hidden))}", "use fewer neurons"
    n = network.options.n_neurons
    if projection == "input" and 2 * network.n_inputs > n:
        return f"task: {experiment.task} has {network.n_inputs:,} observations, and their synapses", "use a task with fewer"
    return f"network.n_neurons: {n}", "use fewer neurons"


def _batch(experiment: Experiment, network: LayeredNetwork, threads: int) -> Part:
    """The table of the images that networks see together (kernels/binary_layer.py); one per thread if each sees its own."""
    lanes, pieces = -(-experiment.batch // LANES) * LANES, -(-network.sizes[0] // PIECE)
    tables = threads if experiment.data_sampling == "independent" else 1
    return Part(f"batch: {experiment.batch}", 2 * lanes * pieces * PIECE_ROWS * tables, "use a smaller batch")


def _lava_samples(experiment: Experiment, network: Network, task: EpisodeTask) -> Part:
    """Of every sample, in the graph's processes: releases; currents, potentials, and what arrives; its state of the task."""
    words = -(-network.options.n_neurons // 64)
    neurons = 64 * words * (3 * 4 + 4 + 2) + 8 * words
    one = 8 * sum(p.words for p in network.projections) + neurons + 8 * task.state_size + 4 * task.n_observations
    samples = experiment.population + experiment.evaluation_episodes
    evaluated = f" and evaluation_episodes: {experiment.evaluation_episodes}"
    return Part(f"population: {experiment.population}{evaluated}", samples * one, "use fewer, or engine fused")


def _weights(experiment: Experiment) -> Iterator[Part]:
    """Of a rule that trains the package's network: at least two numbers of 4 bytes per synapse."""
    rule, task = experiment.weight_rule, experiment.build_task()
    if rule is not None and "network" in rule.settings and isinstance(task, EpisodeTask):
        n = experiment.network.n_neurons
        synapses = n * (task.n_observations + n + task.n_outputs)
        yield Part(f"network.n_neurons: {n}", rule.bytes_per_synapse * synapses, "use fewer neurons")


__all__ = ["Part", "parts_of", "require_room"]
