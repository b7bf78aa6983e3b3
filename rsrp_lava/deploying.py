"""Carry a trained run to a chip's arithmetic and out of this program, and check what was written."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rsrp_lava.errors import ExperimentError, MappingError, unknown_name
from rsrp_lava.export import RELEASE_MODES, Deployment, build_deployment, play
from rsrp_lava.export.lava import write_lava
from rsrp_lava.export.nir_graph import DEFAULT_DIALECT, get_dialect, write_nir
from rsrp_lava.export.npz import write_npz
from rsrp_lava.export.verify import verify as verify_export
from rsrp_lava.files import filling, reason, replace_file
from rsrp_lava.mapping import check
from rsrp_lava.network import ReleaseProbabilities, release_sha256
from rsrp_lava.runs import Run, load_run
from rsrp_lava.signals import interrupts_wait_for_compiling
from rsrp_lava.tasks import EpisodeTask

#: What `deploy` writes, by name.
TARGETS = {
    "lava": "a folder that runs in Lava by itself: stock LIF and Dense processes (profiles loihi1 and loihi2)",
    "npz": "plain arrays, for any host (every profile)",
    "nir": "a NIR graph, for simulators and tool chains of chips (docs/nir.md)",
}

#: What files of a deployment are called, also while they are verified.
_FILES = r"network\.npz|network\.nir|deployment\.json|run\.py|host\.py|README\.md|starts\.npz|log|episode-\d+\.npy"
_NOT_A_FOLDER = "exists and is not an empty folder; choose another -o DIR"
#: Networks of the largest ensemble.
MOST_SAMPLES = 256
#: Neurons of the largest population: Lava and NIR hold the recurrent synapses of all networks as one matrix.
_MOST_NEURONS = 2**14


@interrupts_wait_for_compiling()
def deploy(
    run: Run | str | Path,
    *,
    to: str,
    output: str | Path,
    profile: str | None = None,
    release: str = "threshold",
    samples: int = 1,
    dialect: str | None = None,
    verify: bool = False,
    episodes: int = 20,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Fix a trained network's synapses in a profile's numbers, write them, and say what they earn.

    Parameters
    ----------
    run : a run or its folder
    to : one of TARGETS
    output : folder to write; must not exist, or be empty
    profile : hardware profile (name or YAML file); by default the run's own
    release : one of `rsrp_lava.export.RELEASE_MODES`: what becomes of the release probabilities
    samples : networks of an ensemble (`frozen_sample`, `axonal`); they share one readout
    dialect : of a NIR graph, for its reader; one of `rsrp_lava.export.nir_graph.DIALECTS`, by default `DEFAULT_DIALECT`
    verify : run what was written beside our own kernel and compare every spike
    episodes : whole episodes of the task, for the returns and for `verify`
    progress : called with (episodes verified, episodes)

    Returns
    -------
    dict: run, profile, to, release, samples, output, episodes, violations (design rules for which the chip would refuse
    one such network; integer profiles), returns (mean and std for 1, 2, 4 … networks), of a NIR graph dialect and readers
    (who plays the file as our kernel does), and with `verify`: steps, spikes, mismatches, mean_return,
    kernel_mean_return. It is written to `output`/deployment.json too.

    Raises `ExperimentError`, `MappingError`, `ProfileError`, `RunFolderError`, `EngineError`
    """
    for what, name, known in (("target", to, TARGETS), ("release mode", release, RELEASE_MODES)):
        if name not in known:
            raise ExperimentError(unknown_name(what, name, known))
    for what, number, most in (("samples", samples, MOST_SAMPLES), ("episodes", episodes, 2**20)):
        if not 1 <= number <= most:
            raise ExperimentError(f"{what}: {number} must be between 1 and {most}")
    if dialect is not None and to != "nir":
        raise ExperimentError(f"dialect: {dialect} is of NIR graphs, not of {to}; leave it out, or choose nir")
    dialect = DEFAULT_DIALECT if dialect is None else dialect
    run = run if isinstance(run, Run) else load_run(run)
    run_profile = run.experiment.profile if profile is None else profile
    neurons = run.experiment.spiking_network("deploy").options.n_neurons
    if to != "npz" and samples > 1 and samples * neurons > _MOST_NEURONS:
        raise MappingError(
            f"samples: {samples} networks of {neurons} neurons would be one matrix of {samples * neurons:,} neurons, limit "
            f"{_MOST_NEURONS:,}; take at most {_MOST_NEURONS // neurons}, or --to npz, which keeps networks apart"
        )
    task = run.experiment.deployed_task("deploy")
    if task.starts is not None and episodes > len(task.starts):
        raise ExperimentError(f"episodes: {episodes} must be at most {len(task.starts)}, the test images of {task.name}")
    sizes = sorted({min(2**k, samples) for k in range(samples.bit_length() + 1)})
    report: dict[str, Any] = {
        "run": str(run.path),
        "profile": run_profile,
        "to": to,
        "release": release,
        "samples": samples,
        "output": str(output),
        "episodes": episodes,
    }
    if to == "nir":
        report |= {"dialect": dialect, "readers": get_dialect(dialect).readers}
    seed, generation = run.experiment.seed, run.generation
    deployment = deployment_of(run, run_profile, release, samples)
    if deployment.quantised:
        mapped = check(deployment.quantised, run.probabilities, strict=False)
        report["violations"] = [str(finding) for finding in mapped.violations]
        if to == "nir":
            report["readers"] += f"; none rounds as {deployment.profile.name} does, so single spikes differ there"
    with _new_folder(Path(output)) as folder:
        exported = _write(to, deployment, task, folder, dialect)
        returns = []
        for size in sizes:
            played = play(
                deployment_of(run, run_profile, release, size), task, episodes, seed=seed, generation=generation
            ).returns
            returns.append({"networks": size, "mean_return": float(played.mean()), "std_return": float(played.std())})
        report["returns"] = returns
        if verify:
            report |= verify_export(
                to,
                exported,
                deployment,
                task,
                episodes=episodes,
                seed=seed,
                generation=generation,
                progress=progress,
            )
        replace_file(folder / "deployment.json", (json.dumps(report, indent=1) + "\n").encode())
    return report


