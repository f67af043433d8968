"""`maj grad`: the gradient of a program as equations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .failures import Failure
from .programs import ModeOption, ProgramFile, load_program, no_tensor
from .text_files import write_text

if TYPE_CHECKING:
    from ..compiler.gradients import Gradients
    from ..dsl.equations import Program


def grad(
    program: ProgramFile,
    of: Annotated[
        list[str] | None,
        typer.Option("--of", metavar="NAME,…", help="What to differentiate: losses or any tensors of the program."),
    ] = None,
    with_respect_to: Annotated[
        list[str] | None,
        typer.Option(
            "--with-respect-to", "-w", metavar="NAME,…", help="Parameters, bundles, inputs or any other tensors."
        ),
    ] = None,
    mode: ModeOption = "training",
    latex: Annotated[bool, typer.Option("--latex", help="Print the equations as LaTeX.")] = False,
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file.")] = None,
) -> None:
    """Print the gradient of a loss, a layer or an equation, as equations.

    What is printed is a program: it compiles, runs, and can be differentiated again.  By default
    the losses of the program are differentiated (or, without any, its outputs) with respect to all
    trained parameters (or, without any, its inputs).

    If what is differentiated is no single number, such as a layer's output L, the program gets
    one more input d_L of the same shape: the gradient of whatever follows with respect to L.  The
    result is then the sum of the gradients of all elements of L, each times its element of d_L.
    """
    from ..compiler.gradients import NoGradient, gradients, only
    from ..compiler.program_text import program_text

    checked = load_program(program, mode)
    results, wanted = _names(checked, of), _names(checked, with_respect_to)
    try:
        found = gradients(checked, results, wanted)
    except NoGradient as error:
        raise Failure(str(error)) from error
    text = _latex(found, results) if latex else program_text(only(found)).text
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)


def _latex(found: Gradients, results: list[str] | None) -> str:
    from ..compiler.gradients import only
    from ..compiler.latex import program_latex

    program = found.program
    losses = [name for name, parts in program.losses.items() if results is None or {name, parts[0]} & set(results)]
    result = losses[0] if len(losses) == 1 and not found.cotangents else None
    return program_latex(only(found), result, found.adjoints)


def _names(program: Program, given: list[str] | None) -> list[str] | None:
    """The tensors that names on the command line mean: losses, tensors, or all parameters of a bundle."""
    from ..dsl.equations import Recurrence
    from ..dsl.names import normal

    if given is None:
        return None
    found: list[str] = []
    tensors = [name for name, operation in program.operations.items() if not isinstance(operation, Recurrence)]
    for name in (normal(part.strip()) for text in given for part in text.split(",") if part.strip()):
        bundle = [tensor for tensor in tensors if tensor.startswith(f"{name}.") and name.startswith("Φ")]
        statement = next((s.tensor for s in program.statements if s.name == name), None)
        if name in tensors or name in program.losses:
            found.append(name)
        elif bundle or statement is not None:
            found += bundle or [str(statement)]
        else:
            raise no_tensor(name, [*tensors, *program.losses])
    return found
