"""The `kernel` decorator: how every compiled function of this package is compiled and cached."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


#: Content of this folder. Compiled kernels inline each other across files.
SOURCES = _digest_of_sources()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` lazily, without the GIL, and keep the machine code on disk.

    Numba's cache compares only the file that holds `function`. A kernel inlines others from this folder, so after an
    edit of one file a cached caller would go on running the old arithmetic; the cache is therefore also keyed by the
    content of the whole folder.
    """
    dispatcher = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    cache_file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if cache_file is not None:
        cache_file._source_stamp = (SOURCES, cache_file._source_stamp)
    return dispatcher
