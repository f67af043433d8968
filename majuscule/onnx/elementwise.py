"""Operators that act on each element: activations, arithmetic, comparisons, choices and conversions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .calls import Call, scalar
from .dtypes import named
from .errors import CannotSay
from .model_files import DTYPES
from .sizes import Dim
from .values import Constant, Tensor, Value, letters
from .writing import number

Rule = Callable[[Call], Sequence[Value]]

_FLOATS = ("float64", "float32", "float16", "bfloat16")


def broadcast(shapes: Sequence[Sequence[Dim]]) -> tuple[Dim, ...]:
    """The shape that all can be stretched to, aligned at the last axis; raises `CannotSay` if there is none."""
    rank = max(map(len, shapes))
    found: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if size == 1 or size == found[axis]:
                continue
            if found[axis] != 1:
                raise CannotSay(f"sizes {found[axis]} and {size} do not fit together")
            found[axis] = size
    return tuple(found)


def each(call: Call, formula: str, operands: Sequence[Value], dtype: str | None = None) -> Tensor:
    """One element of the result for each element of the operands, stretched to one shape.

    `formula` has `{0}`, `{1}`, … for the operands.
    """
    shape = broadcast([operand.shape for operand in operands])
    texts: list[str | Tensor] = []
    for operand in operands:
        literal = _literal(operand)
        texts.append(literal if literal is not None else call.as_tensor(operand))
    tensors = [text for text in texts if isinstance(text, Tensor)]
    if not tensors:
        tensors = [call.as_tensor(operands[0])]
        texts[0] = tensors[0]
    made = dtype or tensors[0].dtype
    aligned = [_aligned(tensor, len(shape)) for tensor in tensors]
    first = max(aligned, key=lambda tensor: len(tensor.order))
    present = {axis for tensor in aligned for axis in tensor.order}
    order = (*first.order, *(axis for axis in range(len(shape)) if axis in present and axis not in first.order))
    result = call.result(shape, order, made)
    whole = all(tensor.shape == shape and tensor.order == order for tensor in aligned)
    if whole and not any(_looks_like_an_index(tensor.name) for tensor in tensors):
        body = formula.format(*(text.name if isinstance(text, Tensor) else text for text in texts))
        call.program.write(f"{result.name} = {body}")
        return result
    marks = letters(result)
    reads = iter(aligned)
    parts = [_read(next(reads), marks, shape) if isinstance(text, Tensor) else text for text in texts]
    return call.program.define(result, marks, formula.format(*parts), {
        marks[axis]: size for axis, size in enumerate(shape)
        if axis in order and isinstance(size, int) and size != 1 and all(
            axis not in tensor.order or tensor.shape[axis] == 1 for tensor in aligned)
    })  # fmt: skip


def _literal(operand: Value) -> str | None:
    """A single number as it is written, or None."""
    if not isinstance(operand, Constant) or (value := scalar(operand)) is None:
        return None
    try:
        text = number(value, operand.array.dtype.name)
    except CannotSay:
        return None
    return f"({text})" if text.startswith("-") else text


def _looks_like_an_index(name: str) -> bool:
    return name.upper() == name


def _aligned(tensor: Tensor, rank: int) -> Tensor:
    """The tensor with further axes of size 1 in front."""
    more = rank - tensor.rank
    return Tensor(tensor.name, (*(1,) * more, *tensor.shape), tuple(axis + more for axis in tensor.order), tensor.dtype)


def _read(tensor: Tensor, marks: Sequence[str], shape: Sequence[Dim]) -> str:
    return tensor.read([
        "0" if tensor.shape[axis] == 1 and shape[axis] != 1 else mark for axis, mark in enumerate(marks)
    ])  # fmt: skip


# -- rules -----------------------------------------------------------------------------------


def _simple(formula: str, dtype: str | None = None) -> Rule:
    count = max(index for index in range(4) if f"{{{index}}}" in formula) + 1

    def rule(call: Call) -> Sequence[Value]:
        return [each(call, formula, [call.value(position) for position in range(count)], dtype)]

    return rule


def _with(formula: str, **defaults: float) -> Rule:
    """A formula with attributes by their names."""

    def rule(call: Call) -> Sequence[Value]:
        numbers = {name: _bracketed(call.get(name, default)) for name, default in defaults.items()}
        filled = formula
        for name, text in numbers.items():
            filled = filled.replace(f"<{name}>", text)
        return [each(call, filled, [call.value(0)])]

    return rule


def _bracketed(value: float) -> str:
    text = number(value, "float32")
    return f"({text})" if text.startswith("-") else text


def _folded(formula: str) -> Rule:
    """An operator of any number of operands, two at a time."""

    def rule(call: Call) -> Sequence[Value]:
        operands = [call.value(position) for position in range(len(call.inputs))]
        body = "{0}"
        for position in range(1, len(operands)):
            body = formula.replace("<left>", body).replace("<right>", f"{{{position}}}")
        return [each(call, body, operands)]

    return rule


def _mean(call: Call) -> Sequence[Value]:
    operands = [call.value(position) for position in range(len(call.inputs))]
    terms = " + ".join(f"{{{position}}}" for position in range(len(operands)))
    return [each(call, f"({terms}) / {len(operands)}", operands)]


def _is_float(value: Value) -> bool:
    return (value.dtype if isinstance(value, Tensor) else value.array.dtype.name) in _FLOATS


def _divide(call: Call) -> Sequence[Value]:
    operands = [call.value(0), call.value(1)]
    if _is_float(operands[0]):
        return [each(call, "{0} / {1}", operands)]
    # whole numbers are cut towards 0
    return [each(call, "{{ {0} // {1} if ({0} >= 0) == ({1} > 0) ; -(-{0} // {1}) otherwise }}", operands)]


def _modulo(call: Call) -> Sequence[Value]:
    operands = [call.value(0), call.value(1)]
    if not call.get("fmod", 0):
        return [each(call, "{0} % {1}", operands)]
    return [each(call, "{{ abs({0}) % abs({1}) if {0} >= 0 ; -(abs({0}) % abs({1})) otherwise }}", operands)]


def _power(call: Call) -> Sequence[Value]:
    base, exponent = call.value(0), call.value(1)
    known = scalar(exponent)
    if known is not None and float(known) == 0.5 and _is_float(base):
        return [each(call, "sqrt({0})", [base])]
    if known is not None and float(known) == int(known):
        literal = Constant(exponent.array.astype("int64"), "") if isinstance(exponent, Constant) else exponent
        return [each(call, "{0}^{1}", [base, literal])]
    dtype = base.dtype if isinstance(base, Tensor) else base.array.dtype.name
    mixed = not _is_float(base) and _is_float(exponent)
    return [each(call, f"{dtype}({{0}}^{{1}})" if mixed else "{0}^{1}", [base, exponent], dtype)]


def _clip(call: Call) -> Sequence[Value]:
    body, operands = "{0}", [call.value(0)]
    for position, name in ((1, "max"), (2, "min")):
        if call.given(position):
            operands.append(call.value(position))
            body = f"{name}({body}, {{{len(operands) - 1}}})"
    limits = [scalar(operand) for operand in operands[1:]]
    if call.given(1) and limits == [0, 6]:
        return [each(call, "relu6({0})", operands[:1])]
    if limits == [0] and call.given(1) and not call.given(2):
        return [each(call, "relu({0})", operands[:1])]
    return [each(call, body, operands)]


def _cast(call: Call) -> Sequence[Value]:
    return _converted(call, named(call.get("to")))


def _cast_like(call: Call) -> Sequence[Value]:
    like = call.value(1)
    return _converted(call, like.dtype if isinstance(like, Tensor) else like.array.dtype.name)


def _converted(call: Call, dtype: str) -> Sequence[Value]:
    value = call.value(0)
    found = value.dtype if isinstance(value, Tensor) else value.array.dtype.name
    if found == dtype:
        return [value]
    if dtype not in DTYPES:
        raise CannotSay(f"{dtype} is no dtype of the language")
    return [each(call, "{0} != 0" if dtype == "bool" else f"{dtype}({{0}})", [value], dtype)]


def _gelu(call: Call) -> Sequence[Value]:
    if call.get("approximate", "none") == "tanh":
        root = number(math.sqrt(2 / math.pi), "float64")
        return [each(call, f"0.5 * {{0}} * (1 + tanh({root} * ({{0}} + 0.044715 * {{0}}^3)))", [call.value(0)])]
    return [each(call, "gelu({0})", [call.value(0)])]


def _same(call: Call) -> Sequence[Value]:
    return [call.value(0)]


def _dropout(call: Call) -> Sequence[Value]:
    if call.given(2) and bool(call.constant(2, "mode").reshape(-1)[0]):
        ratio = float(call.constant(1, "ratio").reshape(-1)[0]) if call.given(1) else 0.5
        if ratio != 0:
            raise CannotSay("it is to drop values while inferring; import the model as it is used")
    if len(call.outputs) > 1:
        raise CannotSay("which values it drops is asked for")
    return [call.value(0)]


def _where(call: Call) -> Sequence[Value]:
    operands = [call.value(position) for position in range(3)]
    chosen = operands[1]
    dtype = chosen.dtype if isinstance(chosen, Tensor) else chosen.array.dtype.name
    return [each(call, "{{ {1} if {0} ; {2} otherwise }}", operands, dtype)]


def _prelu(call: Call) -> Sequence[Value]:
    return [each(call, "max(0, {0}) + {1} * min(0, {0})", [call.value(0), call.value(1)])]


def _infinite(call: Call) -> Sequence[Value]:
    largest = {"float64": "1.7976931348623157e308", "float32": "3.4028234663852886e38", "float16": "65504"}
    value = call.tensor(0)
    if value.dtype not in largest:
        raise CannotSay(f"{value.dtype} has no infinities that can be told")
    limit = largest[value.dtype]
    sides = [f"{{0}} > {limit}"] if call.get("detect_positive", 1) else []
    sides += [f"{{0}} < -{limit}"] if call.get("detect_negative", 1) else []
    return [each(call, " or ".join(sides) or "{0} != {0} and {0} == {0}", [value], "bool")]


RULES: dict[str, Rule] = {
    "Abs": _simple("abs({0})"),
    "Add": _simple("{0} + {1}"),
    "And": _simple("{0} and {1}", "bool"),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Ceil": _simple("ceil({0})"),
    "Celu": _with("max(0, {0}) + min(0, <alpha> * (exp(min({0}, 0) / <alpha>) - 1))", alpha=1.0),
    "Clip": _clip,
    "Cos": _simple("cos({0})"),
    "Cosh": _simple("(exp({0}) + exp(-{0})) / 2"),
    "Div": _divide,
    "Dropout": _dropout,
    "Elu": _with("elu({0}, <alpha>)", alpha=1.0),
    "Equal": _simple("{0} == {1}", "bool"),
    "Erf": _simple("erf({0})"),
    "Exp": _simple("exp({0})"),
    "Floor": _simple("floor({0})"),
    "Gelu": _gelu,
    "Greater": _simple("{0} > {1}", "bool"),
    "GreaterOrEqual": _simple("{0} >= {1}", "bool"),
    "HardSigmoid": _with("max(0, min(1, <alpha> * {0} + <beta>))", alpha=0.2, beta=0.5),
    "HardSwish": _simple("hard_swish({0})"),
    "Identity": _same,
    "LeakyRelu": _with("{{ {0} if {0} >= 0 ; <alpha> * {0} otherwise }}", alpha=0.01),
    "Less": _simple("{0} < {1}", "bool"),
    "LessOrEqual": _simple("{0} <= {1}", "bool"),
    "IsInf": _infinite,
    "IsNaN": _simple("{0} != {0}", "bool"),
    "Log": _simple("log({0})"),
    "Max": _folded("max(<left>, <right>)"),
    "Mean": _mean,
    "Min": _folded("min(<left>, <right>)"),
    "Mish": _simple("{0} * tanh(softplus({0}))"),
    "Mod": _modulo,
    "Mul": _simple("{0} * {1}"),
    "Neg": _simple("-{0}"),
    "Not": _simple("not {0}", "bool"),
    "Or": _simple("{0} or {1}", "bool"),
    "PRelu": _prelu,
    "Pow": _power,
    "Reciprocal": _simple("1 / {0}"),
    "Relu": _simple("relu({0})"),
    "Round": _simple("round({0})"),
    "Selu": _with(
        "<gamma> * ({{ {0} if {0} > 0 ; <alpha> * (exp(min({0}, 0)) - 1) otherwise }})",
        alpha=1.67326319217681884765625,
        gamma=1.05070102214813232421875,
    ),
    "Shrink": _with(
        "{{ {0} + <bias> if {0} < -<lambd> ; {0} - <bias> if {0} > <lambd> ; 0 otherwise }}", bias=0.0, lambd=0.5
    ),
    "Sigmoid": _simple("sigmoid({0})"),
    "Sign": _simple("sign({0})"),
    "Sin": _simple("sin({0})"),
    "Sinh": _simple("(exp({0}) - exp(-{0})) / 2"),
    "Softplus": _simple("softplus({0})"),
    "Softsign": _simple("{0} / (1 + abs({0}))"),
    "Sqrt": _simple("sqrt({0})"),
    "Sub": _simple("{0} - {1}"),
    "Sum": _folded("<left> + <right>"),
    "Swish": _with("{0} * sigmoid(<alpha> * {0})", alpha=1.0),
    "Tan": _simple("sin({0}) / cos({0})"),
    "Tanh": _simple("tanh({0})"),
    "ThresholdedRelu": _with("{{ {0} if {0} > <alpha> ; 0 otherwise }}", alpha=1.0),
    "Where": _where,
    "Xor": _simple("{0} != {1}", "bool"),
}
