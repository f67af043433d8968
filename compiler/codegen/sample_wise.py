"""Which kernels treat the samples of a batch one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...dsl.equations import Equation, Expression, Number, Read, walk
from ...dsl.integers import Index, Integer, Symbol
from .kernel import Stored, has_gather


def sample_symbol(
    chain: Sequence[tuple[str, Equation]],
    tensors: Mapping[str, Stored],
    output: Stored,
    target: tuple[Integer, ...] | None = None,
) -> Symbol | None:
    """The size of the batch, if each sample of what a chain makes depends on the same sample of its operands alone.

    Of the arguments see `make_kernel`.  Samples are the first axis of the output and of all operands that
    have as many; an operand without is the same for all.
    """
    last = chain[-1][1].domain
    places = tuple(Integer.index(axis.name) for axis in last) if target is None else target
    symbol = output.shape[0].single_atom if output.shape else None
    names = [axis.name for axis in last]
    index = places[0].plain_index if places else None
    if not isinstance(symbol, Symbol) or index not in names:
        return None
    position = names.index(index)
    others = (*output.shape[1:], *places[1:])
    if last[position].size != output.shape[0] or any(_mentions(value, symbol, index) for value in others):
        return None
    inner = {name for name, _ in chain}
    outside = {name: stored for name, stored in tensors.items() if name not in inner}
    return symbol if all(_keeps_samples(e, position, symbol, outside) for _, e in chain) else None


def _keeps_samples(equation: Equation, position: int, symbol: Symbol, tensors: Mapping[str, Stored]) -> bool:
    """Whether an equation uses the index at a place of its domain only to read that very sample."""
    index = equation.domain[position].name
    sizes = [axis.size for axis in (*equation.domain, *equation.reduction) if axis.name != index]
    expressions: list[Expression] = [equation.body, *([] if equation.guard is None else [equation.guard])]
    nodes = [node for expression in expressions for node in walk(expression)]
    numbers = [node.value for node in nodes if isinstance(node, Number)]
    if any(_mentions(value, symbol, index) for value in (*sizes, *numbers)):
        return False
    return all(_same_sample(n, index, symbol, tensors.get(n.tensor)) for n in nodes if isinstance(n, Read))


def _same_sample(read: Read, index: str, symbol: Symbol, stored: Stored | None) -> bool:
    if stored is None:
        return True  # what the chain has just made
    if has_gather(read):
        return False
    rest, shape = read.subscripts, stored.shape
    if shape and shape[0] == Integer.atom(symbol):
        if rest[0].plain_index != index:
            return False
        rest, shape = rest[1:], shape[1:]
    return not any(_mentions(value, symbol, index) for value in (*rest, *shape))


def _mentions(value: Integer, symbol: Symbol, index: str) -> bool:
    return not {symbol, Index(index)}.isdisjoint(value.atoms())
