"""Values that compiled code keeps between calls from Python, so that a call passes one pointer."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.experimental import structref

from .compiling import kernel


@structref.register
class _HeldType(types.StructRef):
    def preprocess_fields(self, fields: Any) -> Any:
        return tuple((name, types.unliteral(ty)) for name, ty in fields)


class Held(structref.StructRefProxy):
    """A value in compiled form: kernels read it as `held.value`.

    Python takes a named tuple of arrays apart and checks every array anew at each call, which costs more than 256 neurons
    for 33 simulation steps; a held one is passed as it is.
    """


structref.define_proxy(Held, _HeldType, ["value"])


@kernel
def hold(value):
    """Keep a value, most often a tuple of arrays and constants, for kernels; the arrays are shared, not copied."""
    return Held(value)


__all__ = ["Held", "hold"]
