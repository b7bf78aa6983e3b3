"""What the package-dir mapping and the design (docs/architecture.md) promise and no tool checks by itself."""

import ast
import importlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
MAPPED = ("processes", "hardware_profiles", "tasks")

# Room → what it may import of ours besides itself; the longest matching room counts. A room not listed may import
# anything but cli, which only __main__ may.
MAY_IMPORT = {
    "errors": set(),
    "files": set(),
    "arrays": {"files"},
    "lines": set(),
    "metrics": {"errors", "files", "lines"},
    "checkpoint": {"arrays", "errors", "files"},
    "durations": {"errors"},
    "threads": {"errors"},
    "machine": set(),
    "normaliser": {"arrays", "kernels"},
    "signals": set(),
    "kernels": set(),
    "network": {"errors"},
    "hardware_profiles": {"errors", "files"},
    "learning": {"kernels", "errors"},
    "tasks": {"kernels", "errors", "files"},
    "processes": {"kernels", "hardware_profiles", "errors"},
    "mapping": {"network", "hardware_profiles", "kernels", "errors"},
    "engines.batches": {"kernels", "network", "mapping", "tasks", "threads", "machine", "normaliser", "engines", "errors"},
    "engines.baseline": {"kernels", "tasks", "normaliser", "engines", "errors"},
    "engines.fused": {"kernels", "network", "mapping", "tasks", "threads", "normaliser", "engines", "errors"},
    "engines.gym": {"kernels", "network", "mapping", "tasks", "threads", "normaliser", "engines", "errors"},
    "engines.leases": set(),
    "rules": {"arrays", "kernels", "tasks", "network", "mapping", "learning", "threads", "normaliser", "errors"},
    "export": {"network", "mapping", "kernels", "hardware_profiles", "tasks", "arrays", "files", "errors"},
    "reporting": {"network", "mapping", "hardware_profiles", "errors"},
}


def library(pattern: str) -> list[tuple[str, Path]]:
    """The library's files, each with the package it installs into."""
    return [
        (".".join([package, *file.relative_to(ROOT / folder).parts[:-1]]), file)
        for package, folder in SETUPTOOLS["package-dir"].items()
        for file in sorted((ROOT / folder).rglob(pattern))
    ]


def module_name(package: str, file: Path) -> str:
    return package if file.name == "__init__.py" else f"{package}.{file.stem}"


def nodes(file: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(file.read_text(encoding="utf-8")))


def own_imports(package: str, file: Path) -> Iterator[str]:
    """Everything of ours that the file imports, also inside functions, without the leading `rsrp_lava.`."""
    for node in nodes(file):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            parents = parts[: len(parts) + 1 - node.level] if node.level else []
            names = [".".join([*parents, *filter(None, [node.module]), alias.name]) for alias in node.names]
        yield from (name.partition(".")[2] for name in names if name.split(".")[0] == "rsrp_lava")


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def may_import(module: str, imported: str) -> bool:
    room = max((room for room in MAY_IMPORT if within(module, room)), key=len, default=None)
    if room is None:
        return module == "__main__" or not within(imported, "cli")
    return any(within(imported, allowed) for allowed in {room, *MAY_IMPORT[room]})


def test_listed_packages_are_the_folders_of_code():
    listed = set(SETUPTOOLS["packages"])
    assert {package for package, _ in library("*.py")} == listed
    assert {package for package, _ in library("__init__.py")} == listed
    assert SETUPTOOLS["package-dir"] == {"rsrp_lava": "rsrp_lava"} | {f"rsrp_lava.{name}": name for name in MAPPED}


@pytest.mark.parametrize("folder", MAPPED)
def test_mapped_folder_refuses_its_bare_name(folder, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    with pytest.raises(ImportError, match=rf"rsrp_lava\.{folder}"):
        importlib.import_module(folder)


def test_wheel_holds_the_library_and_nothing_else(tmp_path):
    pytest.importorskip("build")
    pytest.importorskip("setuptools", minversion="77")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = [*library("*.py"), *library("*.yaml"), *library("*.npz"), *library("py.typed")]
    modules = {f"{name}.py" for name in SETUPTOOLS["py-modules"]}
    assert packed == modules | {f"{package.replace('.', '/')}/{file.name}" for package, file in files}
    assert "rsrp_lava/py.typed" in packed


def test_importing_the_library_stays_light(tmp_path):
    code = "import sys, rsrp_lava; print(*sys.modules.keys() & {'lava', 'matplotlib', 'gymnasium', 'tensorboardX'})"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
@pytest.mark.parametrize("imported", ["rsrp_lava", "numba", "rsrp_lava.cli", "typer"])
def test_interrupt_while_the_command_is_still_importing_is_quiet(tmp_path, imported):
    module, function = PYPROJECT["project"]["scripts"]["rsrp-lava"].split(":")
    code = f"""if True:
        import os, signal, sys
        class Finder:
            def find_spec(name, *_):
                if name == "{imported}":
                    os.kill(os.getpid(), signal.SIGINT)
        sys.meta_path.insert(0, Finder)
        from {module} import {function}
        {function}()
    """
    done = subprocess.run([sys.executable, "-c", code, "tasks"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("module", "imported", "allowed"),
    [
        ("kernels.release", "kernels.bits", True),
        ("kernels.release", "errors", False),
        ("engines.fused", "tasks.cartpole", True),
        ("engines.fused", "training", False),
        ("learning.rsrp", "Experiment", False),
        ("network", "networks", False),
        ("training", "engines.fused", True),
        ("training", "cli.main", False),
        ("__main__", "cli", True),
    ],
)
def test_the_rule_itself(module, imported, allowed):
    assert may_import(module, imported) == allowed


def test_rooms_import_only_what_the_design_allows():
    wrong = [
        f"{file.relative_to(ROOT)} imports rsrp_lava.{imported}"
        for package, file in library("*.py")
        for imported in own_imports(package, file)
        if not may_import(module_name(package, file).partition(".")[2], imported)
    ]
    assert not wrong


def test_processes_use_absolute_imports_only():
    """Lava runs each file beside a Process as a top-level module; a relative import there hides the model from it."""
    relative = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for package, file in library("*.py")
        if within(package, "rsrp_lava.processes")
        for node in nodes(file)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


def test_library_does_not_print():
    may_print = ("cli", "reporting", "export.lava_folder")  # the last: scripts that are copied, not imported
    prints = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for package, file in library("*.py")
        if not any(within(module_name(package, file), f"rsrp_lava.{room}") for room in may_print)
        for node in nodes(file)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not prints


#: Where the time of the day is meant: in the name of a run folder, and in TensorBoard's events.
TELL_THE_DAY = {"cli", "reporting.tensorboard", "run_folder"}


def tells_the_day(node: ast.AST) -> bool:
    """Whether the time of the day is asked for."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "time"  # then the calls below could not be found
    days = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today")}
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in days


def test_durations_come_from_a_clock_that_never_jumps():
    """Not from the time of the day, which is set back and forth by people and by other computers."""
    modules = [(module_name(package, file).partition(".")[2], file) for package, file in library("*.py")]
    assert {module for module, file in modules if any(map(tells_the_day, nodes(file)))} == TELL_THE_DAY


def test_tests_are_not_a_package():
    assert not (ROOT / "tests" / "__init__.py").exists()  # lava-nc installs a top-level `tests` of its own
