"""The data sets there are, by name."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rsrp_lava.errors import DataError, unknown_name
from rsrp_lava.kernels.exact_math import fill_normal
from rsrp_lava.kernels.random_bits import OBSERVATION_NOISE
from rsrp_lava.tasks.data import cifar
from rsrp_lava.tasks.data.base import DataSet, Labelled, data_set
from rsrp_lava.tasks.data.digits import load_digits
from rsrp_lava.tasks.data.folders import Layout, data_folder, find
from rsrp_lava.tasks.data.idx import read_idx, read_idx_labels
from rsrp_lava.tasks.data.options import DatasetOptions
from rsrp_lava.tasks.data.own import SUMMARIES, is_own, load_own


class Idx(NamedTuple):
    """A data set of four IDX files, named as MNIST's."""

    dataset: str  #: torchvision's class, and its folder
    mean: float
    std: float
    #: MD5 of each file without gzip
    md5: dict[str, str | None]
    n_train: int = 60_000
    n_test: int = 10_000
    shape: tuple[int, int, int] = (28, 28, 1)
    n_classes: int = 10

    @property
    def layout(self) -> Layout:
        return Layout(self.dataset, f"{self.dataset}/raw", tuple(self.md5), ".gz")


#: Means and deviations are those of all training pixels / 255: of MNIST as in PyTorch's MNIST example, of Fashion-MNIST
#: 0.28604, 0.35302. MD5 of MNIST: of the official files unpacked; of Fashion-MNIST: as several published loaders agree.
IDX = {
    "mnist": Idx(
        "MNIST",
        0.1307,
        0.3081,
        {
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
    ),
    "fashion_mnist": Idx(
        "FashionMNIST",
        0.2860,
        0.3530,
        {
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
    ),
}


def data_names() -> list[str]:
    """Names of all data sets, sorted."""
    return sorted(["digits", *IDX, "cifar10"])


def needs_folder(name: str) -> bool:
    """Whether the data set has files that a folder can be named for."""
    return name in (*IDX, "cifar10")


def load_data(
    name: str, folder: str | Path | None = None, test_noise: float = 0.0, options: DatasetOptions | None = None
) -> DataSet:
    """The data set of that name, read and checked; the same object again for the same folder, options and noise.

    Parameters
    ----------
    name : one of `data_names()`, or one's own: images:DIR, data:FILE.npz
    folder : where its files are, in torchvision's layout; None: where RSRP_DATA says, else the user's cache folder, into
        which torchvision, if it is installed, downloads what is missing. `digits` needs no files and looks nowhere.
    test_noise : σ of Gaussian noise on the test images (`with_test_noise`)
    options : of one's own: how they are read

    Raises `DataError` if there is no such data set, or its files are missing, unreadable or not the official ones, or if it
    has no use for a folder or for options.
    """
    if not is_own(name) and name not in data_names():
        raise DataError(unknown_name("data set", name, [*data_names(), *SUMMARIES]))
    refuse_unused(name, folder, options)
    if is_own(name):
        data = load_own(name, options or DatasetOptions())
    else:
        data = _load(name, *data_folder(folder)) if needs_folder(name) else _load(name, None, False)
    return with_test_noise(data, test_noise) if test_noise else data


def refuse_unused(name: str, folder: str | Path | None, options: DatasetOptions | None) -> None:
    """`DataError` for a folder or options that the data set has no use for."""
    if folder is not None and not needs_folder(name):
        where = "its path is part of its name" if is_own(name) else "its images are in the package"
        raise DataError(f"data: {name} takes no folder, {where}; leave it out (your own: {', '.join(SUMMARIES)})")
    if options is not None and options.changed and not is_own(name):
        raise DataError(
            f"dataset.{options.changed[0]}: is for your own data ({', '.join(SUMMARIES)}), not {name}; leave it out"
        )


@functools.lru_cache(maxsize=2)
def with_test_noise(data: DataSet, std: float) -> DataSet:
    """The data set with Gaussian noise on its test images: x ← round(min(max(x + 255 σ ξ, 0), 255)), ξ ~ N(0, 1).

    The noise of image k is a function of k alone. It is the whole range of a pixel, 0 … 255, that σ is a part of.
    """
    images, noise = np.empty_like(data.test.images), np.empty(data.n_inputs)
    for k, image in enumerate(data.test.images):
        fill_normal(0, 0, k, OBSERVATION_NOISE, 0, noise)
        images[k] = np.rint(np.clip(image + 255.0 * std * noise, 0.0, 255.0))
    noisy = data_set(
        data.name, data.train, Labelled(images, data.test.labels), data.n_classes, data.shape, data.mean, data.std
    )
    return dataclasses.replace(noisy, classes=data.classes, vectors=data.vectors, zero=data.zero)


@functools.lru_cache(maxsize=8)
def _load(name: str, root: Path | None, is_cache: bool) -> DataSet:
    if root is None:
        return load_digits()
    return _load_cifar(name, root, is_cache) if name == "cifar10" else _load_idx(name, IDX[name], root, is_cache)


def _load_idx(name: str, known: Idx, root: Path, is_cache: bool) -> DataSet:
    files = find(name, known.layout, root, is_cache)
    n_inputs = known.shape[0] * known.shape[1]
    parts = []
    for part, n in (("train", known.n_train), ("t10k", known.n_test)):
        images, labels = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
        parts.append(
            Labelled(
                read_idx(files[images], (n, *known.shape[:2]), known.md5[images]).reshape(n, n_inputs),
                read_idx_labels(files[labels], n, known.n_classes, known.md5[labels]),
            )
        )
    return data_set(name, parts[0], parts[1], known.n_classes, known.shape, known.mean, known.std)


def _load_cifar(name: str, root: Path, is_cache: bool) -> DataSet:
    batches = cifar.TRAIN | cifar.TEST
    files = find(name, Layout("CIFAR10", cifar.FOLDER, tuple(batches), archive=cifar.ARCHIVE), root, is_cache)
    read_all = cifar.read_archive if cifar.ARCHIVE in files else cifar.read_files
    parts = read_all(files, batches)
    train = cifar.joined([parts[batch] for batch in cifar.TRAIN])
    return data_set(name, train, parts["test_batch"], cifar.N_CLASSES, cifar.SHAPE, mean=0.5, std=0.5)
