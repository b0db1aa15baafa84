/*
 * The device's end of a control connection, without its socket:
 *
 *   greeting --ready--> ready --wind_down--> ready (the device looks for another) --cv_control_drop--> closing --> gone
 *       \                 \--bye of either side, silence, broken------------------------------------------------^
 *        \--refused, no ready in time---------------------------------------------------------------------------^
 *
 * Memory: sizeof(cv_control) + scratch (CV_MESSAGE_MAX) + out (CV_CONTROL_OUT) + the request while it is sent.
 */
#ifndef CULVERT_CONTROL_H
#define CULVERT_CONTROL_H

#include "culvert/backoff.h"
#include "culvert/link.h"
#include "culvert/message.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A good size for `out` of a control connection; from CV_OUT_MIN on any will do. */
#define CV_CONTROL_OUT 1024

typedef struct cv_control {
  cv_link link;
  cv_message message; /* of the event that cv_control_input has just told */
  uint64_t total;     /* of CV_CONTROL_INLINE: the length of the message, and what of it came before */
  uint64_t offset;
  cv_ms since;        /* when it was upgraded, and then when it became ready */
  uint64_t epoch;
  uint32_t heartbeat_ms;
  cv_code bye;       /* of the server's bye; CV_BYE when its code is of a later version */
  const char *fault; /* what the server did wrong: a constant text, or NULL */
  uint16_t inline_asked;
  uint16_t inlined; /* inline transfers granted */
  uint8_t ready;
  uint8_t leaving; /* we have begun to close it */
} cv_control;

typedef enum cv_control_event {
  CV_CONTROL_NONE = 0,
  CV_CONTROL_ENDPOINT,  /* message: port and url, or host and public_port */
  CV_CONTROL_READY,     /* message: epoch, heartbeat_ms, grace_ms, resumed, transfer_url, transfer_key */
  CV_CONTROL_DIAL,      /* message: id, port, path, visitor */
  CV_CONTROL_WIND_DOWN, /* message: reconnect_ms */
  CV_CONTROL_BYE,       /* message: code, message; it closes */
  CV_CONTROL_INLINE,    /* frame: a run of an inline message, for cv_inline_input with `total` and `offset` */
  CV_CONTROL_OVER       /* refused, closed, broken: cv_control_ending says how */
} cv_control_event;

/*
 * Begins. `buffer` takes the request and has to stay until it is sent: about 300 bytes and the lengths of token, host, name
 * and twice the ports. Returns CV_OK, CV_ESPACE or CV_EINVALID.
 */
int cv_control_start(cv_control *control, const cv_link_config *config, const cv_device *device, const char *host,
                     const char *token, char *buffer, size_t size, cv_ms now);

/*
 * Takes bytes of the socket up to the next event; sets *used to how many. Call again with the rest while the result is not
 * CV_CONTROL_NONE, and also after output was sent when *used was less than `length`: it takes nothing while there is no room
 * for an answer.
 */
cv_control_event cv_control_input(cv_control *control, uint8_t *bytes, size_t length, cv_ms now, size_t *used, cv_frame *frame);

/* The socket has ended or broke: CV_CONTROL_OVER. */
cv_control_event cv_control_eof(cv_control *control);

/* An inline message broke the protocol, or is too large (what cv_inline_input gave): the control connection ends. */
void cv_control_fail_inline(cv_control *control, int error, cv_ms now);

/* Answers a dial that cannot be served: CV_OK, or CV_ESPACE when it has to be said later. */
int cv_control_refuse(cv_control *control, cv_text id, cv_code code);

/* Says bye and closes: the device stops. */
void cv_control_leave(cv_control *control, cv_ms now);

/* Closes without a bye: another control connection of the same boot has taken over. */
void cv_control_drop(cv_control *control, cv_ms now);

/* Looks at the deadlines, the heartbeat's included. At least every second. */
void cv_control_tick(cv_control *control, cv_ms now);

/* Whether it is over: the socket is to be closed. */
int cv_control_gone(const cv_control *control);

/* How it ended, for cv_backoff_next. */
void cv_control_ending(const cv_control *control, cv_ms now, cv_ending *ending);

#ifdef __cplusplus
}
#endif
#endif
