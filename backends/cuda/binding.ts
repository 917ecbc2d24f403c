// The native side of the CUDA device, as C text: the driver API, found at run time and never linked, behind Node-API. It
// declares the few functions and structures of the driver that it uses itself, so no toolkit is needed to build it. Only
// device.ts calls it. Arguments are checked for type and range here; that addresses are live is checked in device.ts.

import { nodeApiHelpers } from '../c/node-api.ts';
import { typedefs } from '../c/types.ts';
import { recordings } from './recordings.ts';
import { runs } from './runs.ts';
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
  F(cuMemGetInfo_v2, (size_t *, size_t *)) \\
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

enum { DRIVER_MAGIC = 0x6d6f6403, MODULE_MAGIC = 0x6d6f6404, GRAPH_MAGIC = 0x6d6f6405, SLOT_MAGIC = 0x6d6f6406 };
enum { STAGING = 16 << 20, MAX_DIMS = 512 };

struct driver {
  u64 magic;
  u64 users;  // itself as a JavaScript value, its modules, graphs and slots: they go in any order when the process ends
  void *library;
#define F(name, params) CUresult (*name) params;
  DRIVER(F)
#undef F
  CUdevice device;
  CUhandle context, stream;
  char *staging[2];       // pinned, each with the event after which it is free again
  CUhandle copied[2];
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
      !ok(env, d, d->cuMemAlloc_v2(&d->dims_address, MAX_DIMS * sizeof(i64)), what)) return 0;
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

const exported = `
NAPI_MODULE_INIT() {
  static const struct { const char *name; napi_callback function; } functions[] = {
    {"open", js_open}, {"describe", js_describe}, {"alloc", js_alloc}, {"free", js_free}, {"write", js_write},
    {"readFile", js_read_file}, {"read", js_read}, {"freeMemory", js_free_memory}, {"copy", js_copy}, {"load", js_load}, {"unload", js_unload},
    {"find", js_find}, {"graph", js_graph}, {"drop", js_drop}, {"dimsAddress", js_dims_address}, {"slot", js_slot},
    {"begin", js_begin}, {"send", js_send}, {"launch", js_launch}, {"wait", js_wait},
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
${typedefs}
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <node_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
${nodeApiHelpers}${driver}${transfers}${recordings}${runs}${exported}`;

/** What the binding exports, as device.ts sees it. Functions throw errors whose code is the driver's error number. */
export interface CudaBinding {
  open(library: string, ordinal: number): object;
  describe(driver: object): [name: string, capability: number, memory: number];
  alloc(driver: object, bytes: number): bigint;
  free(driver: object, address: bigint): void;
  /** Bytes that no process uses. */
  freeMemory(driver: object): number;
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
  /** Memory of one run at a time. */
  slot(driver: object): object;
  begin(slot: object, bytes: number): void;
  send(slot: object, address: bigint, data: Uint8Array): void;
  /** Runs a graph, then fetches bytes from an address. */
  launch(slot: object, graph: object, dims: BigInt64Array, address: bigint, bytes: number): void;
  /** What was fetched, once the run is done. */
  wait(slot: object): Promise<ArrayBuffer>;
}
