"""`maj verify`: the compiled module against the interpreter, which is the meaning of a program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .compiling import DtypeOption, ExactOption, RoadOption, SeedOption, TargetOption, WeightsOption
from .console import print_json, print_table
from .failures import MISTAKES
from .programs import ModeOption, ProgramFile, checked_program
from .sizes import SizeOption, parse_sizes

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
"""Largest error that passes, in parts of the output's largest value; other dtypes must agree."""


@dataclass(frozen=True)
class _Agreement:
    name: str
    shape: tuple[int, ...]
    largest: float
    error: float
    allowed: float

    @property
    def relative(self) -> float:
        return self.error / self.largest if self.largest else self.error

    @property
    def passes(self) -> bool:
        return self.relative <= self.allowed  # false for NaN


def verify(
    program: ProgramFile,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples in the random inputs.")] = 2,
    seed: SeedOption = 0,
    weights: WeightsOption = None,
    size: SizeOption = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", min=0.0, help="Largest error, in parts of the largest value.")
    ] = None,
    target: TargetOption = "cpu",
    dtype: DtypeOption = "float32",
    mode: ModeOption = "inferring",
    exact: ExactOption = False,
    road: RoadOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare the compiled program with its meaning.

    Runs it and the interpreter, which computes in float64, on equal random inputs.  So it shows what
    --dtype costs.

    The exit status is 1 if an output differs by more than the tolerance.
    """
    from ..api import compile_program
    from ..compiler.codegen.asked import asked_for
    from ..compiler.graph import Graph
    from ..compiler.interpreter import evaluate
    from ..precision import OF_FLOAT32, precision_called

    checked = checked_program(program, mode).require()
    sizes = parse_sizes(size)
    asked = asked_for(exact, road)
    precision = precision_called(dtype)
    with compile_program(
        checked, target=target, weights=weights, seed=seed, exact=asked.exact, road=asked.road, dtype=precision
    ) as module:
        inputs = module.random_inputs(batch, sizes=sizes, seed=seed)
        result = module(*(inputs[tensor.name] for tensor in module.inputs), seed=seed)
        names = [tensor.name for tensor in module.outputs]
        given = {name: array.copy() for name, array in module.weights.items()}
    outputs = dict(zip(names, [result] if len(names) == 1 else result, strict=True))
    expected = evaluate(Graph.from_program(checked), inputs, given, seed=seed, keep=names)
    tolerances = TOLERANCES | {"float32": OF_FLOAT32[precision]}
    found = [
        _compare(n, o, expected[n], tolerances.get(str(o.dtype), 0.0) if tolerance is None else tolerance)
        for n, o in outputs.items()
    ]
    _report(found, as_json)
    if not all(agreement.passes for agreement in found):
        raise typer.Exit(MISTAKES)


def _compare(name: str, output: Array, expected: Array, allowed: float) -> _Agreement:
    import numpy

    got, wanted = output.astype(numpy.float64), expected.astype(numpy.float64)
    if got.shape != wanted.shape:
        return _Agreement(name, got.shape, 0.0, float("nan"), allowed)
    same = (got == wanted) | (numpy.isnan(got) & numpy.isnan(wanted))
    error = numpy.abs(numpy.where(same, 0.0, got - wanted))
    finite = numpy.abs(wanted[numpy.isfinite(wanted)])
    return _Agreement(name, got.shape, float(finite.max(initial=0.0)), float(error.max(initial=0.0)), allowed)


def _report(found: list[_Agreement], as_json: bool) -> None:
    if as_json:
        entries = [
            {
                "name": a.name, "shape": list(a.shape), "largest": a.largest, "error": a.error,
                "relative_error": a.relative, "allowed": a.allowed, "ok": a.passes,
            }
            for a in found
        ]  # fmt: skip
        print_json({"ok": all(a.passes for a in found), "outputs": entries})
        return
    rows = [
        [
            a.name, "×".join(map(str, a.shape)) or "1", f"{a.largest:.4g}", f"{a.error:.2e}", f"{a.relative:.2e}",
            f"{a.allowed:.0e}" if a.allowed else "0", "agrees" if a.passes else "DIFFERS",
        ]
        for a in found
    ]  # fmt: skip
    print_table(["output", "shape", "largest value", "largest error", "relative", "allowed", "verdict"], rows, left=2)
