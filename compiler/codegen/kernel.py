"""One kernel before it is scheduled: loops, a reduction, and what is stored at the end.

A kernel is an equation with its element-wise epilogue, over *flat* addresses: a read of an
affine position has one subscript, its row-major offset.  In that form two axes that are
always walked together are one axis (`merged`), and what is left tells which index is
contiguous where.  Reads with a gather in them keep their subscripts, which are checked
one by one while the kernel runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...dsl.equations import (
    FLOATS,
    Axis,
    Equation,
    Expression,
    Number,
    Read,
    Shape,
    element_count,
    transform,
    walk,
)
from ...dsl.integers import ONE, ZERO, Atom, Element, Index, Integer, Range, Symbol, bounds, is_nonnegative
from .correlation import Correlation
from .winograd import WeightTransform, Winograd


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in memory."""

    shape: Shape
    dtype: str

    @property
    def count(self) -> Integer:
        """The number of elements."""
        return element_count(self.shape)


@dataclass(frozen=True, slots=True)
class Stage:
    """A value computed for each output element from the one before, which it reads as `@`."""

    value: Expression
    dtype: str


PREVIOUS = "@"


@dataclass(frozen=True)
class Kernel:
    """For all of `domain`: `stages(combiner over reduction of body)` goes to `output[offset]`.

    `ranges` are the ranges of indices that enclosing loops bind (the time of a recurrence).
    `tensors` are the operands in the order of the kernel's parameters.

    A kernel with an `algorithm` is a step of it rather than what its body says, and has
    `scratch` bytes of memory to itself while it runs.
    """

    domain: tuple[Axis, ...]
    reduction: tuple[Axis, ...]
    combiner: str | None
    body: Expression
    guard: Expression | None
    dtype: str
    accumulator: str
    stages: tuple[Stage, ...]
    offset: Integer
    output: Stored
    tensors: Mapping[str, Stored]
    ranges: Mapping[str, Range]
    algorithm: Winograd | WeightTransform | Correlation | None = None
    scratch: Integer = ZERO

    def expressions(self) -> list[Expression]:
        """Body, guard and stages."""
        guard = [] if self.guard is None else [self.guard]
        return [self.body, *guard, *(stage.value for stage in self.stages)]

    def reads(self) -> list[Read]:
        """All reads of memory, those inside gathers included, each once."""
        found = [node for e in self.expressions() for node in walk(e) if isinstance(node, Read)]
        return list(dict.fromkeys(read for read in found if read.tensor != PREVIOUS))

    def size(self, index: str) -> Integer:
        """The size of one of the kernel's own indices."""
        return next(axis.size for axis in (*self.domain, *self.reduction) if axis.name == index)

    def all_ranges(self) -> dict[str, Range]:
        """The range of every index."""
        own = {axis.name: (ZERO, axis.size) for axis in (*self.domain, *self.reduction)}
        return {**self.ranges, **own}

    def in_range(self, read: Read) -> bool:
        """Whether a read with affine subscripts provably stays inside its tensor."""
        if has_gather(read):
            return True  # the index is clamped
        limits = bounds(read.subscripts[0], self.all_ranges()) if read.subscripts else (ZERO, ZERO)
        count = self.tensors[read.tensor].count
        return limits is not None and is_nonnegative(limits[0]) and is_nonnegative(count - 1 - limits[1])

    def integers(self) -> list[Integer]:
        """Every integer expression in the kernel."""
        found = [self.offset, self.scratch, *(axis.size for axis in (*self.domain, *self.reduction))]
        for expression in self.expressions():
            for node in walk(expression):
                if isinstance(node, Read):
                    found += node.subscripts
                elif isinstance(node, Number):
                    found.append(node.value)
        found += [size for read in self.reads() if has_gather(read) for size in self.tensors[read.tensor].shape]
        return found

    def free(self) -> tuple[list[Symbol], list[str]]:
        """The run-time sizes and the enclosing indices that the kernel needs, sorted."""
        atoms = {atom for value in self.integers() for atom in value.atoms()}
        bound = {axis.name for axis in (*self.domain, *self.reduction)}
        symbols = sorted((atom for atom in atoms if isinstance(atom, Symbol)), key=lambda symbol: symbol.name)
        indices = sorted({atom.name for atom in atoms if isinstance(atom, Index)} - bound)
        return symbols, indices


def has_gather(read: Read) -> bool:
    """Whether a subscript is computed from elements of a tensor."""
    return any(isinstance(atom, Element) for subscript in read.subscripts for atom in subscript.atoms())


