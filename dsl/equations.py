"""The checked program: what a text means once every index, range and size is settled.

The grammar of the values below, all immutable:

    Program   = operations {name -> Operation}, in an order in which everything is
                defined before it is read, with inputs, outputs, parameters, state
    Operation = Input | Parameter | State | Constant | Random
              | Equation | Partial | Reshape | Recurrence | Carry
    Equation  = for all indices of `domain`:  T[domain] = combiner[reduction](body)
    Partial   = for each piece:  T[target(domain)] = source[domain]
    body      = Literal | Number | Read | Apply(op, bodies)

A name stands for one tensor.  Every index of an equation runs over 0..size; subscripts
and sizes are `Integer`s.  There is no node for a convolution or a matrix product: those
are shapes that an equation has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Union

from .integers import Atom, Element, Index, Integer, IntegerLike, Symbol

if TYPE_CHECKING:
    import numpy

FLOATS = ("float64", "float32", "float16", "bfloat16")
INTEGERS = ("int64", "int32", "uint8")
DTYPES = (*FLOATS, *INTEGERS, "bool")

Shape = tuple[Integer, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the source: 1-based lines and columns, end exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int


# -- scalar expressions ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Literal:
    """A number or truth value written in the program."""

    value: float | int | bool
    dtype: str

    def __str__(self) -> str:
        return str(self.value).lower() if self.dtype == "bool" else repr(self.value)


@dataclass(frozen=True, slots=True)
class Number:
    """An integer expression (a size or an index) used as a value of the given dtype."""

    value: Integer
    dtype: str

    def __str__(self) -> str:
        return f"({self.value})" if len(self.value.terms) > 1 else str(self.value)


@dataclass(frozen=True, slots=True)
class Read:
    """One element of a tensor; one subscript per axis."""

    tensor: str
    subscripts: tuple[Integer, ...]
    dtype: str

    def with_subscripts(self, subscripts: tuple[Integer, ...]) -> Read:
        """The same tensor read elsewhere."""
        return replace(self, subscripts=subscripts)

    def __str__(self) -> str:
        return f"{self.tensor}[{', '.join(map(str, self.subscripts))}]"


@dataclass(frozen=True, slots=True)
class Apply:
    """A scalar operation from `OPERATIONS`; `select(c, a, b)` evaluates only the arm it takes."""

    operation: str
    arguments: tuple[Expression, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.operation}({', '.join(map(str, self.arguments))})"


Expression = Union[Literal, Number, Read, Apply]

OPERATIONS: Mapping[str, int] = {
    # arithmetic; div is true division, floordiv and mod round towards minus infinity
    "add": 2, "sub": 2, "mul": 2, "div": 2, "pow": 2, "floordiv": 2, "mod": 2, "neg": 1,
    # max and min give their first argument on a tie
    "max": 2, "min": 2,
    "exp": 1, "log": 1, "sqrt": 1, "abs": 1, "sign": 1, "tanh": 1, "sigmoid": 1, "erf": 1,
    "sin": 1, "cos": 1, "floor": 1, "ceil": 1, "round": 1,
    "lt": 2, "le": 2, "eq": 2, "ne": 2, "and": 2, "or": 2, "not": 1,
    "select": 3, "cast": 1,
}  # fmt: skip
"""Operation -> number of arguments.  `cast` converts to the dtype of the Apply."""

COMPARISONS = ("lt", "le", "eq", "ne", "and", "or", "not")


def children(expression: Expression) -> tuple[Expression, ...]:
    """The direct sub-expressions."""
    return expression.arguments if isinstance(expression, Apply) else ()


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and everything in it, subscripts' gathers included, parents first."""
    stack = [expression]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, Apply):
            stack.extend(reversed(node.arguments))
        elif isinstance(node, Read):
            for subscript in node.subscripts:
                stack.extend(atom.read for atom in subscript.atoms() if isinstance(atom, Element))
        elif isinstance(node, Number):
            stack.extend(atom.read for atom in node.value.atoms() if isinstance(atom, Element))


def reads(expression: Expression) -> list[Read]:
    """Every read, in the order of the text, gathers included."""
    return [node for node in walk(expression) if isinstance(node, Read)]


def transform(
    expression: Expression,
    rewrite: Callable[[Expression], Expression | None],
    integers: Callable[[Integer], Integer] | None = None,
) -> Expression:
    """Rebuild from the leaves up; `rewrite` may replace a rebuilt node, `integers` a subscript."""
    if isinstance(expression, Apply):
        arguments = tuple(transform(argument, rewrite, integers) for argument in expression.arguments)
        if arguments != expression.arguments:
            expression = replace(expression, arguments=arguments)
    elif integers is not None and isinstance(expression, Read):
        expression = replace(expression, subscripts=tuple(map(integers, expression.subscripts)))
    elif integers is not None and isinstance(expression, Number):
        expression = replace(expression, value=integers(expression.value))
    result = rewrite(expression)
    return expression if result is None else result


