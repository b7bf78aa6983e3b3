"""The whole of RSRP as a graph of Lava processes. Imports Lava: only the worker (lava_worker.py) imports this file.

environment → input encoder → input synapses → LIF ⟲ recurrent synapses
     ↑                                          ↓
     └──────── readout ←── readout synapses ←───┘          reward broadcaster → everyone
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rsrp_lava.engines.lava_messages import GraphStart, pack_update
from rsrp_lava.kernels import population
from rsrp_lava.kernels.arithmetic import EVENTS
from rsrp_lava.kernels.exact_sums import PLACES
from rsrp_lava.kernels.lanes import aligned_zeros
from rsrp_lava.kernels.population import state_array
from rsrp_lava.kernels.rollout import no_outputs, specialise, task_functions
from rsrp_lava.learning.optimizers import OptimizerState
from rsrp_lava.learning.rsrp import Rsrp, Update, stored_credit
from rsrp_lava.learning.transforms import TRANSFORMS, Broadcast, Transform
from rsrp_lava.mapping import kernel_constants
from rsrp_lava.mapping.release import ReleaseDraw, Source, fixed_release
from rsrp_lava.network import Projection
from rsrp_lava.processes.environment.process import Environment
from rsrp_lava.processes.input_encoder.process import InputEncoder
from rsrp_lava.processes.lif.process import LIFPopulation
from rsrp_lava.processes.population import Told, parts_of
from rsrp_lava.processes.readout.process import Readout
from rsrp_lava.processes.reward_broadcaster.process import RewardBroadcaster
from rsrp_lava.processes.stochastic_synapse.process import InputSynapses, ReadoutSynapses, RecurrentSynapses
from rsrp_lava.tasks.base import EpisodeTask


@dataclass
class ProjectionState:
    """What a synapse process has of its own: release probabilities, optimizer state, and the rule that changes them."""

    projection: Projection
    index: int
    probability: np.ndarray
    optimizer: OptimizerState
    rule: Rsrp
    draw: ReleaseDraw
    seed: int
    generation: int

    @property
    def plastic(self) -> bool:
        """Does it learn?"""
        return self.projection.plastic

    @property
    def words(self) -> int:
        """Words of packed bits a sample."""
        rows, columns = self.projection.rows_shape
        return rows * -(-columns // 64)

    def source(self) -> Source:
        """What training samples draw from."""
        return self.draw.source(self.projection, self.probability)

    def deterministic(self) -> np.ndarray:
        """The words of [ρ > ½], which evaluation samples release."""
        return fixed_release(self.projection, self.probability > 0.5)[0]

    def learn(self, released: np.ndarray, units: np.ndarray, scale: float) -> np.ndarray:
        """Update ρ from the releases of this episode and the broadcast; returns the new state as one vector."""
        broadcast = Broadcast(units, scale)
        rows = self.projection.to_rows(self.probability)
        credit = self.projection.from_rows(stored_credit(rows, broadcast, self.draw.p_bits, released))
        key = (self.seed, self.generation, self.index)
        update = self.rule.update(self.probability, credit, broadcast, self.optimizer, key)
        self.probability, self.optimizer = update.probability, update.optimizer
        return pack_update(update)


@dataclass
class PopulationJudge:
    """Of the reward broadcaster: returns of all samples become a scalar each, as the transform says."""

    samples: int
    transform: Transform
    previous_mean: float | None  #: what some transforms compare with

    def __call__(self, link: Any, played: np.ndarray, sums: np.ndarray, events: np.ndarray) -> Told:
        """Tell the engine, which says what comes next."""
        counts = played.astype(np.int64)
        link.send(("played", played[:, 0], counts[:, 1], sums, events, counts[:, 3:]))
        order = link.recv()
        broadcast = self.transform(played[: self.samples, 0], self.previous_mean)
        self.previous_mean = order.previous_mean
        statistics = np.concatenate([order.mean, order.inverse_std])
        return Told(order.generation, order.playing, 0, broadcast.scale, broadcast.units, statistics, collect=True)


def build_graph(start: GraphStart, link: Any, report: Any) -> dict[str, Any]:
    """All processes by name, connected. `link`: connection to the engine; `report`: called with what failed."""
    experiment = start.experiment
    network, task = experiment.spiking_network("engine lava"), experiment.compiled_task("engine lava")
    constants = kernel_constants(network, experiment.hardware)
    words = len(constants.excitatory)
    key = (experiment.seed, start.generation)
    shared: dict[str, Any] = {
        "samples": experiment.population,
        "evaluation": experiment.evaluation_episodes,
        "n_inputs": task.n_observations,
        "substeps": network.substeps,
        "report": report,
    }
    synapses = {
        p.name: ProjectionState(
            projection=p,
            index=index,
            probability=start.probabilities[p.name],
            optimizer=start.optimizer.get(p.name, {}),
            rule=experiment.build_rule(),
            draw=experiment.build_draw(),
            seed=experiment.seed,
            generation=start.generation,
        )
        for index, p in enumerate(network.projections)
    }
    sizes = [len(pack_update(Update(s.probability, s.optimizer, 0, 0))) if s.plastic else 0 for s in synapses.values()]
    parts = dict(zip(synapses, parts_of(sizes), strict=True))

    def projection(process: Any, name: str, in_shape: int, out_shape: int) -> Any:
        return process(
            label=f"{name} synapses",
            synapses=synapses[name],
            in_shape=in_shape,
            out_shape=out_shape,
            part=parts[name],
            constants=constants,
            **shared,
        )

    environment = Environment(
        label="environment", task=task, n_outputs=task.n_outputs, key=key, playing=start.playing, **shared
    )
    scaling = (start.normaliser.mean, start.normaliser.inverse_std)
    encoder = InputEncoder(label="input encoder", normaliser=scaling, **shared)
    input_ = projection(InputSynapses, "input", task.n_observations, 64 * words)
    recurrent = projection(RecurrentSynapses, "recurrent", words, 64 * words)
    counts = len(state_array(constants.readout, task.n_outputs))
    readout_ = projection(ReadoutSynapses, "readout", words, counts)
    lif = LIFPopulation(label="LIF", words=words, constants=constants.lif, n_neurons=constants.n_neurons, key=key, **shared)
    readout = Readout(label="readout", n_outputs=task.n_outputs, counts=counts, constants=constants.readout, **shared)
    broadcaster = RewardBroadcaster(
        label="reward broadcaster",
        judge=PopulationJudge(experiment.population, TRANSFORMS[experiment.reward_transform], start.previous_mean),
        link=link,
        parts=[part for part in parts.values() if part.size],
        n_outputs=task.n_outputs,
        **shared,
    )

    environment.s_out.connect(encoder.s_in)
    encoder.s_out.connect(input_.s_in)
    input_.a_out.connect(lif.drive_in)
    lif.s_out.connect([recurrent.s_in, readout_.s_in])
    recurrent.a_out.connect(lif.a_in)
    readout_.a_out.connect(readout.a_in)
    readout.a_out.connect(environment.a_in)
    everyone = [environment, encoder, input_, recurrent, readout_, lif, readout, broadcaster]
    environment.g_out.connect([process.g_in for process in everyone])
    broadcaster.r_out.connect([process.r_in for process in everyone])
    environment.t_out.connect(broadcaster.t_in)
    for process in (input_, lif, readout):
        process.e_out.connect(broadcaster.e_in)
    encoder.m_out.connect(broadcaster.m_in)
    for process, part in zip((input_, recurrent, readout_), parts.values(), strict=True):
        if part.size:
            process.p_out.connect(broadcaster.p_in)
    return {process.proc_params["label"]: process for process in everyone}


def compile_environment(task: EpisodeTask) -> None:
    """Those of the environment."""
    none, functions = 0, task_functions(task.reset, task.observe, task.step)
    alive, states = np.zeros(none, np.uint8), np.zeros((none, task.state_size))
    observations, outputs = np.zeros((none, task.n_observations)), np.zeros((none, task.n_outputs), np.float32)
    counts = (np.zeros(none), np.zeros(none, np.int64), np.zeros(none, np.uint8))
    specialise(population.reset_population, functions, 0, 0, 0, 0, task.shared_starts, states, task.random_size)
    specialise(population.observe_population, functions, states, alive, observations)
    specialise(population.step_population, functions, states, outputs, task.max_steps, alive, *counts)
    population.answer_population(outputs, alive, no_outputs(task.n_outputs)[None, :][:none])


def compile_kernels(start: GraphStart) -> None:
    """Compile (or load) every kernel of the graph, once, before Lava forks: children inherit the machine code."""
    experiment = start.experiment
    network, task = experiment.spiking_network("engine lava"), experiment.compiled_task("engine lava")
    constants = kernel_constants(network, start.experiment.hardware)
    words, none = len(constants.excitatory), 0
    alive, events = np.zeros(none, np.uint8), np.zeros(len(EVENTS), np.int64)
    lanes = state_array(constants.lif, 64 * words)[None, :][:none]
    spikes, rows = np.zeros((none, words), np.uint64), np.zeros((none, words), np.uint64)
    observations, outputs = np.zeros((none, task.n_observations)), np.zeros((none, task.n_outputs), np.float32)
    delivered = np.zeros((none, 64 * words), np.int16)
    z, scale = np.zeros((none, task.n_observations), np.float32), np.zeros(task.n_observations)
    traces = state_array(constants.readout, task.n_outputs)[None, :][:none]
    counts = np.zeros(traces.shape, np.int32)
    for dtype in (np.uint64, lanes.dtype.type, traces.dtype.type):
        aligned_zeros(0, dtype)
    half, synapse = np.full((1, 1), 0.5, np.float32), Projection("one synapse", 1, 1, "post")
    population.draw_population(start.experiment.build_draw().source(synapse, half), 0, 0, 0, rows)
    population.draw_population(np.zeros((1, words), np.uint64), 0, 0, 0, rows)
    population.start_membranes(constants.lif, 0, 0, 0, 1, lanes)
    population.drive_population(constants.input, z, rows, alive, lanes, events)
    population.deliver_population(spikes, constants.excitatory, rows, alive, delivered)
    population.lif_population(constants.lif, lanes, lanes, lanes, delivered, alive, spikes, events)
    population.count_population(spikes, constants.excitatory, rows, task.n_outputs, alive, counts)
    population.integrate_population(constants.readout, counts, alive, traces, events)
    population.output_population(constants.readout, traces, outputs)
    population.normalise_population(observations, scale, scale, alive, z, np.zeros((none, PLACES), np.int64))
    compile_environment(task)
    two_samples = Broadcast(np.array([-1, 1], np.int32), 0.5)
    credit, rule = stored_credit(half, two_samples, 4, np.zeros((2, 1), np.uint64)), experiment.build_rule()
    rule.update(half, credit, two_samples, rule.start(half.shape))
