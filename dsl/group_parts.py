"""The members of a group of definitions, and its equations after translation."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import syntax
from .definitions import LeftSide, read_left_side
from .diagnostics import error
from .equations import Place
from .integers import Integer
from .lowering import refuse_stray_skips
from .names import free_form, index_name
from .session import Session
from .terms import ReadTerm, Term, walk
from .translate import Translator
from .values import Scope, TensorValue


@dataclass
class Part:
    """One equation of a group after translation."""

    name: str
    translator: Translator
    left: LeftSide
    targets: list[Integer]
    term: Term
    place: Place
    recursive: bool = False
    time: str | None = None
    shift: int = 0

    @property
    def domain(self) -> tuple[str, ...]:
        return self.left.domain(None)


@dataclass
class Member:
    """One tensor of a group."""

    name: str
    spelled: syntax.Name
    value: TensorValue
    parts: list[Part] = field(default_factory=list)


def axis_names(target: syntax.Target) -> tuple[str | None, ...]:
    return tuple(
        free_form(index_name(n.name)) if isinstance(n, syntax.Name) and n.member is None else None
        for n in target.subscripts or ()
    )


def read_part(
    elaborator: Session, scope: Scope, member: Member, prefix: tuple[syntax.Binder, ...],
    definition: syntax.Definition, members: dict[str, Member],
) -> Part:  # fmt: skip
    target = definition.targets[0]
    if isinstance(definition.value, (syntax.Concatenation, syntax.Pattern)):
        raise error("E705", definition.value.place, "a part of a tensor is defined by an equation")
    translator = Translator(elaborator, scope, definition.place)
    translator.scan(definition.value)
    left = read_left_side(translator, target.subscripts or (), prefix)
    if left.joined is not None or left.has_rest:
        raise error("E716", target.place, "parts of a tensor have one index or position per axis")
    translator.rests[0].names = list(left.domain(None))
    term = translator.finish(translator.read(definition.value))
    refuse_stray_skips(term)
    targets = [
        left.targets[axis] if axis in left.targets else _fused_target(translator, item, target.place)
        for axis, item in enumerate(left.items)
    ]
    own = {m.name for m in members.values()}
    recursive = any(isinstance(node, ReadTerm) and node.tensor.name in own for node in walk(term))
    return Part(member.name, translator, left, targets, term, definition.place, recursive)


def _fused_target(translator: Translator, item: tuple[str, ...] | None, place: Place) -> Integer:
    if item is None or len(item) != 1:
        raise error("E716", place, "parts of a tensor have one index or position per axis")
    return Integer.index(item[0])
