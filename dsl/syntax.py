"""The syntax tree: what the text says, before anything is looked up.

Every node knows its `place`.  Names are in normal form (`names.normal`).  The grammar of
the values, in the order in which they are defined below:

    expression = Num | Text | Hole | Name | Subscripted | Call | Binary | Unary | Comparison
               | Reduce | Cases | Conditional | Items | Group | Rest | Transposed | Floor
               | Ranged | SizeList
    right side = expression | Concatenation | Pattern
    statement  = Given | Param | StateDeclaration | Update | Output | Import | Function | Alias
               | Loss | Metric | Require | Definition | Return | Layer | For | If | When
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Union

from .equations import Place


@dataclass(frozen=True, slots=True)
class Node:
    """Anything in the tree."""

    place: Place


# -- expressions -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Num(Node):
    """A number; an int if it was written without point and exponent."""

    value: int | float


@dataclass(frozen=True, slots=True)
class Text(Node):
    """A string in double quotes."""

    value: str


@dataclass(frozen=True, slots=True)
class Hole(Node):
    """`_`: to be inferred."""


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A name; `member` is the expression of a family member such as `L_{l+1}`, whose `name` is the stem."""

    name: str
    member: Expr | None = None
    primes: str = ""

    @property
    def spelling(self) -> str:
        """As it may be shown to people."""
        return self.name if self.member is None else f"{self.name}_{{…}}{self.primes}"


