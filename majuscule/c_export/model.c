/* A model: weights in place, working memory, threads; created, run and destroyed.
 *
 * It is compiled behind `runtime.c` and the tables that `writing.py` makes of a module's manifest:
 * SYMBOLS, INPUTS, OUTPUTS, BUFFERS, CHECKS, WEIGHTS_SIZE, `symbol_names`, `symbol_minimums`,
 * `buffers`, `check_messages`, `features`, `weights_header`, `embedded_weights`, `constants`, and the
 * functions `arena_size` and `unmet_requirement`.
 */

enum { OK, WRONG_ARGUMENT, NO_FILE, WRONG_FILE, WRONG_SIZE, FAILED_CHECK, NO_MEMORY, NO_THREADS, WRONG_CPU, FAILED };

/* -- calling compiled code ------------------------------------------------------------------ */

typedef struct { /* of DLPack */
  void *data;
  struct { int32_t type, number; } device;
  int32_t axes;
  struct { uint8_t code, bits; uint16_t lanes; } dtype;
  int64_t *shape, *strides;
  uint64_t offset;
} vector;

typedef struct { /* of TVM's foreign function interface */
  int32_t type;
  uint32_t padding;
  union { int64_t number; void *pointer; } value;
} any;

enum { VECTOR_POINTER = 7 };

typedef int compiled(void *self, const any *arguments, int32_t count, any *result);
compiled __tvm_ffi_majuscule_run, __tvm_ffi_majuscule_prepare;

static int call(compiled *function, int64_t *addresses, int64_t *sizes, int32_t *status) {
  int64_t one = 1, shapes[] = {BUFFERS, SYMBOLS + 5, CHECKS};
  void *data[] = {addresses, sizes, status};
  vector vectors[3];
  any arguments[3], result = {0};
  for (int i = 0; i < 3; i++) {
    vectors[i] = (vector){data[i], {1, 0}, 1, {0, i < 2 ? 64 : 32, 1}, &shapes[i], &one, 0};
    arguments[i] = (any){VECTOR_POINTER, 0, {.pointer = &vectors[i]}};
  }
  return function(NULL, arguments, 3, &result);
}

/* -- creating ------------------------------------------------------------------------------- */

struct model {
  pthread_mutex_t lock;
  pool *threads;
  pid_t process;
  int64_t addresses[BUFFERS];
  void *owned[BUFFERS]; /* memory of weights that lie askew in their file, and of what is prepared */
  void *file;           /* the mapped weights, or NULL if they are embedded */
  void *arena;
  int64_t arena_size;
};

static void destroy(struct model *model) {
  if (!model) return;
  if (model->threads && model->process == getpid()) free_pool(model->threads);
  for (int i = 0; i < BUFFERS; i++) free(model->owned[i]);
  if (model->file) munmap(model->file, WEIGHTS_SIZE);
  free(model->arena);
  pthread_mutex_destroy(&model->lock);
  free(model);
}

static int default_threads(void) {
#ifdef CPU_COUNT
  cpu_set_t cores;
  if (!sched_getaffinity(0, sizeof cores, &cores)) return CPU_COUNT(&cores);
#endif
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (int)online : 1;
}

/* Whether a line of /proc/cpuinfo has one of several names, written as "name|name" without punctuation. */
static int has_feature(const char *line, const char *names) {
  for (const char *end = line; *line; line = end) {
    char word[64];
    size_t length = 0;
    line += strspn(line, " \t\n:");
    end = line + strcspn(line, " \t\n:");
    for (const char *c = line; c < end && length + 1 < sizeof word; c++)
      if (!strchr("_.-", *c)) word[length++] = *c;
    for (const char *name = names; length; name += strcspn(name, "|") + 1) {
      if (strcspn(name, "|") == length && !strncmp(name, word, length)) return 1;
      if (!name[strcspn(name, "|")]) break;
    }
  }
  return 0;
}

