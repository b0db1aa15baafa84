/*
 * When, and where, to connect next: section 9 of PROTOCOL.md.
 */
#ifndef CULVERT_BACKOFF_H
#define CULVERT_BACKOFF_H

#include "culvert/codes.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Plain data; cv_backoff_init makes the first. */
typedef struct cv_backoff {
  uint32_t server;      /* index of the server to try next */
  uint32_t previous_ms; /* the wait before, of which the next is drawn */
  uint32_t conflicts;   /* refusals with 409 in a row */
} cv_backoff;

typedef enum cv_ending_kind {
  CV_ENDED_FAILED,   /* no connection, or an answer that was none */
  CV_ENDED_REFUSED,  /* code, retry_after_ms */
  CV_ENDED_LOST,     /* it had become ready: lived_ms since then, code or CV_NO_CODE */
  CV_ENDED_WIND_DOWN /* the server asked to move: reconnect_ms */
} cv_ending_kind;

/* How an attempt, or the control connection that came of it, ended. */
typedef struct cv_ending {
  cv_ending_kind kind;
  cv_code code;
  int32_t retry_after_ms; /* -1: none */
  uint32_t reconnect_ms;
  cv_ms lived_ms;
} cv_ending;

void cv_backoff_init(cv_backoff *backoff);

/*
 * Returns how long to wait, in milliseconds; backoff->server says where to go then. `servers` is the length of the list, at
 * least 1. `random` is drawn anew for each call.
 */
uint32_t cv_backoff_next(cv_backoff *backoff, const cv_ending *ending, uint32_t servers, uint32_t random);

#ifdef __cplusplus
}
#endif
#endif
