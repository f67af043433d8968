"""The rules of the graph, checked: what every pass may rely on and must keep.

`check` raises `MalformedGraph` for the first rule that does not hold.  It runs between
passes in tests, and wherever a caller of the pipeline asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..dsl.equations import (
    COMBINERS,
    COMPARISONS,
    DTYPES,
    FLOATS,
    INTEGERS,
    OPERATIONS,
    Apply,
    Axis,
    Carry,
    Constant,
    Equation,
    Expression,
    Number,
    Partial,
    Piece,
    Read,
    Recurrence,
    Reshape,
    Shape,
    element_count,
    equation_reads,
)
from ..dsl.integers import Element, FloorDiv, Index, Integer, Range, bounds, is_nonnegative, is_positive
from .graph import Graph
from .rewriting import ranges_of

_FLOAT_ONLY = ("div", "exp", "log", "sqrt", "tanh", "sigmoid", "erf", "sin", "cos")


class MalformedGraph(ValueError):
    """A graph that breaks a rule; the message names the operation and the rule."""


def check(graph: Graph) -> None:
    """Raise `MalformedGraph` unless every operation of the graph keeps the rules."""
    tensors: dict[str, tuple[Shape, str]] = {}
    for name in graph:
        operation = graph.operation(name)
        if not isinstance(operation, Recurrence):
            tensors[name] = (operation.shape, operation.dtype)
    for root in graph.roots:
        if root not in tensors:
            raise MalformedGraph(f"{root} must exist at the end, but nothing in the graph makes it")
    for name in graph:
        _Checker(graph, name, tensors).check()


class _Checker:
    """Checks one operation; `tensors` are shapes and dtypes of all tensors that it may read."""

    def __init__(self, graph: Graph, name: str, tensors: Mapping[str, tuple[Shape, str]]) -> None:
        self.graph, self.name, self.tensors = graph, name, dict(tensors)

    def fail(self, text: str) -> None:
        raise MalformedGraph(f"{self.name}: {text}")

    def check(self) -> None:
        """Check the rules of the operation's kind."""
        operation = self.graph.operation(self.name)
        if isinstance(operation, Recurrence):
            self.recurrence(operation)
            return
        self.sizes(operation.shape)
        if operation.dtype not in DTYPES:
            self.fail(f"{operation.dtype} is not a dtype")
        if isinstance(operation, Equation):
            self.equation(operation, {})
        elif isinstance(operation, Partial):
            self.partial(operation.pieces, operation.shape, operation.dtype, covers=True)
        elif isinstance(operation, Reshape):
            self.reshape(operation)
        elif isinstance(operation, Constant):
            if element_count(operation.shape).constant != len(operation.values):
                self.fail(f"holds {len(operation.values)} values in the shape {_text(operation.shape)}")
        elif isinstance(operation, Carry):
            self.carry(operation)

    def sizes(self, sizes: Iterable[Integer]) -> None:
        """Sizes are numbers or run-time symbols, not negative."""
        for size in sizes:
            if size.unknowns():
                self.fail(f"the size {size} was never inferred")
            if size.indices():
                self.fail(f"the size {size} depends on an index")
            if is_positive(-size):
                self.fail(f"the size {size} is negative")

    # -- equations ----------------------------------------------------------------------------

    def equation(self, equation: Equation, outer: Mapping[str, Range]) -> None:
        """An equation; `outer` are the indices bound around it."""
        axes = (*equation.domain, *equation.reduction)
        self.axes(axes, outer)
        self.sizes(axis.size for axis in axes)
        if equation.combiner is None and (equation.reduction or equation.guard is not None):
            self.fail("has reduction indices or a guard, but no combiner")
        if equation.accumulator and equation.accumulator not in DTYPES:
            self.fail(f"{equation.accumulator} is not a dtype to accumulate in")
        if equation.combiner is not None and equation.combiner not in COMBINERS:
            self.fail(f"{equation.combiner} is not a combiner")
        ranges = {**outer, **ranges_of(*axes)}
        self.expression(equation.body, ranges, certain=equation.guard is None)
        if equation.guard is not None:
            self.expression(equation.guard, ranges, certain=True)
            if equation.guard.dtype != "bool":
                self.fail(f"its guard is {equation.guard.dtype}, not bool")
        self.result(equation)

    def result(self, equation: Equation) -> None:
        """The dtype of the result follows from combiner and body."""
        if equation.combiner in ("argmax", "argmin"):
            if equation.dtype not in INTEGERS:
                self.fail(f"a position is an integer, not {equation.dtype}")
        elif equation.body.dtype not in (equation.dtype, equation.accumulator):
            self.fail(f"is {equation.dtype}, but its body is {equation.body.dtype}")
        if equation.combiner in ("any", "all") and equation.dtype != "bool":
            self.fail(f"{equation.combiner} gives a truth value, not {equation.dtype}")

    def axes(self, axes: Iterable[Axis], outer: Mapping[str, Range]) -> None:
        """No index is bound twice."""
        seen = set(outer)
        for axis in axes:
            if axis.name in seen:
                self.fail(f"the index {axis.name} is bound twice")
            seen.add(axis.name)

    def expression(self, node: Expression, ranges: Mapping[str, Range], certain: bool) -> None:
        """A scalar expression; `certain`: it is evaluated at every point, so its reads must be in bounds."""
        if isinstance(node, Read):
            self.read(node, ranges, certain)
        elif isinstance(node, Number):
            self.integer(node.value, ranges, certain)
        elif isinstance(node, Apply):
            for position, argument in enumerate(node.arguments):
                self.expression(argument, ranges, certain and (node.operation != "select" or position == 0))
            self.apply(node)

    def apply(self, node: Apply) -> None:
        """Number of arguments and dtypes of a scalar operation."""
        if OPERATIONS.get(node.operation) != len(node.arguments):
            self.fail(f"there is no operation {node.operation} of {len(node.arguments)} arguments")
        given = [argument.dtype for argument in node.arguments]
        operation, expected = node.operation, node.dtype
        if operation == "cast":
            return
        if operation == "select":
            right = given == ["bool", expected, expected]
        elif operation in ("and", "or", "not"):
            right = set(given) == {"bool"} and expected == "bool"
        elif operation in COMPARISONS:
            right = given[0] == given[1] and expected == "bool"
        else:
            right = set(given) == {expected} and (expected in FLOATS or operation not in _FLOAT_ONLY)
        if not right:
            self.fail(f"{operation} of {', '.join(given)} does not give {expected}: {node}")

    def read(self, read: Read, ranges: Mapping[str, Range], certain: bool) -> None:
        """Rank, dtype and subscripts of a read."""
        if read.tensor not in self.tensors:
            self.fail(f"reads {read.tensor}, which is not a tensor that it can read")
        shape, dtype = self.tensors[read.tensor]
        if len(read.subscripts) != len(shape):
            self.fail(f"{read} has {len(read.subscripts)} subscripts for the axes {_text(shape)}")
        if read.dtype != dtype:
            self.fail(f"{read} is taken for {read.dtype}, but {read.tensor} is {dtype}")
        for subscript, size in zip(read.subscripts, shape, strict=True):
            self.integer(subscript, ranges, certain)
            if certain:
                self.within(subscript, size, ranges, str(read))

    def integer(self, value: Integer, ranges: Mapping[str, Range], certain: bool) -> None:
        """Every index is bound, no size is unknown, gathers read integers."""
        if value.unknowns():
            self.fail(f"{value} holds a size that was never inferred")
        for atom in value.atoms():
            if isinstance(atom, Index) and atom.name not in ranges:
                self.fail(f"the index {atom.name} in {value} is not bound")
            if isinstance(atom, Element):
                if atom.read.dtype not in INTEGERS:
                    self.fail(f"{atom.read} is {atom.read.dtype}; a subscript must be an integer")
                self.read(atom.read, ranges, certain)

    def within(self, subscript: Integer, size: Integer, ranges: Mapping[str, Range], text: str) -> None:
        """Fail if the subscript certainly leaves `0 <= subscript < size` somewhere."""
        interval = bounds(subscript, ranges) if _is_exact(subscript) else None
        if interval is not None and all(is_positive(upper - lower) for lower, upper in ranges.values()):
            low, high = interval
            if is_positive(-low):
                self.fail(f"{text}: the subscript {subscript} goes down to {low}")
            if is_nonnegative(high - size):
                self.fail(f"{text}: the subscript {subscript} goes up to {high}, but the axis has size {size}")

    # -- operations without a body --------------------------------------------------------------

    def partial(self, pieces: tuple[Piece, ...], shape: Shape, dtype: str, covers: bool) -> None:
        """Pieces take whole tensors to places inside the shape; if it `covers`, none is left out."""
        for piece in pieces:
            source_shape, source_dtype = self.tensors[piece.source]
            if source_dtype != dtype:
                self.fail(f"the piece {piece.source} is {source_dtype}, not {dtype}")
            if tuple(axis.size for axis in piece.domain) != source_shape:
                axes = ", ".join(map(str, piece.domain))
                self.fail(f"the piece {piece.source} of shape {_text(source_shape)} is taken over {axes}")
            self.axes(piece.domain, {})
            self.target(piece.target, shape, ranges_of(*piece.domain))
        if covers:
            total = sum((element_count(self.tensors[piece.source][0]) for piece in pieces), Integer.of(0))
            missing = (element_count(shape) - total).constant
            if missing:
                self.fail(f"its pieces have {total} elements, but it has {element_count(shape)}")

    def target(self, target: tuple[Integer, ...], shape: Shape, ranges: Mapping[str, Range]) -> None:
        """A place to write to: right rank, bound indices, in bounds."""
        if len(target) != len(shape):
            self.fail(f"{len(target)} subscripts are written for the axes {_text(shape)}")
        for subscript, size in zip(target, shape, strict=True):
            self.integer(subscript, ranges, certain=True)
            self.within(subscript, size, ranges, "what it writes")

    def reshape(self, operation: Reshape) -> None:
        """A reshape keeps the number of elements and the dtype."""
        shape, dtype = self.tensors[operation.source]
        if dtype != operation.dtype:
            self.fail(f"reshapes {dtype} to {operation.dtype}")
        if (element_count(shape) - element_count(operation.shape)).constant:
            self.fail(f"reshapes {_text(shape)} to {_text(operation.shape)}, which has another number of elements")

    def carry(self, operation: Carry) -> None:
        """A carry is one of its recurrence's tensors."""
        source = self.graph.operation(operation.recurrence)
        if not isinstance(source, Recurrence) or not 0 <= operation.position < len(source.carried):
            self.fail(f"{operation.recurrence} carries no tensor number {operation.position}")
            return
        carried = source.carried[operation.position]
        if (carried.shape, carried.dtype) != (operation.shape, operation.dtype):
            made = f"{carried.dtype}{_text(carried.shape)}"
            self.fail(f"is {operation.dtype}{_text(operation.shape)}, but the recurrence makes {made}")

    # -- recurrences ----------------------------------------------------------------------------

    def recurrence(self, loop: Recurrence) -> None:
        """Starts, steps in order, and no read of what is not yet computed."""
        time = {loop.index: (loop.lower, loop.upper)}
        for carried in loop.carried:
            self.sizes(carried.shape)
            self.partial(carried.starts, carried.shape, carried.dtype, covers=False)
        for carried in loop.carried:
            self.tensors[carried.name] = (carried.shape, carried.dtype)
        for step in loop.steps:
            self.equation(step.equation, time)
            if step.target is None:
                self.tensors[step.name] = (step.equation.shape, step.equation.dtype)
                continue
            if step.name not in {carried.name for carried in loop.carried}:
                self.fail(f"a step writes {step.name}, which is not carried")
            shape, dtype = self.tensors[step.name]
            if dtype != step.equation.dtype:
                self.fail(f"a step writes {step.equation.dtype} to {step.name}, which is {dtype}")
            self.target(step.target, shape, {**time, **ranges_of(*step.equation.domain)})
        self.causal(loop)

    def causal(self, loop: Recurrence) -> None:
        """No step reads a place of a carried tensor that certainly is filled later only."""
        axis_of = {carried.name: carried.axis for carried in loop.carried}
        writes: dict[str, list[tuple[int, Integer]]] = {}
        for position, step in enumerate(loop.steps):
            if step.target is not None:
                writes.setdefault(step.name, []).append((position, step.target[axis_of[step.name]]))
        for position, step in enumerate(loop.steps):
            ranges = ranges_of(*step.equation.domain, *step.equation.reduction)
            ranges[loop.index] = (loop.lower, loop.upper)
            for read in equation_reads(step.equation):
                if read.tensor in writes:
                    subscript = read.subscripts[axis_of[read.tensor]]
                    if all(
                        _is_later(subscript, at, loop.reverse, position > k, ranges) for k, at in writes[read.tensor]
                    ):
                        self.fail(f"reads {read} before it is computed")


def _is_later(subscript: Integer, write: Integer, reverse: bool, written: bool, ranges: Mapping[str, Range]) -> bool:
    """Whether the place read is certainly filled after the read; `written`: this iteration has written already."""
    distance = write - subscript if reverse else subscript - write
    interval = bounds(distance, ranges)
    return interval is not None and (is_positive(interval[0]) if written else is_nonnegative(interval[0]))


def _is_exact(subscript: Integer) -> bool:
    """Whether every index occurs once, so that `bounds` are reached and not only bounds."""
    seen: set[str] = set()
    for monomial, _ in subscript.terms:
        indices = set().union(*(Integer.atom(atom).indices() for atom in monomial))
        if indices & seen or any(isinstance(atom, FloorDiv) and not _is_exact(atom.numerator) for atom in monomial):
            return False
        seen |= indices
    return True


def _text(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]"
