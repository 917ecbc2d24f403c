// What native runtimes share, as C text: arguments from JavaScript, checked for type and range, and results to it. Comes
// after <node_api.h> and the types of abi.ts.
export const nodeApiHelpers = `
enum { MAX_ARGUMENTS = 6 };
static const double MAX_SIZE = 9007199254740992.0;

static napi_value fail(napi_env env, const char *message) {
  napi_throw_type_error(env, 0, message);
  return 0;
}

// An error with a code that programs branch on.
static napi_value make_error(napi_env env, const char *code, const char *message) {
  napi_value id = 0, text = 0, error = 0;
  napi_create_string_utf8(env, code, NAPI_AUTO_LENGTH, &id);
  napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &text);
  napi_create_error(env, id, text, &error);
  return error;
}

static int get_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *out) {
  size_t given = MAX_ARGUMENTS;
  if (napi_get_cb_info(env, info, &given, out, 0, 0) == napi_ok && given >= count) return 1;
  fail(env, "too few arguments");
  return 0;
}

static int get_size(napi_env env, napi_value v, u64 *out) {
  double x;
  if (napi_get_value_double(env, v, &x) == napi_ok && x >= 0 && x <= MAX_SIZE && (double)(u64)x == x) {
    *out = (u64)x;
    return 1;
  }
  fail(env, "a size must be a non-negative integer");
  return 0;
}

static int get_address(napi_env env, napi_value v, char **out) {
  u64 x;
  bool lossless;
  if (napi_get_value_bigint_uint64(env, v, (uint64_t *)&x, &lossless) == napi_ok && lossless && x) {
    *out = (char *)x;
    return 1;
  }
  fail(env, "an address must be a BigInt other than 0");
  return 0;
}

static napi_value make_address(napi_env env, void *p) {
  napi_value v = 0;
  napi_create_bigint_uint64(env, (u64)p, &v);
  return v;
}

// Handles start with a number that tells their kind.
static void *get_handle(napi_env env, napi_value v, u64 magic) {
  u64 *handle = 0;
  napi_valuetype type;
  if (napi_typeof(env, v, &type) == napi_ok && type == napi_external &&
      napi_get_value_external(env, v, (void **)&handle) == napi_ok && handle && *handle == magic) return handle;
  fail(env, "not a handle of the expected kind");
  return 0;
}

static char *get_string(napi_env env, napi_value v) {
  size_t length;
  char *text = 0;
  if (napi_get_value_string_utf8(env, v, 0, 0, &length) == napi_ok && (text = malloc(length + 1))) {
    napi_get_value_string_utf8(env, v, text, length + 1, &length);
    return text;
  }
  fail(env, "expected a string");
  return 0;
}
`;
