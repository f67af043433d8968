"""Into what the axes of a program's tensors are cut later: features that become a picture.

Goes once through a program, readers first.  An axis of a tensor is cut where an equation reads it with
several indices fused (`h[b,(x,y,i)]`) or a tensor is reshaped; a part is a place if a window
slides along it from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from ..dsl.equations import Equation, Partial, Program, Read, Reshape, equation_reads
from ..dsl.integers import Integer
from .axis_kinds import CHANNEL, PLACE, UNKNOWN, Axes, Part, equation_sizes, is_fused, outer_first, pieces_of_axis

CUT = "cut"
"""The kind of parts that are all there is in a tensor beside the batch, none of them known to be a place."""

Cuts = dict[tuple[str, int], tuple[Part, ...]]
"""(tensor, axis) -> its parts; one, if it is whole and known to be a place."""

_FEWEST_OF_A_PICTURE = 3


def axis_cuts(program: Program, kinds: Mapping[str, Axes], free: Set[str]) -> Cuts:
    """The later parts of axes; `kinds` are what they are so far, `free` the names that depend on no data."""
    found: Cuts = {}
    for name, operation in reversed(list(program.operations.items())):
        if isinstance(operation, Equation):
            for read in equation_reads(operation):
                if read.tensor not in free:
                    _through_read(read, name, operation, kinds, found)
        elif isinstance(operation, Reshape):
            source = program.tensor(operation.source).shape
            for axis, (results, is_whole) in enumerate(pieces_of_axis(source, operation.shape)):
                parts = tuple(_whole(found, name, n, operation.shape[n].constant) for n in results)
                if is_whole:
                    _keep(
                        found, operation.source, axis, found.get((name, results[0]), ()) if len(parts) == 1 else parts
                    )
        elif isinstance(operation, Partial):
            for piece in operation.pieces:
                for axis, index in enumerate(piece.domain):
                    for number, subscript in enumerate(piece.target):
                        if subscript.indices() == {index.name}:
                            _keep(found, piece.source, axis, (_whole(found, name, number, index.size.constant),))
    return found


def _through_read(read: Read, name: str, equation: Equation, kinds: Mapping[str, Axes], found: Cuts) -> None:
    sizes = equation_sizes(equation)
    places = {axis.name: number for number, axis in enumerate(equation.domain)}
    for axis, subscript in enumerate(read.subscripts):
        outputs = [index for index in outer_first(subscript) if index in places]
        parts: tuple[Part, ...] = ()
        if len(outputs) < len(subscript.indices()):
            is_place = bool(outputs) and {part.kind for part in kinds[read.tensor][axis]} != {CHANNEL}
            parts = (Part(None, PLACE),) if is_place else ()
        elif len(outputs) == 1:
            own = found.get((name, places[outputs[0]]), ())
            parts = own if subscript.plain_index is not None or len(own) == 1 else ()
        elif len(outputs) > 1 and is_fused(subscript, sizes):
            parts = _cut(subscript, name, places, sizes, found)
        _keep(found, read.tensor, axis, parts)


def _cut(
    subscript: Integer, name: str, places: Mapping[str, int], sizes: Mapping[str, int | None], found: Cuts
) -> tuple[Part, ...]:
    indices = outer_first(subscript)
    parts = tuple(_whole(found, name, places[index], sizes[index]) for index in indices)
    large = sum(part.size != 1 for part in parts)
    if all(part.kind != PLACE for part in parts) and large >= _FEWEST_OF_A_PICTURE and len(places) <= len(indices) + 1:
        return tuple(Part(part.size, CUT) for part in parts)
    return parts


def _whole(found: Cuts, name: str, axis: int, size: int | None) -> Part:
    """An axis as one part."""
    parts = found.get((name, axis), ())
    return Part(size, parts[0].kind if len(parts) == 1 else UNKNOWN)


def _keep(found: Cuts, name: str, axis: int, parts: tuple[Part, ...]) -> None:
    """Remember parts, unless there are better ones."""
    if not any(part.kind in (PLACE, CUT) for part in parts):
        return
    before = found.get((name, axis), ())
    if len(parts) > len(before) or not any(part.kind == PLACE for part in before):
        found[name, axis] = parts
