"""What a condition says about integers, for the ranges under its case (rule R14)."""

from __future__ import annotations

from .equations import Place
from .integers import Integer
from .terms import ApplyTerm, LiteralTerm, NumberTerm, Term


def facts(term: Term) -> list[Integer]:
    """What a condition says about integers, as expressions that are `>= 0` where it holds."""
    if not isinstance(term, ApplyTerm):
        return []
    if term.operation == "and":
        return [fact for argument in term.arguments for fact in facts(argument)]
    values = [_as_integer(argument) for argument in term.arguments]
    if len(values) != 2 or values[0] is None or values[1] is None:
        return []
    difference = values[1] - values[0]
    if term.operation == "lt":
        return [difference - 1]
    if term.operation == "le":
        return [difference]
    return [difference, -difference] if term.operation == "eq" else []


def _end(place: Place) -> Place:
    """The empty place after another."""
    return Place(place.file, place.end_line, place.end_column, place.end_line, place.end_column)


def _as_integer(term: Term) -> Integer | None:
    if isinstance(term, NumberTerm):
        return term.value
    if isinstance(term, LiteralTerm) and isinstance(term.value, int):
        return Integer.of(term.value)
    if isinstance(term, ApplyTerm) and term.operation in ("add", "sub", "mul", "neg", "floordiv", "mod"):
        values = [_as_integer(argument) for argument in term.arguments]
        if any(value is None for value in values):
            return None
        left, *right = (value for value in values if value is not None)
        if term.operation == "neg":
            return -left
        if term.operation == "add":
            return left + right[0]
        if term.operation == "sub":
            return left - right[0]
        if term.operation == "mul":
            return left * right[0] if len(left.terms) * len(right[0].terms) <= 64 else None
        if right[0].constant is not None and right[0].constant > 0:
            return left // right[0] if term.operation == "floordiv" else left % right[0]
    return None


def _indices(term: Term) -> set[str]:
    from .terms import free_indices

    return free_indices(term)
