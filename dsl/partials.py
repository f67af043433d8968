"""Partial definitions (R20): several equations that define disjoint parts of one tensor and cover it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .diagnostics import error
from .equations import Equation, Partial, Piece
from .group_parts import Member, Part
from .integers import ZERO, Index, Integer, bounds, is_nonnegative
from .lowering import Lowering
from .session import Session
from .values import Scope


def define_partial(elaborator: Session, scope: Scope, member: Member) -> None:
    builder = elaborator.builder
    pieces: list[Piece] = []
    dtype = member.value.dtype
    _solve_ranges(elaborator, member)
    for k, part in enumerate(member.parts):
        lowering = Lowering(builder, part.translator.ranges, f"{member.name}.{k}", part.place)
        made = lowering.define(f"{member.name}.{k}", part.domain, part.term, dtype)
        operation = builder.operations[made]
        assert isinstance(operation, Equation)
        # ranges that do not start at 0 are shifted within the piece
        lows = {Index(n): Integer.index(n) + part.translator.ranges.known[n].lower for n in part.domain}
        target = tuple(builder.resolve(t).substitute(lows) for t in part.targets)
        pieces.append(Piece(made, operation.domain, target))
    shape = _covered_shape(elaborator, member, pieces)
    name = builder.add(member.name, Partial(shape, dtype, tuple(pieces)), member.spelled.place)
    builder.axes[name] = member.value.axes
    elaborator.define(member.spelled, replace(member.value, name=name, shape=shape), scope)


def _solve_ranges(elaborator: Session, member: Member) -> None:
    """Find all ranges; an index that one part reads nothing with runs as on the same axis of another part."""
    waiting: list[tuple[Part, dict[int, str]]] = []
    whole: dict[int, tuple[str, Integer]] = {}
    for part in member.parts:
        unread = _unread(part)
        if unread:
            waiting.append((part, unread))
            continue
        part.translator.ranges.solve()
        for axis, name in _bare(part).items():
            known = part.translator.ranges.known[name]
            if not known.lower.terms:
                whole.setdefault(axis, (name, known.upper))
    for part, unread in waiting:
        for axis, name in unread.items():
            if axis in whole:
                other, upper = whole[axis]
                part.translator.ranges.state(name, ZERO, upper, part.place)
                elaborator.builder.deduce(
                    part.place, f"{name} runs over this axis as {other} does in another part: 0..{upper}"
                )
        part.translator.ranges.solve()


def _bare(part: Part) -> dict[int, str]:
    """Axis -> the index that stands there alone."""
    return {k: name for k, target in enumerate(part.targets) for name in part.domain if target == Integer.index(name)}


def _unread(part: Part) -> dict[int, str]:
    """Those of `_bare` whose range nothing in the part gives."""
    ranges = part.translator.ranges
    read = {name for access in ranges.accesses for name in access.expression.indices()}
    return {axis: name for axis, name in _bare(part).items() if name not in read and name not in ranges.known}


def _box(piece: Piece) -> dict[str, tuple[Integer, Integer]]:
    return {axis.name: (ZERO, axis.size) for axis in piece.domain}


def _covered_shape(elaborator: Session, member: Member, pieces: list[Piece]) -> tuple[Integer, ...]:
    """The shape that pieces cover together; refuses overlaps and gaps."""
    shape: list[Integer] = []
    for axis in range(member.value.rank):
        top = ZERO
        for piece, part in zip(pieces, member.parts, strict=True):
            found = bounds(piece.target[axis], _box(piece))
            if found is None or not is_nonnegative(found[0]):
                raise error("E408", part.place, f"this part of {member.value.shown} would start before position 0")
            if is_nonnegative(found[1] + 1 - top):
                top = found[1] + 1
        shape.append(top)
    spans = [_spans(piece) for piece in pieces]
    for k in range(len(pieces)):
        for j in range(k):
            if not _disjoint(spans[k], spans[j]):
                raise error(
                    "E706", member.parts[k].place, f"two equations define the same positions of {member.value.shown}",
                    labels=[(member.parts[j].place, "the other one")],
                )  # fmt: skip
    count = sum((math.prod((a.size for a in piece.domain), start=Integer.of(1)) for piece in pieces), start=ZERO)
    whole = math.prod(shape, start=Integer.of(1))
    if count != whole:
        raise error(
            "E707", member.parts[-1].place, f"the equations for {member.value.shown} leave positions undefined",
            notes=_missing(member, spans, shape) or [f"they define {count} of {whole} elements"],
            labels=[(part.place, "another part") for part in member.parts[:-1]][:2],
        )  # fmt: skip
    return tuple(shape)


@dataclass(frozen=True, slots=True)
class _Span:
    """Where one piece lies along one axis: an interval (None if not known), and steps of `step` from `offset`."""

    low: Integer | None
    high: Integer | None
    step: int
    offset: int
    first: int | None = None
    last: int | None = None


_LONGEST_SEARCH = 10_000


def _missing(member: Member, spans: list[list[_Span]], shape: list[Integer]) -> list[str]:
    """A position along one axis that no piece reaches, where there is one."""
    for axis, size in enumerate(shape):
        for position in range(min(size.constant or 0, _LONGEST_SEARCH)):
            if not any(_may_reach(piece[axis], position) for piece in spans):
                return [f"for example, nothing defines position {position} of {member.value.axis_shown(axis)}"]
    return []


def _may_reach(span: _Span, position: int) -> bool:
    if span.first is None or span.last is None:
        return True
    if not span.first <= position <= span.last:
        return False
    return span.step == 0 or (position - span.offset) % span.step == 0


def _spans(piece: Piece) -> list[_Span]:
    box = _box(piece)
    spans = []
    for target in piece.target:
        low, high = bounds(target, box) or (None, None)
        step = math.gcd(*(c for m, c in target.terms if m))
        first, last = (None if end is None else end.constant for end in (low, high))
        spans.append(_Span(low, high, step, target.offset, first, last))
    return spans


def _disjoint(one: list[_Span], other: list[_Span]) -> bool:
    """Whether two pieces share no position: along some axis they lie apart or have different residues."""
    pairs = list(zip(one, other, strict=True))
    return any(_plainly_apart(a, b) for a, b in pairs) or any(_apart(a, b) for a, b in pairs)


def _plainly_apart(a: _Span, b: _Span) -> bool:
    """Whether the numbers alone show it: quick, for many pieces."""
    step = math.gcd(a.step, b.step)
    if step > 1 and (a.offset - b.offset) % step:
        return True
    return (a.last is not None and b.first is not None and a.last < b.first) or (
        b.last is not None and a.first is not None and b.last < a.first
    )


def _apart(a: _Span, b: _Span) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return False
    return is_nonnegative(b.low - a.high - 1) or is_nonnegative(a.low - b.high - 1)
