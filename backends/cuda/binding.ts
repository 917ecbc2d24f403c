// The native side of the CUDA device, as C text: the driver API, found at run time and never linked, behind Node-API. It
// declares the few functions and structures of the driver that it uses itself, so no toolkit is needed to build it. Only
// device.ts calls it. Arguments are checked for type and range here; that addresses are live is checked in device.ts.
import { abi } from '../cpu/abi.ts';
import { nodeApiHelpers } from '../node-api.ts';
import { transfers } from './transfers.ts';

const driver = `
// ---- the driver API: what of it is used, as its ABI has it ----
typedef int CUresult;
typedef int CUdevice;
typedef u64 CUdeviceptr;
typedef void *CUhandle;  // contexts, streams, events, modules, functions, graphs, nodes
struct CUnode {          // CUDA_KERNEL_NODE_PARAMS, first version
  CUhandle function;
  u32 grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  void **parameters, **extra;
};
#define EXTRA_POINTER ((void *)1)
#define EXTRA_SIZE ((void *)2)
#define EXTRA_END ((void *)0)
enum { MAJOR = 75, MINOR = 76, OUT_OF_MEMORY = 2 };

#define DRIVER(F) \\
  F(cuInit, (u32)) \\
  F(cuGetErrorString, (CUresult, const char **)) \\
  F(cuDeviceGetCount, (int *)) \\
  F(cuDeviceGet, (CUdevice *, int)) \\
  F(cuDeviceGetName, (char *, int, CUdevice)) \\
  F(cuDeviceGetAttribute, (int *, int, CUdevice)) \\
  F(cuDeviceTotalMem_v2, (size_t *, CUdevice)) \\
  F(cuDevicePrimaryCtxRetain, (CUhandle *, CUdevice)) \\
  F(cuDevicePrimaryCtxRelease_v2, (CUdevice)) \\
  F(cuCtxSetCurrent, (CUhandle)) \\
  F(cuStreamCreate, (CUhandle *, u32)) \\
  F(cuStreamDestroy_v2, (CUhandle)) \\
  F(cuStreamSynchronize, (CUhandle)) \\
  F(cuEventCreate, (CUhandle *, u32)) \\
  F(cuEventDestroy_v2, (CUhandle)) \\
  F(cuEventRecord, (CUhandle, CUhandle)) \\
  F(cuEventSynchronize, (CUhandle)) \\
  F(cuMemAlloc_v2, (CUdeviceptr *, size_t)) \\
  F(cuMemFree_v2, (CUdeviceptr)) \\
  F(cuMemAllocHost_v2, (void **, size_t)) \\
  F(cuMemFreeHost, (void *)) \\
  F(cuMemsetD8Async, (CUdeviceptr, unsigned char, size_t, CUhandle)) \\
  F(cuMemcpyHtoDAsync_v2, (CUdeviceptr, const void *, size_t, CUhandle)) \\
  F(cuMemcpyDtoHAsync_v2, (void *, CUdeviceptr, size_t, CUhandle)) \\
  F(cuMemcpyDtoDAsync_v2, (CUdeviceptr, CUdeviceptr, size_t, CUhandle)) \\
  F(cuModuleLoadData, (CUhandle *, const void *)) \\
  F(cuModuleUnload, (CUhandle)) \\
  F(cuModuleGetFunction, (CUhandle *, CUhandle, const char *)) \\
  F(cuGraphCreate, (CUhandle *, u32)) \\
  F(cuGraphDestroy, (CUhandle)) \\
  F(cuGraphAddKernelNode, (CUhandle *, CUhandle, const CUhandle *, size_t, const struct CUnode *)) \\
  F(cuGraphInstantiateWithFlags, (CUhandle *, CUhandle, u64)) \\
  F(cuGraphExecDestroy, (CUhandle)) \\
  F(cuGraphLaunch, (CUhandle, CUhandle))

enum { DRIVER_MAGIC = 0x6d6f6403, MODULE_MAGIC = 0x6d6f6404, GRAPH_MAGIC = 0x6d6f6405 };
enum { STAGING = 16 << 20, MAX_DIMS = 512 };

struct driver {
  u64 magic;
  u64 users;  // itself as a JavaScript value, its modules and its graphs: they go in any order when the process ends
  void *library;
#define F(name, params) CUresult (*name) params;
  DRIVER(F)
#undef F
  CUdevice device;
  CUhandle context, stream;
  char *staging[2];       // pinned, each with the event after which it is free again
  CUhandle copied[2];
  ix *dims;               // pinned
  CUdeviceptr dims_address;
  char name[256];
  int capability;
  size_t memory;
};

// Throws what the driver says; the error's code is the driver's number.
static int ok(napi_env env, struct driver *d, CUresult result, const char *what) {
  if (result == 0) return 1;
  const char *text = 0;
  char message[512], code[16];
  d->cuGetErrorString(result, &text);
  snprintf(message, sizeof message, "%s: %s", what, text ? text : "unknown error");
  snprintf(code, sizeof code, "%d", result);
  napi_throw_error(env, code, message);
  return 0;
}

static struct driver *get_driver(napi_env env, napi_value v) {
  struct driver *d = get_handle(env, v, DRIVER_MAGIC);
  if (!d || !ok(env, d, d->cuCtxSetCurrent(d->context), "cannot use the GPU")) return 0;
  return d;
}

static void driver_release(struct driver *d) {
  if (--d->users) return;
  if (d->context) {
    d->cuCtxSetCurrent(d->context);
    for (int i = 0; i < 2; i++) {
      if (d->copied[i]) d->cuEventDestroy_v2(d->copied[i]);
      if (d->staging[i]) d->cuMemFreeHost(d->staging[i]);
    }
    if (d->dims) d->cuMemFreeHost(d->dims);
    if (d->dims_address) d->cuMemFree_v2(d->dims_address);
    if (d->stream) d->cuStreamDestroy_v2(d->stream);
    d->cuDevicePrimaryCtxRelease_v2(d->device);
  }
  // The library stays: drivers do not like to be unloaded
  free(d);
}
static void driver_finalize(napi_env env, void *data, void *hint) { driver_release(data); }

static int driver_open(napi_env env, struct driver *d, int ordinal) {
  int count = 0, major = 0, minor = 0;
  if (!ok(env, d, d->cuInit(0), "cannot start the NVIDIA driver") ||
      !ok(env, d, d->cuDeviceGetCount(&count), "cannot count the GPUs")) return 0;
  if (ordinal >= count) {
    napi_throw_error(env, "100", "no such GPU");
    return 0;
  }
  const char *what = "cannot open the GPU";
  if (!ok(env, d, d->cuDeviceGet(&d->device, ordinal), what) ||
      !ok(env, d, d->cuDeviceGetName(d->name, sizeof d->name, d->device), what) ||
      !ok(env, d, d->cuDeviceGetAttribute(&major, MAJOR, d->device), what) ||
      !ok(env, d, d->cuDeviceGetAttribute(&minor, MINOR, d->device), what) ||
      !ok(env, d, d->cuDeviceTotalMem_v2(&d->memory, d->device), what) ||
      !ok(env, d, d->cuDevicePrimaryCtxRetain(&d->context, d->device), what) ||
      !ok(env, d, d->cuCtxSetCurrent(d->context), what) ||
      !ok(env, d, d->cuStreamCreate(&d->stream, 1), what) ||
      !ok(env, d, d->cuMemAllocHost_v2((void **)&d->dims, MAX_DIMS * sizeof(ix)), what) ||
      !ok(env, d, d->cuMemAlloc_v2(&d->dims_address, MAX_DIMS * sizeof(ix)), what)) return 0;
  for (int i = 0; i < 2; i++) {
    if (!ok(env, d, d->cuMemAllocHost_v2((void **)&d->staging[i], STAGING), what) ||
        !ok(env, d, d->cuEventCreate(&d->copied[i], 2), what)) return 0;
  }
  d->capability = major * 10 + minor;
  return 1;
}

// open(library, ordinal)
static napi_value js_open(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], result = 0;
  u64 ordinal;
  if (!get_arguments(env, info, 2, a) || !get_size(env, a[1], &ordinal)) return 0;
  char *path = get_string(env, a[0]);
  if (!path) return 0;
  struct driver *d = calloc(1, sizeof *d);
  if (d) d->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  free(path);
  if (!d || !d->library) {
    const char *problem = d ? dlerror() : 0;
    free(d);
    napi_throw_error(env, "no driver", problem ? problem : "out of memory");
    return 0;
  }
  d->magic = DRIVER_MAGIC;
  d->users = 1;
  const char *missing = 0;
#define F(name, params) if (!(d->name = dlsym(d->library, #name))) missing = #name;
  DRIVER(F)
#undef F
  if (missing) {
    char message[128];
    snprintf(message, sizeof message, "the NVIDIA driver is too old: it lacks %s", missing);
    napi_throw_error(env, "old driver", message);
  } else if (driver_open(env, d, ordinal > 1024 ? 1024 : (int)ordinal)) {
    if (napi_create_external(env, d, driver_finalize, 0, &result) == napi_ok) return result;
    fail(env, "out of memory");
  }
  driver_release(d);
  return 0;
}

// describe(driver): [name, capability, bytes of memory]
static napi_value js_describe(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], list, v;
  struct driver *d;
  if (!get_arguments(env, info, 1, a) || !(d = get_driver(env, a[0]))) return 0;
  napi_create_array(env, &list);
  napi_create_string_utf8(env, d->name, NAPI_AUTO_LENGTH, &v);
  napi_set_element(env, list, 0, v);
  napi_create_int32(env, d->capability, &v);
  napi_set_element(env, list, 1, v);
  napi_create_double(env, (double)d->memory, &v);
  napi_set_element(env, list, 2, v);
  return list;
}
`;

