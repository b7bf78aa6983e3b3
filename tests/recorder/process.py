from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess


class Recorder(AbstractProcess):
    """Writes everything it receives to a file after the last step; keeps dtypes, unlike stock Monitor."""

    def __init__(self, *, shape, path, steps):
        super().__init__(shape=shape, path=path, steps=steps)
        self.s_in = InPort(shape=shape)
