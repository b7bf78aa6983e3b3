"""What returns are compared with: doing nothing, random actions, guessing. Measured once, at generation 0.

Few episodes, so that no run becomes slower: until they have taken `_STEPS` environment steps, at least `_FEWEST`, at most
`_MOST` and no more than an evaluation. Which they are follows from the seed alone.
"""

from __future__ import annotations

from collections.abc import Callable

from rsrp_lava.engines.protocol import Outcome
from rsrp_lava.learners.protocol import Record

_FEWEST, _MOST, _STEPS = 4, 32, 4000


def play_few(play: Callable[[int, int], Outcome], most: int) -> Outcome:
    """Episodes by `play` (how many, the first one): twice as many, until there are enough."""
    played = play(min(_FEWEST, most), 0)
    while (n := len(played.returns)) < min(_MOST, most) and played.steps.sum() < _STEPS:
        played = Outcome.joined([played, play(min(n, _MOST - n, most - n), n)])
    return played


def baselines_record(**played: Outcome) -> Record:
    """Mean and standard deviation of each, and of how many episodes; nothing of one whose every episode failed."""
    return {
        "baselines": {
            name: {"return": of.mean, "std": of.std, "episodes": len(of.valid)}
            for name, of in played.items()
            if len(of.valid)
        }
    }
