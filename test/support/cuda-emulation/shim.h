// What generated CUDA C means, for a host compiler. The threads of a block are fibers that run in turn; a barrier, or an
// exchange within a warp, is where a fiber waits for the others. Blocks run one after another, so __shared__ is static.
// The order of the fibers changes from block to block, to bring missing barriers to light. Included before the code.
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

typedef struct { unsigned x, y, z; } uint3;
typedef struct { unsigned x, y; } __attribute__((aligned(8))) uint2;
typedef struct { unsigned x, y, z, w; } __attribute__((aligned(16))) uint4;
#define make_uint2(x, y) ((uint2){x, y})
#define make_uint4(x, y, z, w) ((uint4){x, y, z, w})

#define KERNEL(threads) __attribute__((visibility("default"))) void
#define DEVICE static inline
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ restrict

enum { MAX_THREADS = 1024, WARP = 32, STACK = 1 << 20 };

struct fiber {
  uint3 index;
  jmp_buf where;
  char *stack;
  ucontext_t start;
  int started, done;
};
static struct fiber fibers[MAX_THREADS], *current;
static uint3 blockIdx, blockDim, gridDim;
#define threadIdx (current->index)

// A barrier of `count` threads: the last to arrive opens it.
struct gate { unsigned arrived, generation; };
static struct gate block_gate, warp_gates[MAX_THREADS / WARP];
static unsigned progress;  // grows whenever a gate opens or a fiber ends
static jmp_buf scheduler;

static void fiber_yield(void) {
  if (!_setjmp(current->where)) _longjmp(scheduler, 1);
}

static void gate_pass(struct gate *gate, unsigned count) {
  unsigned generation = gate->generation;
  if (++gate->arrived == count) {
    gate->arrived = 0;
    gate->generation++;
    progress++;
  } else {
    while (gate->generation == generation) fiber_yield();
  }
}

static unsigned warp_size(void) {
  unsigned first = threadIdx.x / WARP * WARP;
  return blockDim.x - first < WARP ? blockDim.x - first : WARP;
}
static void warp_pass(void) { gate_pass(&warp_gates[threadIdx.x / WARP], warp_size()); }

#define __syncthreads() gate_pass(&block_gate, blockDim.x)
#define __syncwarp() warp_pass()

// Every lane puts its value in a slot and takes that of another. All lanes of the warp take part.
static unsigned long long slots[MAX_THREADS];
#define EXCHANGE(name, type)                                            \
  static inline type name(type x, unsigned from) {                      \
    unsigned first = threadIdx.x / WARP * WARP, last = first + warp_size(); \
    memcpy(&slots[threadIdx.x], &x, sizeof x);                          \
    warp_pass();                                                        \
    if (first + from < last) memcpy(&x, &slots[first + from], sizeof x); \
    warp_pass();                                                        \
    return x;                                                           \
  }
EXCHANGE(exchange_float, float)
EXCHANGE(exchange_int, int)
EXCHANGE(exchange_unsigned, unsigned)
EXCHANGE(exchange_long, long long)
#define EXCHANGED(x, from) \
  _Generic((x), float: exchange_float, int: exchange_int, unsigned: exchange_unsigned, long long: exchange_long)(x, from)
#define LANE (threadIdx.x % WARP)
#define __shfl_xor_sync(mask, x, other) EXCHANGED(x, LANE ^ (other))
#define __shfl_sync(mask, x, lane) EXCHANGED(x, (lane) % WARP)
#define __shfl_down_sync(mask, x, delta) EXCHANGED(x, LANE + (delta) < WARP ? LANE + (delta) : LANE)

static inline float __uint_as_float(unsigned x) { float r; memcpy(&r, &x, 4); return r; }
static inline unsigned __float_as_uint(float x) { unsigned r; memcpy(&r, &x, 4); return r; }
static inline void prefetch(const void *p) {}

static inline float f32_from_f16_1(unsigned short x) {
  unsigned a = (x & 0x7fffu) << 13;
  unsigned r = __float_as_uint(__uint_as_float(a) * 0x1p112f);
  if ((x & 0x7c00) == 0x7c00) r = a | 0x7f800000;
  return __uint_as_float(r | (x & 0x8000u) << 16);
}
static inline unsigned short f16_from_f32_1(float x) {
  unsigned b = __float_as_uint(x), a = b & 0x7fffffff, r;
  if (a > 0x7f800000) r = 0x7e00;
  else if (a >= 0x477ff000) r = 0x7c00;
  else if (a < 0x38800000) r = __float_as_uint(__uint_as_float(a) + 0.5f) - 0x3f000000;
  else r = (a + 0xfff + ((a >> 13) & 1) - 0x38000000) >> 13;
  return (unsigned short)(r | (b >> 16 & 0x8000));
}

