"""Mean and standard deviation of all observations so far, by which they are scaled, and the exact sums they follow from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import add

import numpy as np

from rsrp_lava.arrays import Layout, Values
from rsrp_lava.kernels.exact_sums import COUNT, DIGIT_BITS, PLACES, SQUARES, SUM, UNIT_BITS
from rsrp_lava.kernels.running import inverse_deviations


@dataclass(frozen=True)
class Observations:
    """Exact sums over observations (kernels/exact_sums.py); those of parts add up to those of the whole, in any order."""

    places: np.ndarray  #: int64, shape (k,): places of the sums that are not 0 for all inputs, rising
    digits: np.ndarray  #: int64, shape (k, n_inputs): what is there

    @classmethod
    def none(cls, n_inputs: int) -> Observations:
        """Nothing was seen."""
        return cls(np.zeros(0, np.int64), np.zeros((0, n_inputs), np.int64))

    @classmethod
    def of(cls, sums: np.ndarray) -> Observations:
        """From the sums that kernels add to: int64, shape (n_inputs, PLACES)."""
        places = np.flatnonzero(sums.any(axis=0))
        return cls(places, np.ascontiguousarray(sums[:, places].T))

    @classmethod
    def joined(cls, parts: Sequence[Observations]) -> Observations:
        """The sums over what all parts have seen. Parts: one at least."""
        sums = np.zeros((parts[0].digits.shape[1], PLACES), np.int64)
        for part in parts:
            sums[:, part.places] += part.digits.T
        return cls.of(sums)

    def integers(self) -> tuple[list[int], list[int], list[int]]:
        """Of every input n, Σx in units of 2^-UNIT_BITS, and Σx² in units of 2^-(2 · UNIT_BITS)."""
        return self._integers(COUNT, SUM), self._integers(SUM, SQUARES), self._integers(SQUARES, PLACES)

    def _integers(self, first: int, last: int) -> list[int]:
        """Digits at places `first` … `last` − 1, carried."""
        totals, before = np.zeros(self.digits.shape[1], object), last
        for place, digits in zip(self.places[::-1].tolist(), self.digits[::-1], strict=True):
            if first <= place < last:
                totals, before = (totals << DIGIT_BITS * (before - place)) + digits.astype(object), place
        return (totals << DIGIT_BITS * (before - first)).tolist()


@dataclass(frozen=True)
class Scaling:
    """How the network sees an observation: kernels/running.standardised.

    Float64, shape (n_inputs,).
    """

    mean: np.ndarray
    inverse_std: np.ndarray  #: 1 / std; 0 where nothing ever changed (kernels/running.divisor)

    @property
    def scaling(self) -> Scaling:
        """This much of it: what is needed to play."""
        return Scaling(self.mean, self.inverse_std)


@dataclass(frozen=True)
class Normaliser(Scaling):
    """Mean and standard deviation of all observations so far, shared by all samples, rounded once from exact sums:

    mean = Σx / n        std = √(n Σx² − (Σx)²) / n

    Observations that are `unscaled` (network.Network.unscaled) are seen as they are, whatever the sums: mean 0, std 1.
    """

    std: np.ndarray
    counts: Sequence[int]  #: n of every input
    sums: Sequence[int]  #: Σx, in units of 2^-UNIT_BITS
    squares: Sequence[int]  #: Σx², in units of 2^-(2 · UNIT_BITS)
    unscaled: np.ndarray  #: bool, shape (n_inputs,)

    @classmethod
    def start(cls, n_inputs: int, unscaled: np.ndarray | None = None) -> Normaliser:
        """Mean 0 and standard deviation 1, until the first generation has been seen."""
        return cls.of_sums([0] * n_inputs, [0] * n_inputs, [0] * n_inputs, unscaled)

    @classmethod
    def of_sums(
        cls, counts: Sequence[int], sums: Sequence[int], squares: Sequence[int], unscaled: np.ndarray | None = None
    ) -> Normaliser:
        """From the exact sums; `unscaled`: none, by default."""
        unscaled = np.zeros(len(counts), bool) if unscaled is None else unscaled
        of_inputs = zip(counts, sums, squares, unscaled.tolist(), strict=True)
        moments = [(0.0, 1.0) if as_it_is else _mean_and_std(*exact) for *exact, as_it_is in of_inputs]
        mean, std = np.array(moments, np.float64).reshape(-1, 2).T.copy()
        return cls(mean, inverse_deviations(mean, std), std, counts, sums, squares, unscaled)

    @classmethod
    def of_moments(cls, count: float, mean: np.ndarray, variance: np.ndarray) -> Normaliser:
        """As if `count` observations with this mean and variance had been seen: how runs of earlier versions, which kept
        nothing else, go on."""
        n = int(count)
        sums = [int(n * Fraction(m) * 2**UNIT_BITS) for m in mean.tolist()]
        pairs = zip(mean.tolist(), variance.tolist(), strict=True)
        squares = [int(n * (Fraction(m) ** 2 + Fraction(v)) * 2 ** (2 * UNIT_BITS)) for m, v in pairs]
        return cls.of_sums([n] * len(sums), sums, squares)

    def update(self, seen: Observations) -> Normaliser:
        """With what was seen since."""
        before = (self.counts, self.sums, self.squares)
        counts, sums, squares = (list(map(add, a, b)) for a, b in zip(before, seen.integers(), strict=True))
        return Normaliser.of_sums(counts, sums, squares, self.unscaled)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The sums, exactly, as arrays for a checkpoint. Inverse: `from_arrays`."""
        return {
            "counts": np.array(self.counts, np.int64),
            "sums": _to_bytes(self.sums),
            "squares": _to_bytes(self.squares),
        }

    @classmethod
    def layouts(cls, n_inputs: int, prefix: str, with_count: bool = False) -> list[Layout]:
        """What `from_arrays` takes: exact sums, or the moments of earlier versions (`with_count`: also their count)."""
        row, integers, real = (n_inputs, None), np.dtype(np.int64), np.dtype(np.float64)
        sums = {
            f"{prefix}counts": Values(integers, (n_inputs,), 0),
            **{prefix + name: Values(np.dtype(np.uint8), row, longest=_LONGEST_SUM) for name in ("sums", "squares")},
        }
        moments = {f"{prefix}mean": Values(real, (n_inputs,)), f"{prefix}variance": Values(real, (n_inputs,), 0.0)}
        if with_count:
            moments[f"{prefix}count"] = Values(real, (1,), 0.0, 2.0**63)

        def check(arrays: Mapping[str, np.ndarray]) -> None:
            counts = arrays[f"{prefix}counts"].tolist()
            _refuse_impossible(counts, *(_from_bytes(arrays[prefix + name]) for name in ("sums", "squares")))

        return [Layout(sums, check=check), Layout(moments)]

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], unscaled: np.ndarray | None = None) -> Normaliser:
        """Inverse of `to_arrays`; also from `count`, `mean` and `variance`, which is what earlier versions kept."""
        if "variance" in arrays:
            return cls.of_moments(float(arrays["count"].item()), arrays["mean"], arrays["variance"])
        sums, squares = _from_bytes(arrays["sums"]), _from_bytes(arrays["squares"])
        return cls.of_sums(arrays["counts"].tolist(), sums, squares, unscaled)


