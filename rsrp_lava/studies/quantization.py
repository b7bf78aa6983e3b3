"""What few-bit probabilities do to learning, and to a trained network that is carried to a chip.

Axes, each selectable (`axes`); all are trained with the task's recipe, one seed after the other:

    bits        codes of B bits and their rounding while training, at one or more learning rates (beside float32)
    ends        the same with codes 0 and 2^B, where a synapse is stuck: it always does the same and never learns again
    epsilon     how near to 0 and 1 a probability may come (float32)
    generator   where random bits come from: ideal, a shift register with so many steps between draws, one draw an axon
    state_bits  width of u and v (profile generic-int8 with narrower registers)
    deploy_bits a network trained in float32, its probabilities rounded to B bits afterwards
    release     what becomes of the probabilities where a chip does not draw
    ensemble    networks that vote, each a frozen sample

Stored codes are c / 2^B. Nearest rounding loses a change below half a code, 2^-(B+1), always; stochastic rounding loses it
most of the time, but on average not at all (Gupta et al. 2015; learning/storage.py).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from rsrp_lava.deploying import deployment_of
from rsrp_lava.errors import ExperimentError, unknown_name
from rsrp_lava.experiment import Experiment
from rsrp_lava.export import RELEASE_MODES, play
from rsrp_lava.hardware_profiles import load_profile
from rsrp_lava.learning.storage import Storage
from rsrp_lava.runs import Run
from rsrp_lava.studies.runner import Cell, Row, checked_options
from rsrp_lava.tasks import get_compiled_task
from rsrp_lava.threads import Threads
from rsrp_lava.training import train

#: Axes of the study, with the line that says what each is.
AXES = {
    "bits": "bits and rounding of stored probabilities while training",
    "ends": "codes 0 and 1 allowed: synapses get stuck",
    "epsilon": "how near to 0 and 1 a probability may come",
    "generator": "ideal random bits, shift registers, one draw an axon",
    "state_bits": "width of the neurons' states (profile generic-int8)",
    "deploy_bits": "bits of a float32-trained network's probabilities",
    "release": "what becomes of probabilities on a chip that does not draw",
    "ensemble": "networks that vote, each a frozen sample",
}
#: Width of the comparator in every cell: wide enough for all codes.
_COMPARATOR_BITS = 16
#: A deployment plays 128 episodes in so many pieces; each piece draws its samples anew.
_PIECES, _EPISODES_A_PIECE = 16, 8


class QuantizationOptions(BaseModel):
    """What to study. Lists are axes; `settings` are those of an `Experiment` and hold for every training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    axes: tuple[str, ...] = Field(tuple(AXES), description="what is studied", min_length=1)
    bits: tuple[int, ...] = Field((2, 3, 4, 6, 8, 10, 16), description="stored bits while training")
    rounding: tuple[str, ...] = Field(("nearest", "stochastic"), description="of updates to codes")
    learning_rates: tuple[str, ...] = Field(
        ("1",), description="parts of the recipe's learning rate; 0.1:160 is a tenth for 160 generations"
    )
    epsilons: tuple[float, ...] = Field((1e-4, 1e-3, 1e-2, 1e-1), description="limits of the probabilities")
    generators: tuple[str, ...] = Field(
        ("counter", "axon", "lfsr:1", "lfsr:8", "lfsr:16"), description="lfsr:S takes S steps of a 16-bit register a draw"
    )
    state_bits: tuple[int, ...] = Field((8, 10, 12, 16, 20, 24), description="of u and v")
    deploy_bits: tuple[int, ...] = Field((1, 2, 3, 4, 6, 8, 10, 16), description="of a trained network's probabilities")
    release: tuple[str, ...] = Field(tuple(RELEASE_MODES), description="what becomes of the probabilities")
    ensemble: tuple[int, ...] = Field((1, 2, 4, 8, 16), description="networks that vote")
    deploy_profile: str = Field("ideal", description="hardware of the deployments")
    seeds: int = Field(3, ge=1, le=1000, description="seeds of every training: 0, 1, …")
    goal: float | None = Field(None, description="return that counts as learned; by default 95 % of the best")
    settings: dict[str, Any] = Field(default_factory=dict, description="of all trainings, as in a --config file")

    @field_validator(
        *("axes", "bits", "rounding", "learning_rates", "epsilons", "generators"),
        *("state_bits", "deploy_bits", "release", "ensemble"),
        mode="before",
    )
    @classmethod
    def _list(cls, value: Any) -> Any:
        """'2,3,4' from the command line, a single value, or any sequence."""
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return [value] if isinstance(value, int | float) else value

    @field_validator("axes", "rounding", "release")
    @classmethod
    def _known(cls, value: tuple[str, ...], info: Any) -> tuple[str, ...]:
        known = {"axes": AXES, "rounding": ("nearest", "stochastic"), "release": RELEASE_MODES}[info.field_name]
        for name in value:
            if name not in known:
                raise ValueError(unknown_name(info.field_name, name, known))
        return value

    @field_validator("bits", "deploy_bits", "ensemble")
    @classmethod
    def _in_range(cls, value: tuple[int, ...], info: Any) -> tuple[int, ...]:
        limits = {"bits": (2, _COMPARATOR_BITS), "deploy_bits": (1, _COMPARATOR_BITS), "ensemble": (1, 256)}
        low, high = limits[info.field_name]
        for number in value:
            if not low <= number <= high:
                raise ValueError(f"{number} must be between {low} and {high}")
        return value

    @field_validator("learning_rates", "generators")
    @classmethod
    def _form(cls, value: tuple[str, ...], info: Any) -> tuple[str, ...]:
        pattern, example = {
            "learning_rates": (r"\d*\.?\d+(e-?\d+)?(:\d+)?", "1, or 0.1:160 (a tenth, for 160 generations)"),
            "generators": (r"counter|axon|lfsr:\d+", "counter, axon, or lfsr:8 (a draw every 8 steps)"),
        }[info.field_name]
        for text in value:
            if not re.fullmatch(pattern, text):
                raise ValueError(f"{text} must be {example}")
        return value


