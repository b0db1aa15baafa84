#include <string.h>

#include "culvert/http.h"
#include "culvert/json.h"

enum { PHASE_HEAD, PHASE_BODY, PHASE_UPGRADED, PHASE_REFUSED, PHASE_FAILED };
enum { UPGRADE = 1, CONNECTION = 2, ACCEPT = 4, PROTOCOL = 8, ALL = 15, WRONG = 16 };

void cv_response_init(cv_response *response, const char *key, char *line, size_t size) {
  memset(response, 0, sizeof *response);
  response->line = line;
  response->size = size;
  response->retry_after_s = -1;
  cv_handshake_accept(key, response->accept);
}

static char lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static int same(cv_text text, const char *word) {
  size_t i;
  if (strlen(word) != text.length) return 0;
  for (i = 0; i < text.length; i++) {
    if (lower(text.at[i]) != word[i]) return 0;
  }
  return 1;
}

static cv_text trimmed(cv_text text) {
  while (text.length > 0 && (text.at[0] == ' ' || text.at[0] == '\t')) {
    text.at++;
    text.length--;
  }
  while (text.length > 0 && (text.at[text.length - 1] == ' ' || text.at[text.length - 1] == '\t')) text.length--;
  return text;
}

/* Whether a list with commas holds a word. */
static int lists(cv_text list, const char *word) {
  while (list.length > 0) {
    cv_text entry = list;
    const char *comma = (const char *)memchr(list.at, ',', list.length);
    if (comma != NULL) entry.length = (size_t)(comma - list.at);
    if (same(trimmed(entry), word)) return 1;
    if (comma == NULL) return 0;
    list.at += entry.length + 1;
    list.length -= entry.length + 1;
  }
  return 0;
}

/* A whole number of at most six digits; -1 for anything else, dates included. */
static int32_t number(cv_text text) {
  int32_t value = 0;
  size_t i;
  if (text.length == 0 || text.length > 6) return -1;
  for (i = 0; i < text.length; i++) {
    if (text.at[i] < '0' || text.at[i] > '9') return -1;
    value = value * 10 + (text.at[i] - '0');
  }
  return value;
}

static int read_status(cv_response *response) {
  const char *line = response->line;
  if (response->length < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ') {
    return CV_EPROTOCOL;
  }
  if (line[9] < '1' || line[9] > '5' || line[10] < '0' || line[10] > '9' || line[11] < '0' || line[11] > '9') return CV_EPROTOCOL;
  if (response->length > 12 && line[12] != ' ') return CV_EPROTOCOL;
  response->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
  return CV_OK;
}

/* Marks a header that may come once only: right, or wrong from now on. */
static void mark(cv_response *response, uint32_t header, int right) {
  if (!right || (response->seen & header) != 0) response->seen |= WRONG;
  response->seen |= header;
}

static int read_header(cv_response *response) {
  cv_text name = {response->line, 0};
  cv_text value = {response->line, response->length};
  const char *colon = (const char *)memchr(value.at, ':', value.length);
  if (colon == NULL || colon == value.at) return CV_EPROTOCOL;
  name.length = (size_t)(colon - value.at);
  value.at = colon + 1;
  value.length -= name.length + 1;
  value = trimmed(value);
  if (same(name, "upgrade")) mark(response, UPGRADE, same(value, "websocket"));
  if (same(name, "connection") && lists(value, "upgrade")) response->seen |= CONNECTION;
  if (same(name, "sec-websocket-accept")) mark(response, ACCEPT, cv_text_is(value, response->accept));
  if (same(name, "sec-websocket-protocol")) mark(response, PROTOCOL, cv_text_is(value, "culvert.v1"));
  if (same(name, "sec-websocket-extensions")) response->seen |= WRONG;
  if (same(name, "retry-after")) response->retry_after_s = number(value);
  if (same(name, "content-length")) {
    int32_t length = number(value);
    response->body_left = length <= 0 ? 0 : length > CV_BODY_MAX ? CV_BODY_MAX : (size_t)length;
  }
  return CV_OK;
}

