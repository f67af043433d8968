"""The functions that a library exports: they call the kernels, one after the other.

`majuscule_run(buffers: int64[n], sizes: int64[m], status: int32[k])`
`majuscule_prepare(buffers: int64[n], sizes: int64[m], status: int32[k])`

`buffers` are the addresses of all buffers in the order of the manifest, `sizes` the values
of the run-time symbols in the order of the manifest followed by seed, step, first, last
and threads, `status` one flag per check of the manifest, set to 1 where the check failed
and never cleared.

Only those actions run whose place in the plan, from 0 on, is at least `first` and less
than `last`, so that a profiler can run one after the other; a loop of a recurrence is one
action.  `threads` is the number of threads that parallel loops run on.
`majuscule_prepare` runs once after the weights are known and fills the buffers of kind
"prepared"; it may be given any sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tvm import tirx
from tvm.ir import Expr, PointerType, PrimType
from tvm.tirx import BufferLoad, PrimFunc, Var

from ...dsl.integers import Atom, FloorDiv, Index, Integer, Symbol, is_nonnegative
from .actions import Action, Draw, Guarded, Launch, Loop, MicroBatches, Plan, Several
from .statements import Block, all_of, array_at, cast, integer, number, pointer
from .storage import BYTES, memory_dtype
from .winograd import THREADS

AFTER_SYMBOLS = ("seed", "step", "first", "last", "threads")
"""What `sizes` holds after the values of the symbols."""


@dataclass(frozen=True)
class Addresses:
    """Where buffers are: positions in the manifest's list, and offsets inside the arena."""

    positions: Mapping[str, int]
    offsets: Mapping[str, Integer]
    arena: int


@dataclass(frozen=True)
class Linked:
    """What the main function must know of compiled kernels: the symbol and the first check of each launch.

    `number` is how many checks there are.
    """

    symbols: Mapping[int, str]
    checks: Mapping[int, int]
    random: Mapping[str, str]
    number: int = 0


def lower(
    name: str,
    plan: Plan,
    actions: Sequence[Action],
    batches: Sequence[MicroBatches],
    symbols: Sequence[Symbol],
    addresses: Addresses,
    linked: Linked,
    *,
    on_gpu: bool = False,
) -> PrimFunc:
    """One exported function; `batches` are those of its actions that do a part of the batch at a time.

    With `on_gpu`, addresses are those of a GPU's memory, status included, and nothing is read from there but
    truth values, through `majuscule_holds` (see `gpu.starting`).
    """
    parameters = [
        tirx.decl_buffer((tirx.Var(f"{label}_count", "int64"),), dtype, label, layout=None)
        for label, dtype in (("buffers", "int64"), ("sizes", "int64"), ("status", "int32"))
    ]
    body = Block()
    writer = _Writer(plan, symbols, addresses, linked, *parameters, on_gpu=on_gpu)
    writer.begin(body)
    writer.chosen(body, actions, batches)
    return PrimFunc(parameters, body.statement(), ret_type=PrimType("void")).with_attr("global_symbol", name)


class _Part(NamedTuple):
    """The micro-batches at hand: the first sample of this turn, and how many it has."""

    turns: MicroBatches
    begin: Expr
    samples: Expr


