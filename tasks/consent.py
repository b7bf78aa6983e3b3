"""Whose code may run here.

A task `gym:MODULE:ID` and a wrapper `MODULE:CLASS` name a module, which is code: to import it is to run it. What the command
line or Python code names was chosen by whoever runs this program. What only a file names (a run folder, a study, a --config)
may be a stranger's choice: it is imported after somebody has said so.

Consent is for a top-level module, and holds for this process; processes that play for it are told (engines/player.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rsrp_lava.errors import ExperimentError

#: Packages whose modules run nothing of a stranger's: those that this program itself is made of.
_WELL_KNOWN = ("gymnasium", "rsrp_lava")
#: Wrappers of Gymnasium that write files where their arguments say.
_WRITING = ("RecordVideo",)

_given: set[str] = set()
#: Asks whoever runs this program whether code may run (what it is, who names it); set by the command line at a terminal.
ask: Callable[[str, str], bool] = lambda what, source: False  # noqa: E731


def give(code: Iterable[str]) -> None:
    """Let code run, as `named` calls it."""
    _given.update(code)


def require(code: Iterable[str], source: str) -> None:
    """`ExperimentError` that names the code of these that nobody has let run, and how to.

    `source`: what names it.
    """
    for what in code:
        if what in _given:
            continue
        if not ask(what, source):
            raise ExperimentError(
                f"{source}: names {what}, which would run here, and only a file asks for it; if you trust who "
                "wrote it, say so: --trust, or trust=True in Python (docs/runs.md, What is safe to open)"
            )
        _given.add(what)


def named(task: Any, environment: Any) -> list[str]:
    """The code that an experiment's settings name, beside this program's own and Gymnasium's: [] of most.

    Looks at names and at what Gymnasium has registered; what is no name is for others to refuse.
    """
    found = []
    if isinstance(task, str) and task.startswith("gym:"):
        id = task.removeprefix("gym:")
        module, colon, name = id.rpartition(":")
        found += of_module(module) if colon else []
        if _part(environment, "kwargs") and not is_gymnasiums(name):
            found.append(arguments_of(name))
    wrappers = _part(environment, "wrappers")
    for wrapper in wrappers if isinstance(wrappers, list | tuple) else ():
        name = wrapper if isinstance(wrapper, str) else _part(wrapper, "name")
        found += of_wrapper(name) if isinstance(name, str) else []
    return list(dict.fromkeys(found))


def of_module(module: str) -> list[str]:
    """The code that importing a module runs."""
    top = module.partition(".")[0]
    return [] if top in _WELL_KNOWN else [f"the module {top}"]


def of_wrapper(name: str) -> list[str]:
    """The code that a wrapper is."""
    module, colon, attribute = name.rpartition(":")
    if attribute in _WRITING:
        return [f"the wrapper {attribute} (it writes files)"]
    return of_module(module) if colon else []


def arguments_of(id: str) -> str:
    """Arguments of an environment that a package other than Gymnasium has registered: they may name code."""
    return f"arguments of the environment {id}"


def is_gymnasiums(id: str) -> bool:
    """Whether Gymnasium itself has the environment: what it does with arguments is known."""
    import gymnasium

    return str(getattr(gymnasium.registry.get(id), "entry_point", None)).startswith("gymnasium.")


def _part(options: Any, name: str) -> Any:
    return options.get(name) if isinstance(options, Mapping) else getattr(options, name, None)
