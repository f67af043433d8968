"""Functions for the GPU as CUDA C, which TVM writes.

TVM's text begins with headers of NVIDIA's toolkit.  The few types that kernels need of them are
declared here instead, so that nothing but a compiler is needed.
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.tirx import PrimFunc

from .description import Gpu

PREAMBLE = """\
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef unsigned int uint;
typedef unsigned char uchar;
typedef unsigned short ushort;
struct half {
  unsigned short bits;
  __device__ half() {}
  __device__ half(float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }
  __device__ operator float() const {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
  }
};
__device__ inline float majuscule_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return __int_as_float(bits);
}
__device__ inline unsigned short majuscule_float16(float x) { return half(x).bits; }
__device__ inline unsigned short majuscule_bfloat16(float x) {
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
__device__ inline unsigned majuscule_word(const void *place) { return *(const unsigned *)place; }
__device__ inline int majuscule_multiply_tf32(float *c, const unsigned *a, const unsigned *b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  return 0;
}
__device__ inline int majuscule_multiply_float16(float *c, const unsigned *a, const unsigned *b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  return 0;
}
__device__ inline int majuscule_multiply_bfloat16(float *c, const unsigned *a, const unsigned *b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  return 0;
}
#define CUDART_INF_F __int_as_float(0x7f800000)
#define CUDART_NAN_F __int_as_float(0x7fffffff)
#define CUDART_INF __longlong_as_double(0x7ff0000000000000LL)
#define CUDART_NAN __longlong_as_double(0x7fffffffffffffffLL)
"""
_FIRST = 'extern "C" __global__'


def source(function: PrimFunc, gpu: Gpu) -> str:
    """The text of one function in CUDA C, without the preamble."""
    target = _tvm_target(gpu)
    name = str(function.attrs["global_symbol"])
    module = tvm.IRModule({name: function.with_attr("target", target)})
    lowered = tirx.transform.LowerIntrin()(module)
    text = str(tvm_ffi.get_global_func("target.build.cuda")(lowered, target).inspect_source())
    return text[text.index(_FIRST) :]


def _tvm_target(gpu: Gpu) -> Any:
    return tvm.target.Target(
        {
            "kind": "cuda",
            "arch": gpu.architecture,
            "max_num_threads": 1024,
            "max_threads_per_block": 1024,
            "max_shared_memory_per_block": gpu.shared_memory,
            "thread_warp_size": 32,
        }
    )
