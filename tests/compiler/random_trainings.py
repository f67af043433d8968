"""Random programs with a loss, as text: `trainings()` is a Hypothesis strategy.

Some are equations of all kinds (see `random_programs`), others networks of layers with state,
random numbers, shortcuts, branches and recurrences.
"""

from __future__ import annotations

from typing import Any

import numpy
from hypothesis import strategies as st
from random_programs import programs

import majuscule
from majuscule.compiler.program_text import program_text

_LOSS = "param amount[]: float64\nwhen training:\n    loss cost = mean[b,y,j](sin(amount * {0}[b,y,j]))\n"
_SCORES = """\
scores = FC({0}, units 3)
when training:
    Given label[]: int64
    loss cost = cross_entropy(scores, label)
"""
_ALIKE = (
    "relu(CONV({0}, width 3, pad 1, filters {1}))", "BatchNorm({0})", "Dropout({0})", "tanh({0})", "{0} * σ({0})",
    "{0} + {2}", "{0} * {2}", "relu(BatchNorm(CONV({0}, width 1, filters {1}))) + {2}",
)  # fmt: skip
"""Layers whose result is like what they take; what stands for {2} is an earlier tensor, also like it."""
_OTHER = {
    "MaxPool({0}, width 2, stride 2)": lambda size, channels: (size // 2, channels),
    "MeanPool({0}, width 2, stride 2)": lambda size, channels: (size // 2, channels),
    "CONV({0}, width 3, pad 1, filters 5)": lambda size, channels: (size, 5),
    "relu(CONV({0}, width 3, stride 2, pad 1, filters 8))": lambda size, channels: ((size + 1) // 2, 8),
}
"""Layers whose result is another, and its size and channels."""


@st.composite
def _equations(draw: st.DrawFn) -> str:
    """Equations whose inputs, and so all that comes of them, can be trained."""
    text = program_text(draw(programs()).program).text
    text = text.replace("Given x[6, 4]: float64", "Given given[6, 4]: float64\nparam factor[4]: float64", 1)
    text = text.replace("size(x, 0)", "size(given, 0)")
    scaled = "x[b, y, j]: float64 = given[b, y, j] * factor[j]\n\n"
    head, body = text.split("\n\n", 1)
    body, outputs = body.rsplit("output ", 1)
    return f"{head}\n{scaled}{body}{_LOSS.format(outputs.split(',')[0].strip())}"


@st.composite
def _networks(draw: st.DrawFn) -> str:
    """Layers one after the other, some of which take an earlier result, too."""
    size, channels = 8, 3
    lines, alike = ["Given image[8, 8, 3]"], ["image"]
    for number in range(draw(st.integers(2, 8))):
        other = size > 1 and draw(st.integers(0, 3)) == 0
        layer = draw(st.sampled_from([*_OTHER] if other else _ALIKE))
        lines.append(f"h{number} = {layer.format(alike[-1], channels, draw(st.sampled_from(alike)))}")
        if other:
            size, channels = _OTHER[layer](size, channels)
            alike = []
        alike.append(f"h{number}")
    last = alike[-1]
    if draw(st.booleans()):
        lines += [
            f"rows[b, t in 0..{size}, k in 0..{channels}] = mean[y]({last}[b,t,y,k])",
            "s, c = LSTM(rows, units 6)",
        ]
        last = "s"
    return "\n".join([*lines, _SCORES.format(last)])


def trainings() -> st.SearchStrategy[str]:
    """Texts of programs that can be trained."""
    return _equations() | _networks()


def batch_for(text: str, size: int) -> dict[str, Any]:
    """Values for the inputs of such a program."""
    numbers = numpy.random.default_rng(0)
    inputs = {tensor.name: tensor for tensor in majuscule.Trainer(text).compiled.inputs}
    return {
        name: numbers.integers(0, 3, size) if tensor.dtype == "int64"
        else numbers.normal(size=(size, *tensor.shape[1:])).astype(tensor.dtype)
        for name, tensor in inputs.items()
    }  # fmt: skip
