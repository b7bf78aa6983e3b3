"""1,797 handwritten digits of 8 × 8 pixels, in `digits.npz` beside this file: nothing to download.

Source: E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49, licence CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). The file holds
that data set's test part as scikit-learn's `load_digits` gives it, in its order: images uint8 (1797, 64), pixels 0 to
16, and labels uint8 (1797,).

Two things are done to it here. Pixels are stretched to 0 … 255, round(pixel · 255 / 16), so that one rule for inputs
holds for all data sets; no two of the 17 values meet. And it is split: of each class in the file's order, every fifth
image is for testing (355), the others for training (1,442). The writers of one part also wrote the other.
"""

from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np

from rsrp_lava.errors import DataError
from rsrp_lava.tasks.data.base import DataSet, Labelled, data_set, reason

#: Of the bytes of the images, then of the labels, as stored.
_MD5 = "7696c07daa6d85010f8268703ab8b067"


def load_digits() -> DataSet:
    """The data set `digits`; raises `DataError` if its file is not as it was installed."""
    path = resources.files("rsrp_lava.tasks.data").joinpath("digits.npz")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            images, labels = stored["images"], stored["labels"]
        if hashlib.md5(images.tobytes() + labels.tobytes(), usedforsecurity=False).hexdigest() != _MD5:
            raise ValueError("its checksum does not match")
    except Exception as error:  # a damaged archive can fail in any way
        raise DataError(f"{path}: is missing or damaged ({reason(error)}); install rsrp-lava again") from None
    images = ((images.astype(np.uint16) * 255 + 8) // 16).astype(np.uint8)
    testing = np.zeros(len(labels), bool)
    for label in range(10):
        testing[np.flatnonzero(labels == label)[4::5]] = True
    train, test = (Labelled(images[part], labels[part]) for part in (~testing, testing))
    return data_set("digits", train, test, n_classes=10, shape=(8, 8, 1), mean=0.3052, std=0.3760)
