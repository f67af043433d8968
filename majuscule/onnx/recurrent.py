"""Recurrent layers: the library's where they go forward from zero, recurrences where they do not.

ONNX stacks the weights of gates as input, output, forget, candidate (LSTM) and update, reset, candidate (GRU),
and each direction has weights of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy

from .calls import Call
from .convolution import known_sizes
from .errors import CannotSay
from .sizes import Dim, Size
from .values import Array, Constant, Tensor, Value
from .writing import LAYERS_DTYPE

_ORDER = {"RNN": [0], "LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2]}
"""ONNX's places of the gates in the order of the library."""
_USUAL = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
_FUNCTIONS = {"tanh": "tanh", "sigmoid": "σ", "relu": "relu"}
_OPTIONS = ("clip", "input_forget", "activation_alpha", "activation_beta")
_BY_TIME = (1, 0, 2)  # the model has time before the batch, the program the batch before time


@dataclass(frozen=True)
class _Direction:
    """One direction of a layer: what h and c are called, its weights, functions, and how it begins."""

    name: str
    cell: str
    place: int
    backward: bool
    weights: Mapping[str, Array]
    functions: Sequence[str]
    starts: Sequence[str]  # what h and c are before the first step, as they are read at b and j

    @property
    def before(self) -> str:
        """The time of the step before."""
        return "t+1" if self.backward else "t-1"


def _recurrent(call: Call) -> Sequence[Value]:
    kind = call.operator
    by_batch = bool(call.get("layout", 0))
    data = call.tensor(0).transposed(_BY_TIME) if by_batch else call.tensor(0)
    stacked = [call.value(position) for position in (1, 2)]
    if data.rank != 3 or not all(isinstance(value, Constant) for value in stacked):
        raise CannotSay("its weights must be known, and its data have three axes")
    directions, _, units = known_sizes(stacked[1])
    _check(call, data.shape[0], by_batch)
    starts = [_start(call, position, by_batch) for position in ((5, 6) if kind == "LSTM" else (5,))]
    named = [_direction(call, number, directions, units, starts) for number in range(directions)]
    source = call.full(data, _BY_TIME)
    for direction in named:
        _write(call, kind, direction, source, units)
    results = _results(call, data.shape, named, units)
    if by_batch:  # time after the batch, directions before the units
        results = [r if r is None else r.transposed((2, 0, 1, 3) if r.rank == 4 else (1, 0, 2)) for r in results]
    return [found if found is not None else Constant(numpy.zeros(0), "unused") for found in results]


def _check(call: Call, length: Dim, by_batch: bool) -> None:
    """Raise `CannotSay` for what is not read."""
    if any(call.get(option) for option in _OPTIONS):
        raise CannotSay(f"{' or '.join(o for o in _OPTIONS if call.get(o))} is not known")
    if call.given(4):
        lengths = call.value(4)
        if not (isinstance(lengths, Constant) and isinstance(length, int) and (lengths.array == length).all()):
            raise CannotSay("its sequences have lengths of their own")
    if call.get("direction", "forward") != "forward" and isinstance(length, Size):
        raise CannotSay("it runs backwards over an open length")


def _is_zero(value: Value) -> bool:
    if isinstance(value, Tensor):
        return value.filled_with == 0
    return isinstance(value, Constant) and not value.is_open and not value.array.any()


def _start(call: Call, position: int, by_batch: bool) -> Tensor | None:
    """The state before the first step [directions, batch, units]; None for zeros."""
    if not call.given(position) or _is_zero(call.value(position)):
        return None
    found = call.full(call.tensor(position))
    return found.transposed(_BY_TIME) if by_batch else found


