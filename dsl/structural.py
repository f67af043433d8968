"""The structural functions: pad, skip, cut, size, and tensor literals.

They are what an equation cannot say by itself: where a tensor ends.  `pad` makes an
equation whose cases read the tensor inside and the edge rule outside; `skip` and `cut` are
views that cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from . import syntax
from .diagnostics import Fix, Mistake, error, nearest
from .equations import Apply, Axis, Constant, Equation, Expression, Literal, Number, Place, Read, element_count
from .integers import Integer
from .names import distinct, free_form, index_name
from .session import Session
from .values import Scope, TensorValue, View, Word, number

if TYPE_CHECKING:
    from .translate import Translator

MEASURES = ("size", "len", "rank", "batched")
"""Functions of a tensor's shape, known while compiling."""

PAD_MODES = ("zeros", "reflect", "replicate", "circular")


@dataclass(frozen=True, slots=True)
class _Margin:
    axis: int
    before: Integer
    after: Integer
    place: Place


def call_structural(
    elaborator: Session, node: syntax.Call, name: str, scope: Scope, translator: Translator | None, hint: str
) -> Any:
    """Evaluate a call of a structural function."""
    if name in MEASURES:
        return measure(elaborator, node, name, scope)
    if not node.arguments:
        raise error("E502", node.place, f"{name} needs a tensor", notes=[f"for example `{name}(L, 1)`"])
    tensor = elaborator.tensor_argument(node.arguments[0], scope, translator, f"{hint}.{name}")
    margins, mode, fill = _margins(elaborator, node, name, tensor, scope)
    if name == "pad":
        return _pad(elaborator, tensor, margins, mode, fill, hint, node.place)
    if tensor.views:
        raise error("E511", node.place, f"{tensor.shown} is a view already; {name} cannot be put on top of it")
    views = []
    padded = list(tensor.padded)
    for margin in margins:
        if margin.before.constant == margin.after.constant == 0:
            continue
        size = tensor.shape[margin.axis]
        if name == "skip":
            views.append(View(margin.axis, -margin.before, True, size + margin.before + margin.after))
            padded.append((margin.axis, margin.after))
        else:
            views.append(View(margin.axis, margin.before, False, size))
    return replace(tensor, views=tuple(views), padded=tuple(padded))


def _margins(
    elaborator: Session, node: syntax.Call, name: str, tensor: TensorValue, scope: Scope
) -> tuple[list[_Margin], str, float]:
    margins: list[_Margin] = []
    mode, fill = "zeros", 0.0
    for argument in node.arguments[1:]:
        keyword, value = elaborator.split_keyword(argument, ("mode", "value"))
        if keyword == "mode":
            mode = _mode(elaborator.word(value, scope), value.place)
        elif keyword == "value":
            fill = float(elaborator.constant(value, scope, "a number"))
        elif keyword is None:
            amount = elaborator.constant(value, scope, "a number of places")
            if isinstance(amount, Word):
                mode = _mode(amount.text, value.place)
            else:
                margins += _spatial(elaborator, tensor, amount, argument.place)
        else:
            axis = _axis(tensor, keyword, argument.place)
            amount = elaborator.constant(value, scope, "a number of places")
            margins.append(_Margin(axis, *_pair(amount, argument.place), argument.place))
    if not margins:
        raise error("E502", node.place, f"{name} needs the number of places, as in `{name}({tensor.shown}, x: 1)`")
    if len({margin.axis for margin in margins}) < len(margins):
        raise _axis_twice(tensor, margins)
    return margins, mode, fill


def _axis_twice(tensor: TensorValue, margins: list[_Margin]) -> Mistake:
    seen: dict[int, Place] = {}
    for margin in margins:
        if margin.axis in seen:
            message = f"{tensor.axis_shown(margin.axis)} is named twice"
            return error("E512", margin.place, message, labels=[(seen[margin.axis], "the first time")])
        seen[margin.axis] = margin.place
    raise AssertionError("no axis is named twice")


def _mode(word: str, place: Place) -> str:
    if word not in PAD_MODES:
        meant = nearest(word, PAD_MODES)
        raise error(
            "E513", place, f"there is no padding mode {word}", notes=[f"the modes are {', '.join(PAD_MODES)}"],
            fix=Fix(place, meant, f"write {meant}") if meant else None,
        )  # fmt: skip
    return word


def _axis(tensor: TensorValue, keyword: str, place: Place) -> int:
    wanted = free_form(index_name(keyword))
    if wanted in tensor.axes:
        return tensor.axes.index(wanted)
    known = [axis for axis in tensor.axes[1 if tensor.axes[:1] == ("b",) else 0 :] if axis]
    meant = nearest(wanted, known)
    raise error(
        "E514", place, f"{tensor.shown} has no axis named {keyword}",
        labels=[(tensor.place, f"{tensor.shown} has the axes {', '.join(a or '_' for a in tensor.axes)}")],
        notes=[] if known else ["its axes have no names; give them in `Given`, as in `Given L[x 28, "
                                "y 28, i 3]`, or pad by position: `pad(L, 2)`"],
        fix=Fix(place, meant, f"write {meant}") if meant else None,
    )  # fmt: skip


