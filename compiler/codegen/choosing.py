"""Which road each equation takes: the one place where candidates are listed, scored and chosen.

The equations of a group (see `groups`) share a kernel, which can be made in several ways: by
register tiles of many shapes, by Winograd's algorithm, by image to column, row by row.  Each is
a `Candidate` with an `Estimate` (see `roads.costs`).  Unless people ask for a road, or `maj tune`
found one by measuring, the cheapest is taken; an algorithm that needs more memory than the sum as it
stands must be cheaper by a margin.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...dsl.equations import Apply, Equation, Expression, Read, equation_reads, reads
from ...dsl.integers import Symbol
from .. import windows
from ..dependence import weight_only
from ..graph import Graph, Note
from ..groups import Group, plan_groups
from ..passes.image_to_column import columns
from ..weights import computes_operations, rearrangeable
from . import machine, roads
from .asked import ANYTHING, Asked
from .cache import fingerprint
from .correlation import Correlation, CorrelationRoles, correlation_roles
from .joining import join_lanes
from .kernel import Kernel, Stored, canonical, make_kernel
from .packing import Packing, pack
from .roads import analysis, correlation, costs, winograd
from .roads.contraction import STREAMING
from .roads.costs import Estimate, Sizes
from .schedule import Way
from .target import Target
from .winograd import Roles, Winograd, inlined, roles

WINOGRAD, COLUMNS, REDUCTION = "winograd", "image-to-column", "reduction"
UNPACKED = (REDUCTION, STREAMING)
"""Roads that read weights as they are."""

_WORTH_WHILE = {WINOGRAD: 0.9, COLUMNS: 0.8}
"""Of the cost of the sum as it stands: what an algorithm that needs more memory must stay below."""

_LEAST_GAIN = 2e-6
"""Seconds that it must save: of less the model knows nothing."""

_MANY = 16
"""What sizes are taken for that are open, to see whether a road is good for many samples, too."""

_TILES, _PANELS, _SPECS = 6, 3, 3
"""The most register tiles for one width of panels, widths of panels, and ways of Winograd's that are listed."""


Tiling = tuple[Roles, Winograd] | tuple[CorrelationRoles, Correlation]
"""What Winograd's algorithm needs to know: for results of a window, or for sums over maps at a few offsets."""


@dataclass(frozen=True)
class Candidate:
    """A road for an equation, with its `details` in words and what it is expected to cost.

    The words of `details` name indices by their places, so that they are those of equal equations;
    `shown` has the names of this one.
    `way` says how the kernel is made that does the sum, `spec` what Winograd's algorithm needs.  What is
    not to be taken `unasked` is never the choice of the model.
    """

    road: str
    details: str
    estimate: Estimate
    way: Way
    spec: Tiling | None = None
    unasked: bool = True
    shown: str = ""


