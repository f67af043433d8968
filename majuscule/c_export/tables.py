"""What the C code of a model must know of its module: the tables that `model.c` is compiled with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..runtime import sizes
from ..runtime.arrays import ALIGNMENT, Array, numpy_dtype
from ..runtime.artifact import Artifact
from ..runtime.host import names_of_feature
from .sizes import HELPERS, expression

_TYPE = """\
enum kind { INPUT, OUTPUT, WEIGHT, CONSTANT, PREPARED, PASSING, ARENA };
struct buffer {
  enum kind kind;
  int64_t place; /* among inputs or outputs, or bytes from the start of the weights' file or of the constants */
  int64_t size;  /* bytes of what is made when the model is created */
};
"""


def tables(artifact: Artifact, header: bytes, weights_size: int, embedded: bool) -> str:
    """The tables, as C; `header` is the start of the weights' file, `weights_size` its length in bytes."""
    manifest = artifact.manifest
    symbols = manifest["symbols"]
    counts = {
        "SYMBOLS": len(symbols),
        "INPUTS": len(manifest["inputs"]),
        "OUTPUTS": len(manifest["outputs"]),
        "BUFFERS": len(manifest["buffers"]),
        "CHECKS": len(manifest["checks"]),
        "WEIGHTS_SIZE": f"((int64_t){weights_size})",
    }
    parts = [
        *(f"#define {name} {value}" for name, value in counts.items()),
        HELPERS,
        _array("const char *const symbol_names", (_text(entry["name"]) for entry in symbols)),
        _array("const int64_t symbol_minimums", (str(entry["minimum"]) for entry in symbols)),
        _array("const char *const check_messages", (_text(entry["message"]) for entry in manifest["checks"])),
        _array("const char *const features", (*_features(manifest["target"]), "NULL")),
        _array("const unsigned char weights_header", map(str, header)),
        _included("constants", "constants.bin"),
        _included("embedded_weights_data", "weights.bin") if embedded else "",
        f"static const char *const embedded_weights = {'(const char *)embedded_weights_data' if embedded else 'NULL'};",
        _TYPE,
        _array("const struct buffer buffers", _buffers(artifact, header)),
        _functions(manifest),
    ]
    return "\n".join(parts)


def constants_data(constants: Mapping[str, Array]) -> bytes:
    """All constants, each at a multiple of a cache line."""
    return b"".join(_padded(array.tobytes()) for array in constants.values()) or bytes(ALIGNMENT)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)


def _buffers(artifact: Artifact, header: bytes) -> list[str]:
    """An entry for each buffer of the manifest; the weights' file begins with this header."""
    manifest = artifact.manifest
    places = {
        "input": {entry["name"]: number for number, entry in enumerate(manifest["inputs"])},
        "output": {entry["name"]: number for number, entry in enumerate(manifest["outputs"])},
        "constant": _constant_places(artifact.constants),
    }
    offsets = {name: entry["data_offsets"] for name, entry in json.loads(header[8:]).items()}
    made = {entry["name"]: _bytes(entry) for entry in manifest["prepared"]}
    found = []
    for entry in manifest["buffers"]:
        kind, name, place, size = entry["kind"], entry["name"], 0, 0
        if kind in ("parameter", "state"):
            kind, place, size = "weight", len(header) + offsets[name][0], offsets[name][1] - offsets[name][0]
        elif kind == "prepared":
            kind, size = "passing" if "until" in entry else "prepared", made[name]
        elif kind in places:
            place = places[kind][name]
            size = artifact.constants[name].nbytes if kind == "constant" else 0
        found.append(f"{{{kind.upper()}, {place}, {size}}}")
    return found


def _constant_places(constants: Mapping[str, Array]) -> dict[str, int]:
    found, place = {}, 0
    for name, array in constants.items():
        found[name] = place
        place += array.nbytes + -array.nbytes % ALIGNMENT
    return found


def _bytes(entry: Mapping[str, Any]) -> int:
    return math.prod(sizes.evaluate(size, {}) for size in entry["shape"]) * numpy_dtype(entry["dtype"]).itemsize


def _functions(manifest: Mapping[str, Any]) -> str:
    names = {entry["name"]: f"sizes[{place}]" for place, entry in enumerate(manifest["symbols"])}
    arena = expression(manifest["arena"], {**names, sizes.THREADS: "threads"})
    checks = [
        f"  if ({expression(requirement['value'], names)} < 0) return {_text(requirement['reason'])};\n"
        for requirement in manifest["requirements"]
    ]
    return (
        "static wide arena_size(const int64_t *sizes, int64_t threads) {\n"
        f"  (void)sizes, (void)threads;\n  return {arena};\n}}\n\n"
        "static const char *unmet_requirement(const int64_t *sizes) {\n"
        f"  (void)sizes;\n{''.join(checks)}  return NULL;\n}}\n"
    )


def _features(target: Mapping[str, Any]) -> list[str]:
    return [_text("|".join(names_of_feature(feature))) for feature in target.get("features", ())]


def _array(declaration: str, values: Iterable[str]) -> str:
    """An array of C; one that has no elements has one that nobody reads."""
    listed = list(values) or ["0"]
    return f"static {declaration}[] = {{{', '.join(listed)}}};"


def _included(name: str, file: str) -> str:
    """The bytes of a file as an array that the assembler puts into the library."""
    return (
        f'__asm__(".pushsection .rodata\\n.balign {ALIGNMENT}\\n{name}:\\n.incbin \\"{file}\\"\\n.popsection\\n");\n'
        f'extern const unsigned char {name}[] __attribute__((visibility("hidden")));'
    )


def _text(value: str) -> str:
    """A string of C, in UTF-8."""
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in value.encode())
    return f'"{"".join(plain)}"'