const programs = `
// ---- modules and graphs ----
struct module { u64 magic; struct driver *driver; CUhandle module; };

static void module_release(struct module *m) {
  if (!m->module) return;
  m->driver->cuCtxSetCurrent(m->driver->context);
  m->driver->cuModuleUnload(m->module);
  m->module = 0;
}
static void module_finalize(napi_env env, void *data, void *hint) {
  struct module *m = data;
  module_release(m);
  driver_release(m->driver);
  free(m);
}

// load(driver, image): a module
static napi_value js_load(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], result = 0;
  struct driver *d;
  napi_typedarray_type type;
  size_t bytes;
  void *image;
  if (!get_arguments(env, info, 2, a) || !(d = get_driver(env, a[0]))) return 0;
  if (napi_get_typedarray_info(env, a[1], &type, &bytes, &image, 0, 0) != napi_ok || type != napi_uint8_array || !bytes) {
    return fail(env, "an image must be a Uint8Array");
  }
  struct module *m = calloc(1, sizeof *m);
  if (!m) return fail(env, "out of memory");
  m->magic = MODULE_MAGIC;
  m->driver = d;
  if (!ok(env, d, d->cuModuleLoadData(&m->module, image), "cannot load the kernels")) {
    free(m);
    return 0;
  }
  d->users++;
  if (napi_create_external(env, m, module_finalize, 0, &result) == napi_ok) return result;
  module_finalize(env, m, 0);
  return fail(env, "out of memory");
}

static napi_value js_unload(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct module *m;
  if (get_arguments(env, info, 1, a) && (m = get_handle(env, a[0], MODULE_MAGIC))) module_release(m);
  return 0;
}

// find(driver, module, name): the function's handle, or 0 if the module has none of that name
static napi_value js_find(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct driver *d;
  struct module *m;
  CUhandle function = 0;
  if (!get_arguments(env, info, 3, a) || !(d = get_driver(env, a[0])) || !(m = get_handle(env, a[1], MODULE_MAGIC))) return 0;
  if (!m->module) return fail(env, "the module was unloaded");
  char *name = get_string(env, a[2]);
  if (!name) return 0;
  CUresult result = d->cuModuleGetFunction(&function, m->module, name);
  free(name);
  if (result == 500) function = 0;  // not found
  else if (!ok(env, d, result, "cannot find a kernel")) return 0;
  return make_address(env, function);
}

struct graph { u64 magic; struct driver *driver; CUhandle exec; };

static void graph_release(struct graph *g) {
  if (!g->exec) return;
  g->driver->cuCtxSetCurrent(g->driver->context);
  g->driver->cuGraphExecDestroy(g->exec);
  g->exec = 0;
}
static void graph_finalize(napi_env env, void *data, void *hint) {
  struct graph *g = data;
  graph_release(g);
  driver_release(g->driver);
  free(g);
}

// Adds the launches that words describe: steps, each a number of launches side by side; a launch is function, grid,
// block, number of parameters, parameters. Every launch of a step waits for all of the step before.
static CUresult graph_build(struct driver *d, CUhandle graph, const u64 *word, size_t words, CUhandle *nodes) {
  size_t at = 0, before = 0, first = 0, next = 0;
  while (at < words) {
    u64 launches = word[at++];
    for (u64 i = 0; i < launches; i++) {
      if (words - at < 4 || word[at + 3] > words - at - 4) return 1;
      size_t bytes = word[at + 3] * sizeof(u64);
      void *extra[] = {EXTRA_POINTER, (void *)(word + at + 4), EXTRA_SIZE, &bytes, EXTRA_END};
      struct CUnode node = {(CUhandle)word[at], (u32)word[at + 1], 1, 1, (u32)word[at + 2], 1, 1, 0, 0, extra};
      CUresult result = d->cuGraphAddKernelNode(&nodes[next++], graph, nodes + before, first - before, &node);
      if (result) return result;
      at += 4 + word[at + 3];
    }
    before = first;
    first = next;
  }
  return 0;
}

// graph(driver, words): see graph_build; the dims' address is prepended by the caller
static napi_value js_graph(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], result = 0;
  struct driver *d;
  napi_typedarray_type type;
  size_t words;
  void *data;
  if (!get_arguments(env, info, 2, a) || !(d = get_driver(env, a[0]))) return 0;
  if (napi_get_typedarray_info(env, a[1], &type, &words, &data, 0, 0) != napi_ok || type != napi_biguint64_array) {
    return fail(env, "launches must be a BigUint64Array");
  }
  struct graph *g = calloc(1, sizeof *g);
  CUhandle *nodes = calloc(words + 1, sizeof *nodes), graph = 0;
  if (!g || !nodes) {
    free(g);
    free(nodes);
    return fail(env, "out of memory");
  }
  g->magic = GRAPH_MAGIC;
  g->driver = d;
  CUresult status = d->cuGraphCreate(&graph, 0);
  if (!status) status = graph_build(d, graph, data, words, nodes);
  if (!status) status = d->cuGraphInstantiateWithFlags(&g->exec, graph, 0);
  if (graph) d->cuGraphDestroy(graph);
  free(nodes);
  if (!ok(env, d, status, "cannot record the launches")) {
    free(g);
    return 0;
  }
  d->users++;
  if (napi_create_external(env, g, graph_finalize, 0, &result) == napi_ok) return result;
  graph_finalize(env, g, 0);
  return fail(env, "out of memory");
}

static napi_value js_drop(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct graph *g;
  if (get_arguments(env, info, 1, a) && (g = get_handle(env, a[0], GRAPH_MAGIC))) graph_release(g);
  return 0;
}

static napi_value js_dims_address(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct driver *d;
  if (!get_arguments(env, info, 1, a) || !(d = get_driver(env, a[0]))) return 0;
  return make_address(env, (void *)d->dims_address);
}

struct run {
  napi_async_work work;
  napi_deferred deferred;
  napi_ref handles[2];  // keep driver and graph alive
  struct driver *driver;
  struct graph *graph;
  size_t dims;
  CUresult result;
  ix dim[MAX_DIMS];
};

static void run_execute(napi_env env, void *data) {
  struct run *r = data;
  struct driver *d = r->driver;
  r->result = d->cuCtxSetCurrent(d->context);
  memcpy(d->dims, r->dim, r->dims * sizeof(ix));
  if (!r->result && r->dims) {
    r->result = d->cuMemcpyHtoDAsync_v2(d->dims_address, d->dims, r->dims * sizeof(ix), d->stream);
  }
  if (!r->result) r->result = d->cuGraphLaunch(r->graph->exec, d->stream);
  if (!r->result) r->result = d->cuStreamSynchronize(d->stream);
}

static void run_delete(napi_env env, struct run *r) {
  for (int i = 0; i < 2; i++) if (r->handles[i]) napi_delete_reference(env, r->handles[i]);
  if (r->work) napi_delete_async_work(env, r->work);
  free(r);
}

static void run_complete(napi_env env, napi_status status, void *data) {
  struct run *r = data;
  napi_value value = 0;
  if (status == napi_ok && r->result == 0) {
    napi_get_undefined(env, &value);
    napi_resolve_deferred(env, r->deferred, value);
  } else {
    napi_value message, code;
    const char *text = "the run was cancelled";
    char number[16] = "";
    if (r->result) {
      r->driver->cuGetErrorString(r->result, &text);
      snprintf(number, sizeof number, "%d", r->result);
    }
    napi_create_string_utf8(env, text ? text : "unknown error", NAPI_AUTO_LENGTH, &message);
    napi_create_string_utf8(env, number, NAPI_AUTO_LENGTH, &code);
    napi_create_error(env, code, message, &value);
    napi_reject_deferred(env, r->deferred, value);
  }
  run_delete(env, r);
}

// run(driver, graph, dims): a promise. Runs of a driver follow one another: they share the memory of the dims.
static napi_value js_run(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], name, promise = 0;
  struct driver *d;
  struct graph *g;
  napi_typedarray_type type;
  size_t dims;
  void *data;
  if (!get_arguments(env, info, 3, a) || !(d = get_driver(env, a[0])) || !(g = get_handle(env, a[1], GRAPH_MAGIC))) return 0;
  if (!g->exec) return fail(env, "the graph was dropped");
  if (napi_get_typedarray_info(env, a[2], &type, &dims, &data, 0, 0) != napi_ok || type != napi_bigint64_array ||
      dims > MAX_DIMS) return fail(env, "dims must be a BigInt64Array of at most 512");
  struct run *r = calloc(1, sizeof *r);
  if (!r) return fail(env, "out of memory");
  r->driver = d;
  r->graph = g;
  r->dims = dims;
  memcpy(r->dim, data, dims * sizeof(ix));
  if (napi_create_string_utf8(env, "modelc", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_reference(env, a[0], 1, &r->handles[0]) != napi_ok ||
      napi_create_reference(env, a[1], 1, &r->handles[1]) != napi_ok ||
      napi_create_async_work(env, 0, name, run_execute, run_complete, r, &r->work) != napi_ok) {
    run_delete(env, r);
    return fail(env, "out of memory");
  }
  if (napi_create_promise(env, &r->deferred, &promise) != napi_ok || napi_queue_async_work(env, r->work) != napi_ok) {
    run_delete(env, r);
    return fail(env, "cannot queue the run");
  }
  return promise;
}

NAPI_MODULE_INIT() {
  static const struct { const char *name; napi_callback function; } functions[] = {
    {"open", js_open}, {"describe", js_describe}, {"alloc", js_alloc}, {"free", js_free}, {"write", js_write},
    {"readFile", js_read_file}, {"read", js_read}, {"copy", js_copy}, {"load", js_load}, {"unload", js_unload},
    {"find", js_find}, {"graph", js_graph}, {"drop", js_drop}, {"dimsAddress", js_dims_address}, {"run", js_run},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value f;
    if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, 0, &f) != napi_ok ||
        napi_set_named_property(env, exports, functions[i].name, f) != napi_ok) return 0;
  }
  return exports;
}
`;

