"""What a labelled data set is, and the checks that all its readers share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from rsrp_lava.errors import DataError


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images and the class of each. Both arrays are read-only, as all of a process share them."""

    images: np.ndarray  #: uint8, (n, n_inputs), C order; a row is an image, row by row, its channels last
    labels: np.ndarray  #: uint8 (of more than 256 classes uint16), (n,), below the number of classes

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class DataSet:
    """A labelled data set in two parts. `images.reshape(-1, *shape)` are pictures."""

    name: str
    train: Labelled
    test: Labelled
    n_classes: int
    shape: tuple[int, int, int]  #: height, width, channels
    mean: float  #: an input is (pixel / 255 − mean) / std; one number for all channels
    std: float
    sha256: str  #: of the shapes and contents of all four arrays; of one's own data also of `shape` and `classes`
    classes: tuple[str, ...] = ()  #: of one's own data: names of the classes
    vectors: bool = False  #: whether a row is a coded vector (coding.py), not a picture
    zero: int = 0  #: the pixel that is no current for spiking neurons
    notes: tuple[str, ...] = ()  #: what the user should know of how they were read

    @property
    def n_inputs(self) -> int:
        """Pixels times channels."""
        return math.prod(self.shape)


def data_set(
    name: str, train: Labelled, test: Labelled, n_classes: int, shape: tuple[int, int, int], mean: float, std: float
) -> DataSet:
    """Puts a data set together: makes its arrays read-only and takes their digest."""
    digest = hashlib.sha256()
    for array in (train.images, train.labels, test.images, test.labels):
        assert array.dtype in (np.uint8, np.uint16)
        assert array.flags.c_contiguous
        array.flags.writeable = False
        digest.update(f"{array.shape}\0".encode())
        digest.update(array.data)
    return DataSet(name, train, test, n_classes, shape, mean, std, digest.hexdigest())


def refuse(where: object, problem: str) -> NoReturn:
    """`DataError` for a file whose content is not the official one."""
    raise DataError(f"{where}: {problem}; put the official file in its place, or give the folder that has it") from None


def unreadable(where: object, error: OSError) -> DataError:
    """The error for a file or folder that the operating system does not let us read."""
    return DataError(f"{where}: cannot be read ({reason(error)}); mend its permissions or the disk, or give another folder")


def reason(error: BaseException) -> str:
    """What an exception says, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split()).lower()


def times(shape: Iterable[int]) -> str:
    """A shape for people.

    >>> times((60000, 28, 28))
    '60,000 × 28 × 28'
    """
    return " × ".join(f"{length:,}" for length in shape)


def check_size(where: object, found: int, expected: int) -> None:
    """`DataError` unless a file, unpacked, has as many bytes as expected; of a longer one only one more may be known."""
    if found < expected:
        refuse(where, f"is cut short: {found:,} bytes of {expected:,}")
    if found > expected:
        refuse(where, f"is too long: more than {expected:,} bytes")


def check_md5(where: object, content: bytes, expected: str | None) -> None:
    """`DataError` unless the content has the official file's MD5; None leaves it unchecked."""
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if expected not in (None, found):
        refuse(where, f"is damaged or another file (its MD5 is {found}, the official file's {expected})")


def check_labels(where: object, labels: np.ndarray, n_classes: int) -> None:
    """`DataError` unless every label (any integer dtype) names a class."""
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(wrong):
        refuse(where, f"label {labels[wrong[0]]} of image {wrong[0]:,} is none of 0 to {n_classes - 1}")
