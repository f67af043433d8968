"""How a kernel's loops are arranged: a value, chosen by a road and carried out by `nest`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...dsl.integers import ZERO, Integer


@dataclass(frozen=True)
class Schedule:
    """One arrangement of loops.

    `order` are the output indices, outermost first; `reduction_order` likewise.  `vector`
    runs along `lanes` lanes; if it is a reduction index, every lane sums its share and the
    lanes are added at the end.  `tiles` says how many elements (vectors, for `vector`) of
    an index are computed at once in registers.  The first `parallel` output indices are
    spread over threads, if `threads_from`, an expression of run-time sizes, is None or at
    least 0.  The last `written_out` reduction indices have no loops: their steps stand one
    after the other and share what they load, those together that read the same element at
    the offset `slid`.  A `stretch` above 0 keeps that many sums in memory instead of a tile
    in registers (see `streaming`).  The loops of the first `parts` reduction indices are around
    those of the output that are not spread over threads, and so is one over parts of `part`
    values of the next index if that is above 0; between them, sums are in the output.  Sums that
    are `multiplied` add each term times 1, which gives the same by other units of the machine.
    On a GPU there is a thread for `each` tile of the output.
    """

    order: tuple[str, ...]
    reduction_order: tuple[str, ...] = ()
    vector: str | None = None
    lanes: int = 1
    tiles: Mapping[str, int] = field(default_factory=dict)
    parallel: int = 0
    threads_from: Integer | None = None
    stretch: int = 0
    parts: int = 0
    part: int = 0
    written_out: int = 0
    slid: Integer | None = None
    multiplied: bool = False
    each: bool = False

    def describe(self, names: Mapping[str, str]) -> str:
        """The arrangement in words, with the indices called as in `names`."""
        parts = []
        if self.vector is not None and self.lanes > 1:
            parts.append(f"vectors of {self.lanes} along {names[self.vector]}")
        if self.stretch:
            parts.append(f"{self.stretch} sums in cache")
        else:
            tile = [f"{count} {names[name]}" for name, count in self.tiles.items() if count > 1]
            parts += [f"tile of {' x '.join(tile)}"] if tile else []
        if self.parallel:
            over = ", ".join(names[name] for name in self.order[: self.parallel])
            parts.append(f"a thread for each {over}" if self.each else f"threads over {over}")
        return ", ".join(parts) or "plain loops"


@dataclass(frozen=True, slots=True)
class BlockReduction:
    """On a GPU: a block of threads for each `across` results, `along` threads for the reduction of each.

    Threads that are neighbours work on results next to each other.  The product is a power of two.
    """

    across: int
    along: int

    def describe(self) -> str:
        """The arrangement in words."""
        results = "each result" if self.across == 1 else f"{self.across} results"
        return f"{self.along} threads for the sum of each, a block for {results}"


@dataclass(frozen=True, slots=True)
class SharedTiles:
    """On a GPU: a block of threads for each tile of `rows` by `columns` results of a sum of products.

    Rows run over the output indices that only one factor depends on, the right one if it is `flipped`, columns
    over those of the other alone, and `batch` are those of both; `reduction` is in the order of the sum.
    Factors come into memory that the block shares for `depth` steps of the sum at a time.  Each thread has
    `height` by `width` results.  Where `split` is set, steps that come in together are of the last index of
    the reduction alone.  Tensor cores multiply where `numbers` is what they take: "float16", "bfloat16", or
    "tf32", which is float32 with the 10 bits after the point that float16 has.
    """

    row_indices: tuple[str, ...]
    column_indices: tuple[str, ...]
    batch: tuple[str, ...]
    reduction: tuple[str, ...]
    rows: int
    columns: int
    depth: int
    height: int
    width: int
    split: bool
    flipped: bool = False
    numbers: str = ""

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return (self.rows // self.height) * (self.columns // self.width)

    def describe(self) -> str:
        """The arrangement in words."""
        tile = f"{self.rows} x {self.columns} results"
        on = f", on tensor cores in {self.numbers}" if self.numbers else ""
        return f"a block of {self.threads} threads for each {tile}, {self.depth} terms at a time{on}"


@dataclass(frozen=True)
class Road:
    """The schedules of a kernel: the first whose condition holds when it runs is taken.

    Each comes with an expression of run-time sizes that must be at least 0 (always true if
    None); the last has none.  On a GPU, threads of a block may work together: `shared` says how.
    """

    name: str
    variants: tuple[tuple[Integer | None, Schedule], ...] = ()
    details: str = ""
    shared: BlockReduction | SharedTiles | None = None

    def describe(self, names: Mapping[str, str]) -> str:
        """The road and its schedules in words, with the indices called as in `names`."""
        return f"{self.name}: {self.words(names)}"

    def words(self, names: Mapping[str, str]) -> str:
        """The same without its name."""
        return "; or ".join(schedule.describe(names) for _, schedule in self.variants) or self.details


@dataclass(frozen=True)
class Way:
    """What is asked of a kernel: a `road` by name, "" for the usual one, and its schedules in words, "" for the best.

    The words are those of `Road.words` for the kernel in canonical form.  `tiled` is what register
    tiles are called for this kernel (see `windows.kind`); `panels` is how wide panels of weights are.
    """

    road: str = ""
    tiled: str = "matrix"
    details: str = ""
    panels: int | None = None


ANY_WAY = Way()


@dataclass(frozen=True)
class Piece:
    """Part of an axis: `trips` tiles from `start` on, `step` apart.

    The elements of a tile (first lanes of its vectors) are at `shifts` from its start.  Of the lanes of
    a vector that is longer than the axis, the first `used` count; in all others, all do.
    """

    start: Integer
    trips: Integer
    step: int
    shifts: tuple[int, ...]
    lanes: int
    used: int = 0


def cut(size: Integer, tile: int, lanes: int, overlap: bool = True) -> list[Piece]:
    """An axis cut into tiles of `tile` vectors of `lanes` elements, and what is left.

    An axis that is shorter than one vector is one of which not all lanes are used.
    With `overlap`, the last vector of an axis of known size reaches back over elements that
    are computed already rather than being cut into single elements.
    """
    if size.constant is not None and 0 < size.constant < lanes:
        return [Piece(ZERO, Integer.of(1), lanes, (0,), lanes, size.constant)]
    step = tile * lanes
    whole = size // step
    rest = size - whole * step
    pieces = [Piece(ZERO, whole, step, tuple(range(0, step, lanes)), lanes)] if whole.constant != 0 else []
    if rest.constant == 0:
        return pieces
    start = whole * step
    if rest.constant is None or size.constant is None:
        return pieces + (_open_rest(start, rest, tile) if lanes == 1 else [Piece(start, rest, 1, (0,), 1)])
    return pieces + _rest(start, rest.constant, lanes, overlap and size.constant >= lanes)


def _open_rest(start: Integer, rest: Integer, tile: int) -> list[Piece]:
    """What is left of an axis of open size, fewer than `tile` elements: at most one piece of 8, of 4, of 2, of 1."""
    pieces = []
    for count in (8, 4, 2, 1):
        if count < tile:
            trips = rest // count
            pieces.append(Piece(start, trips, count, tuple(range(count)), 1))
            start, rest = start + trips * count, rest - trips * count
    return pieces


def _rest(start: Integer, left: int, lanes: int, overlap: bool) -> list[Piece]:
    """The last `left` elements of an axis, fewer than a tile."""
    shifts = list(range(0, left - lanes + 1, lanes))
    if left % lanes and overlap:
        last = left - lanes
        low = min(last, 0)
        return [Piece(start + low, Integer.of(1), 1, tuple(shift - low for shift in [*shifts, last]), lanes)]
    pieces = [Piece(start, Integer.of(1), 1, tuple(shifts), lanes)] if shifts else []
    single = left % lanes
    return pieces + ([Piece(start + left - single, Integer.of(single), 1, (0,), 1)] if single else [])
