"""`maj dump`: any stage between the text and the machine code, as text."""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .compiling import TargetOption
from .failures import Failure
from .programs import ModeOption, ProgramFile, load_program, read_text, shown_name
from .stages import graph_at, graph_stages, unknown_stage

if TYPE_CHECKING:
    from ..dsl.equations import Program

FRONT = ("tokens", "syntax", "program")
BACK = ("tensorir", "assembly")


def dump(
    program: ProgramFile,
    stage: Annotated[
        str,
        typer.Option(
            "--stage", "-s", help="tokens, syntax, program, graph, the name of a pass, optimized, tensorir or assembly."
        ),
    ] = "program",
    mode: ModeOption = "inferring",
    target: TargetOption = "cpu",
    list_stages: Annotated[bool, typer.Option("--list", help="List the stages of this program.")] = False,
) -> None:
    """Print a stage between text and machine code."""
    if list_stages:
        passes = [name for name, _ in graph_stages(load_program(program, mode))]
        typer.echo("\n".join([*FRONT, *passes, "optimized", *BACK]))
    elif stage == "tokens":
        _print_tokens(program)
    elif stage == "syntax":
        _print_syntax(program)
    elif stage == "program":
        _print_program(load_program(program, mode))
    elif stage in BACK:
        _print_code(load_program(program, mode), stage, target)
    else:
        _print_graph(load_program(program, mode), stage)


def _print_tokens(path: str) -> None:
    from ..dsl.parser import chunk_tokens, chunks

    for chunk in _parsed(path) and chunks(read_text(path), shown_name(path))[0]:
        for token in chunk_tokens(chunk):
            typer.echo(f"{(token.line or 1) + chunk.line - 1}:{token.column}\t{token.type}\t{str(token)!r}")


def _print_syntax(path: str) -> None:
    for statement in _parsed(path):
        _print_node(statement, 0, "")


def _parsed(path: str) -> tuple[Any, ...]:
    from ..dsl.diagnostics import SourceErrors
    from ..dsl.parser import parse

    text = read_text(path)
    parsed = parse(text, shown_name(path))
    if parsed.problems:
        raise SourceErrors(parsed.problems, {shown_name(path): text})
    return parsed.statements


def _print_node(value: Any, depth: int, label: str) -> None:
    """A node of the syntax tree with everything below it, indented."""
    from ..dsl.syntax import Node

    pad, label = "  " * depth, f"{label}: " if label else ""
    if isinstance(value, tuple) and any(isinstance(item, (Node, tuple)) for item in value):
        typer.echo(f"{pad}{label}")
        for item in value:
            _print_node(item, depth + 1, "-")
    elif isinstance(value, Node):
        parts = [(f.name, getattr(value, f.name)) for f in fields(value) if f.name != "place"]
        plain = [f"{name}={part!r}" for name, part in parts if _is_plain(part) and part not in (None, (), "")]
        place = f"  @{value.place.line}:{value.place.column}"
        typer.echo(f"{pad}{label}{type(value).__name__}({', '.join(plain)}){place}")
        for name, part in parts:
            if not _is_plain(part):
                _print_node(part, depth + 1, name)
    else:
        typer.echo(f"{pad}{label}{value!r}")


def _is_plain(value: Any) -> bool:
    from ..dsl.syntax import Node

    return not isinstance(value, Node) and not (isinstance(value, tuple) and any(not _is_plain(item) for item in value))


def _print_program(program: Program) -> None:
    """The operations of a program as equations, those of the first values last."""
    from ..compiler.printer import operation_text

    for name, operation in program.operations.items():
        typer.echo(operation_text(name, operation))
    for kind, names in (("output", program.outputs), ("metric", program.metrics), ("loss", tuple(program.losses))):
        if names:
            typer.echo(f"{kind} {', '.join(names)}")
    for state, value in program.updates.items():
        typer.echo(f"update {state} = {value}")
    if program.initializers:
        typer.echo("\n# first values")
        for name, operation in program.initializers.items():
            typer.echo(operation_text(name, operation))


def _print_graph(program: Program, stage: str) -> None:
    from ..compiler.printer import text

    try:
        graph = graph_at(program, stage)
    except Failure:
        passes = [name for name, _ in graph_stages(program)]
        raise unknown_stage(stage, [*FRONT, *passes, "optimized", *BACK]) from None
    typer.echo(text(graph))


def _print_code(program: Program, stage: str, target: str) -> None:
    from ..compiler.codegen.compiled import compile_graph
    from ..compiler.graph import Graph
    from ..compiler.pipeline import optimize
    from ..targets import named_target

    graph = optimize(Graph.from_program(program), fold_weights=program.mode != "training")
    compiled = compile_graph(graph, target=named_target(target))
    sys.stdout.write(compiled.tensor_ir if stage == "tensorir" else compiled.assembly)
    sys.stdout.write("\n")
