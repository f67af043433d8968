/* What the functions that start kernels share; `starting.py` writes those and the tables. */

#include <stddef.h>
#include <stdint.h>

extern void *majuscule_functions[];

struct majuscule_driver {
  int (*launch)(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                unsigned block_z, unsigned shared, void *stream, void **arguments, void **extra);
  int (*copy)(void *host, uint64_t device, size_t bytes, void *stream);
  int (*wait)(void *stream);
  void *stream;
  int64_t error;
};
struct majuscule_driver majuscule_driver;

enum { LARGEST_GRID = 0x7fffffff, TOO_LARGE = -1 };

static inline int64_t floor_div(int64_t a, int64_t b) { return a / b - ((a % b != 0) & ((a < 0) != (b < 0))); }

static void start(int kernel, int64_t blocks, unsigned threads, void **arguments) {
  struct majuscule_driver *driver = &majuscule_driver;
  if (driver->error || blocks <= 0) return;
  if (blocks > LARGEST_GRID) {
    driver->error = TOO_LARGE;
    return;
  }
  driver->error = driver->launch(majuscule_functions[kernel], (unsigned)blocks, 1, 1, threads, 1, 1, 0, driver->stream,
                                 arguments, NULL);
}

/* Whether a truth value on the GPU holds and none of the flags there is set. */
int32_t majuscule_holds(void *truth, void *flags, int64_t count) {
  struct majuscule_driver *driver = &majuscule_driver;
  uint8_t value = 0;
  int32_t some[256];
  if (!driver->error) driver->error = driver->copy(&value, (uint64_t)(uintptr_t)truth, 1, driver->stream);
  if (!driver->error) driver->error = driver->wait(driver->stream);
  for (int64_t begin = 0; value && begin < count && !driver->error; begin += 256) {
    int64_t here = count - begin < 256 ? count - begin : 256;
    driver->error = driver->copy(some, (uint64_t)(uintptr_t)((int32_t *)flags + begin), 4 * here, driver->stream);
    if (!driver->error) driver->error = driver->wait(driver->stream);
    for (int64_t i = 0; i < here; ++i) value = value && !some[i];
  }
  return value && !driver->error;
}