#: Bytes of an exact sum, of how many numbers there can be; the first eight say how many low ones were left out.
_LONGEST_SUM = 8 + (PLACES - SUM) * DIGIT_BITS // 8
_LARGEST = int(np.finfo(np.float64).max)


def _refuse_impossible(counts: Sequence[int], sums: Sequence[int], squares: Sequence[int]) -> None:
    """`ValueError` unless there are so many numbers with these sums."""
    for n, total, square in zip(counts, sums, squares, strict=True):
        largest = _LARGEST << UNIT_BITS
        possible = abs(total) <= n * largest and total * total <= n * square and 0 <= square <= n * largest * largest
        if n < 0 or not possible:
            raise ValueError("the normaliser's sums are no sums of squares, and of so many numbers")


def _mean_and_std(count: int, total: int, squares: int) -> tuple[float, float]:
    """Of numbers with these sums, in the units of `Normaliser`: the mean rounded once, the deviation from 64 exact bits."""
    if count == 0:
        return 0.0, 1.0
    if squares == 0:
        return 0.0, 0.0
    zeros = min(_trailing_zeros(total), _trailing_zeros(squares) // 2) if total else _trailing_zeros(squares) // 2
    total, squares, unit_bits = total >> zeros, squares >> 2 * zeros, UNIT_BITS - zeros
    spread = count * squares - total * total  # n² variance
    more = max(0, 64 - spread.bit_length() // 2)  # so that the root has 64 bits
    return _scaled(total, count, -unit_bits), _scaled(math.isqrt(spread << 2 * more), count, -unit_bits - more)


def _trailing_zeros(n: int) -> int:
    return (n & -n).bit_length() - 1


def _scaled(numerator: int, denominator: int, exponent: int) -> float:
    """numerator / denominator · 2^exponent, rounded once (Python divides integers so)."""
    if exponent < 0:
        return numerator / (denominator << -exponent)
    return (numerator << exponent) / denominator


def _to_bytes(numbers: Sequence[int]) -> np.ndarray:
    """Integers as rows of bytes, uint8, shape (n, 8 + size): how many low bytes, which are 0 in all rows, were left out (the
    same in every row, as 8 bytes), then the rest, the lowest first, in two's complement."""
    everything = 0
    for number in numbers:
        everything |= abs(number)
    zeros = _trailing_zeros(everything) // 8 if everything else 0
    size = everything.bit_length() // 8 + 1 - zeros
    rows = [zeros.to_bytes(8, "little") + (number >> 8 * zeros).to_bytes(size, "little", signed=True) for number in numbers]
    return np.array([list(row) for row in rows], np.uint8).reshape(len(rows), 8 + size)


def _from_bytes(rows: np.ndarray) -> list[int]:
    """Inverse of `_to_bytes`; `ValueError` for rows that it does not make."""
    whole = [row.tobytes() for row in rows]
    if any(len(row) <= 8 or int.from_bytes(row[:8], "little") + len(row) > _LONGEST_SUM for row in whole):
        raise ValueError("the normaliser's sums are longer than any can be")
    return [int.from_bytes(row[8:], "little", signed=True) << 8 * int.from_bytes(row[:8], "little") for row in whole]
