/*
 * A device on lwIP's raw API: a control connection that comes back by itself, and up to CV_LWIP_TRANSFERS visitors at once.
 * Their local target is code of the firmware, not a socket.
 *
 * Memory: one cv_lwip of fixed size; lwIP's pools are beside it (lwipopts.h). Nothing is allocated.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include "culvert/culvert.h"
#include "wire.h"

#ifndef CV_LWIP_TRANSFERS
#define CV_LWIP_TRANSFERS 4
#endif
/* Bytes of a visitor's answer that are on their way: at least the request of a handshake. */
#define CV_LWIP_UP 1024

/*
 * The local target. `visitor` is 0 to CV_LWIP_TRANSFERS - 1; between `open` and `close` it stands for the same one. None of
 * these may wait.
 */
typedef struct cv_lwip_target {
  /* A visitor has come. */
  void (*open)(unsigned visitor);
  /* Bytes of the visitor. Returns how many were taken; the rest is offered again later, and the visitor has to wait. */
  size_t (*input)(unsigned visitor, const uint8_t *bytes, size_t length);
  /* The visitor says no more. */
  void (*end)(unsigned visitor);
  /* Writes bytes for the visitor into out[0..size); returns how many, 0 when there are none now. Sets *ended with the last. */
  size_t (*output)(unsigned visitor, uint8_t *out, size_t size, int *ended);
  /* It is over. */
  void (*close)(unsigned visitor);
} cv_lwip_target;

/* A dial that waits for a transfer to be free: the server counts one as that before the last words of its end are said. */
typedef struct cv_lwip_dial {
  uint8_t used;
  uint8_t canary;
  cv_ms since;
  char id[CV_ID_MAX + 1];
  char path[CV_PATH_MAX + 1];
} cv_lwip_dial;

/* All texts live as long as the device. */
typedef struct cv_lwip_config {
  const char *host; /* of the server: a name or an address */
  uint16_t port;
  const char *authority; /* the value of the Host header */
  const char *name;      /* of the device */
  const char *token;
  uint16_t target_port; /* the port that it offers, by http */
  const cv_lwip_target *target;
  void (*print)(const char *text);
} cv_lwip_config;

typedef struct cv_lwip_control {
  wire wire;
  cv_control control;
  uint8_t used;
  uint8_t scratch[CV_MESSAGE_MAX];
  uint8_t out[CV_CONTROL_OUT];
  char request[640];
} cv_lwip_control;

typedef struct cv_lwip_transfer {
  wire wire;
  cv_transfer transfer;
  uint8_t used;
  uint8_t canary;
  uint8_t open;     /* the target has this visitor */
  uint8_t up_ended; /* the target has said its last */
  size_t held;      /* bytes of `wire` behind which the target stands */
  const uint8_t *down;
  size_t down_left;
  uint8_t scratch[CV_SCRATCH_MIN];
  uint8_t up[CV_HEADROOM + CV_LWIP_UP]; /* a frame's header goes before the bytes */
} cv_lwip_transfer;

typedef struct cv_lwip {
  const cv_lwip_config *config;
  cv_backoff backoff;
  char boot[25];
  int8_t current;   /* control connection that is ready, or -1 */
  uint8_t starting; /* one is being opened */
  cv_ms due;        /* when to open the next; 0: not wanted */
  cv_lwip_control controls[2]; /* the second while the device moves */
  cv_lwip_transfer transfers[CV_LWIP_TRANSFERS];
  cv_lwip_dial dials[CV_LWIP_TRANSFERS];
} cv_lwip;

/* Begins; the first connection is opened by the next poll. */
void cv_lwip_init(cv_lwip *device, const cv_lwip_config *config, cv_ms now);

/* Does what there is to do, without waiting. To be called in the main loop, after lwIP had its frames and time-outs. */
void cv_lwip_poll(cv_lwip *device, cv_ms now);

#endif
