"""Run a command in a session of its own, and end the whole session with it, or as soon as standard input is closed.

    python guard.py COMMAND [ARGUMENT …]

Whoever starts this holds the other end of standard input: when it is gone, however it ended, so is the command, with all
processes that it started and the shared memory they had.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

SHARED = "/dev/shm/"


def members(session):
    """Processes of a session."""
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat") as file:
            if int(file.read().rpartition(")")[2].split()[3]) == session:
                yield int(name)


def mapped(process):
    """Names of the shared memory of Python's that a process has mapped."""
    with suppress(OSError), open(f"/proc/{process}/maps") as file:
        for line in file:
            name = line.rstrip("\n").partition(SHARED)[2]
            if name.startswith("psm_") and name.isidentifier():
                yield name


def end(session):
    """Kill all of a session, and unlink the shared memory they had."""
    names = {name for process in members(session) for name in mapped(process)}
    with suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)
    for name in names:
        with suppress(OSError):
            os.unlink(SHARED + name)


def main():
    """The command's exit code is this one's."""
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)

    def watch():
        os.read(0, 1)
        end(command.pid)

    threading.Thread(target=watch, daemon=True).start()
    code = command.wait()
    end(command.pid)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
