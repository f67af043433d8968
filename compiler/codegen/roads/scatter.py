"""Sums of which each term belongs to one element only, found in a tensor: scatters.

    d_E[n, j] = sum over b, t of  d_e[b, t, j]  where tokens[b, t] = n

As it stands the sum looks at every term for each element.  Here each term is added to the one
element that it belongs to.  The gradients of gathers have this form.
"""

from __future__ import annotations

from dataclasses import dataclass

from ....dsl.equations import Apply, Expression
from ....dsl.integers import ZERO, Element, Index, Integer
from ...rewriting import as_integer, conjuncts, indices_of
from ...scalar_identities import is_literal
from ..kernel import Kernel
from ..schedule import Road, Schedule
from ..storage import working_dtype
from ..target import Target
from . import analysis


@dataclass(frozen=True)
class Scattered:
    """Where terms belong: output index `index` is `place`; `value` is added where the conditions hold."""

    index: str
    place: Integer
    conditions: tuple[Expression, ...]
    value: Expression


def scattered(kernel: Kernel) -> Scattered | None:
    """A kernel's sum as a scatter, or None if it is none."""
    if kernel.combiner != "sum" or kernel.algorithm is not None:
        return None
    if not kernel.output.dtype == kernel.accumulator == working_dtype(kernel.dtype):
        return None  # sums are kept in the output, which must hold them exactly
    conditions = [] if kernel.guard is None else conjuncts(kernel.guard)
    value = kernel.body
    while isinstance(value, Apply) and value.operation == "select" and is_literal(value.arguments[2], 0):
        conditions += conjuncts(value.arguments[0])
        value = value.arguments[1]
    for condition in conditions:
        rest = tuple(other for other in conditions if other != condition)
        found = _place(kernel, condition)
        if found is None:
            continue
        index, place = found
        if not any(index in indices_of(expression) for expression in (*rest, value)):
            return Scattered(index, place, rest, value)
    return None


def _place(kernel: Kernel, condition: Expression) -> tuple[str, Integer] | None:
    """The output index that a condition sets equal to something found in a tensor."""
    if not (isinstance(condition, Apply) and condition.operation == "eq"):
        return None
    left, right = (as_integer(argument) for argument in condition.arguments)
    if left is None or right is None or not any(isinstance(a, Element) for a in (left - right).atoms()):
        return None
    difference = left - right
    for axis in kernel.domain:
        step = difference.coefficient(axis.name)
        if step is not None and step.constant in (1, -1):
            rest = difference.substitute({Index(axis.name): ZERO})
            return axis.name, -rest if step.constant == 1 else rest
    return None


def road(kernel: Kernel, target: Target) -> Road | None:
    """Vectors, and threads, run along an output index that all terms have; without one there is one thread."""
    found = scattered(kernel)
    if found is None:
        return None
    taken = {found.index, *found.place.indices()}.union(*map(indices_of, found.conditions))
    free = [axis.name for axis in kernel.domain if axis.name not in taken]
    vector = next((name for name in free if analysis.output_stride(kernel, name) == 1), None)
    order = tuple(axis.name for axis in kernel.domain)
    reduction = tuple(axis.name for axis in kernel.reduction)
    if vector is None:
        return Road("scatter", ((None, Schedule(order, reduction)),))
    lanes = analysis.lanes_for(kernel, vector, target) if analysis.can_vectorise(kernel, vector) else 1
    order = (vector, *(name for name in order if name != vector))
    return Road("scatter", ((None, Schedule(order, reduction, vector, lanes, parallel=1)),))
