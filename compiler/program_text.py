"""A program of equations as text of the language, which means the same when it is read again.

`printer` shows graphs to people; here every range, dtype and size that the language would not
find by itself is written out.  Names become names of the language (`L1.Φ.S` is `L1_Φ_S`),
sums are implicit where the rule of the language gives the same sum back, and temporaries of a
recurrence stand in the equations that read them.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..dsl.equations import (
    FLOATS,
    Apply,
    Axis,
    Carry,
    Constant,
    Equation,
    Expression,
    Input,
    Literal,
    Number,
    Operation,
    Parameter,
    Partial,
    Piece,
    Program,
    Random,
    Read,
    Recurrence,
    Reshape,
    Shape,
    State,
    Step,
    element_count,
    equation_reads,
    operands,
    reads,
    substitute_indices,
    transform,
    walk,
)
from ..dsl.integers import ONE, ZERO, Atom, Element, Index, Integer, Symbol, is_nonnegative, is_positive
from ..dsl.names import capital_form, free_form, is_bundle, normal
from .passes.simplify import simplify_operation
from .printer import expression_text, integer_text
from .rewriting import map_expressions, new_name, plain

_RESERVED = {
    "for", "if", "in", "and", "or", "not", "elif", "else", "otherwise", "return", "sum", "max", "min", "prod", "mean",
    "argmax", "argmin", "logsumexp", "softmax", "any", "all", "true", "false", "relu", "exp", "log", "sqrt", "abs",
    "sign", "tanh", "sigmoid", "erf", "sin", "cos", "floor", "ceil", "round", "pow", "uniform", "size", "pad", "skip",
    "cut", "float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool", "when", "layer", "batch",
    "rank", "len", "batched", "training", "inferring", "ln", "σ",
}  # fmt: skip
"""Words that no tensor and no index is called."""

_NEUTRAL = {"sum": 0, "prod": 1, "any": False, "all": True}
_LOWEST = {"float64": 1e300, "float32": 3e38, "bfloat16": 3e38, "float16": 65504.0}


@dataclass(frozen=True)
class ProgramText:
    """The text, and what tensors of the program are called in it."""

    text: str
    names: Mapping[str, str]


def program_text(program: Program) -> ProgramText:
    """The text of a program with its inputs, parameters and outputs.

    Random numbers are drawn anew where their tensor has another name; first values of parameters
    are written if they are constant or uniform.
    """
    writer = _Writer(program)
    return ProgramText(writer.text(), writer.names)


# -- names ------------------------------------------------------------------------------------------


def language_names(names: Iterable[str]) -> dict[str, str]:
    """Names of operations as different names of the language; what stands before `/`, if anything, is left out."""
    found: dict[str, str] = {}
    taken: set[str] = set(_RESERVED)
    for name in names:
        found[name] = _unused(_language_name(name.split("/")[-1]), taken)
        taken.add(found[name])
    return found


def _language_name(name: str) -> str:
    """One name: parts joined by `_`, those of a bundle behind it, `Φ1.W` as `W_Φ1`."""
    if name.startswith("d_"):
        return f"d_{_language_name(name[2:])}"
    parts = [part for part in re.split(r"[^\w'\u0300-\u036f]+", name) if part]
    bundles = [part for part in parts if is_bundle(part)]
    return normal("_".join([part for part in parts if part not in bundles] + bundles))


def _unused(wanted: str, taken: set[str]) -> str:
    wanted = wanted if wanted[:1].isalpha() else f"t_{wanted}"
    wanted = wanted if not is_bundle(wanted) else f"t_{wanted}"
    return new_name(f"{wanted}_" if wanted[-1:].isdigit() and wanted in taken else wanted, taken)


# -- the text ---------------------------------------------------------------------------------------


@dataclass
class _Writer:
    program: Program
    lines: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    """Symbols of which the number is needed."""
    tensors: dict[str, Operation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.operations = dict(self.program.operations)
        for name, operation in self.operations.items():
            if isinstance(operation, Recurrence):
                for carried in operation.carried:
                    self.tensors.setdefault(f"{name}/{carried.name}", operation)
        inner = [key for key in self.tensors]
        self.names = language_names([*self.operations, *inner])
        self.sizes = {symbol: self._size_name(symbol) for symbol in self._symbols()}
        self._inline_numbers()
        self.readers: dict[str, int] = {}
        for operation in self.operations.values():
            for operand in operands(operation):
                self.readers[operand] = self.readers.get(operand, 0) + 1
        self.written_in_place = self._pieces_in_place() | self._zeros_in_cases()

    def _symbols(self) -> list[Symbol]:
        atoms = {
            atom
            for operation in self.program.operations.values()
            if isinstance(operation, Input)
            for size in operation.shape
            for atom in size.atoms()
        }
        return sorted((atom for atom in atoms if isinstance(atom, Symbol)), key=lambda symbol: symbol.name)

    def _size_name(self, symbol: Symbol) -> str:
        wanted = "batch" if symbol.name == "batch" else f"size_{_language_name(symbol.name)}"
        return new_name(wanted, set(self.names.values()))

    def _inline_numbers(self) -> None:
        """Write scalars that are only numbers into their readers: the language takes them for numbers."""
        numbers: dict[str, Expression] = {}
        for name, operation in list(self.operations.items()):
            if isinstance(operation, Constant) and not operation.shape:
                numbers[name] = Literal(operation.values[0], operation.dtype)
            elif isinstance(operation, Equation) and not operation.shape and operation.combiner is None:
                operation = map_expressions(operation, lambda body: _put(body, numbers))
                if not reads(operation.body):
                    numbers[name] = operation.body
        if numbers:
            for name, operation in list(self.operations.items()):
                self.operations[name] = _map_bodies(operation, numbers)
            for name in numbers:
                if name in self.program.outputs:
                    self.operations[name] = self._as_sum(numbers[name])
                else:
                    self.operations.pop(name)

    def _as_sum(self, value: Expression) -> Equation:
        """A scalar of a given value as a sum of one term, which makes it a tensor."""
        index = Apply("mul", (Number(plain("i"), value.dtype), Literal(0, value.dtype)), value.dtype)
        term = Apply("add", (value, index), value.dtype)
        return Equation((), term, value.dtype, (Axis("i", ONE),), "sum", None, value.dtype)

    def _pieces_in_place(self) -> set[str]:
        """Equations that are only read as one piece of a partial definition, and are written there."""
        found = set()
        for operation in self.operations.values():
            if isinstance(operation, Partial):
                for piece in operation.pieces:
                    source = self.operations[piece.source]
                    alone = self.readers[piece.source] == 1 and piece.source not in self.program.outputs
                    if isinstance(source, Equation) and alone:
                        found.add(piece.source)
        return found

    def _zeros_in_cases(self) -> set[str]:
        """Tensors of one number that are only read as parts which are written as cases."""
        found: set[str] = set()
        for name, operation in self.operations.items():
            if _is_number(operation) and name not in self.program.outputs:
                readers = [other for other in self.operations.values() if name in operands(other)]
                if readers and all(isinstance(other, Partial) and not _covers(other) for other in readers):
                    found.add(name)
        return found

    # -- the whole --------------------------------------------------------------------------------

    def text(self) -> str:
        """All statements."""
        body: list[str] = []
        for name, operation in self.operations.items():
            if not isinstance(operation, (Input, Parameter, State)) and name not in self.written_in_place:
                body += self._statement(name, operation)
        parameters = [
            self._declared(name, operation)
            for name, operation in self.operations.items()
            if isinstance(operation, (Parameter, State))
        ]
        outputs = ", ".join(self.names[name] for name in self.program.outputs)
        given = self._given()
        return "\n".join([*given, *parameters, "", *body, "", f"output {outputs}", ""])

    def _given(self) -> list[str]:
        """Inputs, and numbers that are sizes of them, as soon as they are known."""
        lines: list[str] = []
        waiting = {symbol for symbol in self.sizes if symbol.name in self.used}
        waiting |= {
            atom
            for name in self.program.inputs
            for size in self.program.tensor(name).shape
            if not isinstance(size.single_atom, Symbol)
            for atom in size.atoms()
            if isinstance(atom, Symbol)
        }
        inputs = [(name, self.program.tensor(name)) for name in self.program.inputs]
        simple = [
            pair for pair in inputs if all(isinstance(s.single_atom, Symbol) or not s.atoms() for s in pair[1].shape)
        ]
        for name, operation in [*simple, *(pair for pair in inputs if pair not in simple)]:
            assert isinstance(operation, Input)
            lines.append(self._input(name, operation))
            for axis, size in enumerate(operation.shape):
                if size.single_atom in waiting:
                    symbol = size.single_atom
                    assert isinstance(symbol, Symbol)
                    waiting.remove(symbol)
                    lines.append(f"{self.sizes[symbol]} = size({self.names[name]}, {axis})")
        return lines

    def _input(self, name: str, operation: Input) -> str:
        shape = operation.shape[1:] if operation.batched else operation.shape
        sizes = [atom.name if isinstance(atom := size.single_atom, Symbol) else self._integer(size) for size in shape]
        sizes = [size if size.isalnum() else f"({size})" for size in sizes]
        batch = "" if operation.batched else " without batch"
        return f"Given {self.names[name]}[{', '.join(sizes)}]{_dtype(operation.dtype)}{batch}"

    def _declared(self, name: str, operation: Parameter | State) -> str:
        """A parameter or state with its first value, if that is simple."""
        shape = ", ".join(map(self._integer, operation.shape))
        kind = "param" if isinstance(operation, Parameter) else "state"
        initial = self._initial(operation)
        if not initial and isinstance(operation, State):
            initial = " = 0"
        fixed = " untrained" if isinstance(operation, Parameter) and not operation.trained else ""
        return f"{kind} {self.names[name]}[{shape}]{_dtype(operation.dtype)}{initial}{fixed}"

    def _initial(self, operation: Parameter | State) -> str:
        found = self.program.initializers.get(operation.initial)
        if not isinstance(found, Equation):
            return ""
        found = simplify_operation(found)
        assert isinstance(found, Equation)
        if isinstance(found.body, Literal):
            return f" = {expression_text(found.body)}"
        uniform = _uniform(found.body, self.program.initializers)
        return "" if uniform is None else f" ~ uniform({uniform[0]!r}, {uniform[1]!r})"

    # -- statements -------------------------------------------------------------------------------

    def _statement(self, name: str, operation: Operation) -> list[str]:
        if isinstance(operation, Equation):
            return [self._equation(self.names[name], operation)]
        if isinstance(operation, Partial):
            return self._partial(name, operation)
        if isinstance(operation, Reshape):
            return self._reshape(name, operation)
        if isinstance(operation, Recurrence):
            return self._recurrence(name, operation)
        if isinstance(operation, Carry):
            return self._carry(name, operation)
        if isinstance(operation, Constant):
            return self._constant(name, operation)
        assert isinstance(operation, Random)
        axes = tuple(Axis(f"i{k}", size) for k, size in enumerate(operation.shape))
        return [f"{self._left(self.names[name], axes, set())}{_dtype(operation.dtype)} = uniform()"]

    def _equation(self, left: str, equation: Equation) -> str:
        equation = self._renamed(equation, set())
        right = self._right(equation)
        written = self._left(left, equation.domain, self._evident(equation))
        return f"{written}{_dtype(equation.dtype)} = {right}"

    def _left(self, name: str, axes: Sequence[Axis], evident: set[str]) -> str:
        """`T[b, x in 0..5]`: a range is written unless the right side shows it."""
        items = [axis.name if axis.name in evident else self._ranged(axis) for axis in axes]
        return f"{name}[{', '.join(items)}]"

    def _evident(self, equation: Equation) -> set[str]:
        """Indices of which the language finds the range: outside of cases, alone, on axes of their size."""
        certain = set() if equation.guard is not None else set(_certain_reads(equation.body))
        found: set[str] = set()
        for axis in (*equation.domain, *equation.reduction):
            sizes = {size for read in equation_reads(equation) for size in self._plain_sizes(read, axis.name)}
            if sizes == {axis.size} and any(self._plain_sizes(read, axis.name) for read in certain):
                found.add(axis.name)
        return found

    def _ranged(self, axis: Axis, lower: Integer = ZERO) -> str:
        return f"{axis.name} in {self._end(lower)}..{self._end(axis.size)}"

    def _end(self, value: Integer) -> str:
        text = self._integer(value)
        return text if text.replace("_", "").isalnum() else f"({text})" if "//" in text else text

    def _integer(self, value: Integer) -> str:
        return integer_text(self._numbers(value))

    def _numbers(self, value: Integer) -> Integer:
        """An integer expression with the names of run-time sizes, and of tensors that are read in it."""

        def rename(atom: Atom) -> Integer | None:
            if isinstance(atom, Symbol):
                self.used.add(atom.name)
                return plain(self.sizes[atom])
            if isinstance(atom, Element):
                subscripts = tuple(subscript.rewrite(rename) for subscript in atom.read.subscripts)
                tensor = self.names.get(atom.read.tensor, atom.read.tensor)
                return Integer.atom(Element(replace(atom.read, tensor=tensor, subscripts=subscripts)))
            return None

        return value.rewrite(rename)

    def _text(self, expression: Expression) -> str:
        """An expression with names of the language."""

        def node(found: Expression) -> Expression | None:
            if isinstance(found, Read):
                return replace(found, tensor=self.names.get(found.tensor, found.tensor))
            if isinstance(found, Number) and found.dtype in FLOATS and found.dtype != "float32":
                return Apply("cast", (Number(found.value, "int64"),), found.dtype)
            return None

        return expression_text(transform(expression, node, self._numbers))

    def _right(self, equation: Equation) -> str:
        if equation.combiner is None:
            return self._text(equation.body)
        capitals = self._capitals(equation)
        if capitals is not None:
            return self._text(substitute_indices(equation.body, {k: plain(v) for k, v in capitals.items()}))
        evident = self._evident(equation)
        ranges = ", ".join(a.name if a.name in evident else self._ranged(a) for a in equation.reduction)
        body = equation.body
        if equation.guard is not None:
            body = Apply("select", (equation.guard, body, _neutral(equation)), body.dtype)
        return f"{equation.combiner}[{ranges}]({self._text(body)})"

    def _capitals(self, equation: Equation) -> dict[str, str] | None:
        """Capitals for the indices of a sum, if the language sums the same then."""
        factors = _product(equation.body)
        if equation.combiner != "sum" or equation.guard is not None or factors is None:
            return None
        capitals = {axis.name: capital_form(axis.name) for axis in equation.reduction}
        for axis in equation.reduction:
            held = [read for read in factors if axis.name in _indices(read)]
            sizes = {size for read in held for size in self._plain_sizes(read, axis.name)}
            if len(held) < 2 or sizes != {axis.size}:
                return None
            if any(_multiplied(s, axis.name) for read in held for s in read.subscripts):
                return None
        return capitals

    def _plain_sizes(self, read: Read, index: str) -> list[Integer]:
        """Sizes of the axes of a tensor at which an index stands alone."""
        shape = self._shape(read.tensor) or tuple(ZERO for _ in read.subscripts)
        return [size for subscript, size in zip(read.subscripts, shape, strict=True) if subscript.plain_index == index]

    def _shape(self, tensor: str) -> Shape:
        operation = self.operations.get(tensor)
        if operation is None:
            operation = self.program.operations.get(tensor)
        return () if operation is None or isinstance(operation, Recurrence) else operation.shape

    # -- indices ----------------------------------------------------------------------------------

    def _renamed(self, equation: Equation, taken: set[str]) -> Equation:
        """The equation with small indices that nothing else in it is called; its ranges that follow are kept."""
        names = self._index_names((*equation.domain, *equation.reduction), equation, taken)
        values = {old: plain(new) for old, new in names.items()}
        found = map_expressions(equation, lambda expression: substitute_indices(expression, values))
        found = replace(
            found,
            domain=tuple(Axis(names[axis.name], axis.size) for axis in equation.domain),
            reduction=tuple(Axis(names[axis.name], axis.size) for axis in equation.reduction),
        )
        return found

    def _index_names(self, axes: Sequence[Axis], equation: Equation, taken: set[str]) -> dict[str, str]:
        avoid = {*_RESERVED, *self.sizes.values()}
        expressions = [equation.body, *([] if equation.guard is None else [equation.guard])]
        nodes = [node for expression in expressions for node in walk(expression)]
        if any(isinstance(node, Number) and node.value.indices() for node in nodes):
            avoid |= set(self.names.values())  # indices are read as numbers
        scalars = [node for node in nodes if isinstance(node, Read) and not node.subscripts]
        bare = {self.names[read.tensor] for read in scalars if read.tensor in self.names}
        avoid |= bare | {free_form(name) for name in bare}  # such a name could be the size of an axis
        names: dict[str, str] = {}
        used = {*avoid, *taken}
        for axis in axes:
            wanted = free_form(normal(axis.name)).rstrip("'")
            names[axis.name] = new_name(wanted, used)
            used |= {names[axis.name], capital_form(names[axis.name])}
        return names

    # -- other operations -------------------------------------------------------------------------

    def _partial(self, name: str, operation: Partial) -> list[str]:
        """A statement for each part; cases if the language could not see that parts cover the tensor."""
        if not _covers(operation):
            return self._cases(name, operation)
        return [self._piece(self.names[name], piece, operation.dtype) for piece in operation.pieces]

    def _piece(self, name: str, piece: Piece, dtype: str) -> str:
        source = self.operations[piece.source]
        read = Read(piece.source, tuple(plain(axis.name) for axis in piece.domain), dtype)
        found = Equation(piece.domain, read, dtype)
        if isinstance(source, Equation) and piece.source in self.written_in_place:
            found = _over(source, piece.domain)
        placed = set().union(*(t.indices() for t in piece.target))
        single = {axis.name: ZERO for axis in found.domain if axis.name not in placed}
        found = map_expressions(found, lambda expression: substitute_indices(expression, single))
        found = replace(found, domain=tuple(axis for axis in found.domain if axis.name in placed))
        names = self._index_names((*found.domain, *found.reduction), found, set())
        there: dict[Atom, Integer] = {Index(old): plain(new) for old, new in names.items()}
        return self._placed(name, [t.substitute(there) for t in piece.target], self._renamed(found, set()))

    def _placed(self, name: str, target: Sequence[Integer], equation: Equation, prefix: Sequence[str] = ()) -> str:
        """`for x in 0..3: T[b, 2*x] = …`."""
        right = self._right(equation)
        evident = self._evident(equation)
        simple = {t.plain_index for t in target if t.plain_index is not None}
        ranges = [*prefix, *(self._ranged(a) for a in equation.domain if a.name not in evident or a.name not in simple)]
        left = f"{name}[{', '.join(map(self._integer, target))}]{_dtype(equation.dtype)}"
        before = f"for {', '.join(ranges)}: " if ranges else ""
        return f"{before}{left} = {right}"

    def _cases(self, name: str, operation: Partial) -> list[str]:
        """A partial definition as one equation with a case for each part."""
        axes = tuple(Axis(f"i{k}", size) for k, size in enumerate(operation.shape))
        lines: list[str] = []
        zero = 0.0 if operation.dtype in FLOATS else 0
        body: Expression = Literal(False if operation.dtype == "bool" else zero, operation.dtype)
        for piece in reversed(operation.pieces):
            source = self.operations[piece.source]
            values, tests = _located(piece, axes)
            read: Expression = Read(
                piece.source, tuple(values.get(a.name, ZERO) for a in piece.domain), operation.dtype
            )
            if isinstance(source, Equation) and _is_number(source):
                read = source.body
            elif piece.source in self.written_in_place:
                lines += self._statement(piece.source, source)
            body = Apply("select", (_both(tests), read, body), operation.dtype)
        found = simplify_operation(Equation(axes, body, operation.dtype))
        assert isinstance(found, Equation)
        return [*lines, self._equation(self.names[name], found)]

    def _constant(self, name: str, operation: Constant) -> list[str]:
        """A tensor literal, converted if it is no float32."""
        shape = [int(size.constant or 0) for size in operation.shape]
        text = _nested(list(operation.values), shape)
        axes = tuple(Axis(f"i{k}", size) for k, size in enumerate(operation.shape))
        if len(shape) == 1:
            text = f"[{text}]"
        if operation.dtype == "float32" and len(shape) > 1:
            return [f"{self.names[name]} = {text}"]
        values = f"{self.names[name]}_values"
        place = ", ".join([*(["0"] if len(shape) == 1 else []), *(axis.name for axis in axes)])
        read = f"{values}[{place}]"
        value = f"{read} != 0" if operation.dtype == "bool" else f"{operation.dtype}({read})"
        left = self._left(self.names[name], axes, set())
        return [f"{values} = {text}", f"{left}{_dtype(operation.dtype)} = {value}"]

    def _reshape(self, name: str, operation: Reshape) -> list[str]:
        """Axes fused and taken apart: `V[b, (x,y,i)] = L[b,x,y,i]`."""
        source, lines = operation.source, []
        blocks = _blocks(self._shape(source), operation.shape)
        written = self.names[source]
        if any(len(old) > 1 and len(new) > 1 for old, new in blocks):
            fused = new_name(f"{self.names[name]}_flat", set(self.names.values()))
            flat = [(old, (math.prod(old, start=ONE),)) for old, _ in blocks]
            lines.append(self._regrouped(fused, written, flat, operation.dtype))
            blocks = [((math.prod(old, start=ONE),), new) for old, new in blocks]
            written = fused
        return [*lines, self._regrouped(self.names[name], written, blocks, operation.dtype)]

    def _regrouped(self, left: str, right: str, blocks: Sequence[tuple[Shape, Shape]], dtype: str) -> str:
        counter = itertools.count()
        given: list[str] = []
        read: list[str] = []
        for old, new in blocks:
            axes = [Axis(f"i{next(counter)}", size) for size in (old if len(old) > len(new) else new)]
            names = ", ".join(axis.name for axis in axes)
            if not new:
                read += ["0"] * len(old)
            elif not old:
                given += map(self._ranged, axes)
            elif len(old) > 1:
                given.append(f"({names})")
                read.append(names)
            else:
                given += [names] if len(new) == 1 else map(self._ranged, axes)
                read.append(names if len(new) == 1 else f"({names})")
        return f"{left}[{', '.join(given)}]{_dtype(dtype)} = {right}[{', '.join(read)}]"

    # -- recurrences ------------------------------------------------------------------------------

    def _recurrence(self, name: str, loop: Recurrence) -> list[str]:
        return _Loop(self, name, loop).lines()

    def _carry(self, name: str, operation: Carry) -> list[str]:
        loop = self.operations[operation.recurrence]
        assert isinstance(loop, Recurrence)
        return _Loop(self, operation.recurrence, loop).carry(name, operation.position)


@dataclass
class _Loop:
    """Writes one recurrence."""

    writer: _Writer
    name: str
    loop: Recurrence

    def __post_init__(self) -> None:
        self.shifts = {carried.name: self._written(carried.name) for carried in self.loop.carried}
        shifts = set(self.shifts.values())
        self.move = shifts.pop() if len(shifts) == 1 and not self.loop.reverse else 0
        """What is added to the time of the loop, so that tensors are written at it."""
        self.carries = {
            operation.position: name
            for name, operation in self.writer.operations.items()
            if isinstance(operation, Carry) and operation.recurrence == self.name
        }

    def _written(self, carried: str) -> int:
        """How far from the time of the loop a tensor is written."""
        axis = next(c.axis for c in self.loop.carried if c.name == carried)
        for step in self.loop.steps:
            if step.name == carried and step.target is not None:
                return step.target[axis].offset
        return 0

    def _direct(self, position: int) -> bool:
        """Whether the tensor of the language's loop is all of the carried tensor."""
        carried = self.loop.carried[position]
        upper = self.loop.upper + self.move
        return self.shifts[carried.name] == self.move and carried.shape[carried.axis] == upper

    def _named(self, position: int) -> str:
        """What the carried tensor is called in the loop."""
        if self._direct(position) and position in self.carries:
            return self.writer.names[self.carries[position]]
        return self.writer.names[f"{self.name}/{self.loop.carried[position].name}"]

    def _offset(self, carried: str) -> int:
        """Position in the operation minus position in the text."""
        return self.shifts[carried] - self.move

    def lines(self) -> list[str]:
        """Equations of the loop and their starts."""
        starts = [
            self.writer._piece(self._named(k), self._moved(carried.name, carried.axis, piece), carried.dtype)
            for k, carried in enumerate(self.loop.carried)
            for piece in carried.starts
        ]
        steps = [self._step(step) for step in self.loop.steps if step.target is not None]
        return [*steps, *starts] if self.loop.reverse else [*starts, *steps]

    def _moved(self, name: str, axis: int, piece: Piece) -> Piece:
        offset = self._offset(name)
        target = tuple(t - offset if k == axis else t for k, t in enumerate(piece.target))
        return replace(piece, target=target)

    def carry(self, name: str, position: int) -> list[str]:
        """The whole carried tensor, its starts included."""
        if self._direct(position):
            return []
        carried = self.loop.carried[position]
        axes = [Axis(f"i{k}", size) for k, size in enumerate(carried.shape)]
        length = self.loop.upper - self.loop.lower
        axes[carried.axis] = Axis("t", length)
        offset, first = self._offset(carried.name), self.loop.lower + self.move
        time = plain("t") + first
        places = [plain(axis.name) for axis in axes]
        read = ", ".join(self.writer._integer(time if k == carried.axis else p) for k, p in enumerate(places))
        target = ", ".join(
            self.writer._integer(time + offset if k == carried.axis else p) for k, p in enumerate(places)
        )
        ranges = ", ".join(map(self.writer._ranged, axes))
        dtype = _dtype(carried.dtype)
        whole = self.writer.names[name]
        lines = [f"for {ranges}: {whole}[{target}]{dtype} = {self._named(position)}[{read}]"]
        return [*lines, *(self.writer._piece(whole, piece, carried.dtype) for piece in carried.starts)]

    def _step(self, step: Step) -> str:
        """One equation, temporaries written out."""
        assert step.target is not None
        index = self.loop.index
        axis = next(c.axis for c in self.loop.carried if c.name == step.name)
        position = next(k for k, c in enumerate(self.loop.carried) if c.name == step.name)
        names = self.writer._index_names((Axis(index, ONE), *step.equation.domain), self._whole_body(step), set())
        values = {old: plain(new) for old, new in names.items()}
        values[index] = values[index] - self.move
        there: dict[Atom, Integer] = {Index(k): v for k, v in values.items()}
        offset = self._offset(step.name)
        target = [t.substitute(there) - (offset if k == axis else 0) for k, t in enumerate(step.target)]
        taken = set(names.values())
        right = self._right(step.equation, values, taken)
        time = Axis(names[index], self.loop.upper + self.move)
        ranges = [self.writer._ranged(time, self.loop.lower + self.move)]
        ranges = [*ranges, *(self.writer._ranged(Axis(names[a.name], a.size)) for a in step.equation.domain)]
        left = f"{self._named(position)}[{', '.join(map(self.writer._integer, target))}]"
        return f"for {', '.join(ranges)}: {left}{_dtype(step.equation.dtype)} = {right}"

    def _whole_body(self, step: Step) -> Equation:
        """An equation that holds whatever is written into one step, to find names that are free."""
        temporaries = [s.equation for s in self.loop.steps if s.target is None]
        body = step.equation.body
        for equation in temporaries:
            for expression in (equation.body, *([] if equation.guard is None else [equation.guard])):
                body = Apply("and", (body, expression), "bool")
        return replace(step.equation, body=body)

    def _right(self, equation: Equation, values: Mapping[str, Integer], taken: set[str]) -> str:
        """The right side with indices replaced; sums of temporaries stand in their places."""
        inner = {}
        for axis in equation.reduction:
            inner[axis.name] = new_name(free_form(normal(axis.name)), {*taken, *_RESERVED, *self.writer.sizes.values()})
            taken |= {inner[axis.name], capital_form(inner[axis.name])}
        values = {**values, **{old: plain(new) for old, new in inner.items()}}
        texts: dict[str, str] = {}
        found = map_expressions(equation, lambda e: self._inlined(substitute_indices(e, values), values, taken, texts))
        found = replace(found, reduction=tuple(Axis(inner[a.name], a.size) for a in equation.reduction))
        text = self.writer._right(found)
        for placeholder, written in reversed(texts.items()):
            text = text.replace(placeholder, written)
        return text

    def _inlined(
        self, expression: Expression, values: Mapping[str, Integer], taken: set[str], texts: dict[str, str]
    ) -> Expression:
        """Reads of temporaries as placeholders of their text, of carried tensors at the places of the text."""
        temporaries = {step.name: step.equation for step in self.loop.steps if step.target is None}
        carried = {c.name: (k, c.axis) for k, c in enumerate(self.loop.carried)}

        def node(found: Expression) -> Expression | None:
            if not isinstance(found, Read):
                return None
            if found.tensor in temporaries:
                equation = temporaries[found.tensor]
                time = {self.loop.index: values[self.loop.index]}
                places = {a.name: s for a, s in zip(equation.domain, found.subscripts, strict=True)}
                placeholder = f"⟦{len(texts)}⟧"
                texts[placeholder] = ""
                written = self._right(equation, {**time, **places}, taken)
                texts[placeholder] = f"({written})" if equation.combiner is None else written
                return Read(placeholder, (), found.dtype)
            if found.tensor in carried:
                position, axis = carried[found.tensor]
                offset = self._offset(found.tensor)
                subscripts = tuple(s - offset if k == axis else s for k, s in enumerate(found.subscripts))
                return Read(self._named(position), subscripts, found.dtype)
            return None

        return transform(expression, node)


