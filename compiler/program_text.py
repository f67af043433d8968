"""A program of equations as text of the language, which means the same when it is read again.

`printer` shows graphs to people; here every range, dtype and size that the language would not
find by itself is written out.  Names become names of the language (`L1.Φ.S` is `L1_Φ_S`),
sums are implicit where the rule of the language gives the same sum back, and temporaries of a
recurrence stand in the equations that read them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
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
    equation_reads,
    operands,
    reads,
    substitute_indices,
    transform,
    walk,
)
from ..dsl.integers import ONE, ZERO, Atom, Element, Index, Integer, Symbol
from ..dsl.names import capital_form, free_form, normal
from .passes.simplify import simplify_operation
from .printer import expression_text, integer_text
from .recurrence_text import RecurrenceText
from .rewriting import map_expressions, new_name, plain
from .text_names import RESERVED, language_name, language_names
from .text_parts import (
    certain_reads,
    conjunction,
    covers,
    dtype_text,
    element_blocks,
    factors_of,
    indices_read,
    is_number,
    located,
    map_bodies,
    multiplied,
    nested_list,
    neutral,
    over_axes,
    put,
    uniform_ends,
)


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
    writer = Writer(program)
    return ProgramText(writer.text(), writer.names)


# -- the text ---------------------------------------------------------------------------------------


@dataclass
class Writer:
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
        wanted = "batch" if symbol.name == "batch" else f"size_{language_name(symbol.name)}"
        return new_name(wanted, set(self.names.values()))

    def _inline_numbers(self) -> None:
        """Write scalars that are only numbers into their readers: the language takes them for numbers."""
        numbers: dict[str, Expression] = {}
        for name, operation in list(self.operations.items()):
            if isinstance(operation, Constant) and not operation.shape:
                numbers[name] = Literal(operation.values[0], operation.dtype)
            elif isinstance(operation, Equation) and not operation.shape and operation.combiner is None:
                operation = map_expressions(operation, lambda body: put(body, numbers))
                if not reads(operation.body):
                    numbers[name] = operation.body
        if numbers:
            for name, operation in list(self.operations.items()):
                self.operations[name] = map_bodies(operation, numbers)
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
            if is_number(operation) and name not in self.program.outputs:
                readers = [other for other in self.operations.values() if name in operands(other)]
                if readers and all(isinstance(other, Partial) and not covers(other) for other in readers):
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
        sizes = [atom.name if isinstance(atom := size.single_atom, Symbol) else self.integer(size) for size in shape]
        sizes = [size if size.isalnum() else f"({size})" for size in sizes]
        batch = "" if operation.batched else " without batch"
        return f"Given {self.names[name]}[{', '.join(sizes)}]{dtype_text(operation.dtype)}{batch}"

    def _declared(self, name: str, operation: Parameter | State) -> str:
        """A parameter or state with its first value, if that is simple."""
        shape = ", ".join(map(self.integer, operation.shape))
        kind = "param" if isinstance(operation, Parameter) else "state"
        initial = self._initial(operation)
        if not initial and isinstance(operation, State):
            initial = " = 0"
        fixed = " untrained" if isinstance(operation, Parameter) and not operation.trained else ""
        return f"{kind} {self.names[name]}[{shape}]{dtype_text(operation.dtype)}{initial}{fixed}"

    def _initial(self, operation: Parameter | State) -> str:
        found = self.program.initializers.get(operation.initial)
        if not isinstance(found, Equation):
            return ""
        found = simplify_operation(found)
        assert isinstance(found, Equation)
        if isinstance(found.body, Literal):
            return f" = {expression_text(found.body)}"
        uniform = uniform_ends(found.body, self.program.initializers)
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
        return [f"{self._left(self.names[name], axes, set())}{dtype_text(operation.dtype)} = uniform()"]

    def _equation(self, left: str, equation: Equation) -> str:
        equation = self._renamed(equation, set())
        right = self.right(equation)
        written = self._left(left, equation.domain, self._evident(equation))
        return f"{written}{dtype_text(equation.dtype)} = {right}"

    def _left(self, name: str, axes: Sequence[Axis], evident: set[str]) -> str:
        """`T[b, x in 0..5]`: a range is written unless the right side shows it."""
        items = [axis.name if axis.name in evident else self.ranged(axis) for axis in axes]
        return f"{name}[{', '.join(items)}]"

    def _evident(self, equation: Equation) -> set[str]:
        """Indices of which the language finds the range: outside of cases, alone, on axes of their size."""
        certain = set() if equation.guard is not None else set(certain_reads(equation.body))
        found: set[str] = set()
        for axis in (*equation.domain, *equation.reduction):
            sizes = {size for read in equation_reads(equation) for size in self._plain_sizes(read, axis.name)}
            if sizes == {axis.size} and any(self._plain_sizes(read, axis.name) for read in certain):
                found.add(axis.name)
        return found

    def ranged(self, axis: Axis, lower: Integer = ZERO) -> str:
        return f"{axis.name} in {self._end(lower)}..{self._end(axis.size)}"

    def _end(self, value: Integer) -> str:
        text = self.integer(value)
        return text if text.replace("_", "").isalnum() else f"({text})" if "//" in text else text

    def integer(self, value: Integer) -> str:
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

    def right(self, equation: Equation) -> str:
        if equation.combiner is None:
            return self._text(equation.body)
        capitals = self._capitals(equation)
        if capitals is not None:
            return self._text(substitute_indices(equation.body, {k: plain(v) for k, v in capitals.items()}))
        evident = self._evident(equation)
        ranges = ", ".join(a.name if a.name in evident else self.ranged(a) for a in equation.reduction)
        body = equation.body
        if equation.guard is not None:
            body = Apply("select", (equation.guard, body, neutral(equation)), body.dtype)
        return f"{equation.combiner}[{ranges}]({self._text(body)})"

    def _capitals(self, equation: Equation) -> dict[str, str] | None:
        """Capitals for the indices of a sum, if the language sums the same then."""
        factors = factors_of(equation.body)
        if equation.combiner != "sum" or equation.guard is not None or factors is None:
            return None
        capitals = {axis.name: capital_form(axis.name) for axis in equation.reduction}
        for axis in equation.reduction:
            held = [read for read in factors if axis.name in indices_read(read)]
            sizes = {size for read in held for size in self._plain_sizes(read, axis.name)}
            if len(held) < 2 or sizes != {axis.size}:
                return None
            if any(multiplied(s, axis.name) for read in held for s in read.subscripts):
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
        names = self.index_names((*equation.domain, *equation.reduction), equation, taken)
        values = {old: plain(new) for old, new in names.items()}
        found = map_expressions(equation, lambda expression: substitute_indices(expression, values))
        found = replace(
            found,
            domain=tuple(Axis(names[axis.name], axis.size) for axis in equation.domain),
            reduction=tuple(Axis(names[axis.name], axis.size) for axis in equation.reduction),
        )
        return found

    def index_names(self, axes: Sequence[Axis], equation: Equation, taken: set[str]) -> dict[str, str]:
        avoid = {*RESERVED, *self.sizes.values()}
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
        if not covers(operation):
            return self._cases(name, operation)
        return [self.piece(self.names[name], piece, operation.dtype) for piece in operation.pieces]

    def piece(self, name: str, piece: Piece, dtype: str) -> str:
        source = self.operations[piece.source]
        read = Read(piece.source, tuple(plain(axis.name) for axis in piece.domain), dtype)
        found = Equation(piece.domain, read, dtype)
        if isinstance(source, Equation) and piece.source in self.written_in_place:
            found = over_axes(source, piece.domain)
        placed = set().union(*(t.indices() for t in piece.target))
        single = {axis.name: ZERO for axis in found.domain if axis.name not in placed}
        found = map_expressions(found, lambda expression: substitute_indices(expression, single))
        found = replace(found, domain=tuple(axis for axis in found.domain if axis.name in placed))
        names = self.index_names((*found.domain, *found.reduction), found, set())
        there: dict[Atom, Integer] = {Index(old): plain(new) for old, new in names.items()}
        return self._placed(name, [t.substitute(there) for t in piece.target], self._renamed(found, set()))

    def _placed(self, name: str, target: Sequence[Integer], equation: Equation, prefix: Sequence[str] = ()) -> str:
        """`for x in 0..3: T[b, 2*x] = …`."""
        right = self.right(equation)
        evident = self._evident(equation)
        simple = {t.plain_index for t in target if t.plain_index is not None}
        ranges = [*prefix, *(self.ranged(a) for a in equation.domain if a.name not in evident or a.name not in simple)]
        left = f"{name}[{', '.join(map(self.integer, target))}]{dtype_text(equation.dtype)}"
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
            values, tests = located(piece, axes)
            read: Expression = Read(
                piece.source, tuple(values.get(a.name, ZERO) for a in piece.domain), operation.dtype
            )
            if isinstance(source, Equation) and is_number(source):
                read = source.body
            elif piece.source in self.written_in_place:
                lines += self._statement(piece.source, source)
            body = Apply("select", (conjunction(tests), read, body), operation.dtype)
        found = simplify_operation(Equation(axes, body, operation.dtype))
        assert isinstance(found, Equation)
        return [*lines, self._equation(self.names[name], found)]

    def _constant(self, name: str, operation: Constant) -> list[str]:
        """A tensor literal, converted if it is no float32."""
        shape = [int(size.constant or 0) for size in operation.shape]
        text = nested_list(list(operation.values), shape)
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
        return [f"{values} = {text}", f"{left}{dtype_text(operation.dtype)} = {value}"]

    def _reshape(self, name: str, operation: Reshape) -> list[str]:
        """Axes fused and taken apart: `V[b, (x,y,i)] = L[b,x,y,i]`."""
        source, lines = operation.source, []
        blocks = element_blocks(self._shape(source), operation.shape)
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
                given += map(self.ranged, axes)
            elif len(old) > 1:
                given.append(f"({names})")
                read.append(names)
            else:
                given += [names] if len(new) == 1 else map(self.ranged, axes)
                read.append(names if len(new) == 1 else f"({names})")
        return f"{left}[{', '.join(given)}]{dtype_text(dtype)} = {right}[{', '.join(read)}]"

    # -- recurrences ------------------------------------------------------------------------------

    def _recurrence(self, name: str, loop: Recurrence) -> list[str]:
        return RecurrenceText(self, name, loop).lines()

    def _carry(self, name: str, operation: Carry) -> list[str]:
        loop = self.operations[operation.recurrence]
        assert isinstance(loop, Recurrence)
        return RecurrenceText(self, operation.recurrence, loop).carry(name, operation.position)
