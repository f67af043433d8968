"""What the nests of Winograd's algorithm share: transforms of boxes of values, tests of tiles, loops over vectors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from tvm import tirx
from tvm.ir import Expr

from ...dsl.equations import Apply, Axis, Expression, Literal, Number, reads, walk
from ...dsl.integers import Element, FloorDiv, Integer
from .expressions import Lowering, Point, depends
from .schedule import cut
from .statements import Block, add, all_of, integer, multiply, number, subtract
from .toom_cook import Matrix, Row

Coordinates = tuple[int, ...]


def vectors(block: Block, lowering: Lowering, axis: Axis, most: int, write: Callable[[Block, int], None]) -> None:
    """Loops over the vectors of an axis, of at most so many lanes, the last of which may overlap the one before."""
    while most > known_size(axis):
        most //= 2
    for piece in cut(axis.size, 1, most):
        with block.loop(axis.name, lowering.size(piece.trips)) as (body, trip):
            place = trip * piece.step + lowering.size(piece.start)
            lowering.indices[axis.name] = body.bind(axis.name, place)
            write(body, piece.lanes)


def at_tile(
    block: Block,
    lowering: Lowering,
    grid: Sequence[tuple[Axis, Integer]],
    lengths: Mapping[str, int],
    tile: Expr,
) -> None:
    """Set the indices of a grid, axes and how many tiles there are along each, to where a tile begins.

    Tiles are numbered with the last axis fastest; `lengths` are those of a tile, 1 along other axes.
    """
    for depth, (axis, count) in reversed(list(enumerate(grid))):
        place = tile
        if depth:
            extent = lowering.size(count)
            place = block.bind("place", tirx.Mod(tile, extent))
            tile = block.bind("tile", tirx.Div(tile, extent))
        if axis.name in lengths:
            place = block.bind(axis.name, place * lengths[axis.name])
        lowering.indices[axis.name] = place


def all_hold(block: Block, lowering: Lowering, conditions: Sequence[Expression], extents: Mapping[str, int]) -> Expr:
    """Whether conditions hold in a box from the present indices on; affine inequalities are tested at its corners."""
    tests = []
    for condition in conditions:
        ends = [(0, n - 1) if convex(condition) else tuple(range(n)) for n in extents.values()]
        for corner in itertools.product(*ends):
            shifts = dict(zip(extents, corner, strict=True))
            tests.append(lowering.value(condition, Point(shifts=shifts), block))
    return block.bind("whole", all_of(tests))


# -- linear transforms ------------------------------------------------------------------------


def separable(
    block: Block, matrices: Sequence[Matrix], values: Mapping[Coordinates, Expr], dtype: str
) -> dict[Coordinates, Expr]:
    """The values of a box multiplied along each axis by that axis' matrix; row-major order."""
    found = dict(values)
    for axis, matrix in enumerate(matrices):
        lines: dict[Coordinates, list[Coordinates]] = {}
        for place in found:
            lines.setdefault(place[:axis] + place[axis + 1 :], []).append(place)
        result = {}
        for rest, places in lines.items():
            line = [found[place] for place in sorted(places, key=lambda place: place[axis])]
            for row, value in enumerate(_transformed(block, matrix, line, dtype)):
                result[(*rest[:axis], row, *rest[axis:])] = value
        found = result
    return dict(sorted(found.items()))


def _transformed(block: Block, matrix: Matrix, values: Sequence[Expr], dtype: str) -> list[Expr]:
    """A matrix times a vector of values.

    Rows that differ only in the signs of some coefficients (those of opposite points) share
    their sums: one is `even + odd`, the other `even - odd`.
    """
    results: dict[int, Expr] = {}
    for position, row in enumerate(matrix):
        if position in results:
            continue
        twin = next(
            (k for k in range(position + 1, len(matrix)) if k not in results and _opposite(row, matrix[k])), None
        )
        if twin is None:
            results[position] = _combination(block, row, values, dtype)
            continue
        same = [c if c == d else Fraction(0) for c, d in zip(row, matrix[twin], strict=True)]
        turned = [c if c != d else Fraction(0) for c, d in zip(row, matrix[twin], strict=True)]
        even, odd = (_combination(block, part, values, dtype) for part in (same, turned))
        results[position] = block.bind("sum", add(even, odd))
        results[twin] = block.bind("difference", subtract(even, odd))
    return [results[position] for position in range(len(matrix))]


def _opposite(row: Row, other: Row) -> bool:
    """Whether two rows agree but for signs, and sharing saves something."""
    same = sum(1 for c, d in zip(row, other, strict=True) if c and c == d)
    turned = sum(1 for c, d in zip(row, other, strict=True) if c and c == -d)
    return (
        same > 0 and turned > 0 and same + turned > 2 and all(abs(c) == abs(d) for c, d in zip(row, other, strict=True))
    )


def _combination(block: Block, row: Sequence[Fraction], values: Sequence[Expr], dtype: str) -> Expr:
    """The sum of values times coefficients, those of 1 and -1 without a multiplication."""
    total: Expr | None = None
    # Plain terms first: multiplications that follow are fused with their additions.
    terms = sorted(((c, v) for c, v in zip(row, values, strict=True) if c), key=lambda term: term[0] != 1)
    for coefficient, value in terms:
        term = value if abs(coefficient) == 1 else multiply(value, number(float(abs(coefficient)), dtype))
        if total is None:
            total = term if coefficient > 0 else subtract(number(0.0, dtype), term)
        else:
            total = add(total, term) if coefficient > 0 else subtract(total, term)
    return block.bind("combination", number(0.0, dtype) if total is None else total)


# -- conditions ---------------------------------------------------------------------------------


def conditions_of(body: Expression, channel: str) -> tuple[Expression, ...]:
    """The conditions under which the body reads what it reads, that depend neither on data nor on the channel."""
    found = [node.arguments[0] for node in walk(body) if isinstance(node, Apply) and node.operation == "select"]
    return tuple(
        dict.fromkeys(condition for condition in found if not reads(condition) and not depends(condition, channel))
    )


def convex(condition: Expression) -> bool:
    """Whether a condition that holds at two points holds between them: conjunctions of affine inequalities."""
    if not isinstance(condition, Apply):
        return False
    if condition.operation == "and":
        return all(map(convex, condition.arguments))
    return condition.operation in ("le", "lt") and all(_affine(argument) for argument in condition.arguments)


def _affine(expression: Expression) -> bool:
    if isinstance(expression, Literal):
        return True
    return isinstance(expression, Number) and not any(
        isinstance(atom, (FloorDiv, Element)) for atom in expression.value.atoms()
    )


def ramp(place: Expr, lanes: int) -> Expr:
    return tirx.Ramp(place, integer(1), lanes) if lanes > 1 else place


def known_size(axis: Axis) -> int:
    assert axis.size.constant is not None
    return axis.size.constant
