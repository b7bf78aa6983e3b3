"""The command line, `rsrp-lava …`: the Python functions of the same names, their arguments as options."""

from __future__ import annotations

import codecs
import functools
import inspect
import io
import json
import os
import re
import secrets
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import BaseModel

from rsrp_lava import __version__, hardware_profiles, machine, tasks
from rsrp_lava.deploying import TARGETS
from rsrp_lava.deploying import deploy as deploy_run
from rsrp_lava.errors import ExperimentError, RsrpError, counted
from rsrp_lava.experiment import RULES, Experiment
from rsrp_lava.export import RELEASE_MODES
from rsrp_lava.export.nir_graph import DEFAULT_DIALECT, DIALECTS
from rsrp_lava.hardware_profiles.loader import parse_yaml
from rsrp_lava.network import LayeredOptions
from rsrp_lava.recording import record as record_run
from rsrp_lava.reporting.numbers import shown_evaluation, shown_precision, shown_return
from rsrp_lava.reporting.progress import counting
from rsrp_lava.reporting.tables import mapping_tables, profile_line, profile_table
from rsrp_lava.run_folder import RunFolder
from rsrp_lava.runs import evaluate as evaluate_run
from rsrp_lava.runs import load_run, map_run
from rsrp_lava.runs import plot as plot_runs
from rsrp_lava.studies import (
    AXES,
    STUDIES,
    ClassifyingOptions,
    ComparisonOptions,
    QuantizationOptions,
    RobustnessOptions,
    StudyResult,
)
from rsrp_lava.studies import study as run_study
from rsrp_lava.studies.settings import read_settings
from rsrp_lava.tasks import consent
from rsrp_lava.tasks.data import DatasetOptions, description, is_own, load_data, short_name, show_reading
from rsrp_lava.tasks.data.own import SUMMARIES as OWN_DATA
from rsrp_lava.training import Result
from rsrp_lava.training import train as train_experiment
from rsrp_lava.watching import watch as watch_run

