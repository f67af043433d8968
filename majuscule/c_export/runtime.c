/* What compiled code asks of TVM's runtime: threads, working memory, messages.
 *
 * TVM's code calls its runtime through variables that a loader sets; here they have their values
 * from the start.  A pool belongs to a model.  Its threads spin for a short while after each parallel
 * loop, since the next one mostly follows at once, and then sleep.
 */

#define SPINS 20000 /* turns of some nanoseconds before a thread that waits goes to sleep */
#define ALIGNMENT 64

static _Thread_local char last_message[512];

static int failed(int status, const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(last_message, sizeof last_message, format, values);
  va_end(values);
  return status;
}

/* -- memory ------------------------------------------------------------------------------ */

#define HUGE_PAGE ((size_t)1 << 21)

/* Memory that starts at a cache line, in huge pages where it is large and the system has them; NULL if there is none. */
static void *allocate(size_t size) {
  void *memory = NULL;
  size_t alignment = size < HUGE_PAGE ? ALIGNMENT : HUGE_PAGE;
  if (posix_memalign(&memory, alignment, size ? size : 1)) return NULL;
#ifdef MADV_HUGEPAGE
  if (alignment == HUGE_PAGE) madvise(memory, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
  return memory;
}

/* -- threads ------------------------------------------------------------------------------ */

typedef struct {
  void *pool;
  int32_t tasks;
} environment;

typedef int (*task)(int number, environment *shared, void *data);

typedef struct {
  pthread_mutex_t lock;
  pthread_cond_t wake;
  atomic_uint launched; /* counts parallel loops; a change is the sign to begin */
  atomic_int running;   /* workers that have not finished the present loop */
  atomic_int arrived;   /* at the present barrier */
  atomic_uint barriers;
  atomic_int failures;
  int ending, workers;
  task function;
  void *data;
  environment shared;
  pthread_t threads[];
} pool;

typedef struct {
  pool *of;
  int number;
} worker;

static void relax(int turn) {
#if defined(__x86_64__)
  if (turn % 64) {
    __builtin_ia32_pause();
    return;
  }
#endif
  if (turn % 64 == 0) sched_yield();
}

static void *serve(void *argument) {
  worker self = *(worker *)argument;
  pool *p = self.of;
  free(argument);
  unsigned seen = 0;
  for (;;) {
    for (int turn = 0; turn < SPINS && atomic_load(&p->launched) == seen; turn++) relax(turn);
    if (atomic_load(&p->launched) == seen) {
      pthread_mutex_lock(&p->lock);
      while (atomic_load(&p->launched) == seen) pthread_cond_wait(&p->wake, &p->lock);
      pthread_mutex_unlock(&p->lock);
    }
    seen++;
    if (p->ending) return NULL;
    if (p->function(self.number, &p->shared, p->data)) atomic_fetch_add(&p->failures, 1);
    atomic_fetch_sub(&p->running, 1);
  }
}

static void begin(pool *p) {
  pthread_mutex_lock(&p->lock);
  atomic_fetch_add(&p->launched, 1);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->lock);
}

static void free_pool(pool *p) {
  p->ending = 1;
  begin(p);
  for (int i = 0; i < p->workers; i++) pthread_join(p->threads[i], NULL);
  pthread_cond_destroy(&p->wake);
  pthread_mutex_destroy(&p->lock);
  free(p);
}

/* A pool of `threads` in all, the caller's among them; NULL if the system does not give them. */
static pool *new_pool(int threads) {
  pool *p = calloc(1, sizeof(pool) + threads * sizeof(pthread_t));
  if (!p) return NULL;
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->wake, NULL);
  p->shared = (environment){p, threads};
  while (p->workers < threads - 1) {
    worker *next = malloc(sizeof *next);
    if (next) *next = (worker){p, p->workers + 1};
    if (!next || pthread_create(&p->threads[p->workers], NULL, serve, next)) {
      free(next);
      free_pool(p);
      return NULL;
    }
    p->workers++;
  }
  return p;
}

static _Thread_local pool *current; /* that of the model which runs in this thread */

static int launch(task function, void *data, int tasks) {
  pool *p = current;
  (void)tasks; /* code asks for as many as there are threads */
  p->function = function;
  p->data = data;
  atomic_store(&p->running, p->workers);
  if (p->workers) begin(p);
  if (function(0, &p->shared, data)) atomic_fetch_add(&p->failures, 1);
  for (int turn = 0; atomic_load(&p->running); turn = (turn + 1) % 64) relax(turn);
  return atomic_load(&p->failures) ? -1 : 0;
}

static int barrier(int number, environment *shared) {
  pool *p = shared->pool;
  unsigned passed = atomic_load(&p->barriers);
  (void)number;
  if (atomic_fetch_add(&p->arrived, 1) == p->workers) {
    atomic_store(&p->arrived, 0);
    atomic_fetch_add(&p->barriers, 1);
  }
  for (int turn = 0; atomic_load(&p->barriers) == passed; turn = (turn + 1) % 64) relax(turn);
  return 0;
}

/* -- the names by which code finds this ----------------------------------------------------- */

static void *allocate_workspace(int device, int number, uint64_t size, int code, int bits) {
  (void)device, (void)number, (void)code, (void)bits;
  return allocate(size);
}

static int free_workspace(int device, int number, void *memory) {
  (void)device, (void)number;
  free(memory);
  return 0;
}

/* Messages of compiled code are about sizes and dtypes of vectors that `call` makes, so nobody sees them. */
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count) {
  (void)kind, (void)parts, (void)count;
}

static void raise_message(const char *kind, const char *message) { (void)kind, (void)message; }

int (*__TVMBackendParallelLaunch)(task, void *, int) = launch;
int (*__TVMBackendParallelBarrier)(int, environment *) = barrier;
void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate_workspace;
int (*__TVMBackendFreeWorkspace)(int, int, void *) = free_workspace;
void (*__TVMFFIErrorSetRaisedFromCStr)(const char *, const char *) = raise_message;
