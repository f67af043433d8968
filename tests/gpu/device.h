/* Kernels in CUDA C as C++ for the CPU: threads one after the other, or in turns where they wait for each other. */

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
#define __shared__ static
#define __syncthreads() emulated_barrier()

static inline float __int_as_float(int bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

static inline double __longlong_as_double(long long bits) {
  double value;
  __builtin_memcpy(&value, &bits, 8);
  return value;
}

template <typename T> static inline T max(T a, T b) { return a > b ? a : b; }
template <typename T> static inline T min(T a, T b) { return a < b ? a : b; }
