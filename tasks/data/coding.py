"""From numbers of any scale to what layers take, 0 … 255; names of classes to numbers; and a part for testing.

Pictures keep their linear scale: the range of the training values becomes 0 … 255,

    pixel = round(255 · min(max((x − lo) / (hi − lo), 0), 1))

with one range for all channels of 8-bit pictures, else one a channel. If the whole range is more than ten times that of the
99.8 % of the values in its middle, the latter is taken: rare peaks and marks such as −9999 do not eat the grey levels.

Vectors have features of their own scales, and networks without biases and with weights of ±1 that cannot make up for them.
A feature becomes K ramps between quantiles q_0 ≤ … ≤ q_K of its training values (piecewise linear encoding: Gorishniy,
Rubachev, Babenko, "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS 2022), each standardised:

    r_k = min(max((x − q_{k−1}) / (q_k − q_{k−1}), 0), 1)
    z_k = (r_k − mean of r_k) / deviation of r_k                of the training values
    pixel = 128 + round(127/4 · min(max(z_k, −4), 4))           so 128 is 0, and a step is 0.03 deviations

Equal quantiles are one, and a feature that does not vary has no ramps. The ramps add up to a monotone function of x, so a
feature's unit and offset change nothing, whatever they are; outliers are no further from the bulk than the last quantile.
⌈√inputs⌉ constant inputs of z = 1 stand for the biases that layers lack.

Everything is computed element by element, or in integers, so that no order of summation decides a bit.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from rsrp_lava.errors import DataError
from rsrp_lava.kernels.random_bits import SPLIT, fill_uniform

#: The pixel that stands for z = 0, and pixels a deviation.
CENTRE, PER_DEVIATION = 128, 127 / 4
#: Ramps of a feature under `auto`, as long as there are not more inputs than this.
_LEVELS, _INPUTS = 8, 1024
#: Of a ramp, in the integers its moments are summed in.
_ONE = 2**16
#: Numbers that are looked at together: 32 MiB of float64.
_TOGETHER = 2**22


def check_numbers(where: str, x: np.ndarray) -> np.ndarray:
    """The array in this machine's bytes; `DataError` unless it holds finite real numbers."""
    if x.dtype.kind not in "buif":
        raise DataError(f"{where}: holds {x.dtype}, not numbers; store it as uint8, integers or floats")
    if x.dtype.kind == "b":
        return x.astype(np.uint8)
    x = x.astype(np.float64) if x.dtype.kind == "f" and x.itemsize > 8 else x.astype(x.dtype.newbyteorder("="), copy=False)
    if x.dtype.kind == "f":
        rows = rows_together(x)
        for first in range(0, len(x), rows):
            bad = np.argwhere(~np.isfinite(x[first : first + rows]))
            if len(bad):
                at = ", ".join(str(k) for k in (first + bad[0][0], *bad[0][1:]))
                value = x[first + bad[0][0]][tuple(bad[0][1:])]
                raise DataError(f"{where}: is {value} at [{at}]; replace it by a number, or leave its row out")
    return x


