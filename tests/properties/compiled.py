"""What the compiler makes of a text, below the public face: TensorIR and machine code."""

from __future__ import annotations

import majuscule
from majuscule.compiler.codegen.compiled import CompiledProgram, compile_graph
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize


def compiled(text: str) -> CompiledProgram:
    """A text as the compiler leaves it, before it becomes a module."""
    program = majuscule.check(text).require()
    return compile_graph(optimize(Graph.from_program(program), fold_weights=True))


__all__ = ["CompiledProgram", "compiled"]
