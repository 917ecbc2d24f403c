// Device memory, as C text of the CUDA binding: zeroed blocks, and copies between host and device. Copies to the device
// go through two pieces of pinned memory in turn, so that one is filled while the driver sends the other.
export const transfers = `
static napi_value js_alloc(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct driver *d;
  u64 bytes;
  CUdeviceptr p = 0;
  if (!get_arguments(env, info, 2, a) || !(d = get_driver(env, a[0])) || !get_size(env, a[1], &bytes)) return 0;
  u64 rounded = (bytes + 256) & ~255ULL;
  if (!ok(env, d, d->cuMemAlloc_v2(&p, rounded), "cannot allocate memory")) return 0;
  if (!ok(env, d, d->cuMemsetD8Async(p, 0, rounded, d->stream), "cannot clear memory")) return 0;
  return make_address(env, (void *)p);
}

static napi_value js_free(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct driver *d;
  char *p;
  if (!get_arguments(env, info, 2, a) || !(d = get_driver(env, a[0])) || !get_address(env, a[1], &p)) return 0;
  ok(env, d, d->cuMemFree_v2((CUdeviceptr)p), "cannot free memory");
  return 0;
}

// freeMemory(driver): bytes that no process uses
static napi_value js_free_memory(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], result = 0;
  struct driver *d;
  size_t unused, all;
  if (!get_arguments(env, info, 1, a) || !(d = get_driver(env, a[0]))) return 0;
  if (!ok(env, d, d->cuMemGetInfo_v2(&unused, &all), "cannot tell the free memory")) return 0;
  napi_create_double(env, (double)unused, &result);
  return result;
}

// Fills pinned memory with the bytes from offset on, from memory or a file, and sends them. File errors set errno.
static CUresult send_bytes(struct driver *d, CUdeviceptr to, const char *data, int file, u64 offset, u64 bytes, int *file_error) {
  for (u64 at = 0, piece = 0; at < bytes; piece ^= 1) {
    u64 size = bytes - at < STAGING ? bytes - at : STAGING;
    CUresult result = d->cuEventSynchronize(d->copied[piece]);
    if (result) return result;
    if (data) memcpy(d->staging[piece], data + at, size);
    else {
      for (u64 done = 0; done < size;) {
        ssize_t got = pread(file, d->staging[piece] + done, size - done, (off_t)(offset + at + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
          *file_error = got < 0 ? errno : ENODATA;
          return 0;
        }
        done += (u64)got;
      }
    }
    result = d->cuMemcpyHtoDAsync_v2(to + at, d->staging[piece], size, d->stream);
    if (!result) result = d->cuEventRecord(d->copied[piece], d->stream);
    if (result) return result;
    at += size;
  }
  return 0;
}

// write(driver, address, data)
static napi_value js_write(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct driver *d;
  char *p;
  napi_typedarray_type type;
  size_t bytes;
  void *data;
  int error = 0;
  if (!get_arguments(env, info, 3, a) || !(d = get_driver(env, a[0])) || !get_address(env, a[1], &p)) return 0;
  if (napi_get_typedarray_info(env, a[2], &type, &bytes, &data, 0, 0) != napi_ok || type != napi_uint8_array) {
    return fail(env, "data must be a Uint8Array");
  }
  if (bytes) ok(env, d, send_bytes(d, (CUdeviceptr)p, data, -1, 0, bytes, &error), "cannot copy to the GPU");
  return 0;
}

// readFile(driver, address, path, offset, bytes)
static napi_value js_read_file(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct driver *d;
  char *p;
  u64 offset, bytes;
  int error = 0;
  if (!get_arguments(env, info, 5, a) || !(d = get_driver(env, a[0])) || !get_address(env, a[1], &p) ||
      !get_size(env, a[3], &offset) || !get_size(env, a[4], &bytes)) return 0;
  char *path = get_string(env, a[2]);
  if (!path) return 0;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  error = file < 0 ? errno : 0;
  free(path);
  CUresult result = error ? 0 : send_bytes(d, (CUdeviceptr)p, 0, file, offset, bytes, &error);
  if (file >= 0) close(file);
  if (error) {
    napi_throw_error(env, "file", error == ENODATA ? "the span lies outside of the file" : strerror(error));
    return 0;
  }
  ok(env, d, result, "cannot copy to the GPU");
  return 0;
}

// read(driver, address, bytes)
static napi_value js_read(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], result = 0;
  struct driver *d;
  char *p;
  void *data;
  u64 bytes;
  if (!get_arguments(env, info, 3, a) || !(d = get_driver(env, a[0])) || !get_address(env, a[1], &p) ||
      !get_size(env, a[2], &bytes)) return 0;
  if (napi_create_arraybuffer(env, bytes, &data, &result) != napi_ok) return fail(env, "out of memory");
  if (!bytes) return result;
  const char *what = "cannot copy from the GPU";
  if (!ok(env, d, d->cuMemcpyDtoHAsync_v2(data, (CUdeviceptr)p, bytes, d->stream), what) ||
      !ok(env, d, d->cuStreamSynchronize(d->stream), what)) return 0;
  return result;
}

// copy(driver, from, to, [from step, to step, bytes, rows])
static napi_value js_copy(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  struct driver *d;
  char *from, *to;
  napi_typedarray_type type;
  size_t count;
  void *data;
  if (!get_arguments(env, info, 4, a) || !(d = get_driver(env, a[0])) || !get_address(env, a[1], &from) ||
      !get_address(env, a[2], &to)) return 0;
  if (napi_get_typedarray_info(env, a[3], &type, &count, &data, 0, 0) != napi_ok || type != napi_biguint64_array || count != 4) {
    return fail(env, "steps must be four numbers");
  }
  const u64 *s = data;
  for (u64 i = 0; i < s[3]; i++) {
    CUresult result = d->cuMemcpyDtoDAsync_v2((CUdeviceptr)(to + i * s[1]), (CUdeviceptr)(from + i * s[0]), s[2], d->stream);
    if (!ok(env, d, result, "cannot copy on the GPU")) return 0;
  }
  return 0;
}
`;
