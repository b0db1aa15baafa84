/*
 * The handshake of a WebSocket: section 4 of PROTOCOL.md.
 */
#ifndef CULVERT_HTTP_H
#define CULVERT_HTTP_H

#include "culvert/codes.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 16 random bytes in base64, with a 0 behind. */
#define CV_KEY_SIZE 25
/* Sec-WebSocket-Accept, with a 0 behind. */
#define CV_ACCEPT_SIZE 29
/* Most bytes of head that an answer may have. */
#define CV_HEAD_MAX 8192
/* Most bytes of a refusal's body that are read. */
#define CV_BODY_MAX 4096

void cv_sha1(const uint8_t *bytes, size_t length, uint8_t digest[20]);

/* Writes base64 with padding and a 0 behind; `out` has room for (length + 2) / 3 * 4 + 1 bytes. */
void cv_base64(const uint8_t *bytes, size_t length, char *out);

/* Sec-WebSocket-Key of 16 random bytes, and the answer that it wants. */
void cv_handshake_key(const uint8_t random[16], char key[CV_KEY_SIZE]);
void cv_handshake_accept(const char *key, char accept[CV_ACCEPT_SIZE]);

typedef enum cv_scheme { CV_TCP, CV_HTTP, CV_HTTPS } cv_scheme;

/* One entry of `ports`. */
typedef struct cv_port {
  uint16_t port;
  cv_scheme scheme;
} cv_port;

/* What a device says of itself in the control handshake. */
typedef struct cv_device {
  const char *name;     /* a DNS label */
  const char *boot;     /* 11 to 64 random characters, kept until the program ends; NULL: none */
  const cv_port *ports; /* port_count of them, 1 to 32 */
  size_t port_count;
  uint32_t warm;      /* warm transfers wanted; 0: none */
  uint32_t max_frame; /* largest binary message it takes; 125 to 1,048,576 */
  uint32_t transfers; /* most transfers at once */
  uint32_t inlined;   /* transfers wanted on the control connection; 0: none */
} cv_device;

/* Writes the request target of the control handshake, with a 0 behind. Returns its length, or CV_ESPACE. */
int cv_control_target(char *out, size_t size, const cv_device *device);

/*
 * Writes the request of a handshake. `host` is the value of the Host header, `target` what GET names. Returns its length,
 * CV_ESPACE, or CV_EINVALID when a part holds a control character.
 */
int cv_handshake_request(char *out, size_t size, const char *host, const char *target, const char *token, const char *key);

/* How an answer reads so far. */
typedef enum cv_answer { CV_ANSWER_MORE = 0, CV_ANSWER_UPGRADED, CV_ANSWER_REFUSED } cv_answer;

/* Reads the server's answer from chunks of any size, a line at a time. */
typedef struct cv_response {
  char *line;
  size_t size;
  size_t length;     /* of the line, or the body, so far */
  size_t head;       /* bytes of head so far */
  size_t body_left;  /* bytes of body that are still waited for */
  uint32_t seen;     /* headers that were right, and wrong */
  int status;        /* 0 until the first line was read */
  int32_t retry_after_s; /* Retry-After; -1: none */
  cv_code code;      /* of a refusal */
  char accept[CV_ACCEPT_SIZE];
  uint8_t phase;
} cv_response;

/*
 * `key` is the one that was sent. `line` has room for `size` bytes, at least 128, and lives as long as the reader; longer
 * lines are read as far as that, and a refusal whose body does not fit is told by its status.
 */
void cv_response_init(cv_response *response, const char *key, char *line, size_t size);

/*
 * Takes bytes and sets *used to how many; those behind an upgrade are the first of the WebSocket. Returns a cv_answer,
 * CV_EPROTOCOL or CV_ETOOLARGE.
 */
int cv_response_push(cv_response *response, const uint8_t *bytes, size_t length, size_t *used);

/* The server closed the connection: CV_ANSWER_REFUSED when enough was read for that, else CV_ANSWER_MORE. */
int cv_response_end(cv_response *response);

/* What the refusal says to people; it lies in the line's memory. */
cv_text cv_response_message(const cv_response *response);

#ifdef __cplusplus
}
#endif
#endif
