"""A graph as text that people read: index equations in the notation of the language.

A sum is implicit, its indices in capitals, where the language's rule gives the same sum
back: every reduction index stands in two or more factors of one product.  Each line ends
in a comment with the shape and dtype of the result.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..dsl.equations import (
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
    Random,
    Read,
    Recurrence,
    Reshape,
    Shape,
    State,
    equation_reads,
    substitute_indices,
)
from ..dsl.integers import Atom, Element, FloorDiv, Integer
from .contraction import products
from .graph import Graph
from .rewriting import plain

_INFIX = {
    "or": ("or", 1), "and": ("and", 2), "lt": ("<", 4), "le": ("<=", 4), "eq": ("==", 4), "ne": ("!=", 4),
    "add": ("+", 5), "sub": ("-", 5), "mul": ("*", 6), "div": ("/", 6), "floordiv": ("//", 6), "mod": ("%", 6),
    "pow": ("^", 8),
}  # fmt: skip
_NOT, _COMPARE, _ADD, _MULTIPLY, _NEGATIVE, _POWER, _ATOM = 3, 4, 5, 6, 7, 8, 9
"""Levels of binding; an operand of a lower level than its place needs parentheses."""


def text(graph: Graph) -> str:
    """Every operation of the graph on a line of its own, operands first (the steps of a recurrence indented)."""
    return "\n".join(operation_text(name, graph.operation(name)) for name in graph)


def operation_text(name: str, operation: Operation) -> str:
    """One operation; a recurrence takes several lines."""
    if isinstance(operation, Recurrence):
        return _recurrence(name, operation)
    return f"{_statement(name, operation)}  # {operation.dtype}{_shape(operation.shape)}"


def equation_text(name: str, equation: Equation) -> str:
    """One index equation, without the comment: `L1[b, x, j] = relu(…)`."""
    left = f"{name}[{', '.join(axis.name for axis in equation.domain)}]"
    return f"{left} = {_right(equation)}{_ranges(equation.domain, equation)}"


def expression_text(expression: Expression) -> str:
    """A scalar expression with no more parentheses than it needs."""
    return _text(expression, 0)


def subscript_text(subscript: Integer) -> str:
    """A subscript with its capitals after its free indices, as in `2*x + ΔX - 1`."""

    def place(position: int) -> tuple[bool, bool]:
        monomial = subscript.terms[position][0]
        return not monomial, any(str(atom).isupper() for atom in monomial)

    order = sorted(range(len(subscript.terms)), key=place)
    return integer_text(Integer(tuple(subscript.terms[position] for position in order)))


def integer_text(value: Integer) -> str:
    """A whole number, its terms in their order but a positive one first: `8 - x`, `2*(x//3) + 1`."""
    if not value.terms:
        return "0"
    first = next((k for k, (_, factor) in enumerate(value.terms) if factor > 0), 0)
    terms = [value.terms[first], *value.terms[:first], *value.terms[first + 1 :]]
    parts = [_term_text(monomial, factor) for monomial, factor in terms]
    signs = ["-" if factor < 0 else "+" for _, factor in terms]
    rest = "".join(f" {sign} {part}" for sign, part in zip(signs[1:], parts[1:], strict=True))
    return f"{'-' if signs[0] == '-' else ''}{parts[0]}{rest}"


def _term_text(monomial: tuple[Atom, ...], factor: int) -> str:
    """A term without its sign."""
    if not monomial:
        return str(abs(factor))
    alone = len(monomial) == 1 and factor == 1
    atoms = [_atom_text(atom, alone) for atom in monomial]
    return "*".join([*([] if abs(factor) == 1 else [str(abs(factor))]), *atoms])


def _atom_text(atom: Atom, alone: bool) -> str:
    """An index, a size, a read or a floor; a floor in a product stands in parentheses."""
    if isinstance(atom, Element):
        return _parts(atom.read)[0]
    if not isinstance(atom, FloorDiv):
        return str(atom)
    numerator, denominator = integer_text(atom.numerator), integer_text(atom.denominator)
    numerator = f"({numerator})" if len(atom.numerator.terms) > 1 else numerator
    denominator = denominator if denominator.replace("_", "").isalnum() else f"({denominator})"
    text = f"{numerator}//{denominator}"
    return text if alone else f"({text})"


def _statement(name: str, operation: Operation) -> str:
    if isinstance(operation, Equation):
        return equation_text(name, operation)
    if isinstance(operation, Input):
        return f"Given {name}{_shape(operation.shape)}"
    if isinstance(operation, Parameter):
        fixed = "" if operation.trained else ", not trained"
        return f"param {name}{_shape(operation.shape)} ~ {operation.initial}{fixed}"
    if isinstance(operation, State):
        return f"state {name}{_shape(operation.shape)} ~ {operation.initial}"
    if isinstance(operation, Constant):
        return f"{name} = {_values(operation)}"
    if isinstance(operation, Random):
        return f"{name} ~ uniform(0, 1)"
    if isinstance(operation, Reshape):
        return f"{name} = reshape({operation.source})"
    if isinstance(operation, Carry):
        return f"{name} = {operation.recurrence}.{operation.position}"
    assert isinstance(operation, Partial)
    return "; ".join(_piece(name, piece) for piece in operation.pieces)


# -- equations ----------------------------------------------------------------------------------


def _right(equation: Equation) -> str:
    if equation.combiner is None:
        return expression_text(equation.body)
    capitals = implicit_capitals(equation)
    if capitals is not None:
        return expression_text(substitute_indices(equation.body, {k: plain(v) for k, v in capitals.items()}))
    indices = ", ".join(map(str, equation.reduction))
    guard = "" if equation.guard is None else f" if {expression_text(equation.guard)}"
    return f"{equation.combiner}[{indices}{guard}]({expression_text(equation.body)})"


def implicit_capitals(equation: Equation) -> Mapping[str, str] | None:
    """Capital names for the reduction indices, if an implicit sum means this sum."""
    terms = products(equation.body)
    if equation.combiner != "sum" or equation.guard is not None or len(terms) != 1 or not equation.reduction:
        return None
    capitals = {axis.name: capital(axis.name) for axis in equation.reduction}
    taken = {axis.name for axis in equation.domain} | {atom for r in equation_reads(equation) for atom in _names(r)}
    if len(set(capitals.values())) < len(capitals) or (set(capitals.values()) - set(capitals)) & taken:
        return None
    for axis in equation.reduction:
        factors = [factor for factor in terms[0] if isinstance(factor, Read) and axis.name in _names(factor)]
        inside = [factor for factor in terms[0] if not isinstance(factor, Read) and not isinstance(factor, Literal)]
        if len(factors) < 2 or inside:
            return None
        if all(_plain_size(axis, factor) is None for factor in factors):
            return None  # no access fixes the range
    return capitals


def _plain_size(axis: Axis, read: Read) -> Integer | None:
    """The size, if the read has the index alone as a subscript, so that the tensor's axis gives its range."""
    return axis.size if any(subscript.plain_index == axis.name for subscript in read.subscripts) else None


