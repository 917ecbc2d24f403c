// An NVIDIA driver without a GPU: device memory is host memory, an image is a shared object of generated CUDA C that was
// compiled with shim.h, a graph is a list of launches that run in an order that its edges allow (last added first, so that
// an edge that is missing shows). What is sent to the stream waits until somebody waits for it, so that memory which is
// changed or read too early shows. What a GPU would trap on, an access outside of memory or one that is not aligned, is
// told with the driver's error number by whoever waits, and the text says where it was; unlike a GPU, this one then goes on.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define API __attribute__((visibility("default"))) int
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, MISALIGNED_ADDRESS = 716, LAUNCH_FAILED = 719 };
typedef unsigned long long u64;
typedef int (*emulate_function)(void *, unsigned, unsigned, void **, unsigned);

// ---- live blocks of memory, so that wild addresses are found ----
struct block { char *start, *mapping; size_t bytes, mapped; struct block *next; };
static struct block *blocks;
static size_t used;
// A number that the environment may change, so that tests have other GPUs.
static size_t setting(const char *name, size_t otherwise) {
  const char *text = getenv(name);
  return text ? strtoull(text, 0, 10) : otherwise;
}
static size_t memory(void) { return setting("EMULATED_MEMORY", 8ULL << 30); }

static char place[400];  // of the last launch that failed; empty where something else did
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  // of the lists of blocks, pinned memory and work

static int is_live(u64 address, size_t bytes) {
  int found = 0;
  pthread_mutex_lock(&lock);
  for (struct block *b = blocks; b && !found; b = b->next) {
    found = address >= (u64)b->start && address + bytes <= (u64)b->start + b->bytes;
  }
  if (!found) *place = 0;
  pthread_mutex_unlock(&lock);
  return found;
}

// ---- the stream: work that is done, in order, when somebody waits for it ----
struct work {
  enum { SET, COPY, LAUNCH } kind;
  void *to;  // for LAUNCH, the graph
  const void *from;
  void *owned;  // the copy of memory that is not pinned
  unsigned char value;
  size_t bytes;
  struct work *next;
};
static pthread_mutex_t running = PTHREAD_MUTEX_INITIALIZER;
static struct work *first, **last = &first;
static u64 sent, done;
static int failure;  // of what was done since it was last told

static int graph_launch(void *exec);

static int send(struct work w) {
  struct work *kept = malloc(sizeof w);
  if (!kept) return OUT_OF_MEMORY;
  *kept = w;
  kept->next = 0;
  pthread_mutex_lock(&lock);
  *last = kept;
  last = &kept->next;
  sent++;
  pthread_mutex_unlock(&lock);
  return OK;
}

static void work_off(u64 until) {
  pthread_mutex_lock(&running);
  while (done < until) {
    pthread_mutex_lock(&lock);
    struct work *w = first;
    first = w->next;
    if (!first) last = &first;
    pthread_mutex_unlock(&lock);
    if (!failure) switch (w->kind) {
      case SET: memset(w->to, w->value, w->bytes); break;
      case COPY: memmove(w->to, w->from, w->bytes); break;
      case LAUNCH: failure = graph_launch(w->to); break;
    }
    free(w->owned);
    free(w);
    done++;
  }
  pthread_mutex_unlock(&running);
}

static int wait_for(u64 until) {
  work_off(until);
  pthread_mutex_lock(&running);
  int told = failure;
  failure = 0;
  pthread_mutex_unlock(&running);
  return told;
}

