"""What an optimiser makes of a parameter: a small checked program, put into the step once for each parameter."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ...dsl.equations import Operation, Parameter, Program, Random, Recurrence, State
from ..rewriting import new_name, rename_operands


@dataclass(frozen=True)
class Rule:
    """An optimiser for parameters of one shape and dtype.

    `program` computes the tensor `result`, the new value, from inputs called as `arguments`
    says (weight, gradient, rate, step, norm), and updates state of its own.
    """

    program: Program
    result: str
    arguments: Mapping[str, str]


@dataclass
class Applied:
    """A rule in the place of one parameter.

    `result` is the tensor of the parameter's new value; `slots` maps the names of state that
    the optimiser keeps for it to the tensors of their next values.
    """

    operations: dict[str, Operation] = field(default_factory=dict)
    initializers: dict[str, Operation] = field(default_factory=dict)
    slots: dict[str, str] = field(default_factory=dict)
    result: str = ""


def apply(rule: Rule, parameter: str, arguments: Mapping[str, str], taken: set[str]) -> Applied:
    """The operations of a rule under names that begin with the parameter's.

    The names are new and are added to `taken`; `arguments` gives the tensors for the rule's arguments.
    """
    program = rule.program
    names = {formal: arguments[argument] for argument, formal in rule.arguments.items()}
    for name in (*program.operations, *program.initializers):
        if name not in names:
            names[name] = new_name(_called(name, rule.result, parameter), taken)
            taken.add(names[name])
    made = Applied(result=names[rule.result])
    for table, old in ((made.operations, program.operations), (made.initializers, program.initializers)):
        for name, operation in old.items():
            if name not in rule.arguments.values():
                table[names[name]] = _renamed(operation, names, names[name])
    made.slots = {names[state]: names[value] for state, value in program.updates.items()}
    return made


def _called(name: str, result: str, parameter: str) -> str:
    """The parameter's name in place of that of the rule's result."""
    if name == result:
        return f"{parameter}.next"
    return f"{parameter}.{name.removeprefix(f'{result}.')}"


def _renamed(operation: Operation, names: Mapping[str, str], name: str) -> Operation:
    if isinstance(operation, Random):  # numbers of its own for each parameter
        return replace(operation, stream=zlib.crc32(name.encode()))
    if isinstance(operation, State | Parameter):
        return replace(operation, initial=names[operation.initial])
    renamed = rename_operands(operation, names)
    assert isinstance(renamed, Recurrence) or renamed.dtype == getattr(operation, "dtype", None)
    return renamed
