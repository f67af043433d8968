"""The layouts that weights have in PyTorch, told by what a program does with them.

What the axes of a parameter are follows from the equations that read it, whatever layer or user
wrote them.  In a sum of products, an index that the result has and the data do not is an *output*;
one that is summed with an axis of the data an *input*; one that is summed and moves along an axis of
the data with an index of the result is a *window*; one that all three have tells *groups* of
channels apart.  PyTorch's order is: outputs (with groups), inputs, windows.  Where a window runs
against the data (`x - Δx`) the sum is a transposed convolution, whose inputs (with groups) come first.

Several axes of one role are one axis in PyTorch, in the program's order, but channels stand before
places: so is a picture flattened there before a matrix multiplies it (see `axis_kinds`), and so is
what a matrix makes cut into a picture (see `axis_cuts`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..dsl.equations import (
    Apply,
    Carried,
    Equation,
    Expression,
    Parameter,
    Program,
    Read,
    Recurrence,
    State,
    Step,
    children,
)
from ..dsl.integers import Element, Index, Integer, IntegerLike
from .axis_cuts import CUT, axis_cuts
from .axis_kinds import (
    CHANNEL,
    PHASE,
    PLACE,
    SPLIT,
    UNKNOWN,
    Axes,
    Part,
    axis_kinds,
    collapsed,
    equation_sizes,
    is_fused,
    outer_first,
)
from .dependence import data_free
from .graph import Graph
from .pytorch_layout import Layout

WEIGHT, BIAS, MEAN, VARIANCE, OTHER = "weight", "bias", "running_mean", "running_var", "other"

_OUTPUT, _GROUP, _INPUT, _WINDOW, _ROW, _FIXED = "output", "group", "input", "window", "row", "fixed"


@dataclass(frozen=True)
class WeightUse:
    """What a program does with a parameter or state: PyTorch's kind of it, and its layout there.

    `axes` tells the roles of its axes to people.  `doubt`, if not empty, says why the layout could
    be another; `carried` that it belongs to what a recurrence does with its own earlier values.
    """

    kind: str
    layout: Layout
    axes: str
    doubt: str = ""
    carried: bool = False


def weight_uses(program: Program, channels: str | None = None) -> dict[str, WeightUse]:
    """What the program does with each of its parameters and states, in the order of their definition.

    `channels`, "first" or "last", says how PyTorch flattened a tensor whose places and channels the
    program does not tell apart; without it, weights for which that matters are in doubt.
    """
    free = data_free(Graph.from_program(program), changing=True)
    reader = _Reader(program, free, axis_kinds(program, free), channels)
    found = {}
    for name, operation in program.operations.items():
        if isinstance(operation, Parameter | State):
            shape = tuple(size.constant or 0 for size in operation.shape)
            uses = list(dict.fromkeys(reader.uses(name, shape, isinstance(operation, State))))
            found[name] = _agreed(uses, shape)
    return found


def _agreed(uses: Sequence[WeightUse], shape: tuple[int, ...]) -> WeightUse:
    """The one use of a weight; in doubt if there are several that want different layouts."""
    if not uses:
        return WeightUse(OTHER, Layout(shape, tuple(range(len(shape))), shape), "")
    contracted = [use for use in uses if use.kind == WEIGHT] or list(uses)
    first = contracted[0]
    for use in contracted[1:]:
        if use.layout != first.layout and not first.doubt:
            doubt = f"it is used in two ways, as {first.axes} and as {use.axes}"
            return WeightUse(first.kind, first.layout, first.axes, doubt, first.carried)
    return first


@dataclass(frozen=True)
class _Site:
    """An equation that reads data, and the step of a recurrence that it is, if it is one."""

    name: str
    equation: Equation
    recurrence: Recurrence | None = None
    step: Step | None = None


@dataclass(frozen=True)
class _Cut:
    """Part of a weight's axis: its size, its role, and the axes that it was fused from."""

    size: int
    role: str
    inside: tuple[Part, ...] = ()


@dataclass(frozen=True)
class _Piece:
    """An axis that nothing fused, with the axis of the weight that it is part of."""

    size: int
    role: str
    kind: str
    axis: int


