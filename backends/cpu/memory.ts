// Device memory, as C text of the native runtime: aligned zeroed blocks, files mapped read-only, and the functions that
// JavaScript allocates, maps, reads, writes and copies with. mappings.ts keeps watch over the mapped files.
import { mappings } from './mappings.ts';

export const memory = `
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ALIGNMENT = 64, PAGES = 1 << 16, HUGE_PAGE = 2 << 20 }; // PAGES: whole pages of any system

// Zero-filled. Large blocks come from the system in huge pages, as far as these are filled, so that streaming through
// weights misses no TLB.
static char *memory_alloc(u64 bytes) {
  if (bytes < HUGE_PAGE) {
    u64 rounded = (bytes + ALIGNMENT) & ~(u64)(ALIGNMENT - 1);
    char *p = 0;
    if (posix_memalign((void **)&p, ALIGNMENT, rounded)) return 0;
    return memset(p, 0, rounded);
  }
  u64 rounded = (bytes + PAGES - 1) & ~(u64)(PAGES - 1);
  char *p = mmap(0, rounded + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return 0;
  u64 before = (HUGE_PAGE - (u64)p % HUGE_PAGE) % HUGE_PAGE;
  if (before) munmap(p, before);
  if (before < HUGE_PAGE) munmap(p + before + rounded, HUGE_PAGE - before);
#ifdef MADV_HUGEPAGE
  madvise(p + before, rounded & ~(u64)(HUGE_PAGE - 1), MADV_HUGEPAGE);
#endif
  return p + before;
}

static void memory_free(char *p, u64 bytes) {
  if (!p) return;
  if (bytes < HUGE_PAGE) free(p);
  else munmap(p, (bytes + PAGES - 1) & ~(u64)(PAGES - 1));
}
${mappings}`;

/** Needs the argument helpers of binding.ts. */
export const memoryFunctions = `
static napi_value js_alloc(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  u64 bytes;
  if (!get_arguments(env, info, 1, a) || !get_size(env, a[0], &bytes)) return 0;
  char *p = memory_alloc(bytes);
  if (!p) return fail(env, "out of memory");
  return make_address(env, p);
}

static napi_value js_free(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  char *p;
  u64 bytes;
  if (get_arguments(env, info, 2, a) && get_address(env, a[0], &p) && get_size(env, a[1], &bytes)) memory_free(p, bytes);
  return 0;
}

// map(path, offset, bytes): the address of the first byte; the pages before it belong to the mapping.
static napi_value js_map(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  u64 offset, bytes;
  if (!get_arguments(env, info, 3, a) || !get_size(env, a[1], &offset) || !get_size(env, a[2], &bytes)) return 0;
  char *path = get_string(env, a[0]);
  if (!path) return 0;
  const char *problem = 0;
  char *p = file_map(path, offset, bytes, &problem);
  free(path);
  return p ? make_address(env, p) : fail(env, problem);
}

static napi_value js_unmap(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  char *p;
  u64 bytes;
  if (!get_arguments(env, info, 2, a) || !get_address(env, a[0], &p) || !get_size(env, a[1], &bytes)) return 0;
  file_unmap(p, bytes);
  return 0;
}

// changed(address): the path of the file that is mapped there, if it is not what was mapped any more
static napi_value js_changed(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], result = 0;
  char *p;
  if (!get_arguments(env, info, 1, a) || !get_address(env, a[0], &p)) return 0;
  const char *path = file_changed(&p, 1);
  if (path) napi_create_string_utf8(env, path, NAPI_AUTO_LENGTH, &result);
  return result;
}

static napi_value js_read(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS], result = 0;
  char *p;
  void *data;
  u64 bytes;
  if (!get_arguments(env, info, 2, a) || !get_address(env, a[0], &p) || !get_size(env, a[1], &bytes)) return 0;
  if (napi_create_arraybuffer(env, bytes, &data, &result) != napi_ok) return fail(env, "out of memory");
  if (bytes) memcpy(data, p, bytes);
  return result;
}

static napi_value js_write(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  char *p;
  napi_typedarray_type type;
  size_t bytes;
  void *data;
  if (!get_arguments(env, info, 2, a) || !get_address(env, a[0], &p)) return 0;
  if (napi_get_typedarray_info(env, a[1], &type, &bytes, &data, 0, 0) != napi_ok || type != napi_uint8_array) {
    return fail(env, "data must be a Uint8Array");
  }
  if (bytes) memcpy(p, data, bytes);
  return 0;
}

// copy(from, fromStep, to, toStep, bytes, rows)
static napi_value js_copy(napi_env env, napi_callback_info info) {
  napi_value a[MAX_ARGUMENTS];
  char *from, *to;
  u64 from_step, to_step, bytes, rows;
  if (!get_arguments(env, info, 6, a) || !get_address(env, a[0], &from) || !get_size(env, a[1], &from_step) ||
      !get_address(env, a[2], &to) || !get_size(env, a[3], &to_step) || !get_size(env, a[4], &bytes) ||
      !get_size(env, a[5], &rows)) return 0;
  for (u64 i = 0; i < rows; i++) memmove(to + i * to_step, from + i * from_step, bytes);
  return 0;
}
`;