API cuInit(unsigned flags) { return flags ? INVALID_VALUE : OK; }
static const char *error_text(int error) {
  switch (error) {
    case INVALID_VALUE: return "invalid argument";
    case OUT_OF_MEMORY: return "out of memory";
    case INVALID_IMAGE: return "device kernel image is invalid";
    case NOT_FOUND: return "named symbol not found";
    case ILLEGAL_ADDRESS: return "an illegal memory access was encountered";
    case MISALIGNED_ADDRESS: return "misaligned address";
    case LAUNCH_FAILED: return "unspecified launch failure";
    default: return 0;
  }
}
API cuGetErrorString(int error, const char **text) {
  static char placed[512];
  *text = error_text(error);
  if (!*text) return INVALID_VALUE;
  if (*place && (error == ILLEGAL_ADDRESS || error == MISALIGNED_ADDRESS || error == LAUNCH_FAILED)) {
    snprintf(placed, sizeof placed, "%s: %s", *text, place);
    *text = placed;
  }
  return OK;
}
API cuDeviceGetCount(int *count) { *count = 1; return OK; }
API cuDeviceGet(int *device, int ordinal) { *device = ordinal; return OK; }
API cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "emulated"); return OK; }
API cuDeviceGetAttribute(int *value, int attribute, int device) {
  size_t capability = setting("EMULATED_CAPABILITY", 80);
  *value = attribute == 75 ? capability / 10 : capability % 10;
  return OK;
}
API cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = memory(); return OK; }
API cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)1; return OK; }
API cuDevicePrimaryCtxRelease_v2(int device) { return OK; }
API cuCtxSetCurrent(void *context) { return context == (void *)1 ? OK : INVALID_VALUE; }
API cuStreamCreate(void **stream, unsigned flags) { *stream = (void *)2; return OK; }
API cuStreamDestroy_v2(void *stream) { return OK; }
API cuStreamSynchronize(void *stream) { return wait_for(sent); }
API cuEventCreate(void **event, unsigned flags) { return (*event = calloc(1, sizeof(u64))) ? OK : OUT_OF_MEMORY; }
API cuEventDestroy_v2(void *event) { free(event); return OK; }
API cuEventRecord(void *event, void *stream) { *(u64 *)event = sent; return OK; }
API cuEventSynchronize(void *event) { return wait_for(*(u64 *)event); }

// A block ends where a page begins that cannot be touched.
API cuMemAlloc_v2(u64 *address, size_t bytes) {
  if (bytes > memory() - used) return OUT_OF_MEMORY;
  struct block *b = calloc(1, sizeof *b);
  if (!b) return OUT_OF_MEMORY;
  size_t page = sysconf(_SC_PAGESIZE), aligned = (bytes + 255) & ~(size_t)255, whole = (aligned + page - 1) / page * page;
  b->mapped = whole + page;
  b->mapping = mmap(0, b->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (b->mapping == MAP_FAILED || mprotect(b->mapping + whole, page, PROT_NONE)) {
    free(b);
    return OUT_OF_MEMORY;
  }
  b->start = b->mapping + whole - aligned;
  memset(b->start, 0xee, bytes);  // memory is not cleared
  b->bytes = bytes;
  pthread_mutex_lock(&lock);
  b->next = blocks;
  blocks = b;
  used += bytes;
  pthread_mutex_unlock(&lock);
  *address = (u64)b->start;
  return OK;
}
API cuMemFree_v2(u64 address) {
  work_off(sent);
  int found = 0;
  pthread_mutex_lock(&lock);
  for (struct block **b = &blocks; *b && !found; b = &(*b)->next) {
    if ((u64)(*b)->start != address) continue;
    struct block *gone = *b;
    *b = gone->next;
    used -= gone->bytes;
    munmap(gone->mapping, gone->mapped);
    free(gone);
    found = 1;
    break;
  }
  pthread_mutex_unlock(&lock);
  return found ? OK : INVALID_VALUE;
}

API cuMemGetInfo_v2(size_t *free, size_t *total) { *free = memory() - used; *total = memory(); return OK; }

struct pinned { char *start; size_t bytes; struct pinned *next; };
static struct pinned *pinned_blocks;
static int is_pinned(const void *p) {
  int found = 0;
  pthread_mutex_lock(&lock);
  for (struct pinned *b = pinned_blocks; b && !found; b = b->next) found = (char *)p >= b->start && (char *)p < b->start + b->bytes;
  pthread_mutex_unlock(&lock);
  return found;
}
API cuMemAllocHost_v2(void **p, size_t bytes) {
  struct pinned *b = calloc(1, sizeof *b);
  if (!b || !(b->start = malloc(bytes))) return OUT_OF_MEMORY;
  b->bytes = bytes;
  pthread_mutex_lock(&lock);
  b->next = pinned_blocks;
  pinned_blocks = b;
  pthread_mutex_unlock(&lock);
  *p = b->start;
  return OK;
}
API cuMemFreeHost(void *p) {
  work_off(sent);
  pthread_mutex_lock(&lock);
  for (struct pinned **b = &pinned_blocks; *b; b = &(*b)->next) {
    if ((*b)->start != p) continue;
    struct pinned *gone = *b;
    *b = gone->next;
    free(gone);
    break;
  }
  pthread_mutex_unlock(&lock);
  free(p);
  return OK;
}
API cuMemsetD8Async(u64 to, unsigned char value, size_t bytes, void *stream) {
  if (!is_live(to, bytes)) return ILLEGAL_ADDRESS;
  return send((struct work){.kind = SET, .to = (void *)to, .value = value, .bytes = bytes});
}
API cuMemcpyHtoDAsync_v2(u64 to, const void *from, size_t bytes, void *stream) {
  if (!is_live(to, bytes)) return ILLEGAL_ADDRESS;
  if (is_pinned(from)) return send((struct work){.kind = COPY, .to = (void *)to, .from = from, .bytes = bytes});
  void *copy = malloc(bytes + 1);  // other memory is read before the call returns
  if (!copy) return OUT_OF_MEMORY;
  memcpy(copy, from, bytes);
  return send((struct work){.kind = COPY, .to = (void *)to, .from = copy, .owned = copy, .bytes = bytes});
}
API cuMemcpyDtoHAsync_v2(void *to, u64 from, size_t bytes, void *stream) {
  if (!is_live(from, bytes)) return ILLEGAL_ADDRESS;
  if (is_pinned(to)) memset(to, 0xee, bytes);  // shows to who reads too early
  return send((struct work){.kind = COPY, .to = to, .from = (void *)from, .bytes = bytes});
}
API cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, void *stream) {
  if (!is_live(from, bytes) || !is_live(to, bytes)) return ILLEGAL_ADDRESS;
  return send((struct work){.kind = COPY, .to = (void *)to, .from = (void *)from, .bytes = bytes});
}