class _Reader:
    """The equations of a program, by the tensors they read."""

    def __init__(self, program: Program, free: set[str], kinds: Mapping[str, Axes], channels: str | None) -> None:
        self._free = free
        self._kinds = kinds
        self._named = {statement.tensor for statement in program.statements}
        self._later = axis_cuts(program, kinds, free)
        self._channels = channels
        self._sites: dict[str, list[_Site]] = {}
        for site in _sites(program):
            for tensor in dict.fromkeys(read.tensor for read, _ in _reads(site.equation.body)):
                self._sites.setdefault(tensor, []).append(site)

    def uses(self, name: str, shape: tuple[int, ...], is_state: bool) -> Iterator[WeightUse]:
        """What equations do with a weight, also with what is made of it element by element."""
        for site, subscripts, path in self._read_at(name, tuple(Integer.index(f"#{n}") for n in range(len(shape)))):
            yield self._use(site, subscripts, path, shape, is_state)

    def _read_at(
        self, name: str, subscripts: tuple[Integer, ...]
    ) -> Iterator[tuple[_Site, tuple[Integer, ...], tuple[tuple[Apply, int], ...]]]:
        """Where data meet a tensor, and the subscripts of the weight there; `#n` stands for the tensor's axis n."""
        for site in self._sites.get(name, ()):
            for read, path in _reads(site.equation.body):
                if read.tensor != name:
                    continue
                axes: dict[Index, IntegerLike] = {Index(f"#{n}"): s for n, s in enumerate(read.subscripts)}
                found = tuple(subscript.substitute(axes) for subscript in subscripts)
                if site.name not in self._free or site.recurrence is not None:
                    yield site, found, path
                elif site.equation.combiner is None:
                    own: dict[Index, IntegerLike] = {
                        Index(axis.name): Integer.index(f"#{n}") for n, axis in enumerate(site.equation.domain)
                    }
                    inner = tuple(subscript.substitute(own) for subscript in found)
                    yield from self._read_at(site.name, inner)

    def _use(
        self,
        site: _Site,
        subscripts: tuple[Integer, ...],
        path: tuple[tuple[Apply, int], ...],
        shape: tuple[int, ...],
        is_state: bool,
    ) -> WeightUse:
        equation = site.equation
        reduction = {axis.name for axis in equation.reduction}
        data = self._data(equation)
        cuts = [self._cuts(axis, size, site, subscripts) for axis, size in enumerate(shape)]
        roles = {cut.role for axis in cuts for cut in axis}
        kind, negated = _kind(path, is_state)
        if not is_state and (roles & {_ROW, _WINDOW} or (_OUTPUT in roles and data)):
            kind, negated = WEIGHT, self._is_subtracted(site, path)
        if kind != WEIGHT:
            cuts = [[replace(cut, role=_GROUP) for cut in axis] for axis in cuts]
        used = {index for subscript in subscripts for index in subscript.indices()}
        backwards = bool(used & reduction) and any(_runs_back(read, equation) for read in data)
        layout, doubt = self._layout(cuts, backwards, negated)
        if sum(bool(used & reduction & _indices(read)) for read in dict.fromkeys(data)) > 1:
            doubt = ""  # the inputs of a product of several tensors are no picture
        in_loop = site.recurrence is not None and (kind == BIAS or any(_is_earlier(read, site) for read in data))
        return WeightUse(kind, layout, _described(cuts), doubt, in_loop)

    def _is_subtracted(self, site: _Site, path: tuple[tuple[Apply, int], ...]) -> bool:
        """Whether a sum of products is taken off within its statement, as in `B[j] - W[j,I] * x[I]`."""
        if any(apply.operation not in ("mul", "neg", "cast") for apply, _ in path):
            return False
        negated = sum(apply.operation == "neg" for apply, _ in path) % 2 == 1
        readers = [around for other in self._sites.get(site.name, ()) for read, around in _reads(other.equation.body)
                   if read.tensor == site.name]  # fmt: skip
        if site.name in self._named or len(readers) != 1:
            return negated
        return negated ^ _kind(readers[0], False)[1]

    def _cuts(self, axis: int, size: int, site: _Site, subscripts: Sequence[Integer]) -> list[_Cut]:
        """The parts of one axis of a weight that an equation reads with these subscripts."""
        subscript, equation = subscripts[axis], site.equation
        if any(isinstance(atom, Element) for atom in subscript.atoms()):
            return [_Cut(size, _ROW)]
        names = subscript.indices()
        if not names:
            return [_Cut(size, _FIXED)]
        sizes = equation_sizes(equation)
        groups = {name for other in subscripts for name in other.indices()} & {axis.name for axis in equation.domain}
        roles = {name: self._role(name, equation, groups) for name in names}
        if _WINDOW in roles.values():
            return [_Cut(size, _WINDOW)]
        if is_fused(subscript, sizes) and math.prod(sizes[name] or 0 for name in names) == size:
            ordered = outer_first(subscript)
            return [_Cut(n := sizes[name] or 0, roles[name], self._inside(name, n, site)) for name in ordered]
        name = min(names, key=list(sizes).index)
        return [_Cut(size, roles[name], self._inside(name, size, site))]

    def _role(self, index: str, equation: Equation, groups: set[str]) -> str:
        """The role of an index that a weight is read with; `groups` are the output indices among those."""
        used = [s for read in self._data(equation) for s in read.subscripts if index in s.indices()]
        outputs = {axis.name for axis in equation.domain}
        if index in outputs:
            return _GROUP if used else _OUTPUT
        sizes = equation_sizes(equation)
        moving = [s for s in used if s.indices() & outputs and not (is_fused(s, sizes) and s.indices() & groups)]
        return _WINDOW if moving else _INPUT

    def _inside(self, index: str, size: int, site: _Site) -> tuple[Part, ...]:
        """What the axis that an index stands for was fused from, or is cut into later."""
        parts = self._before(index, size, site.equation)
        places = [axis.name for axis in site.equation.domain]
        if len(parts) > 1 or parts[0].kind not in (CHANNEL, SPLIT) or index not in places:
            return parts
        later = self._later.get((site.name, places.index(index)), ())
        if len(later) < 2 or collapsed(later).size != size:
            return parts
        return tuple(part if part.kind in (PLACE, CUT) else replace(part, kind=CHANNEL) for part in later)

    def _before(self, index: str, size: int, equation: Equation) -> tuple[Part, ...]:
        kind = CHANNEL
        for read in self._data(equation):
            for parts, subscript in zip(self._kinds[read.tensor], read.subscripts, strict=True):
                if subscript.plain_index == index:
                    if collapsed(parts).size == size:
                        kinds = {part.kind for part in parts}
                        is_one = kinds <= {PLACE, PHASE} or kinds <= {CHANNEL, SPLIT}
                        return (collapsed(parts),) if is_one else parts
                    kind = UNKNOWN
        return (Part(size, kind),)

    def _data(self, equation: Equation) -> list[Read]:
        return [read for read, _ in _reads(equation.body) if read.tensor not in self._free]

    def _layout(self, cuts: Sequence[Sequence[_Cut]], backwards: bool, negated: bool) -> tuple[Layout, str]:
        parts = [
            _Piece(part.size or 1, cut.role, part.kind, axis)
            for axis, cut in ((axis, cut) for axis, own in enumerate(cuts) for cut in own)
            for part in cut.inside or (Part(cut.size, UNKNOWN),)
        ]
        roles = (_ROW, _OUTPUT, _INPUT, _WINDOW)
        alias = {_GROUP: _INPUT if backwards else _OUTPUT, _FIXED: _INPUT}
        sorted_parts = {
            role: [n for n, part in enumerate(parts) if alias.get(part.role, part.role) == role] for role in roles
        }
        sorted_parts[_INPUT].sort(key=lambda n: parts[n].role != _GROUP)  # groups of channels are the outer part
        doubt = ""
        for role in (_OUTPUT, _INPUT):
            sorted_parts[role], question = self._channels_first(sorted_parts[role], parts, role)
            doubt = doubt or question
        sequence = (_ROW, _INPUT, _OUTPUT, _WINDOW) if backwards else roles
        order = [n for role in sequence for n in sorted_parts[role]]
        return Layout(tuple(part.size for part in parts), tuple(order), _fused(order, parts, alias), negated), doubt

    def _channels_first(self, numbers: list[int], parts: Sequence[_Piece], role: str) -> tuple[list[int], str]:
        """Parts of one role, places last; and why that order may be wrong."""
        places = [n for n in numbers if parts[n].kind == PLACE]
        others = [n for n in numbers if parts[n].kind != PLACE]
        large = [n for n in numbers if parts[n].size > 1]
        asked, told = (UNKNOWN, "input is flattened from") if role == _INPUT else (CUT, "output is cut into")
        matters = len(large) > 1 and large[-1] == numbers[-1]  # not for a picture with one channel
        if not places and matters and any(parts[n].kind == asked for n in large):
            if self._channels == "first":
                return [numbers[-1], *numbers[:-1]], ""
            if self._channels is None:
                sizes = "×".join(str(parts[n].size) for n in numbers)
                return numbers, f"its {told} {sizes}, and nothing tells which axis is the channels"
        return others + places, ""


