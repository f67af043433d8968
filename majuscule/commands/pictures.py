"""`maj graph`: a program's graph as a picture."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .failures import Failure, file_problem
from .programs import ModeOption, ProgramFile, load_program
from .stages import graph_at

if TYPE_CHECKING:
    from ..compiler.graph import Graph
    from ..dsl.equations import Operation

FORMATS = ("svg", "png", "pdf", "dot")
_LONGEST = 60
_MOST_LINES = 4


def graph(
    program: ProgramFile,
    output: Annotated[str | None, typer.Option("--output", "-o", help="The picture's file; - for stdout.")] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="svg, png, pdf or dot; by the file's name if left out.")
    ] = None,
    stage: Annotated[
        str, typer.Option("--stage", "-s", help="graph (before all passes), the name of a pass, or optimized.")
    ] = "graph",
    weights: Annotated[bool, typer.Option("--weights", help="Draw parameters and constants, too.")] = False,
    mode: ModeOption = "inferring",
) -> None:
    """Draw the graph of a program.

    A box stands for an equation, an arrow for a tensor that it reads.
    """
    chosen = format or (Path(output).suffix.removeprefix(".") if output and output != "-" else "svg")
    if chosen not in FORMATS:
        raise Failure(f"pictures of format {chosen!r} cannot be drawn", f"formats: {', '.join(FORMATS)}")
    text = dot_text(graph_at(load_program(program, mode), stage), weights=weights)
    data = text.encode() if chosen == "dot" else _draw(text, chosen)
    path = output or f"{Path(program).stem if program != '-' else 'program'}.{chosen}"
    if path == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise Failure(file_problem(error, path)) from error
    typer.echo(f"wrote {path}", err=True)


def _draw(text: str, format: str) -> bytes:
    """The picture; raises Failure if graphviz is missing."""
    hint = "`--format dot` needs neither: it writes the text that graphviz and others draw"
    try:
        import graphviz
    except ImportError as error:
        raise Failure(
            "pictures need the Python package graphviz", 'install it: pip install "majuscule[graph]"', hint
        ) from error
    if shutil.which("dot") is None:
        raise Failure(
            "pictures need graphviz's program dot, which is not installed",
            "install it: apt install graphviz, dnf install graphviz, brew install graphviz or winget install graphviz",
            hint,
        )
    try:
        picture: bytes = graphviz.Source(text).pipe(format=format)
    except graphviz.CalledProcessError as error:
        raise Failure(f"dot cannot draw this: {error.stderr.decode(errors='replace').strip()}", hint) from error
    return picture


def dot_text(graph: Graph, *, weights: bool = False) -> str:
    """The graph in graphviz's language, inputs at the top, outputs at the bottom."""
    from ..compiler.dependence import data_free

    hidden = set() if weights else data_free(graph) - set(graph.roots)
    lines = [
        "digraph program {",
        '  rankdir=TB; bgcolor="white";',
        '  node [shape=box, style="rounded,filled", fillcolor="#f6f8fa", color="#8c959f",'
        ' fontname="Helvetica", fontsize=11];',
        '  edge [color="#57606a", fontname="Helvetica", fontsize=9];',
    ]
    for name in graph:
        if name not in hidden:
            operation = graph.operation(name)
            colour = _colour(name, operation, graph)
            lines.append(f"  {_quoted(name)} [label={_label(name, operation)}, fillcolor={_quoted(colour)}];")
    for source, consumer in graph.network.edges:
        if source not in hidden and consumer not in hidden:
            lines.append(f"  {_quoted(source)} -> {_quoted(consumer)};")
    return "\n".join([*lines, "}", ""])


def _colour(name: str, operation: Operation, graph: Graph) -> str:
    from ..dsl.equations import Constant, Equation, Input, Parameter, Random, State

    if isinstance(operation, Input):
        return "#ddf4ff"
    if name in graph.roots:
        return "#dafbe1"
    if isinstance(operation, (Parameter, State, Constant, Random)):
        return "#fff8c5"
    return "#fbefff" if isinstance(operation, Equation) and operation.reduction else "#f6f8fa"


def _label(name: str, operation: Operation) -> str:
    """Name and shape above, the equation below, left-aligned."""
    from ..compiler.printer import operation_text
    from ..dsl.equations import Input

    equation, _, shape = operation_text(name, operation).split("\n")[0].partition("  # ")
    lines = textwrap.wrap(
        equation, _LONGEST, subsequent_indent="    ", max_lines=_MOST_LINES, placeholder=" …", break_on_hyphens=False
    )
    parts = [f"{name}   {shape}".rstrip(), *(lines if not isinstance(operation, Input) else [])]
    return '"' + "\\l".join(map(_escaped, parts)) + '\\l"'


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
