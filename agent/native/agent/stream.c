#include "stream.h"

#include <stdio.h>
#include <string.h>

/* How long one address may take while there are others. */
#define ADDRESS_MS 2500

void stream_init(stream *s) {
  memset(s, 0, sizeof *s);
  s->socket = OS_NO_SOCKET;
  s->lookup = -1;
}

static void fail(stream *s, os_failure failure, const char *what) {
  snprintf(s->why, sizeof s->why, "%s%.200s:%u %.80s", s->proxy != NULL ? "the proxy " : "", s->proxy != NULL ? s->proxy->host : s->host,
           (unsigned)(s->proxy != NULL ? s->proxy->port : s->port), what);
  s->failure = failure;
  s->state = STREAM_FAILED;
}

static void connect_next(stream *s, cv_ms now) {
  os_failure last = s->failure == OS_OK ? OS_REFUSED : s->failure;
  while (s->at < s->addresses) {
    os_failure result = os_connect(&s->address[s->at++], &s->socket);
    if (result == OS_OK || result == OS_PENDING) {
      s->address_deadline = s->at < s->addresses ? now + ADDRESS_MS : s->deadline;
      s->state = STREAM_CONNECT;
      return;
    }
    last = result;
  }
  fail(s, last, last == OS_TIMEOUT ? "does not answer" : "cannot be reached");
}

void stream_open(stream *s, const char *host, uint16_t port, const proxy_url *proxy, int secure, cv_ms now, cv_ms deadline_ms) {
  const char *name = proxy != NULL ? proxy->host : host;
  uint16_t number = proxy != NULL ? proxy->port : port;
  stream_init(s);
  s->host = host;
  s->port = port;
  s->proxy = proxy;
  s->secure = secure;
  s->deadline = now + deadline_ms;
  s->addresses = os_literal(name, number, s->address);
  if (s->addresses > 0) {
    connect_next(s, now);
    return;
  }
  s->state = STREAM_LOOKUP;
  s->lookup = os_lookup(name, number);
  s->waits_for_turn = s->lookup < 0;
}

static void step_lookup(stream *s, cv_ms now) {
  if (s->lookup < 0) {
    s->lookup = os_lookup(s->proxy != NULL ? s->proxy->host : s->host, s->proxy != NULL ? s->proxy->port : s->port);
    if (s->lookup < 0) return;
  }
  s->addresses = os_lookup_take(s->lookup, s->address, OS_ADDRESSES);
  if (s->addresses < 0) return;
  s->lookup = -1;
  if (s->addresses == 0) {
    fail(s, OS_REFUSED, "has no address");
  } else {
    connect_next(s, now);
  }
}

static void begin_tls(stream *s) {
  if (!s->secure) {
    s->state = STREAM_OPEN;
    return;
  }
  s->tls = tls_open(s->socket, s->host);
  s->state = STREAM_TLS;
  s->want_write = 1;
  if (s->tls == NULL) fail(s, OS_REFUSED, "cannot be spoken to over TLS: no memory");
}

static void begin_tunnel(stream *s) {
  const char *open = strchr(s->host, ':') != NULL ? "[" : "";
  const char *close = strchr(s->host, ':') != NULL ? "]" : "";
  int length = snprintf(s->tunnel, sizeof s->tunnel, "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n%s%s%s\r\n", open, s->host, close,
                        (unsigned)s->port, open, s->host, close, (unsigned)s->port,
                        s->proxy->credentials[0] == '\0' ? "" : "Proxy-Authorization: Basic ", s->proxy->credentials,
                        s->proxy->credentials[0] == '\0' ? "" : "\r\n");
  s->tunnel_from = 0;
  s->tunnel_to = (size_t)length;
  s->want_write = 1;
  s->state = STREAM_TUNNEL;
}

static void connected(stream *s) {
  if (s->proxy != NULL) {
    begin_tunnel(s);
  } else {
    begin_tls(s);
  }
}

