"""Functions of the C library that LLVM would replace by something else."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic


@intrinsic
def power(typingctx: Any, base: Any, exponent: Any) -> Any:
    """`base ** exponent` of float64 scalars as Python and NumPy compute it: the C library's `pow`.

    Numba and LLVM turn `x ** 2` into `x * x`, which is rounded correctly; glibc's `pow` errs in the last bit of about one
    square in a thousand.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        double = ir.DoubleType()
        function = get_or_insert_function(builder.module, ir.FunctionType(double, [double, double]), "pow")
        function.attributes.add("nobuiltin")
        return builder.call(function, arguments)

    return types.float64(types.float64, types.float64), codegen
