"""The command `maj`: its options, its commands, and what happens when one of them fails.

The commands live in the files beside this one.  None of them imports anything heavy before
it runs, so that help, completion and `maj check` start fast.

Exit status: 0 for success, 1 for mistakes in the program or a failed verification, 2 for a
wrong call or files that cannot be used, 3 for an error inside Majuscule.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import (
    benching,
    checking,
    compiling,
    devices,
    differentiating,
    dumping,
    evaluating,
    exchanging,
    exporting,
    formatting,
    importing,
    inspecting,
    listing,
    pictures,
    profiling,
    running,
    training,
    tuning,
    verifying,
)
from .failures import report_failure


class _Commands(TyperGroup):
    """Turns exceptions of commands into messages and exit statuses."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if hasattr(error, "format_message"):  # a wrong call, which typer reports itself
                raise
            debug = bool(ctx.params.get("debug")) or bool(os.environ.get("MAJ_DEBUG"))
            raise typer.Exit(report_failure(error, debug=debug)) from None


app = typer.Typer(
    name="maj",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Compile networks that are written as index equations (.maj files).",
    epilog="`maj COMMAND --help` tells more about a command.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"maj {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where in Majuscule an internal error happened (or set MAJ_DEBUG).")
    ] = False,
) -> None:
    """Options before the command."""


app.command("check")(checking.check)
app.command("list")(listing.list_networks)
app.command("devices")(devices.list_devices)
app.command("fmt")(formatting.fmt)
app.command("summary")(inspecting.summary)
app.command("explain")(inspecting.explain)
app.command("graph")(pictures.graph)
app.command("grad")(differentiating.grad)
app.command("dump")(dumping.dump)
app.command("compile")(compiling.compile)
app.command("run")(running.run)
app.command("train")(training.train)
app.command("eval")(evaluating.evaluate)
app.command("import")(importing.import_model)
app.command("import-weights")(exchanging.import_weights)
app.command("export-weights")(exchanging.export_weights)
app.command("export")(exporting.export)
app.command("verify")(verifying.verify)
app.command("bench")(benching.bench)
app.command("profile")(profiling.profile)
app.command("tune")(tuning.tune)
