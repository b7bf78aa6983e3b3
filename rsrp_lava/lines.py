"""Files of one JSON object a line that carry a check of every line, and of the order of the lines.

A line ends in `, "crc32": "xxxxxxxx"}`: the CRC-32 (IEEE 802.3) of what is before it, begun with that of the whole line
before (of nothing, for the first). So a line that was changed, removed, repeated or put elsewhere does not fit the next one.
It stays JSON, for anybody's reader. Lines of earlier versions have no check: they are read as they are, as long as no line
with one comes before.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

_CHECK = re.compile(rb', "crc32": "([0-9a-f]{8})"\}\n\Z')


def to_line(record: dict[str, Any], before: bytes) -> bytes:
    """The line of a record that follows the line `before` (b"" if it is the first); `record` holds something."""
    body = json.dumps(record).encode()[:-1]
    return body + b', "crc32": "%08x"}\n' % _crc32(body, before)


def to_lines(records: list[dict[str, Any]]) -> bytes:
    """A whole file."""
    lines = [b""]
    for record in records:
        lines.append(to_line(record, lines[-1]))
    return b"".join(lines)


def from_line(line: bytes, before: bytes) -> dict[str, Any]:
    """Inverse of `to_line`. Raises `ValueError`, which says what is wrong with the line."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is no record") from None
    if not isinstance(record, dict):
        raise ValueError("is no record")
    check = _CHECK.search(line)
    if check is None and _CHECK.search(before):
        raise ValueError("is no record of ours: it has no check, unlike the line before")
    if check is not None:
        if int(check[1], 16) != _crc32(line[: check.start()], before):
            raise ValueError("does not match its check, or not the line before it")
        del record["crc32"]
    return record


def _crc32(body: bytes, before: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(before))
