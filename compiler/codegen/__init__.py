"""Code generation: from a graph to machine code through TVM.

`compile_graph` makes a `CompiledProgram`: a shared library with two functions (see
`main_function`) and a manifest that says how to call them.
"""

from .compiled import CompiledProgram, compile_graph
from .errors import CompilationFailed
from .target import Target

__all__ = ["CompilationFailed", "CompiledProgram", "Target", "compile_graph"]
