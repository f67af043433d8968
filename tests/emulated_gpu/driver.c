/* A CUDA driver without a GPU: its memory is the CPU's, and a module is a shared library of emulated kernels. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

enum { OK, INVALID = 1, OUT_OF_MEMORY = 2, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, STACK = 64 << 10 };

struct place {
  int x, y, z;
};

enum { MOST_ARGUMENTS = 64 };

struct function {
  int count; /* of arguments, 8 bytes each */
  void (*call)(void **arguments);
  struct place *thread, *block;
  void (**barrier)(void);
  int waits;
};

/* What tests set and look at. */
int emulated_devices = 1, emulated_capability = 90;
int64_t emulated_memory = 1LL << 33, emulated_used, emulated_launches, emulated_waits;

static int64_t held[1 << 16][2];
static int holds;

int cuInit(unsigned flags) { return OK; }
int cuDriverGetVersion(int *version) { return *version = 13000, OK; }
int cuDeviceGetCount(int *count) { return *count = emulated_devices, OK; }
int cuDeviceGet(int *device, int number) { return *device = number, OK; }
int cuDeviceGetName(char *name, int size, int device) { return snprintf(name, size, "Emulated GPU %d", device), OK; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = emulated_memory, OK; }
int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = (void *)(intptr_t)(device + 1), OK; }
int cuCtxSetCurrent(void *context) { return OK; }
int cuMemGetInfo_v2(size_t *left, size_t *total) { return *left = emulated_memory - emulated_used, *total = emulated_memory, OK; }

int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 16 ? 132 : attribute == 75 ? emulated_capability / 10 : attribute == 76 ? emulated_capability % 10 : 0;
  return OK;
}

int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  if (emulated_used + (int64_t)bytes > emulated_memory) return OUT_OF_MEMORY;
  void *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (!memory) return OUT_OF_MEMORY;
  memset(memory, 0xA5, bytes); /* what was there before means nothing */
  *address = (uint64_t)(uintptr_t)memory;
  held[holds][0] = *address;
  held[holds++][1] = bytes;
  emulated_used += bytes;
  return OK;
}

int cuMemFree_v2(uint64_t address) {
  for (int k = 0; k < holds; ++k)
    if (held[k][0] == (int64_t)address) {
      emulated_used -= held[k][1];
      memcpy(held[k], held[--holds], sizeof held[k]);
      free((void *)(uintptr_t)address);
      return OK;
    }
  return INVALID;
}

/* Whether bytes of the emulated GPU's memory were given to somebody. */
static int known(uint64_t address, size_t bytes) {
  for (int k = 0; k < holds; ++k)
    if (held[k][0] <= (int64_t)address && (int64_t)(address + bytes) <= held[k][0] + held[k][1]) return 1;
  return 0;
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  if (!known(to, bytes)) return INVALID;
  return memcpy((void *)(uintptr_t)to, from, bytes), OK;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  if (!known(from, bytes)) return INVALID;
  return memcpy(to, (void *)(uintptr_t)from, bytes), OK;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
  if (!known(from, bytes) || !known(to, bytes)) return INVALID;
  return memmove((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes), OK;
}
int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *stream) {
  if (!known(to, bytes)) return INVALID;
  return memset((void *)(uintptr_t)to, value, bytes), OK;
}

int cuStreamCreate(void **stream, unsigned flags) { return *stream = malloc(1), OK; }
int cuStreamDestroy_v2(void *stream) { return free(stream), OK; }
int cuStreamSynchronize(void *stream) { return ++emulated_waits, OK; }
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { return OK; }
int cuEventCreate(void **event, unsigned flags) { return *event = malloc(sizeof(int64_t)), OK; }
int cuEventRecord(int64_t *event, void *stream) { return *event = emulated_launches, OK; }
int cuEventSynchronize(void *event) { return OK; }
int cuEventElapsedTime(float *milliseconds, int64_t *start, int64_t *end) { /* every kernel takes as long */
  return *milliseconds = 0.25f * (*end - *start), OK;
}
int cuEventQuery(void *event) { return OK; }
int cuEventDestroy_v2(void *event) { return free(event), OK; }

int cuModuleLoadData(void **module, const void *image) {
  const Elf64_Ehdr *header = image;
  if (memcmp(header->e_ident, ELFMAG, SELFMAG)) return 209;
  size_t size = header->e_shoff + (size_t)header->e_shentsize * header->e_shnum;
  char path[] = "/tmp/kernelXXXXXX"; /* a name of its own: the loader takes files of one name for one library */
  int file = mkstemp(path);
  if (file < 0 || write(file, image, size) != (ssize_t)size) return INVALID;
  *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!*module) fprintf(stderr, "%s\n", dlerror());
  unlink(path), close(file);
  return *module ? OK : INVALID;
}
int cuModuleUnload(void *module) { return dlclose(module), OK; }

int cuModuleGetFunction(void **function, void *module, const char *name) {
  char symbol[256];
  snprintf(symbol, sizeof symbol, "emulated_%s", name);
  struct function *found = malloc(sizeof *found);
  found->call = (void (*)(void **))dlsym(module, symbol);
  found->thread = dlsym(module, "threadIdx");
  found->block = dlsym(module, "blockIdx");
  found->barrier = dlsym(module, "emulated_barrier");
  snprintf(symbol, sizeof symbol, "emulated_count_%s", name);
  const int *count = dlsym(module, symbol);
  found->count = count ? *count : 0;
  found->waits = dlsym(module, "emulated_waits_for_others") != NULL;
  *function = found;
  return found->call ? OK : NOT_FOUND;
}