/** The C source of the binding. */
export const bindingSource = `// The CUDA binding of modelc.
#define _GNU_SOURCE
#define NAPI_VERSION 8
${abi}
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <node_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
${nodeApiHelpers}${driver}${transfers}${programs}`;

/** What the binding exports, as device.ts sees it. Functions throw errors whose code is the driver's error number. */
export interface CudaBinding {
  open(library: string, ordinal: number): object;
  describe(driver: object): [name: string, capability: number, memory: number];
  alloc(driver: object, bytes: number): bigint;
  free(driver: object, address: bigint): void;
  write(driver: object, address: bigint, data: Uint8Array): void;
  /** Bytes of a file to the device, straight through pinned memory. */
  readFile(driver: object, address: bigint, path: string, offset: number, bytes: number): void;
  read(driver: object, address: bigint, bytes: number): ArrayBuffer;
  copy(driver: object, from: bigint, to: bigint, steps: BigUint64Array): void;
  load(driver: object, image: Uint8Array): object;
  unload(module: object): void;
  find(driver: object, module: object, name: string): bigint;
  graph(driver: object, words: BigUint64Array): object;
  drop(graph: object): void;
  /** Where kernels find the dims of a run. */
  dimsAddress(driver: object): bigint;
  run(driver: object, graph: object, dims: BigInt64Array): Promise<void>;
}
