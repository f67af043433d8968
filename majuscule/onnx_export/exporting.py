"""A checked program as an ONNX model: one operation of its graph after the other.

Tensors keep whatever order of axes the operators give them (channels come before places in ONNX's
convolutions); inputs, outputs and weights have the program's names, order of axes and shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version

import onnx
from onnx import helper, numpy_helper

from ..compiler.graph import Graph
from ..compiler.passes.eliminate_common import eliminate_common
from ..compiler.passes.eliminate_dead import eliminate_dead
from ..dsl.equations import (
    Axis,
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
    Step,
)
from ..dsl.integers import ZERO, Integer
from ..runtime.arrays import Array
from ..runtime.errors import ExportError
from .beside import Beside, stored
from .builder import TYPES, Builder, names_read, needed, numpy_type
from .expressions import Scalars
from .integers import Integers
from .labelled import Labelled, Value
from .reading import Reader, Stored
from .reductions import Reductions
from .sizes import symbol_values
from .softmax import softmax
from .windows import Padded, Windowed, padded

OPSET = 18
_IR_VERSION = 9


def onnx_model(program: Program, weights: Mapping[str, Array], beside: Beside | None = None) -> onnx.ModelProto:
    """The model; `weights` are the values of parameters and state by name, which go into `beside` if it is given.

    Raises `ExportError` for an operation that ONNX cannot say, with the name of its tensor.
    """
    graph = Graph.from_program(program).replace(program.operations, roots=program.outputs)
    return _Exporter(program, eliminate_dead(eliminate_common(graph))).model(weights, beside)


class _Exporter:
    def __init__(self, program: Program, graph: Graph) -> None:
        self._program = program
        self._graph = graph
        weights = [n for n in graph if isinstance(graph.operation(n), Parameter | State)]
        self._builder = Builder([*program.inputs, *program.outputs, *weights])
        self._labelled = Labelled(self._builder)
        self._integers = Integers(
            self._labelled, symbol_values(program, self._builder), lambda read: self._reader.read(read, False)
        )
        self._labelled.integers = self._integers
        self._reader = Reader(self._labelled, self._integers)
        self._finished: dict[str, list[Stored]] = {}
        self._pads: dict[str, Padded] = {}
        scalars = Scalars(self._labelled, self._integers, self._reader)
        windowed = Windowed(self._reader, self._pads)
        self._reductions = Reductions(self._labelled, self._integers, scalars, windowed)

    def model(self, weights: Mapping[str, Array], beside: Beside | None) -> onnx.ModelProto:
        """The whole model."""
        initializers = []
        for name in self._graph:
            operation = self._graph.operation(name)
            if isinstance(operation, Parameter | State):
                made = _tensor if beside is None else beside.tensor
                initializers.append(made(name, weights[name], operation.dtype))
            with self._builder.making(name):
                self._add(name, operation)
        outputs = [self._output(name) for name in self._program.outputs]
        nodes = needed(self._builder.nodes, self._program.outputs)
        read = {name for node in nodes for name in names_read(node)}
        constants = [tensor for name, tensor in self._builder.constants.items() if name in read]
        graph = helper.make_graph(
            nodes,
            self._program.name,
            [self._described(name) for name in self._program.inputs],
            outputs,
            [*initializers, *constants],
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="majuscule",
            producer_version=version("majuscule"),
        )

    # -- operations --------------------------------------------------------------------------

    def _add(self, name: str, operation: Operation) -> None:
        if isinstance(operation, Input | Parameter | State):
            self._keep(name, operation, name)
        elif isinstance(operation, Constant):
            values = operation.array().astype(numpy_type(operation.dtype))
            self._keep(name, operation, self._builder.constant(values))
        elif isinstance(operation, Equation):
            self._equation(name, operation)
        elif isinstance(operation, Partial):
            self._put_together(name, operation)
        elif isinstance(operation, Reshape):
            source = self._in_order(operation.source)
            array = self._builder.node("Reshape", source, self._integers.shape_of_one_open(operation.shape))
            self._keep(name, operation, array)
        elif isinstance(operation, Random):
            raise ExportError(f"{name} draws random numbers, and ONNX has none that are the same everywhere")
        elif isinstance(operation, Recurrence):
            self._finished[name] = self._loop(operation)
        else:
            self._reader.tensors[name] = self._finished[operation.recurrence][operation.position]

    def _equation(self, name: str, equation: Equation) -> None:
        pad = padded(equation, self._reader.tensors)
        if pad is not None:
            self._pads[name] = pad
            self._pad(name, equation, pad)
        else:
            self._store(name, equation, softmax(self._graph, equation))

    def _keep(self, name: str, operation: Input | Parameter | State | Constant | Reshape | Partial, array: str) -> None:
        self._reader.tensors[name] = _in_place(array, operation.shape, operation.dtype)

    def _store(self, name: str, equation: Equation, soft: tuple[Expression, str] | None = None) -> None:
        value = self._reductions.value(equation, soft)
        labels = [axis.name for axis in equation.domain]
        with self._labelled.scope({axis.name: axis.size for axis in equation.domain}):
            missing = [label for label in labels if label not in value.labels]
            value = self._labelled.expand(value, [*missing, *value.labels]) if missing else value
        order = tuple(labels.index(label) for label in value.labels)
        self._reader.tensors[name] = Stored(value.name, order, equation.shape, equation.dtype)

    def _pad(self, name: str, equation: Equation, found: Padded) -> None:
        source = self._reader.tensors[found.source]
        sides = [[side[axis] for axis in source.order] for side in (found.before, found.after)]
        pads = self._integers.vector([*sides[0], *sides[1]])
        array = self._builder.node("Pad", source.name, pads, self._builder.literal(0, equation.dtype))
        self._reader.tensors[name] = Stored(array, source.order, equation.shape, equation.dtype)

    def _in_order(self, name: str) -> str:
        """A tensor's array with the axes in the program's order."""
        stored = self._reader.tensors[name]
        back = tuple(stored.order.index(axis) for axis in range(len(stored.order)))
        if back == tuple(range(len(back))):
            return stored.name
        return self._builder.node("Transpose", stored.name, perm=back)

    # -- partial definitions -----------------------------------------------------------------

    def _put_together(self, name: str, partial: Partial) -> None:
        joined = _concatenated(partial)
        if joined is not None:
            axis, sources = joined
            arrays = [self._in_order(source) for source in sources]
            self._keep(name, partial, self._builder.node("Concat", *arrays, axis=axis))
            return
        self._keep(name, partial, self._filled(partial.shape, partial.dtype, partial.pieces))

    def _filled(self, shape: Shape, dtype: str, pieces: Sequence[Piece]) -> str:
        """Zeros with the pieces in their places."""
        array = self._builder.node("Expand", self._builder.literal(0, dtype), self._integers.vector(shape))
        for piece in pieces:
            array = self._written(array, piece.target, piece.domain, self._in_order(piece.source))
        return array

    def _written(self, array: str, target: Sequence[Integer], domain: Sequence[Axis], source: str) -> str:
        """The array with the elements of `source`, which has the domain's axes, at its targets."""
        labels = [axis.name for axis in domain]
        with self._labelled.scope({axis.name: axis.size for axis in domain}):
            places = [self._labelled.expand(self._integers.value(subscript), labels).name for subscript in target]
        last = self._builder.integers(-1)
        at = self._builder.node("Concat", *(self._builder.node("Unsqueeze", p, last) for p in places), axis=-1)
        return self._builder.node("ScatterND", array, at, source)

    # -- recurrences -------------------------------------------------------------------------

    def _loop(self, loop: Recurrence) -> list[Stored]:
        """The finished tensors of a recurrence, which a loop fills in place after place."""
        builder, integers, outside = self._builder, self._integers, dict(self._reader.tensors)
        lower, count = integers.value(loop.lower), integers.value(loop.upper - loop.lower)
        last = integers.value(loop.upper - 1)
        starts = [self._filled(carried.shape, carried.dtype, carried.starts) for carried in loop.carried]
        turn, going = builder.new_name("turn"), builder.new_name("going")
        given = [builder.new_name(carried.name) for carried in loop.carried]
        with builder.body() as nodes:
            number = Value(turn)
            time = (
                self._labelled.apply("Sub", last, number)
                if loop.reverse
                else self._labelled.apply("Add", lower, number)
            )
            integers.times[loop.index] = time
            for carried, array in zip(loop.carried, given, strict=True):
                self._reader.tensors[carried.name] = _in_place(array, carried.shape, carried.dtype)
            for step in loop.steps:
                self._step(step)
            results = [self._in_order(carried.name) for carried in loop.carried]
            results = [builder.nodes_of("Identity", [result], 1)[0] for result in results]
            still = builder.nodes_of("Identity", [going], 1)[0]
            del integers.times[loop.index]
        inputs = [
            helper.make_tensor_value_info(turn, TYPES["int64"], []),
            helper.make_tensor_value_info(going, TYPES["bool"], []),
            *(_typed(n, c.shape, c.dtype) for n, c in zip(given, loop.carried, strict=True)),
        ]
        outputs = [
            helper.make_tensor_value_info(still, TYPES["bool"], []),
            *(_typed(n, c.shape, c.dtype) for n, c in zip(results, loop.carried, strict=True)),
        ]
        body = helper.make_graph(nodes, f"over {loop.index}", inputs, outputs)
        finished = builder.nodes_of(
            "Loop", [count.name, builder.literal(True, "bool"), *starts], len(starts), body=body
        )
        self._reader.tensors = outside
        return [_in_place(n, c.shape, c.dtype) for n, c in zip(finished, loop.carried, strict=True)]

    def _step(self, step: Step) -> None:
        """One equation for the present time: a tensor of its own, or the place of a carried one that it fills."""
        with self._builder.making(step.name):
            if step.target is None:
                self._store(step.name, step.equation)
                return
            carried = self._reader.tensors[step.name]
            self._store(step.name, step.equation)
            value = self._in_order(step.name)
            array = self._written(carried.name, step.target, step.equation.domain, value)
            self._reader.tensors[step.name] = _in_place(array, carried.shape, carried.dtype)

    # -- the edge ----------------------------------------------------------------------------

    def _described(self, name: str) -> onnx.ValueInfoProto:
        tensor = self._graph.tensor(self._graph.resolve(name))
        return _typed(name, tensor.shape, tensor.dtype)

    def _output(self, name: str) -> onnx.ValueInfoProto:
        array = self._in_order(self._graph.resolve(name))
        if array != name:  # an output that is an input has its name already
            self._builder.nodes.append(helper.make_node("Identity", [array], [name], name=name))
        return self._described(name)


