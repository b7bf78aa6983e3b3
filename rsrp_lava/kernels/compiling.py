"""The `kernel` decorator: how every compiled function of this package is compiled and cached."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


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
    therefore also keyed by the content of both folders.
    """
    dispatcher = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    cache_file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if cache_file is not None:
        folders = (Path(__file__).parent, Path(function.__code__.co_filename).parent)
        cache_file._source_stamp = (*map(digest_of_sources, folders), cache_file._source_stamp)
    return dispatcher
