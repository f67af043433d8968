"""The gradient of a program as a program: what `maj grad` prints and `majuscule.gradient` compiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...dsl.equations import FLOATS, Expression, Input, Operation, Parameter, Program, Read, Recurrence, operands
from ..rewriting import new_name, plain
from .reverse import differentiate
from .scalar import real


class NoGradient(ValueError):
    """A tensor that cannot be differentiated, or that nothing can be differentiated with respect to."""


@dataclass(frozen=True)
class Gradients:
    """A program with adjoints.

    `tensors` maps each tensor to the one that holds its gradient.  `cotangents` maps each
    result that is no single number to the input by which it is multiplied, element by element,
    before everything is summed.  `adjoints` maps every tensor that holds an adjoint to the one
    of which it is the adjoint.
    """

    program: Program
    tensors: Mapping[str, str]
    cotangents: Mapping[str, str]
    adjoints: Mapping[str, str]


def gradients(
    program: Program, of: Sequence[str] | None = None, with_respect_to: Iterable[str] | None = None
) -> Gradients:
    """The program with the gradients of the sum of the results `of` as further outputs.

    `of` are names of tensors or losses: by default all losses of the program, or else its
    outputs.  `with_respect_to` are names of tensors, by default all trained parameters, or,
    where there are none, all inputs of floats.  Raises `NoGradient` for names that do not
    exist and tensors that are no floats.
    """
    results = _results(program, of)
    wanted = _wanted(program, with_respect_to, results)
    inputs: dict[str, Operation] = {}
    seeds: dict[str, Expression] = {}
    cotangents: dict[str, str] = {}
    for result in results:
        tensor = program.tensor(result)
        if not tensor.shape:
            seeds[result] = real(1, tensor.dtype)
            continue
        name = new_name(f"d_{result}", program.operations.keys() | inputs.keys())
        inputs[name] = Input(tensor.shape, tensor.dtype, _is_batched(program, result))
        cotangents[result] = name
        seeds[result] = Read(name, tuple(plain(f"i{k}") for k in range(len(tensor.shape))), tensor.dtype)
    made, names = differentiate({**program.operations, **inputs}, seeds, wanted)
    outputs = dict.fromkeys((*program.outputs, *results, *names.values()))
    derived = replace(
        program,
        operations={**inputs, **program.operations, **made},
        inputs=(*program.inputs, *inputs),
        outputs=tuple(outputs),
    )
    adjoints = {f"d_{name}": name for name in program.operations if f"d_{name}" in {**inputs, **made}}
    return Gradients(derived, names, cotangents, adjoints)


def only(found: Gradients) -> Program:
    """The program with the gradients as its only outputs, without what they do not need."""
    return restricted(found.program, tuple(dict.fromkeys(found.tensors.values())))


def restricted(program: Program, outputs: tuple[str, ...]) -> Program:
    """The program with other outputs, without operations that they do not need."""
    needed: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += operands(program.operations[name])
    needed |= _measured(program, needed)
    operations = {name: operation for name, operation in program.operations.items() if name in needed}
    return replace(
        program,
        operations=operations,
        inputs=tuple(name for name in program.inputs if name in needed),
        outputs=outputs,
        initializers=program.initializers,
        updates={},
        losses={},
        metrics=(),
    )


def _measured(program: Program, needed: set[str]) -> set[str]:
    """Inputs that must stay because a size of what is needed is known from them only."""
    shapes = [operation.shape for n in needed if not isinstance(operation := program.operations[n], Recurrence)]
    open_sizes = {atom for shape in shapes for size in shape for atom in size.atoms()}
    kept: set[str] = set()
    for name in sorted(program.inputs, key=lambda name: name not in needed):
        found = open_sizes & {size.single_atom for size in program.tensor(name).shape}
        if found:
            kept.add(name)
            open_sizes -= found
    return kept


def _is_batched(program: Program, name: str) -> bool:
    """Whether the first axis of a tensor is the batch of some input."""
    shape = program.tensor(name).shape
    batches = {
        operation.shape[0]
        for operation in map(program.tensor, program.inputs)
        if isinstance(operation, Input) and operation.batched
    }
    return bool(shape) and shape[0] in batches


def _results(program: Program, of: Sequence[str] | None) -> tuple[str, ...]:
    if of is None:
        losses = tuple(parts[0] for parts in program.losses.values())
        of = losses or program.outputs
    found = tuple(dict.fromkeys(_tensor(program, name) for name in of))
    for name in found:
        if program.tensor(name).dtype not in FLOATS:
            raise NoGradient(f"{name} is {program.tensor(name).dtype}: only floats have gradients")
    if not found:
        raise NoGradient("the program has no result to differentiate")
    return found


def _wanted(program: Program, names: Iterable[str] | None, results: Sequence[str]) -> tuple[str, ...]:
    if names is not None:
        found = tuple(dict.fromkeys(_tensor(program, name) for name in names))
        for name in found:
            if program.tensor(name).dtype not in FLOATS:
                raise NoGradient(f"{name} is {program.tensor(name).dtype}: there is no gradient with respect to it")
        return found
    operations = program.operations
    found = tuple(n for n, o in operations.items() if isinstance(o, Parameter) and o.trained and o.dtype in FLOATS)
    if not found:
        found = tuple(n for n, o in operations.items() if isinstance(o, Input) and o.dtype in FLOATS)
    if not found:
        raise NoGradient("the program has no trained parameter and no input of floats")
    return found


def _tensor(program: Program, name: str) -> str:
    """The tensor that a name of a loss or a tensor means."""
    if name in program.losses:
        return program.losses[name][0]
    if name not in program.operations or isinstance(program.operations[name], Recurrence):
        raise NoGradient(f"the program has no tensor {name}")
    return name