def accumulator_dtype(equation: Equation) -> str:
    """The dtype in which an equation's reduction is carried out."""
    if equation.combiner in ("any", "all"):
        return "bool"
    dtype = equation.accumulator or (
        equation.body.dtype if equation.combiner not in ("sum", "prod") else equation.dtype
    )
    if dtype in FLOATS:
        return "float64" if dtype == "float64" else "float32"
    return "int64"


def step(offset: Integer, index: str) -> int | None:
    """How far apart neighbours along an index are in memory; None where that varies or is unknown."""
    coefficient = offset.coefficient(index)
    return None if coefficient is None else coefficient.constant


def row_major(subscripts: Sequence[Integer], shape: Shape) -> Integer:
    """The offset of an element."""
    offset = ZERO
    for subscript, size in zip(subscripts, shape, strict=True):
        offset = offset * size + subscript
    return offset


def make_kernel(
    chain: Sequence[tuple[str, Equation]],
    tensors: Mapping[str, Stored],
    output: Stored,
    target: tuple[Integer, ...] | None = None,
    ranges: Mapping[str, Range] | None = None,
    merge: bool = True,
) -> Kernel:
    """The kernel of an equation and the element-wise equations that follow it.

    Each equation of `chain` but the first has the domain of the first, under names of its
    own, and reads the one before at its own element; `target`
    are the subscripts in `output` for the domain of the last (its own element if None).
    Axes that can be walked as one are, unless `merge` is false.
    """
    name, root = chain[0]
    names = [axis.name for axis in root.domain]
    stages: list[Stage] = []
    subscripts = tuple(map(Integer.index, names))
    for follower_name, follower in chain[1:]:
        axes = (Index(axis.name) for axis in follower.domain)
        body = _substituted(follower.body, dict(zip(axes, subscripts, strict=True)))
        stages.append(Stage(_with_previous(body, name), follower.dtype))
        name = follower_name
    if target is not None:
        last = (Index(axis.name) for axis in chain[-1][1].domain)
        places: dict[Atom, Integer] = dict(zip(last, subscripts, strict=True))
        subscripts = tuple(value.substitute(places) for value in target)
    flat = _Flattener(tensors)
    kernel = Kernel(
        root.domain,
        root.reduction,
        root.combiner,
        flat.expression(root.body),
        None if root.guard is None else flat.expression(root.guard),
        root.dtype,
        accumulator_dtype(root),
        tuple(replace(stage, value=flat.expression(stage.value)) for stage in stages),
        row_major(subscripts, output.shape),
        output,
        {},
        dict(ranges or {}),
    )
    used = dict.fromkeys(read.tensor for read in kernel.reads())
    kernel = replace(kernel, tensors={name: tensors[name] for name in used})
    return _merged(kernel) if merge else kernel


def _substituted(expression: Expression, values: Mapping[Atom, Integer]) -> Expression:
    return transform(expression, lambda node: None, lambda integer: integer.substitute(values))


def _with_previous(expression: Expression, name: str) -> Expression:
    def node(found: Expression) -> Expression | None:
        return Read(PREVIOUS, (), found.dtype) if isinstance(found, Read) and found.tensor == name else None

    return transform(expression, node)


class _Flattener:
    """Replaces affine subscripts by one offset."""

    def __init__(self, tensors: Mapping[str, Stored]) -> None:
        self._tensors = tensors

    def expression(self, expression: Expression) -> Expression:
        return transform(expression, self._node, self._integer)

    def _node(self, node: Expression) -> Expression | None:
        return self._read(node) if isinstance(node, Read) and node.tensor != PREVIOUS else None

    def _read(self, read: Read) -> Read:
        if has_gather(read):
            return read
        return read.with_subscripts((row_major(read.subscripts, self._tensors[read.tensor].shape),))

    def _integer(self, value: Integer) -> Integer:
        def atom(found: Atom) -> Integer | None:
            if not isinstance(found, Element):
                return None
            inner = found.read.with_subscripts(tuple(map(self._integer, found.read.subscripts)))
            return Integer.atom(Element(self._read(inner)))

        return value.rewrite(atom)


# -- axes that are walked together -------------------------------------------------------


def _merged(kernel: Kernel) -> Kernel:
    """Drop axes of size 1 and make one axis of two that only occur as `outer*size + inner`."""
    for axis in (*kernel.domain, *kernel.reduction):
        if axis.size == ONE:
            kernel = _without(kernel, axis.name, {Index(axis.name): ZERO})
    while (pair := _mergeable(kernel)) is not None:
        kernel = _merge(kernel, *pair)
    return kernel


