"""The C interface of a program as its users see it: header, functions, example, Makefile."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from ..runtime import sizes
from ..runtime.samples import choose_sizes
from .names import identifier, identifiers
from .sizes import count

_TYPES = {
    "float64": "double", "float32": "float", "int64": "int64_t", "int32": "int32_t", "uint8": "uint8_t",
    "bool": "uint8_t", "float16": "uint16_t", "bfloat16": "uint16_t",
}  # fmt: skip
_NOTES = {"bool": ", 0 or 1", "float16": ", bits of float16", "bfloat16": ", bits of bfloat16"}
_CODES = {
    "OK": "it worked",
    "WRONG_ARGUMENT": "NULL, or an impossible number of threads",
    "NO_FILE": "the file of the weights cannot be read",
    "WRONG_FILE": "it does not hold the weights of this program, or is cut off",
    "WRONG_SIZE": "a size is too small or too large, or sizes do not fit each other",
    "FAILED_CHECK": "a value breaks a condition, such as a label out of range; outputs are not valid",
    "NO_MEMORY": "the system does not give enough memory",
    "NO_THREADS": "the system does not give as many threads",
    "WRONG_CPU": "the processor lacks instructions that the library uses",
    "FAILED": "the compiled code failed",
}
"""As in `model.c`, in its order."""
_WORDS = """
model seed step status main count arguments calloc free fprintf printf stderr stdin stdout i run values inputs_given
outputs_given create SYMBOLS INPUTS OUTPUTS BUFFERS CHECKS NULL EOF errno linux unix int64_t int32_t uint8_t uint16_t
"""
_TAKEN = frozenset(_WORDS.split())
"""What the C code around an argument calls otherwise."""


class Interface:
    """Names and texts of a program's interface; `embed` says that the library has the weights in it."""

    def __init__(self, manifest: Mapping[str, Any], embed: bool) -> None:
        self._manifest = manifest
        self._embed = embed
        self.name = identifier(manifest["name"])
        self._sizes = identifiers((entry["name"] for entry in manifest["symbols"]), _TAKEN)
        taken = {*_TAKEN, *self._sizes.values()}
        self._inputs = identifiers((entry["name"] for entry in manifest["inputs"]), taken)
        self._outputs = identifiers((entry["name"] for entry in manifest["outputs"]), {*taken, *self._inputs.values()})
        # Numbers are drawn with seed and step; other programs need neither.
        self._draws = any("majuscule_random_" in step["kernel"] for step in manifest["steps"])

    def header(self) -> str:
        """`NAME.h`."""
        name, manifest = self.name, self._manifest
        target = manifest["target"]
        codes = "\n".join(
            f"  {name.upper()}_{code} = {number}, /* {meaning} */"
            for number, (code, meaning) in enumerate(_CODES.items())
        )
        where = (
            "The weights are in the library: give NULL, or the path of a safetensors file with others."
            if self._embed
            else f"`weights` is the path of {name}.safetensors, or of another file that Majuscule wrote with the\n"
            " * same tensors; it stays mapped, so do not overwrite it in place."
        )
        return f"""\
/* {manifest["name"]}, compiled by Majuscule {version("majuscule")} for {target.get("cpu") or "cpu"} \
({target.get("triple", "")}).
 *
 * Link with -l{name}; nothing else is needed, neither Python nor TVM.
 */
#ifndef {name.upper()}_H
#define {name.upper()}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

enum {name}_status {{
{codes}
}};

typedef struct {name}_model {name}_model;

/* Make a model, in *made, that computes on `threads` threads (0: one for each core that the process may use).
 *
 * {where}
 * Gives a status; if it is not {name.upper()}_OK, *made is NULL.
 */
int {name}_create(const char *weights, int threads, {name}_model **made);

/* Run the program; gives a status.
 *
{self._arguments_described()}
 * Tensors are row-major, the last axis is contiguous.  Outputs must not overlap inputs or each other.
 * Several threads may run one model: their calls wait for each other.
 */
int {name}_run({self._parameters()});

/* What went wrong in this thread's last call that failed; valid until its next call. */
const char *{name}_message(void);

/* Give memory and threads of a model back; NULL does nothing. */
void {name}_destroy({name}_model *model);

#ifdef __cplusplus
}}
#endif

#endif
"""

    def functions(self) -> str:
        """The exported functions, behind `model.c`."""
        name = self.name
        visible = '__attribute__((visibility("default")))'
        given = [*self._sizes.values(), *(["seed", "step"] if self._draws else ["0", "0"]), "0", "0", "0"]
        inputs, outputs = list(self._inputs.values()) or ["NULL"], list(self._outputs.values()) or ["NULL"]
        return f"""\
typedef struct model {name}_model;

{visible} int {name}_create(const char *weights, int threads, {name}_model **made) {{
  return create(weights, threads, made);
}}

{visible} int {name}_run({self._parameters()}) {{
  int64_t values[] = {{{", ".join(given)}}};
  const void *const inputs_given[] = {{{", ".join(inputs)}}};
  void *const outputs_given[] = {{{", ".join(outputs)}}};
  return run(model, values, inputs_given, outputs_given);
}}

{visible} const char *{name}_message(void) {{ return last_message; }}

{visible} void {name}_destroy({name}_model *model) {{ destroy(model); }}
"""

    def example(self) -> str:
        """`example.c`: one sample of zeros."""
        name, manifest = self.name, self._manifest
        chosen = choose_sizes(manifest, 1, {})
        lines = [f"  int64_t {self._sizes[symbol]} = {value};" for symbol, value in chosen.items()]
        for entry, tensor in self._tensors():
            length = count(entry["shape"], self._sizes)
            lines.append(
                f"  {_TYPES[entry['dtype']]} *{tensor} = calloc({length}, sizeof *{tensor}); /* {_shape(entry)} */"
            )
        tensors = [tensor for _, tensor in self._tensors()]
        given = [*self._sizes.values(), *(["0", "0"] if self._draws else []), *tensors]
        path = "NULL" if self._embed else f'"{name}.safetensors"'
        first = manifest["outputs"][0]
        shown, length = self._outputs[first["name"]], count(first["shape"], self._sizes)
        freed = "".join(f"  free({tensor});\n" for tensor in tensors)
        allocated = "\n".join(lines)
        return f"""\
/* Runs {manifest["name"]} on zeros; `make` builds it, `./example` runs it. */
#include <stdio.h>
#include <stdlib.h>

#include "{name}.h"

int main(int count, char **arguments) {{
{allocated}
  {name}_model *model;
  int status = {name}_create(count > 1 ? arguments[1] : {path}, 0, &model);
  if (status == {name.upper()}_OK) status = {name}_run(model, {", ".join(given)});
  if (status == {name.upper()}_OK)
    for (int64_t i = 0; i < {length} && i < 10; i++)
      printf("{shown} %d: %g\\n", (int)i, (double){shown}[i]);
  else
    fprintf(stderr, "%s\\n", {name}_message());
  {name}_destroy(model);
{freed}  return status;
}}
"""

    def makefile(self) -> str:
        """`Makefile`, which builds the example."""
        name = self.name
        return (
            f"example: example.c {name}.h lib{name}.so\n"
            f"\t$(CC) -O2 example.c -o example -L. -l{name} '-Wl,-rpath,$$ORIGIN'\n"
        )

    def _parameters(self) -> str:
        parts = [f"{self.name}_model *model", *(f"int64_t {size}" for size in self._sizes.values())]
        if self._draws:
            parts += ["int64_t seed", "int64_t step"]
        for entry, tensor in self._tensors():
            constant = "const " if tensor in self._inputs.values() else ""
            parts.append(f"{constant}{_TYPES[entry['dtype']]} *{tensor}")
        return ", ".join(parts)

    def _tensors(self) -> list[tuple[Mapping[str, Any], str]]:
        """Inputs and outputs in order, with their names in C, which are all different."""
        inputs = [(entry, self._inputs[entry["name"]]) for entry in self._manifest["inputs"]]
        return inputs + [(entry, self._outputs[entry["name"]]) for entry in self._manifest["outputs"]]

    def _arguments_described(self) -> str:
        minimums = {entry["name"]: entry["minimum"] for entry in self._manifest["symbols"]}
        lines = [
            f" *   {self._sizes[name]}: {'' if self._sizes[name] == name else name + ', '}any number from {minimum} on"
            for name, minimum in minimums.items()
        ]
        if self._draws:
            lines.append(" *   seed, step: choose the random numbers; equal ones give equal numbers")
        for entry, tensor in self._tensors():
            what = "input" if tensor in self._inputs.values() else "output"
            lines.append(f" *   {tensor}: {what} {entry['name']}, {_shape(entry)}")
        return "\n".join(lines)


def _shape(entry: Mapping[str, Any]) -> str:
    return f"{entry['dtype']}{sizes.describe_shape(entry['shape'])}{_NOTES.get(entry['dtype'], '')}"
