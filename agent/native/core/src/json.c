#include "culvert/json.h"

#include <string.h>

enum { AT_START, AT_NEXT, AT_END, FAILED };

void cv_json_init(cv_json *json, char *bytes, size_t length) {
  json->at = bytes;
  json->end = bytes + length;
  json->state = AT_START;
}

static void skip_space(cv_json *json) {
  while (json->at < json->end && (*json->at == ' ' || *json->at == '\t' || *json->at == '\n' || *json->at == '\r')) json->at++;
}

/* The next byte that is no space, taken if it is the wanted one. */
static int take(cv_json *json, char wanted) {
  skip_space(json);
  if (json->at == json->end || *json->at != wanted) return 0;
  json->at++;
  return 1;
}

static int hex4(const cv_json *json, uint32_t *out) {
  int i;
  *out = 0;
  if (json->end - json->at < 4) return 0;
  for (i = 0; i < 4; i++) {
    unsigned c = (unsigned char)json->at[i];
    unsigned digit = c >= '0' && c <= '9' ? c - '0' : (c | 32u) >= 'a' && (c | 32u) <= 'f' ? (c | 32u) - 'a' + 10u : 16u;
    if (digit > 15u) return 0;
    *out = *out << 4 | digit;
  }
  return 1;
}

static char *put_utf8(char *out, uint32_t point) {
  if (point < 0x80) {
    *out++ = (char)point;
  } else if (point < 0x800) {
    *out++ = (char)(0xc0 | point >> 6);
    *out++ = (char)(0x80 | (point & 0x3f));
  } else if (point < 0x10000) {
    *out++ = (char)(0xe0 | point >> 12);
    *out++ = (char)(0x80 | (point >> 6 & 0x3f));
    *out++ = (char)(0x80 | (point & 0x3f));
  } else {
    *out++ = (char)(0xf0 | point >> 18);
    *out++ = (char)(0x80 | (point >> 12 & 0x3f));
    *out++ = (char)(0x80 | (point >> 6 & 0x3f));
    *out++ = (char)(0x80 | (point & 0x3f));
  }
  return out;
}

/* Behind \u: one code point, of two escapes if it is a pair. Half a pair reads as U+FFFD. */
static char *unescape_point(cv_json *json, char *out) {
  uint32_t point;
  uint32_t low;
  if (!hex4(json, &point)) return NULL;
  json->at += 4;
  if (point >= 0xd800 && point < 0xe000) {
    uint32_t high = point;
    point = 0xfffd;
    if (high < 0xdc00 && json->end - json->at >= 6 && json->at[0] == '\\' && json->at[1] == 'u') {
      json->at += 2;
      if (!hex4(json, &low)) return NULL;
      if (low >= 0xdc00 && low < 0xe000) {
        point = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        json->at += 4;
      } else {
        json->at -= 2;
      }
    }
  }
  return put_utf8(out, point);
}

/* A text, decoded over itself: an escape is never shorter than what it stands for. */
static int read_text(cv_json *json, cv_text *text) {
  char *out;
  if (!take(json, '"')) return 0;
  text->at = out = json->at;
  while (json->at < json->end) {
    char c = *json->at++;
    if (c == '"') {
      text->length = (size_t)(out - text->at);
      *out = '\0'; /* over the quote at the latest */
      return 1;
    }
    if ((unsigned char)c < 0x20) return 0;
    if (c == '\\') {
      static const char from[] = "\"\\/bfnrt";
      static const char to[] = "\"\\/\b\f\n\r\t";
      const char *found;
      if (json->at == json->end) return 0;
      c = *json->at++;
      if (c == 'u') {
        if ((out = unescape_point(json, out)) == NULL) return 0;
        continue;
      }
      found = c == '\0' ? NULL : strchr(from, c);
      if (found == NULL) return 0;
      c = to[found - from];
    }
    *out++ = c;
  }
  return 0;
}

static int is_digit(const cv_json *json) {
  return json->at < json->end && *json->at >= '0' && *json->at <= '9';
}

static int read_number(cv_json *json, cv_json_field *field) {
  const uint64_t most = (UINT64_C(1) << 53) - 1;
  uint64_t value = 0;
  int negative = json->at < json->end && *json->at == '-';
  field->kind = CV_JSON_INTEGER;
  if (negative) json->at++;
  if (!is_digit(json)) return 0;
  if (*json->at == '0') {
    json->at++;
    if (is_digit(json)) return 0;
  }
  for (; is_digit(json); json->at++) {
    value = value * 10 + (uint64_t)(*json->at - '0');
    if (value > most) {
      value = 0;
      field->kind = CV_JSON_NUMBER;
    }
  }
  if (json->at < json->end && *json->at == '.') {
    json->at++;
    field->kind = CV_JSON_NUMBER;
    if (!is_digit(json)) return 0;
    while (is_digit(json)) json->at++;
  }
  if (json->at < json->end && (*json->at | 32) == 'e') {
    json->at++;
    field->kind = CV_JSON_NUMBER;
    if (json->at < json->end && (*json->at == '+' || *json->at == '-')) json->at++;
    if (!is_digit(json)) return 0;
    while (is_digit(json)) json->at++;
  }
  field->integer = negative ? -(int64_t)value : (int64_t)value;
  return 1;
}