@dataclass(frozen=True, slots=True)
class Subscripted(Node):
    """`base[subscripts]`."""

    base: Expr
    subscripts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Argument(Node):
    """An argument of a call; `name` for `name = value` and `name: value`."""

    name: Name | None
    value: Expr


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`function(arguments)`: a scalar function, a layer, or a structural function."""

    function: Name
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """`+ - * / // % ^ and or`; `juxtaposed` products were written side by side."""

    operator: str
    left: Expr
    right: Expr
    juxtaposed: bool = False


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`-` or `not`."""

    operator: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Comparison(Node):
    """`a < b <= c`: operators between neighbouring operands, from `< <= > >= == !=`."""

    operands: tuple[Expr, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Binder(Node):
    """An index bound by a reducer or a prefix; `names` has several for a group, none for `...`."""

    names: tuple[str, ...]
    lower: Expr | None = None
    upper: Expr | None = None


@dataclass(frozen=True, slots=True)
class Reduce(Node):
    """`reducer[binders](body)` or `reducer_{binders} body`."""

    reducer: str
    binders: tuple[Binder, ...]
    body: Expr


@dataclass(frozen=True, slots=True)
class Arm(Node):
    """One case; no condition for `otherwise`."""

    value: Expr
    condition: Expr | None


@dataclass(frozen=True, slots=True)
class Cases(Node):
    """`{ a if c ; b otherwise }`."""

    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    """`a if c else b`."""

    then: Expr
    condition: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class Items(Node):
    """`[a, b, c]`: a list, or a tensor literal where its elements are numbers."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Group(Node):
    """`(a, b)`: a tuple; in subscripts, fused axes."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Parenthesis(Node):
    """`(a)`, kept because sums close at parentheses."""

    inner: Expr


@dataclass(frozen=True, slots=True)
class Rest(Node):
    """`...` in subscripts: all axes not named."""


@dataclass(frozen=True, slots=True)
class Transposed(Node):
    """`Wᵀ`, in ASCII `W.T`."""

    operand: Expr


@dataclass(frozen=True, slots=True)
class Floor(Node):
    """`⌊a⌋`."""

    operand: Expr


@dataclass(frozen=True, slots=True)
class Ranged(Node):
    """`j in 0..5` among subscripts on the left."""

    index: str
    lower: Expr
    upper: Expr


@dataclass(frozen=True, slots=True)
class SizeList(Node):
    """`55x55x96`: sizes without the batch."""

    sizes: tuple[int, ...]


Expr = Union[
    Num, Text, Hole, Name, Subscripted, Call, Binary, Unary, Comparison, Reduce, Cases, Conditional,
    Items, Group, Parenthesis, Rest, Transposed, Floor, Ranged, SizeList,
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Concatenation(Node):
    """`a ; b`: pieces of a concatenated axis."""

    pieces: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Stage(Node):
    """A stage of a pattern: a layer or a block of stages, repeated, possibly optional."""

    layer: Name | None
    arguments: tuple[Argument, ...]
    block: tuple[Stage, ...]
    repeat: Expr | None
    optional: bool
    present: Expr | None


@dataclass(frozen=True, slots=True)
class Pattern(Node):
    """`input -> stage -> …`."""

    input: Expr
    stages: tuple[Stage, ...]


RightSide = Union[Expr, Concatenation, Pattern]


# -- statements ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GivenItem(Node):
    """One input; axes are (name or None, size)."""

    name: Name
    axes: tuple[tuple[str | None, Expr], ...]
    dtype: Name | None
    batched: bool


@dataclass(frozen=True, slots=True)
class Given(Node):
    """`Given Input[227, 227, 3]`."""

    items: tuple[GivenItem, ...]


@dataclass(frozen=True, slots=True)
class Param(Node):
    """`param W[F, F, I, J] ~ xavier`; `drawn` tells `~` from `=`."""

    name: Name
    sizes: tuple[Expr, ...]
    dtype: Name | None
    initial: Expr | None
    drawn: bool
    trained: bool


@dataclass(frozen=True, slots=True)
class StateDeclaration(Node):
    """`state m[J] = 0`."""

    name: Name
    sizes: tuple[Expr, ...]
    dtype: Name | None
    initial: Expr | None
    drawn: bool


@dataclass(frozen=True, slots=True)
class Update(Node):
    """`update m[j] = …`: the next value of a state."""

    name: Name
    subscripts: tuple[Expr, ...] | None
    value: RightSide


@dataclass(frozen=True, slots=True)
class Output(Node):
    """`output a, b`."""

    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Import(Node):
    """`import "file.maj"`, or `from "file.maj" import A, B` (names is None for all)."""

    path: str
    names: tuple[Name, ...] | None


@dataclass(frozen=True, slots=True)
class Function(Node):
    """`function f(x, y) = …`, a scalar function."""

    name: str
    parameters: tuple[str, ...]
    body: Expr


@dataclass(frozen=True, slots=True)
class Alias(Node):
    """`alias CONV, Conv2d = Conv`."""

    names: tuple[str, ...]
    target: str


@dataclass(frozen=True, slots=True)
class Loss(Node):
    """`loss J = …`, with the parameters that it trains (all if None)."""

    name: Name
    value: Expr
    trains: tuple[Name, ...] | None


@dataclass(frozen=True, slots=True)
class Metric(Node):
    """`metric accuracy = …`."""

    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Require(Node):
    """`require X % s == 0, "message"`: an error while compiling if it does not hold."""

    condition: Expr
    message: str | None


@dataclass(frozen=True, slots=True)
class Target(Node):
    """One name on the left of `=`, with its subscripts if it has brackets."""

    name: Name
    subscripts: tuple[Expr, ...] | None


@dataclass(frozen=True, slots=True)
class Definition(Node):
    """`L1[b,x,y,j] = …`, `y = x + R`, `h, c = LSTM(x)`, `s = 2`."""

    targets: tuple[Target, ...]
    dtype: Name | None
    value: RightSide


@dataclass(frozen=True, slots=True)
class Return(Node):
    """`return e`, `return a, b` or `return[b,x,y,j] = e` (then `subscripts` is set)."""

    subscripts: tuple[Expr, ...] | None
    dtype: Name | None
    values: tuple[RightSide, ...]


@dataclass(frozen=True, slots=True)
class LayerParameter(Node):
    """A parameter of a layer.

    `kind` is `tensor` (with `subscripts` naming the axes), `bundle` (Φ) or `value`; a value
    has a keyword and one variable, or several that a pair is spread over.
    """

    kind: str
    keyword: str
    variables: tuple[str, ...]
    subscripts: tuple[Expr, ...] | None
    default: Expr | None


@dataclass(frozen=True, slots=True)
class Layer(Node):
    """`layer Name(parameters): …`."""

    name: str
    parameters: tuple[LayerParameter, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class For(Node):
    """`for b,x,y: …` or `for l in 1..5: …`."""

    binders: tuple[Binder, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class If(Node):
    """`if c: … elif d: … else: …`, decided while compiling."""

    branches: tuple[tuple[Expr | None, tuple[Statement, ...]], ...]


@dataclass(frozen=True, slots=True)
class When(Node):
    """`when training: …` or `when inferring: …`."""

    mode: str
    body: tuple[Statement, ...]


Statement = Union[
    Given, Param, StateDeclaration, Update, Output, Import, Function, Alias, Loss, Metric, Require,
    Definition, Return, Layer, For, If, When,
]  # fmt: skip


def walk(node: Any) -> Iterator[Node]:
    """A node and all nodes below it, in the order of the text."""
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack.extend(reversed(item))
        elif isinstance(item, Node):
            yield item
            kind = type(item)
            if kind not in _CHILDREN:
                _CHILDREN[kind] = tuple(f.name for f in reversed(fields(kind)) if f.type not in _PLAIN)
            stack.extend(getattr(item, name) for name in _CHILDREN[kind])


_PLAIN = ("Place", "str", "int | float", "bool")
_CHILDREN: dict[type[Node], tuple[str, ...]] = {}
"""The fields in which a kind of node may hold others, last one first."""
