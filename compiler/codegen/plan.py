"""The program as a list of launches: which kernel runs when, on which memory.

Everything that needs no code is settled here: reshapes are other names of their source,
outputs are written where the caller wants them, a piece of a partial definition is
computed in place where nobody else reads it, and what depends on weights alone runs once,
when the module is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...dsl.equations import (
    Apply,
    Axis,
    Carry,
    Constant,
    Equation,
    Expression,
    Input,
    Parameter,
    Partial,
    Piece,
    Random,
    Read,
    Recurrence,
    Reshape,
    State,
    Step,
    equation_reads,
    reads,
)
from ...dsl.integers import Index, Integer, Range, Symbol
from ..dependence import data_free
from ..graph import Graph
from ..groups import Group, plan_groups
from ..passes.image_to_column import image_to_column
from ..windows import kind
from .actions import Action, Draw, Launch, Loop, Plan, Several, Storing
from .asked import ANYTHING, Asked
from .choosing import COLUMNS, Choosing, Decision, Tuned, fixed_operations, notes, packed, selects
from .correlation import Correlation, CorrelationRoles
from .correlation_nest import correlation_scratch
from .errors import CompilationFailed
from .kernel import Kernel, Stored, make_kernel
from .packing import Packing
from .padding import Padding, padding
from .sample_wise import sample_symbol
from .schedule import Way
from .storage import BYTES
from .target import Target
from .winograd import Roles, WeightTransform, Winograd, bounded
from .winograd_nest import scratch_size


def outputs(graph: Graph) -> tuple[str, ...]:
    """The roots that the caller is given: all but those that are only stored."""
    program = graph.program
    shown = {*program.outputs, *program.metrics, *(parts[0] for parts in program.losses.values())}
    kept = {name for store in program.stores for name in (store.source, store.condition)} - shown
    return tuple(root for root in graph.roots if root not in kept)


def make_plan(graph: Graph, target: Target, *, asked: Asked = ANYTHING, tuned: Tuned | None = None) -> Plan:
    """The plan of a graph whose passes are done; `asked` and `tuned` say what roads to take (see `choosing`).

    Roads on a GPU are not chosen before (see `roads.gpu`): there all kernels are what their equations say.
    """
    if target.gpu is not None:
        if asked.road is not None:
            raise CompilationFailed(
                f"the road {asked.road} cannot be asked for on a GPU, whose kernels have roads of their own"
            )
        return _Planner(graph, target, {}).plan()
    decisions = Choosing(graph, target, asked, tuned).decisions()
    before = len(graph.notes)
    graph = image_to_column(graph, {name for name, found in decisions.items() if found.chosen.road == COLUMNS})
    plan = _Planner(graph, target, decisions).plan()
    return replace(plan, notes=(*graph.notes[before:], *notes(decisions)))


class _Planner:
    def __init__(self, graph: Graph, target: Target, decisions: Mapping[str, Decision]) -> None:
        self.graph = graph
        self.target = target
        self.ways = {name: found.way for name, found in decisions.items()}
        self.tiled = {name: found.chosen.spec for name, found in decisions.items() if found.chosen.spec is not None}
        self.groups = plan_groups(graph)
        self.plan_ = Plan(roots={group.result: group.root for group in self.groups})
        self.home: dict[str, str] = {}  # tensor -> buffer
        self.carries: dict[tuple[str, int], str] = {}
        self.once, self.fixed = fixed_operations(graph)
        self.known = data_free(graph)
        self.written: dict[str, tuple[str, tuple[Integer, ...]]] = {}  # tensor -> partial and subscripts
        self.outputs = {root: graph.resolve(root) for root in outputs(graph)}
        self.kept = {graph.resolve(root) for root in graph.roots}
        self.absorbed = self._absorbed()
        self.direct = set().union(*map(self._factors, self.tiled))  # what is read without a padding
        self.filled: dict[str, Padding] = {}  # paddings into which their sources are written

    def plan(self) -> Plan:
        self._place_outputs()
        self._place_pieces()
        self._place_padded()
        for group in self.groups:
            if group.result not in self.absorbed:
                self._group(group)
        for root, name in self.outputs.items():
            if self._home_of(name) != f"output {root}":
                self._copy_output(root, name)
        self._note_stores()
        return self.plan_

    def _note_stores(self) -> None:
        """Say what is to be kept at the end, and where it is."""
        for store in self.graph.program.stores:
            operation = self.graph.program.operations[store.target]
            assert isinstance(operation, Parameter | State)
            kind = "parameter" if isinstance(operation, Parameter) else "state"
            target = self._buffer(store.target, Stored(operation.shape, operation.dtype), kind)
            source = self._home_of(self.graph.resolve(store.source))
            condition = None if store.condition is None else self._home_of(self.graph.resolve(store.condition))
            self.plan_.stores.append(Storing(target, source, condition))

    # -- where tensors live ------------------------------------------------------------

    def _place_outputs(self) -> None:
        """Computed outputs are made where the caller wants them; the first name wins."""
        for root, name in self.outputs.items():
            base = self._base(name)
            operation = self.graph.operation(base)
            self._buffer(f"output {root}", self._stored(name), "output")
            computed = isinstance(operation, (Equation, Partial, Random, Carry)) and base not in self.once
            if computed and base not in self.home:
                self.home[base] = f"output {root}"

    def _place_pieces(self) -> None:
        """Pieces whose source is an equation that nobody else reads are computed in place."""
        results = {group.result: group for group in self.groups}
        for name in self.graph:
            operation = self.graph.operation(name)
            if not isinstance(operation, Partial):
                continue
            for piece in operation.pieces:
                source = piece.source
                alone = (
                    self.graph.consumers(source) == [name] and sum(p.source == source for p in operation.pieces) == 1
                )
                whole = source in results and isinstance(self.graph.operation(source), Equation)
                same = (source in self.once) == (name in self.once)
                if (
                    alone
                    and whole
                    and same
                    and source not in (*self.kept, *self.direct)
                    and _covers(piece, self._stored(source))
                ):
                    self.written[source] = (name, _by_axis(piece))

    def _place_padded(self) -> None:
        """What only a padding reads is computed inside of it."""
        results = {group.result: group for group in self.groups}
        for group in self.groups:
            operation, name = self.graph.operation(group.root), group.result
            if len(group.members) > 1 or name in (*self.absorbed, *self.written) or not isinstance(operation, Equation):
                continue
            for source in self.graph.network.predecessors(name):
                taken = source in (*self.written, *self.filled, *self.kept, *self.direct)
                if source not in results or taken or self.graph.consumers(source) != [name]:
                    continue
                found = padding(operation, self._stored(source).shape)
                inside = self.graph.operation(source)
                same = (source in self.once) == (name in self.once)
                if found is not None and found.source == source and isinstance(inside, Equation) and same:
                    self.filled[name] = found
                    places = enumerate(found.before)
                    self.written[source] = (name, tuple(Integer.index(f"#{k}") + before for k, before in places))

    def _base(self, name: str) -> str:
        """The tensor whose memory a tensor shares: a reshape's source, the first carry of equal ones."""
        while isinstance(operation := self.graph.operation(name), Reshape):
            name = operation.source
        if isinstance(operation, Carry):
            return self.carries.setdefault((operation.recurrence, operation.position), name)
        return name

    def _stored(self, name: str) -> Stored:
        tensor = self.graph.tensor(name)
        return Stored(tensor.shape, tensor.dtype)

    def _buffer(self, name: str, stored: Stored, kind: str) -> str:
        self.plan_.buffers[name] = stored
        self.plan_.places[name] = kind
        return name

    def _home_of(self, name: str) -> str:
        """The buffer of a tensor, made if there is none yet."""
        base = self._base(name)
        if base not in self.home:
            operation = self.graph.operation(base)
            kinds = {Input: "input", Parameter: "parameter", State: "state", Constant: "constant"}
            kind = kinds.get(type(operation), "prepared" if base in self.once else "arena")
            self.home[base] = self._buffer(base if kind != "arena" else f"arena {base}", self._stored(base), kind)
        self.home[name] = self.home[base]
        return self.home[name]

    def _copy_output(self, root: str, name: str) -> None:
        stored = self.plan_.buffers[f"output {root}"]
        flat = Stored((stored.count,), stored.dtype)
        index = Axis("i", stored.count)
        equation = Equation((index,), Read(name, (Integer.index("i"),), stored.dtype), stored.dtype)
        kernel = make_kernel([(root, equation)], {name: flat}, flat)
        self.plan_.run.append(self._launch(kernel, f"output {root}", root))

    # -- Winograd's algorithm ------------------------------------------------------------

    def _absorbed(self) -> set[str]:
        """Paddings that nobody needs as tensors, since all their readers pad by themselves."""
        found = set()
        for root in self.tiled:
            for name in self.graph.network.predecessors(root):
                operation = self.graph.operation(name)
                choice = isinstance(operation, Equation) and operation.combiner is None and selects(operation.body)
                readers = self.graph.consumers(name)
                if choice and name not in self.kept and all(self._pads(reader, name) for reader in readers):
                    found.add(name)
        return found

    def _pads(self, reader: str, padding: str) -> bool:
        """Whether an equation does the work of a padding by itself."""
        return reader in self.tiled and padding not in self._factors(reader)

    def _factors(self, root: str) -> set[str]:
        """What Winograd's algorithm reads of the two factors of an equation."""
        parts = self.tiled[root][0]
        return _tensors(parts.data) | _tensors(parts.weight if isinstance(parts, Roles) else parts.other)

    def _tiled(
        self,
        group: Group,
        chain: Sequence[tuple[str, Equation]],
        output: Stored,
        target: tuple[Integer, ...] | None,
        home: str,
    ) -> Launch:
        """The main launch of Winograd's algorithm; the transform of the weights is done before."""
        parts, spec = self.tiled[group.root]
        name, root = chain[0]
        if isinstance(parts, CorrelationRoles):
            assert isinstance(spec, Correlation)
            return self._correlated(group, chain, output, target, home, parts, spec)
        assert isinstance(spec, Winograd)
        sizes = {axis.name: axis.size.constant or 0 for axis in (*root.domain, *root.reduction)}
        data = parts.data
        for (index, window), m in zip(parts.windows, spec.tiles, strict=True):
            if sizes[index] % m:
                place = Integer.index(index) + Integer.index(window)
                data = bounded(data, place, sizes[index] + sizes[window] - 2)
        weights = self._transformed_weights(root, parts, spec)
        chain = [(name, replace(root, body=data)), *chain[1:]]
        kernel = make_kernel(chain, self._tensors(chain), output, target, merge=False)
        samples = sample_symbol(chain, kernel.tensors, output, target)
        scratch = f"arena {group.result} scratch"
        count = Integer.of(scratch_size(kernel, spec)) * (spec.threads if spec.private else 1)
        kernel = replace(
            kernel,
            tensors={**kernel.tensors, weights: self.plan_.buffers[weights]},
            algorithm=spec,
            scratch=count * BYTES["float32"],
        )
        self._buffer(scratch, Stored((count,), "float32"), "arena")
        operands = (*map(self._home_of, list(kernel.tensors)[:-1]), weights)
        return Launch(kernel, operands, home, group.result, scratch, samples=samples)

    def _correlated(
        self,
        group: Group,
        chain: Sequence[tuple[str, Equation]],
        output: Stored,
        target: tuple[Integer, ...] | None,
        home: str,
        parts: CorrelationRoles,
        spec: Correlation,
    ) -> Launch:
        """The launch of Winograd's algorithm for sums over whole maps at a few offsets."""
        name, root = chain[0]
        sizes = {axis.name: axis.size.constant or 0 for axis in (*root.domain, *root.reduction)}
        data, other = parts.data, parts.other
        for (offset, place), r in zip(parts.windows, spec.tiles, strict=True):
            if sizes[place] % r:
                at = Integer.index(place)
                data = bounded(data, at + Integer.index(offset), sizes[place] + sizes[offset] - 2)
                other = bounded(other, at, sizes[place] - 1)
        body = Apply("mul", (data, other), "float32")
        chain = [(name, replace(root, body=body)), *chain[1:]]
        kernel = make_kernel(chain, self._tensors(chain), output, target, merge=False)
        offsets = [sizes[offset] for offset, _ in parts.windows]
        count = Integer.of(correlation_scratch(offsets, spec, sizes[parts.row], sizes[parts.column]))
        scratch = self._buffer(f"arena {group.result} scratch", Stored((count,), "float32"), "arena")
        kernel = replace(kernel, algorithm=spec, scratch=count * BYTES["float32"])
        return Launch(kernel, tuple(map(self._home_of, kernel.tensors)), home, group.result, scratch)

    def _transformed_weights(self, root: Equation, parts: Roles, spec: Winograd) -> str:
        """The buffer of a weight's transform, which is made before."""
        source = parts.weight.tensor
        axes = {axis.name: axis for axis in (*root.domain, *root.reduction)}
        windows = tuple(axes[window] for _, window in parts.windows)
        domain = axes[parts.contracted], axes[parts.free]
        tiles = " x ".join(
            f"F({m}, {axis.size}) along {axis.name}" for m, axis in zip(spec.tiles, windows, strict=True)
        )
        channels = " to ".join(f"{axis.size} {axis.name}" for axis in domain)
        places = ", ".join(map(str, parts.weight.subscripts))
        name = f"{source}[{places}] for {tiles}, {channels} in panels of {spec.width}"
        if name in self.plan_.buffers:
            return name
        points = spec.points(tuple(axis.size.constant or 0 for axis in windows))
        size = domain[0].size * domain[1].size * math.prod(points)
        equation = Equation(domain, parts.weight, "float32", windows, "sum")
        output = Stored((size,), "float32")
        kernel = make_kernel([(source, equation)], {source: self._stored(source)}, output, (Integer(()),), merge=False)
        transform = WeightTransform(tuple(range(len(windows))), 0, 1, spec.tiles, spec.width, spec.lanes)
        self._rearrange(Launch(replace(kernel, algorithm=transform), (self._home_of(source),), name, source), output)
        return name

    def _rearrange(self, launch: Launch, stored: Stored) -> None:
        """Copy or transform a weight for a kernel: at load, or in each run if the program changes the weight."""
        once = launch.origin in self.known
        self._buffer(launch.result, stored, "prepared" if once else "arena")
        (self.plan_.prepare if once else self.plan_.run).append(launch)

    # -- actions -------------------------------------------------------------------------

    def _group(self, group: Group) -> None:
        operation = self.graph.operation(group.root)
        actions = self.plan_.prepare if group.result in self.once else self.plan_.run
        if group.result in self.filled:
            home = self._home_of(group.result)
            actions.append(self._border(self.filled[group.result], home, group.result))
        elif isinstance(operation, Equation):
            actions.append(self._equation(group))
        elif isinstance(operation, Partial):
            home = self._home_of(group.root)
            sources = [piece for piece in operation.pieces if piece.source not in self.written]
            actions += [self._piece(piece, home, self._stored(group.root), group.root) for piece in sources]
        elif isinstance(operation, Random):
            actions.append(Draw(self._home_of(group.root), operation.stream, group.root))
        elif isinstance(operation, Recurrence):
            actions += self._recurrence(group.root, operation)
        elif not isinstance(operation, Carry):
            self._home_of(group.root)

    def _border(self, padding: Padding, home: str, origin: str) -> Several:
        """The launches that fill what is around a tensor; all samples have the same border."""
        size = padding.outside[0].single_atom
        samples = size if isinstance(size, Symbol) and padding.inside[0] == padding.outside[0] else None
        launches = (Launch(border, (), home, origin, samples=samples) for border in padding.borders())
        return Several(tuple(launches), origin)

    def _equation(self, group: Group) -> Launch:
        chain = self._chain(group)
        output, target, home = self._stored(group.result), None, ""
        if group.result in self.written:
            partial, places = self.written[group.result]
            names = tuple(axis.name for axis in chain[-1][1].domain)
            target = tuple(_renamed(value, names) for value in places)
            output, home = self._stored(partial), self._home_of(partial)
        home = home or self._home_of(group.result)
        if group.root in self.tiled:
            return self._tiled(group, chain, output, target, home)
        way = self.ways.get(group.root) or Way(tiled=kind(chain[0][1]))
        whole = make_kernel(chain, self._tensors(chain), output, target)
        samples = sample_symbol(chain, whole.tensors, output, target)
        kernel, packing = packed(whole, self.target, () if group.result in self.once else self.fixed, way)
        if packing is not None:
            return replace(self._packed(packing, home, group.result), counted=whole, way=way, samples=samples)
        return replace(self._launch(kernel, home, group.result), way=way, samples=samples)

    def _chain(self, group: Group) -> list[tuple[str, Equation]]:
        """The equations of a group by name."""
        operations = [(name, self.graph.operation(name)) for name in group.members]
        return [(name, operation) for name, operation in operations if isinstance(operation, Equation)]

    def _packed(self, packing: Packing, home: str, origin: str) -> Launch:
        """The launch of a kernel that reads weights in panels, which are made before."""
        if packing.name not in self.plan_.buffers:
            source = self._home_of(packing.source)
            self._rearrange(Launch(packing.copy, (source,), packing.name, packing.source), packing.panels)
        return self._launch(packing.kernel, home, origin, {packing.name: packing.name})

    def _tensors(self, chain: Sequence[tuple[str, Equation]]) -> dict[str, Stored]:
        inner = {name for name, _ in chain}
        names = (read.tensor for _, equation in chain for read in equation_reads(equation))
        return {name: self._stored(name) for name in names if name not in inner}

    def _launch(self, kernel: Kernel, result: str, origin: str, local: Mapping[str, str] | None = None) -> Launch:
        operands = tuple((local or {}).get(name) or self._home_of(name) for name in kernel.tensors)
        return Launch(kernel, operands, result, origin)

    def _piece(
        self, piece: Piece, home: str, output: Stored, origin: str, ranges: Mapping[str, Range] | None = None
    ) -> Launch:
        """A copy of a piece to where it belongs."""
        subscripts = tuple(Integer.index(axis.name) for axis in piece.domain)
        source = self._stored(piece.source)
        equation = Equation(piece.domain, Read(piece.source, subscripts, source.dtype), output.dtype)
        chain = [(origin, equation)]
        kernel = make_kernel(chain, {piece.source: source}, output, piece.target, ranges)
        samples = sample_symbol(chain, kernel.tensors, output, piece.target)
        return replace(self._launch(kernel, home, origin), samples=samples)

    def _recurrence(self, name: str, recurrence: Recurrence) -> list[Action]:
        """Starts are copied, then the steps run in order for each value of the index."""
        positions = {
            operation.position: consumer
            for consumer in self.graph.consumers(name)
            if isinstance(operation := self.graph.operation(consumer), Carry)
        }
        local: dict[str, str] = {}
        stored: dict[str, Stored] = {}
        actions: list[Action] = []
        for position, carried in enumerate(recurrence.carried):
            stored[carried.name] = Stored(carried.shape, carried.dtype)
            if position in positions:
                local[carried.name] = self._home_of(positions[position])
            else:
                local[carried.name] = self._buffer(
                    f"arena {name} {carried.name}", stored[carried.name], self._kind(name)
                )
            actions += [self._piece(p, local[carried.name], stored[carried.name], carried.name) for p in carried.starts]
        ranges = {recurrence.index: (recurrence.lower, recurrence.upper)}
        inside = [self._step(name, step, local, stored, ranges) for step in recurrence.steps]
        index, lower, upper = recurrence.index, recurrence.lower, recurrence.upper
        actions.append(Loop(index, lower, upper, recurrence.reverse, tuple(inside), name))
        return actions

    def _kind(self, name: str) -> str:
        return "prepared" if name in self.once else "arena"

    def _step(
        self, name: str, step: Step, local: dict[str, str], stored: dict[str, Stored], ranges: Mapping[str, Range]
    ) -> Launch:
        tensors = {
            read.tensor: stored.get(read.tensor) or self._stored(read.tensor) for read in equation_reads(step.equation)
        }
        if step.target is None:
            stored[step.name] = Stored(step.equation.shape, step.equation.dtype)
            local[step.name] = self._buffer(f"arena {name} {step.name}", stored[step.name], self._kind(name))
        kernel = make_kernel([(step.name, step.equation)], tensors, stored[step.name], step.target, ranges)
        way = Way(tiled=kind(step.equation))
        return replace(self._launch(kernel, local[step.name], step.name, local), way=way)


def _tensors(expression: Expression) -> set[str]:
    return {read.tensor for read in reads(expression)}


def _covers(piece: Piece, source: Stored) -> bool:
    return tuple(axis.size for axis in piece.domain) == source.shape


def _by_axis(piece: Piece) -> tuple[Integer, ...]:
    """The target with the piece's indices numbered."""
    values = {axis.name: Integer.index(f"#{k}") for k, axis in enumerate(piece.domain)}
    return tuple(_substituted(value, values) for value in piece.target)


def _renamed(value: Integer, names: tuple[str, ...]) -> Integer:
    return _substituted(value, {f"#{k}": Integer.index(name) for k, name in enumerate(names)})


def _substituted(value: Integer, values: Mapping[str, Integer]) -> Integer:
    return value.substitute({Index(name): found for name, found in values.items()})