def _fused(order: Sequence[int], parts: Sequence[_Piece], alias: Mapping[str, str]) -> tuple[int, ...]:
    """PyTorch's shape: the channels of one role are one axis, so are all inputs, and what was one axis stays one."""
    shape: list[int] = []
    before: _Piece | None = None
    for piece in (replace(parts[n], role=alias.get(parts[n].role, parts[n].role)) for n in order):
        if (
            before is not None
            and piece.role == before.role != _WINDOW
            and (piece.role == _INPUT or {piece.kind, before.kind} <= {CHANNEL, SPLIT} or piece.axis == before.axis)
        ):
            shape[-1] *= piece.size
        else:
            shape.append(piece.size)
        before = piece
    return tuple(shape)


def _kind(path: Sequence[tuple[Apply, int]], is_state: bool) -> tuple[str, bool]:
    """What a weight is by the operations around it, from the outermost on; and whether it is subtracted."""
    negated, is_added = False, False
    for apply, position in reversed(path):
        if apply.operation in ("add", "sub"):
            is_added = True
            negated ^= apply.operation == "sub" and position == 1
        elif apply.operation == "neg":
            negated = not negated
        elif apply.operation in ("sqrt", "pow") and is_state:
            return VARIANCE, False
        elif apply.operation in ("mul", "div") and not is_added and _has_other_reads(apply, position):
            return (OTHER if is_state else WEIGHT), False
        elif apply.operation not in ("cast", "select", "mul", "div"):
            break
    if not is_added:
        return OTHER, False
    return (MEAN, False) if is_state else (BIAS, negated)