/* Reads the proxy's head byte by byte at its end, so that nothing behind it is taken. */
static void step_tunnel(stream *s) {
  while (s->want_write) {
    long sent = os_write(s->socket, (uint8_t *)s->tunnel + s->tunnel_from, s->tunnel_to - s->tunnel_from);
    if (sent == OS_AGAIN) return;
    if (sent < 0) {
      fail(s, OS_REFUSED, "closed the connection during CONNECT");
      return;
    }
    s->tunnel_from += (size_t)sent;
    if (s->tunnel_from == s->tunnel_to) {
      s->want_write = 0;
      s->tunnel_to = 0;
    }
  }
  for (;;) {
    uint8_t byte;
    long got = os_read(s->socket, &byte, 1);
    if (got == OS_AGAIN) return;
    if (got <= 0) {
      fail(s, OS_REFUSED, "closed the connection during CONNECT");
      return;
    }
    if (s->tunnel_to + 1 == sizeof s->tunnel) {
      fail(s, OS_REFUSED, "does not answer as an HTTP proxy");
      return;
    }
    s->tunnel[s->tunnel_to++] = (char)byte;
    s->tunnel[s->tunnel_to] = '\0';
    if (s->tunnel_to >= 4 && memcmp(s->tunnel + s->tunnel_to - 4, "\r\n\r\n", 4) == 0) break;
  }
  if (strncmp(s->tunnel, "HTTP/1.", 7) != 0 || s->tunnel_to < 12) {
    fail(s, OS_REFUSED, "does not answer as an HTTP proxy");
  } else if (s->tunnel[9] != '2') {
    char what[80];
    s->tunnel[12] = '\0';
    snprintf(what, sizeof what, "answered %s to CONNECT%s", s->tunnel + 9,
             strcmp(s->tunnel + 9, "407") == 0 ? "; it wants credentials: http://user:password@host:port" : "");
    fail(s, OS_REFUSED, what);
  } else {
    begin_tls(s);
  }
}

static void step_connect(stream *s, cv_ms now) {
  os_failure result = os_connected(s->socket);
  if (result == OS_OK) {
    connected(s);
    return;
  }
  if (result == OS_PENDING && now < s->address_deadline) return;
  s->failure = result == OS_PENDING ? OS_TIMEOUT : result;
  os_close(s->socket);
  s->socket = OS_NO_SOCKET;
  connect_next(s, now);
}

void stream_step(stream *s, cv_ms now) {
  if (s->state == STREAM_IDLE || s->state == STREAM_OPEN || s->state == STREAM_FAILED) return;
  if (s->state == STREAM_LOOKUP) step_lookup(s, now);
  if (s->state == STREAM_CONNECT) step_connect(s, now);
  if (s->state == STREAM_TUNNEL) step_tunnel(s);
  if (s->state == STREAM_TLS) {
    char why[100];
    int result = tls_handshake(s->tls, &s->want_write, why, sizeof why);
    if (result == 1) s->state = STREAM_OPEN;
    if (result == OS_BROKEN) {
      snprintf(s->why, sizeof s->why, "%s: %s", s->host, why);
      s->failure = OS_REFUSED;
      s->state = STREAM_FAILED;
    }
  }
  if (s->state != STREAM_OPEN && s->state != STREAM_FAILED && now >= s->deadline) fail(s, OS_TIMEOUT, "did not answer in time");
}

short stream_events(const stream *s, int reading, int writing) {
  switch (s->state) {
    case STREAM_CONNECT:
      return POLLOUT;
    case STREAM_TUNNEL:
    case STREAM_TLS:
      return s->want_write ? POLLOUT : POLLIN;
    case STREAM_OPEN:
      return (short)((reading ? POLLIN : 0) | (writing ? POLLOUT : 0));
    default:
      return 0;
  }
}

int stream_pending(const stream *s) {
  return s->tls != NULL && s->state == STREAM_OPEN && tls_pending(s->tls);
}

long stream_read(stream *s, uint8_t *bytes, size_t length) {
  return s->tls != NULL ? tls_read(s->tls, bytes, length) : os_read(s->socket, bytes, length);
}

long stream_write(stream *s, const uint8_t *bytes, size_t length) {
  return s->tls != NULL ? tls_write(s->tls, bytes, length) : os_write(s->socket, bytes, length);
}

static void release(stream *s) {
  if (s->lookup >= 0) os_lookup_drop(s->lookup);
  if (s->tls != NULL) tls_close(s->tls);
  s->lookup = -1;
  s->tls = NULL;
  s->state = STREAM_IDLE;
}

void stream_close(stream *s) {
  release(s);
  if (s->socket != OS_NO_SOCKET) os_close(s->socket);
  s->socket = OS_NO_SOCKET;
}

void stream_reset(stream *s) {
  release(s);
  if (s->socket != OS_NO_SOCKET) os_reset(s->socket);
  s->socket = OS_NO_SOCKET;
}