// ---- modules: the size of an ELF image is not passed, but its headers tell it ----
struct function { void *kernel; emulate_function emulate; const char *(*problem)(void); char name[40]; };
struct module { void *library; struct function *functions[4096]; unsigned count; };

static size_t image_size(const unsigned char *image) {
  u64 sections;
  unsigned short size, count;
  if (memcmp(image, "\177ELF", 4)) return 0;
  memcpy(&sections, image + 40, 8);
  memcpy(&size, image + 58, 2);
  memcpy(&count, image + 60, 2);
  return sections + (size_t)size * count;
}

API cuModuleLoadData(void **module, const void *image) {
  size_t bytes = image_size(image);
  char path[] = "/tmp/modelc-image-XXXXXX";  // a name of its own: the loader knows libraries by name
  int file = bytes ? mkstemp(path) : -1;
  if (file < 0) return INVALID_IMAGE;
  struct module *m = calloc(1, sizeof *m);
  int written = write(file, image, bytes) == (ssize_t)bytes;
  if (m && written) m->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (m && written && !m->library) fprintf(stderr, "emulated CUDA: %s\n", dlerror());
  close(file);
  unlink(path);
  if (!m || !m->library) {
    free(m);
    return INVALID_IMAGE;
  }
  *module = m;
  return OK;
}
API cuModuleUnload(void *module) {
  work_off(sent);
  struct module *m = module;
  for (unsigned i = 0; i < m->count; i++) free(m->functions[i]);
  dlclose(m->library);
  free(m);
  return OK;
}
API cuModuleGetFunction(void **function, void *module, const char *name) {
  struct module *m = module;
  struct function f = {dlsym(m->library, name), (emulate_function)dlsym(m->library, "emulate"), dlsym(m->library, "emulated_problem")};
  snprintf(f.name, sizeof f.name, "%s", name);
  if (!f.kernel || !f.emulate || !f.problem || m->count == 4096) return NOT_FOUND;
  struct function *kept = m->functions[m->count++] = malloc(sizeof f);
  *kept = f;
  *function = kept;
  return OK;
}

