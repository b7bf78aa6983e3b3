"""The `kernel` decorator: how every compiled function of this package is compiled and cached."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from .cache import SealedCache, tell

if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError(
        "NUMBA_DISABLE_JIT is set: kernels are made of LLVM's instructions and cannot run as Python; unset it (environments "
        "that are stepped in Python can be debugged without it)"
    )


@numba.njit(nogil=True)
def copy(source, target):
    """target = source of one dimension. Numba takes seconds to compile `target[:] = source`, for its check of the shapes.

    Of the same kind is the first value of a counter: `t = 0` has a type of its own, and what is called with t is compiled
    for both; `t = np.int64(0)` has the type of t + 1.
    """
    for i in range(target.shape[0]):
        target[i] = source[i]


@functools.cache
def digest_of_sources(folder: Path) -> str:
    """Content of the folder's Python files."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` lazily, without the GIL, and keep the machine code on disk.

    Numba's cache compares only the file that holds `function`. A kernel inlines others, from this folder and from its own
    (tasks share some), so after an edit of one file a cached caller would go on running the old arithmetic; the cache is
    therefore also keyed by the content of both folders. What else is different of ours, and why, cache.py says.
    """
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    keep_on_disk(dispatcher)
    return dispatcher


def keep_on_disk(dispatcher: Any) -> None:
    """Keep what `dispatcher` is compiled to in sealed files (cache.py), if there is a folder for them."""
    function = dispatcher.py_func
    folders = (Path(__file__).parent, Path(function.__code__.co_filename).parent)
    try:
        dispatcher._cache = SealedCache(function, tuple(map(digest_of_sources, folders)))
    except RuntimeError:  # Numba's: no locator available
        tell(f"no folder for it can be written beside {folders[1]} or at home, so kernels are compiled at every start")