def _direction(call: Call, number: int, count: int, units: int, starts: Sequence[Tensor | None]) -> _Direction:
    kind = call.operator
    gates = _ORDER[kind]
    whole, recurrent = (_array(call, position)[number] for position in (1, 2))
    biases = _array(call, 3)[number] if call.given(3) else numpy.zeros(2 * len(gates) * units, whole.dtype)
    if len(whole) != len(gates) * units or len(biases) != 2 * len(gates) * units:
        raise CannotSay(f"its weights do not fit {units} units")

    def by_gate(array: Array) -> Array:
        return array.reshape(len(gates), units, *array.shape[1:])[gates]

    inner, outer = by_gate(biases[: len(biases) // 2]), by_gate(biases[len(biases) // 2 :])
    weights = {"U": numpy.moveaxis(by_gate(whole), -1, 0), "W": numpy.moveaxis(by_gate(recurrent), -1, 0)}
    weights |= {"B": inner, "C": outer} if kind == "GRU" else {"B": inner + outer}
    if call.given(7) and not _is_zero(call.value(7)):
        peepholes = _array(call, 7)[number]
        if len(peepholes) != 3 * units:
            raise CannotSay(f"its peepholes do not fit {units} units")
        weights["P"] = peepholes.reshape(3, units)
    if kind == "RNN":
        weights = {name: numpy.squeeze(array, -2) for name, array in weights.items()}
    asked = list(call.get("activations") or _USUAL[kind] * count)
    usual = len(_USUAL[kind])
    functions = [str(f.decode() if isinstance(f, bytes) else f).lower() for f in asked][number * usual :][:usual]
    if len(functions) != usual or not set(functions) <= set(_FUNCTIONS):
        raise CannotSay(f"the activations {', '.join(functions)} are not known")
    direction = str(call.get("direction", "forward"))
    backward = direction == "reverse" or (direction == "bidirectional" and number == 1)
    give = call.program.names.give
    name = call.name() if count == 1 else give(f"{call.name()}_{'backward' if backward else 'forward'}")
    cell = give(f"{name}_cell") if kind == "LSTM" else ""
    begin = ["0" if start is None else start.read([str(number), "b", "j"]) for start in starts]
    return _Direction(name, cell, number, backward, weights, functions, begin)


def _array(call: Call, position: int) -> Array:
    found = call.value(position)
    if not isinstance(found, Constant) or found.is_open:
        raise CannotSay("its weights must be known")
    return found.array


def _write(call: Call, kind: str, direction: _Direction, source: Tensor, units: int) -> None:
    """The statements of one direction: a call of the library's layer, or a recurrence."""
    usual = [_FUNCTIONS[name.lower()] for name in _USUAL[kind]]
    functions = [_FUNCTIONS[name] for name in direction.functions]
    plain = not direction.backward and set(direction.starts) == {"0"} and source.dtype == LAYERS_DTYPE
    plain = plain and "P" not in direction.weights
    after = kind != "GRU" or call.get("linear_before_reset", 0)
    state = direction.cell
    if plain and after and (functions == usual or (kind == "RNN" and functions == ["relu"])):
        option = ", activation relu" if functions == ["relu"] else ""
        given = f"{direction.name}, {state}" if state else direction.name
        call.program.write(f"{given} = {kind}({source.name}, units {units}{option})")
        call.program.weights |= {f"{direction.name}.{key}": array for key, array in direction.weights.items()}
        return
    weights = {
        key: call.program.parameter(Constant(numpy.ascontiguousarray(array), f"{direction.name}_{key}", True)).name
        for key, array in direction.weights.items()
    }
    first = "-1" if not direction.backward else str(source.shape[0])
    begun = zip([direction.name, *([state] if state else [])], direction.starts, strict=True)
    call.program.write(*(f"{name}[b,{first},j] = {start}" for name, start in begun))
    lstm = _lstm_with_peepholes if "P" in direction.weights else _lstm
    steps = {"RNN": _rnn, "LSTM": lstm, "GRU": _gru_after if after else _gru_before}[kind]
    names = {part: call.program.names.give(f"{direction.name}_{part}") for part in _PARTS[kind]}
    names |= {"h": direction.name, "c": state, "x": source.name, "p": direction.before, **weights}
    for index, function in enumerate(functions):
        names["fgh"[index] + "_"] = function
    call.program.write(*(line.format(**names) for line in steps))


_PARTS = {"RNN": (), "LSTM": ("a",), "GRU": ("a", "w", "r", "z", "n", "q")}
_rnn = ("{h}[b,t,j] = {f_}({W}[K,j] * {h}[b,{p},K] + {U}[I,j] * {x}[b,t,I] + {B}[j])",)
_lstm = (
    "{a}[b,t,g,j] = {W}[K,g,j] * {h}[b,{p},K] + {U}[I,g,j] * {x}[b,t,I] + {B}[g,j]",
    "{c}[b,t,j] = {f_}({a}[b,t,1,j]) * {c}[b,{p},j] + {f_}({a}[b,t,0,j]) * {g_}({a}[b,t,2,j])",
    "{h}[b,t,j] = {f_}({a}[b,t,3,j]) * {h_}({c}[b,t,j])",
)
_lstm_with_peepholes = (  # of input, output and forget gate (Gers and Schmidhuber 2000)
    _lstm[0],
    "{c}[b,t,j] = {f_}({a}[b,t,1,j] + {P}[2,j] * {c}[b,{p},j]) * {c}[b,{p},j]"
    " + {f_}({a}[b,t,0,j] + {P}[0,j] * {c}[b,{p},j]) * {g_}({a}[b,t,2,j])",
    "{h}[b,t,j] = {f_}({a}[b,t,3,j] + {P}[1,j] * {c}[b,t,j]) * {h_}({c}[b,t,j])",
)
_gates = (
    "{r}[b,t,j] = {f_}({a}[b,t,0,j] + {w}[b,t,0,j])",
    "{z}[b,t,j] = {f_}({a}[b,t,1,j] + {w}[b,t,1,j])",
)
_gru_after = (  # the reset gate after the product with the state
    "{a}[b,t,g,j] = {U}[I,g,j] * {x}[b,t,I] + {B}[g,j]",
    "{w}[b,t,g,j] = {W}[K,g,j] * {h}[b,{p},K] + {C}[g,j]",
    *_gates,
    "{n}[b,t,j] = {g_}({a}[b,t,2,j] + {r}[b,t,j] * {w}[b,t,2,j])",
    "{h}[b,t,j] = (1 - {z}[b,t,j]) * {n}[b,t,j] + {z}[b,t,j] * {h}[b,{p},j]",
)
_gru_before = (  # and before it
    *_gru_after[:2],
    *_gates,
    "{q}[b,t,j] = {r}[b,t,j] * {h}[b,{p},j]",
    "{n}[b,t,j] = {g_}({a}[b,t,2,j] + {W}[K,2,j] * {q}[b,t,K] + {C}[2,j])",
    _gru_after[-1],
)


def _results(call: Call, shape: Sequence[Dim], directions: Sequence[_Direction], units: int) -> list[Tensor | None]:
    """All states [time, directions, batch, units], and the last ones of h and of c [directions, batch, units]."""
    length, batch = shape[:2]
    dtype = call.tensor(0).dtype
    count = len(directions)
    wanted = [bool(name) for name in call.outputs]
    whole = Tensor(directions[0].name, (length, count, batch, units), (2, 0, 3), dtype)
    found: list[Tensor | None] = [whole]
    if count > 1:
        whole = Tensor(call.name(), whole.shape, (2, 0, 1, 3), dtype)
        if wanted[0]:
            call.program.write(*(f"{whole.name}[b,t,{d.place},j] = {d.name}[b,t,j]" for d in directions))
        found = [whole if wanted[0] else None]
    for position in range(1, len(wanted)):
        found.append(_last(call, position, directions, shape, units) if wanted[position] else None)
    return found


def _last(call: Call, position: int, directions: Sequence[_Direction], shape: Sequence[Dim], units: int) -> Tensor:
    """The state after the last step of each direction: of h for output 1, of c for output 2."""
    length, batch = shape[:2]
    if isinstance(length, Size):
        raise CannotSay("its last state is asked for, at an open length")
    result = Tensor(call.name(position), (len(directions), batch, units), (1, 0, 2), call.tensor(0).dtype)
    if len(directions) == 1:
        result = replace(result, order=(1, 2))
    for direction in directions:
        name = direction.name if position == 1 else direction.cell
        end = 0 if direction.backward else length - 1
        call.program.write(f"{result.read([str(direction.place), 'b', 'j'])} = {name}[b,{end},j]")
    return result


RULES: dict[str, Callable[[Call], Sequence[Value]]] = dict.fromkeys(_ORDER, _recurrent)
"""RNN, LSTM and GRU."""
