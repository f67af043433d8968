"""Programs built by hand, compiled, and run through TVM's FFI without the project's runtime."""

from __future__ import annotations

import ctypes
import importlib.util
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from majuscule.compiler.codegen import CompiledProgram, compile_graph
from majuscule.compiler.codegen.target import Target
from majuscule.compiler.graph import Graph
from majuscule.dsl.equations import (
    Apply,
    Axis,
    Equation,
    Expression,
    Input,
    Literal,
    Number,
    Operation,
    Parameter,
    Program,
    Read,
    Shape,
)
from majuscule.dsl.integers import Integer, IntegerLike, Symbol

Array = numpy.ndarray[Any, Any]
BATCH = Integer.symbol("batch")
NUMPY = {"bfloat16": numpy.dtype("uint16")}


def index(name: str) -> Integer:
    return Integer.index(name)


def shape(*sizes: IntegerLike) -> Shape:
    return tuple(map(Integer.of, sizes))


def axes(**sizes: IntegerLike) -> tuple[Axis, ...]:
    return tuple(Axis(name, Integer.of(size)) for name, size in sizes.items())


def read(tensor: str, *subscripts: IntegerLike | str, dtype: str = "float32") -> Read:
    return Read(tensor, tuple(index(s) if isinstance(s, str) else Integer.of(s) for s in subscripts), dtype)


def literal(value: float, dtype: str = "float32") -> Literal:
    return Literal(value, dtype)


def number(value: IntegerLike, dtype: str = "int64") -> Number:
    return Number(Integer.of(value), dtype)


def apply(operation: str, *arguments: Expression, dtype: str = "float32") -> Apply:
    return Apply(operation, arguments, dtype)


def between(low: int, value: Integer, high: IntegerLike) -> Expression:
    """`low <= value < high` as a condition."""
    above = apply("le", number(low), number(value), dtype="bool")
    return apply("and", above, apply("lt", number(value), number(high), dtype="bool"), dtype="bool")


def product_sum(
    domain: tuple[Axis, ...], reduction: tuple[Axis, ...], *factors: Expression, dtype: str = "float32"
) -> Equation:
    body = factors[0]
    for factor in factors[1:]:
        body = Apply("mul", (body, factor), dtype)
    return Equation(domain, body, dtype, reduction, "sum")


def program(operations: Mapping[str, Operation], *outputs: str, **others: Any) -> Program:
    inputs = tuple(name for name, operation in operations.items() if isinstance(operation, Input))
    symbols = {
        a for o in operations.values() for s in getattr(o, "shape", ()) for a in s.atoms() if isinstance(a, Symbol)
    }
    ordered = tuple(sorted(symbols, key=str))
    return Program("test", "inference", operations, inputs, outputs, symbols=ordered, **others)


def compiled(
    operations: Mapping[str, Operation], *outputs: str, target: Target | None = None, **others: Any
) -> CompiledProgram:
    return compile_graph(Graph.from_program(program(operations, *outputs, **others)), target=target)


def evaluate(size: Any, symbols: Mapping[str, int]) -> int:
    if isinstance(size, int):
        return size
    if "max" in size:
        return max(evaluate(part, symbols) for part in size["max"])
    total = 0
    for coefficient, factors in size["terms"]:
        value = coefficient
        for factor in factors:
            if isinstance(factor, str):
                value *= symbols[factor]
            else:
                value *= evaluate(factor["floordiv"][0], symbols) // evaluate(factor["floordiv"][1], symbols)
        total += value
    return total


class Runner:
    """A compiled program, loaded."""

    def __init__(self, program: CompiledProgram) -> None:
        import tvm_ffi

        found = importlib.util.find_spec("tvm")
        assert found is not None
        assert found.origin is not None
        ctypes.CDLL(str(Path(found.origin).parent / "lib" / "libtvm_runtime.so"), ctypes.RTLD_GLOBAL)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "library.so")
            path.write_bytes(program.library)
            self._module = tvm_ffi.load_module(str(path))
        self._from_dlpack = tvm_ffi.from_dlpack
        self.manifest = program.manifest
        self.constants = program.constants
        self.failed: list[str] = []

    def __call__(
        self, symbols: Mapping[str, int] | None = None, seed: int = 0, step: int = 0, **arrays: Array
    ) -> dict[str, Array]:
        """Run on arrays of inputs, parameters and state; gives the outputs by name."""
        symbols = symbols or {}
        manifest = self.manifest
        made = {
            (kind, entry["name"]): numpy.full(
                [evaluate(size, symbols) for size in entry["shape"]], 77, NUMPY.get(entry["dtype"], entry["dtype"])
            )
            for kind, group in (("output", "outputs"), ("prepared", "prepared"))
            for entry in manifest[group]
        }
        # Guards on both sides of the arena show writes outside it.
        size = evaluate(manifest["arena"], symbols)
        arena = numpy.full(size + 256, 0x5A, numpy.uint8)
        start = -arena.ctypes.data % 64 + 64
        kept: list[Array] = []
        addresses = []
        for buffer in manifest["buffers"]:
            kind, name = buffer["kind"], buffer["name"]
            if kind == "arena":
                addresses.append(arena.ctypes.data + start)
                continue
            array = made.get((kind, name))
            if array is None:
                array = self.constants[name] if kind == "constant" else arrays[name]
                array = numpy.ascontiguousarray(array)
            kept.append(array)
            addresses.append(array.ctypes.data)
        sizes = [symbols[entry["name"]] for entry in manifest["symbols"]] + [seed, step, 0, 1 << 62, 1]
        status = numpy.zeros(max(len(manifest["checks"]), 1), numpy.int32)
        vectors = [numpy.array(addresses, numpy.int64), numpy.array(sizes, numpy.int64), status]
        for function in ("majuscule_prepare", "majuscule_run"):
            self._module[function](*map(self._from_dlpack, vectors))
        assert (arena[:start] == 0x5A).all()
        assert (arena[start + size :] == 0x5A).all()
        self.failed = [c["message"] for c, flag in zip(manifest["checks"], status, strict=False) if flag]
        return {name: array for (kind, name), array in made.items() if kind == "output"}


def run(
    operations: Mapping[str, Operation],
    *outputs: str,
    symbols: Mapping[str, int] | None = None,
    target: Target | None = None,
    **arrays: Array,
) -> list[Array]:
    """Compile, run once, and give the outputs in order."""
    found = Runner(compiled(operations, *outputs, target=target))(symbols, **arrays)
    return [found[name] for name in outputs]


def parameter(*sizes: IntegerLike, dtype: str = "float32") -> Parameter:
    return Parameter(shape(*sizes), dtype, "")


def rand(*sizes: int, seed: int = 0) -> Array:
    """Numbers from -1 to 1 in float32."""
    return numpy.random.default_rng(seed + sum(sizes)).uniform(-1, 1, sizes).astype(numpy.float32)