@dataclass(frozen=True)
class Decision:
    """What an equation takes and why; `refused` are the roads that it cannot take, with the reasons."""

    name: str
    key: str
    chosen: Candidate
    reason: str
    candidates: tuple[Candidate, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def way(self) -> Way:
        """How the kernel is made: unless it was tuned, with the tile that suits it where it is written."""
        way = self.chosen.way
        return way if self.reason == TUNED else replace(way, details="", panels=None)


TUNED = "tuned"
_COPY = "columns"  # what the copy is called in estimates
Tuned = Mapping[str, tuple[str, str]]
"""What was found by measuring: road and details by the key of an equation."""


def packed(kernel: Kernel, target: Target, fixed: Collection[str], way: Way) -> tuple[Kernel, Packing | None]:
    """A kernel as it is scheduled for a way, and the packing of its weights if there is one."""
    if target.gpu is not None:
        return kernel, None
    kernel = join_lanes(kernel, target)
    found = None if way.road in UNPACKED else pack(kernel, target, fixed, way.panels)
    return (kernel if found is None else found.kernel), found


def fixed_operations(graph: Graph) -> tuple[set[str], set[str]]:
    """What is computed once, when weights are loaded, and the weights that kernels may read in their own order."""
    if not computes_operations(graph):
        return set(), set()
    return weight_only(graph), rearrangeable(graph)


class Choosing:
    """The roads of a graph whose passes are done.

    `sizes` are those that estimates are made for, by name of the symbol; where none is given, the
    least that it may be.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        asked: Asked = ANYTHING,
        tuned: Tuned | None = None,
        sizes: Sizes | None = None,
    ) -> None:
        self.graph = graph
        self.target = target
        self.asked = asked
        self.tuned = tuned or {}
        self.sizes = sizes or {}
        self.once, self.fixed = fixed_operations(graph)
        self.groups = {
            group.root: group
            for group in plan_groups(graph)
            if isinstance(operation := graph.operation(group.root), Equation)
            and operation.combiner is not None
            and group.result not in self.once
        }

    def decisions(self) -> dict[str, Decision]:
        """What those reductions take that have a choice, by name."""
        return {name: self.decision(group) for name, group in self.groups.items() if self._has_choice(name)}

    def _has_choice(self, name: str) -> bool:
        operation = self.graph.operation(name)
        assert isinstance(operation, Equation)
        return bool(self.asked.road or self.tuned) or windows.kind(operation) == "direct"

    def decision(self, group: Group, *, whole: bool = False) -> Decision:
        """What a group takes; all roads are listed if it is to be told `whole`."""
        problem = _Problem(self, group)
        usual = problem.usual()
        key = problem.key if self.tuned or whole else ""
        tuned = self.tuned.get(key) if self.asked.road is None else None
        refused: dict[str, str] = {}
        listed = [usual, *problem.others(refused, usual, whole=whole or tuned is not None, asked=self.asked.road)]
        chosen, reason = self._cheapest(listed)
        if self.asked.road is not None:
            found = next((candidate for candidate in listed if candidate.road == self.asked.road), None)
            reason = f"asked for {self.asked.road}, but {refused.get(self.asked.road, 'it cannot take that')}"
            chosen, reason = (chosen, reason) if found is None else (found, "asked for")
        elif tuned is not None and self.asked.allows(tuned[0]):
            alike = (c for c in (*listed, *problem.variants()) if (c.road, c.details) == tuned)
            found = next(alike, None)
            chosen, reason = (chosen, reason) if found is None else (found, TUNED)
        return Decision(group.root, key, chosen, reason, _distinct([*listed, chosen]), refused)

    def makes(self, group: Group, tensor: str) -> bool:
        """Whether a kernel that makes a tensor works for a group: it, a copy of windows, or a padding for it alone."""
        if tensor == group.result or tensor.startswith(f"{group.root}.columns"):
            return True
        if tensor not in self.graph or self.graph.consumers(tensor) != [group.root]:
            return False
        operation = self.graph.operation(tensor)
        return isinstance(operation, Equation) and operation.combiner is None and selects(operation.body)

    def options(self, group: Group, most: int) -> tuple[str, list[Candidate]]:
        """The key of a group and its most promising candidates of all roads, the one that it takes unasked first."""
        problem = _Problem(self, group)
        usual = problem.usual()
        listed = [usual, *problem.others({}, usual, whole=True, asked=None)]
        first, _ = self._cheapest(listed)
        found = [c for c in (*listed, *problem.variants()) if self.asked.allows(c.road)]
        found = [*_distinct([first, *sorted(found, key=lambda c: c.estimate.seconds)])]
        return problem.key, found[:most]

    def _cheapest(self, listed: Sequence[Candidate]) -> tuple[Candidate, str]:
        """The first, unless another is cheaper by enough; without those that are taken only if asked for."""
        usual, *others = listed
        allowed = [c for c in others if c.unasked and c.road in _WORTH_WHILE and self.asked.allows(c.road)]
        worth = [c for c in allowed if c.estimate.seconds <= _limit(c.road, usual)]
        best = min(worth, key=lambda c: c.estimate.seconds, default=usual)
        if not others:
            return best, "the only one"
        least = min(c.estimate.seconds for c in (usual, *others) if self.asked.allows(c.road))
        return best, "cheapest" if best.estimate.seconds <= least else "usual"


def _limit(road: str, usual: Candidate) -> float:
    """The seconds that a road must stay below to be taken unasked."""
    return min(_WORTH_WHILE[road] * usual.estimate.seconds, usual.estimate.seconds - _LEAST_GAIN)


class _Problem:
    """One group: its kernels on all roads."""

    def __init__(self, choosing: Choosing, group: Group, sizes: Sizes | None = None) -> None:
        self.choosing = choosing
        self.graph, self.target = choosing.graph, choosing.target
        self.sizes = choosing.sizes if sizes is None else sizes
        self.fixed = choosing.fixed
        self.group = group
        operations = [(name, self.graph.operation(name)) for name in group.members]
        self.chain = [(name, operation) for name, operation in operations if isinstance(operation, Equation)]
        self.root = self.chain[0][1]
        # A sum over samples is one of training, where there are many.
        open_sizes = {a.name for axis in self.root.reduction for a in axis.size.atoms() if isinstance(a, Symbol)}
        self.sizes = dict.fromkeys(open_sizes, _MANY) | dict(self.sizes)
        self.kind = windows.kind(self.root)
        self.kernel = self._kernel(self.chain)
        lengths = [costs.known(axis.size, self.sizes) for axis in (*self.root.domain, *self.root.reduction)]
        self.flops = 2.0 * math.prod(lengths)

    @property
    def key(self) -> str:
        """Equal for equal equations of equal sizes."""
        weights = tuple(name in self.fixed for name in self.kernel.tensors)
        return fingerprint("equation", canonical(self.kernel)[0], weights)

    def usual(self) -> Candidate:
        """The sum as it stands, on the road that suits it best."""
        return self._made(self.kernel, Way("", self.kind))

    def others(
        self, refused: dict[str, str], usual: Candidate, *, whole: bool, asked: str | None
    ) -> Iterator[Candidate]:
        """The best candidate of each other road, as far as it may be chosen; fills in why others are `refused`."""
        found: Candidate | str
        limit = _limit(COLUMNS, usual)
        if whole or asked == WINOGRAD or self._may_pay():
            found = next(iter(self.winograd()), None) or self.no_winograd()
            if isinstance(found, str):
                refused[WINOGRAD] = found
            else:
                limit = min(limit, found.estimate.seconds)
                yield found
        if whole or asked == COLUMNS or (self.kind == "direct" and self._leaves_room(limit)):
            found = self.columns() or self.no_columns()
            if isinstance(found, str):
                refused[COLUMNS] = found
            else:
                yield found
        for road, reason in (
            (self.kind, "no operand is used for several results"),
            (STREAMING, "no operand has all that is summed and rows along the vectors"),
            (REDUCTION, ""),
        ):
            if (whole or asked == road) and usual.road != road:
                made = self._made(self.kernel, Way(road, self.kind))
                if made.road == road:
                    yield made
                else:
                    refused[road] = reason
        for road in {"direct", "depthwise", "matrix"} - {self.kind}:
            refused[road] = _OTHER_KIND[road]

    def _leaves_room(self, limit: float) -> bool:
        """Whether image to column with a perfect matrix product would take less than so many seconds."""
        found = columns(self.root, _COPY)
        if found is None:
            return False
        described = machine.of(self.target)
        filling = self._filling(found[0])
        return filling.seconds + self.flops / (described.typical.peak_flops_per_core * described.cores) < limit

    def variants(self) -> Iterator[Candidate]:
        """Further ways of the same roads: other tiles and panels."""
        yield from self.winograd()
        plain = Way("", self.kind)
        _, packing = packed(self.kernel, self.target, self.fixed, plain)
        wanted: list[int | None] = [None]
        if packing is not None:
            wanted += [width for width in packing.widths if width != packing.width][:_PANELS]
        for panels in wanted:
            yield from self._all(self.kernel, replace(plain, panels=panels))

    # -- Winograd's algorithm ------------------------------------------------------------------

    def _roles(self) -> Roles | None:
        parts = roles(self.root)
        if parts is None or parts.weight.tensor not in self.fixed:
            return None
        return replace(parts, data=self._padded(parts.data))

    def _correlation_roles(self) -> CorrelationRoles | None:
        parts = correlation_roles(self.root)
        if parts is None:
            return None
        return replace(parts, data=self._padded(parts.data), other=self._padded(parts.other))

    def _may_pay(self) -> bool:
        parts, correlated = self._roles(), self._correlation_roles()
        if correlated is not None:
            return correlation.suits(self.root, correlated, self.target)
        return parts is not None and winograd.suits(self.root, parts, self.target)

    def winograd(self) -> Iterator[Candidate]:
        """Its tiles and orders, the cheapest first."""
        parts = self._roles()
        if parts is None:
            yield from self._correlation()
            return
        if winograd.refusal(self.root, parts, self.target) or not self._fills_vectors(parts):
            return
        for spec, estimate in winograd.choices(self.root, parts, self.target, self.sizes)[:_SPECS]:
            details = winograd.words(spec, [self.root.reduction[p].size for _, p in spec.windows])
            unasked = winograd.suits(self.root, parts, self.target)
            yield Candidate(WINOGRAD, details, estimate, Way(WINOGRAD), (parts, spec), unasked, details)

    def _correlation(self) -> Iterator[Candidate]:
        """The same for sums over whole maps at a few offsets."""
        parts = self._correlation_roles()
        if parts is None or correlation.refusal(self.root, parts, self.target) or not self._fills_both(parts):
            return
        for spec, estimate in correlation.choices(self.root, parts, self.target, self.sizes)[:_SPECS]:
            details = correlation.words(spec, [self.root.domain[p].size for p, _ in spec.windows])
            unasked = correlation.suits(self.root, parts, self.target)
            yield Candidate(WINOGRAD, details, estimate, Way(WINOGRAD), (parts, spec), unasked, details)

    def no_winograd(self) -> str:
        """Why the algorithm cannot be used."""
        parts, correlated = roles(self.root), self._correlation_roles()
        if correlated is not None:
            refused = correlation.refusal(self.root, correlated, self.target)
            return refused or "its data do not fill vectors of channels"
        if parts is None:
            return "no window moves by single steps over float32 data, with one index summed beside it and one free"
        if parts.weight.tensor not in self.fixed:
            return "its weights are not known before the call"
        return winograd.refusal(self.root, parts, self.target) or "its data do not fill vectors of channels"

    def _fills_vectors(self, parts: Roles) -> bool:
        """Whether the data can be read and the results be finished in vectors of channels."""
        kernel = self._kernel([(self.chain[0][0], replace(self.root, body=parts.data)), *self.chain[1:]], merge=False)
        return all(analysis.can_vectorise(kernel, index) for index in (parts.contracted, parts.free))

    def _fills_both(self, parts: CorrelationRoles) -> bool:
        """Whether each factor can be read, and results be finished, in vectors of its channels."""
        return all(
            analysis.can_vectorise(
                self._kernel([(self.chain[0][0], replace(self.root, body=body)), *chain], merge=False), index
            )
            for body, chain, index in ((parts.data, [], parts.row), (parts.other, self.chain[1:], parts.column))
        )

    def _padded(self, data: Expression) -> Expression:
        """The data with what they read put in its place, where that is a padding or another choice."""
        if isinstance(data, Read):
            source = self.graph.operation(data.tensor)
            if isinstance(source, Equation) and source.combiner is None and selects(source.body):
                return inlined(data, data.tensor, source)
        return data

    # -- image to column -------------------------------------------------------------------------

    def columns(self) -> Candidate | None:
        """Image to column with the best tile of the product; None if there is no window."""
        found = columns(self.root, _COPY)
        if found is None:
            return None
        copy, product = found
        chain = [(self.chain[0][0], product), *self.chain[1:]]
        tensors = {**self._tensors(chain, {_COPY}), _COPY: Stored(copy.shape, copy.dtype)}
        made = self._made(make_kernel(chain, tensors, self._stored(self.group.result)), Way(COLUMNS, COLUMNS))
        if made.road != COLUMNS:
            return None
        estimate = self._filling(copy) + made.estimate
        unasked = self.kind == "direct" and (estimate.seconds > _limit(COLUMNS, self.usual()) or self._wins_for_many())
        return replace(made, estimate=estimate, unasked=unasked)

    def _wins_for_many(self) -> bool:
        """Whether image to column is cheaper for many samples, too: its copy grows with them and leaves the caches."""
        open_sizes = {a.name for axis in self.root.domain for a in axis.size.atoms() if isinstance(a, Symbol)}
        if not open_sizes - set(self.sizes):
            return True
        many = _Problem(self.choosing, self.group, dict.fromkeys(open_sizes, _MANY) | dict(self.sizes))
        found = many.columns()
        return found is not None and found.estimate.seconds <= _limit(COLUMNS, many.usual())

    def _filling(self, copy: Equation) -> Estimate:
        """The cost of copying what windows see."""
        kernel = make_kernel([(_COPY, copy)], self._tensors([(_COPY, copy)]), Stored(copy.shape, copy.dtype))
        found = costs.estimate(kernel, roads.choose(kernel, self.target), self.target, self.sizes)
        return replace(found, flops=0.0)  # nobody asks for the copy

    def no_columns(self) -> str:
        """Why image to column cannot be used."""
        if not windows.window_pairs(self.root):
            return "no window slides over its data"
        if windows.windowed(self.root) is None:
            return "its windows slide over several operands, or over all that it multiplies"
        return "copied windows would be rounded, or be used for one result only"

    # -- kernels ---------------------------------------------------------------------------------

    def _made(self, kernel: Kernel, way: Way) -> Candidate:
        """A kernel on the road of a way, or on its usual one."""
        return next(self._all(kernel, way, 1))

    def _all(self, kernel: Kernel, way: Way, most: int = _TILES) -> Iterator[Candidate]:
        """A kernel on the roads that a way leaves it."""
        prepared, packing = packed(kernel, self.target, self.fixed, way)
        alike, names = canonical(prepared)
        fixed = {names[name] for name in prepared.tensors if name in self.fixed}
        fixed |= {names[packing.name]} if packing is not None else set()
        width = None if packing is None else packing.width
        symbols, _ = prepared.free()
        given = {f"n{i:02}": self.sizes[s.name] for i, s in enumerate(symbols) if s.name in self.sizes}
        found = roads.alternatives(alike, self.target, way.tiled)
        if way.road:
            everything = list(found)
            found = iter([road for road in everything if road.name == way.road] or everything)
        for road in itertools.islice(found, most):
            words = roads.words(alike, road)
            panels = "" if width is None else f", panels of {width}"
            shown = road.words({f"i{k}": axis.name for k, axis in enumerate((*prepared.domain, *prepared.reduction))})
            estimate = costs.estimate(alike, road, self.target, given, fixed)
            made = Way(road.name, way.tiled, words, width)
            yield Candidate(road.name, words + panels, estimate, made, shown=shown + panels)

    def _kernel(self, chain: Sequence[tuple[str, Equation]], *, merge: bool = True) -> Kernel:
        return make_kernel(chain, self._tensors(chain), self._stored(self.group.result), merge=merge)

    def _tensors(self, chain: Sequence[tuple[str, Equation]], known: Collection[str] = ()) -> dict[str, Stored]:
        inner = {*known, *(name for name, _ in chain)}
        names = (read.tensor for _, equation in chain for read in equation_reads(equation))
        return {name: self._stored(name) for name in names if name not in inner}

    def _stored(self, name: str) -> Stored:
        tensor = self.graph.tensor(name)
        return Stored(tensor.shape, tensor.dtype)


_OTHER_KIND = {
    "direct": "no window slides over its data, or over each channel by itself",
    "depthwise": "no window slides over each channel by itself",
    "matrix": "a window slides over its data",
}


def selects(expression: Expression) -> bool:
    """Whether an expression is a choice that does not depend on data, such as a padding."""
    return isinstance(expression, Apply) and expression.operation == "select" and not reads(expression.arguments[0])


def notes(decisions: Mapping[str, Decision]) -> Iterator[Note]:
    """What is to be told of decisions that are not the usual ones."""
    for name, found in decisions.items():
        if found.reason == TUNED:
            yield Note(
                "roads", name, f"takes the road {found.chosen.road} as `maj tune` found it: {found.chosen.details}"
            )
        elif found.reason.startswith("asked for "):
            yield Note("roads", name, f"takes the road {found.chosen.road}: {found.reason}")


def _distinct(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    return tuple({(c.road, c.details): c for c in candidates}.values())