/* The body, as far as it goes, turns into a code and a message; the line then holds the message alone. */
static int refuse(cv_response *response, int whole) {
  cv_json json;
  cv_json_field field;
  cv_text message = {NULL, 0};
  cv_code code = CV_NO_CODE;
  int result = CV_EPROTOCOL;
  response->phase = PHASE_REFUSED;
  response->code = cv_code_of_status(response->status);
  cv_json_init(&json, response->line, response->length);
  while (whole && (result = cv_json_next(&json, &field)) == 1) {
    if (field.kind != CV_JSON_TEXT) continue;
    if (cv_text_is(field.name, "code")) code = cv_code_of_word(field.text);
    if (cv_text_is(field.name, "message")) message = field.text;
  }
  response->length = 0;
  if (result != 0) return CV_ANSWER_REFUSED;
  if (code != CV_NO_CODE) response->code = code;
  if (message.length > 512) message.length = 512;
  if (message.at != NULL) memmove(response->line, message.at, message.length);
  response->length = message.length;
  return CV_ANSWER_REFUSED;
}

/* The empty line behind the head. */
static int end_head(cv_response *response) {
  if (response->status == 0) return CV_EPROTOCOL;
  if (response->status == 101) {
    if ((response->seen & (ALL | WRONG)) != ALL) return CV_EPROTOCOL;
    response->phase = PHASE_UPGRADED;
    return CV_ANSWER_UPGRADED;
  }
  response->phase = PHASE_BODY;
  return response->body_left == 0 ? refuse(response, 1) : (int)CV_ANSWER_MORE;
}

static int end_line(cv_response *response) {
  int result;
  if (response->length > 0 && response->length <= response->size && response->line[response->length - 1] == '\r') {
    response->length--;
  }
  if (response->length == 0) return end_head(response);
  if (response->length > response->size) response->length = response->size;
  result = response->status == 0 ? read_status(response) : read_header(response);
  response->length = 0;
  return result;
}

static int push_body(cv_response *response, const uint8_t *bytes, size_t length, size_t *used) {
  size_t count = length < response->body_left ? length : response->body_left;
  size_t room = response->length < response->size ? response->size - response->length : 0;
  if (room > 0) memcpy(response->line + response->length, bytes, count < room ? count : room);
  response->length += count;
  response->body_left -= count;
  *used += count;
  if (response->body_left > 0) return CV_ANSWER_MORE;
  return refuse(response, response->length <= response->size);
}

int cv_response_push(cv_response *response, const uint8_t *bytes, size_t length, size_t *used) {
  int result = CV_ANSWER_MORE;
  *used = 0;
  if (response->phase == PHASE_UPGRADED) return CV_ANSWER_UPGRADED;
  if (response->phase == PHASE_REFUSED) return CV_ANSWER_REFUSED;
  if (response->phase == PHASE_FAILED) return CV_EPROTOCOL;
  while (response->phase == PHASE_HEAD && *used < length) {
    char c = (char)bytes[(*used)++];
    if (++response->head > CV_HEAD_MAX) {
      response->phase = PHASE_FAILED;
      return CV_ETOOLARGE;
    }
    if (c == '\n') {
      result = end_line(response);
      if (result < 0) response->phase = PHASE_FAILED;
      if (result != CV_ANSWER_MORE) return result;
    } else {
      if (response->length < response->size) response->line[response->length] = c;
      response->length++;
    }
  }
  if (response->phase == PHASE_BODY && *used < length) return push_body(response, bytes + *used, length - *used, used);
  return CV_ANSWER_MORE;
}

int cv_response_end(cv_response *response) {
  if (response->phase == PHASE_REFUSED) return CV_ANSWER_REFUSED;
  if (response->phase != PHASE_BODY) return CV_ANSWER_MORE;
  return refuse(response, response->length <= response->size);
}

cv_text cv_response_message(const cv_response *response) {
  cv_text message = {response->line, response->phase == PHASE_REFUSED ? response->length : 0};
  return message;
}
