"""The meaning of a graph: a plain NumPy interpreter, the oracle of every test.

Floats of every dtype are computed in float64, integers in int64, truth values as bool.
A sum of products evaluates each factor over its own indices and contracts the factors by
matrix products; any other equation is evaluated by broadcasting over all its indices (see
`expression_values`).  Boxes of indices are halved until no array exceeds `LIMIT` elements,
so memory stays bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from typing import Literal as OneOf

import networkx
import numpy

from ..dsl.equations import (
    Axis,
    Carry,
    Constant,
    Equation,
    Expression,
    Input,
    Operation,
    Parameter,
    Partial,
    Piece,
    Program,
    Random,
    Recurrence,
    Reshape,
    Shape,
    State,
    reads,
)
from ..dsl.integers import Integer
from . import random_numbers
from .contraction import multiply
from .contraction import products as sum_of_products
from .expression_values import Array, Box, Expressions
from .graph import Graph
from .run_time_sizes import bind_symbols, check_requirements
from .scalar_functions import REDUCERS, stored, working_dtype

LIMIT = 1 << 22
_CHAIN = 1 << 18
"""The limit where nothing is summed: arrays that stay in the cache, in memory that is used again and again."""


def evaluate(
    graph: Graph,
    inputs: Mapping[str, Array],
    weights: Mapping[str, Array] | None = None,
    *,
    seed: int = 0,
    step: int = 0,
    keep: Iterable[str] | OneOf["all"] | None = None,
    stored_as: Mapping[str, str] | None = None,
) -> dict[str, Array]:
    """The tensors `graph.roots`, and those named in `keep` (or "all"), as arrays.

    Equations that `stored_as` names are rounded to a dtype, as NumPy calls it, when they are computed.

    Sizes known only at run time are taken from the shapes of `inputs`.  Parameters and state
    have the values in `weights` or else their initial ones for `seed`.  Raises ValueError for
    a missing input, a shape that does not fit or a requirement that fails, and IndexError
    for a read outside of a tensor.
    """
    program = graph.program
    kept = set(graph.network) if keep == "all" else {*graph.roots, *(keep or ())}
    needed = kept.union(*(networkx.ancestors(graph.network, name) for name in kept))
    state = _Evaluator(seed, step, bind_symbols(graph, inputs), stored_as or {})
    check_requirements(program, state.symbols)
    given = {**(weights or {}), **inputs}
    missing = [n for n in needed if isinstance(graph.operation(n), (Parameter, State)) and n not in given]
    given |= initial_values(program, seed, missing) if missing else {}
    readers = {name: sum(consumer in needed for consumer in graph.consumers(name)) for name in needed}
    state.spent = {n for n in needed - kept if readers[n] == 1 and isinstance(graph.operation(n), Random)}
    for name in graph:
        if name in needed:
            state.run(name, graph.operation(name), given)
            for operand in graph.network.predecessors(name):
                readers[operand] -= 1
                if not readers[operand] and operand not in kept:
                    state.forget(operand)
    return {name: state.values[name] for name in kept if name in state.values}


def initial_values(program: Program, seed: int = 0, names: Iterable[str] | None = None) -> dict[str, Array]:
    """First values of parameters and state (all, or those in `names`), each in its own dtype."""
    found: dict[str, Array] = {}
    operations = {n: o for n, o in program.operations.items() if isinstance(o, (Parameter, State))}
    chosen = [name for name in operations if name in set(operations if names is None else names)]
    if chosen:
        graph = Graph.initializers(program)
        roots = tuple(dict.fromkeys(operations[name].initial for name in chosen))
        alone = _read_once(graph, [operations[name] for name in chosen])
        values = evaluate(graph.replace(graph.operations(), roots=roots), {}, seed=seed, stored_as=alone)
        for name in chosen:
            root, dtype = operations[name].initial, operations[name].dtype
            found[name] = values[root] if root in alone else stored(values[root], dtype)
    return found


def _read_once(graph: Graph, tensors: Iterable[Parameter | State]) -> dict[str, str]:
    """First values that may be computed in the dtype of their tensor, as no other tensor has or reads them."""
    holders: dict[str, list[str]] = {}
    for tensor in tensors:
        holders.setdefault(tensor.initial, []).append(tensor.dtype)
    return {
        initial: dtypes[0]
        for initial, dtypes in holders.items()
        if isinstance(graph.operation(initial), Equation) and not graph.consumers(initial)
        if len(dtypes) == 1 and dtypes[0] != "bfloat16"  # which NumPy does not have
    }


# -- operations ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    """An equation, its body as a sum of products if it sums, and the indices of the arrays that it takes."""

    equation: Equation
    products: list[list[Expression]] | None
    arrays: list[set[str]]


class _Evaluator(Expressions):
    """The state of one evaluation."""

    def __init__(self, seed: int, step: int, symbols: Mapping[str, int], stored_as: Mapping[str, str]) -> None:
        super().__init__(symbols)
        self.seed, self.step, self.stored_as = seed, step, stored_as
        self.finished: dict[str, list[Array]] = {}
        self.spent: set[str] = set()
        """Random numbers that one operation reads, which may use their memory."""

    def run(self, name: str, operation: Operation, given: Mapping[str, Array]) -> None:
        """Compute one operation from its operands' values."""
        if isinstance(operation, (Input, Parameter, State)):
            self.values[name] = self._given(name, operation, given)
        elif isinstance(operation, Constant):
            self.values[name] = operation.array()
        elif isinstance(operation, Random):
            shape = self.shape(operation.shape)
            numbers = random_numbers.uniform(math.prod(shape), seed=self.seed, stream=operation.stream, step=self.step)
            self.values[name] = numbers.reshape(shape)
        elif isinstance(operation, Equation):
            self.values[name] = self.equation(operation, self.stored_as.get(name))
        elif isinstance(operation, Partial):
            self.values[name] = self._filled(operation.shape, operation.dtype, operation.pieces)
        elif isinstance(operation, Reshape):
            self.values[name] = self.values[operation.source].reshape(self.shape(operation.shape))
        elif isinstance(operation, Recurrence):
            self.finished[name] = self._recurrence(operation)
        elif isinstance(operation, Carry):
            self.values[name] = self.finished[operation.recurrence][operation.position]

    def forget(self, name: str) -> None:
        """Let go of a tensor that nobody reads any more."""
        self.values.pop(name, None)
        self.finished.pop(name, None)

    def _given(self, name: str, operation: Input | Parameter | State, given: Mapping[str, Array]) -> Array:
        if name not in given:
            raise ValueError(f"no value is given for {name}")
        array = numpy.asarray(given[name])
        if array.shape != self.shape(operation.shape):
            raise ValueError(f"{name} has shape {array.shape}, but the program needs {self.shape(operation.shape)}")
        return array

    def _filled(self, shape: Shape, dtype: str, pieces: Iterable[Piece]) -> Array:
        kind = working_dtype(dtype)
        result = numpy.full(self.shape(shape), numpy.nan if kind is numpy.float64 else 0, kind)
        for piece in pieces:
            self._write(result, piece.target, piece.domain, self.values[piece.source])
        return result

    def _write(self, result: Array, target: tuple[Integer, ...], domain: tuple[Axis, ...], value: Array) -> None:
        box = {axis.name: (0, self.size(axis.size)) for axis in domain}
        place = self.view(result, target, box)
        if place is None:
            result[tuple(self.integer(subscript, box, None) for subscript in target)] = value
        else:
            place[...] = value

    def _recurrence(self, loop: Recurrence) -> list[Array]:
        outside = dict(self.values)
        for carried in loop.carried:
            self.values[carried.name] = self._filled(carried.shape, carried.dtype, carried.starts)
        times = range(self.size(loop.lower), self.size(loop.upper))
        for time in reversed(times) if loop.reverse else times:
            self.times[loop.index] = time
            self.memory.clear()
            for step in loop.steps:
                value = self.equation(step.equation)
                if step.target is None:
                    self.values[step.name] = value
                else:
                    self._write(self.values[step.name], step.target, step.equation.domain, value)
        self.times.pop(loop.index, None)
        self.memory.clear()
        results = [self.values[carried.name] for carried in loop.carried]
        self.values = outside
        return results

    # -- equations -------------------------------------------------------------------------------

    def equation(self, equation: Equation, stored_as: str | None = None) -> Array:
        """The tensor that an equation defines."""
        box = {axis.name: (0, self.size(axis.size)) for axis in (*equation.domain, *equation.reduction)}
        result = self._memory(equation, numpy.dtype(stored_as or working_dtype(equation.dtype)))
        products = sum_of_products(equation.body) if equation.combiner == "sum" and equation.guard is None else None
        arrays = [set(box)] if products is None else self._arrays(equation, products)
        with numpy.errstate(all="ignore"):
            self._fill(result, _Task(equation, products, arrays), box)
        return result

    def _memory(self, equation: Equation, dtype: numpy.dtype[Any]) -> Array:
        """An array for an equation's values: a new one, or that of numbers which it alone reads, each at its place."""
        shape, places = self.shape(equation.shape), tuple(Integer.index(axis.name) for axis in equation.domain)
        if equation.combiner is None and equation.guard is None and not self.times:  # in a loop they are read again
            found = reads(equation.body)
            for name in self.spent.intersection(read.tensor for read in found):
                array = self.values[name]
                fits = array.shape == shape and array.dtype == dtype
                if fits and all(read.subscripts == places for read in found if read.tensor == name):
                    return array
        return numpy.empty(shape, dtype)

    def _arrays(self, equation: Equation, products: list[list[Expression]]) -> list[set[str]]:
        """The indices of every array that contracting the products makes."""
        domain = {axis.name for axis in equation.domain}
        arrays = [domain]
        for factors in products:
            used = [self.used(factor) for factor in factors]
            for position, own in enumerate(used):
                later = domain.union(*used[position + 1 :])
                arrays += [own, later & set().union(*used[: position + 1])]
        return arrays

    def _fill(self, result: Array, task: _Task, box: Box) -> None:
        """Write the values over a box, halving it along the domain while arrays are too long."""
        domain = [axis.name for axis in task.equation.domain]
        axis = _too_long(task, box, domain)
        if axis is None:
            result[...] = self._block(task, box)
            return
        lower, middle, upper = _halves(box[axis])
        before = (slice(None),) * domain.index(axis)
        self._fill(result[(*before, slice(None, middle - lower))], task, {**box, axis: (lower, middle)})
        self._fill(result[(*before, slice(middle - lower, None))], task, {**box, axis: (middle, upper)})

    def _block(self, task: _Task, box: Box) -> Array:
        """The values over a box, with the domain's axes only."""
        equation, products = task.equation, task.products
        combiner, rank = equation.combiner, len(equation.domain)
        if combiner is None:
            return self.expression(equation.body, box, None)
        if combiner not in ("argmax", "argmin"):
            axis = _too_long(task, box, [axis.name for axis in equation.reduction])
            if axis is not None:
                lower, middle, upper = _halves(box[axis])
                parts = [self._block(task, {**box, axis: part}) for part in ((lower, middle), (middle, upper))]
                return cast(Array, REDUCERS[combiner][0](*parts))
        if products is not None:
            return cast(Array, sum(self._contract(factors, box, rank) for factors in products))
        lengths = tuple(upper - lower for lower, upper in box.values())
        guard = None if equation.guard is None else self.expression(equation.guard, box, None)
        body = numpy.broadcast_to(self.expression(equation.body, box, guard), lengths)
        if combiner in REDUCERS:
            ufunc, neutral = REDUCERS[combiner]
            if guard is not None:
                body = numpy.where(guard, body, neutral(body.dtype.type))
            return cast(Array, ufunc.reduce(body, axis=tuple(range(rank, body.ndim))))
        return _position(body, guard, combiner, rank)

    def _contract(self, factors: list[Expression], box: Box, rank: int) -> Array:
        """The sum over all axes from `rank` on of a product of factors."""
        names = list(box)
        lengths = [upper - lower for lower, upper in box.values()]
        scale: float = 1
        arrays: list[Array] = []
        for factor in factors:
            array = self.expression(factor, box, None)
            if array.size == 1 and array.dtype.kind == "f":
                scale *= float(array.reshape(()))
            else:
                arrays.append(array)
        total = arrays.pop(0) if arrays else numpy.ones([1] * len(names))
        while arrays:
            following = arrays.pop(0)
            later = {axis for array in arrays for axis in range(array.ndim) if array.shape[axis] > 1}
            total = multiply(total, following, {axis for axis in range(rank, len(names)) if axis not in later})
        for axis in range(rank, len(names)):
            if lengths[axis] != 1 and not any(names[axis] in self.used(factor) for factor in factors):
                scale *= lengths[axis]
        total = total.sum(axis=tuple(range(rank, len(names))))
        return cast(Array, total if scale == 1 else total * scale)


