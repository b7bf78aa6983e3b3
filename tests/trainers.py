"""Waiting for `rsrp-lava train` in a process of its own (fixture `start`)."""

import time

import pytest


def wait_for_records(process, out, count):
    """Until the run has that many lines of metrics; fails if the process ends before."""
    metrics, limit = out / "metrics.jsonl", time.monotonic() + 120
    while time.monotonic() < limit:
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= count:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    pytest.fail(f"fewer than {count} generations in two minutes")
