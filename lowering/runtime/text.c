/* Messages: a bounded buffer and a formatter that knows %s (text) and %d (int64_t). */

enum { MESSAGE_BYTES = 512 };

typedef struct {
  char *to;
  size_t left;
} text_out;

static void put_text(text_out *out, const char *text) {
  while (*text && out->left > 1) {
    *out->to++ = *text++;
    out->left--;
  }
  *out->to = 0;
}

static void put_int(text_out *out, int64_t value) {
  char digits[24];
  char *at = digits + sizeof digits - 1;
  uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
  *at = 0;
  do *--at = (char)('0' + rest % 10);
  while (rest /= 10);
  if (value < 0) *--at = '-';
  put_text(out, at);
}

static void format(char *buffer, size_t bytes, const char *pattern, va_list args) {
  text_out out = {buffer, bytes};
  *buffer = 0;
  for (; *pattern; pattern++) {
    char one[2] = {*pattern, 0};
    if (*pattern != '%') {
      put_text(&out, one);
    } else if (*++pattern == 's') {
      put_text(&out, va_arg(args, const char *));
    } else {
      put_int(&out, va_arg(args, int64_t));
    }
  }
}
