/*
 * One TCP connection of lwIP's raw API as something that can be polled: callbacks only take notes, all work is done from the
 * main loop. What was received counts as taken, and opens the window again, only when it was used.
 *
 *   resolving --address--> connecting --> open --> ended (the peer sends no more) --> closed
 *       \-----------------------\-----------\-----------\--broken (the connection is gone)
 */
#ifndef WIRE_H
#define WIRE_H

#include "lwip/tcp.h"

typedef enum wire_state { WIRE_CLOSED, WIRE_RESOLVING, WIRE_CONNECTING, WIRE_OPEN, WIRE_ENDED, WIRE_BROKEN } wire_state;

typedef struct wire {
  struct tcp_pcb *pcb;
  struct pbuf *in;
  u16_t in_from; /* bytes of in's first buffer that are taken */
  u16_t port;
  uint8_t state;
  uint8_t turn; /* counts uses of this memory, so that a late answer of the resolver is told from a present one */
} wire;

/* Starts to connect. A fault shows as WIRE_BROKEN. */
void wire_open(wire *w, const char *host, u16_t port);

/* The bytes that came next, in one piece; NULL: none. They may be changed. */
uint8_t *wire_peek(const wire *w, size_t *length);
/* So many of them are used. */
void wire_taken(wire *w, size_t length);

/* Takes bytes to send; returns how many, 0 when there is no room now. */
size_t wire_write(wire *w, const uint8_t *bytes, size_t length);
/* Sends what was written. */
void wire_flush(wire *w);

/* Ends it in order, or by a reset. The memory can be used again. */
void wire_close(wire *w);
void wire_reset(wire *w);

#endif
