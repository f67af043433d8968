"""Optimisers by the text of their call: from `"Momentum(momentum 0.9)"` to an equation for every parameter.

An optimiser is a layer of the language, of the standard library or of the user's own file,
that is called as `Momentum(W, G, rate: η, step: t, …)` and returns the new W.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from .dsl import check_text
from .dsl.diagnostics import SourceErrors
from .dsl.equations import Parameter

if TYPE_CHECKING:
    from .compiler.training import Rule

Optimiser = str | Mapping[str, str]
"""The call of an optimiser, or one for each pattern of parameters' names, the first that fits."""

_OWN = "program.maj"


class Rules:
    """The optimisers of a training: one rule for each shape of parameters, made when it is first asked for."""

    def __init__(
        self,
        optimiser: Optimiser,
        *,
        source: str = "",
        folder: Path | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        """`source` is the text of the program, whose layers come before those of the library; `folder` is where
        its imports are looked for.  Gradients are cut to `clip_value`, or all together to the norm `clip_norm`.
        """
        self._calls = {"*": optimiser} if isinstance(optimiser, str) else dict(optimiser)
        self._source = source
        self._folder = folder
        self._clips = [
            f"{layer}(G, {'norm: norm, ' if layer == 'ClipByNorm' else ''}limit: {limit!r})"
            for layer, limit in (("ClipByValue", clip_value), ("ClipByNorm", clip_norm))
            if limit is not None
        ]
        self._known: dict[tuple[str, tuple[int, ...], str], Rule] = {}
        self._own: dict[str, bool] = {}

    def __call__(self, name: str, parameter: Parameter) -> Rule:
        """The rule of a parameter; raises `SourceErrors` if its optimiser cannot be called so."""
        shape = tuple(int(size.constant or 0) for size in parameter.shape)
        call = self.call_of(name)
        key = call, shape, parameter.dtype
        if key not in self._known:
            self._known[key] = self._rule(call, shape, parameter.dtype)
        return self._known[key]

    def call_of(self, name: str) -> str:
        """The call of the optimiser of a parameter; ValueError if no pattern fits its name."""
        for pattern, call in self._calls.items():
            if fnmatchcase(name, pattern):
                return call
        raise ValueError(f'no optimiser is given for the parameter {name}; add one for the pattern "*"')

    def _rule(self, call: str, shape: Sequence[int], dtype: str) -> Rule:
        from .compiler.training import Rule

        layer, _, options = call.strip().partition("(")
        layer = layer.strip()
        options = options.rstrip().removesuffix(")").strip()
        sizes = ", ".join(map(str, shape))
        lines = [
            f"Given W[{sizes}]: {dtype} without batch, G[{sizes}]: {dtype} without batch",
            f"Given rate[]: {dtype} without batch, step[]: int64 without batch, norm[]: {dtype} without batch",
        ]
        gradient = "G"
        for number, clip in enumerate(self._clips):
            lines.append(f"G_{number} = {clip.replace('(G,', f'({gradient},')}")
            gradient = f"G_{number}"
        lines.append(f"next = {layer}(W, {gradient}, rate: rate, step: step{', ' + options if options else ''})")
        lines.append("output next")
        text = "\n".join(lines) + "\n"
        name = f"optimiser {call.strip()}"
        files = {_OWN: self._source}
        if self._own.get(layer, bool(self._source)):
            own = f'from "{_OWN}" import {layer}\n{text}'
            result = check_text(own, name, mode="training", folder=self._folder, files=files)
            self._own[layer] = not any(found.code == "E222" for found in result.errors)
        if not self._own.get(layer, False):
            result = check_text(text, name, mode="training", folder=self._folder)
        program = result.require()
        made = program.tensor("next")
        if made.shape != program.tensor("W").shape or made.dtype != dtype:
            raise ValueError(f"the optimiser {layer} gives a tensor of another shape or type than the parameter's")
        arguments = {"weight": "W", "gradient": "G", "rate": "rate", "step": "step", "norm": "norm"}
        return Rule(program, "next", arguments)


__all__ = ["Optimiser", "Rules", "SourceErrors"]
