"""Lava's graphs, seen from outside: started in a worker session (lava_session.py), followed generation by generation.

This file imports no Lava. All that the graph says comes over a connection; nothing reads a process's state behind its back.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsrp_lava.engines.baseline import WithoutNetwork
from rsrp_lava.engines.lava_messages import GraphStart, Order, RuleOrder, RuleStart, unpack_update
from rsrp_lava.engines.lava_session import Session
from rsrp_lava.engines.protocol import Outcome, StartingState
from rsrp_lava.errors import EngineError
from rsrp_lava.experiment import Experiment
from rsrp_lava.learning.rsrp import Update
from rsrp_lava.network import ReleaseProbabilities
from rsrp_lava.normaliser import Normaliser, Observations, Scaling
from rsrp_lava.rules.base import Memory, Played, WeightRule
from rsrp_lava.rules.episodes import EpisodeRule


def require_lava(target: str) -> None:
    """Raise `EngineError` with the way out if Lava, or its backend for the chip, is not here. Imports neither."""
    lava = importlib.util.find_spec("lava")
    if lava is None:
        here = f"this is {platform.python_version()}" if sys.version_info[:2] != (3, 10) else "lava-nc is not installed"
        raise EngineError(
            f"engine lava: Lava supports Python 3.10 only, and {here}; install Python 3.10 and run `make clean install`, "
            "or use --engine fused, which gives the same bits"
        )
    # Looked for as Lava does, but as a file: to find a module inside a package, Python imports the package.
    folders = map(Path, lava.submodule_search_locations or ())
    if target == "loihi2" and not any(any(folder.glob("utils/loihi2_profiler*")) for folder in folders):
        raise EngineError(
            "hardware backend not installed: --lava-target loihi2 needs Intel's lava-loihi extension; install it (INRC "
            "members), or use --lava-target simulation"
        )


class LavaGraph:
    """A graph in its worker session."""

    stopping = "stopping; the generation in flight is given up"
    worker = "rsrp_lava.engines.lava_worker"  #: module that hosts Lava

    def __init__(self, experiment: Experiment) -> None:
        require_lava(experiment.lava_target)
        self.experiment = experiment
        #: Holds the signal's number once someone asked to stop; the generation in flight is then given up: `Interrupted`.
        self.stop: Sequence[int] = ()
        self._session: Session | None = None

    def close(self) -> None:
        """End the worker's session; safe to call at any time, more than once."""
        if self._session is not None:
            self._session.close()

    def _open(self, start: GraphStart | RuleStart) -> None:
        """Start the worker and wait until its graph is built."""
        self._session = Session(self.worker)
        self._session.send(start)
        self._receive()

    def _send(self, message: Any) -> None:
        assert self._session is not None, "prepare comes first"
        self._session.send(message)

    def _receive(self) -> Any:
        assert self._session is not None, "prepare comes first"
        return self._session.receive(self.stop)


class LavaEngine(LavaGraph):
    """Plays and learns inside a Lava graph. The first `play` of a generation runs it, evaluation and samples together; the
    second returns what the same episode gave the others. The graph evaluates every generation, whether asked for or not."""

    name = "lava"

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment)
        self.network = experiment.build_network()
        self._without_network = WithoutNetwork(experiment.compiled_task("engine lava"), experiment.seed)
        #: Of the generation in flight, once it is played: returns, steps, sums of observations, events, answers.
        self._played: tuple[np.ndarray, ...] | None = None

    def prepare(self, state: StartingState | None) -> None:
        """Start the worker and wait until its graph is built; it then runs from `state`."""
        assert state is not None
        playing = state.generation < self.experiment.generations
        start = GraphStart(
            self.experiment,
            state.generation,
            state.probabilities,
            state.optimizer,
            state.normaliser,
            state.previous_mean,
            playing,
        )
        self._open(start)
        self._without_network.prepare()

    def play(
        self,
        probabilities: ReleaseProbabilities,
        normaliser: Scaling,
        generation: int,
        samples: int,
        deterministic: bool = False,
        first: int = 0,
        episodes: int | None = None,
    ) -> Outcome:
        """See `engines.protocol.Engine.play`; the arguments are what the graph has already."""
        if self._played is None:
            self._played = self._receive()[1:]
        returns, steps, sums, events, answers = self._played
        self._played = (returns, steps, sums, np.zeros_like(events), answers)  # events of both together, reported once
        n = self.experiment.population
        if deterministic:
            unseen, outputs = Observations.none(self.network.n_observed), answers[n:].sum(axis=0)
            return Outcome(returns[n:], steps[n:], unseen, events, outputs=outputs)
        return Outcome(returns[:n], steps[:n], Observations.of(sums), events, outputs=answers[:n].sum(axis=0))

    def play_blindly(self, episodes: int, first: int = 0) -> Outcome:
        """See `engines.protocol.Engine.play_blindly`; in this process, as no network takes part."""
        return self._without_network.play(episodes, first)

    def learn(self, generation: int, normaliser: Normaliser, previous_mean: float) -> dict[str, Update]:
        """Let the graph learn and go on with `generation`; returns what every plastic projection has become."""
        playing = generation < self.experiment.generations
        self._send(Order(generation, playing, previous_mean, normaliser.mean, normaliser.inverse_std))
        self._played = None
        _, states = self._receive()
        rule = self.experiment.build_rule()
        plastic = [p for p in self.network.projections if p.plastic]
        return {p.name: unpack_update(vector, (p.n_pre, p.n_post), rule) for p, vector in zip(plastic, states, strict=True)}


class LavaRule(LavaGraph):
    """Training episodes of a rule that keeps weights, played by its graph; evaluations are the rule's own."""

    def __init__(self, experiment: Experiment, rule: WeightRule, seed: int) -> None:
        super().__init__(experiment)
        assert isinstance(rule, EpisodeRule)
        self.rule, self.seed = rule, seed

    def prepare(self, memory: Memory) -> None:
        """Start the worker; its graph learns on from this memory, and waits for `learn`."""
        self.rule.prepare_evaluation(memory)
        self._open(RuleStart(self.experiment, self.seed, memory))

    def learn(self, memory: Memory, generation: int, episodes: int) -> Played:
        """See `rules.base.WeightRule.learn`; `memory` is as the graph has it."""
        self._send(RuleOrder(generation, episodes))
        _, returns, steps, of_rewards = self._receive()
        _, parts = self._receive()
        for (name, array), part in zip(memory.items(), parts, strict=True):
            array[...] = of_rewards[name] if name in of_rewards else part.reshape(array.shape)
        return self.rule.finished(memory, returns, steps)