# -- parts of text ----------------------------------------------------------------------------------


def _dtype(dtype: str) -> str:
    return "" if dtype == "float32" else f": {dtype}"


def _neutral(equation: Equation) -> Literal:
    """What changes nothing in a reduction, for points that are left out."""
    combiner, dtype = equation.combiner or "", equation.body.dtype
    if combiner in _NEUTRAL:
        value: float | int | bool = _NEUTRAL[combiner]
        return Literal(float(value) if dtype in FLOATS else value, dtype)
    largest = _LOWEST.get(dtype, 1 << 30)
    return Literal(-largest if combiner.endswith("max") else largest, dtype)


def _put(expression: Expression, values: Mapping[str, Expression]) -> Expression:
    return transform(expression, lambda node: values.get(node.tensor) if isinstance(node, Read) else None)


def _map_bodies(operation: Operation, values: Mapping[str, Expression]) -> Operation:
    if isinstance(operation, Equation):
        return map_expressions(operation, lambda expression: _put(expression, values))
    if isinstance(operation, Recurrence):
        steps = tuple(
            replace(step, equation=map_expressions(step.equation, lambda expression: _put(expression, values)))
            for step in operation.steps
        )
        return replace(operation, steps=steps)
    return operation


def _product(expression: Expression) -> list[Read] | None:
    """The elements that a product multiplies, beside numbers; None if it is no such product."""
    if isinstance(expression, Read):
        return [expression]
    if isinstance(expression, Literal):
        return []
    if isinstance(expression, Apply) and expression.operation in ("mul", "neg"):
        found = [_product(argument) for argument in expression.arguments]
        if any(part is None for part in found):
            return None
        return [read for part in found if part is not None for read in part]
    return None


