"""Where the files of data sets are: which folder, which layout in it, and how torchvision puts them there."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

from rsrp_lava.errors import DataError
from rsrp_lava.tasks.data.base import reason, unreadable

#: The environment variable that names the folder of all data sets.
VARIABLE = "RSRP_DATA"


def cache_folder() -> Path:
    """The user's folder for what can be fetched again, as the operating system's custom has it; it need not exist."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local"), "rsrp-lava", "Cache")
    if sys.platform == "darwin":
        return Path(home, "Library", "Caches", "rsrp-lava")
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    return Path(chosen if os.path.isabs(chosen) else os.path.join(home, ".cache"), "rsrp-lava")  # relative: not valid


def data_folder(folder: str | Path | None) -> tuple[Path, bool]:
    """The one folder to look in, absolute, and whether it is the cache: `folder`, else RSRP_DATA's, else the cache."""
    chosen = os.environ.get(VARIABLE) or None if folder is None else folder
    if chosen is None:
        return Path(os.path.abspath(cache_folder())), True
    return Path(os.path.abspath(os.path.expanduser(chosen))), False


class Layout(NamedTuple):
    """How a data set's files lie in the folder of all data sets, which is how torchvision puts them."""

    dataset: str  #: torchvision's class
    folder: str  #: in the folder of all data sets
    names: tuple[str, ...]  #: files in it
    ending: str = ""  #: a file's name may also end so
    archive: str = ""  #: a file beside `folder` that may stand for all of it


def find(name: str, layout: Layout, root: Path, is_cache: bool) -> dict[str, Path]:
    """All files of a data set by name, or its archive alone; in the cache, torchvision downloads what is missing.

    They are looked for in `layout.folder` of `root`, or in `root` itself if only that holds any of them. Raises `DataError`
    if there are not all of them.
    """
    files, lacking = _locate(layout, root)
    if lacking and is_cache and _download(name, layout, root):
        files, lacking = _locate(layout, root)
    if lacking:
        file = f"{layout.folder}/{lacking[0]}{layout.ending and f'[{layout.ending}]'}"
        also = f" or {layout.archive}" if layout.archive else ""
        fetch = 'pip install "rsrp-lava[vision]" to have it downloaded'
        raise DataError(
            f"data set {name}: no {file}{also} in {root}; put it there, name the folder that has it (--data DIR or "
            f"{VARIABLE}), or {fetch if is_cache else 'name no folder and ' + fetch}"
        )
    return files


def _locate(layout: Layout, root: Path) -> tuple[dict[str, Path], list[str]]:
    """The files there are, by name, and the names of those missing."""
    files: dict[str, Path] = {}
    try:
        if root.exists() and not root.is_dir():
            raise DataError(f"{root}: is a file, not a folder; give the folder that holds {layout.folder}")
        for folder in (root / layout.folder, root):
            choices = {name: [folder / (name + layout.ending), folder / name] for name in layout.names}
            files = {name: path for name, paths in choices.items() for path in paths if path.is_file()}
            if files:
                break
        if not files and layout.archive and (root / layout.archive).is_file():
            return {layout.archive: root / layout.archive}, []
    except OSError as error:
        raise unreadable(root, error) from None
    return files, [name for name in layout.names if name not in files]


def _download(name: str, layout: Layout, cache: Path) -> bool:
    """Have torchvision fetch and verify the files of a data set, into the cache; False without torchvision.

    They are fetched into a folder beside and moved when whole, so that neither a kill nor a second process leaves half a
    file. What torchvision says while it works goes to standard error. Raises `DataError` if it does not succeed.
    """
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as folder, redirect_stdout(sys.stderr):
            from torchvision import datasets

            getattr(datasets, layout.dataset)(folder, download=True)
            for file in sorted(Path(folder, layout.folder).iterdir()):
                target = cache / layout.folder / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
    except Exception as error:  # torch can fail in any way, at import too
        raise DataError(
            f"data set {name}: torchvision could not put it into {cache} ({reason(error)}); try again later, or put the "
            f"official files into {cache / layout.folder} yourself"
        ) from None
    return True