def _too_long(task: _Task, box: Box, choices: list[str]) -> str | None:
    """The longest of the axes `choices` of an array above the limit, if there is one."""
    limit = _CHAIN if task.equation.combiner is None else LIMIT
    for indices in task.arrays:
        lengths = {name: box[name][1] - box[name][0] for name in indices if name in box}
        if math.prod(lengths.values()) > limit:
            longest = max((name for name in lengths if name in choices), key=lengths.__getitem__, default=None)
            if longest is not None and lengths[longest] > 1:
                return longest
    return None


def _halves(interval: tuple[int, int]) -> tuple[int, int, int]:
    lower, upper = interval
    return lower, (lower + upper) // 2, upper


def _position(body: Array, guard: Array | None, combiner: str, rank: int) -> Array:
    """Row-major positions of the largest (smallest) values within the reduction box, the first on ties."""
    flat = body.reshape(*body.shape[:rank], -1)
    if guard is None:
        return cast(Array, flat.argmax(-1) if combiner == "argmax" else flat.argmin(-1))
    allowed = numpy.broadcast_to(guard, body.shape).reshape(flat.shape)
    ufunc, neutral = REDUCERS[combiner[3:]]
    best = ufunc.reduce(numpy.where(allowed, flat, neutral(flat.dtype.type)), axis=-1, keepdims=True)
    return cast(Array, ((flat == best) & allowed).argmax(-1))
