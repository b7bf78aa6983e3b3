"""Between a network and Gymnasium's spaces: observations become vectors, outputs become actions.

| action space | outputs | action |
|---|---|---|
| Discrete(2) | 1 | the second action if the output is positive, else the first |
| Discrete(n) | n | the largest output (the first of equal ones) |
| Box | one a number | clipped to [−1, 1] and scaled to [low, high]; without bounds as it is |
| MultiBinary | one a bit | 1 where the output is positive |
| MultiDiscrete | of every part as Discrete | |
| Tuple, Dict | of all parts, in their order | |

Observations are flattened as `gymnasium.spaces.flatten` does: numbers in their order, a Discrete one as one-hot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from rsrp_lava.errors import ExperimentError

#: Outputs (float32) → action.
Decode = Callable[[np.ndarray], Any]


def observation_size(space: spaces.Space) -> int:
    """Numbers of an observation; `ExperimentError` names the part of the space that has no fixed number of them, and what
    helps."""
    wrong = [(name, part) for name, part in _parts_of(space) if not has_size(part)]
    if not wrong:
        return int(spaces.flatdim(space))
    what = " and ".join(f"{f'its part {name!r}' if name else 'it'}, {_shown(part)}," for name, part in wrong)
    verb = "has" if len(wrong) == 1 else "have"
    raise ExperimentError(f"observation space: {what} {verb} no fixed number of values; {_way_out(space)}")


def has_size(space: Any) -> bool:
    """Whether every observation of a space is the same number of numbers."""
    try:
        return bool(space.is_np_flattenable) and int(spaces.flatdim(space)) >= 0
    except Exception:  # spaces of other packages need not have either; what they raise is theirs
        return False


def _parts_of(space: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The spaces that a space consists of, with their names: 'goal.position', '2'; of a single one ''."""
    if isinstance(space, spaces.Dict):
        parts = [(str(key), part) for key, part in space.spaces.items()]
    elif isinstance(space, spaces.Tuple):
        parts = [(str(place), part) for place, part in enumerate(space.spaces)]
    else:
        yield name, space
        return
    for key, part in parts:
        yield from _parts_of(part, f"{name}.{key}" if name else key)


def _shown(space: Any) -> str:
    kind = type(space)
    if isinstance(space, spaces.Space):
        return f"of {kind.__name__}"
    return f"of {kind.__module__}.{kind.__name__}, which is no space of Gymnasium"


def _way_out(space: Any) -> str:
    """What is left when the parts without a size are gone, and how to leave them out."""
    left = [name for name, part in space.spaces.items() if has_size(part)] if isinstance(space, spaces.Dict) else []
    if left:
        kept = ", ".join(map(str, left))
        return f"leave it out with the wrapper {{name: FilterObservation, kwargs: {{filter_keys: [{kept}]}}}}"
    return "wrap the environment so that its observations are numbers"


def one_hot_parts(space: spaces.Space) -> tuple[tuple[int, int], ...]:
    """(first, size) of every part of a flattened observation of which one number is 1 and the others 0."""
    if isinstance(space, spaces.Discrete):
        return ((0, int(space.n)),)
    if isinstance(space, spaces.MultiDiscrete):
        return _following((int(n), ((0, int(n)),)) for n in space.nvec.ravel())
    if isinstance(space, spaces.Tuple | spaces.Dict):
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return _following((int(spaces.flatdim(part)), one_hot_parts(part)) for part in parts)
    return ()


def _following(parts: Iterable[tuple[int, tuple[tuple[int, int], ...]]]) -> tuple[tuple[int, int], ...]:
    """The one-hot parts of parts that follow one another, given (size, one-hot parts) of each."""
    found, start = [], 0
    for size, one_hot in parts:
        found += [(start + first, n) for first, n in one_hot]
        start += size
    return tuple(found)


def flatten(space: spaces.Space, observation: Any) -> np.ndarray:
    """An observation as float64, shape (observation_size,): a copy, which may be written to."""
    if isinstance(space, spaces.Box):  # of which some environments give out their state itself
        return np.array(observation, np.float64).ravel()
    return np.array(spaces.flatten(space, observation), np.float64)