def _spatial(elaborator: Session, tensor: TensorValue, amount: Any, place: Place) -> list[_Margin]:
    """All axes but the batch and the last (the channels); both axes of a plain matrix."""
    first = 1 if elaborator.is_batched(tensor) else 0
    last = tensor.rank if tensor.rank - first <= 2 and first == 0 else tensor.rank - 1
    axes = list(range(first, last))
    if isinstance(amount, tuple) and len(amount) == len(axes) and any(isinstance(a, tuple) for a in amount):
        amounts = list(amount)
    elif isinstance(amount, tuple) and len(amount) == len(axes) != 1:
        amounts = list(amount)  # one number for each axis, before and after alike
    else:
        amounts = [amount] * len(axes)
    if not axes:
        raise error("E514", place, f"{tensor.shown} has no spatial axes", notes=["name the axis, as in `pad(L, x: 1)`"])
    return [_Margin(axis, *_pair(a, place), place) for axis, a in zip(axes, amounts, strict=True)]


def _pair(amount: Any, place: Place) -> tuple[Integer, Integer]:
    parts = amount if isinstance(amount, tuple) else (amount, amount)
    if len(parts) != 2 or not all(isinstance(p, (int, Integer)) and not isinstance(p, bool) for p in parts):
        raise error("E515", place, "a padding is a whole number, or a pair (before, after)")
    if any(isinstance(p, int) and p < 0 for p in parts):
        raise error(
            "E515",
            place,
            f"a padding of {min(p for p in parts if isinstance(p, int))} places is negative",
            notes=["`cut` takes places away"],
        )
    return Integer.of(parts[0]), Integer.of(parts[1])


def _pad(
    elaborator: Session, tensor: TensorValue, margins: list[_Margin], mode: str, fill: float, hint: str, place: Place
) -> TensorValue:
    margins = [m for m in margins if m.before.constant != 0 or m.after.constant != 0]
    if tensor.views:
        raise error("E511", place, f"{tensor.shown} is a view already; it cannot be padded")
    if not margins:
        return tensor
    if mode == "zeros":
        return _emit(elaborator, tensor, margins, hint, place, lambda read, ms: _zero_body(tensor, ms, fill))
    for margin in margins:
        _refuse_wide(tensor, margin, mode, elaborator)
        tensor = _emit(elaborator, tensor, [margin], hint, place, lambda read, ms, t=tensor: _edge_body(t, ms[0], mode))
    return tensor


def _refuse_wide(tensor: TensorValue, margin: _Margin, mode: str, elaborator: Session) -> None:
    room = elaborator.builder.resolve(tensor.shape[margin.axis]) - (1 if mode == "reflect" else 0)
    if mode == "replicate":
        return
    for side in (margin.before, margin.after):
        slack = room - side
        if slack.constant is not None and slack.constant < 0:
            raise error(
                "E516", margin.place, f"a {mode} padding of {side} places needs more than "
                                      f"{side if mode == 'reflect' else side - 1} "
                f"places to take them from; the axis has {tensor.shape[margin.axis]}",
            )  # fmt: skip
        elaborator.builder.require(slack, f"a {mode} padding of {side} places must find them in the axis", margin.place)


def _names(tensor: TensorValue) -> list[str]:
    return distinct(tensor.axes)


def _emit(
    elaborator: Session, tensor: TensorValue, margins: list[_Margin], hint: str, place: Place, body: Any
) -> TensorValue:
    extra = {m.axis: m.before + m.after for m in margins}
    shape = tuple(size + extra.get(axis, Integer.of(0)) for axis, size in enumerate(tensor.shape))
    domain = tuple(Axis(name, size) for name, size in zip(_names(tensor), shape, strict=True))
    equation = Equation(domain, body(tensor, margins), tensor.dtype)
    elaborator.builder.read_names.add(tensor.name)
    padded = (*tensor.padded, *((m.axis, m.after) for m in margins))
    name = elaborator.builder.add(f"{hint}.pad" if hint else f"{tensor.name}.pad", equation, place)
    return replace(tensor, name=name, shape=shape, views=(), parameter=False, place=place, padded=padded)


def _read(tensor: TensorValue, positions: dict[int, Integer]) -> Read:
    names = _names(tensor)
    subscripts = tuple(positions.get(axis, Integer.index(names[axis])) for axis in range(tensor.rank))
    return Read(tensor.name, subscripts, tensor.dtype)


def _at_least(value: Integer, bound: Integer | int) -> Expression:
    return Apply("le", (Number(Integer.of(bound), "int64"), Number(value, "int64")), "bool")


