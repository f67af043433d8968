"""What Winograd's algorithm needs to know of an equation: its roles, its tiles, its packing.

Sums of products in which a window slides by single steps over an operand,

    S[b, x, y, j] = sum over p, q, i of  D[b, x+p, y+q, i] * W[p, q, i, j]

are computed by tiles of m outputs along each window axis.  The inputs of a tile are
transformed, multiplied with transformed weights (a matrix product over i for each of the
`m + r - 1` points per axis) and transformed back (see `toom_cook`).  Only how indices are
used counts: one, two or three window axes, any number of other axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...dsl.equations import (
    Apply,
    Equation,
    Expression,
    Literal,
    Number,
    Read,
    reads,
    substitute_indices,
    transform,
    walk,
)
from ...dsl.integers import Integer, Symbol

THREADS = Symbol("threads!", 1)
"""The number of threads that a call runs on; no program can name it."""


@dataclass(frozen=True)
class Roles:
    """An equation's indices by what they do; `windows` are pairs (output index, window index)."""

    data: Expression
    weight: Read
    windows: tuple[tuple[str, str], ...]
    contracted: str
    free: str


@dataclass(frozen=True)
class Winograd:
    """How an equation is computed by tiles, in terms of positions in its kernel's domain and reduction.

    `tiles` are the outputs of a tile along each window axis.  `chunk` tiles are worked on
    together, `rows` at a time in the matrix product, whose packed weights lie in panels of
    `width` outputs.  With `private`, each thread does chunks of its own, in scratch memory
    of its own; otherwise all threads share the work of one chunk.
    """

    windows: tuple[tuple[int, int], ...]
    contracted: int
    free: int
    tiles: tuple[int, ...]
    chunk: int
    rows: int
    width: int
    lanes: int
    private: bool
    threads: Integer

    def points(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Products along each window axis, for windows of these sizes."""
        return tuple(m + r - 1 for m, r in zip(self.tiles, sizes, strict=True))


@dataclass(frozen=True)
class WeightTransform:
    """A kernel that transforms and packs weights for `Winograd`; positions as there, of its own axes."""

    windows: tuple[int, ...]
    contracted: int
    free: int
    tiles: tuple[int, ...]
    width: int
    lanes: int


def roles(equation: Equation) -> Roles | None:
    """The roles of an equation's indices, or None if it is not of the form above."""
    for weight, data in factors(equation):
        if isinstance(weight, Read):
            found = _roles(equation, weight, data)
            if found is not None:
                return found
    return None


def factors(equation: Equation) -> tuple[tuple[Expression, Expression], ...]:
    """The two factors of an equation that sums products of float32 numbers, in both orders; else nothing."""
    if equation.combiner != "sum" or equation.guard is not None or equation.dtype != "float32":
        return ()
    if equation.accumulator not in ("", "float32"):
        return ()
    body = equation.body
    if not (isinstance(body, Apply) and body.operation == "mul" and body.dtype == "float32"):
        return ()
    left, right = body.arguments
    return (left, right), (right, left)


def _roles(equation: Equation, weight: Read, data: Expression) -> Roles | None:
    outputs = [axis.name for axis in equation.domain]
    sizes = {axis.name: axis.size for axis in (*equation.domain, *equation.reduction)}
    if weight.dtype != "float32" or data.dtype != "float32" or any(r.dtype != "float32" for r in reads(data)):
        return None
    plain = [_either_way(subscript, sizes) for subscript in weight.subscripts if subscript.constant is None]
    used = indices(data)
    summed = [axis.name for axis in equation.reduction]
    if None in plain or len(set(plain)) != len(plain) or not set(summed) <= set(plain) & used:
        return None
    windows = []
    contracted = []
    for name in summed:
        images = [x for x in outputs if x not in plain]
        partner = next((x for x in images if slides(data, x, name)), None)
        turned = _turned(data, name, sizes[name])
        if partner is None and any(slides(turned, x, name) for x in images):
            # The window is walked backwards; the sum is the same the other way round.
            data, other = turned, _turned(weight, name, sizes[name])
            assert isinstance(other, Read)
            weight = other
            partner = next(x for x in images if slides(data, x, name))
        if partner is None:
            contracted.append(name)
        else:
            windows.append((partner, name))
    free = [name for name in outputs if name in plain]
    if not 1 <= len(windows) <= 3 or len(contracted) != 1 or len(free) != 1 or free[0] in used:
        return None
    if len({x for x, _ in windows}) != len(windows):
        return None
    if any(sizes[name].constant is None for pair in (*windows, (contracted[0], free[0])) for name in pair):
        return None
    return Roles(data, weight, tuple(windows), contracted[0], free[0])


def _either_way(subscript: Integer, sizes: Mapping[str, Integer]) -> str | None:
    """The index along which a subscript runs over a whole axis, forwards or backwards."""
    (name,) = subscript.indices() if len(subscript.indices()) == 1 else ("",)
    backwards = bool(name) and subscript == sizes.get(name, Integer(())) - 1 - Integer.index(name)
    return name if backwards else subscript.plain_index


def _turned(expression: Expression, index: str, size: Integer) -> Expression:
    """The expression with an index that runs the other way."""
    return substitute_indices(expression, {index: size - 1 - Integer.index(index)})


def slides(data: Expression, output: str, window: str) -> bool:
    """Whether two indices only occur as their sum."""
    if output not in indices(data):
        return False
    moved = {output: Integer.index(output) + 1, window: Integer.index(window) - 1}
    return substitute_indices(data, moved) == data


def indices(expression: Expression) -> set[str]:
    """All indices that occur in an expression."""
    found: set[str] = set()
    for node in walk(expression):
        values = node.subscripts if isinstance(node, Read) else (node.value,) if isinstance(node, Number) else ()
        for value in values:
            found |= value.indices()
    return found


def bounded(data: Expression, place: Integer, most: int) -> Expression:
    """The data, 0 where a place is more than `most`: what tiles that stick out read."""
    inside = Apply("le", (Number(place, "int64"), Number(Integer.of(most), "int64")), "bool")
    return Apply("select", (inside, data, Literal(0.0, data.dtype)), data.dtype)


def inlined(data: Expression, name: str, equation: Equation) -> Expression:
    """The data with an element-wise equation put in place of reads of it."""

    def node(found: Expression) -> Expression | None:
        if not isinstance(found, Read) or found.tensor != name:
            return None
        places = {axis.name: s for axis, s in zip(equation.domain, found.subscripts, strict=True)}
        return substitute_indices(equation.body, places)

    return transform(data, node)
