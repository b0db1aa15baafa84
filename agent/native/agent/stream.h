/*
 * One outgoing connection: names resolved, addresses tried in turn, through a proxy, over TLS.
 *
 *   idle --open--> looking up --> connecting (each address) --> [tunnel] --> [tls] --> open --> closed
 *                      \---------------\------------------------\------------\--failed: code and why
 */
#ifndef AGENT_STREAM_H
#define AGENT_STREAM_H

#include "platform.h"
#include "tls.h"
#include "url.h"

typedef enum stream_state { STREAM_IDLE, STREAM_LOOKUP, STREAM_CONNECT, STREAM_TUNNEL, STREAM_TLS, STREAM_OPEN, STREAM_FAILED } stream_state;

typedef struct stream {
  stream_state state;
  os_socket socket;
  os_failure failure;  /* of STREAM_FAILED: OS_REFUSED or OS_TIMEOUT */
  char why[320];       /* of STREAM_FAILED, for people */
  const char *host;    /* who it is for; lives as long as the stream */
  const proxy_url *proxy;
  tls_session *tls;
  int secure;
  uint16_t port;
  int lookup;
  int waits_for_turn;
  int addresses;
  int at;
  os_address address[OS_ADDRESSES];
  cv_ms deadline;
  cv_ms address_deadline;
  int want_write;  /* of the tunnel and of TLS */
  char tunnel[CV_BODY_MAX / 2];
  size_t tunnel_from;
  size_t tunnel_to;
} stream;

void stream_init(stream *s);
/* Begins; `host` stays with the caller, `proxy` is NULL for none. The deadline counts from now. */
void stream_open(stream *s, const char *host, uint16_t port, const proxy_url *proxy, int secure, cv_ms now, cv_ms deadline_ms);
/* Goes on after poll, or when time has passed. */
void stream_step(stream *s, cv_ms now);
/* What to poll for: `reading` and `writing` count once it is open. 0: nothing. */
short stream_events(const stream *s, int reading, int writing);
/* Bytes that were read already and that poll does not know of. */
int stream_pending(const stream *s);
/* As os_read and os_write. */
long stream_read(stream *s, uint8_t *bytes, size_t length);
long stream_write(stream *s, const uint8_t *bytes, size_t length);
void stream_close(stream *s);
void stream_reset(stream *s);

#endif
