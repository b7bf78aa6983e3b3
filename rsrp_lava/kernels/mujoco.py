"""MuJoCo's functions and arrays for compiled code, which steps a body without the GIL.

A simulation is a vector of addresses (int64): its model, its data, then arrays of float64. `connect` must be called before
a kernel that uses these functions is compiled or loaded.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import llvmlite.binding as llvm
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

#: Functions of MuJoCo's C interface (https://mujoco.readthedocs.io/en/stable/APIreference/APIfunctions.html).
FUNCTIONS = ("mj_resetData", "mj_forward", "mj_step", "mj_rnePostConstraint")
MODEL, DATA, FIRST_ARRAY = 0, 1, 2

_of_model_and_data = types.void(types.intp, types.intp)
mj_resetData, mj_forward, mj_step, mj_rnePostConstraint = (
    types.ExternalFunction(name, _of_model_and_data) for name in FUNCTIONS
)


def connect(library: ctypes.CDLL) -> None:
    """Tell the compiler where the functions of a loaded MuJoCo are, and keep its warnings out of the user's folder.

    A body that becomes unstable is put back to its start by MuJoCo, which by default says so in a file MUJOCO_LOG.TXT.
    """
    for name in FUNCTIONS:
        llvm.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    ctypes.c_void_p.in_dll(library, "mju_user_warning").value = _unheard().address


@functools.cache
def _unheard() -> Any:
    """A C function that takes a message and says nothing."""

    @cfunc(types.void(types.intp))
    def unheard(message):
        pass

    return unheard


@intrinsic
def _pointer(typingctx: Any, address: Any) -> Any:
    """An address (int64) as a pointer to float64."""

    returned = types.CPointer(types.float64)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(returned))

    return returned(types.int64), codegen


@njit(inline="always")
def array(simulation, place, length):
    """An array of the simulation, float64, shape (length,)."""
    return carray(_pointer(simulation[FIRST_ARRAY + place]), (length,))