/* The extension that this processor lacks, or NULL; also where the system does not tell. */
static const char *missing_feature(void) {
  FILE *file = fopen("/proc/cpuinfo", "r");
  const char *missing = NULL;
  char *line = NULL;
  size_t room = 0;
  if (!file) return NULL;
  while (getline(&line, &room, file) > 0)
    if (!strncmp(line, "flags", 5) || !strncmp(line, "Features", 8)) {
      for (int i = 0; features[i] && !missing; i++)
        if (!has_feature(line, features[i])) missing = features[i];
      break;
    }
  free(line);
  fclose(file);
  return missing;
}

/* The weights' file, mapped, once it is known to be one of this program. */
static int open_weights(struct model *model, const char *path, const char **data) {
  struct stat about;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return failed(NO_FILE, "cannot open %s: %s", path, strerror(errno));
  int status = OK;
  if (fstat(file, &about))
    status = failed(NO_FILE, "cannot read %s: %s", path, strerror(errno));
  else if (!S_ISREG(about.st_mode))
    status = failed(NO_FILE, "%s is not a file", path);
  else if (about.st_size != WEIGHTS_SIZE)
    status = failed(WRONG_FILE, "%s does not hold the weights of this program, or is cut off: it has %lld bytes, not %lld",
                    path, (long long)about.st_size, (long long)WEIGHTS_SIZE);
  if (!status) {
    void *mapped = mmap(NULL, WEIGHTS_SIZE, PROT_READ, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED)
      status = failed(NO_MEMORY, "cannot map %s: %s", path, strerror(errno));
    else
      model->file = mapped;
  }
  close(file);
  if (!status && memcmp(model->file, weights_header, sizeof weights_header))
    status = failed(WRONG_FILE, "%s does not hold the weights of this program: other names, shapes or dtypes", path);
  *data = model->file;
  return status;
}

static int place(struct model *model, const char *weights) {
  for (int i = 0; i < BUFFERS; i++) {
    const struct buffer *wanted = &buffers[i];
    const char *source = wanted->kind == WEIGHT ? weights + wanted->place
                         : wanted->kind == CONSTANT ? (const char *)constants + wanted->place : NULL;
    int owns = wanted->kind == PREPARED || wanted->kind == PASSING || (source && (uintptr_t)source % ALIGNMENT);
    if (owns && !(model->owned[i] = allocate((size_t)wanted->size)))
      return failed(NO_MEMORY, "there is not enough memory for the weights");
    if (owns && source) memcpy(model->owned[i], source, (size_t)wanted->size);
    model->addresses[i] = (int64_t)(owns ? model->owned[i] : source);
  }
  return OK;
}

static int prepare(struct model *model) {
  int64_t sizes[SYMBOLS + 5] = {0};
  int32_t status[CHECKS + 1] = {0};
  memcpy(sizes, symbol_minimums, SYMBOLS * sizeof *sizes);
  sizes[SYMBOLS + 3] = INT64_MAX;
  sizes[SYMBOLS + 4] = model->threads->shared.tasks;
  current = model->threads;
  int code = call(__tvm_ffi_majuscule_prepare, model->addresses, sizes, status);
  if (code || atomic_load(&model->threads->failures)) return failed(FAILED, "the compiled code failed");
  for (int i = 0; i < BUFFERS; i++)
    if (buffers[i].kind == PASSING) {
      free(model->owned[i]);
      model->owned[i] = NULL;
      model->addresses[i] = 0;
    }
  if (model->file) madvise(model->file, WEIGHTS_SIZE, MADV_DONTNEED); /* what is read again comes from the file again */
  return OK;
}