def options(**given: Any) -> QuantizationOptions:
    """`QuantizationOptions`, mistakes as `ExperimentError`."""
    return checked_options(QuantizationOptions, given)


def cells(task: str, o: QuantizationOptions, threads: int | None = None) -> list[Cell]:
    """All cells of the study, in the order of AXES, seeds innermost. Raises `ExperimentError` before anything is trained."""
    makers = {
        "bits": _bits,
        "ends": _ends,
        "epsilon": _epsilon,
        "generator": _generator,
        "state_bits": _state_bits,
        "deploy_bits": _deploy_bits,
        "release": _release,
        "ensemble": _ensemble,
    }
    get_compiled_task(task, "study quantization")
    goal = goal_of(task, o)
    made: list[Cell] = []
    for axis in AXES:
        if axis in o.axes:
            for columns, experiment, deployed in makers[axis](task, o):
                columns = {"axis": axis, "seed": experiment.seed, **columns}
                if deployed is None:
                    measure = functools.partial(training_values, goal=goal, threads=threads)
                    made.append(Cell(columns, experiment, measure, f"training {goal!r}"))
                else:
                    measure = functools.partial(deployment_values, **deployed, profile=o.deploy_profile, threads=threads)
                    key = f"deployment {deployed} {load_profile(o.deploy_profile).digest}"
                    made.append(Cell(columns, experiment, measure, key))
    return made


def goal_of(task: str, o: QuantizationOptions) -> float:
    """The return that counts as learned."""
    if o.goal is not None:
        return o.goal
    best = get_compiled_task(task, "study quantization").perfect_return
    if best is None:
        raise ExperimentError(f"goal: nobody knows the best return of {task}; give one that counts as learned (--goal)")
    return 0.95 * best


