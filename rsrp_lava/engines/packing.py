"""A worker's outcome in few bytes: 16 a sample, and the exact sums of its observations."""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np

from rsrp_lava.engines.protocol import Outcome
from rsrp_lava.normaliser import Observations


def pack(outcome: Outcome, deterministic: bool) -> bytes:
    """The length of a header and the header (JSON), returns, steps, sums. Those of an evaluation are not asked for."""
    sums = b"" if deterministic else zlib.compress(_planes(outcome.observations.digits), 6)
    header = {
        "samples": len(outcome.returns),
        "observed": outcome.observations.digits.shape[1],
        "places": outcome.observations.places.tolist(),
        "events": outcome.events.tolist(),
        "faults": dict(outcome.faults),
        "outputs": None if outcome.outputs is None else outcome.outputs.tolist(),
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    returns, steps = outcome.returns.astype("<f8").tobytes(), outcome.steps.astype("<i8").tobytes()
    return struct.pack("<I", len(text)) + text + returns + steps + sums


def unpack(packed: bytes) -> Outcome:
    """Inverse of `pack`; the sums of an evaluation are 0."""
    (length,) = struct.unpack_from("<I", packed)
    header = json.loads(packed[4 : 4 + length])
    n, at = header["samples"], 4 + length
    returns = np.frombuffer(packed, "<f8", n, at).astype(np.float64)
    steps = np.frombuffer(packed, "<i8", n, at + 8 * n).astype(np.int64)
    sums = packed[at + 16 * n :]
    seen = Observations.none(header["observed"])
    if sums:
        planes = np.frombuffer(zlib.decompress(sums), np.uint8).reshape(8, -1)
        digits = np.ascontiguousarray(planes.T).view("<i8").reshape(-1, header["observed"])
        seen = Observations(np.array(header["places"], np.int64), digits.astype(np.int64))
    events = np.array(header["events"], np.int64)
    outputs = None if header["outputs"] is None else np.array(header["outputs"], np.int64)
    return Outcome(returns, steps, seen, events, faults=header["faults"], traffic_bytes=len(packed), outputs=outputs)


def _planes(sums: np.ndarray) -> bytes:
    """All first bytes, then all second ones, …: high bytes are mostly alike, and compress."""
    return np.ascontiguousarray(sums.astype("<i8").reshape(-1, 1).view(np.uint8).T).tobytes()


__all__ = ["pack", "unpack"]
