"""Patterns (rule R21): `INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC`.

A stage applies a layer or a function to the result of the one before.  A list among its
arguments gives one entry to each application in turn, so that hyper-parameters of repeated
blocks are written once: `CONV(filters [64, 128, 256])`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from . import syntax
from .constants import Evaluator, NotConstant
from .context import STEPS_OF_A_STATEMENT
from .diagnostics import error
from .equations import Place
from .session import Session
from .values import FunctionValue, LayerValue, Scope, TensorValue

MAXIMUM_REPEATS = 10_000


def run_pattern(elaborator: Session, pattern: syntax.Pattern, scope: Scope, name: str) -> TensorValue:
    """The tensor at the end of a pattern; intermediate ones are called `name.1`, `name.2`, …"""
    argument = syntax.Argument(pattern.input.place, None, pattern.input)
    tensor = elaborator.tensor_argument(argument, scope, None, f"{name}.0")
    runner = _Runner(elaborator, scope, name, tensor)
    runner.stages(pattern.stages)
    runner.refuse_leftovers()
    return runner.tensor


class _Runner:
    def __init__(self, elaborator: Session, scope: Scope, name: str, tensor: TensorValue) -> None:
        self.elaborator = elaborator
        self.scope = scope
        self.name = name
        self.tensor = tensor
        self.count = 0
        self.turns: dict[Place, int] = {}
        """Place of a list -> entries used so far."""
        self.lists: dict[Place, int] = {}

    def stages(self, stages: tuple[syntax.Stage, ...]) -> None:
        for stage in stages:
            for _ in range(self._repeats(stage)):
                self.elaborator.step(stage.place, STEPS_OF_A_STATEMENT)
                if not self._present(stage):
                    continue
                if stage.layer is None:
                    self.stages(stage.block)
                else:
                    self._apply(stage, stage.layer)

    def _repeats(self, stage: syntax.Stage) -> int:
        if stage.repeat is None:
            return 1
        value = self._next(stage.repeat)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAXIMUM_REPEATS:
            raise error(
                "E701", stage.repeat.place, f"a block is repeated a whole number of times, 0 or more, not {value}"
            )
        return value

    def _present(self, stage: syntax.Stage) -> bool:
        if not stage.optional or stage.present is None:
            return True
        return bool(self._next(stage.present))

    def _next(self, node: syntax.Expr) -> Any:
        """The value of a hyper-parameter; a list gives its entries one after the other."""
        value = Evaluator(self.elaborator, self.scope, words=True).value(node)
        if not isinstance(value, tuple) or isinstance(node, syntax.Group):  # (3, 5) is one pair
            return value
        turn = self.turns.get(node.place, 0)
        self.turns[node.place] = turn + 1
        self.lists[node.place] = len(value)
        if turn >= len(value):
            raise error(
                "E702", node.place, f"this list has {len(value)} "
                                    f"entr{'y' if len(value) == 1 else 'ies'}, but the pattern needs more",
                here="one entry for each time the stage is applied",
            )  # fmt: skip
        return value[turn]

    def refuse_leftovers(self) -> None:
        for place, length in self.lists.items():
            if self.turns[place] < length:
                raise error(
                    "E702", place, f"this list has {length} entries, but the pattern uses only {self.turns[place]}",
                    here="one entry for each time the stage is applied",
                )  # fmt: skip

    def _apply(self, stage: syntax.Stage, layer: syntax.Name) -> None:
        self.count += 1
        hidden = f"pattern#{self.count}"
        scope = Scope(self.scope, prefix=self.scope.prefix, bundle=self.scope.bundle)
        scope.home, scope.suffix, scope.loops = self.scope.home, self.scope.suffix, self.scope.loops
        scope.define(hidden, self.tensor)
        arguments = [syntax.Argument(layer.place, None, syntax.Name(layer.place, hidden))]
        keywords = self._keywords(layer)
        for k, argument in enumerate(stage.arguments):
            keyword, value = self.elaborator.split_keyword(argument, keywords)
            arguments.append(self._entry(scope, argument, keyword, value, k))
        call = syntax.Call(stage.place, layer, tuple(arguments))
        result = self.elaborator.evaluate(f"{self.name}.{self.count}", call, scope, stage.place)
        if not isinstance(result, TensorValue):
            raise error("E703", stage.place, f"{layer.name} does not give one tensor, so it cannot be a stage")
        self.tensor = replace(result, spelling=f"{layer.name} {self.count}")

    def _keywords(self, layer: syntax.Name) -> tuple[str, ...]:
        value = self.elaborator.find_function(self.elaborator.spell(layer, self.scope), layer.place, self.scope)
        if isinstance(value, LayerValue):
            names = tuple(p.keyword for p in value.definition.parameters)
            return (*names, *self.elaborator.size_names(value.definition))
        return value.definition.parameters if isinstance(value, FunctionValue) else ()

    def _entry(
        self, scope: Scope, argument: syntax.Argument, keyword: str | None, value: syntax.Expr, position: int
    ) -> syntax.Argument:
        try:
            found = self._next(value)
        except NotConstant:
            return argument
        hidden = f"argument#{self.count}#{position}"
        scope.define(hidden, found)
        name = None if keyword is None else syntax.Name(argument.place, keyword)
        return syntax.Argument(argument.place, name, syntax.Name(argument.place, hidden))