static int create(const char *path, int threads, struct model **made) {
  if (!made) return failed(WRONG_ARGUMENT, "there is no place for the model");
  *made = NULL;
  if (threads < 0 || threads > 1024) return failed(WRONG_ARGUMENT, "%d threads: give 1 to 1024, or 0 for all cores", threads);
  const char *missing = missing_feature();
  if (missing) return failed(WRONG_CPU, "this processor lacks %s, which the library uses", missing);
  if (!path && !embedded_weights) return failed(WRONG_ARGUMENT, "there is no path of the weights");
  struct model *model = calloc(1, sizeof *model);
  if (!model) return failed(NO_MEMORY, "there is not enough memory for the model");
  pthread_mutex_init(&model->lock, NULL);
  model->process = getpid();
  model->threads = new_pool(threads ? threads : default_threads());
  const char *data = embedded_weights;
  int status = model->threads ? OK : failed(NO_THREADS, "the system does not give as many threads");
  if (!status && path) status = open_weights(model, path, &data);
  if (!status) status = place(model, data);
  if (!status) status = prepare(model);
  if (status)
    destroy(model);
  else
    *made = model;
  return status;
}

/* -- running --------------------------------------------------------------------------------- */

static int check_sizes(const int64_t *sizes) {
  for (int i = 0; i < SYMBOLS; i++)
    if (sizes[i] < symbol_minimums[i] || sizes[i] > INT32_MAX)
      return failed(WRONG_SIZE, "%s is %lld; it must be at least %lld and at most %d", symbol_names[i],
                    (long long)sizes[i], (long long)symbol_minimums[i], INT32_MAX);
  const char *reason = unmet_requirement(sizes);
  return reason ? failed(WRONG_SIZE, "the sizes do not fit: %s", reason) : OK;
}

static int reserve(struct model *model, const int64_t *sizes) {
  wide size = arena_size(sizes, model->threads->shared.tasks);
  if (size <= model->arena_size) return OK;
  free(model->arena);
  model->arena_size = 0;
  model->arena = size < INT64_MAX / 2 ? allocate((size_t)size) : NULL;
  if (!model->arena) return failed(NO_MEMORY, "there is not enough working memory; a smaller batch needs less");
  model->arena_size = (int64_t)size;
  return OK;
}

static int run_locked(struct model *model, int64_t *sizes, const void *const *inputs, void *const *outputs) {
  int32_t status[CHECKS + 1] = {0};
  int code = reserve(model, sizes);
  if (code) return code;
  for (int i = 0; i < BUFFERS; i++) {
    const struct buffer *wanted = &buffers[i];
    if (wanted->kind == INPUT) model->addresses[i] = (int64_t)inputs[wanted->place];
    if (wanted->kind == OUTPUT) model->addresses[i] = (int64_t)outputs[wanted->place];
    if (wanted->kind == ARENA) model->addresses[i] = (int64_t)model->arena;
  }
  sizes[SYMBOLS + 2] = 0;
  sizes[SYMBOLS + 3] = INT64_MAX;
  sizes[SYMBOLS + 4] = model->threads->shared.tasks;
  current = model->threads;
  atomic_store(&current->failures, 0);
  code = call(__tvm_ffi_majuscule_run, model->addresses, sizes, status);
  if (code || atomic_load(&current->failures)) return failed(FAILED, "the compiled code failed");
  for (int i = 0; i < CHECKS; i++)
    if (status[i]) return failed(FAILED_CHECK, "%s", check_messages[i]);
  return OK;
}

/* `sizes` are the symbols, seed and step, and room for three more numbers. */
static int run(struct model *model, int64_t *sizes, const void *const *inputs, void *const *outputs) {
  if (!model) return failed(WRONG_ARGUMENT, "there is no model");
  if (model->process != getpid()) return failed(WRONG_ARGUMENT, "the model was created before a fork; create one here");
  for (int i = 0; i < INPUTS; i++)
    if (!inputs[i]) return failed(WRONG_ARGUMENT, "input %d is NULL", i + 1);
  for (int i = 0; i < OUTPUTS; i++)
    if (!outputs[i]) return failed(WRONG_ARGUMENT, "output %d is NULL", i + 1);
  int status = check_sizes(sizes);
  if (status) return status;
  pthread_mutex_lock(&model->lock);
  status = run_locked(model, sizes, inputs, outputs);
  pthread_mutex_unlock(&model->lock);
  return status;
}
