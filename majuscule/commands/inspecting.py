"""`maj summary` and `maj explain`: what a program consists of, and what was deduced about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .compiling import ExactOption, RoadOption, TargetOption
from .console import print_json, print_table
from .failures import Failure
from .programs import ModeOption, ProgramFile, load_program, no_tensor, program_path
from .road_tables import Roads, decide, print_roads, roads_json
from .running import ThreadsOption
from .sizes import SizeOption, parse_sizes

if TYPE_CHECKING:
    from ..compiler.codegen.asked import Asked
    from ..compiler.graph import Graph, Note
    from ..compiler.summary import Row, Summary
    from ..dsl.equations import Deduction, Program
    from ..dsl.integers import Integer
    from ..runtime.footprint import Footprint


def summary(
    program: ProgramFile,
    mode: ModeOption = "inferring",
    depth: Annotated[int, typer.Option("--depth", min=0, help="Show statements this many layers deep, too.")] = 0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples that neurons, work and memory count.")] = 1,
    memory: Annotated[
        list[int] | None,
        typer.Option(
            "--memory",
            metavar="N",
            min=1,
            help="Plan the module, too: memory of a call with N samples; may be repeated.",
        ),
    ] = None,
    size: SizeOption = None,
    target: TargetOption = "cpu",
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON, equations uncut.")] = False,
) -> None:
    """Show sizes, weights and work, layer by layer.

    Each row has the layer's equation, its output without the batch, neurons, weights, biases,
    multiply-adds, the bytes of its output and its receptive field in the input.

    With --memory N, what a compiled module holds during a call with N samples: weights, what is
    made of them when it is loaded, working memory, inputs and outputs.  --target, --threads and
    --size are for that.
    """
    from ..compiler.summary import summarize

    checked = load_program(program, mode)
    found = summarize(checked, depth=depth)
    footprints = _footprints(checked, memory, size, target, threads) if memory else {}
    if as_json:
        needed = [{"batch": n, **_footprint_json(footprint)} for n, footprint in footprints.items()]
        print_json(_summary_json(found, batch) | ({"memory": needed} if memory else {}))
        return
    headings = [
        "layer", "equation", "output", "neurons", "weights", "biases", "multiply-adds", "memory", "receptive field",
    ]  # fmt: skip
    rows = [_cells(row, batch) for row in found.rows]
    total = [
        "total", "", "", _count(found.neurons, batch), _count(found.weights), _count(found.biases),
        _count(found.multiply_adds, batch), _bytes(found.memory, batch), "",
    ]  # fmt: skip
    print_table(headings, rows, left=3, elastic=1, total=total)
    typer.echo(f"{_count(found.weights + found.biases)} parameters", nl=False)
    typer.echo(f"; neurons, multiply-adds and memory for {'one sample' if batch == 1 else f'{batch} samples'}")
    if footprints:
        _print_footprints(footprints)


def _footprints(
    program: Program, batches: list[int], size: list[str] | None, target: str, threads: int | None
) -> dict[int, Footprint]:
    """The memory of calls of the compiled program, by the number of samples."""
    from ..compiler.codegen.compiled import planned_manifest
    from ..compiler.graph import Graph
    from ..compiler.pipeline import optimize
    from ..runtime.executor import default_threads
    from ..runtime.footprint import footprint
    from ..runtime.samples import choose_sizes
    from ..targets import named_target

    graph = optimize(Graph.from_program(program), fold_weights=program.mode != "training")
    manifest = planned_manifest(graph, target=named_target(target))
    sizes = parse_sizes(size)
    return {n: footprint(manifest, choose_sizes(manifest, n, sizes), threads or default_threads()) for n in batches}


def _print_footprints(footprints: Mapping[int, Footprint]) -> None:
    parts = ["weights", "prepared", "arena", "inputs", "outputs", "total"]
    rows = [[f"{n:,}", *(_with_unit(getattr(found, part)) for part in parts)] for n, found in footprints.items()]
    typer.echo("\nMemory of a call of the compiled module")
    print_table(["samples", *parts], rows, left=0)


def _footprint_json(found: Footprint) -> dict[str, int]:
    return {f"{part}_bytes": getattr(found, part) for part in (*found.__slots__, "total")}


def _cells(row: Row, batch: int) -> list[str]:
    return [
        "  " * row.depth + row.name,
        row.text,
        "×".join(map(str, row.shape)) or "1",
        _count(row.neurons, batch),
        _count(row.weights),
        _count(row.biases),
        _count(row.multiply_adds, batch),
        _bytes(row.memory, batch),
        _field(row),
    ]


def _field(row: Row) -> str:
    """Receptive fields along the axes, such as `11×11`; with the input's name where there are several."""
    texts = []
    for name, widths in row.receptive_field.items():
        text = "all" if all(w is None for w in widths) else "×".join("all" if w is None else str(w) for w in widths)
        texts.append(text if len(row.receptive_field) == 1 else f"{name} {text}")
    return ", ".join(texts) or "-"