#: Columns, the experiment, and for a deployment the arguments of `deployment_values`.
_Maker = Iterator[tuple[Row, Experiment, dict[str, Any] | None]]


def _experiments(task: str, o: QuantizationOptions, rate: str = "1", **changes: Any) -> Iterator[Experiment]:
    """One a seed: the recipe, the study's settings, and `changes`; profile_overrides of all three are joined."""
    overrides = {**o.settings.get("profile_overrides", {}), **changes.pop("profile_overrides", {})}
    part, _, generations = rate.partition(":")
    for seed in range(o.seeds):
        settings = {"p_bits": _COMPARATOR_BITS, **o.settings, **changes, "profile_overrides": overrides}
        experiment = Experiment(**{**settings, "task": task, "seed": seed})
        if float(part) != 1:
            experiment = experiment.replace(learning_rate=experiment.resolved_learning_rate * float(part))
        yield experiment.replace(generations=int(generations)) if generations else experiment


def _codes(bits: int | None, rounding: str | None, ends: bool = False) -> dict[str, Any]:
    overrides: dict[str, Any] = {"learning_storage.p_bits": bits}
    if bits is not None:
        overrides |= {
            "learning_storage.rounding": rounding,
            "learning_storage.zero": ends,
            "learning_storage.one": ends,
        }
    return {"profile_overrides": overrides}


def _bits(task: str, o: QuantizationOptions) -> _Maker:
    for rate in o.learning_rates:
        for bits in (*o.bits, None):
            for rounding in o.rounding if bits is not None else (None,):
                for experiment in _experiments(task, o, rate, **_codes(bits, rounding)):
                    columns = {"bits": bits or "float32", "rounding": rounding, "rate": float(rate.partition(":")[0])}
                    yield columns, experiment, None


def _ends(task: str, o: QuantizationOptions) -> _Maker:
    for bits in o.bits:
        for rounding in o.rounding:
            for experiment in _experiments(task, o, **_codes(bits, rounding, ends=True)):
                yield {"bits": bits, "rounding": rounding}, experiment, None


def _epsilon(task: str, o: QuantizationOptions) -> _Maker:
    for epsilon in o.epsilons:
        for experiment in _experiments(task, o, epsilon=epsilon, **_codes(None, None)):
            yield {"epsilon": epsilon}, experiment, None


def _generator(task: str, o: QuantizationOptions) -> _Maker:
    for generator in o.generators:
        kind, _, stride = generator.partition(":")
        overrides: dict[str, Any] = _codes(None, None)["profile_overrides"]
        if kind == "axon":
            overrides |= {"release.scope": "axon"}
        if kind == "lfsr":
            register = {"kind": "lfsr", "width": _COMPARATOR_BITS, "stride": int(stride)}
            overrides |= {f"release.generator.{name}": value for name, value in register.items()}
        for experiment in _experiments(task, o, profile_overrides=overrides):
            yield {"generator": generator}, experiment, None


def _state_bits(task: str, o: QuantizationOptions) -> _Maker:
    for bits in o.state_bits:
        overrides = {**_codes(None, None)["profile_overrides"], "neuron.u.bits": bits, "neuron.v.bits": bits}
        for experiment in _experiments(task, o, profile="generic-int8", profile_overrides=overrides):
            yield {"state_bits": bits}, experiment, None


def _float_trained(task: str, o: QuantizationOptions, columns: Row, **deployed: Any) -> _Maker:
    for experiment in _experiments(task, o, o.learning_rates[0], **_codes(None, None)):
        yield columns, experiment, {"bits": None, "release": "threshold", "networks": 1, **deployed}


def _deploy_bits(task: str, o: QuantizationOptions) -> _Maker:
    for release in ("threshold", "frozen_sample"):
        for bits in o.deploy_bits:
            columns = {"deploy_bits": bits, "release": release, "networks": 1}
            yield from _float_trained(task, o, columns, bits=bits, release=release)


