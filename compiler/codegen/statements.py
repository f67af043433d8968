"""Writing TensorIR: blocks of statements, loops, local variables and vector values.

A `Block` collects statements in order and remembers what it has already computed, so that
the same address or load is written once.  Values are TensorIR expressions whose lanes are
known (`lanes_of`); the arithmetic here uses the node constructors themselves, because
TVM's operators fold `x * 0.0` to zero, which is wrong for infinities.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from tvm import tirx
from tvm.ir import Expr, PointerType, PrimType, TensorLoad
from tvm.tirx import BufferLoad, BufferStore, FloatImm, ForKind, IntImm, Stmt, Var

SERIAL, PARALLEL, UNROLLED = ForKind.SERIAL, ForKind.PARALLEL, ForKind.UNROLLED

# Kept on the stack and in registers: TVM would otherwise ask its runtime for heap memory.
_ON_STACK = {"disable_lower_builtin": IntImm("bool", 1)}


def integer(value: int) -> Expr:
    """An int64 constant."""
    return IntImm("int64", value)


def number(value: float | int | bool, dtype: str) -> Expr:
    """A constant of a scalar dtype."""
    if dtype.startswith("float"):
        return FloatImm(dtype, float(value))
    return IntImm(dtype, int(value))


def lanes_of(value: Expr) -> int:
    """How many numbers an expression holds."""
    text = str(value.ty.dtype)
    return int(text.rsplit("x", 1)[1]) if "x" in text else 1


def element_dtype(value: Expr) -> str:
    """The dtype of one lane of an expression."""
    return str(value.ty.dtype).split("x", 1)[0]


def vector_dtype(dtype: str, lanes: int) -> str:
    """TVM's name of a vector of `lanes` elements."""
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def widen(value: Expr, lanes: int) -> Expr:
    """A scalar in every lane; vectors stay as they are."""
    return value if lanes == 1 or lanes_of(value) == lanes else tirx.Broadcast(value, lanes)


def matched(*values: Expr) -> list[Expr]:
    """All values with as many lanes as the widest."""
    lanes = max(lanes_of(value) for value in values)
    return [widen(value, lanes) for value in values]


def add(left: Expr, right: Expr) -> Expr:
    """`left + right`, lanes matched."""
    return tirx.Add(*matched(left, right))


def subtract(left: Expr, right: Expr) -> Expr:
    """`left - right`, lanes matched."""
    return tirx.Sub(*matched(left, right))


def multiply(left: Expr, right: Expr) -> Expr:
    """`left * right`, lanes matched."""
    return tirx.Mul(*matched(left, right))


def choose(condition: Expr, left: Expr, right: Expr) -> Expr:
    """`left` where the condition holds, else `right`; both are computed."""
    if lanes_of(condition) == 1:
        left, right = matched(left, right)
    else:
        condition, left, right = matched(condition, left, right)
    return tirx.Select(condition, left, right)


def cast(value: Expr, dtype: str) -> Expr:
    """The value converted to a scalar dtype, lane by lane."""
    if element_dtype(value) == dtype:
        return value
    return tirx.Cast(vector_dtype(dtype, lanes_of(value)), value)


def bits_as(value: Expr, dtype: str) -> Expr:
    """The same bits read as another dtype of the same width."""
    return tirx.reinterpret(vector_dtype(dtype, lanes_of(value)), value)


def opaque(value: Expr) -> Expr:
    """The same value, of which LLVM does not know what it is."""
    return tirx.call_llvm_pure_intrin(str(value.ty.dtype), "llvm.arithmetic.fence", value)


def truth(value: Expr) -> Expr:
    """Whether a number is not 0."""
    return tirx.NE(*matched(value, number(0, element_dtype(value))))


def all_of(conditions: list[Expr]) -> Expr:
    """The conjunction of conditions; true if there are none."""
    if not conditions:
        return number(True, "bool")
    result = conditions[0]
    for condition in conditions[1:]:
        result = tirx.And(*matched(result, condition))
    return result


class Local:
    """A variable on the stack of `lanes` numbers; LLVM keeps it in a register."""

    def __init__(self, block: Block, name: str, dtype: str, lanes: int) -> None:
        self.dtype = dtype
        self.lanes = lanes
        self._truth = dtype == "bool"
        stored = "uint8" if self._truth else dtype
        self._buffer = tirx.decl_buffer((lanes,), stored, name, scope="local", layout=None)
        self._place = tirx.Ramp(integer(0), integer(1), lanes) if lanes > 1 else integer(0)
        block.append(tirx.AllocBuffer(self._buffer, _ON_STACK))

    def get(self) -> Expr:
        """The value."""
        value = BufferLoad(self._buffer, [self._place])
        return truth(value) if self._truth else value

    def set(self, block: Block, value: Expr) -> None:
        """Store a value, in every lane if it is a scalar."""
        value = cast(widen(value, self.lanes), "uint8") if self._truth else widen(value, self.lanes)
        block.append(BufferStore(self._buffer, value, [self._place]))

    def lane(self, position: Expr | int) -> Expr:
        """One lane."""
        place = integer(position) if isinstance(position, int) else position
        value = BufferLoad(self._buffer, [place])
        return truth(value) if self._truth else value

    def set_lane(self, block: Block, position: Expr, value: Expr) -> None:
        """Store one lane."""
        value = cast(value, "uint8") if self._truth else value
        block.append(BufferStore(self._buffer, value, [position]))


