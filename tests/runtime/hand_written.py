"""A small module whose machine code is written by hand in C, for tests of the runtime alone.

With inputs x: float32[batch, 4] and label: int32[batch], weights W: float32[4] and
shift: float32[4], and a constant `one`:

    z[b, j]    = 2 * W[j] * x[b, j] + shift[j] + one        (2 * W is prepared at load)
    picked[b]  = z[b, label[b]]                             (check: 0 <= label[b] < 4)
    numbers    = [seed, step]

z goes through the arena, so a wrong or shared arena shows.
"""

from __future__ import annotations

from typing import Any

import numpy

SOURCE = r"""
#include <stdint.h>
typedef struct { int32_t type_index; uint32_t padding; void *pointer; } Any;
typedef struct { void *data; int32_t device[2]; int32_t ndim; uint8_t code, bits; uint16_t lanes;
                 int64_t *shape, *strides; uint64_t byte_offset; } Tensor;
extern void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message);

static void *vector(const Any *arguments, int position) { return ((Tensor *)arguments[position].pointer)->data; }

/* buffers: x label W shift one doubled z picked numbers arena */
int32_t __tvm_ffi_majuscule_prepare(void *self, const Any *arguments, int32_t count, Any *result) {
    void **buffer = vector(arguments, 0);
    for (int j = 0; j < 4; ++j) ((float *)buffer[5])[j] = 2 * ((float *)buffer[2])[j];
    return 0;
}

int32_t __tvm_ffi_majuscule_run(void *self, const Any *arguments, int32_t count, Any *result) {
    void **buffer = vector(arguments, 0);
    int64_t *sizes = vector(arguments, 1);
    int32_t *status = vector(arguments, 2);
    float *x = buffer[0], *shift = buffer[3], *one = buffer[4], *doubled = buffer[5], *z = buffer[6];
    int32_t *label = buffer[1];
    double *picked = buffer[7];
    int64_t *numbers = buffer[8];
    float *arena = buffer[9];
    int64_t batch = sizes[0];
    if (sizes[1] == -77) {
        TVMFFIErrorSetRaisedFromCStr("ValueError", "seeds of -77 fail");
        return -1;
    }
    for (int64_t repeat = 0; repeat < 50; ++repeat)
        for (int64_t i = 0; i < batch * 4; ++i) arena[i] = doubled[i % 4] * x[i] + shift[i % 4];
    for (int64_t i = 0; i < batch * 4; ++i) z[i] = arena[i] + one[0];
    for (int64_t b = 0; b < batch; ++b) {
        if (label[b] < 0 || label[b] >= 4) status[0] = 1;
        else picked[b] = z[b * 4 + label[b]];
    }
    numbers[0] = sizes[1];
    numbers[1] = sizes[2];
    return 0;
}
"""

BATCH = {"terms": [[1, ["batch"]]]}

MANIFEST: dict[str, Any] = {
    "name": "pick",
    "symbols": [{"name": "batch", "minimum": 1}],
    "inputs": [
        {"name": "x", "shape": [BATCH, 4], "dtype": "float32", "batched": True, "selects": []},
        {"name": "label", "shape": [BATCH], "dtype": "int32", "batched": True, "selects": [4]},
    ],
    "outputs": [
        {"name": "z", "shape": [BATCH, 4], "dtype": "float32"},
        {"name": "picked", "shape": [BATCH], "dtype": "float64"},
        {"name": "numbers", "shape": [2], "dtype": "int64"},
    ],
    "parameters": [{"name": "W", "shape": [4], "dtype": "float32", "trained": True}],
    "states": [{"name": "shift", "shape": [4], "dtype": "float32"}],
    "constants": [{"name": "one", "shape": [1], "dtype": "float32"}],
    "prepared": [{"name": "doubled", "shape": [4], "dtype": "float32"}],
    "buffers": [
        {"kind": "input", "name": "x"},
        {"kind": "input", "name": "label"},
        {"kind": "parameter", "name": "W"},
        {"kind": "state", "name": "shift"},
        {"kind": "constant", "name": "one"},
        {"kind": "prepared", "name": "doubled"},
        {"kind": "output", "name": "z"},
        {"kind": "output", "name": "picked"},
        {"kind": "output", "name": "numbers"},
        {"kind": "arena", "name": "arena"},
    ],
    "arena": {"terms": [[16, ["batch"]]]},
    "requirements": [{"value": {"terms": [[-1, ["batch"]], [1000, []]]}, "reason": "at most 1000 samples"}],
    "checks": [{"message": "label must lie in 0..4"}],
    "steps": [
        {
            "origin": "z",
            "statement": "z",
            "kernel": "all",
            "road": "plain loops",
            "flops": {"terms": [[8, ["batch"]]]},
            "bytes": {"terms": [[32, ["batch"]], [36, []]]},
        }
    ],
    "target": {},
}

WEIGHTS = {
    "W": numpy.array([1, -2, 3, 0.5], numpy.float32),
    "shift": numpy.array([0, 10, 20, 30], numpy.float32),
}


def expected(x: Any, label: Any, weights: Any = WEIGHTS) -> tuple[numpy.ndarray, numpy.ndarray]:
    """What the module must give for z and picked, in float64."""
    z = 2 * weights["W"].astype(float) * numpy.asarray(x, float) + weights["shift"] + 1
    return z, z[numpy.arange(len(z)), numpy.asarray(label)]


def samples(batch: int, seed: int = 0) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Random inputs."""
    generator = numpy.random.default_rng(seed)
    x = generator.normal(size=(batch, 4)).astype(numpy.float32)
    return x, generator.integers(0, 4, batch).astype(numpy.int32)
