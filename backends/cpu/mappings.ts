// Mapped files, as C text of the native runtime. A file may be cut short or written to while it is mapped; a read behind
// its end then raises SIGBUS, which ends a process, and other changes give wrong numbers. So the handler here puts zeros
// in place of what is gone, and after each run the files that it read are compared with what they were when they were
// mapped: their size and the time of their last change. A model whose files have changed stays broken until it is loaded
// again. The handler reads a list whose nodes are used again but never freed; only mmap is called in it.
export const mappings = `
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

static const char changed_code[] = "file changed";

// A file with mappings; kept open to look at, by the number of the file and not by a path that may lead elsewhere.
struct mapped_file {
  struct mapped_file *next;
  char *path;
  struct stat state;
  int descriptor;
  u64 mappings;
};

struct mapping {
  struct mapping *next;
  _Atomic(char *) start;         // of its first page; 0: the node is free
  u64 bytes;
  struct mapped_file *file;
  _Atomic int lost;
};

static pthread_mutex_t mappings_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct mapping *) mappings;
static struct mapped_file *mapped_files;
static _Atomic int any_lost;
static struct sigaction sigbus_before;
static int sigbus_is_handled;
static u64 page_bytes;

static void sigbus_handler(int number, siginfo_t *info, void *context) {
  char *at = info->si_addr;
  for (struct mapping *m = atomic_load(&mappings); m; m = m->next) {
    char *start = atomic_load(&m->start);
    if (!start || at < start || at >= start + m->bytes) continue;
    u64 before = (u64)(at - start) / page_bytes * page_bytes;
    if (mmap(start + before, m->bytes - before, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
    atomic_store(&m->lost, 1);
    atomic_store(&any_lost, 1);
    return;
  }
  // somebody else's: what stood here before, or the end
  if (sigbus_before.sa_flags & SA_SIGINFO) sigbus_before.sa_sigaction(number, info, context);
  else if (sigbus_before.sa_handler == SIG_DFL || sigbus_before.sa_handler == SIG_IGN) {
    signal(SIGBUS, SIG_DFL);
    raise(SIGBUS);
  } else sigbus_before.sa_handler(number);
}

// Once; the code stays loaded even where the system would unload it with a worker.
static void sigbus_handle(void) {
  if (sigbus_is_handled) return;
  Dl_info self;
  if (!dladdr((void *)sigbus_handler, &self) || !dlopen(self.dli_fname, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)) return;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  sigemptyset(&action.sa_mask);
  action.sa_sigaction = sigbus_handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigbus_is_handled = sigaction(SIGBUS, &action, &sigbus_before) == 0;
}

// A thread that blocks the signal would be ended by it.
static void sigbus_unblock(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGBUS);
  pthread_sigmask(SIG_UNBLOCK, &set, 0);
}

static long file_time(const struct stat *s) {
#ifdef __APPLE__
  return s->st_mtimespec.tv_nsec;
#else
  return s->st_mtim.tv_nsec;
#endif
}

static int same_state(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtime == b->st_mtime &&
         file_time(a) == file_time(b);
}

// The record of an open file, which takes the descriptor. Needs the lock.
static struct mapped_file *file_record(const char *path, int descriptor, const struct stat *state) {
  for (struct mapped_file *f = mapped_files; f; f = f->next) {
    if (!same_state(&f->state, state)) continue;
    close(descriptor);
    return f;
  }
  struct mapped_file *f = calloc(1, sizeof *f);
  char *name = f ? strdup(path) : 0;
  if (!name) {
    free(f);
    close(descriptor);
    return 0;
  }
  *f = (struct mapped_file){.next = mapped_files, .path = name, .state = *state, .descriptor = descriptor};
  return mapped_files = f;
}

static void file_release(struct mapped_file *f) {
  if (f->mappings) return;
  for (struct mapped_file **at = &mapped_files; *at; at = &(*at)->next) {
    if (*at != f) continue;
    *at = f->next;
    break;
  }
  close(f->descriptor);
  free(f->path);
  free(f);
}

static struct mapping *mapping_node(void) {
  for (struct mapping *m = atomic_load(&mappings); m; m = m->next) if (!atomic_load(&m->start)) return m;
  struct mapping *m = calloc(1, sizeof *m);
  if (!m) return 0;
  m->next = atomic_load(&mappings);
  atomic_store(&mappings, m);
  return m;
}

// The address of a span of a file. The length is that of the very file that is mapped.
static char *file_map(const char *path, u64 offset, u64 bytes, const char **problem) {
  int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat s;
  if (descriptor < 0 || fstat(descriptor, &s)) {
    *problem = strerror(errno);
    if (descriptor >= 0) close(descriptor);
    return 0;
  }
  if (!S_ISREG(s.st_mode) || bytes == 0 || offset > (u64)s.st_size || bytes > (u64)s.st_size - offset) {
    *problem = "the span lies outside of the file";
    close(descriptor);
    return 0;
  }
  page_bytes = (u64)sysconf(_SC_PAGESIZE);
  u64 before = offset % page_bytes;
  pthread_mutex_lock(&mappings_lock);
  sigbus_handle();
  char *p = mmap(0, bytes + before, PROT_READ, MAP_PRIVATE, descriptor, (off_t)(offset - before));
  int error = errno;
  struct mapped_file *file = file_record(path, descriptor, &s);
  struct mapping *m = p == MAP_FAILED || !file ? 0 : mapping_node();
  if (m) {
    m->bytes = (bytes + before + page_bytes - 1) / page_bytes * page_bytes;
    m->file = file;
    file->mappings++;
    atomic_store(&m->lost, 0);
    atomic_store(&m->start, p);
  } else {
    *problem = p == MAP_FAILED ? strerror(error) : "out of memory";
    if (p != MAP_FAILED) munmap(p, bytes + before);
    if (file) file_release(file);
  }
  pthread_mutex_unlock(&mappings_lock);
  if (!m) return 0;
  madvise(p, bytes + before, MADV_WILLNEED);
  return p + before;
}

static void file_unmap(char *p, u64 bytes) {
  u64 before = (u64)p % page_bytes;
  pthread_mutex_lock(&mappings_lock);
  for (struct mapping *m = atomic_load(&mappings); m; m = m->next) {
    if (atomic_load(&m->start) != p - before || before + bytes > m->bytes) continue;
    atomic_store(&m->start, 0);
    m->file->mappings--;
    file_release(m->file);
    munmap(p - before, bytes + before);
    break;
  }
  pthread_mutex_unlock(&mappings_lock);
}

static int is_changed(const struct mapped_file *f) {
  struct stat now;
  return fstat(f->descriptor, &now) || !same_state(&f->state, &now);
}

// The path of a file that changed since it was mapped, of those that lie at the addresses; 0 if none did. The text lives as
// long as the file is mapped.
static const char *file_changed(char *const *addresses, u64 count) {
  const char *path = 0;
  pthread_mutex_lock(&mappings_lock);
  int any = atomic_load(&any_lost);
  for (struct mapped_file *f = mapped_files; f && !any; f = f->next) any = is_changed(f);
  for (struct mapping *m = any ? atomic_load(&mappings) : 0; m && !path; m = m->next) {
    char *start = atomic_load(&m->start);
    if (!start || !(atomic_load(&m->lost) || is_changed(m->file))) continue;
    for (u64 i = 0; i < count && !path; i++) {
      if (addresses[i] >= start && addresses[i] < start + m->bytes) path = m->file->path;
    }
  }
  pthread_mutex_unlock(&mappings_lock);
  return path;
}
`;
