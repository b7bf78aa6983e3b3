"""What memory this process may have."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


@functools.cache
def memory_bytes() -> int | None:
    """The least of the machine's memory, the limits of this process's control groups (containers, batch systems), and the
    limit on its address space; None where the operating system does not say."""
    limits = [*_of_machine(), *_of_groups(Path("/proc/self/cgroup"), _CGROUPS), *_of_process()]
    return min(limits, default=None)


def _of_machine() -> Iterator[int]:
    with suppress(ValueError, OSError, AttributeError):  # names that this system does not know
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_process() -> Iterator[int]:
    with suppress(ImportError):  # not on Windows
        import resource

        for name in ("RLIMIT_AS", "RLIMIT_DATA"):
            soft, _ = resource.getrlimit(getattr(resource, name))
            if soft != resource.RLIM_INFINITY:
                yield soft


def _of_groups(membership: Path, root: Path) -> Iterator[int]:
    """Limits of the control groups this process is in, and of those around them; Linux, versions 1 and 2.

    A line of `membership` is `number:controllers:path`, without controllers in version 2. In a container the path may be one
    that only its host sees; the group at the root is then its own.
    """
    with suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                folder, name = root, "memory.max"
            elif "memory" in controllers.split(","):
                folder, name = root / "memory", "memory.limit_in_bytes"
            else:
                continue
            inner = folder / path.lstrip("/")
            for group in (inner, *inner.parents):
                if group == folder or folder in group.parents:
                    with suppress(OSError, ValueError):  # "max" is no number: no limit
                        yield int((group / name).read_text())


def in_words(number: int) -> str:
    """Bytes for people: 4.3 GB."""
    size, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"