def _indices(read: Read) -> set[str]:
    return set().union(*(subscript.indices() for subscript in read.subscripts))


def _multiplied(subscript: Integer, index: str) -> bool:
    """Whether an index is not simply added in a subscript, so that a capital would look like a size."""
    if index not in subscript.indices():
        return False
    factor = subscript.coefficient(index)
    return factor is None or factor.constant is None


def _over(equation: Equation, axes: tuple[Axis, ...]) -> Equation:
    """An equation with the indices of other axes of the same sizes."""
    values = {mine.name: plain(axis.name) for mine, axis in zip(equation.domain, axes, strict=True)}
    inner = {axis.name: f"{axis.name}'" for axis in equation.reduction}
    values |= {old: plain(new) for old, new in inner.items()}
    found = map_expressions(equation, lambda expression: substitute_indices(expression, values))
    return replace(found, domain=axes, reduction=tuple(Axis(inner[a.name], a.size) for a in equation.reduction))


def _covers(operation: Partial) -> bool:
    """Whether numbers of elements say that the parts cover the tensor, and none of them may be empty."""
    if not all(is_positive(axis.size) for piece in operation.pieces for axis in piece.domain):
        return False
    count = sum((element_count(tuple(axis.size for axis in piece.domain)) for piece in operation.pieces), ZERO)
    return count == element_count(operation.shape)