// ---- graphs ----
struct node_parameters {
  void *function;
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  void **parameters, **extra;
};
struct node {
  struct function *function;
  unsigned grid, block, count, level;
  void **parameters;
  struct node *next;
};
struct graph { struct node *nodes; unsigned levels; int owned; };

API cuGraphCreate(void **graph, unsigned flags) { return (*graph = calloc(1, sizeof(struct graph))) ? OK : OUT_OF_MEMORY; }
static void graph_free(struct graph *g) {
  for (struct node *n = g->nodes, *next; n; n = next) {
    next = n->next;
    free(n->parameters);
    free(n);
  }
  free(g);
}
API cuGraphDestroy(void *graph) {
  struct graph *g = graph;
  if (!g->owned) graph_free(g);
  return OK;
}
API cuGraphAddKernelNode(void **node, void *graph, void *const *dependencies, size_t count, const struct node_parameters *p) {
  struct graph *g = graph;
  if (!p->grid_x || p->grid_x > 2147483647 || !p->block_x || p->block_x > 1024 || !p->extra || p->extra[0] != (void *)1 ||
      p->extra[2] != (void *)2) return INVALID_VALUE;
  size_t bytes = *(size_t *)p->extra[3];
  struct node *n = calloc(1, sizeof *n);
  n->function = p->function;
  n->grid = p->grid_x;
  n->block = p->block_x;
  n->count = bytes / 8;
  n->parameters = malloc(bytes + 1);
  memcpy(n->parameters, p->extra[1], bytes);
  for (unsigned i = 0; i < n->count; i++) if (!is_live((u64)n->parameters[i], 0)) return ILLEGAL_ADDRESS;
  for (size_t i = 0; i < count; i++) {
    unsigned after = ((struct node *)dependencies[i])->level + 1;
    if (after > n->level) n->level = after;
  }
  if (n->level >= g->levels) g->levels = n->level + 1;
  n->next = g->nodes;
  g->nodes = n;
  *node = n;
  return OK;
}
API cuGraphInstantiateWithFlags(void **exec, void *graph, u64 flags) {
  ((struct graph *)graph)->owned = 1;
  *exec = graph;
  return OK;
}
API cuGraphExecDestroy(void *exec) {
  work_off(sent);
  graph_free(exec);
  return OK;
}

static sigjmp_buf fault;
static u64 touched;  // the address of a fault
static void on_fault(int signal, siginfo_t *info, void *context) {
  touched = (u64)info->si_addr;
  siglongjmp(fault, signal == SIGILL || signal == SIGTRAP ? MISALIGNED_ADDRESS : ILLEGAL_ADDRESS);
}
// Which kernel failed and where; of an access outside of memory, the array that starts closest below it.
static void tell(const struct node *n, int error) {
  struct function *f = n->function;
  int length = snprintf(place, sizeof place, "%s, %s", f->name, f->problem());
  unsigned array = n->count;
  for (unsigned i = 0; i + 1 < n->count; i++) {  // the last are the dims
    u64 start = (u64)n->parameters[i];
    if (start <= touched && (array == n->count || start > (u64)n->parameters[array])) array = i;
  }
  if (error != ILLEGAL_ADDRESS || array == n->count) return;
  snprintf(place + length, sizeof place - length, ", byte %llu of b%u", touched - (u64)n->parameters[array], array);
}
static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};

API cuGraphLaunch(void *exec, void *stream) { return send((struct work){.kind = LAUNCH, .to = exec}); }
static int graph_launch(void *exec) {
  struct graph *g = exec;
  struct sigaction before[4], action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  for (int i = 0; i < 4; i++) sigaction(faults[i], &action, &before[i]);
  volatile int result = OK;
  struct node *volatile at = 0;
  int trapped = sigsetjmp(fault, 1);
  if (trapped) tell(at, result = trapped);
  for (unsigned level = 0; level < g->levels && !result; level++) {
    for (struct node *n = g->nodes; n && !result; n = n->next) {
      if (n->level != level) continue;
      at = n;
      if (!n->function->emulate(n->function->kernel, n->grid, n->block, n->parameters, n->count)) continue;
      result = LAUNCH_FAILED;
      tell(n, result);
    }
  }
  for (int i = 0; i < 4; i++) sigaction(faults[i], &before[i], 0);
  return result;
}
