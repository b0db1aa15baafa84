#include "culvert/codes.h"

#include <string.h>

typedef struct entry {
  const char *word;
  uint16_t http;
  uint16_t close;
  uint8_t retry;
} entry;

/* In the order of cv_code. A test holds it against the table of PROTOCOL.md. */
static const entry TABLE[CV_CODES] = {
    {"", 0, 0, CV_RETRY_YES},
    {"bad_request", 400, 0, CV_RETRY_SLOW},
    {"unauthorized", 401, 4401, CV_RETRY_SLOW},
    {"forbidden", 403, 4403, CV_RETRY_SLOW},
    {"not_found", 404, 4404, CV_RETRY_NO},
    {"name_in_use", 409, 4409, CV_RETRY_YES},
    {"already_exists", 409, 0, CV_RETRY_NO},
    {"conflict", 409, 0, CV_RETRY_YES},
    {"too_large", 413, 1009, CV_RETRY_SLOW},
    {"rate_limited", 429, 4429, CV_RETRY_YES},
    {"internal", 500, 1011, CV_RETRY_YES},
    {"unavailable", 503, 4503, CV_RETRY_YES},
    {"recovering", 503, 0, CV_RETRY_YES},
    {"ports_exhausted", 503, 0, CV_RETRY_YES},
    {"bye", 0, 1000, CV_RETRY_NO},
    {"moved", 0, 4410, CV_RETRY_NO},
    {"superseded", 0, 4411, CV_RETRY_YES},
    {"lease_lost", 0, 4412, CV_RETRY_YES},
    {"revoked", 0, 4413, CV_RETRY_SLOW},
    {"heartbeat_lost", 0, 4414, CV_RETRY_YES},
    {"transfers_dead", 0, 4416, CV_RETRY_YES},
    {"wind_down", 503, 4415, CV_RETRY_YES},
    {"protocol_error", 0, 4400, CV_RETRY_SLOW},
    {"local_refused", 502, 4420, CV_RETRY_YES},
    {"local_timeout", 504, 4421, CV_RETRY_YES},
    {"not_allowed", 502, 4422, CV_RETRY_NO},
    {"busy", 503, 4423, CV_RETRY_YES},
    {"dial_timeout", 504, 4424, CV_RETRY_YES},
    {"device_offline", 503, 4425, CV_RETRY_YES},
    {"peer_reset", 0, 4430, CV_RETRY_NO},
    {"linger_expired", 0, 4431, CV_RETRY_NO},
    {"write_timeout", 0, 4432, CV_RETRY_NO},
    {"idle_timeout", 0, 4433, CV_RETRY_NO},
};

static const entry *entry_of(cv_code code) {
  return &TABLE[(unsigned)code < (unsigned)CV_CODES ? code : CV_NO_CODE];
}

int cv_text_is(cv_text text, const char *word) {
  return strlen(word) == text.length && memcmp(text.at, word, text.length) == 0;
}

const char *cv_code_word(cv_code code) {
  return entry_of(code)->word;
}

cv_code cv_code_of_word(cv_text word) {
  int code;
  for (code = 1; code < CV_CODES; code++) {
    if (cv_text_is(word, TABLE[code].word)) return (cv_code)code;
  }
  return CV_NO_CODE;
}

uint16_t cv_code_close(cv_code code) {
  uint16_t close = entry_of(code)->close;
  return close == 0 ? (uint16_t)1011 : close;
}

cv_code cv_code_of_close(uint16_t close) {
  int code;
  if (close < 4000) return CV_NO_CODE;
  for (code = 1; code < CV_CODES; code++) {
    if (TABLE[code].close == close) return (cv_code)code;
  }
  return CV_NO_CODE;
}

cv_code cv_code_of_status(int status) {
  switch (status) {
    case 401:
      return CV_UNAUTHORIZED;
    case 403:
    case 407:
      return CV_FORBIDDEN;
    case 404:
      return CV_NOT_FOUND;
    case 409:
      return CV_NAME_IN_USE;
    case 413:
    case 414:
    case 431:
      return CV_TOO_LARGE;
    case 429:
      return CV_RATE_LIMITED;
    default:
      return status >= 500 || status < 400 ? CV_UNAVAILABLE : CV_BAD_REQUEST;
  }
}

int cv_code_status(cv_code code) {
  return entry_of(code)->http;
}

cv_retry cv_code_retry(cv_code code) {
  return (cv_retry)entry_of(code)->retry;
}