def _is_number(operation: Operation) -> bool:
    """Whether all elements are one number."""
    return isinstance(operation, Equation) and operation.combiner is None and isinstance(operation.body, Literal)


def _certain_reads(expression: Expression) -> Iterator[Read]:
    """Reads that happen whatever the numbers are, those in cases and in subscripts left out."""
    if isinstance(expression, Read):
        yield expression
    elif isinstance(expression, Apply) and expression.operation != "select":
        for argument in expression.arguments:
            yield from _certain_reads(argument)


def _uniform(body: Expression, initializers: Mapping[str, Operation]) -> tuple[float, float] | None:
    """The ends of the interval in which a first value is drawn, if it is uniform."""
    drawn = [read for read in reads(body) if isinstance(initializers.get(read.tensor), Random)]
    if len(drawn) != 1 or len(reads(body)) != 1:
        return None
    ends = []
    for value in (0.0, 1.0):
        found = simplify_operation(Equation((), _put(body, {drawn[0].tensor: Literal(value, body.dtype)}), body.dtype))
        assert isinstance(found, Equation)
        if not isinstance(found.body, Literal):
            return None
        ends.append(float(found.body.value))
    return ends[0], ends[1]


def _nested(values: list[float | int | bool], shape: Sequence[int]) -> str:
    if not shape:
        value = values[0]
        return str(int(value)) if isinstance(value, bool) or float(value).is_integer() else repr(value)
    size = len(values) // shape[0] if shape[0] else 0
    rows = [_nested(values[k * size : (k + 1) * size], shape[1:]) for k in range(shape[0])]
    return f"[{', '.join(rows)}]"


