/*
 * The device's end of a transfer connection, without its sockets: one visitor, or, when it is warm, one after the other.
 *
 *   opening --101--> serving --both ENDs--> finished --the server closes--> gone
 *   opening --101--> waiting --assign--> assigned --accept--> serving --both ENDs--> waiting   (warm)
 *                       ^-------refuse------/
 *   any --a side breaks, a deadline, cv_transfer_cut--> broken: the local target is reset; the link closes, then is gone
 *
 * Memory: sizeof(cv_transfer) + scratch (CV_SCRATCH_MIN; warm: CV_MESSAGE_MAX) + the caller's buffers, one each way. Nothing
 * is copied: what comes is a run inside what the socket gave, what goes is framed where it lies.
 */
#ifndef CULVERT_TRANSFER_H
#define CULVERT_TRANSFER_H

#include "culvert/link.h"
#include "culvert/message.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How long the second direction may stay silent after the first has ended. */
#define CV_LINGER_MS 60000

typedef enum cv_transfer_state {
  CV_TRANSFER_OPENING,
  CV_TRANSFER_WAITING,
  CV_TRANSFER_ASSIGNED,
  CV_TRANSFER_SERVING,
  CV_TRANSFER_FINISHED, /* the visitor is over in order: close the local target */
  CV_TRANSFER_BROKEN    /* it is over otherwise: reset the local target */
} cv_transfer_state;

typedef struct cv_transfer {
  cv_link link;
  cv_message message; /* of CV_TRANSFER_ASSIGN */
  uint8_t out[CV_OUT_MIN];
  char id[CV_ID_MAX + 1]; /* of the assigned visitor */
  uint8_t state;
  uint8_t warm;
  uint8_t discard; /* what comes belongs to a visitor that was refused */
  uint8_t up_ended;
  uint8_t down_ended;
  const char *outcome; /* how the visitor ended, a word of the outcomes; NULL before */
  size_t untaken;      /* bytes told by CV_TRANSFER_DATA that the local target has not taken */
  cv_ms active;        /* when bytes last moved */
  cv_ms taken;         /* when the local target last took some, or none waited */
  uint32_t heartbeat_ms;
  uint64_t to_device;
  uint64_t to_visitor;
} cv_transfer;

typedef enum cv_transfer_event {
  CV_TRANSFER_NONE = 0,
  CV_TRANSFER_OPENED,  /* the handshake is done */
  CV_TRANSFER_ASSIGN,  /* message: id, port, visitor. Answer with accept or refuse */
  CV_TRANSFER_DATA,    /* frame: bytes for the local target, to be taken (cv_transfer_taken) before the next call */
  CV_TRANSFER_END,     /* no more will come: shut the local target down for writing, then call cv_transfer_down_ended */
  CV_TRANSFER_REFUSED, /* the server does not know the transfer any more, or is busy: link.in.response */
  CV_TRANSFER_CLOSED   /* the server closed it; look at `state` */
} cv_transfer_event;

/*
 * Begins. `target` is the path of the dial, or the listener's with ?warm=1 for a warm one, which needs `heartbeat_ms` of
 * ready. `config->out` is not used. The rest as cv_control_start.
 */
int cv_transfer_start(cv_transfer *transfer, const cv_link_config *config, int warm, uint32_t heartbeat_ms, const char *host,
                      const char *target, const char *token, char *buffer, size_t size, cv_ms now);

/*
 * Takes bytes of the socket up to the next event; sets *used to how many. Call again with the rest while the result is not
 * CV_TRANSFER_NONE. With CV_TRANSFER_NONE and *used < length it holds: call again after accept or refuse.
 */
cv_transfer_event cv_transfer_input(cv_transfer *transfer, uint8_t *bytes, size_t length, cv_ms now, size_t *used,
                                    cv_frame *frame);

/* The socket has ended or broke. */
cv_transfer_event cv_transfer_eof(cv_transfer *transfer);

/* The local target of the assigned visitor is connected. */
void cv_transfer_accept(cv_transfer *transfer, cv_ms now);
/* It cannot be: `code` is CV_LOCAL_REFUSED, CV_LOCAL_TIMEOUT, CV_NOT_ALLOWED or CV_BUSY. */
void cv_transfer_refuse(cv_transfer *transfer, cv_code code, cv_ms now);

/* The local target took so many of the bytes of CV_TRANSFER_DATA. */
void cv_transfer_taken(cv_transfer *transfer, size_t length, cv_ms now);
/* CV_TRANSFER_END was passed on. */
void cv_transfer_down_ended(cv_transfer *transfer, cv_ms now);

/* Whether cv_transfer_send may be called. */
int cv_transfer_can_send(const cv_transfer *transfer);
/* Bytes of the local target, masked in place, with CV_HEADROOM free bytes before them; they stay until cv_transfer_can_send is true again. */
void cv_transfer_send(cv_transfer *transfer, uint8_t *bytes, size_t length, cv_ms now);
/* The local target has ended, and all it said was given to cv_transfer_send. */
void cv_transfer_up_ended(cv_transfer *transfer, cv_ms now);

/* The local target broke (CV_PEER_RESET), could not be reached (CV_LOCAL_...), or the device stops (CV_WIND_DOWN, CV_BYE). */
void cv_transfer_cut(cv_transfer *transfer, cv_code code, cv_ms now);

/* As of the link. */
void cv_transfer_output(cv_transfer *transfer, const uint8_t **bytes, size_t *length);
void cv_transfer_sent(cv_transfer *transfer, size_t length, cv_ms now);

/* Looks at the deadlines; at least every second. */
void cv_transfer_tick(cv_transfer *transfer, cv_ms now);

/* How a visitor ended, as a word of the outcomes; codes that are none of a visitor read as peer_reset. */
const char *cv_outcome_of(cv_code code);

/* Whether the connection is over: its socket is to be closed. */
int cv_transfer_gone(const cv_transfer *transfer);

#ifdef __cplusplus
}
#endif
#endif
