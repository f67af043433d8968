"""The state of reading one statement: its indices, what `...` stands for, sizes of its axes.

First of three classes that `translate.Translator` is made of; `subscripts` reads what stands
in brackets and `translate` the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from . import syntax
from .diagnostics import Fix, error, nearest
from .equations import Place
from .integers import Integer
from .names import capital_form, case, free_form, index_name, is_capital
from .ranges import Ranges
from .session import Session
from .terms import LiteralTerm, NumberTerm, Term
from .values import (
    Scope,
    TensorValue,
)


@dataclass(slots=True)
class Result:
    """A term, the capitals open in it, and the capitals that were summed inside it."""

    term: Term
    open: dict[str, Place] = field(default_factory=dict)
    closed: dict[str, Place] = field(default_factory=dict)
    size: int = 1
    """The number of parts of the term, shared ones counted each time they occur."""


@dataclass(slots=True)
class _Rest:
    """The indices that `...` stands for; None until a tensor tells how many."""

    names: list[str] | None = None
    bound: bool = False
    first: str = "the left side"
    """What told how many, for messages."""


class AbandonStatement(Exception):
    """A statement uses something whose own error has been reported."""


class StatementReader(ABC):
    """What is known of the statement that is being read."""

    def __init__(self, elaborator: Session, scope: Scope, place: Place) -> None:
        self.elaborator = elaborator
        self.builder = elaborator.builder
        self.scope = scope
        self.place = place
        self.ranges = Ranges(self.builder)
        self.left: dict[str, Place] = {}
        """Indices of the left side -> place."""
        self.bound: dict[str, str] = {}
        """Indices bound by a reducer around here -> internal name."""
        self.rests = [_Rest()]
        self.rest_on_left = False
        self.guards: list[Integer] = []
        self.mentioned: set[str] = set()
        """All index names that stand in brackets anywhere in the statement."""
        self.mentions: Counter[str] = Counter()
        """How often each name stands in brackets on the right."""
        self.reduced: set[str] = set()
        """Those that a reducer binds."""
        self.repeated: dict[str, Place] = {}
        """Capitals that stand twice in the subscripts of one tensor -> the second place."""
        self.inside_function = False

    def bind_left(self, name: str, place: Place) -> None:
        """Make an index of the left side known."""
        if case(name) == "mixed":
            raise self.mixed_index(name, place)
        if name in self.left:
            raise error(
                "E303", place, f"index {name} stands twice on the left",
                here="the second time", labels=[(self.left[name], "the first time")],
                notes=[f"to fill a diagonal, write two indices and a case: "
                       f"`{{ … if {name} == {name}2 ; 0 otherwise }}`"],
            )  # fmt: skip
        self.left[name] = place
        self.ranges.mention(name, place)

    def mixed_index(self, name: str, place: Place, *, alone: bool = True) -> Exception:
        """The error for an index that is neither capital nor small; `alone` if the place is its name only."""
        alone = alone and free_form(name) not in ("in", "if", "or", "and", "for", "not")
        return error(
            "E201",
            place,
            f"index {name} mixes capital and small letters",
            notes=["a capital index stands for a whole axis, a small one for one position"],
            fix=Fix(place, free_form(name), f"write {free_form(name)}") if alone else None,
        )

    def scan(self, node: syntax.Node | tuple[syntax.Node, ...]) -> None:
        """Note every name that stands in brackets, so that capitals outside them can be sizes."""
        for found in syntax.walk(node):
            if isinstance(found, syntax.Subscripted):
                for inner in syntax.walk(found.subscripts):
                    if isinstance(inner, syntax.Name):
                        self.mentioned.add(index_name(inner.name))
                        self.mentions[index_name(inner.name)] += 1
            elif isinstance(found, syntax.Binder):
                self.mentioned.update(found.names)
                self.reduced.update(found.names)

    def finish(self, result: Result) -> Term:
        """The term of a whole right side; refuses capitals left open (R5)."""
        for name, place in result.open.items():
            raise self._unsummed(name, place, result)
        return result.term

    def _unsummed(self, name: str, place: Place, result: Result) -> Exception:
        labels: list[tuple[Place, str]] = []
        if name in self.repeated:
            return error(
                "E301", place, f"capital index {name} stands twice in one tensor, and nowhere else",
                here="a sum needs two factors", labels=[(self.repeated[name], "the second time")],
                notes=[f"a trace is written with its sum, `sum[{name}](…)`"],
            )  # fmt: skip
        known = [n for n in (*self.left, *result.open, *result.closed) if n != name]
        alike = nearest(name, [n for n in known if is_capital(n)])
        fix = None
        if name in result.closed:
            fix = Fix(place, f"{name}'", f"rename this {name} to {name}' if another axis is meant")
        elif free_form(name) in self.left:
            free = free_form(name)
            fix = Fix(place, free, f"write {free}, the index on the left, if one position is meant")
        elif alike is not None:
            fix = Fix(place, alike, f"write {alike} if that is meant")
        else:
            labels = [(p, f"{n} occurs only once, too") for n, p in result.open.items() if n != name]
        return error(
            "E301", place, f"capital index {name} occurs only once",
            here="nothing to sum it with", labels=labels,
            notes=[
                "a capital is summed where it repeats in a product; one that occurs once must stand on the left "
                f"or be bound: `sum[{name}](…)`, `max[{name}](…)`",
            ],
            fix=fix,
        )  # fmt: skip

    def size_of(self, capital: str) -> Integer | None:
        """R9: a capital outside brackets is the size of its axis in this statement."""
        for name in (self.bound.get(capital, capital), self.bound.get(free_form(capital), free_form(capital))):
            if name in self.ranges.places:
                return self.ranges.extent(name)
        if capital in self.mentioned:
            self.ranges.mention(capital, self.place)
            return self.ranges.extent(capital)
        if free_form(capital) in self.mentioned and free_form(capital) in self.left:
            return self.ranges.extent(free_form(capital))
        if free_form(capital) in self.reduced:  # by a reducer further on, as in `1/B Σ_b x[b,j]`
            return self.ranges.extent(free_form(capital))
        return self.elaborator.signature_size(capital, self.scope)

    def give_range(self, name: str, lower: syntax.Expr, upper: syntax.Expr, place: Place) -> None:
        """The range that the writer gives an index, as `k in 0..5`.

        `k in 0..K` says no more than that k runs over its axis: the size is K of the signature, or else is
        inferred as if no range were given.
        """
        first, end = (self.elaborator.size_expression(node, self.scope, self) for node in (lower, upper))
        own = self.ranges.extents.get(name)
        if own is not None and own.unknowns() & (first.unknowns() | end.unknowns()):
            shown = self.ranges.shown(name)
            size = self.elaborator.signature_size(capital_form(shown), self.scope)
            if size is not None:
                self.builder.unify(own, size)
            elif first.terms or end != own:
                raise error(
                    "E402", place, f"the range of index {shown} does not follow from this statement",
                    here=f"{capital_form(shown)} is the size of {shown} itself, which this range is to give",
                    notes=["give the range in numbers or in other sizes, for example of a tensor: `size(L, 1)`"],
                )  # fmt: skip
            else:
                return
        self.ranges.state(name, first, end, place)

    def _unused_on_the_right(self) -> str | None:
        """The one index of the left side that nothing on the right mentions."""
        unused = [name for name in self.left if not self.mentions[name] and not self.mentions[capital_form(name)]]
        return unused[0] if len(unused) == 1 else None

    def _stray_index(self, index: str, place: Place) -> Exception:
        capital = capital_form(index)
        repeats = self.mentions[index] > 1 and case(capital) == "capital"
        alike = nearest(index, self.left) or (None if repeats else self._unused_on_the_right())
        fix = None
        if capital in self.mentioned:
            fix = Fix(place, capital, f"write {capital} to sum over the axis")
        elif alike is not None:
            fix = Fix(place, alike, f"write {alike}, which stands on the left")
        return error(
            "E302", place, f"index {index} does not stand on the left",
            here="which position is meant?",
            notes=[
                "a small index names one position, and every one on the right must stand on the left or be bound "
                f"by a reducer such as `sum[{index}](…)`",
                *([f"to sum over the axis, write the capital {capital} wherever {index} stands"] if repeats else []),
            ],
            fix=fix,
        )  # fmt: skip

    def _rest_names(self, tensor: TensorValue, count: int, axes: Iterable[int], place: Place) -> list[str]:
        rest = self.rests[-1]
        if rest.names is None:
            rest.names, rest.first = [], tensor.shown
            for axis in axes:
                base = tensor.axes[axis] or f"i_{axis}"
                name, number = base, 2
                while name in self.ranges.places or name in rest.names:
                    name, number = f"{base}_{number}", number + 1
                rest.names.append(name)
            for name in rest.names:
                self.ranges.mention(name, place)
                self.ranges.unwritten.add(name)
        if len(rest.names) != count:
            raise error(
                "E204", place, f"{tensor.shown} has {count} ax{'i' if count == 1 else 'e'}s, and {rest.first} "
                f"has {len(rest.names)}",
                notes=["tensors without subscripts are combined element by element, so they need the same axes",
                       "write subscripts to say which axis goes with which, as in `y[b,x,i] = A[b,x,i] + B[i]`"],
            )  # fmt: skip
        return rest.names

    def number(self, value: int | float | Integer) -> Term:
        """A compile-time number as a term."""
        return NumberTerm(value) if isinstance(value, Integer) else LiteralTerm(value)

    @abstractmethod
    def read(self, node: syntax.Expr) -> Result:
        """The term of any scalar expression; see `translate`."""
