"""One's own data as tasks: `images:DIR`, a folder of images a class, and `data:FILE.npz`, arrays x and y.

What a run is to learn is pinned by its content, not its path: an experiment records a digest of what the network sees
(`Content`), and other data under the same name are refused.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rsrp_lava.errors import DataError, counted
from rsrp_lava.tasks.data.arrays import Arrays, check_classes, check_inputs, check_memory, read_arrays
from rsrp_lava.tasks.data.base import DataSet, Labelled, data_set, times, unreadable
from rsrp_lava.tasks.data.coding import CENTRE, PER_DEVIATION, PixelCode, VectorCode, draw_test_part, label_dtype
from rsrp_lava.tasks.data.options import MOST_PIXELS, Content, DatasetOptions
from rsrp_lava.tasks.data.pictures import File, Listing, list_images, read_images

#: What the tasks' names begin with, and a line about each.
IMAGES, ARRAYS = "images:", "data:"
SUMMARIES = {
    "images:DIR": "classify your own images, a folder of them a class (docs/data.md)",
    "data:FILE.npz": "classify your own vectors or images, arrays x and y (docs/data.md)",
}
#: Which of the settings each has a use for.
_USES = {IMAGES: ("resize", "color", "test_share", "split_seed"), ARRAYS: ("levels", "test_share", "split_seed")}
_MOST_CLASSES = 2**16


class _Raw(NamedTuple):
    """What was read, before it is coded and split."""

    x: np.ndarray  #: numbers, (n, features) or (n, height, width, channels)
    labels: np.ndarray  #: indices of classes
    classes: tuple[str, ...]
    n_train: int | None  #: where the data say what is for testing: the rows before it
    notes: tuple[str, ...] = ()


def is_own(name: str) -> bool:
    """Whether a task's name is one of these forms."""
    return name.startswith((IMAGES, ARRAYS))


def whole_name(name: str) -> str:
    """The name with an absolute path, which means the same in any folder."""
    kind, path = _parts(name)
    return kind + str(path)


def short_name(name: str) -> str:
    """The name without the folders above, for the names of files."""
    kind, path = _parts(name)
    return kind + path.stem


def _parts(name: str) -> tuple[str, Path]:
    kind = IMAGES if name.startswith(IMAGES) else ARRAYS
    path = name.removeprefix(kind)
    if not path or not path.isprintable():
        raise DataError(f"task {name!a}: names no {'folder' if kind == IMAGES else 'file'}; write {' or '.join(SUMMARIES)}")
    return kind, Path(os.path.abspath(os.path.expanduser(path)))


def pinned(name: str, options: DatasetOptions) -> DatasetOptions:
    """The options with the content, which is read if it is not known yet."""
    if options.content is not None:
        return options
    data = load_own(name, options)
    content = Content(
        sha256=data.sha256,
        shape=data.shape,
        vectors=data.vectors,
        classes=data.classes,
        n_train=len(data.train),
        n_test=len(data.test),
    )
    return options.model_copy(update={"content": content})


def load_own(name: str, options: DatasetOptions) -> DataSet:
    """The data set, read and checked; the same object again as long as its files and the options are the same.

    Raises `DataError` if it cannot be read, or is not the one whose content the options hold.
    """
    kind, path = _parts(name)
    for setting in options.changed:
        if setting not in (*_USES[kind], "content"):
            raise DataError(f"dataset.{setting}: {name} has no use for it; leave it out")
    asked = options.model_copy(update={"content": None})
    data = _read_folder(path, list_images(path), asked) if kind == IMAGES else _read_file(path, _status(path), asked)
    if options.content is not None and options.content.sha256 != data.sha256:
        raise DataError(
            f"{name}: is not the data of this run: their digest is {data.sha256[:12]}…, recorded is "
            f"{options.content.sha256[:12]}…; give the data it was trained on, or start a new run"
        )
    return data