def substitute_indices(expression: Expression, values: Mapping[str, IntegerLike]) -> Expression:
    """Replace indices by integer expressions, everywhere at once."""
    mapping: dict[Atom, IntegerLike] = {Index(name): value for name, value in values.items()}
    return transform(expression, lambda node: None, lambda integer: integer.substitute(mapping))


def rename_reads(expression: Expression, names: Mapping[str, str]) -> Expression:
    """Make reads of one tensor reads of another, gathers in subscripts included."""

    def atom(found: Atom) -> Integer | None:
        if isinstance(found, Element):
            subscripts = tuple(integer(s) for s in found.read.subscripts)
            name = names.get(found.read.tensor, found.read.tensor)
            return Integer.atom(Element(replace(found.read, tensor=name, subscripts=subscripts)))
        return None

    def integer(value: Integer) -> Integer:
        return value.rewrite(atom)

    def node(found: Expression) -> Expression | None:
        if isinstance(found, Read) and found.tensor in names:
            return replace(found, tensor=names[found.tensor])
        return None

    return transform(expression, node, integer)


# -- operations ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Axis:
    """An index and its size: the index runs over `0 <= name < size`."""

    name: str
    size: Integer

    def __str__(self) -> str:
        return f"{self.name} < {self.size}"


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor that the caller gives.  `batched`: its first axis is the batch."""

    shape: Shape
    dtype: str
    batched: bool = True


@dataclass(frozen=True, slots=True)
class Parameter:
    """A tensor of weights; `initial` names the tensor that holds its first value."""

    shape: Shape
    dtype: str
    initial: str
    trained: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """A saved tensor that the program updates and gradients leave alone (running statistics)."""

    shape: Shape
    dtype: str
    initial: str


@dataclass(frozen=True, slots=True)
class Constant:
    """Literal numbers, row-major.  `values` are Python floats, ints or bools."""

    shape: Shape
    dtype: str
    values: tuple[float | int | bool, ...]

    def array(self) -> numpy.ndarray:
        """The values as a NumPy array (bfloat16 as float32)."""
        import numpy

        dtype = "float32" if self.dtype == "bfloat16" else self.dtype
        return numpy.array(self.values, dtype).reshape([int(size.constant or 0) for size in self.shape])


@dataclass(frozen=True, slots=True)
class Random:
    """Independent uniform numbers in [0, 1): a function of (seed, step, stream, element).

    `stream` tells random tensors of one program apart; an element's number depends on its
    row-major position and on nothing else, so that layout and threads do not matter.
    """

    shape: Shape
    dtype: str
    stream: int


COMBINERS = ("sum", "prod", "max", "min", "argmax", "argmin", "any", "all")


@dataclass(frozen=True, slots=True)
class Equation:
    """`T[domain] = combiner over reduction of body`, or just `body` where `combiner` is None.

    `guard` (a truth value over domain and reduction) leaves points out of the reduction;
    at least one point is left everywhere, except for sums, which are then 0.  `argmax` and
    `argmin` give the row-major position within the reduction box, the lowest on ties.
    Sums and products accumulate in `accumulator`.
    """

    domain: tuple[Axis, ...]
    body: Expression
    dtype: str
    reduction: tuple[Axis, ...] = ()
    combiner: str | None = None
    guard: Expression | None = None
    accumulator: str = ""

    @property
    def shape(self) -> Shape:
        return tuple(axis.size for axis in self.domain)


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a partial definition: `T[target] = source[domain]`."""

    source: str
    domain: tuple[Axis, ...]
    target: tuple[Integer, ...]


@dataclass(frozen=True, slots=True)
class Partial:
    """A tensor put together from disjoint pieces that cover it (concatenation, interleaving, cases)."""

    shape: Shape
    dtype: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements in row-major order under another shape; costs nothing."""

    source: str
    shape: Shape
    dtype: str


@dataclass(frozen=True, slots=True)
class Carried:
    """A tensor that a recurrence fills along `axis`; `starts` are written before the loop."""

    name: str
    shape: Shape
    dtype: str
    axis: int
    starts: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One equation inside a recurrence, for one value of the time index.

    If `target` is None the result is a temporary of the iteration that later steps read
    under `name`; otherwise it is written to the carried tensor `name` at these subscripts,
    which hold the time index and the equation's domain indices.
    """

    name: str
    equation: Equation
    target: tuple[Integer, ...] | None


