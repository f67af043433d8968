"""The program of a whole training step: forward, backward, update.

    losses, metrics          as the program says
    gradients                of each loss with respect to what it trains, summed
    gradient.norm            the norm of all gradients together
    step.taken               whether all losses and the norm are finite
    parameters, state        take their next values where the step is taken

Learning rate and number of the step (1 for the first) are single numbers among the inputs.

A step may be one of several parts of a batch, whose gradients are added up (`accumulate`): each
part counts by its `share`, the `first` forgets what was, and the `last` updates.  State that the
program itself updates goes on from part to part aside, and is kept with the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...dsl.equations import (
    FLOATS,
    Apply,
    Axis,
    Equation,
    Expression,
    Input,
    Literal,
    Operation,
    Parameter,
    Program,
    Read,
    Recurrence,
    State,
    Store,
)
from ...dsl.integers import Integer
from ..gradients import NoGradient, differentiate, restricted
from ..gradients.scalar import real
from ..rewriting import new_name, plain, rename_operands
from . import norm
from .rules import Rule, apply

RuleOf = Callable[[str, Parameter], Rule]
"""The optimiser of a parameter, given its name."""


@dataclass(frozen=True)
class Choices:
    """What is trained, and how.

    `losses` are the names of those that are followed, all if None.  Parameters in `frozen` stay as
    they are; `rates` are factors of the learning rate.  `outputs` are further tensors to be given.
    """

    losses: tuple[str, ...] | None = None
    frozen: frozenset[str] = frozenset()
    rates: Mapping[str, float] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    accumulate: bool = False


@dataclass(frozen=True)
class Step:
    """A program that is a training step, and what its caller must know, as JSON values.

    `about` has the names of the inputs `rate` and `step` (and `share`, `first`, `last`), of the
    outputs: `losses` and `metrics` by name, `norm` and `taken`; of the `outputs` asked for, and
    by parameter of its `gradients` and of the state that belongs to the optimiser, `slots`.
    """

    program: Program
    about: dict[str, Any]


def training_step(program: Program, rule: RuleOf, choices: Choices | None = None) -> Step:
    """The step of a program that was checked for training.

    Raises `NoGradient` if there is no loss, or no parameter that one trains.
    """
    return _Builder(program, rule, choices or Choices()).step()


def trained_parameters(program: Program) -> tuple[str, ...]:
    """Names of the parameters that training may change."""
    found = program.operations.items()
    return tuple(n for n, o in found if isinstance(o, Parameter) and o.trained and o.dtype in FLOATS)


class _Builder:
    def __init__(self, program: Program, rule: RuleOf, choices: Choices) -> None:
        self.program = program
        self.rule = rule
        self.choices = choices
        self.operations: dict[str, Operation] = dict(program.operations)
        self.initializers: dict[str, Operation] = dict(program.initializers)
        self.inputs: list[str] = list(program.inputs)
        self.taken = {*program.operations, *program.initializers}
        self.stores: list[Store] = []
        self.rates: dict[tuple[float, str], str] = {}

    def step(self) -> Step:
        choices = self.choices
        losses = self._losses()
        if choices.accumulate:
            share, first, last = (
                self._input(n, d) for n, d in (("step.share", "float64"), ("step.first", "bool"), ("step.last", "bool"))
            )
            self._keep_state_aside(first)
        gradients = self._gradients(losses)
        if choices.accumulate:
            gradients = {name: self._added_up(name, found, share, first) for name, found in gradients.items()}
        size = self._norm(gradients)
        condition = self._add("step.taken", norm.finite(
            [(tensor, self.program.tensor(tensor).dtype) for tensor in losses.values()]
            + [(size, self._tensor(size).dtype)],
            [last] if choices.accumulate else [],
        ))  # fmt: skip
        wide = "float64" if any(self._tensor(name).dtype == "float64" for name in gradients) else "float32"
        self.rate, self.number = self._input("step.rate", wide), self._input("step.number", "int64")
        slots = {name: self._update(name, gradient, size, condition) for name, gradient in gradients.items()}
        self.stores += [Store(state, value, condition) for state, value in self.program.updates.items()]
        about = {
            "rate": self.rate,
            "step": self.number,
            "losses": losses,
            "metrics": {name: name for name in self.program.metrics},
            "gradients": gradients,
            "norm": size,
            "taken": condition,
            "outputs": list(choices.outputs),
            "slots": slots,
            **({"share": share, "first": first, "last": last} if choices.accumulate else {}),
        }
        return Step(self._finished([*losses.values(), *self.program.metrics, size, condition, *choices.outputs]), about)

    # -- the parts of the step -----------------------------------------------------------------

    def _losses(self) -> dict[str, str]:
        """The losses that are followed: name -> tensor."""
        program, asked = self.program, self.choices.losses
        for name in asked or ():
            if name not in program.losses:
                raise NoGradient(
                    f"the program has no loss {name}; its losses are {', '.join(program.losses) or 'none'}"
                )
        found = {name: parts[0] for name, parts in program.losses.items() if asked is None or name in asked}
        if not found:
            raise NoGradient("the program has no loss to be made small; write `loss J = …`")
        for name in self.choices.outputs:
            if name not in program.operations or isinstance(program.operations[name], Recurrence):
                raise NoGradient(f"the program has no tensor {name}")
        return found

    def _gradients(self, losses: Mapping[str, str]) -> dict[str, str]:
        """The tensor of each trained parameter's gradient; losses that train the same are differentiated together."""
        trained = [name for name in trained_parameters(self.program) if name not in self.choices.frozen]
        together: dict[tuple[str, ...], list[str]] = {}
        for loss, tensor in losses.items():
            own = self.program.losses[loss][1:]
            together.setdefault(tuple(n for n in trained if not own or n in own), []).append(tensor)
        parts: dict[str, list[str]] = {}
        for wanted, tensors in together.items():
            seeds: dict[str, Expression] = {name: real(1, self.program.tensor(name).dtype) for name in tensors}
            made, names = differentiate(self.operations, seeds, wanted)
            self.operations |= made
            self.taken |= made.keys()
            for name, gradient in names.items():
                if not _is_zero(made.get(gradient)):
                    parts.setdefault(name, []).append(gradient)
        if not parts:
            raise NoGradient("no loss depends on a parameter that is trained, so there is nothing to train")
        return {name: self._sum(name, parts[name]) for name in trained if name in parts}

    def _sum(self, parameter: str, gradients: list[str]) -> str:
        """The sum of a parameter's gradients."""
        if len(gradients) == 1:
            return gradients[0]
        axes, dtype = self._axes(parameter), self._tensor(parameter).dtype
        total: Expression = _read(gradients[0], axes, dtype)
        for name in gradients[1:]:
            total = Apply("add", (total, _read(name, axes, dtype)), dtype)
        return self._add(f"d_{parameter}", Equation(axes, total, dtype))

    def _norm(self, gradients: Mapping[str, str]) -> str:
        """The norm of all gradients; the squares of each stand behind it, where it is still in the cache."""
        parts: list[tuple[str, Equation]] = []
        behind: dict[str, tuple[str, Equation]] = {}
        for name, gradient in gradients.items():
            tensor = self._tensor(gradient)
            equation = norm.squares(gradient, tensor.shape, tensor.dtype)
            label = new_name(f"{name}.squares", self.taken)
            self.taken.add(label)
            parts.append((label, equation))
            behind[gradient] = label, equation
        ordered: dict[str, Operation] = {}
        for name, operation in self.operations.items():
            ordered[name] = operation
            if name in behind:
                label, equation = behind[name]
                ordered[label] = equation
        self.operations = ordered
        made, result = norm.norm(parts, self.taken)
        self.operations |= made
        return result

    def _update(self, parameter: str, gradient: str, size: str, condition: str) -> list[str]:
        """The optimiser's equations for one parameter; names of the state that it keeps."""
        operation = self._tensor(parameter)
        assert isinstance(operation, Parameter)
        arguments = {
            "weight": parameter,
            "gradient": gradient,
            "rate": self._rate(self.choices.rates.get(parameter, 1.0), operation.dtype),
            "step": self.number,
            "norm": self._in_dtype(size, operation.dtype),
        }
        made = apply(self.rule(parameter, operation), parameter, arguments, self.taken)
        self.operations |= made.operations
        self.initializers |= made.initializers
        self.stores += [Store(slot, value, condition) for slot, value in made.slots.items()]
        self.stores.append(Store(parameter, made.result, condition))
        return list(made.slots)

    def _finished(self, outputs: list[str]) -> Program:
        """The program of all this, without what it does not need."""
        whole = replace(
            self.program,
            operations=self.operations,
            inputs=tuple(self.inputs),
            initializers=self.initializers,
        )
        shown = tuple(dict.fromkeys(outputs))
        needed = {name for store in self.stores for name in (store.target, store.source)}
        program = restricted(whole, (*shown, *sorted(needed)))
        return replace(program, outputs=shown, stores=tuple(self.stores))

    # -- several parts of a batch --------------------------------------------------------------

    def _keep_state_aside(self, first: str) -> None:
        """Make the program read state that the part before left, and keep what it makes of it aside."""
        for state, value in self.program.updates.items():
            operation = self._tensor(state)
            assert isinstance(operation, State)
            axes, dtype = self._axes(state), operation.dtype
            aside = self._add(f"{state}.pending", operation)
            choice = Apply(
                "select", (Read(first, (), "bool"), _read(state, axes, dtype), _read(aside, axes, dtype)), dtype
            )
            current = new_name(f"{state}.current", self.taken)
            self.taken.add(current)
            renamed = {name: rename_operands(o, {state: current}) for name, o in self.operations.items()}
            before = {name: o for name, o in renamed.items() if isinstance(o, (Input, Parameter, State))}
            self.operations = {**before, current: Equation(axes, choice, dtype), **renamed}
            self.stores.append(Store(aside, value))

    def _added_up(self, parameter: str, gradient: str, share: str, first: str) -> str:
        """The sum of a parameter's gradients over the parts of the batch so far."""
        operation = self._tensor(parameter)
        assert isinstance(operation, Parameter)
        axes, dtype = self._axes(parameter), operation.dtype
        zero = new_name(f"{parameter}.gradient:initial", self.taken)
        self.taken.add(zero)
        self.initializers[zero] = Equation(axes, real(0, dtype), dtype)
        kept = self._add(f"{parameter}.gradient", State(operation.shape, dtype, zero))
        part = Apply("mul", (Read(self._in_dtype(share, dtype), (), dtype), _read(gradient, axes, dtype)), dtype)
        more = Apply("add", (_read(kept, axes, dtype), part), dtype)
        total = Apply("select", (Read(first, (), "bool"), part, more), dtype)
        result = self._add(f"{parameter}.gradient.next", Equation(axes, total, dtype))
        self.stores.append(Store(kept, result))
        return result

    # -- operations ----------------------------------------------------------------------------

    def _add(self, name: str, operation: Operation) -> str:
        name = new_name(name, self.taken)
        self.taken.add(name)
        self.operations[name] = operation
        return name

    def _input(self, name: str, dtype: str) -> str:
        """A single number that the caller gives."""
        made = self._add(name, Input((), dtype, batched=False))
        self.operations = {made: self.operations.pop(made), **self.operations}
        self.inputs.append(made)
        return made

    def _tensor(self, name: str) -> Any:
        return self.operations[name]

    def _axes(self, name: str) -> tuple[Axis, ...]:
        shape: tuple[Integer, ...] = self._tensor(name).shape
        return tuple(Axis(f"i{k}", size) for k, size in enumerate(shape))

    def _rate(self, factor: float, dtype: str) -> str:
        """The learning rate times a factor, in a dtype."""
        if factor == 1:
            return self._in_dtype(self.rate, dtype)
        if (factor, dtype) not in self.rates:
            given = self._tensor(self.rate).dtype
            value: Expression = Apply("mul", (Read(self.rate, (), given), real(factor, given)), given)
            value = value if dtype == given else Apply("cast", (value,), dtype)
            self.rates[factor, dtype] = self._add(f"{self.rate}.times", Equation((), value, dtype))
        return self.rates[factor, dtype]

    def _in_dtype(self, name: str, dtype: str) -> str:
        """A single number in a dtype."""
        found: str = self._tensor(name).dtype
        if found == dtype:
            return name
        converted = f"{name}.{dtype}"
        if converted not in self.operations:
            self._add(converted, Equation((), Apply("cast", (Read(name, (), found),), dtype), dtype))
        return converted


def _read(name: str, axes: tuple[Axis, ...], dtype: str) -> Read:
    return Read(name, tuple(plain(axis.name) for axis in axes), dtype)


def _is_zero(operation: Operation | None) -> bool:
    """Whether a gradient says that nothing depends on its parameter."""
    return (
        isinstance(operation, Equation)
        and operation.combiner is None
        and isinstance(operation.body, Literal)
        and operation.body.value == 0
    )
