// Modules and recorded launches, as C text of the CUDA binding. Launches are recorded as an explicit graph, whose edges
// say what waits for what.
export const recordings = `
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
`;