def _located(piece: Piece, axes: Sequence[Axis]) -> tuple[dict[str, Integer], list[Expression]]:
    """Where a position of the tensor lies in a piece, and tests that it does."""
    sizes = {axis.name: axis.size for axis in piece.domain}
    values: dict[str, Integer] = {}
    tests: list[Expression] = []
    for axis, target in zip(axes, piece.target, strict=True):
        position = plain(axis.name) - target.substitute({Index(name): ZERO for name in target.indices()})
        if not target.indices():
            tests.append(_compare("eq", position, ZERO))
        steps = {name: target.coefficient(name) or ONE for name in target.indices()}
        first = max(steps, key=lambda name: steps[name].constant or 0, default="")
        for name, step in steps.items():
            digit = position // step
            values[name] = digit if name == first else digit % sizes[name]
            tests.append(_compare("le", ZERO, digit))
            tests.append(_compare("lt", values[name], sizes[name]))
            if step != ONE and len(target.indices()) == 1:
                tests.append(_compare("eq", position % step, ZERO))
    return values, tests


def _compare(operation: str, a: Integer, b: Integer) -> Expression:
    return Apply(operation, (Number(a, "int64"), Number(b, "int64")), "bool")


def _both(tests: Sequence[Expression]) -> Expression:
    condition = tests[0]
    for test in tests[1:]:
        condition = Apply("and", (condition, test), "bool")
    return condition


def _blocks(old: Shape, new: Shape) -> list[tuple[Shape, Shape]]:
    """Shortest runs of axes of two shapes with equally many elements, in order; axes of size 1 may be left."""
    blocks: list[tuple[Shape, Shape]] = []
    i = j = 0
    while i < len(old) and j < len(new):
        a, b = i + 1, j + 1
        while (left := math.prod(old[i:a], start=ONE)) != (right := math.prod(new[j:b], start=ONE)):
            if b == len(new) or (a < len(old) and is_nonnegative(right - left)):
                a += 1
            else:
                b += 1
        blocks.append((old[i:a], new[j:b]))
        i, j = a, b
    rest = (old[i:], new[j:])
    return [*blocks, rest] if any(rest) else blocks