class _Writer:
    def __init__(
        self,
        plan: Plan,
        symbols: Sequence[Symbol],
        addresses: Addresses,
        linked: Linked,
        buffers: Var,
        sizes: Var,
        status: Var,
        *,
        on_gpu: bool,
    ) -> None:
        self.plan = plan
        self.symbols = list(symbols)
        self.addresses = addresses
        self.linked = linked
        self.buffers, self.sizes, self.status = buffers, sizes, status
        self.on_gpu = on_gpu
        self.values: dict[Atom, Expr] = {}
        self.part: _Part | None = None

    def begin(self, block: Block) -> None:
        """Name the run-time sizes, and the numbers that follow them."""
        for position, symbol in enumerate(self.symbols):
            self.values[symbol] = block.bind(symbol.name, BufferLoad(self.sizes, [integer(position)]))
        self.seed, self.step, self.first, self.last, threads = (
            block.bind(name, BufferLoad(self.sizes, [integer(position)]))
            for position, name in enumerate(AFTER_SYMBOLS, len(self.symbols))
        )
        self.values[THREADS] = threads

    def chosen(self, block: Block, actions: Sequence[Action], batches: Sequence[MicroBatches]) -> None:
        """Those of the actions, one after the other, that the caller asks for."""
        starting = {found.during.start: found for found in batches}
        place = 0
        while place < len(actions):
            turns = starting.get(place)
            if turns is None:
                self._chosen(block, actions[place], place)
                place += 1
            else:
                self._turns(block, actions, turns)
                place = turns.during.stop

    def _chosen(self, block: Block, action: Action, place: int) -> None:
        if isinstance(action, Guarded):
            self._condition(block, action.condition)
        inside = block.child()
        self.actions(inside, [action])
        asked = tirx.And(tirx.LE(self.first, integer(place)), tirx.LT(integer(place), self.last))
        block.branch(asked, inside)

    def _turns(self, block: Block, actions: Sequence[Action], turns: MicroBatches) -> None:
        """Actions that run for a part of the batch at a time."""
        most, batch = integer(turns.most), self.values[turns.symbol]
        variable = Var("turn", "int64")
        body = block.child()
        begin = body.bind("begin", variable * most)
        self.part = _Part(turns, begin, body.bind("samples", tirx.Min(batch - begin, most)))
        for place in turns.during:
            self._chosen(body, actions[place], place)
        self.part = None
        count = tirx.floordiv(batch + integer(turns.most - 1), most)
        block.append(tirx.For(variable, integer(0), count, tirx.ForKind.SERIAL, body.statement()))

    def actions(self, block: Block, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Launch):
                self._launch(block, action)
            elif isinstance(action, Draw):
                self._draw(block, action)
            elif isinstance(action, Several):
                self.actions(block, action.actions)
            elif isinstance(action, Guarded):
                inside = block.child()
                self.actions(inside, [action.action])
                block.branch(self._condition(block, action.condition), inside)
            else:
                self._loop(block, action)

    def _launch(self, block: Block, launch: Launch) -> None:
        symbols, free = launch.kernel.free()
        arguments = [self._address(block, name) for name in launch.operands]
        arguments.append(self._address(block, launch.result))
        if launch.scratch is not None:
            arguments.append(self._address(block, launch.scratch))
        arguments += [self._length(symbol) for symbol in symbols]
        arguments += [self.values[Index(index)] for index in free]
        first = self.linked.checks.get(id(launch), 0)
        flags = tirx.address_of(BufferLoad(self.status, [integer(first)]))
        call = tirx.call_extern("int32", self.linked.symbols[id(launch)], *arguments, flags)
        block.append(tirx.Evaluate(call))

    def _condition(self, block: Block, name: str) -> Expr:
        """Whether the truth value in a buffer holds and no check has failed, found out once."""
        known = block.find(("condition", name))
        if known is None and self.on_gpu:
            flags = tirx.address_of(BufferLoad(self.status, [integer(0)]))
            count = integer(self.linked.number)
            found = tirx.call_extern("int32", "majuscule_holds", self._address(block, name), flags, count)
            kept = block.bind("kept", found)
            known = block.remember(("condition", name), tirx.NE(kept, number(0, "int32")))
        elif known is None:
            place = pointer("truth", "uint8")
            block.append(tirx.Bind(place, self._address(block, name)))
            holds = tirx.NE(BufferLoad(array_at(block, place, "uint8", "truth"), [integer(0)]), number(0, "uint8"))
            status = (BufferLoad(self.status, [integer(check)]) for check in range(self.linked.number))
            passed = [tirx.EQ(value, number(0, "int32")) for value in status]
            found = block.bind("kept", cast(all_of([holds, *passed]), "int32"))
            known = block.remember(("condition", name), tirx.NE(found, number(0, "int32")))
        return known

    def _draw(self, block: Block, draw: Draw) -> None:
        stored = self.plan.buffers[draw.result]
        arguments = [
            self._address(block, draw.result),
            self._size(stored.count),
            self.seed,
            self.step,
            integer(draw.stream),
        ]
        block.append(tirx.Evaluate(tirx.call_extern("int32", self.linked.random[stored.dtype], *arguments)))

    def _loop(self, block: Block, loop: Loop) -> None:
        lower, upper = self._size(loop.lower), self._size(loop.upper)
        count = upper - lower if is_nonnegative(loop.upper - loop.lower) else tirx.Max(upper - lower, integer(0))
        variable = Var("turn", "int64")  # not the writer's name: equal loops have equal code
        body = block.child()
        value = upper - 1 - variable if loop.reverse else lower + variable
        self.values[Index(loop.index)] = body.bind("time", value)
        self.actions(body, loop.actions)
        block.append(tirx.For(variable, integer(0), count, tirx.ForKind.SERIAL, body.statement()))

    def _address(self, block: Block, name: str) -> Expr:
        dtype = PointerType(PrimType(memory_dtype(self.plan.buffers[name].dtype)))
        known = block.find(("address", name))
        if known is None:
            if name in self.addresses.offsets:
                base = BufferLoad(self.buffers, [integer(self.addresses.arena)])
                place = base + self._size(self.addresses.offsets[name])
            else:
                place = BufferLoad(self.buffers, [integer(self.addresses.positions[name])])
            known = block.remember(("address", name), block.bind("address", place + self._moved(name)))
        return tirx.reinterpret(dtype, known)

    def _moved(self, name: str) -> Expr:
        """How many bytes behind the start of a buffer the samples at hand begin."""
        if self.part is None or name in self.part.turns.inside:
            return integer(0)
        stored, symbol = self.plan.buffers[name], self.part.turns.symbol
        if symbol not in stored.count.atoms():
            return integer(0)
        return self.part.begin * self._size(stored.count.substitute({symbol: 1}) * BYTES[stored.dtype])

    def _length(self, symbol: Symbol) -> Expr:
        """A size as a kernel is given it."""
        part = self.part
        return part.samples if part is not None and symbol == part.turns.symbol else self.values[symbol]

    def _size(self, value: Integer) -> Expr:
        total: Expr = integer(0)
        for atoms, coefficient in value.terms:
            product: Expr = integer(coefficient)
            for atom in atoms:
                product = product * self._atom(atom)
            total = total + product
        return total

    def _atom(self, atom: Atom) -> Expr:
        if isinstance(atom, FloorDiv):
            return tirx.floordiv(self._size(atom.numerator), self._size(atom.denominator))
        return self.values[atom]
