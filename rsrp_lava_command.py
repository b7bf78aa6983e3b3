"""Where the command `rsrp-lava` starts: importing the package takes a second, and Ctrl-C in it must be quiet too.

Outside the package, because importing any part of the package imports all of it.
"""

import os
import signal
import sys


def main() -> None:
    """Import the command line, ready to be interrupted, then run it."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a job in the background may ignore it
    if heard:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    try:
        from rsrp_lava.cli import main as run
    except ImportError as error:
        if error.name is not None:  # a module is missing; else it is our own message (kernels/compiling.py)
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if heard:  # from here on there is nothing to save, and Python would print where it was
            signal.signal(signal.SIGINT, signal.SIG_DFL)