def capital(name: str) -> str:
    """The capital of an index: `Δx` gives `ΔX`, `i1` gives `I1`."""
    return name.upper()


def _names(read: Read) -> set[str]:
    return set().union(*({str(a) for a in subscript.atoms()} for subscript in read.subscripts))


def _ranges(domain: tuple[Axis, ...], equation: Equation) -> str:
    """Ranges of the domain's indices that no plain subscript gives."""
    given = {subscript.plain_index for read in equation_reads(equation) for subscript in read.subscripts}
    free = [axis for axis in domain if axis.name not in given]
    return f" for {', '.join(map(str, free))}" if free else ""


# -- expressions ---------------------------------------------------------------------------------


def _text(node: Expression, level: int) -> str:
    written, own = _parts(node)
    return f"({written})" if own < level else written


def _parts(node: Expression) -> tuple[str, int]:
    """The text of an expression and how tightly it binds."""
    if isinstance(node, Literal):
        return _literal(node), _NEGATIVE if not isinstance(node.value, bool) and node.value < 0 else _ATOM
    if isinstance(node, Number):
        return integer_text(node.value), _level(node.value)
    if isinstance(node, Read):
        subscripts = ", ".join(map(subscript_text, node.subscripts))
        return (f"{node.tensor}[{subscripts}]" if subscripts else node.tensor), _ATOM
    if node.operation in _INFIX:
        return _infix(node)
    if node.operation == "neg":
        return f"-{_text(node.arguments[0], _NEGATIVE)}", _NEGATIVE
    if node.operation == "not":
        return f"not {_text(node.arguments[0], _NOT)}", _NOT
    if node.operation == "select":
        return f"{{ {_cases(node)} }}", _ATOM
    if node.operation == "max" and isinstance(node.arguments[0], Literal) and node.arguments[0].value == 0:
        return f"relu({expression_text(node.arguments[1])})", _ATOM
    name = node.dtype if node.operation == "cast" else node.operation
    return f"{name}({', '.join(expression_text(argument) for argument in node.arguments)})", _ATOM


