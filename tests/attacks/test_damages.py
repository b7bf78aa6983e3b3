"""Every file that is read back, damaged at random: refused by name, or the same answer; never another one, no traceback."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from damages import KINDS, damaged
from rsrp_lava import deploy, load_run
from rsrp_lava.errors import RsrpError
from rsrp_lava.export.nir_player import read_nir
from rsrp_lava.export.npz import read_npz
from rsrp_lava.studies.runner import StudyFolder
from rsrp_lava.watching import watch

#: Damages of each kind of file: a few always, many where time is no matter (`-m slow`).
FEW, MANY = 3, 34


@pytest.fixture(scope="module")
def folder(_finished, tmp_path_factory):
    """A run, deployments and a study, to be copied."""
    path = tmp_path_factory.mktemp("whole")
    shutil.copytree(_finished, path / "run")
    deploy(path / "run", to="npz", output=path / "npz", profile="loihi2", episodes=1)
    deploy(path / "run", to="lava", output=path / "lava", profile="loihi2", episodes=1)
    with StudyFolder.opened(path / "study", {}, resume=False) as opened:
        for k in range(4):
            opened.note(f"{k:064x}", {"final_return": k / 3, "run": f"run{k}", "error": None})
    return path


def plain(value):
    """Anything that is read, as text to compare."""
    if isinstance(value, dict):
        return {str(name): plain(of) for name, of in value.items()}
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    return value.item() if isinstance(value, np.generic) else value


def of_run(path):
    """What a run's files say."""
    run = load_run(path / "run")
    records = [{name: value for name, value in record.items() if name in KNOWN} for record in run.metrics]
    seen = watch(path / "run", once=True)
    state = (run.experiment.fingerprint, run.experiment.generations, run.generation, run.state.env_steps)
    return plain({"p": run.probabilities, "metrics": records, "state": state, "seen": (seen.generation, seen.state)})


KNOWN = ("generation", "sampled_return", "evaluation_return", "evaluation_std", "env_steps", "seconds", "entropy_bits")


def of_study(path):
    """What a study has measured, as a resumed one reads it."""
    with StudyFolder.opened(path / "study", {}, resume=True) as opened:
        return plain(opened.measured)


READ = {
    "run/config.yaml": of_run,
    "run/checkpoint.npz": of_run,
    "run/metrics.jsonl": of_run,
    "study/measured.jsonl": of_study,
    "npz/network.npz": lambda path: plain(read_npz(path / "npz" / "network.npz")),
    "lava/network.npz": lambda path: plain(read_npz(path / "lava" / "network.npz")),
}


def is_shorter(name, found, expected):
    """Whole lines at the end may be missing, as after a crash: of what was measured, and the evaluation at a run's end."""
    if name == "run/metrics.jsonl":
        without = {"metrics": expected["metrics"][:-1], "seen": (expected["seen"][0], "ended")}
        return found == {**expected, **without}
    return name == "study/measured.jsonl" and expected == {**expected, **found}


def damage(folder, tmp_path, name, read, number, kinds=KINDS):
    """Counts of (refused, same); fails for anything else."""
    path = tmp_path / "copy"
    shutil.copytree(folder, path)
    expected, content, counts = read(path), (path / name).read_bytes(), {"refused": 0, "same": 0}
    rng = np.random.default_rng(0)
    for kind in kinds:
        for k in range(number):
            (path / name).write_bytes(damaged(content, kind, rng))
            try:
                found = read(path)
            except RsrpError as error:
                found = str(error)
            refused = isinstance(found, str)
            assert Path(name).name in found if refused else found == expected or is_shorter(name, found, expected), (kind, k)
            counts["refused" if refused else "same"] += 1
    return counts


@pytest.mark.parametrize("name", [name for name in READ if name != "run/config.yaml"])
def test_a_few_damages(folder, tmp_path, name, capsys):
    damage(folder, tmp_path, name, READ[name], FEW)


def test_a_few_damages_of_a_nir_file(folder, tmp_path):
    of_nir(folder, tmp_path, FEW)


def of_nir(folder, tmp_path, number):
    pytest.importorskip("nir")
    deploy(folder / "run", to="nir", output=tmp_path / "nir", episodes=1)

    def read(path):
        return plain(read_nir(path / "network.nir").to_dict()["nodes"]["neurons"]["nodes"])

    return damage(tmp_path / "nir", tmp_path, "network.nir", read, number)


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_many_damages(folder, tmp_path, name, capsys):
    counts = damage(folder, tmp_path, name, READ[name], MANY)
    with capsys.disabled():
        print(f"\n{name}: {counts}")


@pytest.mark.slow
def test_many_damages_of_a_nir_file(folder, tmp_path, capsys):
    counts = of_nir(folder, tmp_path, MANY)
    with capsys.disabled():
        print(f"\nnetwork.nir: {counts}")