def rows_together(x: np.ndarray) -> int:
    """How many rows of an array to take at a time."""
    return max(1, _TOGETHER // max(1, math.prod(x.shape[1:])))


# --- pictures ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PixelCode:
    """From pictures (n, height, width, channels) to uint8 (n, inputs)."""

    low: np.ndarray  #: a channel
    high: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> PixelCode:
        """The code that these training pictures ask for."""
        channels = x.shape[3]
        if x.dtype == np.uint8:
            return cls(np.full(channels, float(x.min())), np.full(channels, float(x.max())))
        ranges = [_range(x[..., channel].ravel()) for channel in range(channels)]
        return cls(np.array([low for low, _ in ranges]), np.array([high for _, high in ranges]))

    def encode(self, x: np.ndarray) -> np.ndarray:
        """uint8, shape (n, height · width · channels)."""
        coded, rows = np.empty((len(x), math.prod(x.shape[1:])), np.uint8), rows_together(x)
        for first in range(0, len(x), rows):
            part = x[first : first + rows]
            coded[first : first + rows] = np.rint(255 * _ramp(part, self.low, self.high)).reshape(len(part), -1)
        return coded


def _range(values: np.ndarray) -> tuple[float, float]:
    rare = len(values) // 1000
    ends = np.partition(values, (0, rare, len(values) - 1 - rare, len(values) - 1))
    low, inner_low, inner_high, high = (float(ends[k]) for k in (0, rare, -1 - rare, -1))
    inner = inner_high / 2 - inner_low / 2  # halves: their difference is finite
    return (inner_low, inner_high) if 0 < 10 * inner < high / 2 - low / 2 else (low, high)


def _ramp(x: Any, low: Any, high: Any) -> Any:
    """(x − low) / (high − low) within 0 … 1, float64; 0 where high = low. Finite for any finite numbers."""
    large = max(np.max(np.abs(low)), np.max(np.abs(high))) > 1e300
    scale = 0.25 if large else 1.0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        ramp = (np.asarray(x, np.float64) * scale - low * scale) / (high * scale - low * scale)
    return np.where(high > low, np.clip(ramp, 0.0, 1.0), 0.0)


# --- vectors -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VectorCode:
    """From vectors (n, features) to uint8 (n, inputs)."""

    origins: tuple[int, ...]  #: of features that are integers, taken off before they become float64; else 0
    edges: tuple[np.ndarray, ...]  #: quantiles of every feature, float64, ascending
    moments: tuple[tuple[float, float], ...]  #: mean and deviation of every ramp

    @classmethod
    def of(cls, x: np.ndarray, levels: int | str = "auto") -> VectorCode:
        """The code that these training vectors ask for."""
        n, features = x.shape
        count = min(_LEVELS, max(2, _INPUTS // features)) if levels == "auto" else int(levels)
        at = [(2 * k * (n - 1) + count) // (2 * count) for k in range(count + 1)]
        origins, edges, moments = [], [], []
        for feature in x.T:
            origins.append(int(feature.min()) if feature.dtype.kind in "iu" else 0)
            values = np.sort(_relative(feature, origins[-1]))
            edges.append(np.unique(values[at]))
            for ramp in _ramps(values, edges[-1]):
                whole = np.rint(ramp * _ONE).astype(np.int64)
                total, squares = int(whole.sum()), int((whole * whole).sum())
                moments.append((total / n / _ONE, math.sqrt(n * squares - total * total) / n / _ONE))
        return cls(tuple(origins), tuple(edges), tuple(moments))

    @property
    def n_biases(self) -> int:
        """Constant inputs; they come last."""
        return math.ceil(math.sqrt(len(self.moments)))

    @property
    def n_inputs(self) -> int:
        """What all features become, and the biases."""
        return len(self.moments) + self.n_biases

    def encode(self, x: np.ndarray) -> np.ndarray:
        """uint8, shape (n, n_inputs)."""
        coded = np.full((len(x), self.n_inputs), CENTRE + round(PER_DEVIATION), np.uint8)
        at = 0
        for feature, origin, edges in zip(x.T, self.origins, self.edges, strict=True):
            for ramp in _ramps(_relative(feature, origin), edges):
                mean, deviation = self.moments[at]
                z = np.clip((ramp - mean) / deviation, -4.0, 4.0) if deviation > 0 else np.zeros(len(x))
                coded[:, at] = CENTRE + np.rint(PER_DEVIATION * z)
                at += 1
        return coded


def _relative(values: np.ndarray, origin: int) -> np.ndarray:
    """float64; of integers the distance from `origin`, so that those beyond 2^53 keep their units."""
    if values.dtype.kind == "f" or values.itemsize < 8:
        return values.astype(np.float64) - origin
    with np.errstate(over="ignore"):
        distance = values.view(np.uint64) - np.uint64(origin % 2**64)
    below = values < origin
    return np.where(below, -(-distance).astype(np.float64), distance.astype(np.float64))


def _ramps(values: np.ndarray, edges: np.ndarray) -> Any:
    return (_ramp(values, low, high) for low, high in itertools.pairwise(edges))


# --- classes -----------------------------------------------------------------------------------------------------------


def natural(name: str) -> tuple[Any, str]:
    """A key that sorts as people do: class 2 before class 10."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], name


def label_dtype(n_classes: int) -> Any:
    """Of labels of so many classes: uint8, or uint16 of more than 256."""
    return np.uint8 if n_classes <= 2**8 else np.uint16


def draw_test_part(labels: np.ndarray, n_classes: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices for training, ascending, and for testing, in an order drawn at random.

    Of every class round(share · n) test, at least one and at most all but one; of a class of one none does.
    """
    of_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels, minlength=n_classes))[:-1])
    drawn = []
    for label, members in enumerate(of_class):
        n = len(members)
        wanted = min(max(1, round(share * n)), n - 1)
        drawn.append(members[_order(n, seed, label)[: max(0, wanted)]])
    testing = np.concatenate(drawn)
    kept = np.ones(len(labels), bool)
    kept[testing] = False
    return np.flatnonzero(kept), testing[_order(len(testing), seed, n_classes)]


def _order(n: int, seed: int, which: int) -> np.ndarray:
    """0 … n − 1 in an order of its own."""
    uniform = np.empty(n)
    fill_uniform(seed, which, 0, SPLIT, uniform)
    return np.argsort(uniform, kind="stable")
