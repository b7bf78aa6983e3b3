"""Why a run does not learn: rules on its records, each with its thresholds. Pure functions (docs/not-learning.md).

A run makes *no progress* while neither sampled nor evaluated returns rise (`_rises`) over the last `WINDOW` generations. It
*has learned* something if its evaluations are above doing nothing and above random actions. Of the causes, in the order of
`_CAUSES`, the first that its measurements show is named, once a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rsrp_lava.errors import counted
from rsrp_lava.experiment import Experiment
from rsrp_lava.reporting.numbers import shown_return, trend
from rsrp_lava.tasks import GymTask

Record = dict[str, Any]

#: Generations that tell whether a run makes progress; twice as many, of a run that has learned something already.
WINDOW = 20
#: Standard errors by which a mean must be above another one to count as higher.
ERRORS = 2.0
#: Parts of all environment steps from which on networks count as silent, at their limit, and without a choice.
SILENT, AT_LIMIT, ONE_CHOICE = 0.5, 0.9, 0.98
#: Part of the samples with one return from which on returns count as equal.
EQUAL = 0.95
#: Part of the variance of returns that is the networks', below which chance outweighs them.
NETWORK_SHARE = 0.5
#: Seconds that fewer than `WINDOW` generations may take, and all generations, before time is the cause.
SLOW_S, LONG_S = 300.0, 7200.0
#: Population that is recommended to larger ones.
SMALL = 32


class Notice(NamedTuple):
    """What is wrong, and what to change."""

    cause: str
    text: str


@dataclass(frozen=True)
class Facts:
    """What the rules need to know of an experiment."""

    generations: int
    population: int
    evaluation_episodes: int
    keeps_weights: bool = False  #: a rule of the field: there are no sampled networks
    classifies: bool = False
    repeatable: bool = True  #: can networks be played a second time (`learners.Learner.advance`, compare)?
    n_actions: int = 0  #: to choose from
    bounded: bool = True  #: otherwise: outputs are cut to a range
    goal: float | None = None  #: return from which on the task counts as solved
    episodes_per_sample: int = 1
    shared_starts: bool = False
    input_gain: float = 0.1
    output_gain: float = 5.0

    @classmethod
    def of(cls, experiment: Experiment) -> Facts:
        """Those of an experiment."""
        task = experiment.build_task()
        n_actions, goal = getattr(task, "n_actions", 0), getattr(task, "goal", None)
        keeps_weights = experiment.weight_rule is not None
        return cls(
            experiment.generations,
            experiment.population,
            experiment.evaluation_episodes,
            keeps_weights,
            experiment.classifies,
            not keeps_weights and not experiment.classifies and experiment.engine != "lava",
            n_actions,
            task.bounded if isinstance(task, GymTask) else not n_actions and not experiment.classifies,
            task.perfect_return if goal is None else goal,
            experiment.environment.episodes_per_sample,
            experiment.environment.starts == "shared",
            experiment.network.input_gain,
            experiment.network.output_gain,
        )


def notice(records: Sequence[Record], facts: Facts) -> Notice | None:
    """What there is to say after the last of these records, if it was not said before."""
    trained = [record for record in records if "sampled_return" in record]
    said = {record["notice"]["cause"] for record in trained if "notice" in record}
    if said - {"time"}:
        return None
    window = trained[-WINDOW:]
    if len(window) < WINDOW:
        return None if "time" in said else _time(trained, facts)
    if _solved(trained, facts) or _rises(window):
        return None
    if _has_learned(trained, facts):
        return _noise(trained, facts) if len(trained) >= 2 * WINDOW and not _rises(trained[-2 * WINDOW :]) else None
    found = _first(_CAUSES, trained, facts)
    if found is not None or compare_due(trained, facts):
        return found
    return _first((_noise, _no_better), trained, facts)


def compare_due(records: Sequence[Record], facts: Facts) -> bool:
    """Is it time to measure, in the next generation, how much of the variance of returns is the networks'?

    Once in `2 · WINDOW` generations, of runs without progress and with no other cause.
    """
    trained = [record for record in records if "sampled_return" in record]
    if not facts.repeatable or len(trained) < WINDOW or any("notice" in record for record in trained):
        return False
    if any("network_share" in record for record in trained[-2 * WINDOW :]):
        return False
    length = 2 * WINDOW if _has_learned(trained, facts) else WINDOW
    if len(trained) < length or _solved(trained, facts) or _rises(trained[-length:]):
        return False
    return _first(_CAUSES, trained, facts) is None


Cause = Callable[[Sequence[Record], Facts], "Notice | None"]


def _first(causes: Sequence[Cause], trained: Sequence[Record], facts: Facts) -> Notice | None:
    return next((found for cause in causes if (found := cause(trained, facts))), None)


# --- progress ----------------------------------------------------------------------------------------------------------


def _rises(window: Sequence[Record]) -> bool:
    """Do sampled returns rise, or evaluations, if there are four at least?"""
    evaluated = [record["evaluation_return"] for record in window if "evaluation_return" in record]
    sampled = [record["sampled_return"] for record in window if record["sampled_return"] is not None]
    return any((rise := trend(values)) is not None and rise > ERRORS for values in (sampled, evaluated))


def _evaluated(trained: Sequence[Record], facts: Facts) -> tuple[float, float] | None:
    """Mean and standard error of the last three evaluations at most, of those in the last `WINDOW` generations."""
    found = [r for r in trained[-WINDOW:] if "evaluation_return" in r and (r["generation"] > 0 or facts.keeps_weights)][-3:]
    if not found:
        return None
    episodes = facts.evaluation_episodes * len(found)
    mean = float(np.mean([record["evaluation_return"] for record in found]))
    return mean, math.sqrt(float(np.mean([record["evaluation_std"] ** 2 for record in found])) / episodes)


def _baselines(trained: Sequence[Record], facts: Facts) -> dict[str, tuple[float, float]]:
    """Mean and standard error of each. Runs of old have none, but of networks that were silent in generation 0."""
    first = trained[0]
    if "baselines" in first:
        return {name: (of["return"], of["std"] / math.sqrt(of["episodes"])) for name, of in first["baselines"].items()}
    if first["generation"] or facts.keeps_weights or "evaluation_return" not in first:
        return {}
    return {"nothing": (first["evaluation_return"], first["evaluation_std"] / math.sqrt(facts.evaluation_episodes))}


def _has_learned(trained: Sequence[Record], facts: Facts) -> bool:
    """Is what was evaluated clearly above all baselines? Without evaluations or baselines nothing can be said against it."""
    evaluated = _evaluated(trained, facts)
    if evaluated is None:
        return True
    mean, error = evaluated
    return all(mean - of > ERRORS * math.hypot(error, of_error) for of, of_error in _baselines(trained, facts).values())


def _solved(trained: Sequence[Record], facts: Facts) -> bool:
    """Has an evaluation reached the goal?"""
    reached = [record["evaluation_return"] for record in trained if "evaluation_return" in record]
    return facts.goal is not None and max(reached, default=-math.inf) >= facts.goal


# --- causes ------------------------------------------------------------------------------------------------------------


def _mean_of(trained: Sequence[Record], key: str, part: str | None = None) -> float:
    """Over the last `WINDOW` generations that have it; NaN, which is above no threshold, if none has."""
    values = [record[key] if part is None else record[key][part] for record in trained[-WINDOW:] if key in record]
    return float(np.mean(values)) if values else math.nan


def _silent(trained: Sequence[Record], facts: Facts) -> Notice | None:
    share = _mean_of(trained, "sampled_outputs", "silent")
    if not share >= SILENT:
        return None
    return Notice(
        "silent",
        f"outputs are silent: in {share:.0%} of all steps every output is exactly 0, as the input drives too few neurons "
        f"to their threshold; raise network.input_gain (it is {facts.input_gain:g}), say to {10 * facts.input_gain:g}",
    )


def _equal(trained: Sequence[Record], facts: Facts) -> Notice | None:
    share = _mean_of(trained, "tied_returns")
    if not share >= EQUAL:
        return None
    return Notice(
        "equal",
        f"returns are equal: {share:.0%} of the samples of a generation earn the same, and equal returns teach nothing; "
        "give a reward that also tells bad from worse (environment.wrappers), or raise population "
        f"(it is {facts.population}), so that some sample meets a reward",
    )


def _saturated(trained: Sequence[Record], facts: Facts) -> Notice | None:
    share = _mean_of(trained, "sampled_outputs", "at_limit")
    if not facts.bounded or not share >= AT_LIMIT:
        return None
    return Notice(
        "saturated",
        f"outputs are saturated: in {share:.0%} of all steps every one is at the end of its range; lower "
        f"network.output_gain (it is {facts.output_gain:g}), say to {facts.output_gain / 5:g}",
    )


def _one_choice(trained: Sequence[Record], facts: Facts) -> Notice | None:
    sampled, evaluated = (_mean_of(trained, f"{whose}_outputs", "same_choice") for whose in ("sampled", "evaluation"))
    if not facts.n_actions or not (sampled >= ONE_CHOICE or evaluated >= ONE_CHOICE):
        return None
    whose, share = ("sampled", sampled) if sampled >= ONE_CHOICE else ("evaluated", evaluated)
    return Notice(
        "one_choice",
        f"one action only: {whose} networks take the same one in {share:.0%} of all steps, whatever they observe; raise "
        f"network.input_gain (it is {facts.input_gain:g}), or lower learning_rate, so that others are tried for longer",
    )


def _noise(trained: Sequence[Record], facts: Facts) -> Notice | None:
    shares = [r["network_share"] for r in trained[-2 * WINDOW :] if r.get("network_share") is not None]
    if not shares or not shares[-1] < NETWORK_SHARE:
        return None
    starts = "" if facts.shared_starts else ", or environment.starts: shared (it is independent)"
    return Notice(
        "noise",
        f"chance outweighs networks: {shares[-1]:.2f} of the variance of returns is the networks', the rest is that of "
        f"starts and of chance, and that is what ranks then compare; raise environment.episodes_per_sample "
        f"(it is {facts.episodes_per_sample}), say to {4 * facts.episodes_per_sample}{starts}",
    )


def _no_better(trained: Sequence[Record], facts: Facts) -> Notice | None:
    baselines, evaluated = _baselines(trained, facts), _evaluated(trained, facts)
    if not baselines or evaluated is None:
        return None
    names = {"nothing": "doing nothing", "random": "random actions", "guess": "guessing one class"}
    best = max(baselines, key=lambda name: baselines[name][0])
    smaller = facts.population > SMALL and not facts.keeps_weights
    change = (
        f"lower population (it is {facts.population}), say to {SMALL}: that many more updates at the same cost"
        if smaller
        else "change learning_rate, or train for more generations"
    )
    return Notice(
        "no_better",
        f"nothing is learned yet: after {counted(len(trained), 'generation')} an evaluation returns "
        f"{shown_return(evaluated[0])}, {names[best]} {shown_return(baselines[best][0])}; {change}",
    )


def _time(trained: Sequence[Record], facts: Facts) -> Notice | None:
    seconds = trained[-1]["seconds"] if trained else 0.0
    if not seconds >= SLOW_S:
        return None
    each = seconds / len(trained)
    if each * facts.generations < LONG_S:
        return None
    smaller = f"a smaller population helps (it is {facts.population})" if facts.population > SMALL else "set max_time"
    return Notice(
        "time",
        f"time: at this speed the {WINDOW} generations that show whether anything is learned take {_hours(each * WINDOW)}, "
        f"all {facts.generations} take {_hours(each * facts.generations)}; {smaller}",
    )


def _hours(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


#: Causes that show in every generation's record, the most specific first.
_CAUSES: tuple[Cause, ...] = (_silent, _equal, _saturated, _one_choice)

__all__ = ["Facts", "Notice", "compare_due", "notice"]
