"""Scalar expressions and subscripts as TensorIR values, for one element or a vector of them.

A `Point` says where a value is wanted: what each index is at the moment, which index runs
along the lanes of vectors, and which conditions are known to hold.  `Lowering` writes the
value into a block.  An arm of a select that could read outside its tensor is never read
where it is not taken: either a branch guards it or its address is replaced by 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferStore, IntImm, Var

from ...dsl.equations import Apply, Expression, Literal, Number, Read, reads, walk
from ...dsl.integers import Atom, Element, FloorDiv, Index, Integer, Symbol, bounds, is_nonnegative
from . import elementary
from .elementary import compare
from .joining import Steps, steps
from .kernel import PREVIOUS, Kernel, has_gather
from .statements import (
    Block,
    Local,
    add,
    cast,
    choose,
    element_dtype,
    integer,
    lanes_of,
    matched,
    multiply,
    number,
    subtract,
    widen,
)
from .storage import load, working_dtype


@dataclass(frozen=True)
class Point:
    """An element, or `lanes` of them along index `vector`, of which the first `used` count unless that is 0.

    `shifts` are constants added to indices (the place inside a register tile); `assumed`
    are conditions known to hold; `masked` asks for selects without branches.
    """

    vector: str | None = None
    lanes: int = 1
    shifts: Mapping[str, int] = field(default_factory=dict)
    assumed: frozenset[Expression] = frozenset()
    masked: bool = False
    previous: Expr | None = None
    used: int = 0


class Lowering:
    """Writes the values of one kernel's expressions."""

    def __init__(
        self,
        kernel: Kernel,
        arrays: Mapping[str, Var],
        symbols: Mapping[Symbol, Expr],
        status: Var | None,
    ) -> None:
        self.kernel = kernel
        self.arrays = arrays
        self.symbols = symbols
        self.indices: dict[str, Expr] = {}
        self.checks: list[str] = []
        self._status = status
        self._ranges = kernel.all_ranges()
        self._steps: dict[tuple[Read, str, int], Steps | None] = {}
        self._safe = {read: kernel.in_range(read) for read in kernel.reads()}

    # -- integers ---------------------------------------------------------------------

    def size(self, value: Integer) -> Expr:
        """An integer without a vector index, as an int64 expression."""
        return self._sum(value, Point(), None)

    def integer(self, value: Integer, point: Point, block: Block) -> Expr:
        """A subscript at a point; a vector where it depends on the vector index."""
        return self._sum(self._shifted(value, point), point, block)

    def _shifted(self, value: Integer, point: Point) -> Integer:
        moved: dict[Atom, Integer] = {Index(n): Integer.index(n) + by for n, by in point.shifts.items() if by}
        return value.substitute(moved) if moved else value

    def _sum(self, value: Integer, point: Point, block: Block | None) -> Expr:
        total: Expr | None = None
        for atoms, coefficient in value.terms:
            product: Expr | None = None if coefficient != 1 or not atoms else self._atom(atoms[0], point, block)
            for atom in atoms if product is None else atoms[1:]:
                factor = self._atom(atom, point, block)
                product = factor if product is None else multiply(product, factor)
            if coefficient != 1 or product is None:
                product = integer(coefficient) if product is None else multiply(product, integer(coefficient))
            total = product if total is None else add(total, product)
        return integer(0) if total is None else total

    def _atom(self, atom: Atom, point: Point, block: Block | None) -> Expr:
        if isinstance(atom, Symbol):
            return self.symbols[atom]
        if isinstance(atom, Index):
            base = self.indices[atom.name]
            if atom.name == point.vector and point.lanes > 1:
                return tirx.Ramp(base, integer(1), point.lanes)
            return base
        if isinstance(atom, FloorDiv):
            numerator = self._sum(atom.numerator, point, block)
            denominator = self._sum(atom.denominator, point, block)
            limits = bounds(atom.numerator, self._ranges)
            exact = limits is not None and not point.shifts and is_nonnegative(limits[0])
            divide = tirx.Div if exact else tirx.FloorDiv
            return divide(*matched(numerator, denominator))
        if isinstance(atom, Element) and block is not None:
            # The shifts are already in the subscripts of this read.
            return self._load(atom.read, Point(point.vector, point.lanes), block)
        raise TypeError(f"{atom} has no value here")

    # -- reads --------------------------------------------------------------------------

    def _stepped(self, read: Read, moved: Read, point: Point, block: Block) -> Expr | None:
        """A vector of a tensor that is read in steps, if this one is; `moved` is the read with its shifts."""
        if point.vector is None or point.lanes == 1:
            return None
        key = read, point.vector, point.lanes
        if key not in self._steps:
            self._steps[key] = steps(self.kernel, read, point.vector, point.lanes)
        found = self._steps[key]
        if found is None or any(getattr(self.indices[name], "value", None) != 0 for name in found.fine):
            return None
        offset = moved.subscripts[0].substitute({Index(name): 0 for name in found.fine})
        first = offset.offset % found.width
        span = found.span(point.lanes)
        known = block.find(("steps", read.tensor, offset - first, span))
        if known is None:
            place = self._place(offset - first, Point(), block)
            place = tirx.Ramp(place, integer(1), span) if span > 1 else place
            value = load(self.arrays[read.tensor], place, self.kernel.tensors[read.tensor].dtype)
            known = block.remember(("steps", read.tensor, offset - first, span), block.bind(read.tensor, value))
        if span == 1:
            return known
        places = [IntImm("int32", place) for place in found.places(point.lanes, first)]
        return block.bind("step", tirx.Shuffle([known] * -(-point.lanes // span), places))

    def _load(self, read: Read, point: Point, block: Block, mask: Expr | None = None) -> Expr:
        """An element (or a vector) of a tensor, with shifts applied already."""
        key = (read, point.vector, point.lanes, mask)
        known = block.find(key) if mask is None else None
        if known is not None:
            return known
        stored = self.kernel.tensors[read.tensor]
        if has_gather(read):
            place = self._gathered_place(read, point, block)
        else:
            place = self._place(read.subscripts[0], point, block)
        if mask is not None:
            place = choose(mask, place, widen(integer(0), lanes_of(place)))
        value = block.bind(read.tensor, load(self.arrays[read.tensor], place, stored.dtype, point.used))
        return value if mask is not None else block.remember(key, value)

    def address(self, offset: Integer, point: Point, block: Block) -> Expr:
        """Where an element (or a vector) at a point lies, for an offset in terms of the indices."""
        return self._place(self._shifted(offset, point), point, block)

    def _place(self, offset: Integer, point: Point, block: Block) -> Expr:
        """An offset as base (shared by a register tile) plus a constant, as a ramp if it runs along the lanes."""
        stride: Integer | None = Integer(())
        if point.vector is not None and point.lanes > 1:
            stride = offset.coefficient(point.vector)
            if stride is None:
                return self._sum(offset, point, block)
        moving = Integer(tuple((m, c) for m, c in offset.terms if _varies(m)))
        fixed = offset - moving
        base = block.find(moving)
        if base is None:
            base = block.remember(moving, block.bind("base", self._sum(moving, Point(), block)))
        place = base if not fixed.terms else base + self._sum(fixed, Point(), None)
        if stride is None or not stride.terms:
            return place
        return tirx.Ramp(place, self._sum(stride, Point(), None), point.lanes)

    def _gathered_place(self, read: Read, point: Point, block: Block) -> Expr:
        """The offset of a gathered element, every subscript brought into range; failures are recorded."""
        place: Expr = integer(0)
        for axis, (subscript, size) in enumerate(
            zip(read.subscripts, self.kernel.tensors[read.tensor].shape, strict=True)
        ):
            value = block.bind("subscript", self._sum(subscript, point, block))
            length = self.size(size)
            if any(isinstance(atom, Element) for atom in subscript.atoms()):
                value = self._clamped(read.tensor, axis, value, length, block)
            place = add(multiply(place, length), value)
        return block.bind("place", place)

    def _clamped(self, tensor: str, axis: int, value: Expr, length: Expr, block: Block) -> Expr:
        if lanes_of(value) > 1:
            raise NotImplementedError("a gather along the lanes")
        message = f"{tensor}:{axis}"
        if message not in self.checks:
            self.checks.append(message)
        outside = tirx.Or(tirx.LT(value, integer(0)), tirx.GE(value, length))
        failed = block.child()
        flag = integer(self.checks.index(message))
        failed.append(BufferStore(self._status, IntImm("int32", 1), [flag]))
        block.branch(outside, failed)
        inside = tirx.Max(integer(0), tirx.Min(value, length - 1))
        return block.bind("inside", inside)

    # -- values ---------------------------------------------------------------------------

    def value(self, expression: Expression, point: Point, block: Block, mask: Expr | None = None) -> Expr:
        """The value of an expression in its working dtype.

        Where `mask` is given, reads that may be out of range use address 0 unless it holds.
        """
        if isinstance(expression, Literal):
            return number(expression.value, working_dtype(expression.dtype))
        if isinstance(expression, Number):
            return cast(self.integer(expression.value, point, block), working_dtype(expression.dtype))
        if isinstance(expression, Read):
            if expression.tensor == PREVIOUS:
                assert point.previous is not None
                return cast(point.previous, working_dtype(expression.dtype))
            moved = expression.with_subscripts(tuple(self._shifted(s, point) for s in expression.subscripts))
            unsafe = mask is not None and not self._safe[expression]
            stepped = None if unsafe else self._stepped(expression, moved, point, block)
            return stepped if stepped is not None else self._load(moved, point, block, mask if unsafe else None)
        if expression.operation == "select":
            return self._select(expression, point, block, mask)
        arguments = [self.value(argument, point, block, mask) for argument in expression.arguments]
        return self._apply(expression, arguments, block)

    def staged(self, value: Expr, point: Point, block: Block) -> Expr:
        """The value after the kernel's epilogue."""
        for stage in self.kernel.stages:
            value = self.value(stage.value, replace(point, previous=block.bind("value", value)), block)
        return value

    def _select(self, expression: Apply, point: Point, block: Block, mask: Expr | None) -> Expr:
        condition, left, right = expression.arguments
        dtype = working_dtype(expression.dtype)
        if condition in point.assumed:
            return cast(self.value(left, point, block, mask), dtype)
        test = block.bind("test", self.value(condition, point, block, mask))
        if self._harmless(left) and self._harmless(right):
            arms = [cast(self.value(arm, point, block, mask), dtype) for arm in (left, right)]
            return choose(test, *arms)
        if lanes_of(test) == 1 and not (point.masked and self.maskable(left, point) and self.maskable(right, point)):
            return self._branch(expression, test, point, block, mask)
        taken = test if mask is None else tirx.And(*matched(mask, test))
        refused = tirx.Not(test) if mask is None else tirx.And(*matched(mask, tirx.Not(test)))
        first = cast(self.value(left, point, block, taken), dtype)
        return choose(test, first, cast(self.value(right, point, block, refused), dtype))

    def _branch(self, expression: Apply, test: Expr, point: Point, block: Block, mask: Expr | None) -> Expr:
        dtype = working_dtype(expression.dtype)
        arms = [block.child(), block.child()]
        values = [
            cast(self.value(arm, point, body, mask), dtype)
            for arm, body in zip(expression.arguments[1:], arms, strict=True)
        ]
        result = Local(block, "chosen", dtype, max(map(lanes_of, values)))
        for body, value in zip(arms, values, strict=True):
            result.set(body, value)
        block.branch(test, *arms)
        return block.bind("chosen", result.get())

    def _harmless(self, expression: Expression) -> bool:
        """Whether computing a value that is then not used can do no harm and costs little."""
        for node in walk(expression):
            if isinstance(node, Read) and node.tensor != PREVIOUS and (has_gather(node) or not self._safe[node]):
                return False
            if (
                isinstance(node, Apply)
                and node.operation in ("floordiv", "mod", "div")
                and working_dtype(node.dtype) == "int64"
            ):
                return False
        return True

    def maskable(self, expression: Expression, point: Point) -> bool:
        """Whether reading address 0 in place of an address out of range is possible."""
        for read in reads(expression):
            if read.tensor == PREVIOUS or (not has_gather(read) and self._safe[read]):
                continue
            if has_gather(read) or not is_nonnegative(self.kernel.tensors[read.tensor].count - point.lanes):
                return False
        return all(
            not (isinstance(node, Apply) and node.operation in ("floordiv", "mod", "div")) for node in walk(expression)
        )

    def _apply(self, node: Apply, arguments: list[Expr], block: Block) -> Expr:
        operation, dtype = node.operation, working_dtype(node.dtype)
        if operation == "cast":
            return convert(arguments[0], node.dtype)
        if operation in ("and", "or"):
            combine = tirx.And if operation == "and" else tirx.Or
            return combine(*matched(*arguments))
        if operation in ("lt", "le", "eq", "ne"):
            common = _common([element_dtype(argument) for argument in arguments])
            return compare(operation, *(cast(argument, common) for argument in arguments))
        arguments = [cast(argument, dtype) for argument in arguments]
        if operation in elementary.FUNCTIONS:
            return elementary.FUNCTIONS[operation](block, *arguments)
        return _BINARY[operation](block, *arguments)

    def vectorises(self, index: str) -> bool:
        """Whether every expression of the kernel can be computed along the lanes of an index."""
        guard = self.kernel.guard
        if guard is not None and depends(guard, index) and not self._harmless(self.kernel.body):
            return False
        return all(self._vectorises(expression, index) for expression in self.kernel.expressions())

    def _vectorises(self, expression: Expression, index: str) -> bool:
        for node in walk(expression):
            if isinstance(node, Read) and has_gather(node):
                if any(
                    index in s.indices() and any(isinstance(a, Element) for a in s.atoms()) for s in node.subscripts
                ):
                    return False
            elif isinstance(node, Number) and any(isinstance(a, Element) for a in node.value.atoms()):
                if index in node.value.indices():
                    return False
            elif isinstance(node, Apply) and node.operation == "select":
                condition, *arms = node.arguments
                if depends(condition, index) and not all(map(self._harmless, arms)):
                    return False
        return True


def depends(expression: Expression, index: str) -> bool:
    """Whether an expression mentions an index."""
    for node in walk(expression):
        integers = node.subscripts if isinstance(node, Read) else (node.value,) if isinstance(node, Number) else ()
        if any(index in value.indices() for value in integers):
            return True
    return False


def convert(value: Expr, dtype: str) -> Expr:
    """The meaning of `cast`: towards zero from floats to integers, modulo 2**n between integers."""
    if dtype == "bool":
        return compare("ne", value, number(0, element_dtype(value))) if element_dtype(value) != "bool" else value
    if dtype in ("int32", "uint8"):
        return cast(cast(cast(value, "int64"), dtype), "int64")
    return cast(value, working_dtype(dtype))


def _varies(monomial: tuple[Atom, ...]) -> bool:
    return any(
        isinstance(atom, (Index, Element)) or (isinstance(atom, FloorDiv) and Integer.atom(atom).indices())
        for atom in monomial
    )


def _common(dtypes: list[str]) -> str:
    return max(dtypes, key=("bool", "int64", "float32", "float64").index)


def _maximum(block: Block, left: Expr, right: Expr) -> Expr:
    return choose(compare("ge", left, right), left, right)


def _minimum(block: Block, left: Expr, right: Expr) -> Expr:
    return choose(compare("le", left, right), left, right)


def _floor_division(block: Block, left: Expr, right: Expr) -> Expr:
    if element_dtype(left) == "int64":
        return tirx.FloorDiv(*matched(left, right))
    return tirx.floor(tirx.Div(*matched(left, right)))


def _modulo(block: Block, left: Expr, right: Expr) -> Expr:
    """The remainder with the sign of the divisor."""
    if element_dtype(left) == "int64":
        return tirx.FloorMod(*matched(left, right))
    zero = number(0.0, element_dtype(left))
    rest = elementary.per_lane(block, "fmod", left, right)
    turned = tirx.And(
        *matched(compare("ne", rest, zero), compare("ne", compare("lt", rest, zero), compare("lt", right, zero)))
    )
    return choose(turned, add(rest, right), rest)


def _power(block: Block, base: Expr, exponent: Expr) -> Expr:
    constant = getattr(exponent, "value", None)
    if constant in (2, 2.0):
        base = block.bind("base", base)
        return multiply(base, base)
    if element_dtype(base) == "int64":
        return cast(elementary.per_lane(block, "pow", cast(base, "float64"), cast(exponent, "float64")), "int64")
    return elementary.per_lane(block, "pow", base, exponent)


_BINARY: Mapping[str, Callable[[Block, Expr, Expr], Expr]] = {
    "add": lambda block, a, b: add(a, b),
    "sub": lambda block, a, b: subtract(a, b),
    "mul": lambda block, a, b: multiply(a, b),
    "div": lambda block, a, b: tirx.Div(*matched(a, b)),
    "floordiv": _floor_division,
    "mod": _modulo,
    "pow": _power,
    "max": _maximum,
    "min": _minimum,
}