@dataclass(frozen=True, slots=True)
class Recurrence:
    """`for index in lower..upper` (downwards if `reverse`): run the steps in order.

    Steps read carried tensors by their `Carried.name`, at positions already filled, and
    the index as an `Index` that no axis of theirs binds.
    """

    index: str
    lower: Integer
    upper: Integer
    reverse: bool
    carried: tuple[Carried, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Carry:
    """One finished tensor of a recurrence, as an operation of its own."""

    recurrence: str
    position: int
    shape: Shape
    dtype: str


Operation = Union[Input, Parameter, State, Constant, Random, Equation, Partial, Reshape, Recurrence, Carry]
Tensor = Union[Input, Parameter, State, Constant, Random, Equation, Partial, Reshape, Carry]
"""Every operation but Recurrence has one result with `.shape` and `.dtype`."""


def equation_reads(equation: Equation) -> list[Read]:
    """The reads of the body and of the guard."""
    found = reads(equation.body)
    return found + reads(equation.guard) if equation.guard is not None else found


def operands(operation: Operation) -> tuple[str, ...]:
    """Names of the tensors (or the recurrence) that an operation needs, each once, in order."""
    names: list[str] = []
    if isinstance(operation, Equation):
        names = [read.tensor for read in equation_reads(operation)]
    elif isinstance(operation, Partial):
        names = [piece.source for piece in operation.pieces]
    elif isinstance(operation, Reshape):
        names = [operation.source]
    elif isinstance(operation, Carry):
        names = [operation.recurrence]
    elif isinstance(operation, Recurrence):
        inner = {c.name for c in operation.carried} | {s.name for s in operation.steps}
        names = [piece.source for c in operation.carried for piece in c.starts]
        names += [r.tensor for s in operation.steps for r in equation_reads(s.equation) if r.tensor not in inner]
    return tuple(dict.fromkeys(names))


def element_count(shape: Shape) -> Integer:
    """The number of elements of a shape."""
    return math.prod(shape, start=Integer.of(1))


# -- programs --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Requirement:
    """`value >= 0` must hold of the sizes given at run time; `reason` says why, for people."""

    value: Integer
    reason: str
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Deduction:
    """One step of inference that `maj explain` prints; `call` is the call in the main program that led to it."""

    place: Place
    text: str
    call: Place | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of the main program (or of a layer in it) and what it made.

    `tensor` is the name of the result; `operations` are all names made on its behalf, its
    nested statements' included; `depth` is 0 in the main program.
    """

    name: str
    text: str
    tensor: str
    operations: tuple[str, ...]
    depth: int
    layer: str | None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Store:
    """A parameter or state, `target`, takes the value of the tensor `source` when the program has run.

    With a `condition`, the name of a truth value, it does so only where that holds.
    """

    target: str
    source: str
    condition: str | None = None


@dataclass(frozen=True)
class Program:
    """A checked program.

    `operations` are in an order in which everything is defined before it is read.
    `updates` maps a state's name to the tensor with its next value (training only).
    `initializers` hold the operations that compute first values of parameters and state;
    they read no inputs.  `axis_names` are the names of a tensor's axes where known.  `stores`
    belong to the steps of a training, which change parameters and state themselves.
    """

    name: str
    mode: str
    operations: Mapping[str, Operation]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    initializers: Mapping[str, Operation] = field(default_factory=dict)
    updates: Mapping[str, str] = field(default_factory=dict)
    losses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    symbols: tuple[Symbol, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    statements: tuple[Statement, ...] = ()
    deductions: tuple[Deduction, ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict)
    axis_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source: str = ""
    stores: tuple[Store, ...] = ()

    @property
    def layer_depth(self) -> int:
        """The depth of the statements that are the network's layers.

        It is 0, or more where the program is a single call, `scores = ResNet(image, …)`, of a layer that
        is made of others.
        """
        depth = 0
        while sum(statement.depth == depth for statement in self.statements) == 1 and self._calls_at(depth + 1) > 1:
            depth += 1
        return depth

    def _calls_at(self, depth: int) -> int:
        return sum(statement.depth == depth and statement.layer is not None for statement in self.statements)

    def tensor(self, name: str) -> Tensor:
        """The operation that makes tensor `name` (KeyError if there is none)."""
        operation = self.operations[name]
        if isinstance(operation, Recurrence):
            raise KeyError(name)
        return operation
