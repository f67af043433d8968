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
