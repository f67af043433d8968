"""Matrix products: the library's Linear where the matrix is known, an equation where both are computed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .calls import Call
from .elementwise import broadcast
from .errors import CannotSay
from .sizes import Dim
from .values import Constant, Tensor, Value
from .writing import LAYERS_DTYPE, number


def _gemm(call: Call) -> Sequence[Value]:
    left, right = call.tensor(0), call.value(1)
    if left.rank != 2 or len(right.shape) != 2:
        raise CannotSay("it takes two matrices")
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    over_left, over_right = bool(call.get("transA", 0)), bool(call.get("transB", 0))
    rows, inner = left.shape[::-1] if over_left else left.shape
    depth, columns = right.shape[::-1] if over_right else right.shape
    if inner != depth:
        raise CannotSay(f"matrices of shapes {list(left.shape)} and {list(right.shape)} do not fit")
    added = call.value(2) if call.given(2) else None
    plain = not over_left and alpha == 1 and (added is None or beta == 1)
    if plain and left.dtype == LAYERS_DTYPE and isinstance(right, Constant) and _is_bias(added, columns):
        matrix = right.array.T if over_right else right.array
        bias = added if isinstance(added, Constant) else None
        return [_linear(call, left, (rows, columns), matrix.reshape(matrix.shape), bias)]
    a = call.full(left).read(["K", "b"] if over_left else ["b", "K"])
    b = call.full(call.as_tensor(right)).read(["j", "K"] if over_right else ["K", "j"])
    product = f"{a} * {b}" if alpha == 1 else f"{number(alpha, 'float32')} * {a} * {b}"
    if added is not None:
        term = call.as_tensor(added)
        marks = ["b", "j"][2 - term.rank :]
        sizes = (rows, columns)[2 - term.rank :]
        indices = _batched(term.shape, sizes, marks)
        product += f" + {'' if beta == 1 else number(beta, 'float32') + ' * '}{term.read(indices)}"
    return [call.program.define(call.result((rows, columns), (0, 1), left.dtype), ["b", "j"], product)]


def _is_bias(added: Value | None, columns: Dim) -> bool:
    return added is None or (isinstance(added, Constant) and added.shape in ((columns,), (1, columns)))


def _linear(call: Call, left: Tensor, shape: Sequence[Dim], matrix: object, bias: Constant | None) -> Tensor:
    """The last axis of a tensor times a matrix, whatever stands before it."""
    import numpy

    weights = {"W": numpy.asarray(matrix)}
    last = left.rank - 1
    if not left.order or left.order[-1] != last:
        left = call.full(left, (*(axis for axis in left.order if axis != last), *(
            axis for axis in range(last) if axis not in left.order), last))  # fmt: skip
    options: dict[str, object] = {"units": shape[-1]}
    if bias is None:
        options["bias"] = "false"
    else:
        weights["B"] = bias.array.reshape(-1)
    call.program.layer(call.name(), "Linear", left, options, weights)
    return call.result(shape, left.order, left.dtype)


def _matmul(call: Call) -> Sequence[Value]:
    left, right = call.value(0), call.value(1)
    a, b = len(left.shape), len(right.shape)
    if not a or not b:
        raise CannotSay("it takes no single numbers")
    inner = right.shape[-2] if b > 1 else right.shape[0]
    if left.shape[-1] != inner:
        raise CannotSay(f"matrices of shapes {list(left.shape)} and {list(right.shape)} do not fit")
    if isinstance(right, Constant) and b == 2 and isinstance(left, Tensor) and left.dtype == LAYERS_DTYPE:
        bias = call.bias if call.bias is not None and call.bias.shape == (right.shape[1],) else None
        call.bias_is_added = bias is not None
        return [_linear(call, left, (*left.shape[:-1], right.shape[1]), right.array, bias)]
    batch = broadcast([left.shape[:-2], right.shape[:-2]])
    ends = (*left.shape[-2:-1],), ((right.shape[-1],) if b > 1 else ())
    shape = (*batch, *ends[0], *ends[1])
    first, second = call.full(call.as_tensor(left)), call.full(call.as_tensor(right))
    result = call.result(shape, range(len(shape)), first.dtype)
    names = {0: "", 1: "h", 2: "bh", 3: "bgh", 4: "bghs", 5: "bghsu", 6: "bghsuv"}
    marks = list(names[len(batch)])
    row, column = (["t"] if a > 1 else []), (["i"] if b > 1 else [])
    body = (
        f"{first.read([*_batched(first.shape[:-2], batch, marks), *row, 'K'])} * "
        f"{second.read([*_batched(second.shape[:-2], batch, marks), 'K', *column])}"
    )
    return [call.program.define(result, [*marks, *row, *column], body)]


def _batched(sizes: Sequence[Dim], batch: Sequence[Dim], marks: Sequence[str]) -> list[str]:
    more = len(batch) - len(sizes)
    return [
        "0" if size == 1 and full != 1 else mark
        for size, full, mark in zip(sizes, batch[more:], marks[more:], strict=True)
    ]


def _einsum(call: Call) -> Sequence[Value]:
    equation = "".join(str(call.get("equation", "")).split())
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if not re.fullmatch(r"[a-z]*(,[a-z]*)*(->[a-z]*)?", equation) or len(terms) != len(call.inputs):
        raise CannotSay(f"the equation {equation!r} is not known")
    if not arrow:
        right = "".join(sorted(letter for letter in set(left) - {","} if left.count(letter) == 1))
    operands = [call.full(call.tensor(position)) for position in range(len(terms))]
    sizes: dict[str, Dim] = {}
    for term, operand in zip(terms, operands, strict=True):
        if len(term) != operand.rank:
            raise CannotSay(f"{term} does not fit {operand.rank} axes")
        for letter, size in zip(term, operand.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise CannotSay(f"{letter} has the sizes {sizes[letter]} and {size}")
    if len(set(right)) != len(right) or not set(right) <= sizes.keys():
        raise CannotSay(f"the equation {equation!r} is not known")
    over = [letter for letter in sizes if letter not in right]
    product = " * ".join(operand.read(list(term)) for term, operand in zip(terms, operands, strict=True))
    body = f"sum[{','.join(over)}]({product})" if over else product
    result = call.result([sizes[letter] for letter in right], range(len(right)), operands[0].dtype)
    return [call.program.define(result, list(right), body)]


RULES: dict[str, Callable[[Call], Sequence[Value]]] = {"Einsum": _einsum, "Gemm": _gemm, "MatMul": _matmul}
