/*
 * Words that both ends share: the codes of section 10 of PROTOCOL.md, and what functions of this library return.
 */
#ifndef CULVERT_CODES_H
#define CULVERT_CODES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Milliseconds of a clock that never goes back. The caller reads it; where it starts does not matter. */
typedef uint64_t cv_ms;

/* Negative return values. Functions say which of them they give. */
enum {
  CV_OK = 0,
  CV_EPROTOCOL = -1, /* the peer broke the protocol: close with CV_PROTOCOL_ERROR */
  CV_ETOOLARGE = -2, /* the peer sent more than a limit allows: close with CV_TOO_LARGE */
  CV_ESPACE = -3,    /* the caller's buffer is too small */
  CV_EINVALID = -4   /* an argument is not what the function takes */
};

/* Bytes that belong to somebody else; not terminated. */
typedef struct cv_text {
  const char *at;
  size_t length;
} cv_text;

/* The table of codes. CV_NO_CODE stands for none. */
typedef enum cv_code {
  CV_NO_CODE = 0,
  CV_BAD_REQUEST,
  CV_UNAUTHORIZED,
  CV_FORBIDDEN,
  CV_NOT_FOUND,
  CV_NAME_IN_USE,
  CV_ALREADY_EXISTS,
  CV_CONFLICT,
  CV_TOO_LARGE,
  CV_RATE_LIMITED,
  CV_INTERNAL,
  CV_UNAVAILABLE,
  CV_RECOVERING,
  CV_PORTS_EXHAUSTED,
  CV_BYE,
  CV_MOVED,
  CV_SUPERSEDED,
  CV_LEASE_LOST,
  CV_REVOKED,
  CV_HEARTBEAT_LOST,
  CV_TRANSFERS_DEAD,
  CV_WIND_DOWN,
  CV_PROTOCOL_ERROR,
  CV_LOCAL_REFUSED,
  CV_LOCAL_TIMEOUT,
  CV_NOT_ALLOWED,
  CV_BUSY,
  CV_DIAL_TIMEOUT,
  CV_DEVICE_OFFLINE,
  CV_PEER_RESET,
  CV_LINGER_EXPIRED,
  CV_WRITE_TIMEOUT,
  CV_IDLE_TIMEOUT,
  CV_CODES /* how many there are */
} cv_code;

/* May a thing that ended so be tried again by itself? */
typedef enum cv_retry { CV_RETRY_YES, CV_RETRY_SLOW, CV_RETRY_NO } cv_retry;

/* The word of a code, as it stands in messages and close reasons; "" for CV_NO_CODE. */
const char *cv_code_word(cv_code code);

/* The code of a word; CV_NO_CODE when the table has none. */
cv_code cv_code_of_word(cv_text word);

/* The WebSocket close code of a code: 1011 where the table names none. */
uint16_t cv_code_close(cv_code code);

/* The code of a WebSocket close code from 4000 on; CV_NO_CODE for others. */
cv_code cv_code_of_close(uint16_t close);

/* The code of an HTTP status whose body names none. */
cv_code cv_code_of_status(int status);

/* The HTTP status of a code, 0 when it refuses no handshake. */
int cv_code_status(cv_code code);

cv_retry cv_code_retry(cv_code code);

/* Whether two texts are the same. */
int cv_text_is(cv_text text, const char *word);

#ifdef __cplusplus
}
#endif
#endif