app = typer.Typer(
    help="Spiking networks that learn from reward alone, through the release probabilities of their synapses.",
    epilog="Example: `rsrp-lava train cartpole --until 500`",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        _print(f"rsrp-lava {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


_JSON = typer.Option("--json", help="Print one JSON object as the last line of stdout.")
_THREADS = typer.Option(help="Processors to use; all by default. The result does not depend on it.")
_TRUST = typer.Option("--trust", help="Let run the code that only a file names: modules of environments and wrappers.")
_DIALECTS = f"Whom a NIR graph is for: {', '.join(DIALECTS)} (docs/nir.md); by default {DEFAULT_DIALECT}."
_MAX_TIME = "Stop after the generation in which this call has trained for so long: seconds, or as 90s, 30m, 1.5h, 1h30m."
_LABELS = "Names of the curves, as ours,theirs; by default the settings in which the runs differ."
_TENSORBOARD = "Also write scalars for TensorBoard, into the run's folder `tensorboard` (needs the extra tensorboard)."


def _setting(field: str, kind: str = "", *names: str) -> Any:
    """An option for a field of `Experiment`, with the field's own description.

    It is handed on as text and without a default: `Experiment` parses and checks it, and recipes can set it.
    """
    description = Experiment.model_fields[field].description
    return typer.Option(*names, help=f"{description}.", show_default=False, metavar=kind or None)


def _layer(field: str, kind: str, *names: str) -> Any:
    """An option for a field of `LayeredOptions`."""
    return _nested(LayeredOptions, "tasks that classify", field, kind, *names)


def _environment(field: str, kind: str, *names: str) -> Any:
    """An option for a field of `EnvironmentOptions`."""
    return _nested(tasks.EnvironmentOptions, "tasks with episodes", field, kind, *names)


def _dataset(field: str, kind: str, *names: str) -> Any:
    """An option for a field of `DatasetOptions`."""
    return _nested(DatasetOptions, "your own data", field, kind, *names)


def _nested(model: type[BaseModel], of: str, field: str, kind: str, *names: str) -> Any:
    description = model.model_fields[field].description
    return typer.Option(*names, help=f"{description} ({of}).", show_default=False, metavar=kind or None)


@app.command(
    epilog="Examples:\n\n"
    "`rsrp-lava train cartpole --until 500`\n\n"
    "`rsrp-lava train digits --hidden 64`\n\n"
    "`rsrp-lava train images:photos --resize 32x32`\n\n"
    "`rsrp-lava train cartpole --population 2048 --optimizer adam --learning-rate 0.15 --out runs/adam`\n\n"
    "`rsrp-lava train --resume runs/adam --generations 200 --max-time 1h30m`"
)
def train(
    task: Annotated[str | None, typer.Argument(help="What to learn: see `rsrp-lava tasks`.", show_default=False)] = None,
    population: Annotated[str | None, _setting("population", "integer|auto")] = None,
    generations: Annotated[str | None, _setting("generations", "integer")] = None,
    max_env_steps: Annotated[str | None, _setting("max_env_steps", "integer")] = None,
    seed: Annotated[str | None, _setting("seed", "integer")] = None,
    rule: Annotated[str | None, _setting("rule", "name")] = None,
    rule_options: Annotated[list[str] | None, _setting("rule_options", "name=value")] = None,
    engine: Annotated[str | None, _setting("engine", "name")] = None,
    lava_target: Annotated[str | None, _setting("lava_target", "name")] = None,
    profile: Annotated[str | None, _setting("profile", "name")] = None,
    profile_overrides: Annotated[list[str] | None, _setting("profile_overrides", "path=value")] = None,
    learning_rate: Annotated[str | None, _setting("learning_rate", "number|auto")] = None,
    halve_learning_rate_every: Annotated[str | None, _setting("halve_learning_rate_every", "integer")] = None,
    optimizer: Annotated[str | None, _setting("optimizer", "name")] = None,
    reward_transform: Annotated[str | None, _setting("reward_transform", "name")] = None,
    decay: Annotated[str | None, _setting("decay", "number")] = None,
    epsilon: Annotated[str | None, _setting("epsilon", "number")] = None,
    p_bits: Annotated[str | None, _setting("p_bits", "integer|auto")] = None,
    reservoir: Annotated[bool | None, _setting("reservoir", "", "--reservoir/--no-reservoir")] = None,
    evaluation_episodes: Annotated[str | None, _setting("evaluation_episodes", "integer")] = None,
    evaluate_every: Annotated[str | None, _setting("evaluate_every", "integer")] = None,
    histograms_at: Annotated[str | None, _setting("histograms_at", "list")] = None,
    reward: Annotated[str | None, _setting("reward", "name")] = None,
    batch: Annotated[str | None, _setting("batch", "integer")] = None,
    data_sampling: Annotated[str | None, _setting("data_sampling", "name")] = None,
    data: Annotated[str | None, _setting("data", "folder")] = None,
    resize: Annotated[str | None, _dataset("resize", "HxW")] = None,
    color: Annotated[str | None, _dataset("color", "auto|grey|rgb")] = None,
    test_share: Annotated[str | None, _dataset("test_share", "number")] = None,
    split_seed: Annotated[str | None, _dataset("split_seed", "integer")] = None,
    levels: Annotated[str | None, _dataset("levels", "integer|auto")] = None,
    conv: Annotated[str | None, _layer("conv", "list")] = None,
    hidden: Annotated[str | None, _layer("hidden", "list")] = None,
    ei: Annotated[str | None, _layer("ei", "ratio")] = None,
    mirror_input: Annotated[bool | None, _layer("mirror_input", "", "--mirror-input/--no-mirror-input")] = None,
    neurons: Annotated[str | None, _layer("neurons", "relu|lif")] = None,
    max_steps: Annotated[str | None, _environment("max_steps", "integer")] = None,
    episodes_per_sample: Annotated[str | None, _environment("episodes_per_sample", "integer")] = None,
    starts: Annotated[str | None, _environment("starts", "independent|shared")] = None,
    env_kwargs: Annotated[list[str] | None, _environment("kwargs", "name=value", "--env-kwargs")] = None,
    wrapper: Annotated[list[str] | None, _environment("wrappers", "name", "--wrapper")] = None,
    on_error: Annotated[str | None, _environment("on_error", "fail|worst_rank")] = None,
    compiled: Annotated[bool | None, _environment("compiled", "", "--compiled/--no-compiled")] = None,
    worker_memory_mib: Annotated[str | None, _environment("worker_memory_mib", "integer")] = None,
    worker_timeout_s: Annotated[str | None, _environment("worker_timeout_s", "seconds")] = None,
    observation_noise: Annotated[str | None, _environment("observation_noise", "number")] = None,
    body: Annotated[list[str] | None, _environment("body", "name=factor")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; options win over it.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run; by default a new one in runs/.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this folder.")] = None,
    threads: Annotated[int | None, _THREADS] = None,
    workers: Annotated[int | None, typer.Option(help="Workers of engine ray; by default all the cluster has.")] = None,
    until: Annotated[float | None, typer.Option(help="Stop when the evaluation mean reaches this return.")] = None,
    max_time: Annotated[str | None, typer.Option(metavar="TIME", help=_MAX_TIME)] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help=_TENSORBOARD)] = False,
    trust: Annotated[bool, _TRUST] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Train a network from reward alone.

    Settings come from the options, then --config, then the task's recipe, then the defaults. Ctrl-C stops after the
    generation in flight, with everything saved.
    """
    given = {
        "task": task,
        "population": population,
        "generations": generations,
        "max_env_steps": max_env_steps,
        "seed": seed,
        "rule": rule,
        "rule_options": _pairs("--rule-options", rule_options),
        "engine": engine,
        "lava_target": lava_target,
        "profile": profile,
        "profile_overrides": _pairs("--profile-overrides", profile_overrides),
        "learning_rate": learning_rate,
        "halve_learning_rate_every": halve_learning_rate_every,
        "optimizer": optimizer,
        "reward_transform": reward_transform,
        "decay": decay,
        "epsilon": epsilon,
        "p_bits": p_bits,
        "reservoir": reservoir,
        "evaluation_episodes": evaluation_episodes,
        "evaluate_every": evaluate_every,
        "histograms_at": histograms_at,
        "reward": reward,
        "batch": batch,
        "data_sampling": data_sampling,
        "data": data,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    layers = {"conv": conv, "hidden": hidden, "ei": ei, "mirror_input": mirror_input, "neurons": neurons}
    dataset = {"resize": resize, "color": color, "test_share": test_share, "split_seed": split_seed, "levels": levels}
    environment = {
        "max_steps": max_steps,
        "episodes_per_sample": episodes_per_sample,
        "starts": starts,
        "kwargs": _pairs("--env-kwargs", env_kwargs),
        "wrappers": _values("--wrapper", wrapper),
        "on_error": on_error,
        "compiled": compiled,
        "worker_memory_mib": worker_memory_mib,
        "worker_timeout_s": worker_timeout_s,
        "observation_noise": observation_noise,
        "body": _pairs("--body", body),
    }
    for section, values in (("layers", layers), ("dataset", dataset), ("environment", environment)):
        if any(value is not None for value in values.values()):
            settings[section] = {name: value for name, value in values.items() if value is not None}
    if resume:
        experiment = RunFolder.open(resume).experiment.resumed(config, settings, trust=trust)
    elif config:
        experiment = Experiment.from_yaml(config, trust=trust, **settings)
    elif task:
        experiment = Experiment(**settings)
    else:
        raise ExperimentError(f"no task given: name one ({', '.join(tasks.task_names())}), or a --config that does")
    if not resume:
        out = out or _new_folder(experiment)
    _describe(experiment)
    best = experiment.build_task().perfect_return
    if until is not None and best is not None and until > best:
        _say(
            f"warning: --until {until:g} is above {best:g}, the return of a perfect {experiment.task} episode; "
            "all generations will be trained"
        )
    result = train_experiment(
        experiment,
        out=out,
        resume=resume,
        until=until,
        max_time=max_time,
        threads=threads,
        workers=workers,
        progress=True,
        tensorboard=tensorboard,
    )
    _report(result, until, max_time, tensorboard)
    if as_json:
        _print(json.dumps(result.summary))
    if result.stopped_by is not None:
        raise typer.Exit(128 + result.stopped_by)


def _names(text: str | None) -> list[str] | None:
    """'ours,theirs' → two names."""
    return None if text is None else [part.strip() for part in text.split(",")]


def _values(option: str, texts: list[str] | None) -> list[Any] | None:
    """Each text as in YAML."""
    return [_value(option, text, text) for text in texts] if texts else None


def _value(option: str, given: str, text: str) -> Any:
    try:
        return parse_yaml(text)
    except yaml.YAMLError:
        raise ExperimentError(f"{option} {given}: {text!r} is no value in YAML, as 4 or nearest") from None


def _pairs(option: str, pairs: list[str] | None) -> dict[str, Any] | None:
    """learning_storage.p_bits=4 → {"learning_storage.p_bits": 4}; values as in YAML."""
    if not pairs:
        return None
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            examples = {"--profile-overrides": "learning_storage.p_bits=4", "--body": "pole_length=2"}
            example = examples.get(option, "gravity=9.8")
            raise ExperimentError(f"{option} {pair}: must be NAME=VALUE, as {example}")
        values[name] = _value(option, pair, value)
    return values


def _describe(experiment: Experiment) -> None:
    """Say what one's own data were found to be."""
    task = experiment.build_task()
    if isinstance(task, tasks.ClassifyTask) and task.dataset is not None:
        _say(f"{task.name}: {description(load_data(task.name, options=task.dataset))}")


def _new_folder(experiment: Experiment) -> Path:
    """A folder in runs/ that no run has, also if another one starts in the same second."""
    name = short_name(experiment.task) if is_own(experiment.task) else experiment.task
    task = re.sub(r"[^\w.-]+", "-", name)[:80]  # gym:module:ID, ALE/…
    return Path("runs") / f"{task}-seed{experiment.seed}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _report(result: Result, until: float | None, max_time: str | None, tensorboard: bool) -> None:
    summary = result.summary
    score, generations = summary["final_eval_return"], counted(summary["generations"], "generation")
    again = f"continue with: rsrp-lava train --resume {shlex.quote(str(result.run))}"
    unfinished = not result.experiment.finished(summary["generations"], summary["env_steps"])
    also = "" if until is None else f" --until {until:.15g}"  # no run remembers these
    also += "" if max_time is None else f" --max-time {shlex.quote(max_time)}"
    also += " --tensorboard" * tensorboard
    if result.stopped_by is not None:
        _say(f"stopped after generation {summary['generations']}; {again}{also}")
    elif until is not None and score >= until and unfinished:
        _say(f"--until {until:g} is reached; {again}")
    elif max_time is not None and unfinished:
        _say(f"--max-time {max_time} has passed; {again}{also}")
    evaluated = "not evaluated"
    if score is not None:
        evaluated = "evaluation " + shown_evaluation(score, summary["eval_std"], result.experiment.classifies)
        if not result.experiment.classifies:
            _say(shown_precision(summary["eval_std"], result.experiment.evaluation_episodes))
    _say(f"{evaluated} after {generations}, {summary['seconds']:.1f} s; run folder: {result.run}")


@app.command(epilog="Example: `rsrp-lava evaluate runs/adam --episodes 1000 --seed 7`")
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    episodes: Annotated[int | None, typer.Option(help="Episodes to play; by default as in training (128).")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the starts; by default the run's own.")] = None,
    threads: Annotated[int | None, _THREADS] = None,
    trust: Annotated[bool, _TRUST] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Play deterministic episodes with a trained network: every synapse with probability above ½ releases."""
    loaded = load_run(run, trust=trust)
    report = evaluate_run(loaded, episodes=episodes, seed=seed, threads=threads)
    if loaded.experiment.classifies:
        _say(f"{report['task']}: accuracy {report['mean_return']:.4f} on {report['episodes']:,} test images")
    else:
        _say(
            f"{report['task']}: mean return {shown_return(report['mean_return'], report['std_return'])} "
            f"({report['min_return']:.0f} to {report['max_return']:.0f}) over {counted(report['episodes'], 'episode')}"
        )
        _say(shown_precision(report["std_return"], report["episodes"]))
    if as_json:
        _print(json.dumps(report))


@app.command(epilog="Examples:\n\n`rsrp-lava watch runs/adam`\n\n`rsrp-lava watch runs/adam --once`")
def watch(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    once: Annotated[bool, typer.Option("--once", help="Print the present state and end.")] = False,
) -> None:
    """Follow a run that trains in another terminal, as its own progress does, until nobody trains it any more.

    It only reads. Ctrl-C ends watching, not training.
    """
    with _to_stdout():
        watch_run(run, once=once)


@app.command(epilog="Example: `rsrp-lava plot runs/seed0 runs/seed1 runs/seed2 -o curves.png`")
def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .png, .pdf or .svg.")] = Path("curves.png"),
    labels: Annotated[str | None, typer.Option(metavar="list", help=_LABELS)] = None,
) -> None:
    """Draw learning curves; runs that differ only in their seed become one curve, mean ± std."""
    _print(str(plot_runs(*runs, output=output, labels=_names(labels))))


@app.command(
    epilog="Examples:\n\n"
    "`rsrp-lava deploy runs/adam --profile loihi2 --to lava -o chip --verify`\n\n"
    "`rsrp-lava deploy runs/adam --profile loihi2 --to npz --release frozen_sample --samples 8 -o arrays`"
)
def deploy(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    to: Annotated[str, typer.Option(help=f"What to write: {', '.join(TARGETS)}.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; new or empty.")],
    profile: Annotated[str | None, typer.Option(help="Hardware profile; by default the run's own.")] = None,
    release: Annotated[str, typer.Option(help=f"What becomes of ρ: {', '.join(RELEASE_MODES)}.")] = "threshold",
    samples: Annotated[int, typer.Option(help="Networks that vote (frozen_sample, axonal).")] = 1,
    dialect: Annotated[str | None, typer.Option(help=_DIALECTS)] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every spike with our own kernel.")] = False,
    episodes: Annotated[int, typer.Option(help="Whole episodes to play.")] = 20,
    trust: Annotated[bool, _TRUST] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Write a trained network for a chip or another program: synapses fixed, in the profile's numbers."""
    from rsrp_lava.reporting.progress import counting

    with counting("verifying episodes") as progress:
        report = deploy_run(
            load_run(run, trust=trust),
            to=to,
            output=output,
            profile=profile,
            release=release,
            samples=samples,
            dialect=dialect,
            verify=verify,
            episodes=episodes,
            progress=progress,
        )
    for violation in report.get("violations", ()):
        _say(f"warning: the chip would refuse this network: {violation}")
    if "readers" in report:
        _say(f"network.nir is for {report['readers']}; for another reader: --dialect (docs/nir.md)")
    for row in report["returns"]:
        _say(
            f"{counted(row['networks'], 'network')}: mean return {shown_return(row['mean_return'], row['std_return'])} "
            f"over {counted(episodes, 'episode')}"
        )
    if verify:
        _say(
            f"verified: {report['mismatches']} mismatching spikes of {report['spikes']:,} in {report['steps']:,} steps; "
            f"mean return {shown_return(report['mean_return'])} (our kernel: {shown_return(report['kernel_mean_return'])})"
        )
    _print(json.dumps(report) if as_json else str(output))


@app.command(
    epilog="Examples:\n\n"
    "`rsrp-lava record runs/adam -o episode.gif`\n\n"
    "`rsrp-lava record runs/hopper --episode 3 -o hopper.mp4`"
)
def record(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .gif or .mp4.")] = Path("episode.gif"),
    episode: Annotated[int, typer.Option(help="Which of the evaluation's.")] = 0,
    fps: Annotated[float | None, typer.Option(help="Pictures a second; by default the environment's own.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Environment steps that end it; by default as in training.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the starts; by default the run's own.")] = None,
    trust: Annotated[bool, _TRUST] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Play an evaluation episode in Gymnasium and write what it looks like, as an animation."""
    from rsrp_lava.reporting.progress import counting

    with counting("playing steps") as progress:
        loaded = load_run(run, trust=trust)
        report = record_run(
            loaded, output=output, episode=episode, fps=fps, max_steps=max_steps, seed=seed, progress=progress
        )
    compared = f"as evaluation episode {episode}"
    if not report["same_as_evaluation"]:
        compared = f"unlike evaluation episode {episode} (return {shown_return(report['evaluation_return'])})"
    _say(
        f"{report['task']}: return {shown_return(report['return'])} in {counted(report['env_steps'], 'step')}, {compared}; "
        f"{counted(report['frames'], 'picture')}, {report['fps']:.3g} a second"
    )
    _print(json.dumps(report) if as_json else str(output))


@app.command("map", epilog="Example: `rsrp-lava map runs/adam --profile loihi2`")
def map_command(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    profile: Annotated[str | None, typer.Option(help="Chip: a name or a YAML file; by default the run's own.")] = None,
    trust: Annotated[bool, _TRUST] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Put a trained network on a chip: what it takes of it, what its constants become, and every design rule."""
    mapped = map_run(load_run(run, trust=trust), profile=profile)
    (_say if as_json else _print)(mapping_tables(mapped))
    if as_json:
        _print(json.dumps({**mapped.record(), "run": str(run)}))
    mapped.require(listed=as_json)  # the tables have said it already


study_app = typer.Typer(
    help="Train and measure many networks that differ in a few settings; write tables and pictures.",
    epilog="Example: `rsrp-lava study quantization cartpole --seeds 3 -o studies/bits`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(study_app, name="study")


def _axis(field: str, options: type[BaseModel] = QuantizationOptions) -> Any:
    """An option for a field of a study's options, with its own description and default."""
    entry = options.model_fields[field]
    default = ",".join(map(str, entry.default)) if isinstance(entry.default, tuple) else entry.default
    shown = f"{default}" if default is not None else False
    many = isinstance(entry.default, tuple)
    return typer.Option(help=f"{entry.description}.", show_default=shown, metavar="list" if many else None)


def _study_settings(config: Path | None, trust: bool, **given: str | None) -> dict[str, Any] | None:
    """Settings of every training of a study: of the file, and of the options, which win; None if there are none."""
    of_file = read_settings(config, trust=trust) if config else {}
    return of_file | {name: value for name, value in given.items() if value is not None} or None


@study_app.command(
    help=f"Study {STUDIES['quantization']}.",
    short_help=f"Study {STUDIES['quantization']}.",
    epilog="Examples:\n\n"
    "`rsrp-lava study quantization cartpole --bits 2,3,4,6,8 --rounding nearest,stochastic --seeds 3 -o studies/bits`\n\n"
    "`rsrp-lava study quantization cartpole --axes bits --learning-rates 1,0.1:160 -o studies/rates`\n\n"
    "`rsrp-lava study quantization -o studies/bits --resume`",
)
def quantization(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; new or empty, unless --resume.")],
    task: Annotated[str | None, typer.Argument(help="What to learn; a resumed study knows it.", show_default=False)] = None,
    axes: Annotated[str | None, _axis("axes")] = None,
    bits: Annotated[str | None, _axis("bits")] = None,
    rounding: Annotated[str | None, _axis("rounding")] = None,
    learning_rates: Annotated[str | None, _axis("learning_rates")] = None,
    epsilons: Annotated[str | None, _axis("epsilons")] = None,
    generators: Annotated[str | None, _axis("generators")] = None,
    state_bits: Annotated[str | None, _axis("state_bits")] = None,
    deploy_bits: Annotated[str | None, _axis("deploy_bits")] = None,
    release: Annotated[str | None, _axis("release")] = None,
    ensemble: Annotated[str | None, _axis("ensemble")] = None,
    deploy_profile: Annotated[str | None, _axis("deploy_profile")] = None,
    seeds: Annotated[int | None, _axis("seeds")] = None,
    goal: Annotated[float | None, _axis("goal")] = None,
    population: Annotated[str | None, _setting("population", "integer")] = None,
    generations: Annotated[str | None, _setting("generations", "integer")] = None,
    profile: Annotated[str | None, _setting("profile", "name")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings of every training.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on; what is finished is not computed again.")] = False,
    threads: Annotated[int | None, _THREADS] = None,
    trust: Annotated[bool, _TRUST] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    settings = _study_settings(config, trust, population=population, generations=generations, profile=profile)
    result = run_study(
        "quantization",
        task,
        output,
        resume=resume,
        threads=threads,
        progress=True,
        trust=trust,
        axes=axes,
        bits=bits,
        rounding=rounding,
        learning_rates=learning_rates,
        epsilons=epsilons,
        generators=generators,
        state_bits=state_bits,
        deploy_bits=deploy_bits,
        release=release,
        ensemble=ensemble,
        deploy_profile=deploy_profile,
        seeds=seeds,
        goal=goal,
        settings=settings,
    )
    _report_study("quantization", result, as_json)


def _report_study(name: str, result: StudyResult, as_json: bool) -> None:
    if result.stopped_by is not None:
        command = name if name == "compare" else f"study {name}"
        _say(f"stopped; go on with: rsrp-lava {command} -o {shlex.quote(str(result.output))} --resume")
    _say(f"{result.output}: {', '.join(result.files)}")
    (_say if as_json else _print)(_folded(result.report))
    if as_json:
        _print(json.dumps({"study": name, "output": str(result.output), "files": result.files, "rows": result.rows}))
    if result.stopped_by is not None:
        raise typer.Exit(128 + result.stopped_by)


def _classifier_study(name: str, axes: tuple[str, ...], example: str) -> None:
    """Add the command `study NAME`: its axes as options, and those that all studies of classifiers have."""

    def command(
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; new or empty, unless --resume.")],
        task: Annotated[str | None, typer.Argument(help="What to learn; a resumed study knows it.")] = None,
        seeds: Annotated[int | None, _axis("seeds", ClassifyingOptions)] = None,
        baseline: Annotated[bool | None, typer.Option("--baseline/--no-baseline", help=_BASELINE)] = None,
        population: Annotated[str | None, _setting("population", "integer")] = None,
        batch: Annotated[str | None, _setting("batch", "integer")] = None,
        generations: Annotated[str | None, _setting("generations", "integer")] = None,
        data: Annotated[str | None, _setting("data", "folder")] = None,
        config: Annotated[Path | None, typer.Option(help="YAML file of settings of every training.")] = None,
        resume: Annotated[bool, typer.Option("--resume", help="Go on; what is finished is not computed again.")] = False,
        threads: Annotated[int | None, _THREADS] = None,
        trust: Annotated[bool, _TRUST] = False,
        as_json: Annotated[bool, _JSON] = False,
        **of_axes: str | None,
    ) -> None:
        settings = _study_settings(config, trust, population=population, batch=batch, generations=generations, data=data)
        chosen = {"seeds": seeds, "baseline": baseline, "settings": settings, **of_axes}
        result = run_study(name, task, output, resume=resume, threads=threads, progress=True, trust=trust, **chosen)
        _report_study(name, result, as_json)

    common = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "of_axes"]
    options = [
        inspect.Parameter(
            axis,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, _axis(axis, ClassifyingOptions)],
        )
        for axis in axes
    ]
    common = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in common if p.name not in _NOT_BESIDE.get(name, ())]
    command.__signature__ = inspect.Signature([*common[:2], *options, *common[2:]])  # type: ignore[attr-defined]
    about = f"Study {STUDIES[name]}."
    study_app.command(name, help=about, short_help=about, epilog=f"Example: `rsrp-lava study {name} {example}`")(command)


_BASELINE = f"{ClassifyingOptions.model_fields['baseline'].description}; on by default."
#: Settings that a study varies itself.
_NOT_BESIDE = {"samples": ("population", "batch")}
_classifier_study("samples", AXES["samples"], "mnist --populations 128,512 --batches 16,64 --seeds 3 -o studies/samples")
_classifier_study("rewards", AXES["rewards"], "mnist --population 1024 --generations 500 -o studies/rewards")
_classifier_study("transforms", AXES["transforms"], "digits --seeds 3 -o studies/transforms")
_classifier_study("ei", AXES["ei"], "mnist --ei none,1:1,'1:1 mirrored' -o studies/ei")


@study_app.command(
    help=f"Study {STUDIES['robustness']}.",
    short_help=f"Study {STUDIES['robustness']}.",
    epilog="Examples:\n\n"
    "`rsrp-lava study robustness runs/rsrp0 runs/rsrp1 runs/es0 -o studies/robust`\n\n"
    "`rsrp-lava study robustness runs/rsrp0 --perturbations knock_out,body.pole_length --body 0.5,2 -o studies/robust`",
)
def robustness(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; new or empty, unless --resume.")],
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders, all of one task; a resumed study knows them.")
    ] = None,
    perturbations: Annotated[str | None, _axis("perturbations", RobustnessOptions)] = None,
    input_noise: Annotated[str | None, _axis("input_noise", RobustnessOptions)] = None,
    weight_noise: Annotated[str | None, _axis("weight_noise", RobustnessOptions)] = None,
    parameter_noise: Annotated[str | None, _axis("parameter_noise", RobustnessOptions)] = None,
    knock_out: Annotated[str | None, _axis("knock_out", RobustnessOptions)] = None,
    body: Annotated[str | None, _axis("body", RobustnessOptions)] = None,
    episodes: Annotated[int | None, _axis("episodes", RobustnessOptions)] = None,
    draws: Annotated[int | None, _axis("draws", RobustnessOptions)] = None,
    labels: Annotated[str | None, _axis("labels", RobustnessOptions)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on; what is finished is not computed again.")] = False,
    threads: Annotated[int | None, _THREADS] = None,
    trust: Annotated[bool, _TRUST] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    result = run_study(
        "robustness",
        None,
        output,
        resume=resume,
        threads=threads,
        progress=True,
        trust=trust,
        runs=[str(run) for run in runs] if runs else None,
        perturbations=perturbations,
        input_noise=input_noise,
        weight_noise=weight_noise,
        parameter_noise=parameter_noise,
        knock_out=knock_out,
        body=body,
        episodes=episodes,
        draws=draws,
        labels=labels,
    )
    _report_study("robustness", result, as_json)


@app.command(epilog="Example: `rsrp-lava compare cartpole --rules rsrp,hedonistic --seeds 5 -o studies/rules`")
def compare(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; new or empty, unless --resume.")],
    task: Annotated[str | None, typer.Argument(help="What to learn; a resumed comparison knows it.")] = None,
    rules: Annotated[str | None, _axis("rules", ComparisonOptions)] = None,
    seeds: Annotated[int | None, _axis("seeds", ComparisonOptions)] = None,
    population: Annotated[str | None, _setting("population", "integer")] = None,
    generations: Annotated[str | None, _setting("generations", "integer")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings of every training.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on; what is finished is not computed again.")] = False,
    threads: Annotated[int | None, _THREADS] = None,
    trust: Annotated[bool, _TRUST] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Train every rule with several seeds; write learning curves, final returns and what they took."""
    settings = _study_settings(config, trust, population=population, generations=generations)
    chosen = {"rules": rules, "seeds": seeds, "settings": settings}
    result = run_study("compare", task, output, resume=resume, threads=threads, progress=True, trust=trust, **chosen)
    _report_study("compare", result, as_json)


@app.command("tasks", epilog="Example: `rsrp-lava tasks`")
def list_tasks() -> None:
    """List the tasks there are."""
    any_other = "any environment of Gymnasium, or gym:MODULE:ID of a module's (docs/gym.md)"
    _table(tasks.task_summaries() | {"gym:ID": any_other} | OWN_DATA)


@app.command("rules", epilog="Example: `rsrp-lava rules`")
def list_rules() -> None:
    """List the learning rules there are."""
    _table(RULES)


@app.command("profiles", epilog="Examples:\n\n`rsrp-lava profiles`\n\n`rsrp-lava profiles loihi2`")
def list_profiles(
    name: Annotated[str | None, typer.Argument(help="Print every number of this one, with its source.")] = None,
) -> None:
    """List the hardware profiles there are, or every number of one with its source."""
    if name is not None:
        _print(profile_table(hardware_profiles.load_profile(name)))
        return
    _table({name: profile_line(hardware_profiles.load_profile(name)) for name in hardware_profiles.profile_names()})


def _table(lines: dict[str, str]) -> None:
    width = max(map(len, lines))
    _print(_folded("\n".join(f"{name:<{width}}  {summary}" for name, summary in lines.items()), width + 2))


def _folded(text: str, indent: int = 0) -> str:
    """Broken between words where it goes to a terminal, which would break inside them; tables stay whole."""
    if not sys.stdout.isatty():
        return text
    width = max(shutil.get_terminal_size().columns, indent + 20)
    fold = functools.partial(
        textwrap.fill, width=width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(line if line.startswith("|") else fold(line) for line in text.splitlines())


def _print(text: str) -> None:
    with _to_stdout():
        print(text, flush=True)


@contextmanager
def _to_stdout() -> Iterator[None]:
    """Where stdout is written. A reader that went away is typer's to handle; a full disk is an error of ours."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritable(error) from None


def _unwritable(error: OSError) -> RsrpError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries once more when it exits
    return RsrpError(f"standard output: cannot be written ({error.strerror}); make room, or print elsewhere")


class _Stdout:
    """stdout, which remembers what it failed with."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.failure: OSError | None = None

    def _noted(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except OSError as error:
            self.failure = error
            raise

    def write(self, text: str) -> int:
        """As of the file."""
        return self._noted(self._file.write, text)

    def flush(self) -> None:
        """As of the file."""
        self._noted(self._file.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _run() -> None:
    """The command. What typer itself prints (--help) may meet a full disk too."""
    file, stdout = sys.stdout, _Stdout(sys.stdout)
    sys.stdout = stdout
    try:
        app(prog_name="rsrp-lava")  # also as python -m rsrp_lava.cli
    except OSError as error:
        if error is stdout.failure and not isinstance(error, BrokenPipeError):
            raise _unwritable(error) from None
        raise
    finally:
        if sys.stdout is stdout:
            sys.stdout = file


def _say(text: str) -> None:
    with suppress(OSError):  # a closed pager, a full disk: what was done is done
        print(text, file=sys.stderr)


#: Columns from which on a table of options holds the longest name.
_WIDE = 120


def _encoded(error: UnicodeError) -> tuple[str | bytes, int]:
    """What an encoding has not: bytes of a file's name as they are, other letters as ?."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    as_bytes = "".join(letter if "\udc80" <= letter <= "\udcff" else "?" for letter in letters)
    return as_bytes.encode("ascii", "surrogateescape"), error.end


def _write_anything() -> None:
    """Let no letter end a command: streams may be in any encoding, and names of files need not be in theirs."""
    codecs.register_error("rsrp_lava", _encoded)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="rsrp_lava")


def _ask(what: str, source: str) -> bool:
    """Ask at the terminal whether code may run that only a file names."""
    _say(f"{source}: names {what}, which would run here. Only say yes if you trust who wrote it.")
    return typer.confirm("Run it?", default=False, err=True)


def main() -> None:
    """Entry point: errors of this package become one message and exit code 2; Ctrl-C exits with 130 (typer does that)."""
    _write_anything()
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        consent.ask = _ask
    show_reading(counting)
    narrow = shutil.get_terminal_size().columns < _WIDE  # typer's tables would cut the names of options
    app.rich_markup_mode = study_app.rich_markup_mode = None if narrow else "markdown"
    try:
        _run()
    except RsrpError as error:
        _say(f"error: {error}")
        sys.exit(2)
    except KeyboardInterrupt:  # a second Ctrl-C, while typer answers the first one
        sys.exit(130)
    except MemoryError as error:
        available = machine.memory_bytes()
        limit = f"this process may have {machine.in_words(available)}; " if available else ""
        _say(f"error: memory ran out ({error or 'in a kernel'}); {limit}use fewer neurons, or a smaller population or batch")
        sys.exit(2)


if __name__ == "__main__":
    main()