def _status(path: Path) -> File:
    if path.suffix.lower() != ".npz" or os.path.isdir(path):
        raise DataError(f"{path}: is no .npz file; write np.savez(FILE, x=…, y=…), or of a folder of images images:{path}")
    try:
        status = os.stat(path)
    except OSError as error:
        raise unreadable(path, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: is no regular file; write np.savez(FILE, x=…, y=…)")
    return File(str(path), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _read_folder(root: Path, listing: Listing, options: DatasetOptions) -> DataSet:
    images = read_images(root, listing, options)
    notes = (f"{counted(listing.n_left_out, 'file')} left out, which end as no image",) if listing.n_left_out else ()
    return _data_set(root, _Raw(images, np.array(listing.labels), listing.classes, listing.n_train, notes), options)


@functools.lru_cache(maxsize=2)
def _read_file(path: Path, status: File, options: DatasetOptions) -> DataSet:
    held = read_arrays(path)
    x, x_test, n = check_inputs(f"{path}: x", held.x), None, len(held.x)
    labels, classes = check_classes(f"{path}: y", held.y, n)
    notes = (f"arrays left out: {', '.join(held.others)}",) if held.others else ()
    if held.x_test is None:
        return _data_set(path, _Raw(x, labels, classes, None, notes), options)
    x_test, test_labels = _test_arrays(path, held, x, classes)
    joined = np.concatenate([x, x_test])  # of one kind of number, and coded alike
    return _data_set(path, _Raw(joined, np.concatenate([labels, test_labels]), classes, n, notes), options)


def _test_arrays(path: Path, held: Arrays, x: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    assert held.x_test is not None
    assert held.y_test is not None
    x_test = check_inputs(f"{path}: x_test", held.x_test)
    if x_test.shape[1:] != x.shape[1:]:
        raise DataError(
            f"{path}: x_test: has rows of {times(x_test.shape[1:])}, x of {times(x.shape[1:])}; store rows of one shape"
        )
    codes, names = check_classes(f"{path}: y_test", held.y_test, len(x_test))
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise DataError(f"{path}: y_test: class {unknown[0]} is none of y; leave it out, or add it to x and y")
    return x_test, np.array([classes.index(name) for name in names])[codes]


def _data_set(path: Path, raw: _Raw, options: DatasetOptions) -> DataSet:
    """Codes the inputs, and puts both parts together."""
    n_classes = len(raw.classes)
    if not 2 <= n_classes <= _MOST_CLASSES:
        raise DataError(
            f"{path}: has classes: {n_classes:,}; between 2 and {_MOST_CLASSES:,} can be told apart, give so many"
        )
    if raw.n_train is not None:
        for setting in {"test_share", "split_seed"} & set(options.changed):
            raise DataError(f"dataset.{setting}: {path} says itself what is for testing; leave it out")
        training, testing = np.split(np.arange(len(raw.x)), [raw.n_train])
    else:
        training, testing = draw_test_part(raw.labels, n_classes, options.test_share, options.split_seed)
    if len(testing) == 0:
        raise DataError(f"{path}: no class has more than one row, so none is left for testing; give more rows a class")
    vectors = raw.x.ndim == 2
    if not vectors and options.levels != "auto":
        raise DataError(f"dataset.levels: {path} holds images, which need none; leave it out")
    if vectors:
        check_memory(str(path), len(raw.x) * raw.x.shape[1] * 8, "its inputs")
    code = VectorCode.of(raw.x[training], options.levels) if vectors else PixelCode.of(raw.x[training])
    height, width, channels = (1, code.n_inputs, 1) if isinstance(code, VectorCode) else raw.x.shape[1:]
    shape = (height, width, channels)
    if math.prod(shape) > MOST_PIXELS:
        raise DataError(
            f"{path}: has rows of {math.prod(shape):,} inputs, at most {MOST_PIXELS:,} are possible; give smaller ones"
        )
    dtype = label_dtype(n_classes)
    train, test = (Labelled(code.encode(raw.x[rows]), raw.labels[rows].astype(dtype)) for rows in (training, testing))
    if (train.images == train.images[0]).all():
        raise DataError(f"{path}: all training inputs are alike, and nothing can be learned from them; check how x was made")
    counts = np.zeros(256, np.int64)
    for row in train.images:
        counts += np.bincount(row, minlength=256)
    mean, std = (CENTRE / 255, PER_DEVIATION / 255) if vectors else _moments(counts)
    zero = CENTRE if vectors else int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    data = data_set(path.name, train, test, n_classes, shape, mean, std)
    notes = (*raw.notes, *_single(raw))
    digest = _digest(data, raw.classes, vectors)
    return dataclasses.replace(data, classes=raw.classes, vectors=vectors, zero=zero, notes=notes, sha256=digest)


def _moments(counts: np.ndarray) -> tuple[float, float]:
    """Mean and deviation of pixel / 255, from how often each occurs."""
    n, pixels = int(counts.sum()), np.arange(256)
    total, squares = int((counts * pixels).sum()), int((counts * pixels * pixels).sum())
    return total / n / 255, math.sqrt(n * squares - total * total) / n / 255


def _single(raw: _Raw) -> tuple[str, ...]:
    """A note on classes that cannot be tested."""
    if raw.n_train is not None:
        return ()
    single = [raw.classes[k] for k in np.flatnonzero(np.bincount(raw.labels, minlength=len(raw.classes)) == 1)]
    named = ", ".join(single[:3]) + (", …" if len(single) > 3 else "")
    return (f"classes with one image, which are not tested: {named}",) if single else ()


def _digest(data: DataSet, classes: tuple[str, ...], vectors: bool) -> str:
    facts = json.dumps([data.sha256, data.shape, classes, vectors])
    return hashlib.sha256(facts.encode()).hexdigest()


def description(data: DataSet) -> str:
    """What was read, in a line or more."""
    height, width, channels = data.shape
    kind = f"{height} × {width} × {channels}" if height > 1 or channels > 1 else f"{width:,} inputs each"
    parts = f"{len(data.train):,} to train, {len(data.test):,} to test, {data.n_classes:,} classes, {kind}"
    return "; ".join([parts, *data.notes])
