"""From terms to index equations: every reduction becomes an equation of its own.

The ranges of all indices are known by now.  A reduction inside an expression gets an
equation over the indices that it uses; what is left is element-wise.  Indices whose range
does not start at 0 are shifted, so that every axis of an equation runs over 0..size.
Mean, log-sum-exp and softmax are composed of sums and maxima here, once for all backends.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import replace

from .builder import Builder
from .diagnostics import error
from .equations import (
    COMPARISONS,
    FLOATS,
    INTEGERS,
    Apply,
    Axis,
    Equation,
    Expression,
    Literal,
    Number,
    Place,
    Random,
    Read,
)
from .equations import walk as expression_walk
from .integers import ZERO, Index, Integer, bounds, is_nonnegative
from .ranges import Ranges
from .terms import ApplyTerm, LiteralTerm, NumberTerm, RandomTerm, ReadTerm, ReduceTerm, Term, free_indices, has_random

_ORDER = ("bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64")
_FLOAT_FUNCTIONS = ("exp", "log", "sqrt", "tanh", "sigmoid", "erf", "sin", "cos")
_WEAK = "weak"
"""The dtype of a literal, which takes the dtype of what it meets."""


def promote(left: str, right: str) -> str:
    """The dtype in which two values meet; bfloat16 and float16 meet in float32."""
    if left == right or right == _WEAK:
        return left
    if left == _WEAK:
        return right
    if {left, right} == {"float16", "bfloat16"}:
        return "float32"
    return max(left, right, key=_ORDER.index)


class Lowering:
    """Makes the equations of one statement."""

    def __init__(self, builder: Builder, ranges: Ranges, name: str, place: Place) -> None:
        self.builder = builder
        self.ranges = ranges
        self.name = name
        self.place = place
        self.emitted: list[str] = []
        self.initializer = False
        self._shift: dict[str, Integer] = {
            name: Integer.index(name) + known.lower for name, known in ranges.known.items() if known.lower.terms
        }
        self._randoms: dict[tuple[str, tuple[str, ...]], str] = {}
        self.add = self._add
        """Replaced while the steps of a recurrence are made."""

    def _add(self, name: str, equation: Equation) -> str:
        added = self.builder.add(name, equation, self.place, initializer=self.initializer)
        self.emitted.append(added)
        return added

    # -- entry -----------------------------------------------------------------------------------
    def define(self, name: str, domain: Iterable[str], term: Term, dtype: str | None = None) -> str:
        """Add the equations for `name[domain] = term`; gives the name that was added."""
        return self.add(name, self.equation(name, tuple(domain), term, dtype))

    def equation(self, name: str, domain: tuple[str, ...], term: Term, dtype: str | None = None) -> Equation:
        """The equation itself; equations for inner reductions are added on the way."""
        axes = self.axes(domain)
        if isinstance(term, ReduceTerm) and term.reducer in (
            "sum",
            "prod",
            "max",
            "min",
            "argmax",
            "argmin",
            "any",
            "all",
        ):
            made = self._reduction(name, axes, domain, term)
            if made is not None and (dtype is None or dtype == made.dtype):
                return made
        body = self._expression(term, domain, top=True)
        body = self._cast(body, dtype or self._settled(body.dtype))
        return Equation(axes, body, body.dtype)

    def axes(self, names: Iterable[str]) -> tuple[Axis, ...]:
        """Axes for indices, with their sizes."""
        return tuple(Axis(name, self._size(name)) for name in names)

    def _size(self, name: str) -> Integer:
        known = self.ranges.known[name]
        return self.builder.resolve(known.upper - known.lower)

    def _settled(self, dtype: str) -> str:
        return "float32" if dtype == _WEAK else dtype

    # -- reductions ----------------------------------------------------------------------------------
    def _reduction(
        self, name: str, axes: tuple[Axis, ...], domain: tuple[str, ...], term: ReduceTerm
    ) -> Equation | None:
        if set(term.indices) & set(domain):
            return None
        inside = (*domain, *term.indices)
        body = self._expression(term.body, inside)
        guard = self._skip_guard(term, inside)
        if term.guards:
            body = self._apply("select", [self._conditions(term.guards), body, Literal(0, _WEAK)])
        if term.reducer in ("any", "all"):
            body = self._cast(body, "bool")
        else:
            body = self._cast(body, self._settled(body.dtype))
            if body.dtype == "bool" and term.reducer in ("sum", "prod"):
                body = self._cast(body, "int64")
        dtype = "int64" if term.reducer in ("argmax", "argmin") else body.dtype
        return Equation(axes, body, dtype, self.axes(term.indices), term.reducer, guard)

    def _skip_guard(self, term: ReduceTerm, inside: tuple[str, ...]) -> Expression | None:
        """Points of `skip` views outside their tensor are left out of the reduction."""
        conditions: dict[Integer, None] = {}
        for read in _own_reads(term.body):
            for view in read.tensor.views:
                if view.guarded:
                    self._refuse_empty_window(term, read, view.axis)
                    position = self._integer(read.subscripts[view.axis])
                    conditions[position] = None
                    conditions[self.builder.resolve(read.tensor.shape[view.axis]) - 1 - position] = None
        return self._conditions(conditions) if conditions else None

    def _refuse_empty_window(self, term: ReduceTerm, read: ReadTerm, axis: int) -> None:
        """A window that lies wholly in the skipped places has nothing to reduce (E309)."""
        position, size = read.subscripts[axis], self.builder.resolve(read.tensor.shape[axis])
        box = self.ranges.box()
        inner = {name: box[name] for name in term.indices}
        outer = {name: interval for name, interval in box.items() if name not in inner}
        resolved = self.builder.resolve(position)
        fixed = {Index(name): ZERO for name in resolved.indices() - set(inner)}
        window = bounds(resolved.substitute(fixed), inner)
        moving = bounds(resolved.substitute({Index(n): ZERO for n in inner}) - resolved.offset, outer)
        if window is None or moving is None:
            return
        for slack in (moving[0] + window[1], size - 1 - moving[1] - window[0]):
            if slack.constant is not None and not is_nonnegative(slack):
                raise error(
                    "E309", read.place, "some windows lie wholly in the places that `skip` leaves out",
                    here="there is nothing to reduce there",
                    notes=["skip fewer places than the window is wide"],
                )  # fmt: skip

    def _conditions(self, facts: Iterable[Integer]) -> Expression:
        tests = [self._apply("le", [Literal(0, "int64"), Number(self._integer(fact), "int64")]) for fact in facts]
        whole = tests[0]
        for test in tests[1:]:
            whole = self._apply("and", [whole, test])
        return whole

    def _inner_reduction(self, term: ReduceTerm, available: tuple[str, ...]) -> Expression:
        if term.reducer == "mean":
            return self._mean(term, available)
        if term.reducer == "logsumexp":
            return self._log_sum_exp(term, available)
        if term.reducer == "softmax":
            return self._softmax(term, available)
        return self._own_tensor(term, available, term.reducer)

    def _own_tensor(self, term: Term, available: tuple[str, ...], suffix: str) -> Expression:
        """Give a term an equation of its own, and read that."""
        used = set(available) if has_random(term) else free_indices(term)
        domain = tuple(name for name in available if name in used)
        equation = self.equation(f"{self.name}.{suffix}", domain, term)
        name = self.add(f"{self.name}.{suffix}", equation)
        return Read(name, tuple(Integer.index(index) for index in domain), equation.dtype)

    def _mean(self, term: ReduceTerm, available: tuple[str, ...]) -> Expression:
        total = self._own_tensor(replace(term, reducer="sum"), available, "sum")
        guard = self._skip_guard(term, (*available, *term.indices))
        if guard is None:
            sizes = (self._size(index) for index in term.indices)
            return self._apply("div", [total, Number(math.prod(sizes, start=Integer.of(1)), "int64")])
        # places that `skip` leaves out do not count
        used = {name for node in expression_walk(guard) if isinstance(node, Number) for name in node.value.indices()}
        domain = tuple(name for name in available if name in used)
        ones = Equation(self.axes(domain), Literal(1.0, "float32"), "float32", self.axes(term.indices), "sum", guard)
        count = self.add(f"{self.name}.count", ones)
        return self._apply("div", [total, Read(count, tuple(map(Integer.index, domain)), "float32")])

    def _log_sum_exp(self, term: ReduceTerm, available: tuple[str, ...]) -> Expression:
        highest = self._own_tensor(replace(term, reducer="max"), available, "max")
        shifted = self._shifted_exponential(term, highest)
        total = self._own_tensor(replace(term, reducer="sum", body=shifted), available, "sum")
        return self._apply("add", [self._apply("log", [total]), highest])

    def _softmax(self, term: ReduceTerm, available: tuple[str, ...]) -> Expression:
        # the maximum is taken off first, so that no exponential overflows
        outer = tuple(name for name in available if name not in term.indices)
        highest = self._own_tensor(replace(term, reducer="max"), outer, "max")
        exponential = self._own_tensor(self._shifted_exponential(term, highest), available, "exp")
        assert isinstance(exponential, Read)
        body = self._as_term(exponential)
        total = self._own_tensor(replace(term, reducer="sum", body=body, guards=()), outer, "sum")
        return self._apply("div", [exponential, total])

    def _shifted_exponential(self, term: ReduceTerm, highest: Expression) -> Term:
        assert isinstance(highest, Read)
        return ApplyTerm("exp", (ApplyTerm("sub", (term.body, self._as_term(highest))),))

    def _as_term(self, read: Read) -> Term:
        from .values import TensorValue

        operation = self.builder.operations.get(read.tensor)
        shape = tuple(getattr(operation, "shape", ())) or tuple(self._size(str(s)) for s in read.subscripts)
        value = TensorValue(read.tensor, shape, read.dtype, (None,) * len(read.subscripts), self.place)
        # subscripts here are already shifted to start at 0, so undo that for `_expression`
        undo = {Index(name): Integer.index(name) - self.ranges.known[name].lower for name in self._shift}
        return ReadTerm(value, tuple(s.substitute(undo) for s in read.subscripts), self.place)

    # -- expressions -----------------------------------------------------------------------------------
    def _expression(self, term: Term, available: tuple[str, ...], top: bool = False) -> Expression:
        if isinstance(term, LiteralTerm):
            return Literal(term.value, "bool" if isinstance(term.value, bool) else _WEAK)
        if isinstance(term, NumberTerm):
            return Number(self._integer(term.value), "int64")
        if isinstance(term, ReadTerm):
            return Read(term.tensor.name, tuple(self._integer(s) for s in term.subscripts), term.tensor.dtype)
        if isinstance(term, RandomTerm):
            return self._random(term, available)
        if isinstance(term, ReduceTerm):
            return self._inner_reduction(term, available)
        arguments = [self._expression(argument, available) for argument in term.arguments]
        if term.operation == "cast":
            return self._cast(arguments[0], term.dtype)
        return self._apply(term.operation, arguments)

    def _integer(self, value: Integer) -> Integer:
        value = self.builder.resolve(value)
        return value.substitute({Index(n): v for n, v in self._shift.items()}) if self._shift else value

    def _random(self, term: RandomTerm, available: tuple[str, ...]) -> Expression:
        key = (term.key, available)
        if key not in self._randoms:
            shape = tuple(self._size(name) for name in available)
            stream = self.builder.stream(f"{self.name}/{term.key}")
            operation = Random(shape, "float32", stream)
            name = self.builder.add(f"{self.name}.uniform", operation, self.place, initializer=self.initializer)
            self.emitted.append(name)
            self._randoms[key] = name
        return Read(self._randoms[key], tuple(Integer.index(name) for name in available), "float32")

    def _apply(self, operation: str, arguments: list[Expression]) -> Expression:
        folded = _fold(operation, arguments)
        if folded is not None:
            return folded
        if operation in ("and", "or", "not"):
            return Apply(operation, tuple(self._cast(a, "bool") for a in arguments), "bool")
        if operation == "select":
            condition, *values = arguments
            dtype = self._settled(promote(values[0].dtype, values[1].dtype))
            made = (self._cast(condition, "bool"), *(self._cast(v, dtype) for v in values))
            return Apply("select", made, dtype)
        dtype = _WEAK
        for argument in arguments:
            # an index or a size meets a tensor's dtype as a literal does
            dtype = promote(
                dtype, _WEAK if isinstance(argument, (Literal, Number)) and argument.dtype != "bool" else argument.dtype
            )
        if dtype == _WEAK:
            numbers = any(isinstance(a, Number) or a.dtype in INTEGERS for a in arguments)
            fractions = any(isinstance(a, Literal) and isinstance(a.value, float) for a in arguments)
            dtype = "int64" if numbers and not fractions else _WEAK
        if dtype == "bool" and operation not in COMPARISONS:
            dtype = "float32"
        fractional = any(isinstance(a, Literal) and isinstance(a.value, float) for a in arguments)
        if dtype in INTEGERS and (operation == "div" or operation in _FLOAT_FUNCTIONS or fractional):
            dtype = "float32"
        settled = dtype
        if dtype == _WEAK:
            settled = "float32"
        converted = tuple(self._cast(argument, settled) for argument in arguments)
        return Apply(operation, converted, "bool" if operation in COMPARISONS else settled)

    def _cast(self, expression: Expression, dtype: str) -> Expression:
        if expression.dtype == dtype:
            return expression
        if isinstance(expression, Literal):
            if dtype == "bool":
                return Literal(bool(expression.value), "bool")
            if dtype in FLOATS:
                return Literal(float(expression.value), dtype)
            if dtype in INTEGERS and (dtype == _WEAK or float(expression.value).is_integer()):
                return Literal(int(expression.value), dtype)
            if dtype == _WEAK:
                return expression
        if isinstance(expression, Number) and dtype in (*FLOATS, *INTEGERS):
            return Number(expression.value, dtype)
        if dtype == _WEAK:
            return expression
        return Apply("cast", (expression,), dtype)


_ARITHMETIC: dict[str, Callable[..., float]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "pow": operator.pow,
    "max": max, "min": min,
}  # fmt: skip


def _fold(operation: str, arguments: list[Expression]) -> Expression | None:
    """Arithmetic on literals, done at once (so that `1/3` is one number)."""
    if operation in ("select", "cast") or not all(isinstance(a, Literal) and a.dtype == _WEAK for a in arguments):
        return None
    values = [a.value for a in arguments if isinstance(a, Literal)]
    try:
        if operation == "neg":
            return Literal(-values[0], _WEAK)
        result = _ARITHMETIC[operation](*values)
    except (ValueError, KeyError, ZeroDivisionError, OverflowError):
        return None
    return Literal(result, _WEAK) if isinstance(result, (int, float)) else None


def _own_reads(term: Term) -> list[ReadTerm]:
    """Reads that belong to a reduction itself, not to one inside it."""
    found: list[ReadTerm] = []
    stack: list[Term] = [term]
    while stack:
        node = stack.pop()
        if isinstance(node, ReadTerm):
            found.append(node)
        elif isinstance(node, ApplyTerm):
            stack.extend(reversed(node.arguments))
    return found


def refuse_stray_skips(term: Term, covered: bool = False) -> None:
    """A `skip` view may only be read inside a reduction (E308)."""
    if isinstance(term, ReduceTerm):
        refuse_stray_skips(term.body, True)
    elif isinstance(term, ApplyTerm):
        for argument in term.arguments:
            refuse_stray_skips(argument, covered)
    elif isinstance(term, ReadTerm) and not covered and any(view.guarded for view in term.tensor.views):
        raise error(
            "E308", term.place, "`skip` leaves places out of a reduction, and there is none around this read",
            notes=["use `pad` to have zeros there instead"],
        )  # fmt: skip
