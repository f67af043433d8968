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

/* What cuda_c.PREAMBLE has. */
static inline float majuscule_tf32(float x) { /* to the nearest, ties away from zero */
  unsigned bits;
  __builtin_memcpy(&bits, &x, 4);
  if ((bits & 0x7f800000u) != 0x7f800000u) bits = (bits + 0x1000u) & ~0x1fffu;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
static inline unsigned short majuscule_float16(float x) {
  _Float16 value = x;
  unsigned short bits;
  return __builtin_memcpy(&bits, &value, 2), bits;
}
static inline unsigned short majuscule_bfloat16(float x) {
  unsigned bits;
  __builtin_memcpy(&bits, &x, 4);
  return x != x ? 0x7fff : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
static inline unsigned majuscule_word(const void *place) {
  unsigned word;
  return __builtin_memcpy(&word, place, 4), word;
}

static float emulated_from_float16(unsigned short bits) {
  _Float16 value;
  return __builtin_memcpy(&value, &bits, 2), (float)value;
}
static float emulated_from_bfloat16(unsigned short bits) {
  unsigned wide = (unsigned)bits << 16;
  float value;
  return __builtin_memcpy(&value, &wide, 4), value;
}

/* The fragments of all threads of a block; see the PTX ISA, matrix fragments for mma. */
static unsigned emulated_a[1024][4], emulated_b[1024][2];

template <typename Number> /* of step k of a row or column: which word of which thread of its group, which half */
static inline int emulated_multiply(float *c, const unsigned *a, const unsigned *b, int halves, Number number) {
  int me = threadIdx.x, lane = me % 32, warp = me - lane, group = lane / 4, member = lane % 4;
  __builtin_memcpy(emulated_a[me], a, 16), __builtin_memcpy(emulated_b[me], b, 8);
  emulated_barrier();
  for (int r = 0; r < 4; ++r) {
    int row = group + r / 2 * 8, column = member * 2 + r % 2;
    float sum = c[r];
    for (int k = 0; k < 8 * halves; ++k) {
      int word = k / (4 * halves), holder = k % (4 * halves) / halves;
      unsigned left = emulated_a[warp + row % 8 * 4 + holder][row / 8 + 2 * word];
      unsigned right = emulated_b[warp + column * 4 + holder][word];
      sum += number(left, k % halves) * number(right, k % halves);
    }
    c[r] = sum;
  }
  emulated_barrier();
  return 0;
}
static int majuscule_multiply_tf32(float *c, const unsigned *a, const unsigned *b) {
  return emulated_multiply(c, a, b, 1, [](unsigned word, int) { float x; return __builtin_memcpy(&x, &word, 4), x; });
}
static int majuscule_multiply_float16(float *c, const unsigned *a, const unsigned *b) {
  return emulated_multiply(c, a, b, 2, [](unsigned word, int half) { return emulated_from_float16(word >> 16 * half); });
}
static int majuscule_multiply_bfloat16(float *c, const unsigned *a, const unsigned *b) {
  return emulated_multiply(c, a, b, 2, [](unsigned word, int half) { return emulated_from_bfloat16(word >> 16 * half); });
}

template <typename T> static inline T max(T a, T b) { return a > b ? a : b; }
template <typename T> static inline T min(T a, T b) { return a < b ? a : b; }