def _count(value: Integer, times: int = 1) -> str:
    value = value * times
    return f"{value.constant:,}" if value.constant is not None else str(value)


def _bytes(value: Integer, times: int = 1) -> str:
    """Bytes with a unit, as far as they are known."""
    size = (value * times).constant
    return f"{value * times} B" if size is None else _with_unit(size)


def _with_unit(size: int) -> str:
    """Bytes with a unit, in thousands as on the slides."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size < 1000 * scale else f"{size / scale:,.0f} {unit}"
    return f"{size} B"


def _summary_json(found: Summary, batch: int) -> dict[str, Any]:
    def number(value: Integer, times: int = 1) -> int | str:
        value = value * times
        return value.constant if value.constant is not None else str(value)

    rows = [
        {
            "name": row.name,
            "equation": row.text,
            "line": row.line,
            "depth": row.depth,
            "output": [number(size) for size in row.shape],
            "neurons": number(row.neurons, batch),
            "weights": number(row.weights),
            "biases": number(row.biases),
            "multiply_adds": number(row.multiply_adds, batch),
            "memory_bytes": number(row.memory, batch),
            "receptive_field": {
                name: ["all" if width is None else width for width in widths]
                for name, widths in row.receptive_field.items()
            },
        }
        for row in found.rows
    ]
    total = {
        "neurons": number(found.neurons, batch),
        "weights": number(found.weights),
        "biases": number(found.biases),
        "multiply_adds": number(found.multiply_adds, batch),
        "memory_bytes": number(found.memory, batch),
    }
    return {"batch": batch, "rows": rows, "total": total}


# -- explain ---------------------------------------------------------------------------------


def explain(
    program: Annotated[
        str,
        typer.Argument(
            metavar="PROGRAM", help="A .maj file, a network of `maj list`, - for standard input, or an error's code."
        ),
    ],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[TENSOR]…", help="Only these tensors or statements.")
    ] = None,
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Compile it, too, and tell how each kernel is made.")
    ] = False,
    roads: Annotated[
        bool, typer.Option("--roads", help="List the roads that each reduction can take, with what they cost.")
    ] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Measure the roads, too, on this machine.")] = False,
    exact: ExactOption = False,
    road: RoadOption = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples that roads are judged by.")] = 1,
    size: SizeOption = None,
    target: TargetOption = "cpu",
    mode: ModeOption = "inferring",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Tell how sizes were deduced and what passes did.

    Every deduction has the line and column it comes from; every change of a pass its reason.

    With --roads, a table of the algorithms among which each reduction chose: the cost that decides,
    what bounds it, and why one was taken.  --measure times all of them, a network on one road after the other.

    With the code of an error, such as E302, in place of a program: what it means, with an example.
    """
    from ..dsl.catalogue import explain as meaning

    text = meaning(program) if not Path(program).exists() else None
    if text is not None:
        print(text)
        return
    program = program_path(program)
    from ..compiler.codegen.asked import asked_for
    from ..compiler.graph import Graph
    from ..compiler.pipeline import optimize

    checked = load_program(program, mode)
    graph = optimize(Graph.from_program(checked), fold_weights=mode != "training")
    wanted = _wanted(checked, names or [])
    lines = _lines(checked, wanted)
    deductions = [d for d in checked.deductions if not wanted or _statement_line(d) in lines]
    asked = asked_for(exact, road)
    notes = [*graph.notes, *(_kernel_notes(graph, target, asked) if kernels else ())]
    notes = [n for n in notes if not wanted or n.tensor in wanted or n.tensor.split(".")[0] in wanted]
    found = _roads(checked, target, asked, batch, size, measure=measure) if roads or measure else None
    if as_json:
        explanation = _explanation_json(checked, deductions, notes)
        print_json(explanation | ({} if found is None else {"roads": roads_json(found)}))
        return
    if found is None or kernels:
        _print_deductions(checked, deductions)
        _print_notes(notes)
    if found is not None:
        print_roads(found, wanted)