static int read_word(cv_json *json, const char *word) {
  size_t length = strlen(word);
  if ((size_t)(json->end - json->at) < length || memcmp(json->at, word, length) != 0) return 0;
  json->at += length;
  return 1;
}

static int read_value(cv_json *json, cv_json_field *field) {
  skip_space(json);
  if (json->at == json->end) return 0;
  switch (*json->at) {
    case '"':
      field->kind = CV_JSON_TEXT;
      return read_text(json, &field->text);
    case 't':
      field->kind = CV_JSON_TRUE;
      return read_word(json, "true");
    case 'f':
      field->kind = CV_JSON_FALSE;
      return read_word(json, "false");
    case 'n':
      field->kind = CV_JSON_NULL;
      return read_word(json, "null");
    default:
      return read_number(json, field); /* objects and arrays are no numbers either */
  }
}

static int at_end(cv_json *json) {
  skip_space(json);
  json->state = json->at == json->end ? AT_END : FAILED;
  return json->state == AT_END ? 0 : CV_EPROTOCOL;
}

int cv_json_next(cv_json *json, cv_json_field *field) {
  memset(field, 0, sizeof *field);
  if (json->state == AT_END) return 0;
  if (json->state == FAILED) return CV_EPROTOCOL;
  if (json->state == AT_START) {
    if (!take(json, '{')) goto failed;
    if (take(json, '}')) return at_end(json);
  } else {
    if (take(json, '}')) return at_end(json);
    if (!take(json, ',')) goto failed;
  }
  skip_space(json);
  if (!read_text(json, &field->name) || !take(json, ':') || !read_value(json, field)) goto failed;
  json->state = AT_NEXT;
  return 1;
failed:
  json->state = FAILED;
  return CV_EPROTOCOL;
}

static void put(cv_json_writer *writer, const char *bytes, size_t length) {
  if (writer->length > writer->size || writer->size - writer->length < length) {
    writer->length = SIZE_MAX;
    return;
  }
  memcpy(writer->out + writer->length, bytes, length);
  writer->length += length;
}

static void put_escaped(cv_json_writer *writer, cv_text text) {
  size_t i;
  put(writer, "\"", 1);
  for (i = 0; i < text.length; i++) {
    char c = text.at[i];
    if (c == '"' || c == '\\') {
      put(writer, "\\", 1);
      put(writer, &c, 1);
    } else if ((unsigned char)c < 0x20) {
      char escape[6] = {'\\', 'u', '0', '0', '0', '0'};
      escape[4] = (char)('0' + ((unsigned char)c >> 4));
      escape[5] = "0123456789abcdef"[c & 15];
      put(writer, escape, sizeof escape);
    } else {
      put(writer, &c, 1);
    }
  }
  put(writer, "\"", 1);
}

static void put_name(cv_json_writer *writer, const char *name) {
  cv_text text = {name, strlen(name)};
  if (writer->length != 1) put(writer, ",", 1);
  put_escaped(writer, text);
  put(writer, ":", 1);
}

void cv_json_begin(cv_json_writer *writer, char *out, size_t size) {
  writer->out = out;
  writer->size = size;
  writer->length = 0;
  put(writer, "{", 1);
}

void cv_json_put_text(cv_json_writer *writer, const char *name, cv_text text) {
  put_name(writer, name);
  put_escaped(writer, text);
}

void cv_json_put_word(cv_json_writer *writer, const char *name, const char *word) {
  cv_text text = {word, strlen(word)};
  cv_json_put_text(writer, name, text);
}

void cv_json_put_integer(cv_json_writer *writer, const char *name, int64_t value) {
  char digits[20];
  size_t at = sizeof digits;
  uint64_t left = value < 0 ? (uint64_t)0 - (uint64_t)value : (uint64_t)value;
  do {
    digits[--at] = (char)('0' + left % 10);
    left /= 10;
  } while (left > 0);
  if (value < 0) digits[--at] = '-';
  put_name(writer, name);
  put(writer, digits + at, sizeof digits - at);
}

void cv_json_put_raw(cv_json_writer *writer, const char *name, const char *raw) {
  put_name(writer, name);
  put(writer, raw, strlen(raw));
}

int cv_json_end(cv_json_writer *writer) {
  put(writer, "}", 1);
  return writer->length == SIZE_MAX ? CV_ESPACE : (int)writer->length;
}
