"""IDX, the file format of MNIST: a header of big-endian integers, then the bytes of one array in C order.

| bytes | content |
|---|---|
| 2 | 0 |
| 1 | 8: the elements are unsigned bytes |
| 1 | number of dimensions |
| 4 each | the dimensions |
| the rest | the elements |
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from rsrp_lava.files import open_regular
from rsrp_lava.tasks.data.base import check_labels, check_md5, check_size, refuse, times, unreadable


def read_idx(path: Path, shape: tuple[int, ...], md5: str | None) -> np.ndarray:
    """The array in a file, gzipped if its name ends in .gz: uint8, read-only.

    `shape` is what it must have, `md5` the checksum of the whole file as it is without gzip (None: not checked).
    Raises `DataError` if the file is anything else, or cannot be read.
    """
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    size = len(header) + math.prod(shape)
    content = _read(path, size + 1)
    magic = content[:4]
    if magic != header[:4]:
        refuse(
            path, f"is no IDX file of {len(shape)} dimensions (starts with 0x{magic.hex()}, expected 0x{header[:4].hex()})"
        )
    if len(content) >= len(header) and content[: len(header)] != header:
        found = struct.unpack_from(f">{len(shape)}I", content, 4)
        refuse(path, f"holds {times(found)} values, expected {times(shape)}")
    check_size(path, len(content), size)
    check_md5(path, content, md5)
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def read_idx_labels(path: Path, n: int, n_classes: int, md5: str | None) -> np.ndarray:
    """As `read_idx`, and every value must name a class."""
    labels = read_idx(path, (n,), md5)
    check_labels(path, labels, n_classes)
    return labels


def _read(path: Path, limit: int) -> bytes:
    """At most `limit` bytes of a file's content, unpacked."""
    try:
        with open_regular(path) as stored, gzip.open(stored) if path.suffix == ".gz" else stored as file:
            return file.read(limit)
    except EOFError:
        refuse(path, "is cut short (its gzip data ends early)")
    except (gzip.BadGzipFile, zlib.error) as error:
        refuse(path, f"is no gzip file or damaged ({error})")
    except OSError as error:
        raise unreadable(path, error) from None