static inline unsigned short bf16_from_f32_1(float x) {  // to nearest even; every NaN becomes the same one
  unsigned b = __float_as_uint(x);
  return x != x ? 0x7fff : (b + 0x7fff + ((b >> 16) & 1)) >> 16;
}

// ---- tensor cores and asynchronous copies, by the definitions of the PTX instructions ----

static const void *rows_of[MAX_THREADS];

// ldmatrix .m8n8 .x4: lane 8 i + r names row r of matrix i; of every matrix, lane t gets elements 2 (t % 4) and the next of
// row t / 4, or, transposed, of column t / 4.
static void load_matrices(unsigned *r, const void *row, int transposed) {
  if ((unsigned long)row % 16) __builtin_trap();
  rows_of[threadIdx.x] = row;
  warp_pass();
  const unsigned short **rows = (const unsigned short **)&rows_of[threadIdx.x / WARP * WARP];
  for (unsigned i = 0; i < 4; i++, rows += 8) {
    unsigned line = LANE / 4, place = 2 * (LANE % 4);
    unsigned first = transposed ? rows[place][line] : rows[line][place];
    unsigned second = transposed ? rows[place + 1][line] : rows[line][place + 1];
    r[i] = first | second << 16;
  }
  warp_pass();
}
static inline void ldmatrix(unsigned *r, const void *row) { load_matrices(r, row, 0); }
static inline void ldmatrix_transposed(unsigned *r, const void *row) { load_matrices(r, row, 1); }

static inline float f32_of_bf16(unsigned short x) { return __uint_as_float((unsigned)x << 16); }

// mma .m16n8k16 .row .col: with group = lane / 4 and t = lane % 4, register i of a has a[group + 8 (i % 2)][2 t + 8 (i / 2)]
// and its right neighbour, register i of b has b[2 t + 8 i][group] and the one below, and element i of the sum is at
// [group + 8 (i / 2)][2 t + i % 2]. Products are summed in f32.
static struct matrices { float a[16][16], b[8][16]; } matrices_of[MAX_THREADS / WARP];

#define MMA(name, number)                                                                  \
  static void name##_m16n8k16(float *d, const unsigned *a, unsigned b0, unsigned b1) {     \
    struct matrices *m = &matrices_of[threadIdx.x / WARP];                                 \
    unsigned group = LANE / 4, t = LANE % 4, b[2] = {b0, b1};                              \
    for (unsigned i = 0; i < 8; i++) {                                                     \
      unsigned half = i % 2, r = i / 2;                                                    \
      m->a[group + 8 * (r % 2)][2 * t + 8 * (r / 2) + half] = number(a[r] >> (16 * half)); \
    }                                                                                      \
    for (unsigned i = 0; i < 4; i++) {                                                     \
      m->b[group][2 * t + 8 * (i / 2) + i % 2] = number(b[i / 2] >> (16 * (i % 2)));       \
    }                                                                                      \
    warp_pass();                                                                           \
    for (unsigned i = 0; i < 4; i++) {                                                     \
      const float *x = m->a[group + 8 * (i / 2)], *y = m->b[2 * t + i % 2];                \
      float sum = 0;                                                                       \
      for (unsigned k = 0; k < 16; k++) sum += x[k] * y[k];                                \
      d[i] += sum;                                                                         \
    }                                                                                      \
    warp_pass();                                                                           \
  }                                                                                        \
  static inline void name(float *d, const unsigned *a, const unsigned *b) {                \
    name##_m16n8k16(d, a, b[0], b[1]);                                                     \
    name##_m16n8k16(d + 4, a, b[2], b[3]);                                                 \
  }
MMA(mma_bf16, f32_of_bf16)
MMA(mma_f16, f32_from_f16_1)

// Copies happen as late as they may: when their thread waits for them.
enum { MAX_COPIES = 256 };
struct copies {
  struct { void *to; const void *from; int bytes; unsigned batch; } list[MAX_COPIES];
  unsigned count, batch;
};
static struct copies copies_of[MAX_THREADS];