def _release(task: str, o: QuantizationOptions) -> _Maker:
    for release in o.release:
        yield from _float_trained(task, o, {"release": release, "networks": 1}, release=release)


def _ensemble(task: str, o: QuantizationOptions) -> _Maker:
    for networks in o.ensemble:
        columns = {"release": "frozen_sample", "networks": networks}
        yield from _float_trained(task, o, columns, release="frozen_sample", networks=networks)


# --- what is measured -------------------------------------------------------------------------------------------------


def training_values(run: Run, goal: float, threads: int | None = None) -> Row:
    """What a training became: returns, when the goal was first reached, and what rounding and integers lost on the way.

    `first_step`: root mean square of the change that the first generation asks for, all synapses, before rounding.
    """
    played = [record for record in run.metrics if "sampled_return" in record]
    last, best = run.metrics[-1], [r["generation"] for r in run.metrics if r.get("evaluation_return", -np.inf) >= goal]
    values: Row = {
        "learning_rate": run.experiment.resolved_learning_rate,
        "generations": run.generation,
        "final_return": last["evaluation_return"],
        "final_std": last["evaluation_std"],
        "sampled_return": played[-1]["sampled_return"],
        "reached_at": best[0] if best else None,
        "first_step": _first_step(run.experiment, threads),
        "entropy_bits": _mean_entropy(last["entropy_bits"], run),
    }
    if "lost_updates" in played[0]:
        lost = [record["lost_updates"] for record in played]
        values |= {"lost_first": lost[0], "lost_mean": float(np.mean(lost)), "stuck": played[-1]["stuck"]}
    for name in played[0].get("events", ()):
        values[name] = sum(record["events"][name] for record in played)
    return values


def _mean_entropy(of_projections: dict[str, float], run: Run) -> float:
    sizes = {name: rho.size for name, rho in run.probabilities.items()}
    return sum(of_projections[name] * size for name, size in sizes.items()) / sum(sizes.values())


def _first_step(experiment: Experiment, threads: int | None) -> float:
    """From one generation in float32: ρ starts at exactly ½, so what it becomes is the step that was asked for."""
    overrides = {**experiment.profile_overrides, "learning_storage.p_bits": None}
    result = train(experiment.replace(generations=1, evaluation_episodes=1, profile_overrides=overrides), threads=threads)
    if result.stopped_by is not None:
        raise KeyboardInterrupt
    plastic = [p.name for p in experiment.build_network().projections if p.plastic]
    change = np.concatenate([result.probabilities[name].ravel() for name in plastic]).astype(np.float64) - 0.5
    return float(np.sqrt(np.mean(change * change)))


def deployment_values(
    run: Run, *, bits: int | None, release: str, networks: int, profile: str, threads: int | None = None
) -> Row:
    """What the trained network earns with its probabilities rounded to `bits` (None: as they are) and its synapses fixed.

    128 episodes in 16 pieces of 8; each piece draws its samples anew. `final_std` is over episodes, as in training.
    """
    task = run.experiment.compiled_task("a deployment")
    storage = Storage(bits, "nearest", zero=True, one=True)
    rounded = {name: storage.store(rho.astype(np.float64), (0, 0, 0)) for name, rho in run.probabilities.items()}
    returns = np.empty((_PIECES, _EPISODES_A_PIECE))

    def work(first: int, last: int) -> None:
        for piece in range(first, last):
            generation = run.generation + piece
            deployment = deployment_of(run, profile, release, networks, probabilities=rounded, generation=generation)
            played = play(deployment, task, _EPISODES_A_PIECE, seed=run.experiment.seed, generation=generation)
            returns[piece] = played.returns

    pool = Threads(threads)
    try:
        pool.map_ranges(work, _PIECES, 1)
    finally:
        pool.close()
    return {
        "learning_rate": run.experiment.resolved_learning_rate,
        "generations": run.generation,
        "final_return": float(returns.mean()),
        "final_std": float(returns.std()),
    }
