"""Damage that happens to files: what disks, transfers and people do."""

import numpy as np

KINDS = ("flip", "cut", "zero", "swap", "duplicate", "append")


def damaged(content: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """A file's content after one accident."""
    at, length = int(rng.integers(len(content))), int(rng.integers(1, 64))
    changed = bytearray(content)
    if kind == "flip":
        changed[at] ^= 1 << int(rng.integers(8))
    elif kind == "cut":
        changed = changed[:at]
    elif kind == "zero":
        changed[at : at + length] = bytes(len(changed[at : at + length]))
    elif kind == "append":
        changed += rng.bytes(length) + b"\n" * int(rng.integers(2))
    else:
        lines = content.splitlines(keepends=True)
        one, other = (int(k) for k in rng.integers(len(lines), size=2))
        if kind == "duplicate":
            lines.insert(other, lines[one])
        else:
            lines[one], lines[other] = lines[other], lines[one]
        return b"".join(lines)
    return bytes(changed)
