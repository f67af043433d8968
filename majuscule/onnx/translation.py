"""A model's nodes in their order, each said by the rule of its operator; what cannot be said is collected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import (
    convolution,
    elementwise,
    normalising,
    pooling,
    products,
    rearranging,
    recurrent,
    reductions,
    resizing,
    selecting,
    transposed,
)
from .calls import Call
from .dtypes import named
from .errors import CannotSay, ImportFailed
from .folding import CONTROL, folded
from .model_files import DOMAINS, check_node, opset, tensor_array
from .naming import of_node, spelled
from .sizes import Dim, Size
from .values import LARGEST_RANK, Constant, Tensor, Value, channels_last, letters
from .writing import Program

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

RULES: dict[str, Callable[[Call], Sequence[Value]]] = {
    **elementwise.RULES,
    **convolution.RULES,
    **pooling.RULES,
    **normalising.RULES,
    **products.RULES,
    **rearranging.RULES,
    **recurrent.RULES,
    **reductions.RULES,
    **resizing.RULES,
    **selecting.RULES,
    **transposed.RULES,
}
"""How each operator is said."""

_ON_IMAGES = frozenset([
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool",
    "InstanceNormalization", "LRN", "MaxPool", "DepthToSpace", "SpaceToDepth", "Resize", "GroupNormalization",
    "LpPool", "GlobalLpPool",
])  # fmt: skip
_KEEPING_AXES = frozenset(elementwise.RULES) | frozenset(["Concat", "Gather", "Pad", "Slice", "Split"])


_BY_THEMSELVES = frozenset(["If", "Range", "Shape", "Size"])
"""Operators that are computed while importing, or not at all."""


def written_out(model: ModelProto) -> ModelProto:
    """The model with operators that have no rule written as ONNX defines them, by others, where it does."""
    from onnx import helper, inliner

    for _ in range(_DEEPEST):
        schemas = _defined(model)
        if not schemas:
            break
        told = {value.name for value in (*model.graph.input, *model.graph.value_info)}
        for tensor in model.graph.initializer:  # definitions ask for the types of what they take
            if tensor.name not in told:
                model.graph.value_info.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        for node in model.graph.node:  # and do not know what is left out
            if node.op_type in schemas and node.domain in DOMAINS:
                present = {attribute.name for attribute in node.attribute}
                for name, attribute in schemas[node.op_type].attributes.items():
                    if name not in present and attribute.default_value.name:
                        node.attribute.append(attribute.default_value)
        chosen = [("", operator) for operator in schemas]
        try:
            model = inliner.inline_selected_functions(model, chosen, inline_schema_functions=True)
        except (RuntimeError, ValueError):  # of a damaged model: then the operators are named as those without a rule
            break
    return model


_DEEPEST = 4
"""How often a definition may use operators that are themselves defined by others."""


def _defined(model: ModelProto) -> dict[str, Any]:
    """The schemas of operators that have no rule and are defined by others."""
    from onnx import defs

    found: dict[str, Any] = {}
    latest = opset(model) or 0
    for operator in {node.op_type for node in model.graph.node if node.domain in DOMAINS}:
        if operator in RULES or operator in _BY_THEMSELVES:
            continue
        try:
            schema: Any = defs.get_schema(operator, latest)
        except defs.SchemaError:
            continue
        if schema.has_function or schema.has_context_dependent_function:
            found[operator] = schema
    return found


class Translation:
    """The state of an import: what each value of the model is in the program.

    `batch` is the open size of the first axis of the data, `fixed_batch` the number of samples that
    the model was written for if it is opened on request.
    """

    def __init__(self, model: ModelProto, folder: Path | None, *, open_batch: bool) -> None:
        self.model = model = written_out(model)
        self.graph = model.graph
        self.version = opset(model) or 0
        self.program = Program()
        self.values: dict[str, Value] = {}
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.reasons: list[str] = []
        self.batch: Size | None = None
        self.fixed_batch: int | None = None
        self._lost: set[str] = set()
        self._open_batch = open_batch
        self._folder = folder
        self._output_names: dict[str, str] = {}
        self._uses: dict[str, list[NodeProto]] = {}
        self._absorbed: dict[str, str] = {}

    def run(self) -> None:
        """Translate everything; raises `ImportFailed` with every reason why that cannot be."""
        self._read_weights()
        self._declare_inputs()
        for value in self.graph.output:
            taken = value.name in self._output_names or value.name in self.values
            self._output_names.setdefault(value.name, "" if taken else self.program.names.give(value.name))
        self._count_uses(self.graph)
        for node in self.graph.node:
            self._translate(node)
        if self.reasons:
            count = len(self.reasons)
            raise ImportFailed(
                f"{count} node{'s' if count > 1 else ''} of the model cannot be said in the language:", self.reasons
            )
        for output in self.graph.output:
            self._finish(output)

    # -- the edge ----------------------------------------------------------------------------

    def _read_weights(self) -> None:
        for tensor in self.graph.initializer:
            self._add_weight(tensor)

    def _add_weight(self, tensor: TensorProto) -> None:
        if not tensor.name or tensor.name in self.values:
            raise ImportFailed(f"two weights are called {tensor.name!r}")
        array = tensor_array(tensor, self._folder)
        learnt = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
        self.values[tensor.name] = Constant(array, tensor.name, learnt)

    def _count_uses(self, graph: GraphProto) -> None:
        """Note which nodes read each value, branches of nodes among them."""
        for node in graph.node:
            for name in node.input:
                self._uses.setdefault(name, []).append(node)
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    for output in attribute.g.output:
                        self._uses.setdefault(output.name, []).append(node)
                    self._count_uses(attribute.g)

    def _declare_inputs(self) -> None:
        given = [value for value in self.graph.input if value.name not in self.values]
        shapes = {value.name: self._shape(value) for value in given}
        leading = [shape[0] for shape in shapes.values() if shape]
        if self._open_batch:
            fixed = {size for size in leading if isinstance(size, int)}
            if len(fixed) > 1:
                raise ImportFailed(f"the inputs have no batch in common: they begin with {sorted(fixed)}")
            self.fixed_batch = next(iter(fixed), None)
            shapes = {name: (Size(1, ("batch",)), *shape[1:]) if shape else shape for name, shape in shapes.items()}
            leading = [Size(1, ("batch",))]
        self.batch = next((size for size in leading if isinstance(size, Size)), None)
        images = self._images()
        for value in given:
            self._declare(value, shapes[value.name], is_image=value.name in images)

    def _shape(self, value: ValueInfoProto) -> tuple[Dim, ...]:
        if not value.type.HasField("tensor_type"):
            raise ImportFailed(f"the input {value.name} is not a tensor")
        kind = value.type.tensor_type
        if not kind.HasField("shape"):
            raise ImportFailed(f"the model does not say which shape its input {value.name} has")
        found: list[Dim] = []
        for axis, dim in enumerate(kind.shape.dim):
            if dim.HasField("dim_value"):
                if dim.dim_value < 1:
                    raise ImportFailed(f"the input {value.name} has an axis of size {dim.dim_value}")
                found.append(dim.dim_value)
            else:
                found.append(Size(1, (dim.dim_param or f"{value.name}_{axis}",)))
        if len(found) > LARGEST_RANK:
            raise ImportFailed(f"the input {value.name} has {len(found)} axes; {LARGEST_RANK} are the most")
        return tuple(found)

    def _declare(self, value: ValueInfoProto, shape: tuple[Dim, ...], *, is_image: bool) -> None:
        try:
            dtype = named(value.type.tensor_type.elem_type)
        except CannotSay as error:
            raise ImportFailed(f"the input {value.name}: {error}") from error
        rank = len(shape)
        order = channels_last(rank) if is_image and rank >= 3 else tuple(range(rank))
        wanted = spelled(value.name)
        tensor = Tensor(self.program.names.give(wanted.lower() if not rank else wanted), shape, order, dtype)
        batched = bool(shape) and shape[0] == self.batch
        marks = letters(tensor)
        axes = [f"{marks[axis]} {self._size(shape[axis])}" for axis in order[batched:]]
        note = "" if order == tuple(range(rank)) else f"{_axes(shape)} in the model"
        self.program.given(tensor, axes, batched=batched, note=note)
        tensor = Tensor(tensor.name, shape, order, dtype, tuple(marks[axis] for axis in order))
        self.inputs.append(tensor)
        self.values[value.name] = tensor

    def _size(self, size: Dim) -> str:
        """A size as it is declared: open ones have a capital name."""
        if not isinstance(size, Size):
            return str(size)
        return spelled("".join(part for part in size.symbols[0] if part.isalpha())).upper()

    def _images(self) -> set[str]:
        """Values that operators on images take, perhaps after others that keep their axes."""
        found: set[str] = set()
        for node in reversed(self.graph.node):
            if node.op_type in _ON_IMAGES:
                found.update(node.input[:1])
            elif node.op_type in _KEEPING_AXES and any(name in found for name in node.output):
                found.update(node.input)
        return found

    def _finish(self, output: ValueInfoProto) -> None:
        """Make a value an output under its own name, with all of its axes."""
        value = self.values.get(output.name)
        if value is None:
            raise ImportFailed(f"nothing computes the output {output.name}")
        try:
            tensor = value if isinstance(value, Tensor) else self.program.parameter(value)
        except CannotSay as error:
            raise ImportFailed(f"the output {output.name}: {error}") from error
        wanted = self._output_names[output.name] or self.program.names.give(output.name)
        plain = tuple(range(tensor.rank))
        is_image = tensor.rank >= 3 and tensor.order == channels_last(tensor.rank)
        natural = tensor.order if is_image else plain
        if tensor.name != wanted or tensor.order != natural:
            name = self.program.names.give(f"{wanted}_out") if tensor.name == wanted else wanted
            tensor = self.program.whole(tensor, name, natural)
        self.outputs.append(tensor)
        self.program.output(tensor.name)

    # -- nodes -------------------------------------------------------------------------------

    def _translate(self, node: NodeProto) -> None:
        where = f"{node.op_type} {node.name or ', '.join(node.output)}".strip()
        if any(name in self._lost for name in node.input):
            self._lost.update(node.output)
            return
        try:
            absorbed = self._absorbed.get(node.output[0]) if node.output else None
            found = self._said(node) if absorbed is None else [self.values[absorbed]]
        except CannotSay as error:
            self.reasons.append(f"{where}: {error}")
            self._lost.update(node.output)
            return
        for name, value in zip(node.output, found, strict=False):
            if not name:
                continue
            if name in self.values:
                raise ImportFailed(f"{where}: {name!r} is computed twice")
            self.values[name] = value

    def _said(self, node: NodeProto) -> Sequence[Value]:
        if node.op_type == "If":
            return self._chosen(node)
        if node.op_type in CONTROL:
            raise CannotSay("loops over a part of a model are not read")
        problem = check_node(node, self.model)
        if problem is not None:
            raise CannotSay(problem)
        inputs = [self._input(name) for name in node.input]
        attributes = _attributes(node)
        constants = folded(node, self.version, inputs, attributes)
        if constants is not None:
            return constants
        rule = RULES.get(node.op_type)
        if rule is None:
            raise CannotSay("there is no rule for this operator")
        outputs = list(node.output)
        while outputs[1:] and not self._is_wanted(outputs[-1]):
            outputs.pop()
        adding = self._bias_after(node) if node.op_type == "MatMul" else None
        bias = self._constant_operand(adding) if adding is not None else None
        call = Call(
            self.program, node.op_type, inputs, attributes, outputs,
            lambda position: self._name(node, adding if call.bias_is_added else None, position),
            bias, fixed_batch=self.fixed_batch,
        )  # fmt: skip
        found = rule(call)
        if call.bias_is_added and adding is not None:
            self._absorbed[adding.output[0]] = node.output[0]
        return found

    def _chosen(self, node: NodeProto) -> Sequence[Value]:
        """The branch of an `If` whose condition is known, in its place."""
        attributes = {attribute.name: attribute.g for attribute in node.attribute}
        condition = self._input(node.input[0]) if len(node.input) == 1 else None
        if not isinstance(condition, Constant) or condition.array.size != 1 or condition.is_open:
            raise CannotSay("which branch is taken depends on data")
        branch = attributes.get("then_branch" if condition.array.reshape(-1)[0] else "else_branch")
        if branch is None or len(branch.output) != len(node.output):
            raise CannotSay("its branches are not whole")
        for tensor in branch.initializer:
            self._add_weight(tensor)
        self._count_uses(branch)
        before = len(self.reasons)
        for inner in branch.node:
            self._translate(inner)
        if len(self.reasons) > before or any(output.name in self._lost for output in branch.output):
            raise CannotSay("the branch that is taken cannot be said")
        found = [self._input(output.name) for output in branch.output]
        return [value for value in found if value is not None]

    def _input(self, name: str) -> Value | None:
        if not name:
            return None
        if name not in self.values:
            raise CannotSay(f"nothing computes its input {name!r}")
        return self.values[name]

    def _is_wanted(self, name: str) -> bool:
        return bool(name) and (name in self._uses or name in self._output_names)

    def _bias_after(self, node: NodeProto) -> NodeProto | None:
        """The addition of known numbers that is all that happens to a result, if it is."""
        readers = self._uses.get(node.output[0], [])
        if len(readers) != 1 or node.output[0] in self._output_names or readers[0].op_type != "Add":
            return None
        return readers[0] if self._constant_operand(readers[0]) is not None else None

    def _constant_operand(self, node: NodeProto) -> Constant | None:
        found = [value for name in node.input if isinstance(value := self.values.get(name), Constant)]
        return found[0] if found else None

    def _name(self, node: NodeProto, adding: NodeProto | None, position: int) -> str:
        """What an output is called: as the model's output if it is one, else as its module or itself."""
        output = (adding.output if adding is not None else node.output)[position]
        if self._output_names.get(output):
            return self._output_names[output]
        weights = [*node.input[1:], *(adding.input if adding is not None else ())]
        known = [name for name in weights if isinstance(self.values.get(name), Constant)]
        if position:
            return self.program.names.give(output)
        return self.program.names.give(of_node(node.op_type, node.name, output, known))


def _attributes(node: NodeProto) -> dict[str, Any]:
    from onnx import helper

    found = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        found[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return found


def _axes(shape: Sequence[Dim]) -> str:
    return "×".join(map(str, shape))
