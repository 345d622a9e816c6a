"""What Numba does not say by itself: half precision, and memory that will be needed soon, as LLVM's instructions.

They work inside compiled functions only. Numba and LLVM come without types; the names here are for the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.cpu import CPUContext
from numba.core.typing.context import Context
from numba.core.typing.templates import Signature
from numba.extending import intrinsic
from numpy.typing import NDArray

Stored: TypeAlias = NDArray[np.uint16] | NDArray[np.float32]
"""Numbers in half precision, as their bits, or in full."""

CACHE_LINE = 64
"""Bytes."""

Generator: TypeAlias = Callable[[CPUContext, ir.IRBuilder, Signature, Sequence[ir.Value]], ir.Value]
_WORD, _FLOAT = ir.IntType(32), ir.FloatType()
_LARGEST = ir.Constant(_FLOAT, 65504.0)
# In Python a decorated function has lost its first argument, Numba's typing context.
_instruction = cast("Callable[[Callable[..., object]], Callable[..., np.float32]]", intrinsic)


@_instruction
def widened(_: Context, number: types.Type) -> tuple[Signature, Generator]:
    """Return a stored number as float32.

    The bits of a half, moved to the places of a float's, are the number times 2^-112. Processors have an instruction
    for it, but not all, and LLVM has nothing in its place.
    """

    def of_half(_: CPUContext, builder: ir.IRBuilder, __: Signature, given: Sequence[ir.Value]) -> ir.Value:
        bits = builder.zext(given[0], _WORD)
        size = builder.shl(builder.and_(bits, _word(0x7FFF)), _word(13))
        number = builder.fmul(builder.bitcast(size, _FLOAT), ir.Constant(_FLOAT, 2.0**112))
        sign = builder.shl(builder.and_(bits, _word(0x8000)), _word(16))
        return builder.bitcast(builder.or_(builder.bitcast(number, _WORD), sign), _FLOAT)

    def of_full(_: CPUContext, __: ir.IRBuilder, ___: Signature, given: Sequence[ir.Value]) -> ir.Value:
        return given[0]

    return types.float32(number), of_half if number == types.uint16 else of_full


@_instruction
def narrowed(_: Context, number: types.Type, like: types.Type) -> tuple[Signature, Generator]:
    """Return a float32 as it is stored beside `like`: the nearest half, of two the even one, at most 65504.

    A number below 6e-5 is rounded twice, so that it may become the neighbour, 6e-8 away.
    """

    def to_half(_: CPUContext, builder: ir.IRBuilder, __: Signature, given: Sequence[ir.Value]) -> ir.Value:
        bits = builder.bitcast(given[0], _WORD)
        size = builder.bitcast(builder.and_(bits, _word(0x7FFFFFFF)), _FLOAT)
        size = builder.select(builder.fcmp_ordered("<", size, _LARGEST), size, _LARGEST)
        moved = builder.bitcast(builder.fmul(size, ir.Constant(_FLOAT, 2.0**-112)), _WORD)
        odd = builder.and_(builder.lshr(moved, _word(13)), _word(1))
        rounded = builder.lshr(builder.add(moved, builder.add(odd, _word(0x0FFF))), _word(13))
        sign = builder.and_(builder.lshr(bits, _word(16)), _word(0x8000))
        return builder.trunc(builder.or_(rounded, sign), ir.IntType(16))

    def to_full(_: CPUContext, __: ir.IRBuilder, ___: Signature, given: Sequence[ir.Value]) -> ir.Value:
        return given[0]

    return like(types.float32, like), to_half if like == types.uint16 else to_full


@_instruction
def prefetch(_: Context, array: types.Type, place: types.Type) -> tuple[Signature, Generator]:
    """Ask for the cache line of the number at a flat place of a contiguous array, and go on without it."""

    def ask(context: CPUContext, builder: ir.IRBuilder, kinds: Signature, given: Sequence[ir.Value]) -> ir.Value:
        # Numba leaves these functions without types.
        kept = context.make_array(kinds.args[0])  # type: ignore[no-untyped-call]
        numbers = kept(context, builder, given[0]).data
        address = builder.bitcast(builder.gep(numbers, [given[1]]), cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, _WORD, _WORD, _WORD])
        # To be read, into the second level of the cache, as data.
        hints = [_word(hint) for hint in (0, 2, 1)]
        name = "llvm.prefetch.p0"
        instruction = cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]
        builder.call(instruction, [address, *hints])
        return context.get_dummy_value()  # type: ignore[no-untyped-call]

    return types.void(array, types.intp), ask


def _word(number: int) -> ir.Constant:
    return ir.Constant(_WORD, number)
