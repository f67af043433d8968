/* Kernels in CUDA C as C++ for the CPU: threads one after the other, or in turns where they wait for each other. */

#include <stdint.h>

typedef _Float16 half;
typedef unsigned int uint;
typedef unsigned char uchar;
typedef unsigned short ushort;
#define CUDART_INF_F __builtin_inff()
#define CUDART_NAN_F __builtin_nanf("")
#define CUDART_INF __builtin_inf()
#define CUDART_NAN __builtin_nan("")

struct emulated_place {
  int x, y, z;
};

extern "C" {
struct emulated_place threadIdx, blockIdx;
void (*emulated_barrier)(void);

float expf(float), logf(float), erff(float), sinf(float), cosf(float), powf(float, float), fmodf(float, float);
float sqrtf(float), floorf(float), ceilf(float), nearbyintf(float), fabsf(float), fmaf(float, float, float);
double exp(double), log(double), tanh(double), erf(double), sin(double), cos(double), pow(double, double);
double fmod(double, double), sqrt(double), floor(double), ceil(double), nearbyint(double), fabs(double);
}

#define __global__
#define __launch_bounds__(...)
#define __restrict__
#define __syncthreads() emulated_barrier()

template <typename T> static inline T max(T a, T b) { return a > b ? a : b; }
template <typename T> static inline T min(T a, T b) { return a < b ? a : b; }
