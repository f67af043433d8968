"""`maj devices`: what programs can be compiled for and run on, on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import print_json, print_table


def list_devices(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the processor and the GPUs of this machine, by their names for --target."""
    from ..runtime.cuda.devices import devices
    from ..runtime.errors import ModuleError
    from ..runtime.executor import available_cores
    from ..runtime.host import machine, processor

    try:
        gpus, problem = devices(), ""
    except ModuleError as error:
        gpus, problem = [], error.message
    if as_json:
        cpu = {"target": "cpu", "name": processor(), "architecture": machine(), "cores": len(available_cores())}
        found = [
            {"target": f"cuda:{gpu.architecture}", "number": gpu.number, "name": gpu.name, "memory": gpu.memory,
             "multiprocessors": gpu.multiprocessors}
            for gpu in gpus
        ]  # fmt: skip
        print_json({"cpu": cpu, "gpus": found, "problem": problem or None})
        return
    cores = len(available_cores())
    rows = [["cpu", processor(), f"{cores} core{'s' * (cores != 1)}"]]
    rows += [
        [f"cuda:{g.architecture}", g.name, f"{g.multiprocessors} multiprocessors, {g.memory / 2**30:.1f} GiB"]
        for g in gpus
    ]
    print_table(["target", "device", "what it has"], rows, left=3, elastic=1)
    if problem:
        typer.echo(f"no GPU: {problem}")
