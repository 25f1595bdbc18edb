/* The constant arrays: in the shared object itself, or in a mapped file beside it whose hash must fit. */

/* xxHash64, seed 0 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md). */
static const uint64_t P1 = 0x9E3779B185EBCA87u, P2 = 0xC2B2AE3D27D4EB4Fu, P3 = 0x165667B19E3779F9u,
                      P4 = 0x85EBCA77C2B2AE63u, P5 = 0x27D4EB2F165667C5u;

static uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

static uint64_t read64(const uint8_t *at) {
  uint64_t value;
  __builtin_memcpy(&value, at, sizeof value);
  return value;
}

static uint32_t read32(const uint8_t *at) {
  uint32_t value;
  __builtin_memcpy(&value, at, sizeof value);
  return value;
}

static uint64_t hash_round(uint64_t lane, uint64_t word) { return rotate(lane + word * P2, 31) * P1; }

static uint64_t hash_stripes(const uint8_t **at, const uint8_t *end) {
  uint64_t lanes[4] = {P1 + P2, P2, 0, -P1};
  for (; end - *at >= 32; *at += 32)
    for (int i = 0; i < 4; i++) lanes[i] = hash_round(lanes[i], read64(*at + 8 * i));
  uint64_t hash = rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18);
  for (int i = 0; i < 4; i++) hash = (hash ^ hash_round(0, lanes[i])) * P1 + P4;
  return hash;
}

static uint64_t hash_bytes(const uint8_t *at, size_t bytes) {
  const uint8_t *end = at + bytes;
  uint64_t hash = bytes >= 32 ? hash_stripes(&at, end) : P5;
  hash += bytes;
  for (; end - at >= 8; at += 8) hash = rotate(hash ^ hash_round(0, read64(at)), 27) * P1 + P4;
  for (; end - at >= 4; at += 4) hash = rotate(hash ^ read32(at) * P1, 23) * P2 + P3;
  for (; at < end; at++) hash = rotate(hash ^ *at * P5, 11) * P1;
  hash = (hash ^ hash >> 33) * P2;
  hash = (hash ^ hash >> 29) * P3;
  return hash ^ hash >> 32;
}

enum { PATH_BYTES = 4096 };

static const char *hex_number(const char *at, uintptr_t *value) {
  *value = 0;
  for (;; at++) {
    int digit = *at >= '0' && *at <= '9' ? *at - '0' : *at >= 'a' && *at <= 'f' ? *at - 'a' + 10 : -1;
    if (digit < 0) return at;
    *value = *value << 4 | (uintptr_t)digit;
  }
}

/* Reads one line without its end; 0 at the end of the file. A longer line is cut. */
static int next_line(long file, char *line) {
  size_t used = 0;
  for (char c; file_read(file, &c, 1) == 1;) {
    if (c == '\n') return line[used] = 0, 1;
    if (used < PATH_BYTES - 1) line[used++] = c;
  }
  return 0;
}

/* The folder (with its slash) of the file that `inside` was loaded from, found in the list of mappings:
 * "7f12-7f34 r--p offset device inode   /path/model.so". */
static int own_folder(const void *inside, char *folder) {
  long file = file_open("/proc/self/maps");
  if (failed(file)) return 0;
  int found = 0;
  while (!found && next_line(file, folder)) {
    uintptr_t first, last;
    const char *at = hex_number(folder, &first);
    at = hex_number(at + 1, &last);
    if ((uintptr_t)inside < first || (uintptr_t)inside >= last) continue;
    while (*at && *at != '/') at++;
    size_t length = 0;
    for (size_t i = 0; at[i]; i++)
      if (at[i] == '/') length = i + 1;
    memmove(folder, at, length);
    folder[length] = 0;
    found = length > 0;
  }
  file_close(file);
  return found;
}

static int sidecar_path(const sirius_descriptor *d, char *path) {
  if (!own_folder(d, path)) return 0;
  size_t folder = 0, name = 0;
  while (path[folder]) folder++;
  while (d->weights_file[name]) name++;
  if (folder + name >= PATH_BYTES) return 0;
  memcpy(path + folder, d->weights_file, name + 1);
  return 1;
}

/* Maps the weights file and checks that it is the one this code was compiled with. */
static int weights_map(const sirius_descriptor *d, const char *path, const uint8_t **weights) {
  char beside[PATH_BYTES];
  if (!path && !sidecar_path(d, beside)) return SIRIUS_NO_WEIGHTS;
  long file = file_open(path ? path : beside);
  if (failed(file)) return SIRIUS_NO_WEIGHTS;
  int status = SIRIUS_OK;
  if (file_size(file) != (long)d->weights_bytes) status = SIRIUS_WRONG_WEIGHTS;
  const uint8_t *at = status ? NULL : file_map(file, d->weights_bytes);
  file_close(file);
  if (status) return status;
  if (!at) return SIRIUS_NO_WEIGHTS;
  if (hash_bytes(at, d->weights_bytes) != d->weights_hash) {
    pages_free((void *)at, d->weights_bytes);
    return SIRIUS_WRONG_WEIGHTS;
  }
  *weights = at;
  return SIRIUS_OK;
}