def _zero_body(tensor: TensorValue, margins: list[_Margin], fill: float) -> Expression:
    names = _names(tensor)
    positions = {m.axis: Integer.index(names[m.axis]) - m.before for m in margins}
    tests: list[Expression] = []
    for margin in margins:
        position, size = positions[margin.axis], tensor.shape[margin.axis]
        if margin.before.constant != 0:
            tests.append(_at_least(position, 0))
        if margin.after.constant != 0:
            tests.append(_at_least(size - 1 - position, 0))
    condition = tests[0]
    for test in tests[1:]:
        condition = Apply("and", (condition, test), "bool")
    edge = Literal(fill if tensor.dtype.startswith(("float", "bfloat")) else int(fill), tensor.dtype)
    return Apply("select", (condition, _read(tensor, positions), edge), tensor.dtype)


def _edge_body(tensor: TensorValue, margin: _Margin, mode: str) -> Expression:
    position = Integer.index(_names(tensor)[margin.axis]) - margin.before
    size = tensor.shape[margin.axis]
    low, high = {
        "reflect": (-position, 2 * (size - 1) - position),
        "replicate": (Integer.of(0), size - 1),
        "circular": (position + size, position - size),
    }[mode]
    body: Expression = _read(tensor, {margin.axis: position})
    if margin.after.constant != 0:
        inside = _at_least(size - 1 - position, 0)
        body = Apply("select", (inside, body, _read(tensor, {margin.axis: high})), tensor.dtype)
    if margin.before.constant != 0:
        body = Apply("select", (_at_least(position, 0), body, _read(tensor, {margin.axis: low})), tensor.dtype)
    return body


def measure(elaborator: Session, node: syntax.Call, name: str, scope: Scope) -> Any:
    """`size(L, X)`: the size of a named or numbered axis; `size(L)`: of all together; `rank(L)`; `len(list)`.

    `batched(L)` tells whether the first axis is the batch.
    """
    if not node.arguments:
        raise error("E502", node.place, f"{name} needs an argument")
    if name == "len":
        value = elaborator.constant(node.arguments[0].value, scope, "a list")
        if not isinstance(value, tuple):
            raise error("E232", node.place, "len counts the entries of a list")
        return len(value)
    tensor = elaborator.tensor_argument(node.arguments[0], scope, None, "size")
    if name == "rank":
        return tensor.rank
    if name == "batched":
        return elaborator.is_batched(tensor)
    if len(node.arguments) == 1:
        return number(element_count(elaborator.builder.resolve_shape(tensor.shape)))
    if len(node.arguments) != 2:
        raise error("E502", node.place, "size takes a tensor and one of its axes, as in `size(L, X)`")
    which = node.arguments[1].value
    if isinstance(which, syntax.Name):
        axis = _axis(tensor, which.name, which.place)
    else:
        position = elaborator.constant(which, scope, "the number of an axis")
        if not isinstance(position, int) or not -tensor.rank <= position < tensor.rank:
            raise error("E514", which.place, f"{tensor.shown} has {tensor.rank} axes, and {position} is none of them")
        axis = position
    return number(elaborator.builder.resolve(tensor.shape[axis]))


def literal(elaborator: Session, node: syntax.Items, scope: Scope) -> TensorValue:
    """A tensor literal: nested lists of numbers, all of one length per level."""
    shape, values = _flatten(elaborator, node, scope)
    floats = tuple(float(value) for value in values)
    constant = Constant(tuple(map(Integer.of, shape)), "float32", floats)
    name = elaborator.builder.add("literal", constant, node.place)
    return TensorValue(name, constant.shape, "float32", (None,) * len(shape), node.place, spelling="this literal")


def constant_tensor(elaborator: Session, values: tuple[Any, ...], place: Place, name: str) -> TensorValue:
    """A flat compile-time list of numbers as a tensor."""
    if not values or not all(isinstance(v, (int, float)) for v in values):
        raise error("E517", place, f"{name} is a list, but not of numbers, so it takes no index")
    shape = (Integer.of(len(values)),)
    made = elaborator.builder.add(name, Constant(shape, "float32", tuple(map(float, values))), place)
    return TensorValue(made, shape, "float32", (None,), place, spelling=name)


def _flatten(elaborator: Session, node: syntax.Expr, scope: Scope) -> tuple[tuple[int, ...], list[float]]:
    if not isinstance(node, syntax.Items):
        value = elaborator.constant(node, scope, "a number")
        if isinstance(value, tuple):
            return (len(value),), [float(v) for v in value]
        if not isinstance(value, (int, float)):
            raise error("E517", node.place, "a tensor literal holds numbers")
        return (), [value]
    if not node.items:
        raise error("E527", node.place, "a tensor literal cannot be empty")
    parts = [_flatten(elaborator, item, scope) for item in node.items]
    for item, (shape, _) in zip(node.items, parts, strict=True):
        if shape != parts[0][0]:
            raise error(
                "E526", item.place, "the rows of a tensor literal have different lengths",
                here=f"this {_counted(shape)}", labels=[(node.items[0].place, f"the first {_counted(parts[0][0])}")],
            )  # fmt: skip
    return (len(parts), *parts[0][0]), [value for _, values in parts for value in values]


def _counted(shape: tuple[int, ...]) -> str:
    return f"has {shape[0]} entr{'y' if shape[0] == 1 else 'ies'}" if shape else "is a single number"
