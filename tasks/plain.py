"""Arguments of environments and wrappers: plain values, which YAML, a pickle and a fingerprint all keep as they are."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np

#: How deep lists and mappings may lie in each other, and how many values there may be. Some lines of YAML that name each
#: other hold millions.
_DEEPEST, _MOST = 32, 10_000


def plain(value: Any, name: str) -> Any:
    """The value as text, numbers, truth values, None, lists and mappings of these; tuples become lists, numbers of NumPy
    Python's. `ValueError` that begins with the name of what is none of these."""
    return _plain(value, name, 0, [0])


def _plain(value: Any, name: str, depth: int, count: list[int]) -> Any:
    count[0] += 1
    if depth > _DEEPEST or count[0] > _MOST:
        raise ValueError(f"{name}: holds more than {_MOST:,} values, or lists nested deeper than {_DEEPEST}; give less")
    if isinstance(value, np.generic) and not isinstance(value.item(), np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(one, f"{name}[{k}]", depth + 1, count) for k, one in enumerate(value)]
    if isinstance(value, dict):
        return {_key(key, name): _plain(one, f"{name}.{key}", depth + 1, count) for key, one in value.items()}
    ways = {"ndarray": "give its tolist()", "PosixPath": "give str() of it", "WindowsPath": "give str() of it"}
    way_out = ways.get(type(value).__name__, "give a text, a number, a list or a mapping, or set it in the class itself")
    raise ValueError(f"{name}: is of type {type(value).__name__}, which no run folder can hold; {way_out}")


def _key(key: Any, name: str) -> Any:
    key = key.item() if isinstance(key, np.generic) else key
    if type(key) in (bool, int, str) or (type(key) is float and math.isfinite(key)):
        return key
    raise ValueError(f"{name}: has a key of type {type(key).__name__}; keys are text, or finite numbers")


def hashable(value: Any) -> Any:
    """The same, in the form a fingerprint is made of: as it is, but for keys that JSON would make the same."""
    if isinstance(value, list | tuple):
        return [hashable(one) for one in value]
    if not isinstance(value, dict):
        return value
    if all(isinstance(key, str) for key in value):
        return {key: hashable(one) for key, one in value.items()}
    pairs = [[type(key).__name__, str(key), hashable(one)] for key, one in value.items()]
    return {"\0keys": sorted(pairs, key=lambda pair: pair[:2])}


def digest(settings: Any) -> str:
    """SHA-256 of plain settings, the same in whatever order mappings are."""
    return hashlib.sha256(json.dumps(hashable(settings), sort_keys=True).encode()).hexdigest()
