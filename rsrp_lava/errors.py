"""The exceptions a user can meet. Every message names the thing, the value, the limit and the way out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from pydantic_core import PydanticCustomError


class RsrpError(Exception):
    """Base of all errors this package raises on purpose; the command line prints it and exits with code 2."""

    def __init__(self, message: str = "") -> None:
        super().__init__(shortened(str(message)))


#: Characters of a word, and of a message, that are shown; of longer ones the beginning and how long they are.
_LONGEST_WORD, _LONGEST_MESSAGE = 500, 5000


def shortened(message: str) -> str:
    """A message that does not repeat pages of what it was given.

    >>> shortened("a" * 10_000)[495:]
    'aaaaa… (10,000 characters)'
    """
    cut = re.sub(rf"\S{{{_LONGEST_WORD + 1},}}", lambda word: _cut(word[0], _LONGEST_WORD), message)
    return _cut(cut, _LONGEST_MESSAGE) if len(cut) > _LONGEST_MESSAGE else cut


def _cut(text: str, length: int) -> str:
    return f"{text[:length]}… ({len(text):,} characters)"


class ExperimentError(RsrpError):
    """An experiment that cannot be run: unknown name, value out of range, bad YAML."""


class ProfileError(ExperimentError):
    """A hardware profile that does not exist or is not valid."""


class MappingError(RsrpError):
    """A network that a chip cannot hold or compute: which rule, which object, what is used, the limit, the way out."""


class RunFolderError(RsrpError):
    """A run folder that cannot be created, read, written or resumed."""


class BusyError(RunFolderError):
    """A folder in which another process works."""


class CheckpointError(RunFolderError):
    """A checkpoint that is damaged, of a newer format, or of another experiment."""


class DataError(RsrpError):
    """A labelled data set that is unknown, missing, unreadable, damaged or not the official one."""


class DrawingError(RsrpError):
    """A picture that cannot be drawn; what it shows is not lost."""


class EngineError(RsrpError):
    """An engine that is unknown, unavailable here, or failed while running."""


class Interrupted(RsrpError):
    """An engine gave up a generation in flight because it was asked to stop."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """Message for a name nobody knows, with the nearest known one if there is one.

    >>> unknown_name("task", "cartpol", ["cartpole"])
    "unknown task 'cartpol': did you mean 'cartpole'? (known: cartpole)"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f": did you mean '{close[0]}'?" if close else ""
    return f"unknown {what} '{name}'{hint} (known: {', '.join(names)})"


def counted(number: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "generation"), counted(2, "generation")
    ('1 generation', '2 generations')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def refuse_bool(value: Any) -> Any:
    """For settings that are numbers: `true` would be read as 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "input should be a number")
    return value
