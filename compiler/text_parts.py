"""What decides how operations are written as text: which cases, numbers and blocks of axes they are made of.

The questions that `program_text` asks, and the small pieces of text that need nothing but a value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ..dsl.equations import (
    FLOATS,
    Apply,
    Axis,
    Equation,
    Expression,
    Literal,
    Number,
    Operation,
    Partial,
    Piece,
    Random,
    Read,
    Recurrence,
    Shape,
    element_count,
    reads,
    substitute_indices,
    transform,
)
from ..dsl.integers import ONE, ZERO, Index, Integer, is_nonnegative, is_positive
from .passes.simplify import simplify_operation
from .rewriting import map_expressions, plain

_NEUTRAL = {"sum": 0, "prod": 1, "any": False, "all": True}
_LOWEST = {"float64": 1e300, "float32": 3e38, "bfloat16": 3e38, "float16": 65504.0}


def dtype_text(dtype: str) -> str:
    """A dtype as it is written behind a tensor; float32 is not."""
    return "" if dtype == "float32" else f": {dtype}"


def neutral(equation: Equation) -> Literal:
    """What changes nothing in a reduction, for points that are left out."""
    combiner, dtype = equation.combiner or "", equation.body.dtype
    if combiner in _NEUTRAL:
        value: float | int | bool = _NEUTRAL[combiner]
        return Literal(float(value) if dtype in FLOATS else value, dtype)
    largest = _LOWEST.get(dtype, 1 << 30)
    return Literal(-largest if combiner.endswith("max") else largest, dtype)


def put(expression: Expression, values: Mapping[str, Expression]) -> Expression:
    """An expression with other ones in place of reads of tensors."""
    return transform(expression, lambda node: values.get(node.tensor) if isinstance(node, Read) else None)


def map_bodies(operation: Operation, values: Mapping[str, Expression]) -> Operation:
    """`put` for all equations of an operation."""
    if isinstance(operation, Equation):
        return map_expressions(operation, lambda expression: put(expression, values))
    if isinstance(operation, Recurrence):
        steps = tuple(
            replace(step, equation=map_expressions(step.equation, lambda expression: put(expression, values)))
            for step in operation.steps
        )
        return replace(operation, steps=steps)
    return operation


def factors_of(expression: Expression) -> list[Read] | None:
    """The elements that a product multiplies, beside numbers; None if it is no such product."""
    if isinstance(expression, Read):
        return [expression]
    if isinstance(expression, Literal):
        return []
    if isinstance(expression, Apply) and expression.operation in ("mul", "neg"):
        found = [factors_of(argument) for argument in expression.arguments]
        if any(part is None for part in found):
            return None
        return [read for part in found if part is not None for read in part]
    return None


def indices_read(read: Read) -> set[str]:
    """Indices that occur in the subscripts of a read."""
    return set().union(*(subscript.indices() for subscript in read.subscripts))


def multiplied(subscript: Integer, index: str) -> bool:
    """Whether an index is not simply added in a subscript, so that a capital would look like a size."""
    if index not in subscript.indices():
        return False
    factor = subscript.coefficient(index)
    return factor is None or factor.constant is None


def over_axes(equation: Equation, axes: tuple[Axis, ...]) -> Equation:
    """An equation with the indices of other axes of the same sizes."""
    values = {mine.name: plain(axis.name) for mine, axis in zip(equation.domain, axes, strict=True)}
    inner = {axis.name: f"{axis.name}'" for axis in equation.reduction}
    values |= {old: plain(new) for old, new in inner.items()}
    found = map_expressions(equation, lambda expression: substitute_indices(expression, values))
    return replace(found, domain=axes, reduction=tuple(Axis(inner[a.name], a.size) for a in equation.reduction))


def covers(operation: Partial) -> bool:
    """Whether numbers of elements say that the parts cover the tensor, and none of them may be empty."""
    if not all(is_positive(axis.size) for piece in operation.pieces for axis in piece.domain):
        return False
    count = sum((element_count(tuple(axis.size for axis in piece.domain)) for piece in operation.pieces), ZERO)
    return count == element_count(operation.shape)


def is_number(operation: Operation) -> bool:
    """Whether all elements are one number."""
    return isinstance(operation, Equation) and operation.combiner is None and isinstance(operation.body, Literal)


def certain_reads(expression: Expression) -> Iterator[Read]:
    """Reads that happen whatever the numbers are, those in cases and in subscripts left out."""
    if isinstance(expression, Read):
        yield expression
    elif isinstance(expression, Apply) and expression.operation != "select":
        for argument in expression.arguments:
            yield from certain_reads(argument)


def uniform_ends(body: Expression, initializers: Mapping[str, Operation]) -> tuple[float, float] | None:
    """The ends of the interval in which a first value is drawn, if it is uniform."""
    drawn = [read for read in reads(body) if isinstance(initializers.get(read.tensor), Random)]
    if len(drawn) != 1 or len(reads(body)) != 1:
        return None
    ends = []
    for value in (0.0, 1.0):
        found = simplify_operation(Equation((), put(body, {drawn[0].tensor: Literal(value, body.dtype)}), body.dtype))
        assert isinstance(found, Equation)
        if not isinstance(found.body, Literal):
            return None
        ends.append(float(found.body.value))
    return ends[0], ends[1]


def nested_list(values: list[float | int | bool], shape: Sequence[int]) -> str:
    """Values as lists within lists, of a shape."""
    if not shape:
        value = values[0]
        return str(int(value)) if isinstance(value, bool) or float(value).is_integer() else repr(value)
    size = len(values) // shape[0] if shape[0] else 0
    rows = [nested_list(values[k * size : (k + 1) * size], shape[1:]) for k in range(shape[0])]
    return f"[{', '.join(rows)}]"


def located(piece: Piece, axes: Sequence[Axis]) -> tuple[dict[str, Integer], list[Expression]]:
    """Where a position of the tensor lies in a piece, and tests that it does."""
    sizes = {axis.name: axis.size for axis in piece.domain}
    values: dict[str, Integer] = {}
    tests: list[Expression] = []
    for axis, target in zip(axes, piece.target, strict=True):
        position = plain(axis.name) - target.substitute({Index(name): ZERO for name in target.indices()})
        if not target.indices():
            tests.append(compared("eq", position, ZERO))
        steps = {name: target.coefficient(name) or ONE for name in target.indices()}
        first = max(steps, key=lambda name: steps[name].constant or 0, default="")
        for name, step in steps.items():
            digit = position // step
            values[name] = digit if name == first else digit % sizes[name]
            tests.append(compared("le", ZERO, digit))
            tests.append(compared("lt", values[name], sizes[name]))
            if step != ONE and len(target.indices()) == 1:
                tests.append(compared("eq", position % step, ZERO))
    return values, tests


def compared(operation: str, a: Integer, b: Integer) -> Expression:
    """A comparison of two whole numbers."""
    return Apply(operation, (Number(a, "int64"), Number(b, "int64")), "bool")


def conjunction(tests: Sequence[Expression]) -> Expression:
    """All of some tests as one condition."""
    condition = tests[0]
    for test in tests[1:]:
        condition = Apply("and", (condition, test), "bool")
    return condition


def element_blocks(old: Shape, new: Shape) -> list[tuple[Shape, Shape]]:
    """Shortest runs of axes of two shapes with equally many elements, in order; axes of size 1 may be left."""
    blocks: list[tuple[Shape, Shape]] = []
    i = j = 0
    while i < len(old) and j < len(new):
        a, b = i + 1, j + 1
        while (left := math.prod(old[i:a], start=ONE)) != (right := math.prod(new[j:b], start=ONE)):
            if b == len(new) or (a < len(old) and is_nonnegative(right - left)):
                a += 1
            else:
                b += 1
        blocks.append((old[i:a], new[j:b]))
        i, j = a, b
    rest = (old[i:], new[j:])
    return [*blocks, rest] if any(rest) else blocks
