"""How the main function starts kernels on the GPU: C code of functions that it calls as if they were the kernels.

The library has the kernels' code as data.  Whoever loads it fills in `majuscule_functions`, handles of the
kernels in the order of `majuscule_names`, and `majuscule_driver`, functions of the CUDA driver and the stream
in which all is done.  An error of the driver is kept in `majuscule_driver.error`, and nothing starts after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import NamedTuple

from ....dsl.integers import Atom, FloorDiv, Index, Integer, Symbol
from ..objects import KernelSource, Object, Source
from .lowering import grid, random_grid


class _Starter(NamedTuple):
    """A kernel as the main function calls it: with addresses, then numbers by name, then flags if it has any."""

    blocks: Integer
    threads: int
    pointers: int
    numbers: Sequence[str]
    flags: bool


def _starter_of(source: Source) -> _Starter:
    if isinstance(source, KernelSource):
        symbols, free = source.kernel.free()
        shape = grid(source.kernel, source.road)
        numbers = [*(symbol.name for symbol in symbols), *free]
        return _Starter(shape.blocks, shape.threads, len(source.kernel.tensors) + 1, numbers, True)
    shape = random_grid(Integer.index("count"))
    return _Starter(shape.blocks, shape.threads, 1, ("count", "seed", "step", "stream"), False)


def starters_source(sources: Mapping[str, Source], objects: Mapping[str, Object]) -> tuple[str, dict[str, bytes]]:
    """The C code of all kernels' starters, and the files that it takes in; all by the names of the kernels."""
    files: dict[str, bytes] = {}
    assembly = ['.section .rodata.majuscule,\\"a\\"']
    for position, name in enumerate(sources):
        for kind, content in (("binary", objects[name].code), ("portable", objects[name].portable)):
            label = f"{kind}{position}"
            files[f"{label}.bin"] = content
            assembly += [".balign 64", f'{label}: .incbin \\"{label}.bin\\"', ".byte 0"]
    assembly.append(".previous")
    lines = [resources.files(__package__).joinpath("starting.c").read_text(encoding="utf-8")]
    lines += ["__asm__(" + "\n".join(f'"{line}\\n"' for line in assembly) + ");"] if sources else []
    for position in range(len(sources)):
        lines.append(f"extern const char binary{position}[], portable{position}[];")
    count = max(len(sources), 1)
    for label, entries in (
        ("const char *const majuscule_names", [f'"{name}"' for name in sources]),
        ("const char *const majuscule_binaries", [f"binary{k}" for k in range(len(sources))]),
        ("const char *const majuscule_portables", [f"portable{k}" for k in range(len(sources))]),
    ):
        lines.append(f"{label}[{count}] = {{{', '.join(entries or ['0'])}}};")
    lines.append(f"const int64_t majuscule_count = {len(sources)};")
    lines.append(f"void *majuscule_functions[{count}];")
    lines += [_starter(position, name, _starter_of(source)) for position, (name, source) in enumerate(sources.items())]
    return "\n".join(lines) + "\n", files


def _starter(position: int, name: str, starter: _Starter) -> str:
    parameters = [f"void *p{k}" for k in range(starter.pointers)]
    parameters += [f"int64_t {name}" for name in starter.numbers]
    parameters += ["void *flags"] if starter.flags else []
    given = [parameter.rsplit(" ", 1)[1].lstrip("*") for parameter in parameters]
    return f"""
int32_t {name}({", ".join(parameters)}) {{
  void *arguments[] = {{{", ".join(f"&{argument}" for argument in given)}}};
  start({position}, {_number(starter.blocks)}, {starter.threads}, arguments);
  return 0;
}}"""


def _number(value: Integer) -> str:
    """An integer as an expression in C."""
    terms = []
    for atoms, coefficient in value.terms:
        terms.append(" * ".join([f"INT64_C({coefficient})", *map(_atom, atoms)]))
    return " + ".join(terms) or "0"


def _atom(atom: Atom) -> str:
    if isinstance(atom, Symbol | Index):
        return atom.name
    assert isinstance(atom, FloorDiv)
    return f"floor_div({_number(atom.numerator)}, {_number(atom.denominator)})"
