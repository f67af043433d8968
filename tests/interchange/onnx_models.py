"""Small models of ONNX, made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = numpy.ndarray[Any, Any]
Shape = Sequence[int | str | None]


def model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Shape],
    outputs: Sequence[str],
    weights: Mapping[str, Array] | None = None,
    *,
    version: int = 17,
    dtype: int = TensorProto.FLOAT,
) -> ModelProto:
    """A model of these nodes; outputs have no shapes."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info(name, dtype, list(shape)) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], name: str = "", **attributes: Any) -> NodeProto:
    """A node of ONNX."""
    return helper.make_node(operator, list(inputs), list(outputs), name or None, **attributes)


def small_network() -> ModelProto:
    """A convolution, a normalisation, ReLU, pooling and a classifier, for any number of images."""
    generator = numpy.random.default_rng(0)

    def numbers(*shape: int) -> Array:
        return generator.normal(size=shape).astype("float32")

    weights = {
        "conv.weight": numbers(4, 3, 3, 3),
        "conv.bias": numbers(4),
        "norm.weight": numbers(4),
        "norm.bias": numbers(4),
        "norm.running_mean": numbers(4),
        "norm.running_var": abs(numbers(4)) + 1,
        "fc.weight": numbers(5, 64),
        "fc.bias": numbers(5),
    }
    nodes = [
        node("Conv", ["image", "conv.weight", "conv.bias"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", *list(weights)[2:6]], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "fc.weight", "fc.bias"], ["scores"], transB=1),
    ]
    return model(nodes, {"image": ["batch", 3, 8, 8]}, ["scores"], weights)