static inline void copy_async(void *to, const void *from, int bytes) {
  struct copies *c = &copies_of[threadIdx.x];
  if (c->count == MAX_COPIES || (unsigned long)to % 16 || (unsigned long)from % 16) __builtin_trap();
  c->list[c->count].to = to;
  c->list[c->count].from = from;
  c->list[c->count].bytes = bytes;
  c->list[c->count++].batch = c->batch;
}
static inline void copy_batch(void) { copies_of[threadIdx.x].batch++; }
static inline void copy_wait(unsigned pending) {
  struct copies *c = &copies_of[threadIdx.x];
  unsigned kept = 0;
  for (unsigned i = 0; i < c->count; i++) {
    if (c->list[i].batch + pending >= c->batch) {
      c->list[kept++] = c->list[i];
      continue;
    }
    memset(c->list[i].to, 0, 16);
    memcpy(c->list[i].to, c->list[i].from, c->list[i].bytes);
  }
  c->count = kept;
}

// ---- launches: called by the emulated driver ----

enum { MAX_ARGUMENTS = 72 };
typedef void (*kernel_function)(void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *,
  void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *,
  void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *,
  void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *,
  void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *, void *);
static kernel_function kernel;
static void *arguments[MAX_ARGUMENTS];

// All parameters are pointers; what a kernel does not take it does not see.
static void call_kernel(void) {
#define A(i) arguments[i]
#define B(i) A(i), A(i + 1), A(i + 2), A(i + 3), A(i + 4), A(i + 5), A(i + 6), A(i + 7)
  kernel(B(0), B(8), B(16), B(24), B(32), B(40), B(48), B(56), B(64));
}

static void fiber_main(void) {
  call_kernel();
  current->done = 1;
  progress++;
  _longjmp(scheduler, 1);
}

static void fiber_resume(struct fiber *f) {
  current = f;
  if (_setjmp(scheduler)) return;
  if (f->started) _longjmp(f->where, 1);
  f->started = 1;
  getcontext(&f->start);
  f->start.uc_stack.ss_sp = f->stack;
  f->start.uc_stack.ss_size = STACK;
  f->start.uc_link = 0;
  makecontext(&f->start, fiber_main, 0);
  setcontext(&f->start);
}

// Why the last launch failed.
static char problem[200];

static int run_block(unsigned threads) {
  for (unsigned i = 0; i < threads; i++) fibers[i].started = fibers[i].done = copies_of[i].count = copies_of[i].batch = 0;
  block_gate.arrived = 0;
  memset(warp_gates, 0, sizeof warp_gates);
  for (unsigned left = threads, round = blockIdx.x; left > 0; round++) {
    unsigned before = progress;
    // Forwards and backwards in turn
    for (unsigned i = 0; i < threads; i++) {
      struct fiber *f = &fibers[round % 2 ? threads - 1 - i : i];
      if (f->done) continue;
      fiber_resume(f);
      left -= f->done;
    }
    if (left > 0 && progress == before) {
      snprintf(problem, sizeof problem, "block %u, %u of %u threads wait at a barrier that the others do not reach", blockIdx.x, left, threads);
      return 0;
    }
  }
  return 1;
}

// Where a launch was that trapped, or why it failed.
__attribute__((visibility("default"))) const char *emulated_problem(void) {
  if (!*problem) snprintf(problem, sizeof problem, "block %u, thread %u", blockIdx.x, threadIdx.x);
  return problem;
}

// Other than 0 when the launch failed.
__attribute__((visibility("default"))) int emulate(void *function, unsigned blocks, unsigned threads, void **values, unsigned count) {
  *problem = 0;
  if (count > MAX_ARGUMENTS || threads > MAX_THREADS) {
    snprintf(problem, sizeof problem, "%u pointers and %u threads; the emulation takes at most %u and %u", count, threads, MAX_ARGUMENTS, MAX_THREADS);
    return 1;
  }
  kernel = (kernel_function)function;
  memset(arguments, 0, sizeof arguments);
  memcpy(arguments, values, count * sizeof *values);
  gridDim = (uint3){blocks, 1, 1};
  blockDim = (uint3){threads, 1, 1};
  for (unsigned i = 0; i < threads; i++) {
    fibers[i].index = (uint3){i, 0, 0};
    if (fibers[i].stack) continue;
    fibers[i].stack = mmap(0, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fibers[i].stack == MAP_FAILED) {
      fibers[i].stack = 0;
      snprintf(problem, sizeof problem, "no memory for the stacks of %u threads", threads);
      return 1;
    }
  }
  for (unsigned b = 0; b < blocks; b++) {
    blockIdx = (uint3){b, 0, 0};
    if (!run_block(threads)) return 1;
  }
  return 0;
}