/* Threads of a block that wait for each other have stacks of their own. */
enum { MOST_THREADS = 1024 };
static char *stacks;
static int running, done[MOST_THREADS];
static struct function *current;
static void **given;

#if defined(__x86_64__)
/* As swapcontext, but for the mask of signals, which costs a call of the system each time. */
static void *scheduler, *threads[MOST_THREADS];
void switch_stack(void **from, void *to);
__asm__(
    "switch_stack:\n"
    "push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "mov %rsp, (%rdi)\n mov %rsi, %rsp\n"
    "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n");

static void to_scheduler(void) { switch_stack(&threads[running], scheduler); }
static void to_thread(void) { switch_stack(&scheduler, threads[running]); }
static void thread_main(void) {
  current->call(given);
  done[running] = 1;
  to_scheduler();
}
static void prepare(int k) {
  void **top = (void **)(stacks + (size_t)(k + 1) * STACK) - 8; /* aligned as a call leaves it */
  top[6] = (void *)thread_main;
  threads[k] = top;
}
#else
static ucontext_t scheduler, threads[MOST_THREADS];
static void to_scheduler(void) { swapcontext(&threads[running], &scheduler); }
static void to_thread(void) { swapcontext(&scheduler, &threads[running]); }
static void thread_main(void) {
  current->call(given);
  done[running] = 1;
  to_scheduler();
}
static void prepare(int k) {
  getcontext(&threads[k]);
  threads[k].uc_stack.ss_sp = stacks + (size_t)k * STACK;
  threads[k].uc_stack.ss_size = STACK;
  makecontext(&threads[k], thread_main, 0);
}
#endif

/* All threads of a block in turns, each until it waits for the others; their order changes from turn to turn. */
static void run_block(struct function *function, int count, void **arguments) {
  if (!stacks) stacks = aligned_alloc(4096, (size_t)MOST_THREADS * STACK);
  current = function, given = arguments;
  *function->barrier = to_scheduler;
  for (int k = 0; k < count; ++k) prepare(k), done[k] = 0;
  for (int left = 1, round = 0; left; ++round) {
    left = 0;
    for (int turn = 0; turn < count; ++turn) {
      running = round % 2 ? count - 1 - turn : turn;
      if (done[running]) continue;
      function->thread->x = running;
      to_thread();
      left |= !done[running];
    }
  }
}

/* Recordings: launches with copies of their arguments. */
struct launch {
  struct function *function;
  unsigned blocks, threads;
  uint64_t arguments[MOST_ARGUMENTS];
  struct launch *next;
};
static struct launch *recorded, **last_recorded;
static int recording;
int64_t emulated_recordings, emulated_refuses_recordings;

static int launch(struct function *function, unsigned blocks, unsigned threads, void **arguments);

int cuStreamBeginCapture_v2(void *stream, int mode) {
  if (emulated_refuses_recordings) return INVALID;
  recorded = NULL, last_recorded = &recorded, recording = 1;
  return OK;
}
int cuStreamEndCapture(void *stream, void **graph) { return *graph = recorded ? recorded : malloc(1), recording = 0, OK; }
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
  return ++emulated_recordings, *executable = recorded, OK;
}
int cuGraphDestroy(void *graph) { return OK; }
int cuGraphExecDestroy(void *executable) { return OK; }
int cuGraphLaunch(void *executable, void *stream) {
  ++emulated_launches;
  for (struct launch *found = executable; found; found = found->next) {
    void *arguments[MOST_ARGUMENTS];
    for (int k = 0; k < found->function->count; ++k) arguments[k] = &found->arguments[k];
    launch(found->function, found->blocks, found->threads, arguments);
  }
  return OK;
}

int cuLaunchKernel(void *handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared, void *stream, void **arguments, void **extra) {
  struct function *function = handle;
  if (!grid_x || !block_x || block_x > 1024 || grid_y != 1 || grid_z != 1 || block_y != 1 || block_z != 1) return INVALID;
  if (recording) {
    struct launch *found = calloc(1, sizeof *found);
    if (function->count > MOST_ARGUMENTS) return INVALID;
    found->function = function, found->blocks = grid_x, found->threads = block_x;
    for (int k = 0; k < function->count; ++k) memcpy(&found->arguments[k], arguments[k], 8);
    *last_recorded = found, last_recorded = &found->next;
    return OK;
  }
  ++emulated_launches;
  return launch(function, grid_x, block_x, arguments);
}

static int launch(struct function *function, unsigned blocks, unsigned threads, void **arguments) {
  for (unsigned block = 0; block < blocks; ++block) {
    function->block->x = block;
    if (function->waits) {
      run_block(function, threads, arguments);
      continue;
    }
    for (unsigned thread = 0; thread < threads; ++thread) {
      function->thread->x = thread;
      function->call(arguments);
    }
  }
  return OK;
}

int cuGetErrorName(int error, const char **name) {
  return *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : error == INVALID ? "CUDA_ERROR_INVALID_VALUE" : "CUDA_ERROR", OK;
}
int cuGetErrorString(int error, const char **text) {
  return *text = error == OUT_OF_MEMORY ? "out of memory" : "invalid argument", OK;
}
