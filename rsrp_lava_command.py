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
    from rsrp_lava.cli import main as run

    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run())
