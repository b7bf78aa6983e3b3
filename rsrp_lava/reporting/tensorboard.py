"""Scalars for TensorBoard, as files of events. tensorboardX (extra `tensorboard`) is imported when they are asked for.

Of it the writer of records is used: its `SummaryWriter` writes from another thread, so that a kill takes away the last two
minutes, and nobody notices a full disk.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rsrp_lava.errors import ExperimentError

#: Event files are read in the order of their names: numbered, they do not depend on a clock that may be set back.
_NAME = "events.out.tfevents."


def require_tensorboard(in_folder: bool) -> None:
    """`ExperimentError` unless scalars can be written: tensorboardX is installed, and there is a run folder."""
    if not in_folder:
        raise ExperimentError("tensorboard: scalars go into the run's folder, and there is none; name one (out=)")
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise ExperimentError(
            'tensorboard: tensorboardX is not installed; pip install "rsrp-lava[tensorboard]", or leave it out'
        ) from None


class Scalars:
    """Callable with a run's records; writes sampled and evaluation return, entropy of each projection, steps a second.

    What is in `folder` from generation `start` on, left by a run that was stopped there, no longer counts. A folder without
    events begins with the records `before`. Raises `OSError`.
    """

    def __init__(self, folder: Path, before: Sequence[dict[str, Any]], start: int) -> None:
        from tensorboardX import RecordWriter
        from tensorboardX.proto import event_pb2

        self._event = event_pb2.Event
        self._before = {"env_steps": 0, "seconds": 0.0}
        folder.mkdir(exist_ok=True)
        ends = (file.name.removeprefix(_NAME) for file in folder.glob(f"{_NAME}*"))
        numbers = [int(end) for end in ends if end.isdecimal()]
        self._writer = RecordWriter(str(folder / f"{_NAME}{max(numbers, default=-1) + 1:06}"))
        self._write(file_version="brain.Event:2")
        if numbers:
            self._write(step=start, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))  # purges
            self._before = dict(before[-1]) if before else self._before
        else:
            for record in before:
                self._write_scalars(record)
        self._writer.flush()

    def __call__(self, record: dict[str, Any]) -> None:
        """Write a record's scalars to disk."""
        self._write_scalars(record)
        self._writer.flush()

    def close(self) -> None:
        """Close the file; all is on disk already, or has failed to get there."""
        with suppress(OSError):
            self._writer.close()

    def _write_scalars(self, record: dict[str, Any]) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        scalars: dict[str, float] = {name: value for name, value in record.items() if name.endswith("_return")}
        scalars |= {f"entropy/{name}": bits for name, bits in record.get("entropy_bits", {}).items()}
        scalars |= {name.replace(" ", "_"): value for name, value in record.get("measures", {}).items()}
        seconds = record["seconds"] - self._before["seconds"]
        if seconds > 0:
            scalars["env_steps_per_second"] = (record["env_steps"] - self._before["env_steps"]) / seconds
        self._before = record
        known = {tag: value for tag, value in scalars.items() if value is not None}
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in known.items()]
        self._write(step=record["generation"], summary=Summary(value=values))

    def _write(self, **content: Any) -> None:
        self._writer.write(self._event(wall_time=time.time(), **content).SerializeToString())
