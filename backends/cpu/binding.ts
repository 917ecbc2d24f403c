// The native runtime, as C text: memory, loading of programs, and runs, exposed to JavaScript through Node-API. It is
// compiled once per machine and cached; generated programs carry no binding of their own. Only device.ts calls it.
// Arguments are checked for type and range here; that addresses belong to live buffers is checked in device.ts.
import { nodeApiHelpers } from '../c/node-api.ts';
import { abi, abiVersion, programSymbol } from './abi.ts';
import { memory, memoryFunctions } from './memory.ts';
import { pool } from './pool.ts';

const handles = `
enum { POOL_MAGIC = 0x6d6f6401, PROGRAM_MAGIC = 0x6d6f6402 };
struct pool_handle { u64 magic; struct pool pool; };
`;

const programFunctions = `
static void pool_hook(void *data) { pool_close(&((struct pool_handle *)data)->pool); }

static void pool_finalize(napi_env env, void *data, void *hint) {
  struct pool_handle *h = data;
  napi_remove_env_cleanup_hook(env, pool_hook, h);
  pool_close(&h->pool);
  pthread_mutex_destroy(&h->pool.lock);
  free(h);
}

// pool(threads)
static napi_value js_pool(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], result = 0;
  u64 threads;
  if (!get_arguments(env, info, 1, a) || !get_size(env, a[0], &threads)) return 0;
  if (threads < 1 || threads > 1024) return fail(env, "a pool has 1 to 1024 threads");
  struct pool_handle *h = 0;
  if (posix_memalign((void **)&h, 64, sizeof *h)) return fail(env, "out of memory");
  memset(h, 0, sizeof *h);
  h->magic = POOL_MAGIC;
  h->pool.wanted = (u32)threads;
  pthread_mutex_init(&h->pool.lock, 0);
  napi_add_env_cleanup_hook(env, pool_hook, h);
  if (napi_create_external(env, h, pool_finalize, 0, &result) == napi_ok) return result;
  pool_finalize(env, h, 0);
  return fail(env, "out of memory");
}

static napi_value js_close_pool(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct pool_handle *h;
  if (get_arguments(env, info, 1, a) && (h = get_handle(env, a[0], POOL_MAGIC))) pool_close(&h->pool);
  return 0;
}

static void program_release(struct loaded *l) {
  if (!l->program) return;
  memory_free(l->arena, l->program->arena_bytes);
  memory_free(l->scratch, l->scratch_bytes * l->threads);
  free(l->ends);
  free(l->first_buffer);
  free(l->buffers);
  l->program = 0;
  dlclose(l->library);
}

static void program_finalize(napi_env env, void *data, void *hint) {
  program_release(data);
  free(data);
}

static int program_prepare(struct loaded *l) {
  const struct program *p = l->program;
  u32 parts = 1, buffers = 1;
  for (u32 i = 0; i < p->entries; i++) {
    for (u32 s = 0; s < p->entry[i].steps; s++) {
      const struct step *step = &p->entry[i].step[s];
      u32 slots = 0;
      for (u32 j = 0; j < step->parts; j++) slots += p->entry[i].part[step->first_part + j].slots;
      if (step->parts > parts) parts = step->parts;
      if (slots > buffers) buffers = slots;
    }
  }
  l->scratch_bytes = p->scratch_bytes ? (p->scratch_bytes + 4095) & ~4095ULL : 0;
  l->ends = calloc(parts, sizeof *l->ends);
  l->first_buffer = calloc(parts, sizeof *l->first_buffer);
  l->buffers = calloc(buffers, sizeof *l->buffers);
  l->arena = memory_alloc(p->arena_bytes);
  l->scratch = memory_alloc(l->scratch_bytes * l->threads);
  return l->ends && l->first_buffer && l->buffers && l->arena && l->scratch;
}

// load(path, threads)
static napi_value js_load(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], result = 0;
  u64 threads;
  if (!get_arguments(env, info, 2, a) || !get_size(env, a[1], &threads)) return 0;
  if (threads < 1 || threads > 1024) return fail(env, "a pool has 1 to 1024 threads");
  char *path = get_string(env, a[0]);
  if (!path) return 0;
  struct loaded *l = calloc(1, sizeof *l);
  if (l) l->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  free(path);
  if (!l || !l->library) {
    free(l);
    const char *problem = dlerror();
    return fail(env, problem ? problem : "out of memory");
  }
  l->magic = PROGRAM_MAGIC;
  l->threads = (u32)threads;
  l->program = dlsym(l->library, "${programSymbol}");
  if (!l->program || l->program->version != ${abiVersion}) {
    dlclose(l->library);
    free(l);
    return fail(env, "the file is no program of this version of modelc");
  }
  if (program_prepare(l) && napi_create_external(env, l, program_finalize, 0, &result) == napi_ok) return result;
  program_finalize(env, l, 0);
  return fail(env, "out of memory");
}

static napi_value js_unload(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct loaded *l;
  if (get_arguments(env, info, 1, a) && (l = get_handle(env, a[0], PROGRAM_MAGIC))) program_release(l);
  return 0;
}

struct run {
  napi_async_work work;
  napi_deferred deferred;
  napi_ref handles[2];  // keep pool and program alive
  struct pool *pool;
  struct loaded *loaded;
  const struct entry *entry;
  char **addresses;
  ix *dims;
  char *changed;        // the path of a file that is not what was mapped any more
};

static void run_execute(napi_env env, void *data) {
  struct run *r = data;
  sigbus_unblock();
  run_plan(r->pool, r->loaded, r->entry, r->addresses, r->dims);
  const char *path = file_changed(r->addresses, r->entry->addresses);
  if (path && !(r->changed = strdup(path))) r->changed = strdup("");
}

static void run_delete(napi_env env, struct run *r) {
  for (int i = 0; i < 2; i++) if (r->handles[i]) napi_delete_reference(env, r->handles[i]);
  if (r->work) napi_delete_async_work(env, r->work);
  free(r->addresses);
  free(r->dims);
  free(r->changed);
  free(r);
}

static void run_complete(napi_env env, napi_status status, void *data) {
  struct run *r = data;
  napi_value value = 0;
  if (status == napi_ok && r->changed) {
    napi_reject_deferred(env, r->deferred, make_error(env, changed_code, r->changed));
  } else if (status == napi_ok) {
    napi_get_undefined(env, &value);
    napi_resolve_deferred(env, r->deferred, value);
  } else {
    napi_value message;
    napi_create_string_utf8(env, "the run was cancelled", NAPI_AUTO_LENGTH, &message);
    napi_create_error(env, 0, message, &value);
    napi_reject_deferred(env, r->deferred, value);
  }
  run_delete(env, r);
}

// run(pool, program, entry, addresses without the arena, dims): a promise
static napi_value js_run(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], name, promise = 0;
  struct pool_handle *p;
  struct loaded *l;
  u64 entry;
  if (!get_arguments(env, info, 5, a) || !(p = get_handle(env, a[0], POOL_MAGIC)) ||
      !(l = get_handle(env, a[1], PROGRAM_MAGIC)) || !get_size(env, a[2], &entry)) return 0;
  if (!l->program) return fail(env, "the program was disposed");
  if (entry >= l->program->entries) return fail(env, "no such entry");
  if (p->pool.wanted > l->threads) return fail(env, "the program was loaded for fewer threads");
  const struct entry *e = &l->program->entry[entry];
  napi_typedarray_type address_type, dim_type;
  size_t addresses, dims;
  void *address_data, *dim_data;
  if (napi_get_typedarray_info(env, a[3], &address_type, &addresses, &address_data, 0, 0) != napi_ok ||
      napi_get_typedarray_info(env, a[4], &dim_type, &dims, &dim_data, 0, 0) != napi_ok ||
      address_type != napi_biguint64_array || dim_type != napi_bigint64_array ||
      addresses + 1 != e->addresses || dims != l->program->dims) return fail(env, "wrong number of addresses or dims");
  for (size_t i = 0; i < addresses; i++) if (!((u64 *)address_data)[i]) return fail(env, "an address is 0");
  struct run *r = calloc(1, sizeof *r);
  if (!r) return fail(env, "out of memory");
  *r = (struct run){.pool = &p->pool, .loaded = l, .entry = e};
  r->addresses = malloc((addresses + 1) * sizeof(char *));
  r->dims = malloc((dims + 1) * sizeof(ix));
  if (!r->addresses || !r->dims ||
      napi_create_string_utf8(env, "modelc", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_reference(env, a[0], 1, &r->handles[0]) != napi_ok ||
      napi_create_reference(env, a[1], 1, &r->handles[1]) != napi_ok ||
      napi_create_async_work(env, 0, name, run_execute, run_complete, r, &r->work) != napi_ok) {
    run_delete(env, r);
    return fail(env, "out of memory");
  }
  r->addresses[0] = l->arena;
  memcpy(r->addresses + 1, address_data, addresses * sizeof(char *));
  memcpy(r->dims, dim_data, dims * sizeof(ix));
  if (napi_create_promise(env, &r->deferred, &promise) != napi_ok || napi_queue_async_work(env, r->work) != napi_ok) {
    run_delete(env, r);
    return fail(env, "cannot queue the run");
  }
  return promise;
}

NAPI_MODULE_INIT() {
  static const struct { const char *name; napi_callback function; } functions[] = {
    {"alloc", js_alloc}, {"free", js_free}, {"map", js_map}, {"unmap", js_unmap}, {"changed", js_changed},
    {"read", js_read}, {"write", js_write}, {"copy", js_copy}, {"pool", js_pool}, {"closePool", js_close_pool}, {"load", js_load},
    {"unload", js_unload}, {"run", js_run},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value f;
    if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, 0, &f) != napi_ok ||
        napi_set_named_property(env, exports, functions[i].name, f) != napi_ok) return 0;
  }
  return exports;
}
`;

/** The C source of the runtime. */
export const runtimeSource = `// The native runtime of modelc.
#define _GNU_SOURCE
#define NAPI_VERSION 8
${abi}
#include <dlfcn.h>
#include <node_api.h>
${memory}${pool}${nodeApiHelpers}${handles}${memoryFunctions}${programFunctions}`;

/** What the runtime exports, as device.ts sees it. */
export interface NativeRuntime {
  alloc(bytes: number): bigint;
  free(address: bigint, bytes: number): void;
  map(path: string, offset: number, bytes: number): bigint;
  unmap(address: bigint, bytes: number): void;
  changed(address: bigint): string | undefined;
  read(address: bigint, bytes: number): ArrayBuffer;
  write(address: bigint, data: Uint8Array): void;
  copy(from: bigint, fromStep: number, to: bigint, toStep: number, bytes: number, rows: number): void;
  pool(threads: number): object;
  closePool(pool: object): void;
  load(path: string, threads: number): object;
  unload(program: object): void;
  /** Rejects with the code 'file changed' and a path where a file that is read is not what was mapped. */
  run(pool: object, program: object, entry: number, addresses: BigUint64Array, dims: BigInt64Array): Promise<void>;
}