def _tensor(name: str, array: Array, dtype: str) -> onnx.TensorProto:
    return numpy_helper.from_array(stored(array, dtype), name)


def _in_place(array: str, shape: Shape, dtype: str) -> Stored:
    """An array whose axes are in the program's order."""
    return Stored(array, tuple(range(len(shape))), shape, dtype)


def _typed(name: str, shape: Shape, dtype: str) -> onnx.ValueInfoProto:
    lengths = [size.constant if size.constant is not None else str(size) for size in shape]
    return helper.make_tensor_value_info(name, TYPES[dtype], lengths)


def _concatenated(partial: Partial) -> tuple[int, list[str]] | None:
    """The axis along which pieces follow each other, and their tensors in this order; None if they do not."""
    for axis in range(len(partial.shape)):
        starts: dict[Integer, Piece] = {}
        for piece in partial.pieces:
            offsets = [t - Integer.index(a.name) for t, a in zip(piece.target, piece.domain, strict=False)]
            if len(offsets) == len(partial.shape) and all(o == ZERO for n, o in enumerate(offsets) if n != axis):
                starts[offsets[axis]] = piece
        position, sources = ZERO, []
        while position in starts:
            piece = starts.pop(position)
            sources.append(piece.source)
            position = position + piece.domain[axis].size
        if len(sources) == len(partial.pieces) and position == partial.shape[axis]:
            return axis, sources
    return None
