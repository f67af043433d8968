"""Equations as LaTeX, in the notation of the slides: capitals are summed, windows are `Δx`.

The lines go into an `align*` environment of amsmath.  Adjoints are written as derivatives of
the result, where there is one, and with a bar otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

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
    Program,
    Random,
    Read,
    Recurrence,
    Reshape,
    State,
    Step,
    substitute_indices,
)
from ..dsl.integers import Atom, Element, FloorDiv, Index, Integer
from .printer import implicit_capitals
from .rewriting import plain

_INFIX = {
    "or": (r"\lor", 1), "and": (r"\land", 2), "lt": ("<", 4), "le": (r"\le", 4), "eq": ("=", 4), "ne": (r"\ne", 4),
    "add": ("+", 5), "sub": ("-", 5), "mul": (r"\,", 6), "mod": (r"\bmod", 6),
}  # fmt: skip
_COMPARE, _ADD, _MULTIPLY, _NEGATIVE, _ATOM = 4, 5, 6, 7, 9
_FUNCTIONS = {"exp": r"\exp", "log": r"\log", "sin": r"\sin", "cos": r"\cos", "tanh": r"\tanh", "sigmoid": r"\sigma",
              "max": r"\max", "min": r"\min"}  # fmt: skip
_REDUCERS = {"sum": r"\sum", "prod": r"\prod", "max": r"\max", "min": r"\min", "any": r"\bigvee", "all": r"\bigwedge"}
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau",
    "φ": "varphi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda",
    "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip


def program_latex(program: Program, result: str | None = None, adjoints: Mapping[str, str] | None = None) -> str:
    """The equations of a program as an `align*` environment.

    `adjoints` maps names of tensors to the tensors of which they are the derivatives of `result`;
    without a `result` they are written as `\\bar{x}`.
    """
    writer = _Latex(result, adjoints or {})
    lines = [line for name, operation in program.operations.items() for line in writer.lines(name, operation)]
    return "\n".join([r"\begin{align*}", " \\\\\n".join(lines), r"\end{align*}", ""])


class _Latex:
    """Writes operations; knows what adjoints are called."""

    def __init__(self, result: str | None, adjoints: Mapping[str, str]) -> None:
        self.result = result
        self.adjoints = adjoints

    def lines(self, name: str, operation: Operation) -> list[str]:
        """The lines of one operation; none for inputs and parameters."""
        if isinstance(operation, (Input, Parameter, State)):
            return []
        if isinstance(operation, Equation):
            left = self.element(name, [plain(axis.name) for axis in operation.domain])
            return [f"{left} &= {self.right(operation)}"]
        if isinstance(operation, Partial):
            return [self.piece(name, piece) for piece in operation.pieces]
        if isinstance(operation, Reshape):
            return [rf"{self.name(name)} &= \operatorname{{reshape}}({self.name(operation.source)})"]
        if isinstance(operation, Recurrence):
            return self.recurrence(operation)
        if isinstance(operation, Carry):
            return []
        if isinstance(operation, Constant):
            shape = r" \times ".join(self.integer(size) for size in operation.shape)
            return [rf"{self.name(name)} &\in \mathbb{{R}}^{{{shape}}}\ \text{{constant}}"]
        assert isinstance(operation, Random)
        return [rf"{self.name(name)} &\sim U(0, 1)"]

    def piece(self, name: str, piece: Piece) -> str:
        """A part of a tensor."""
        source = self.element(piece.source, [plain(axis.name) for axis in piece.domain])
        return f"{self.element(name, piece.target)} &= {source}"

    def recurrence(self, loop: Recurrence) -> list[str]:
        """The starts and the equations of a loop, each for the times in its range."""
        lines = [self.piece(carried.name, start) for carried in loop.carried for start in carried.starts]
        return [*lines, *(self.step(loop, step) for step in loop.steps)]

    def step(self, loop: Recurrence, step: Step) -> str:
        """One equation of a loop."""
        own = [plain(axis.name) for axis in step.equation.domain]
        target = [plain(loop.index), *own] if step.target is None else step.target
        last = self.integer(loop.upper - 1)
        first = self.integer(loop.lower)
        times = rf"{last}, \dots, {first}" if loop.reverse else rf"{first}, \dots, {last}"
        left = self.element(step.name, target)
        return rf"{left} &= {self.right(step.equation)} \quad \text{{for }} {_index(loop.index)} = {times}"

    # -- right sides -----------------------------------------------------------------------------

    def right(self, equation: Equation) -> str:
        """The right side of an equation."""
        if equation.combiner is None:
            return self.text(equation.body, 0)
        capitals = implicit_capitals(equation)
        if capitals is not None:
            return self.text(substitute_indices(equation.body, {k: plain(v) for k, v in capitals.items()}), 0)
        under = ",\\, ".join(map(self.axis, equation.reduction))
        if equation.guard is not None:
            under = rf"\substack{{{under} \\ {self.text(equation.guard, 0)}}}"
        sign = _REDUCERS.get(equation.combiner or "", rf"\operatorname*{{{equation.combiner}}}")
        return f"{sign}_{{{under}}} {self.text(equation.body, _MULTIPLY)}"

    def axis(self, axis: Axis) -> str:
        """An index with its range."""
        return f"{_index(axis.name)} < {self.integer(axis.size)}"

    def text(self, node: Expression, level: int) -> str:
        """An expression, in parentheses if it binds less tightly than its place."""
        written, own = self.parts(node)
        return rf"\left({written}\right)" if own < level else written

    def parts(self, node: Expression) -> tuple[str, int]:
        """The text of an expression and how tightly it binds."""
        if isinstance(node, Literal):
            return _number(node.value), _NEGATIVE if not isinstance(node.value, bool) and node.value < 0 else _ATOM
        if isinstance(node, Number):
            return self.integer(node.value), _ADD if len(node.value.terms) > 1 else _ATOM
        if isinstance(node, Read):
            return self.element(node.tensor, node.subscripts), _ATOM
        return self.apply(node)

    def apply(self, node: Apply) -> tuple[str, int]:
        """An operation."""
        operation, arguments = node.operation, node.arguments
        if operation in _INFIX:
            sign, level = _INFIX[operation]
            first = self.text(arguments[0], level + (level == _COMPARE))
            return f"{first} {sign} {self.text(arguments[1], level + (operation != 'mul'))}", level
        if operation == "div":
            return rf"\frac{{{self.text(arguments[0], 0)}}}{{{self.text(arguments[1], 0)}}}", _ATOM
        if operation == "floordiv":
            inner = rf"\frac{{{self.text(arguments[0], 0)}}}{{{self.text(arguments[1], 0)}}}"
            return rf"\left\lfloor {inner} \right\rfloor", _ATOM
        if operation == "pow":
            return f"{{{self.text(arguments[0], _ATOM)}}}^{{{self.text(arguments[1], 0)}}}", _ATOM - 1
        if operation == "neg":
            return f"-{self.text(arguments[0], _MULTIPLY)}", _NEGATIVE
        if operation == "not":
            return rf"\lnot {self.text(arguments[0], _ATOM)}", _NEGATIVE
        if operation == "sqrt":
            return rf"\sqrt{{{self.text(arguments[0], 0)}}}", _ATOM
        if operation == "abs":
            return rf"\left|{self.text(arguments[0], 0)}\right|", _ATOM
        if operation == "select":
            return rf"\begin{{cases}} {self.cases(node)} \end{{cases}}", _ATOM
        if operation == "cast":
            return self.parts(arguments[0])
        name = _FUNCTIONS.get(operation, rf"\operatorname{{{operation}}}")
        return rf"{name}\left({', '.join(self.text(argument, 0) for argument in arguments)}\right)", _ATOM

    def cases(self, node: Apply) -> str:
        """The cases of nested selects in a row."""
        condition, first, second = node.arguments
        head = rf"{self.text(first, 0)} & \text{{if }} {self.text(condition, 0)} \\ "
        if isinstance(second, Apply) and second.operation == "select":
            return head + self.cases(second)
        return rf"{head}{self.text(second, 0)} & \text{{otherwise}}"

    # -- names and subscripts ----------------------------------------------------------------------

    def name(self, name: str) -> str:
        """A tensor, or the derivative with respect to one."""
        if name not in self.adjoints:
            return _name(name)
        inner = _name(self.adjoints[name])
        return (
            rf"\bar{{{inner}}}"
            if self.result is None
            else rf"\frac{{\partial {_name(self.result)}}}{{\partial {inner}}}"
        )

    def element(self, tensor: str, subscripts: Sequence[Integer]) -> str:
        """An element: `W[ΔX, i]`; of a derivative, the element with respect to which it is taken."""
        inner = ", ".join(map(self.integer, subscripts))
        brackets = rf"[{inner}]" if subscripts else ""
        if tensor in self.adjoints and self.result is not None:
            below = f"{_name(self.adjoints[tensor])}{brackets}"
            return rf"\frac{{\partial {_name(self.result)}}}{{\partial {below}}}"
        return f"{self.name(tensor)}{brackets}"

    def integer(self, value: Integer) -> str:
        """A whole number."""
        if not value.terms:
            return "0"
        terms = sorted(value.terms, key=lambda term: term[1] < 0)
        text = ""
        for position, (monomial, factor) in enumerate(terms):
            atoms = r" \, ".join(map(self.atom, monomial))
            part = str(abs(factor)) if not monomial else atoms if abs(factor) == 1 else f"{abs(factor)} {atoms}"
            sign = "-" if factor < 0 else "+" if position else ""
            text += f" {sign} {part}" if position else f"{sign}{part}"
        return text

    def atom(self, atom: Atom) -> str:
        """An index, a size, a gather or a floor."""
        if isinstance(atom, Element):
            return self.element(atom.read.tensor, atom.read.subscripts)
        if isinstance(atom, FloorDiv):
            above, below = self.integer(atom.numerator), self.integer(atom.denominator)
            return rf"\left\lfloor {above} / {below} \right\rfloor"
        return _index(atom.name) if isinstance(atom, Index) else _name(str(atom))


def _number(value: float | int | bool) -> str:
    if isinstance(value, bool):
        return rf"\text{{{str(value).lower()}}}"
    if float(value).is_integer() and abs(value) < 1e6:
        return str(int(value))
    mantissa, _, exponent = f"{value:.6g}".partition("e")
    return mantissa if not exponent else rf"{mantissa} \cdot 10^{{{int(exponent)}}}"


def _index(name: str) -> str:
    """An index: `Δx`, `i_1`, `x'`."""
    stem, _, below = name.partition("_")
    primes = "'" * stem.count("'")
    stem = stem.replace("'", "")
    found = re.fullmatch(r"(Δ?)(\D*)(\d*)", stem)
    if found is None:
        return _name(name)
    delta, letters, digits = found.groups()
    number = ",".join(part for part in (digits, below) if part)
    text = (r"\Delta " if delta else "") + "".join(_letter(letter) for letter in letters)
    return text + (f"_{{{number}}}" if number else "") + primes


def _letter(letter: str) -> str:
    return rf"\{_GREEK[letter]} " if letter in _GREEK else letter


def _name(name: str) -> str:
    """A tensor: one letter in italics, with its number below; longer names upright."""
    found = re.fullmatch(r"(\w)[_]?(\d*)('*)", name)
    if found:
        letter, digits, primes = found.groups()
        return _letter(letter).strip() + (f"_{{{digits}}}" if digits else "") + primes
    text = "".join(rf"\{_GREEK[c]}{{}}" if c in _GREEK else c for c in name.replace("_", r"\_").replace("#", r"\#"))
    return rf"\mathrm{{{text}}}"
