"""How large the gradients of a step are together, and whether it is a step that should be taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...dsl.equations import (
    Apply,
    Axis,
    Equation,
    Expression,
    Literal,
    Operation,
    Partial,
    Piece,
    Read,
    Shape,
    element_count,
)
from ...dsl.integers import ZERO
from ..gradients.scalar import real
from ..rewriting import new_name, plain

_ROWS = 64  # sums into which the squares of a tensor are parted, if it has so many: work for all cores
_LARGEST = {"float64": 1.7976931348623157e308, "float32": 3.4028234663852886e38, "float16": 65504.0,
            "bfloat16": 3.3895313892515355e38}  # fmt: skip


def squares(tensor: str, shape: Shape, dtype: str) -> Equation:
    """Sums of the squares of a tensor's elements, over its first axes or over all of them; their sum is in float32.

    Which elements go into which sum depends on the shape alone, and not on the number of threads.
    """
    axes = tuple(Axis(f"i{k}", size) for k, size in enumerate(shape))
    kept = next((count for count in range(1, len(axes)) if (element_count(shape[:count]).constant or 0) >= _ROWS), 0)
    wide = dtype if dtype == "float64" else "float32"
    value: Expression = Read(tensor, tuple(plain(axis.name) for axis in axes), dtype)
    value = value if dtype == wide else Apply("cast", (value,), wide)
    return Equation(axes[:kept], Apply("mul", (value, value), wide), wide, axes[kept:], "sum" if axes else None)


def norm(parts: Sequence[tuple[str, Equation]], taken: set[str]) -> tuple[dict[str, Operation], str]:
    """Operations that give the root of the sum of all `parts`, tensors with sums of squares; and its name."""
    dtype = "float64" if any(equation.dtype == "float64" for _, equation in parts) else "float32"
    made: dict[str, Operation] = {}
    pieces, rows = [], ZERO
    for name, equation in parts:
        source = name
        if equation.dtype != dtype:
            source = new_name(f"{name}.{dtype}", taken | made.keys())
            read = Read(name, tuple(plain(axis.name) for axis in equation.domain), equation.dtype)
            made[source] = Equation(equation.domain, Apply("cast", (read,), dtype), dtype)
        place = ZERO
        for axis in equation.domain:
            place = place * axis.size + plain(axis.name)
        pieces.append(Piece(source, equation.domain, (rows + place,)))
        rows += element_count(equation.shape)
    together, total, result = (
        new_name(name, taken) for name in ("gradient.squares", "gradient.square", "gradient.norm")
    )
    made[together] = Partial((rows,), dtype, tuple(pieces))
    made[total] = Equation((), Read(together, (plain("r"),), dtype), dtype, (Axis("r", rows),), "sum")
    made[result] = Equation((), Apply("sqrt", (Read(total, (), dtype),), dtype), dtype)
    taken |= made.keys()
    return made, result


def finite(tensors: Iterable[tuple[str, str]], further: Iterable[str] = ()) -> Equation:
    """Whether single numbers, given with their dtypes, are all finite, and the truth values `further` hold."""
    conditions: list[Expression] = [Read(name, (), "bool") for name in further]
    for name, dtype in tensors:
        size = Apply("abs", (Read(name, (), dtype),), dtype)
        conditions.append(Apply("le", (size, real(_LARGEST[dtype], dtype)), "bool"))
    found = conditions[0] if conditions else Literal(True, "bool")
    for condition in conditions[1:]:
        found = Apply("and", (found, condition), "bool")
    return Equation((), found, "bool")


def not_finite(tensor: str, shape: Shape, dtype: str) -> Equation:
    """How many elements of a tensor are not finite."""
    axes = tuple(Axis(f"i{k}", size) for k, size in enumerate(shape))
    value = Apply("abs", (Read(tensor, tuple(plain(axis.name) for axis in axes), dtype),), dtype)
    good = Apply("le", (value, real(_LARGEST[dtype], dtype)), "bool")
    count = Apply("select", (good, Literal(0, "int64"), Literal(1, "int64")), "int64")
    return Equation((), count, "int64", axes, "sum" if axes else None)
