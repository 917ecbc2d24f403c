// The thread pool, as C text: fixed threads that run the tasks of one parallel region after another. Tasks are claimed
// in chunks from a counter, so a thread that the system does not schedule delays nobody: the others take its share.
// Idle threads and the caller at the end of a region spin for a moment, because the next region of a plan comes within
// microseconds, and then sleep on a futex, because the machine may have better things to do.
export const pool = `
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
static void word_wait(_Atomic u32 *word, u32 value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, (void *)0, (void *)0, 0);
}
static void word_wake(_Atomic u32 *word, int threads) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, threads, (void *)0, (void *)0, 0);
}
#else
static pthread_mutex_t word_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t word_changed = PTHREAD_COND_INITIALIZER;
static void word_wait(_Atomic u32 *word, u32 value) {
  pthread_mutex_lock(&word_mutex);
  while (atomic_load(word) == value) pthread_cond_wait(&word_changed, &word_mutex);
  pthread_mutex_unlock(&word_mutex);
}
static void word_wake(_Atomic u32 *word, int threads) {
  pthread_mutex_lock(&word_mutex);
  pthread_cond_broadcast(&word_changed);
  pthread_mutex_unlock(&word_mutex);
}
#endif

enum { SPIN_NANOSECONDS = 200000, CHUNKS_PER_THREAD = 16 };

struct region {
  const struct part *parts;
  const ix *ends;              // task numbers where the parts end
  char *const *buffers;        // of all parts, one after another
  const u32 *first_buffer;
  const ix *dims;
  char *scratch;
  u64 scratch_bytes;
  ix tasks, chunk;
  u32 chunks;
};

struct pool {
  // Chunks of the region that nobody has claimed. A claim is a decrement of a number above 0; only after it is the
  // region read, and the region stays until every claimed chunk is reported in pending.
  _Alignas(64) _Atomic u32 left;
  _Alignas(64) _Atomic u32 pending;
  _Atomic u32 caller_sleeps;
  _Alignas(64) _Atomic u32 signal;
  _Atomic u32 sleepers, stop;
  _Alignas(64) struct region region;
  pthread_mutex_t lock;        // held while a plan runs
  pthread_t *threads;
  u32 wanted, started;
  int closed;
};

static u64 now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void run_task(const struct region *r, ix task, u32 thread) {
  u32 p = 0;
  while (task >= r->ends[p]) p++;
  ix first = p ? r->ends[p - 1] : 0;
  r->parts[p].run(task - first, r->buffers + r->first_buffer[p], r->dims, r->scratch + thread * r->scratch_bytes);
}

// Runs chunks of the current region until none is left.
static void work(struct pool *p, u32 thread) {
  u32 done = 0;
  u32 left = atomic_load(&p->left);
  while (left) {
    if (!atomic_compare_exchange_weak(&p->left, &left, left - 1)) continue;
    const struct region *r = &p->region;
    ix task = (ix)(r->chunks - left) * r->chunk;
    ix end = task + r->chunk < r->tasks ? task + r->chunk : r->tasks;
    for (; task < end; task++) run_task(r, task, thread);
    done++;
    left = atomic_load(&p->left);
  }
  if (done && atomic_fetch_sub(&p->pending, done) == done && atomic_load(&p->caller_sleeps)) word_wake(&p->pending, 1);
}

// Whether *word became (un)equal to 0 within the spinning time.
static int spin(_Atomic u32 *word, int until_zero, _Atomic u32 *stop) {
  u64 deadline = 0;
  for (;;) {
    for (int i = 0; i < 32; i++) {
      if ((atomic_load_explicit(word, memory_order_acquire) == 0) == until_zero) return 1;
      relax();
    }
    if (stop && atomic_load(stop)) return 1;
    u64 t = now();
    if (!deadline) deadline = t + SPIN_NANOSECONDS;
    else if (t > deadline) return 0;
  }
}

struct worker { struct pool *pool; u32 thread; };

static void *worker_main(void *argument) {
  struct worker w = *(struct worker *)argument;
  struct pool *p = w.pool;
  free(argument);
  while (!atomic_load(&p->stop)) {
    if (spin(&p->left, 0, &p->stop)) {
      work(p, w.thread);
      continue;
    }
    // Either the sleeper is counted before the caller looks, or the sleeper sees the caller's chunks.
    u32 signal = atomic_load(&p->signal);
    atomic_fetch_add(&p->sleepers, 1);
    if (atomic_load(&p->left) == 0 && !atomic_load(&p->stop)) word_wait(&p->signal, signal);
    atomic_fetch_sub(&p->sleepers, 1);
  }
  return 0;
}

static void pool_wake(struct pool *p, int threads) {
  atomic_fetch_add(&p->signal, 1);
  word_wake(&p->signal, threads);
}

// Threads start with the first region that can use them; where the system refuses some, the others do their work.
static void pool_start(struct pool *p) {
  if (p->started || p->closed || p->wanted < 2) return;
  p->threads = calloc(p->wanted - 1, sizeof(pthread_t));
  if (!p->threads) return;
  sigset_t all, old;
  sigfillset(&all);
  sigdelset(&all, SIGBUS); // see mappings.ts
  pthread_sigmask(SIG_SETMASK, &all, &old);
  for (u32 i = 1; i < p->wanted; i++) {
    struct worker *w = malloc(sizeof *w);
    if (!w) break;
    *w = (struct worker){p, i};
    if (pthread_create(&p->threads[p->started], 0, worker_main, w)) {
      free(w);
      break;
    }
    p->started++;
  }
  pthread_sigmask(SIG_SETMASK, &old, 0);
}

// Ends the threads once no plan is running. A plan that comes later runs on its caller's thread alone.
static void pool_close(struct pool *p) {
  pthread_mutex_lock(&p->lock);
  atomic_store(&p->stop, 1);
  pool_wake(p, 0x7fffffff);
  for (u32 i = 0; i < p->started; i++) pthread_join(p->threads[i], 0);
  free(p->threads);
  p->threads = 0;
  p->started = 0;
  p->closed = 1;
  pthread_mutex_unlock(&p->lock);
}

// Runs all tasks of p->region; the caller is thread 0.
static void pool_run(struct pool *p) {
  struct region *r = &p->region;
  if (r->tasks > 1) pool_start(p);
  if (r->tasks <= 1 || p->started == 0) {
    for (ix task = 0; task < r->tasks; task++) run_task(r, task, 0);
    return;
  }
  ix most = (ix)CHUNKS_PER_THREAD * (p->started + 1);
  r->chunk = (r->tasks + most - 1) / most;
  r->chunks = (u32)((r->tasks + r->chunk - 1) / r->chunk);
  atomic_store(&p->pending, r->chunks);
  atomic_store(&p->left, r->chunks);
  if (atomic_load(&p->sleepers)) pool_wake(p, (int)r->chunks - 1);
  work(p, 0);
  if (spin(&p->pending, 1, 0)) return;
  atomic_store(&p->caller_sleeps, 1);
  for (u32 left; (left = atomic_load(&p->pending)) != 0;) word_wait(&p->pending, left);
  atomic_store(&p->caller_sleeps, 0);
}

// A loaded program and the memory that it runs in.
struct loaded {
  u64 magic;
  void *library;
  const struct program *program;
  char *arena, *scratch;
  u64 scratch_bytes;
  u32 threads;
  // of the largest step
  ix *ends;
  u32 *first_buffer;
  char **buffers;
};

// The whole plan of an entry: its regions one after another.
static void run_plan(struct pool *p, struct loaded *l, const struct entry *e, char *const *addresses, const ix *dims) {
  pthread_mutex_lock(&p->lock);
  for (u32 s = 0; s < e->steps; s++) {
    const struct step *step = &e->step[s];
    const struct part *parts = e->part + step->first_part;
    ix tasks = 0;
    u32 buffers = 0;
    for (u32 i = 0; i < step->parts; i++) {
      ix grid = parts[i].grid(dims);
      tasks += grid > 0 ? grid : 0;
      l->ends[i] = tasks;
      l->first_buffer[i] = buffers;
      for (u32 j = 0; j < parts[i].slots; j++) {
        const struct slot *slot = &e->slot[parts[i].first_slot + j];
        l->buffers[buffers++] = addresses[slot->address] + slot->offset;
      }
    }
    p->region = (struct region){
      .parts = parts, .ends = l->ends, .buffers = l->buffers, .first_buffer = l->first_buffer, .dims = dims,
      .scratch = l->scratch, .scratch_bytes = l->scratch_bytes, .tasks = tasks,
    };
    pool_run(p);
  }
  pthread_mutex_unlock(&p->lock);
}
`;
