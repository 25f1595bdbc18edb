/* Linux system calls and the memory functions that compilers call on their own. The runtime needs no C library,
 * so an artifact loads into any process, whatever its libc. */

#include <stdarg.h>

enum { SYS_OPEN = 2, SYS_READ = 0, SYS_CLOSE = 3, SYS_LSEEK = 8, SYS_MMAP = 9, SYS_MUNMAP = 11, SYS_MADVISE = 28 };
enum { PROT_READ_ONLY = 1, PROT_READ_WRITE = 3, MAP_PRIVATE_FILE = 2, MAP_PRIVATE_ANONYMOUS = 0x22 };
enum { ADVISE_HUGE_PAGES = 14, OPEN_READ_CLOEXEC = 02000000, SEEK_TO_END = 2, PAGE = 4096, HUGE_PAGE = 2 << 20 };

static long system_call(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static int failed(long result) { return (unsigned long)result > -(unsigned long)PAGE; }

static size_t whole_pages(size_t bytes) { return (bytes + PAGE - 1) & ~(size_t)(PAGE - 1); }

/* Zeroed pages that cost nothing until they are touched, or NULL. */
static void *pages_reserve(size_t bytes) {
  if (bytes > (size_t)1 << 46) return NULL;
  long at = system_call(SYS_MMAP, 0, (long)whole_pages(bytes), PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
  return failed(at) ? NULL : (void *)at;
}

/* Zeroed pages for data, or NULL. */
static void *pages_alloc(size_t bytes) {
  void *at = pages_reserve(bytes);
  /* Walking 75 MB with 2 MiB pages takes half the time of 4 KiB pages; a refusal costs nothing. */
  if (at && bytes >= HUGE_PAGE)
    system_call(SYS_MADVISE, (long)at, (long)whole_pages(bytes), ADVISE_HUGE_PAGES, 0, 0, 0);
  return at;
}

static void pages_free(void *at, size_t bytes) {
  if (at) system_call(SYS_MUNMAP, (long)at, (long)whole_pages(bytes), 0, 0, 0, 0);
}

static long file_open(const char *path) { return system_call(SYS_OPEN, (long)path, OPEN_READ_CLOEXEC, 0, 0, 0, 0); }

static void file_close(long file) { system_call(SYS_CLOSE, file, 0, 0, 0, 0, 0); }

static long file_read(long file, char *to, size_t bytes) {
  return system_call(SYS_READ, file, (long)to, (long)bytes, 0, 0, 0);
}

static long file_size(long file) { return system_call(SYS_LSEEK, file, 0, SEEK_TO_END, 0, 0, 0); }

/* The file's contents, shared with every other process that maps it, or NULL. */
static const uint8_t *file_map(long file, size_t bytes) {
  long at = system_call(SYS_MMAP, 0, (long)bytes, PROT_READ_ONLY, MAP_PRIVATE_FILE, file, 0);
  if (failed(at)) return NULL;
  system_call(SYS_MADVISE, at, (long)bytes, ADVISE_HUGE_PAGES, 0, 0, 0);
  return (const uint8_t *)at;
}

__attribute__((visibility("hidden"))) void *memcpy(void *to, const void *from, size_t bytes) {
  void *start = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
  return start;
}

__attribute__((visibility("hidden"))) void *memmove(void *to, const void *from, size_t bytes) {
  if ((uintptr_t)to - (uintptr_t)from >= bytes) return memcpy(to, from, bytes);
  uint8_t *d = to;
  const uint8_t *s = from;
  while (bytes--) d[bytes] = s[bytes];
  return to;
}

__attribute__((visibility("hidden"))) void *memset(void *to, int value, size_t bytes) {
  void *start = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
  return start;
}

__attribute__((visibility("hidden"))) int memcmp(const void *a, const void *b, size_t bytes) {
  const uint8_t *x = a, *y = b;
  for (size_t i = 0; i < bytes; i++)
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  return 0;
}
