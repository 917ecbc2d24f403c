// Runs, as C text of the CUDA binding. A run has a slot: pinned memory for what it sends (inputs, dims) and fetches (a
// result), which is its own until the event at its end has come. Everything is sent to the one stream and returns at
// once, so that many runs are under way; what waits for a run does so off the event loop.
export const runs = `
// ---- runs ----
struct run_slot {
  u64 magic;
  struct driver *driver;
  CUhandle done;
  char *memory;  // pinned
  size_t bytes, used;
  char *fetched;
  size_t fetched_bytes;
  int waiting;
};

static void slot_finalize(napi_env env, void *data, void *hint) {
  struct run_slot *s = data;
  struct driver *d = s->driver;
  d->cuCtxSetCurrent(d->context);
  if (s->memory) d->cuMemFreeHost(s->memory);
  if (s->done) d->cuEventDestroy_v2(s->done);
  driver_release(d);
  free(s);
}

// slot(driver): the memory of one run at a time
static napi_value js_slot(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], result = 0;
  struct driver *d;
  if (!get_arguments(env, info, 1, a) || !(d = get_driver(env, a[0]))) return 0;
  struct run_slot *s = calloc(1, sizeof *s);
  if (!s) return fail(env, "out of memory");
  s->magic = SLOT_MAGIC;
  s->driver = d;
  if (!ok(env, d, d->cuEventCreate(&s->done, 2), "cannot make an event")) {
    free(s);
    return 0;
  }
  d->users++;
  if (napi_create_external(env, s, slot_finalize, 0, &result) == napi_ok) return result;
  slot_finalize(env, s, 0);
  return fail(env, "out of memory");
}

static struct run_slot *get_slot(napi_env env, napi_value v) {
  struct run_slot *s = get_handle(env, v, SLOT_MAGIC);
  if (!s || !ok(env, s->driver, s->driver->cuCtxSetCurrent(s->driver->context), "cannot use the GPU")) return 0;
  if (!s->waiting) return s;
  fail(env, "the slot is in use");
  return 0;
}

// A part of the slot's memory.
static int slot_take(napi_env env, struct run_slot *s, size_t bytes, char **out) {
  if (bytes > s->bytes - s->used) {
    fail(env, "the slot is full");
    return 0;
  }
  *out = s->memory + s->used;
  s->used += bytes;
  return 1;
}

// begin(slot, bytes): empties the slot and makes room
static napi_value js_begin(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct run_slot *s;
  u64 bytes;
  if (!get_arguments(env, info, 2, a) || !(s = get_slot(env, a[0])) || !get_size(env, a[1], &bytes)) return 0;
  s->used = s->fetched_bytes = 0;
  if (bytes <= s->bytes) return 0;
  if (s->memory) s->driver->cuMemFreeHost(s->memory);
  s->memory = 0;
  s->bytes = 0;
  if (ok(env, s->driver, s->driver->cuMemAllocHost_v2((void **)&s->memory, bytes), "cannot pin memory")) s->bytes = bytes;
  return 0;
}

// send(slot, address, data)
static napi_value js_send(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct run_slot *s;
  char *to, *from;
  napi_typedarray_type type;
  size_t bytes;
  void *data;
  if (!get_arguments(env, info, 3, a) || !(s = get_slot(env, a[0])) || !get_address(env, a[1], &to)) return 0;
  if (napi_get_typedarray_info(env, a[2], &type, &bytes, &data, 0, 0) != napi_ok || type != napi_uint8_array) {
    return fail(env, "data must be a Uint8Array");
  }
  if (!bytes || !slot_take(env, s, bytes, &from)) return 0;
  memcpy(from, data, bytes);
  ok(env, s->driver, s->driver->cuMemcpyHtoDAsync_v2((CUdeviceptr)to, from, bytes, s->driver->stream), "cannot copy to the GPU");
  return 0;
}

// launch(slot, graph, dims, address, bytes): runs the graph, then fetches bytes, if any, from the address
static napi_value js_launch(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct run_slot *s;
  struct graph *g;
  napi_typedarray_type type;
  size_t dims;
  u64 bytes;
  void *data;
  char *from = 0;
  if (!get_arguments(env, info, 5, a) || !(s = get_slot(env, a[0])) || !(g = get_handle(env, a[1], GRAPH_MAGIC)) ||
      !get_size(env, a[4], &bytes) || (bytes && !get_address(env, a[3], &from))) return 0;
  if (!g->exec) return fail(env, "the graph was dropped");
  if (napi_get_typedarray_info(env, a[2], &type, &dims, &data, 0, 0) != napi_ok || type != napi_bigint64_array ||
      dims > MAX_DIMS) return fail(env, "dims must be a BigInt64Array of at most 512");
  struct driver *d = s->driver;
  char *sent;
  if (!slot_take(env, s, dims * sizeof(i64), &sent) || !slot_take(env, s, bytes, &s->fetched)) return 0;
  if (dims) memcpy(sent, data, dims * sizeof(i64));
  CUresult result = dims ? d->cuMemcpyHtoDAsync_v2(d->dims_address, sent, dims * sizeof(i64), d->stream) : 0;
  if (!result) result = d->cuGraphLaunch(g->exec, d->stream);
  if (!result && bytes) result = d->cuMemcpyDtoHAsync_v2(s->fetched, (CUdeviceptr)from, bytes, d->stream);
  if (!result) result = d->cuEventRecord(s->done, d->stream);
  s->fetched_bytes = bytes;
  ok(env, d, result, "cannot launch");
  return 0;
}

struct run_wait {
  napi_async_work work;
  napi_deferred deferred;
  napi_ref slot_value;  // keeps it alive
  struct run_slot *slot;
  CUresult result;
};

static void wait_execute(napi_env env, void *data) {
  struct run_wait *w = data;
  struct driver *d = w->slot->driver;
  w->result = d->cuCtxSetCurrent(d->context);
  if (!w->result) w->result = d->cuEventSynchronize(w->slot->done);
}

static void wait_delete(napi_env env, struct run_wait *w) {
  if (w->slot_value) napi_delete_reference(env, w->slot_value);
  if (w->work) napi_delete_async_work(env, w->work);
  free(w);
}

static void wait_complete(napi_env env, napi_status status, void *data) {
  struct run_wait *w = data;
  struct run_slot *s = w->slot;
  napi_value value = 0;
  void *copy;
  s->waiting = 0;
  if (status == napi_ok && w->result == 0 && napi_create_arraybuffer(env, s->fetched_bytes, &copy, &value) == napi_ok) {
    if (s->fetched_bytes) memcpy(copy, s->fetched, s->fetched_bytes);
    napi_resolve_deferred(env, w->deferred, value);
  } else {
    napi_value message, code;
    const char *text = "the run was cancelled";
    char number[16] = "";
    if (w->result) {
      s->driver->cuGetErrorString(w->result, &text);
      snprintf(number, sizeof number, "%d", w->result);
    }
    napi_create_string_utf8(env, text ? text : "unknown error", NAPI_AUTO_LENGTH, &message);
    napi_create_string_utf8(env, number, NAPI_AUTO_LENGTH, &code);
    napi_create_error(env, code, message, &value);
    napi_reject_deferred(env, w->deferred, value);
  }
  wait_delete(env, w);
}

// wait(slot): a promise of what was fetched, once the run is done
static napi_value js_wait(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], name, promise = 0;
  struct run_slot *s;
  if (!get_arguments(env, info, 1, a) || !(s = get_slot(env, a[0]))) return 0;
  struct run_wait *w = calloc(1, sizeof *w);
  if (!w) return fail(env, "out of memory");
  w->slot = s;
  if (napi_create_string_utf8(env, "modelc", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_reference(env, a[0], 1, &w->slot_value) != napi_ok ||
      napi_create_async_work(env, 0, name, wait_execute, wait_complete, w, &w->work) != napi_ok) {
    wait_delete(env, w);
    return fail(env, "out of memory");
  }
  if (napi_create_promise(env, &w->deferred, &promise) != napi_ok || napi_queue_async_work(env, w->work) != napi_ok) {
    wait_delete(env, w);
    return fail(env, "cannot queue the wait");
  }
  s->waiting = 1;
  return promise;
}
`;