def deployment_of(
    run: Run,
    profile: str,
    release: str,
    samples: int = 1,
    *,
    probabilities: ReleaseProbabilities | None = None,
    generation: int | None = None,
) -> Deployment:
    """The run's network with its synapses fixed, in a profile's numbers.

    `probabilities` replace the run's; `generation` is that of the samples' draws, by default the run's own.
    """
    probabilities = run.probabilities if probabilities is None else probabilities
    changes: dict[str, Any] = {"profile": profile, "engine": "fused", "lava_target": "simulation"}
    if profile != run.experiment.profile:
        changes["profile_overrides"] = {}  # they were meant for another chip
    experiment = run.experiment.replace(**changes)
    return build_deployment(
        experiment.spiking_network("deploy"),
        experiment.hardware,
        probabilities,
        run.normaliser.mean,
        run.normaliser.inverse_std,
        release=release,
        samples=samples,
        draw=experiment.build_draw(),
        key=(experiment.seed, run.generation if generation is None else generation),
        provenance={
            "run": str(run.path),
            "generation": run.generation,
            "experiment": run.experiment.to_yaml(),
            "profile_digest": experiment.hardware.digest,
            "release_sha256": release_sha256(probabilities),
        },
    )


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder whose files become those of `path` once all is written and verified; else nothing is left of it."""
    try:
        with _ended_in_order(), filling(path, _FILES) as folder:
            yield folder
    except FileExistsError as error:
        problem = f"{error.strerror}; choose another -o DIR" if error.filename else f"cannot be made ({error.strerror})"
        raise MappingError(f"{error.filename or path}: {_NOT_A_FOLDER if path.is_file() else problem}") from None
    except OSError as error:
        raise MappingError(f"{path}: cannot be written ({reason(error)}); make room, or choose another -o DIR") from None


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP, where they would end the process at once, become an exception, as Ctrl-C is one."""
    mine = []
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        mine = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    for number in mine:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def _write(to: str, deployment: Deployment, task: EpisodeTask, folder: Path, dialect: str) -> Path:
    """Write the artefact; returns what `verify` reads."""
    if to == "lava":
        write_lava(deployment, task, folder)
        return folder
    if to == "nir":
        return write_nir(deployment, folder / "network.nir", dialect)
    path = folder / "network.npz"
    write_npz(deployment, task, path)
    return path


__all__ = ["TARGETS", "deploy", "deployment_of"]
