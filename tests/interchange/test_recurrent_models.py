"""Recurrent networks that PyTorch exports to ONNX, imported: equal outputs, by layers of the library where they fit."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy
import pytest

import majuscule

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")


def language_model(kind: str, **options: Any) -> Any:
    """Words in, scores of the next words out."""

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(11, 6)
            self.memory = getattr(torch.nn, kind)(6, 5, batch_first=True, **options)
            self.scores = torch.nn.Linear(10 if options.get("bidirectional") else 5, 11)

        def forward(self, words: Any) -> Any:
            return self.scores(self.memory(self.words(words))[0])

    torch.manual_seed(0)
    return Model().eval()


def exported(model: Any, given: Any) -> Any:
    """The model of ONNX, with its batch open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()
        names: dict[str, Any] = {"input_names": ["words"], "dynamic_axes": {"words": {0: "batch"}}}
        torch.onnx.export(model, (given,), file, dynamo=False, **names)
        return onnx.load_from_string(file.getvalue())


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("RNN", {}, "= RNN("),
        ("RNN", {"nonlinearity": "relu"}, "activation relu)"),
        ("LSTM", {}, "= LSTM("),
        ("LSTM", {"num_layers": 2, "bias": False}, "= LSTM("),
        ("GRU", {}, "= GRU("),
        ("GRU", {"bidirectional": True}, "_backward[b,7,j] = 0"),
        ("LSTM", {"bidirectional": True}, "_backward_a[b,t,g,j] ="),
    ],
    ids=["rnn", "relu", "lstm", "deep", "gru", "gru-both-ways", "lstm-both-ways"],
)
def test_recurrent_networks(kind: str, options: dict[str, Any], said: str) -> None:
    model = language_model(kind, **options)
    words = torch.randint(0, 11, (2, 7))
    found = majuscule.import_onnx(exported(model, words))
    assert said in found.text, found.text
    with majuscule.compile(found.text, weights=found.weights) as module:
        for count in (2, 5):
            words = torch.randint(0, 11, (count, 7))
            numpy.testing.assert_allclose(module(words.numpy()), model(words).detach().numpy(), atol=1e-5)


def test_a_state_before_the_first_step() -> None:
    class Continued(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = torch.nn.LSTM(3, 4)

        def forward(self, x: Any, h: Any, c: Any) -> Any:
            all_states, (last, cell) = self.memory(x, (h, c))
            return all_states, last, cell

    torch.manual_seed(0)
    model = Continued().eval()
    given = [torch.randn(5, 2, 3), torch.randn(1, 2, 4), torch.randn(1, 2, 4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()
        torch.onnx.export(model, tuple(given), file, dynamo=False, input_names=["x", "h", "c"])
    found = majuscule.import_onnx(onnx.load_from_string(file.getvalue()))
    with majuscule.compile(found.text, weights=found.weights) as module:
        outputs = module(*(array.numpy() for array in given))
    for one, other in zip(outputs, model(*given), strict=True):
        numpy.testing.assert_allclose(one, other.detach().numpy(), atol=1e-6)


def test_what_is_not_read_is_named() -> None:
    from onnx import TensorProto, helper, numpy_helper

    def model(**attributes: Any) -> Any:
        node = helper.make_node("LSTM", ["x", "W", "R"], ["y"], name="memory", hidden_size=4, **attributes)
        shapes = {"W": (1, 16, 3), "R": (1, 16, 4)}
        weights = [numpy_helper.from_array(numpy.zeros(s, "float32"), n) for n, s in shapes.items()]
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", 2, 3])]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        graph = helper.make_graph([node], "net", inputs, outputs, weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])

    for attributes, reason in (
        ({"clip": 3.0}, "LSTM memory: clip is not known"),
        ({"direction": "reverse"}, "runs backwards over an open length"),
        ({"activations": ["Sigmoid", "Softsign", "Tanh"]}, "the activations sigmoid, softsign, tanh are not known"),
    ):
        with pytest.raises(Exception, match=reason):
            majuscule.import_onnx(model(**attributes))
