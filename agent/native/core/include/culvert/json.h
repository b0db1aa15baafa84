/*
 * Flat JSON: objects whose values are text, numbers, true, false or null.
 */
#ifndef CULVERT_JSON_H
#define CULVERT_JSON_H

#include "culvert/codes.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cv_json_kind {
  CV_JSON_TEXT,
  CV_JSON_INTEGER, /* no fraction, no exponent, within +-(2^53 - 1) */
  CV_JSON_NUMBER,  /* any other number */
  CV_JSON_TRUE,
  CV_JSON_FALSE,
  CV_JSON_NULL
} cv_json_kind;

/* One field. Text is decoded in place: it points into what the reader was given, with a 0 behind it. */
typedef struct cv_json_field {
  cv_text name;
  cv_text text;
  int64_t integer;
  cv_json_kind kind;
} cv_json_field;

typedef struct cv_json {
  char *at;
  char *end;
  uint8_t state;
} cv_json;

/* Reads bytes[0..length), which it changes in place. */
void cv_json_init(cv_json *json, char *bytes, size_t length);

/*
 * The next field: 1; 0 when the object has ended in order; CV_EPROTOCOL when this is no flat JSON object, and for ever after.
 * A name may come twice; the last one counts.
 */
int cv_json_next(cv_json *json, cv_json_field *field);

/*
 * Writes an object. `length` is what has been written, `size` what there is room for; when it was not enough, `length` is
 * SIZE_MAX after cv_json_end.
 */
typedef struct cv_json_writer {
  char *out;
  size_t size;
  size_t length;
} cv_json_writer;

void cv_json_begin(cv_json_writer *writer, char *out, size_t size);
/* Escapes what JSON wants escaped; the text must be UTF-8. */
void cv_json_put_text(cv_json_writer *writer, const char *name, cv_text text);
void cv_json_put_word(cv_json_writer *writer, const char *name, const char *word);
void cv_json_put_integer(cv_json_writer *writer, const char *name, int64_t value);
/* `raw` is JSON already: true, false, an array. */
void cv_json_put_raw(cv_json_writer *writer, const char *name, const char *raw);
/* Closes the object; returns its length, or CV_ESPACE. */
int cv_json_end(cv_json_writer *writer);

#ifdef __cplusplus
}
#endif
#endif
