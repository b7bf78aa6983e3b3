"""Which samples are whose: pieces of a population are leased to workers, which may be slow, or lost."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Result = TypeVar("Result")
#: First sample, and how many.
Lease = tuple[int, int]
#: Times a lease may be lost with its worker until the worker is not to blame.
MOST_LOSSES = 3
#: A lease is given to a second worker when it has been out for this many times the longest one so far …
_STRAGGLES = 2.0
#: … and for at least these seconds.
_PATIENCE_S = 1.0


def pieces(first: int, samples: int, workers: int) -> Iterator[Lease]:
    """Half of what is left, spread evenly over the workers, until single samples: large pieces first, so that few messages
    do; small ones last, so that all workers end together (factoring; Hummel, Schonberg, Flynn 1992)."""
    while samples > 0:
        size = -(-samples // (2 * workers))
        for _ in range(workers):
            piece = min(size, samples)
            if piece:
                yield first, piece
            first, samples = first + piece, samples - piece


@dataclass
class Leases(Generic[Result]):
    """The pieces of one `play`: waiting, out, or finished. The first answer of a piece counts; all answers are the same."""

    waiting: deque[Lease]
    finished: dict[Lease, Result] = field(default_factory=dict)
    losses: Counter[Lease] = field(default_factory=Counter)
    _out: dict[Lease, dict[Hashable, float]] = field(default_factory=dict)  #: lease → worker → since when
    _longest_s: float = 0.0

    @property
    def done(self) -> bool:
        """All pieces are finished."""
        return not self.waiting and not self._out

    def take(self, worker: Hashable, now_s: float) -> Lease | None:
        """A piece for this worker: one that waits, else one that somebody else has had for too long; None: it rests."""
        if self.waiting:
            lease = self.waiting.popleft()
        else:
            patience = max(_PATIENCE_S, _STRAGGLES * self._longest_s)
            late = [
                (min(holders.values()), lease)
                for lease, holders in self._out.items()
                if len(holders) == 1 and worker not in holders and now_s - min(holders.values()) > patience
            ]
            if not late:
                return None
            lease = min(late)[1]
        self._out.setdefault(lease, {})[worker] = now_s
        return lease

    def finish(self, lease: Lease, worker: Hashable, result: Result, now_s: float) -> None:
        """A worker's answer; one that comes second, or from an earlier `play`, changes nothing."""
        holders = self._out.pop(lease, None)
        if holders is not None:
            self._longest_s = max(self._longest_s, now_s - holders.get(worker, now_s))
            self.finished[lease] = result

    def lose(self, worker: Hashable) -> list[Lease]:
        """A worker is gone: what only it had waits again. Returns those pieces."""
        lost = []
        for lease, holders in list(self._out.items()):
            if holders.pop(worker, None) is not None and not holders:
                del self._out[lease]
                self.waiting.appendleft(lease)
                self.losses[lease] += 1
                lost.append(lease)
        return lost

    def in_order(self) -> list[Result]:
        """Results of all pieces, in the order of samples."""
        return [self.finished[lease] for lease in sorted(self.finished)]


__all__ = ["MOST_LOSSES", "Lease", "Leases", "pieces"]