def _level(value: Integer) -> int:
    """How tightly the text of a whole number binds."""
    if len(value.terms) > 1:
        return _ADD
    if value.constant is not None:
        return _ATOM if value.constant >= 0 else _NEGATIVE
    monomial, factor = value.terms[0]
    single = len(monomial) == 1 and not isinstance(monomial[0], FloorDiv)
    return _ATOM if single and factor == 1 else _NEGATIVE if single and factor == -1 else _MULTIPLY


def _infix(node: Apply) -> tuple[str, int]:
    sign, level = _INFIX[node.operation]
    left, right = node.arguments
    if node.operation == "pow":
        return f"{_text(left, _ATOM)}^{_text(right, _POWER)}", level
    associative = node.operation in ("and", "or")
    first = _text(left, level + (level == _COMPARE))
    return f"{first} {sign} {_text(right, level if associative else level + 1)}", level


def _cases(node: Apply) -> str:
    """The cases of nested selects in a row."""
    condition, first, second = node.arguments
    head = f"{expression_text(first)} if {expression_text(condition)} ; "
    if isinstance(second, Apply) and second.operation == "select":
        return head + _cases(second)
    return f"{head}{expression_text(second)} otherwise"


def _literal(node: Literal) -> str:
    if isinstance(node.value, bool):
        return str(node)
    return str(int(node.value)) if float(node.value).is_integer() and abs(node.value) < 1e15 else repr(node.value)


def _values(operation: Constant) -> str:
    shown = ", ".join(_literal(Literal(value, operation.dtype)) for value in operation.values[:8])
    return f"[{shown}{', …' if len(operation.values) > 8 else ''}]"


# -- the rest ---------------------------------------------------------------------------------------


def _shape(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _piece(name: str, piece: Piece) -> str:
    source = f"{piece.source}[{', '.join(axis.name for axis in piece.domain)}]"
    return f"{name}[{', '.join(map(subscript_text, piece.target))}] = {source}"


def _recurrence(name: str, loop: Recurrence) -> str:
    lines = [_piece(carried.name, start) for carried in loop.carried for start in carried.starts]
    direction = " downwards" if loop.reverse else ""
    lines.append(f"{name}: for {loop.index} in {loop.lower}..{loop.upper}{direction}:")
    for step in loop.steps:
        equation = step.equation
        target = [plain(axis.name) for axis in equation.domain] if step.target is None else list(step.target)
        left = f"{step.name}[{', '.join(map(subscript_text, target))}]"
        lines.append(
            f"    {left} = {_right(equation)}{_ranges(equation.domain, equation)}"
            f"  # {equation.dtype}{_shape(equation.shape)}"
        )
    return "\n".join(lines)
