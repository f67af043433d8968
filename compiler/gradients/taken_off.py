"""Maxima that are taken off before an exponential and given back: their adjoints are 0.

Shares of exponentials, and logarithms of their sums, subtract the largest term first, so that
nothing overflows.  The result does not depend on what is subtracted, so its derivative with
respect to it is 0, which need not be computed:

    e = exp(x - m), s = Σ e, p = e/s        and        s = Σ exp(x - m), l = log(s) + m
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...dsl.equations import Apply, Equation, Expression, Operation, Read, children
from ..rewriting import is_identity


def is_taken_off(name: str, operations: Mapping[str, Operation], readers: Mapping[str, Sequence[str]]) -> bool:
    """Whether a maximum only keeps a softmax or a log-sum-exp from overflowing."""
    maximum = operations[name]
    if not isinstance(maximum, Equation) or maximum.combiner != "max":
        return False
    found = [(reader, operations[reader]) for reader in readers.get(name, ())]
    equations = [(reader, equation) for reader, equation in found if isinstance(equation, Equation)]
    if len(equations) != len(found):
        return False
    return _is_softmax(name, equations, operations, readers) or _is_log_sum_exp(name, equations, readers)


_Readers = Sequence[tuple[str, Equation]]


def _is_softmax(
    name: str, found: _Readers, operations: Mapping[str, Operation], readers: Mapping[str, Sequence[str]]
) -> bool:
    if len(found) != 1:
        return False
    power, equation = found[0]
    if equation.combiner is not None or not _is_shifted_exponential(equation.body, name):
        return False
    later = [(reader, operations[reader]) for reader in readers.get(power, ())]
    sums = [reader for reader, operation in later if isinstance(operation, Equation) and _sums(operation, power)]
    quotients = [reader for reader, operation in later if len(sums) == 1 and _divides(operation, power, sums[0])]
    return len(later) == 2 and len(quotients) == 1 and list(readers.get(sums[0], ())) == quotients


def _is_log_sum_exp(name: str, found: _Readers, readers: Mapping[str, Sequence[str]]) -> bool:
    if len(found) != 2:
        return False
    for (total, summed), (result, equation) in (found, found[::-1]):
        body = equation.body
        if summed.combiner != "sum" or summed.guard is not None or not _is_shifted_exponential(summed.body, name):
            continue
        if equation.combiner is not None or list(readers.get(total, ())) != [result]:
            continue
        if not (isinstance(body, Apply) and body.operation == "add"):
            continue
        logarithm, back = body.arguments
        if not (isinstance(logarithm, Apply) and logarithm.operation == "log"):
            continue
        if _whole(logarithm.arguments[0], total, equation) and _whole(back, name, equation):
            return True
    return False


def _is_shifted_exponential(body: Expression, maximum: str) -> bool:
    """Whether it is `exp(… - m)`, with m nowhere else."""
    if not (isinstance(body, Apply) and body.operation == "exp"):
        return False
    inner = body.arguments[0]
    if not (isinstance(inner, Apply) and inner.operation == "sub"):
        return False
    value, shift = inner.arguments
    return isinstance(shift, Read) and shift.tensor == maximum and not _reads(value, maximum)


def _sums(equation: Equation, power: str) -> bool:
    """Whether an equation sums all elements of a tensor along some of its axes."""
    if equation.combiner != "sum" or equation.guard is not None or not isinstance(equation.body, Read):
        return False
    subscripts = [subscript.plain_index for subscript in equation.body.subscripts]
    axes = {axis.name for axis in (*equation.domain, *equation.reduction)}
    return equation.body.tensor == power and len(set(subscripts)) == len(subscripts) and set(subscripts) == axes


def _divides(operation: Operation, power: str, total: str) -> bool:
    if not isinstance(operation, Equation) or operation.combiner is not None:
        return False
    body = operation.body
    if not (isinstance(body, Apply) and body.operation == "div"):
        return False
    above, below = body.arguments
    return _whole(above, power, operation) and isinstance(below, Read) and below.tensor == total


def _whole(expression: Expression, tensor: str, equation: Equation) -> bool:
    """Whether an expression is a tensor at the place of the equation."""
    return (
        isinstance(expression, Read)
        and expression.tensor == tensor
        and is_identity(expression.subscripts, equation.domain)
    )


def _reads(expression: Expression, tensor: str) -> bool:
    if isinstance(expression, Read):
        return expression.tensor == tensor
    return any(_reads(child, tensor) for child in children(expression))