def _has_other_reads(apply: Apply, position: int) -> bool:
    """Whether a factor stands beside something that is no number."""
    return any(True for n, argument in enumerate(apply.arguments) if n != position for _ in _reads(argument))


def _runs_back(read: Read, equation: Equation) -> bool:
    """Whether a window of a read goes against its position: `x - Δx`."""
    outputs, summed = {axis.name for axis in equation.domain}, {axis.name for axis in equation.reduction}
    for subscript in read.subscripts:
        signs = {atom.name: factor > 0 for (atom, *rest), factor in _linear(subscript) if not rest}
        if any(signs[x] != signs[d] for x in signs.keys() & outputs for d in signs.keys() & summed):
            return True
    return False


def _linear(subscript: Integer) -> Iterator[tuple[tuple[Index, ...], int]]:
    for monomial, coefficient in subscript.terms:
        if len(monomial) == 1 and isinstance(monomial[0], Index):
            yield (monomial[0],), coefficient


def _is_earlier(read: Read, site: _Site) -> bool:
    """Whether a step of a recurrence reads what an earlier turn of it made."""
    assert site.recurrence is not None
    carried: Carried | None = next((c for c in site.recurrence.carried if c.name == read.tensor), None)
    if carried is None:
        return False
    targets = [step.target for step in site.recurrence.steps if step.name == read.tensor and step.target is not None]
    return bool(targets) and read.subscripts[carried.axis] != targets[0][carried.axis]


def _indices(read: Read) -> set[str]:
    return {index for subscript in read.subscripts for index in subscript.indices()}


def _described(cuts: Sequence[Sequence[_Cut]]) -> str:
    axes = []
    for axis in cuts:
        roles = list(dict.fromkeys(cut.role for cut in axis if cut.role != _FIXED))
        axes.append("+".join(roles) or "1")
    return f"[{', '.join(axes)}]"


def _sites(program: Program) -> Iterator[_Site]:
    for name, operation in program.operations.items():
        if isinstance(operation, Equation):
            yield _Site(name, operation)
        elif isinstance(operation, Recurrence):
            for step in operation.steps:
                yield _Site(step.name, step.equation, operation, step)


def _reads(
    expression: Expression, path: tuple[tuple[Apply, int], ...] = ()
) -> Iterator[tuple[Read, tuple[tuple[Apply, int], ...]]]:
    """The reads of an expression, each with the operations around it from the outermost on, and its place in each."""
    if isinstance(expression, Read):
        yield expression, path
    elif isinstance(expression, Apply):
        for position, argument in enumerate(children(expression)):
            yield from _reads(argument, (*path, (expression, position)))
