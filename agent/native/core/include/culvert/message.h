/*
 * Control messages: section 5 of PROTOCOL.md.
 */
#ifndef CULVERT_MESSAGE_H
#define CULVERT_MESSAGE_H

#include "culvert/codes.h"
#include "culvert/frame.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cv_message_type {
  CV_MSG_UNKNOWN, /* well-formed, of a type this version does not know: to be ignored */
  CV_MSG_ENDPOINT,
  CV_MSG_READY,
  CV_MSG_DIAL,
  CV_MSG_REFUSED,
  CV_MSG_WIND_DOWN,
  CV_MSG_BYE,
  CV_MSG_ASSIGN,
  CV_MSG_ACCEPTED,
  CV_MSG_IDLE
} cv_message_type;

/* Longest id, path and visitor, in bytes. */
#define CV_ID_MAX 64
#define CV_PATH_MAX 256

/*
 * One message. Fields that its type does not have are empty; texts point into what was read, with a 0 behind each. Numbers
 * are in the range of their field.
 */
typedef struct cv_message {
  cv_message_type type;
  uint16_t port;
  uint16_t public_port;
  cv_text url;
  cv_text host;
  uint64_t epoch;
  uint32_t heartbeat_ms;
  uint64_t grace_ms;
  int resumed;
  uint32_t reconnect_ms;
  uint32_t inlined; /* inline transfers granted */
  int canary;       /* a dial without a visitor: open the transfer and close it */
  cv_text transfer_url;
  cv_text transfer_key;
  cv_text id;
  cv_text path;
  cv_text visitor;
  cv_text code;
  cv_text message;
} cv_message;

/*
 * Reads text[0..length), decoding it in place. Returns CV_OK, or CV_EPROTOCOL for what is no message of this protocol;
 * *fault then says what is wrong (a constant text).
 */
int cv_message_read(char *text, size_t length, cv_message *message, const char **fault);

/*
 * Write a message's text into out[0..size). Return its length, or CV_ESPACE. CV_MESSAGE_OUT_MAX bytes are always enough for
 * the first three.
 */
#define CV_MESSAGE_OUT_MAX 128
int cv_write_refused(char *out, size_t size, cv_text id, cv_code code);
int cv_write_accepted(char *out, size_t size, cv_text id);
int cv_write_idle(char *out, size_t size, cv_text id);
/* Answers a dial by an inline transfer; needs the length of the path besides. */
int cv_write_open(char *out, size_t size, unsigned channel, cv_text path, uint32_t credit);
int cv_write_bye(char *out, size_t size, cv_code code, const char *message);

#ifdef __cplusplus
}
#endif
#endif