def _roads(program: Program, target: str, asked: Asked, batch: int, size: list[str] | None, *, measure: bool) -> Roads:
    """What the table of roads tells; raises Failure where it would measure another machine's roads."""
    from ..road_times import RoadTimes
    from ..targets import named_target

    found = named_target(target)
    if found.gpu is not None:
        raise Failure("on a GPU each kernel has one road", f"`maj explain --kernels --target {target}` tells which")
    if measure and not found.native:
        raise Failure(f"roads of {target} cannot be measured on this machine", "leave out --measure or --target")
    return decide(RoadTimes(program, found, batch=batch, sizes=parse_sizes(size), seconds=0.5), asked, measure=measure)


def _kernel_notes(graph: Graph, target: str, asked: Asked) -> tuple[Note, ...]:
    """How code generation makes each kernel."""
    from ..compiler.codegen.compiled import compile_graph
    from ..targets import named_target

    return compile_graph(graph, target=named_target(target), asked=asked).notes


def _wanted(program: Program, names: list[str]) -> set[str]:
    """The tensors that are meant by names of tensors or statements; empty for all."""
    from ..dsl.names import normal

    wanted: set[str] = set()
    for name in map(normal, names):
        made = {n for s in program.statements if name in (s.name, s.tensor) for n in s.operations}
        if not made and name not in program.operations:
            raise no_tensor(name, program.operations)
        wanted |= made | {name}
    return wanted


def _lines(program: Program, wanted: set[str]) -> set[tuple[str, int]]:
    places = [s.place for s in program.statements if s.tensor in wanted and s.place is not None]
    places += [program.places[name] for name in wanted if name in program.places]
    return {(p.file, line) for p in places for line in range(p.line, p.end_line + 1)}


def _statement_line(deduction: Deduction) -> tuple[str, int]:
    """The file and line of the statement of the main program that a deduction belongs to."""
    place = deduction.call or deduction.place
    return place.file, place.line


def _print_deductions(program: Program, deductions: list[Deduction]) -> None:
    typer.echo("Sizes and ranges")
    shown: tuple[str, int] | None = None
    texts = {(s.place.file, s.place.line): s.text for s in program.statements if s.place is not None and s.depth == 0}
    for deduction in deductions:
        if shown != _statement_line(deduction):
            shown = _statement_line(deduction)
            text = " ".join(texts.get(shown, "").split())
            typer.echo(f"\n  {shown[0]}:{shown[1]}  {text}".rstrip())
        place = deduction.place
        file = "" if place.file == shown[0] else f"{place.file}:"
        typer.echo(f"    {file}{place.line}:{place.column}  {deduction.text}")
    if not deductions:
        typer.echo("  nothing had to be deduced")
    for requirement in program.requirements:
        typer.echo(f"\n  at run time: {requirement.reason} (checked: {requirement.value} >= 0)")


def _print_notes(notes: list[Note]) -> None:
    typer.echo("\nWhat the passes changed")
    current = ""
    for note in notes:
        if note.pass_name != current:
            current = note.pass_name
            typer.echo(f"\n  {current}")
        typer.echo(f"    {note.tensor}: {note.text}")
    if not notes:
        typer.echo("  nothing")


def _explanation_json(program: Program, deductions: list[Deduction], notes: list[Note]) -> dict[str, Any]:
    return {
        "deductions": [
            {"file": d.place.file, "line": d.place.line, "column": d.place.column, "text": d.text} for d in deductions
        ],
        "requirements": [{"value": str(r.value), "reason": r.reason} for r in program.requirements],
        "passes": [{"pass": n.pass_name, "tensor": n.tensor, "text": n.text} for n in notes],
    }