def _mergeable(kernel: Kernel) -> tuple[Axis, Axis] | None:
    groups = [kernel.domain]
    if kernel.combiner not in ("argmax", "argmin"):
        groups.append(kernel.reduction)
    addresses = [kernel.offset, *(s for read in kernel.reads() for s in read.subscripts if not has_gather(read))]
    fixed = {
        name
        for expression in kernel.expressions()
        for node in walk(expression)
        for value in (
            (node.value,)
            if isinstance(node, Number)
            else node.subscripts
            if isinstance(node, Read) and has_gather(node)
            else ()
        )
        for name in value.indices()
    }
    for axes in groups:
        for outer in axes:
            for inner in axes:
                if outer is inner or outer.name in fixed or inner.name in fixed:
                    continue
                if all(_together(address, outer, inner) for address in addresses):
                    return outer, inner
    return None


def _together(address: Integer, outer: Axis, inner: Axis) -> bool:
    large, small = address.coefficient(outer.name), address.coefficient(inner.name)
    return large is not None and small is not None and large == small * inner.size


def _merge(kernel: Kernel, outer: Axis, inner: Axis) -> Kernel:
    joined = Axis(inner.name, outer.size * inner.size)

    def axes(found: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(joined if axis is inner else axis for axis in found)

    kernel = replace(kernel, domain=axes(kernel.domain), reduction=axes(kernel.reduction))
    return _without(kernel, outer.name, {Index(outer.name): ZERO})


def _without(kernel: Kernel, name: str, values: Mapping[Atom, Integer]) -> Kernel:
    return replace(
        kernel,
        domain=tuple(axis for axis in kernel.domain if axis.name != name),
        reduction=tuple(axis for axis in kernel.reduction if axis.name != name),
        body=_substituted(kernel.body, values),
        guard=None if kernel.guard is None else _substituted(kernel.guard, values),
        stages=tuple(replace(stage, value=_substituted(stage.value, values)) for stage in kernel.stages),
        offset=kernel.offset.substitute(values),
    )


# -- equal kernels ------------------------------------------------------------------------


def canonical(kernel: Kernel) -> tuple[Kernel, dict[str, str]]:
    """The kernel with tensors, indices and symbols numbered, and the new names of the tensors.

    Kernels of the same computation on other tensors become equal values.
    """
    tensors = {name: f"t{i}" for i, name in enumerate(kernel.tensors)}
    symbols, free = kernel.free()
    shorter = {symbol: Symbol(f"n{i:02}", symbol.minimum) for i, symbol in enumerate(symbols)}
    bound = [axis.name for axis in (*kernel.domain, *kernel.reduction)]
    indices = {name: f"i{i}" for i, name in enumerate(bound)} | {name: f"f{i:02}" for i, name in enumerate(free)}
    atoms: dict[Atom, Integer] = {old: Integer.atom(new) for old, new in shorter.items()}
    atoms |= {Index(old): Integer.index(new) for old, new in indices.items()}

    def integer(value: Integer) -> Integer:
        def atom(found: Atom) -> Integer | None:
            if isinstance(found, Element):
                subscripts = tuple(map(integer, found.read.subscripts))
                return Integer.atom(
                    Element(replace(found.read, tensor=tensors[found.read.tensor], subscripts=subscripts))
                )
            return atoms.get(found)

        return value.rewrite(atom)

    def node(found: Expression) -> Expression | None:
        if isinstance(found, Read) and found.tensor in tensors:
            return replace(found, tensor=tensors[found.tensor])
        return None

    def expression(found: Expression) -> Expression:
        return transform(found, node, integer)

    def axes(found: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(Axis(indices[axis.name], integer(axis.size)) for axis in found)

    def stored(found: Stored) -> Stored:
        return Stored(tuple(map(integer, found.shape)), found.dtype)

    gathered = {read.tensor for read in kernel.reads() if has_gather(read)}
    result = replace(
        kernel,
        domain=axes(kernel.domain),
        reduction=axes(kernel.reduction),
        body=expression(kernel.body),
        guard=None if kernel.guard is None else expression(kernel.guard),
        stages=tuple(Stage(expression(stage.value), stage.dtype) for stage in kernel.stages),
        offset=integer(kernel.offset),
        output=Stored((), kernel.output.dtype),
        tensors={
            # Only gathers look at the axes; elsewhere the number of elements is enough.
            tensors[name]: stored(found) if name in gathered else stored(Stored((found.count,), found.dtype))
            for name, found in kernel.tensors.items()
        },
        ranges={
            indices[name]: (integer(low), integer(high)) for name, (low, high) in kernel.ranges.items() if name in free
        },
        algorithm=replace(algorithm, threads=integer(algorithm.threads))
        if isinstance(algorithm := kernel.algorithm, Winograd)
        else algorithm,
        scratch=integer(kernel.scratch),
    )
    return result, tensors