class Block:
    """Statements in order, and what they have computed so far."""

    def __init__(self, parent: Block | None = None) -> None:
        self._parent = parent
        self._statements: list[Stmt] = []
        self._known: dict[Hashable, Any] = {}

    def append(self, statement: Stmt) -> None:
        """Add a statement at the end."""
        self._statements.append(statement)

    def find(self, key: Hashable) -> Any | None:
        """What was remembered under a key here or in a block around this one."""
        block: Block | None = self
        while block is not None:
            if key in block._known:
                return block._known[key]
            block = block._parent
        return None

    def remember(self, key: Hashable, value: Any) -> Any:
        """Keep a value for later statements of this block and of those inside it."""
        self._known[key] = value
        return value

    def bind(self, name: str, value: Expr) -> Expr:
        """Name a value, so that it is computed once."""
        if isinstance(value, (Var, IntImm, FloatImm)):
            return value
        floats = element_dtype(value).startswith("float")
        if (floats and not isinstance(value, TensorLoad)) or (lanes_of(value) > 1 and not floats):
            # TVM's analyser puts bound values in for their names, so that a chain of them grows
            # exponentially, takes choices between floats for intervals, and fails at vectors of truth values.
            local = Local(self, name, element_dtype(value), lanes_of(value))
            local.set(self, value)
            return local.get()
        variable = Var(name, PrimType(str(value.ty.dtype)))
        self.append(tirx.Bind(variable, value))
        return variable

    def child(self) -> Block:
        """A block inside this one, still to be attached."""
        return Block(self)

    @contextmanager
    def loop(self, name: str, extent: Expr | int, kind: ForKind = SERIAL) -> Iterator[tuple[Block, Expr]]:
        """A loop from 0; gives its body and its variable.  A single round needs no loop."""
        body = self.child()
        if isinstance(extent, int):
            extent = integer(extent)
        if isinstance(extent, IntImm) and extent.value == 1:
            yield body, integer(0)
            self._statements.extend(body._statements)
            return
        variable = Var(name, "int64")
        yield body, variable
        self.append(tirx.For(variable, integer(0), extent, kind, body.statement()))

    def branch(self, condition: Expr, then: Block, otherwise: Block | None = None) -> None:
        """`if condition: then else: otherwise`."""
        other = otherwise.statement() if otherwise is not None and otherwise._statements else None
        self.append(tirx.IfThenElse(condition, then.statement(), other))

    def statement(self) -> Stmt:
        """All of it as one statement."""
        if not self._statements:
            return tirx.Evaluate(integer(0))
        return self._statements[0] if len(self._statements) == 1 else tirx.SeqStmt(self._statements)


def stack_array(block: Block, name: str, dtype: str, length: int) -> Var:
    """An array on the stack, aligned for vectors."""
    buffer = tirx.decl_buffer((length,), dtype, name, scope="local", layout=None)
    block.append(tirx.AllocBuffer(buffer, _ON_STACK))
    return buffer


class SharedArray:
    """An array that all threads of a block of a GPU see."""

    def __init__(self, block: Block, name: str, dtype: str, length: int) -> None:
        self._truth = dtype == "bool"
        self._buffer = tirx.decl_buffer((length,), "uint8" if self._truth else dtype, name, scope="shared", layout=None)
        block.append(tirx.AllocBuffer(self._buffer))

    def get(self, place: Expr) -> Expr:
        """An element."""
        value = BufferLoad(self._buffer, [place])
        return truth(value) if self._truth else value

    def address(self, place: Expr) -> Expr:
        """Where an element is."""
        return tirx.address_of(BufferLoad(self._buffer, [place]))

    def set(self, block: Block, place: Expr, value: Expr) -> None:
        """Store an element."""
        block.append(BufferStore(self._buffer, cast(value, "uint8") if self._truth else value, [place]))


def wait_for_block(block: Block) -> None:
    """Have every thread of a block of a GPU wait until all have come here: then they see what the others stored."""
    block.append(tirx.Evaluate(tirx.call_intrin("void", "tirx.tvm_storage_sync", "shared")))


def pointer(name: str, dtype: str) -> Var:
    """A parameter of a function that is the address of elements."""
    return Var(name, PointerType(PrimType(dtype)))


def array_at(block: Block, address: Var, dtype: str, name: str) -> Var:
    """The elements at an address, as an array without a length."""
    buffer = tirx.decl_buffer((1,), dtype, name, data=address, layout=None)
    block.append(tirx.DeclBuffer(buffer, data=address))
    return buffer
