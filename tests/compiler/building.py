"""Programs built by hand from short texts, so that tests of the compiler do not need the language.

Capital names in subscripts and sizes are run-time symbols, lower-case ones are indices.
"""

from __future__ import annotations

from majuscule.compiler.graph import Graph
from majuscule.dsl.equations import (
    COMPARISONS,
    Apply,
    Axis,
    Equation,
    Expression,
    Input,
    Literal,
    Number,
    Operation,
    Parameter,
    Program,
    Read,
    State,
)
from majuscule.dsl.integers import Integer


class _Names(dict[str, Integer]):
    def __missing__(self, name: str) -> Integer:
        return Integer.symbol(name) if name.isupper() else Integer.index(name)


def integer(text: str | int) -> Integer:
    """`integer("4*x + dx//2")`."""
    return Integer.of(eval(text, {"__builtins__": {}}, _Names()) if isinstance(text, str) else text)


def integers(text: str) -> tuple[Integer, ...]:
    """`integers("B, 224, 3")`; the empty text is the shape of a scalar."""
    return tuple(integer(part) for part in text.split(",")) if text else ()


def axes(text: str) -> tuple[Axis, ...]:
    """`axes("b<B, x<224")`."""
    return tuple(
        Axis(name.strip(), integer(size))
        for name, size in (part.split("<") for part in text.split(",") if part.strip())
    )


def read(tensor: str, subscripts: str = "", dtype: str = "float32") -> Read:
    """`read("L", "b, 2*x + dx, i")`."""
    return Read(tensor, integers(subscripts), dtype)


def literal(value: float | int | bool, dtype: str = "float32") -> Literal:
    return Literal(value, dtype)


def number(text: str, dtype: str = "int64") -> Number:
    """An integer expression as a value."""
    return Number(integer(text), dtype)


def apply(operation: str, *arguments: Expression, dtype: str | None = None) -> Apply:
    """A scalar operation; its dtype is bool for comparisons and else the last argument's."""
    return Apply(operation, arguments, dtype or ("bool" if operation in COMPARISONS else arguments[-1].dtype))


def mul(*factors: Expression) -> Expression:
    """A product from left to right."""
    product = factors[0]
    for factor in factors[1:]:
        product = apply("mul", product, factor)
    return product


def relu(expression: Expression) -> Expression:
    return apply("max", literal(0.0), expression)


def within(index: str, lower: int, upper: int) -> Expression:
    """`lower <= index < upper`."""
    return apply("and", apply("le", number(str(lower)), number(index)), apply("lt", number(index), number(str(upper))))


def equation(
    domain: str,
    body: Expression,
    reduction: str = "",
    combiner: str | None = None,
    guard: Expression | None = None,
    dtype: str = "float32",
) -> Equation:
    combiner = combiner or ("sum" if reduction else None)
    accumulator = dtype if combiner in ("sum", "prod") else ""
    return Equation(axes(domain), body, dtype, axes(reduction), combiner, guard, accumulator)


def given(shape: str, dtype: str = "float32") -> Input:
    return Input(integers(shape), dtype)


def weights(shape: str, dtype: str = "float32") -> Parameter:
    return Parameter(integers(shape), dtype, "zero")


def statistics(shape: str, dtype: str = "float32") -> State:
    return State(integers(shape), dtype, "zero")


def program(
    operations: dict[str, Operation], *outputs: str, initializers: dict[str, Operation] | None = None
) -> Program:
    """A program whose inputs are the `Input` operations and whose outputs are named."""
    inputs = tuple(name for name, operation in operations.items() if isinstance(operation, Input))
    return Program("test", "infer", operations, inputs, outputs, initializers or {})


def graph(operations: dict[str, Operation], *outputs: str) -> Graph:
    return Graph.from_program(program(operations, *outputs))


def convolution(width: int, stride: int, outputs: str, channels: str, filters: str, dilation: int = 1) -> Equation:
    """`L[b, s*x+d*dx, s*y+d*dy, i] W[dx, dy, i, j]` summed over dx, dy, i, for an output of `outputs` rows."""
    return equation(
        f"b<B, x<{outputs}, y<{outputs}, j<{filters}",
        mul(
            read("L", f"b, {stride}*x + {dilation}*dx, {stride}*y + {dilation}*dy, i"),
            read("W", "dx, dy, i, j"),
        ),
        f"dx<{width}, dy<{width}, i<{channels}",
    )