def decoder(space: spaces.Space, name: str = "") -> tuple[int, Decode]:
    """Outputs an action space needs, and how they become an action; `ExperimentError` for spaces it does not know.

    `name`: of a part of a space, with a dot before every key.
    """
    if isinstance(space, spaces.Discrete):
        size, choose = _choice(int(space.n))
        first = int(space.start)
        return size, lambda output: first + choose(output)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return _numbers(space)
    if isinstance(space, spaces.MultiBinary):
        shape = space.shape
        return int(np.prod(shape)), lambda output: (output > 0).astype(np.int8).reshape(shape)
    if isinstance(space, spaces.MultiDiscrete):
        sizes, shape, start = space.nvec.ravel(), space.shape, space.start
        size, choices = _parts([_choice(int(n)) for n in sizes])
        return size, lambda output: np.array(choices(output), space.dtype).reshape(shape) + start
    if isinstance(space, spaces.Tuple):
        return _parts([decoder(part, f"{name}.{place}") for place, part in enumerate(space.spaces)])
    if isinstance(space, spaces.Dict):
        names = list(space.spaces)
        size, parts = _parts([decoder(part, f"{name}.{key}") for key, part in space.spaces.items()])
        return size, lambda output: dict(zip(names, parts(output), strict=True))
    what = f"its part {name[1:]!r}, {_shown(space)}," if name else f"{space}"
    if not isinstance(space, spaces.Space) and not name:
        what = f"it, {_shown(space)},"
    raise ExperimentError(
        f"action space: {what} is none of Discrete, Box of floating-point numbers, MultiBinary, MultiDiscrete, Tuple and "
        "Dict of these; wrap the environment so that it is"
    )


def n_choices(space: spaces.Space) -> int:
    """Actions to choose from; 0 where the action is a number, or of several parts."""
    return int(space.n) if isinstance(space, spaces.Discrete) else 0


def is_bounded(space: spaces.Space) -> bool:
    """Whether all of the action are numbers with both bounds."""
    return isinstance(space, spaces.Box) and bool(np.isfinite(space.low).all() and np.isfinite(space.high).all())


def _choice(n: int) -> tuple[int, Callable[[np.ndarray], int]]:
    if n == 2:
        return 1, lambda output: int(output[0] > 0)
    return n, lambda output: int(output.argmax())


def _numbers(space: spaces.Box) -> tuple[int, Decode]:
    """Numbers with both bounds: from low to high with the place (output + 1) / 2, and never outside, which rounding alone
    would not ensure. Others are taken as they are, within the bound they have and what the type can hold.
    """
    shape, dtype, bounded = space.shape, space.dtype, np.isfinite(space.low) & np.isfinite(space.high)
    bounds = [np.where(bounded, bound, 0).astype(dtype) for bound in (space.low, space.high)]
    scaled = _between(*bounds)
    if bounded.all():
        return int(np.prod(shape)), lambda output: np.asarray(scaled(output), dtype)
    kind: Any = dtype
    largest: Any = np.finfo(kind).max
    least, most = np.maximum(space.low, -largest), np.minimum(space.high, largest)

    def taken(output: np.ndarray) -> np.ndarray:
        return np.where(bounded, scaled(output), np.clip(output.reshape(shape), least, most)).astype(dtype)

    return int(np.prod(shape)), taken


def _between(low: np.ndarray, high: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """low + place · (high − low) in float32, as outputs are, where that ends at high exactly; it is monotone, so it stays
    inside. Else low · (1 − place) + high · place in the type of the bounds, which no width overflows, clipped."""
    with np.errstate(over="ignore", invalid="ignore"):
        first, last = low.astype(np.float32), high.astype(np.float32)
        span = last - first
        exact = bool(((first == low) & (last == high) & (first + span == last)).all())
    if exact:
        one, two = np.float32(1), np.float32(2)
        return lambda output: first + ((np.clip(output, -one, one) + one) / two).reshape(low.shape) * span
    one, two = low.dtype.type(1), low.dtype.type(2)

    def between(output: np.ndarray) -> np.ndarray:
        place = ((np.clip(output.astype(low.dtype), -one, one) + one) / two).reshape(low.shape)
        return np.clip(low * (one - place) + high * place, low, high)

    return between


def _parts(decoders: list[tuple[int, Decode]]) -> tuple[int, Callable[[np.ndarray], tuple]]:
    ends = np.cumsum([size for size, _ in decoders]).tolist()
    pieces = [(end - size, end, decode) for end, (size, decode) in zip(ends, decoders, strict=True)]
    return ends[-1] if ends else 0, lambda output: tuple(decode(output[first:last]) for first, last, decode in pieces)
