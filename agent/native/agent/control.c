/* One control connection with its socket. */
#include <stdio.h>
#include <string.h>

#include "agent.h"

/* Messages in a row, before others have their turn. */
#define ROUNDS 8

void control_open(agent *a, int index, cv_ms now) {
  link_control *c = &a->controls[index];
  const server_url *server = &a->options->servers[a->backoff.server];
  memset(c, 0, sizeof *c);
  stream_init(&c->stream);
  c->used = 1;
  c->server = a->backoff.server;
  c->generation = ++a->generations;
  tell_connecting(a, server);
  if (token_read(a->options, c->token, c->stream.why, sizeof c->stream.why) != 0) {
    c->stream.state = STREAM_FAILED;
    return;
  }
  stream_open(&c->stream, server->host, server->port, a->options->use_proxy[c->server] ? &a->options->proxies[c->server] : NULL,
              server->secure, now, CV_HANDSHAKE_MS);
}

static void start_handshake(agent *a, link_control *c, cv_ms now) {
  static cv_port ports[MAPPINGS];
  const options *o = a->options;
  cv_link_config config;
  cv_device device;
  size_t i;
  memset(&config, 0, sizeof config);
  memset(&device, 0, sizeof device);
  for (i = 0; i < o->mapping_count; i++) ports[i] = o->mappings[i].port;
  config.random.fill = os_random;
  config.encrypted = c->stream.secure;
  config.scratch = c->scratch;
  config.scratch_size = sizeof c->scratch;
  config.out = c->out;
  config.out_size = sizeof c->out;
  device.name = o->name;
  device.boot = a->boot;
  device.ports = ports;
  device.port_count = o->mapping_count;
  device.warm = o->warm;
  device.max_frame = 1048576; /* any: frames are passed on as they come */
  device.transfers = o->transfers;
  device.inlined = o->inlined;
  if (cv_control_start(&c->control, &config, &device, o->servers[c->server].authority, c->token, c->request, sizeof c->request, now) !=
      CV_OK) {
    snprintf(c->stream.why, sizeof c->stream.why, "the request of the handshake is too long");
    c->stream.state = STREAM_FAILED;
  }
}

static void on_endpoint(agent *a, const cv_message *message) {
  size_t i;
  for (i = 0; i < a->options->mapping_count; i++) {
    const mapping *m = &a->options->mappings[i];
    endpoint *e = &a->endpoints[i];
    if (m->port.port != message->port) continue;
    if (m->port.scheme == CV_TCP && message->host.length > 0 && message->public_port != 0) {
      snprintf(e->host, sizeof e->host, "%.*s", (int)message->host.length, message->host.at);
      e->public_port = message->public_port;
    } else if (m->port.scheme != CV_TCP && message->url.length > 0) {
      snprintf(e->url, sizeof e->url, "%.*s", (int)message->url.length, message->url.at);
    } else {
      return;
    }
    tell_endpoint(a, i);
  }
}

static void on_event(agent *a, link_control *c, cv_control_event event, const cv_frame *frame, cv_ms now) {
  switch (event) {
    case CV_CONTROL_ENDPOINT:
      on_endpoint(a, &c->control.message);
      break;
    case CV_CONTROL_READY:
      inline_ready(c);
      direct_ready(a, c);
      on_control_ready(a, c, now);
      break;
    case CV_CONTROL_DIAL:
      on_dial(a, c, now);
      break;
    case CV_CONTROL_WIND_DOWN:
      on_wind_down(a, c, c->control.message.reconnect_ms, now);
      break;
    case CV_CONTROL_INLINE:
      inline_input(a, c, frame, now);
      break;
    case CV_CONTROL_BYE:
      snprintf(c->why, sizeof c->why, "%.*s", (int)c->control.message.message.length, c->control.message.message.at);
      if (c->why[0] == '\0') snprintf(c->why, sizeof c->why, "the server said bye");
      break;
    default:
      break;
  }
}

/* Hands what came to the machine; false while it takes no more. */
static int digest(agent *a, link_control *c, cv_ms now) {
  for (;;) {
    cv_frame frame;
    size_t used;
    cv_control_event event = cv_control_input(&c->control, c->in + c->in_from, c->in_to - c->in_from, now, &used, &frame);
    c->in_from += used;
    if (c->in_from == c->in_to) c->in_from = c->in_to = 0;
    if (event == CV_CONTROL_NONE) return c->in_to == 0;
    on_event(a, c, event, &frame, now);
    if (event == CV_CONTROL_OVER) return 0;
  }
}

/* Whether all that waited is sent. */
static int flush(link_control *c, cv_ms now) {
  for (;;) {
    const uint8_t *bytes;
    size_t length;
    long sent;
    cv_link_output(&c->control.link, &bytes, &length);
    if (length == 0) return 1;
    sent = stream_write(&c->stream, bytes, length);
    if (sent == OS_AGAIN) return 0;
    if (sent < 0) {
      cv_control_eof(&c->control);
      return 0;
    }
    cv_link_sent(&c->control.link, (size_t)sent, now);
  }
}

void control_send(agent *a, link_control *c, cv_ms now) {
  int round;
  if (c->stream.state != STREAM_OPEN || cv_control_gone(&c->control)) return;
  for (round = 0; round < ROUNDS; round++) {
    if (!flush(c, now)) {
      a->busy |= cv_control_gone(&c->control);
      return;
    }
    inline_flushed(a, c);
    if (!inline_turn(c, now)) return;
  }
  a->busy = 1;
}

static void explain(link_control *c) {
  const cv_link *link = &c->control.link;
  if (c->stream.state == STREAM_FAILED) {
    snprintf(c->why, sizeof c->why, "%s", c->stream.why);
  } else if (link->refused) {
    cv_text text = cv_response_message(&link->in.response);
    snprintf(c->why, sizeof c->why, "%.*s", (int)text.length, text.length > 0 ? text.at : "");
    if (text.length == 0) snprintf(c->why, sizeof c->why, "the server answered %d", link->in.response.status);
  } else if (c->control.fault != NULL) {
    snprintf(c->why, sizeof c->why, "the server broke the protocol: %s", c->control.fault);
  } else if (c->why[0] != '\0') {
    return; /* the words of its bye */
  } else if (link->code == CV_TRANSFERS_DEAD) {
    snprintf(c->why, sizeof c->why, "no transfer connection comes about");
  } else if (link->code == CV_HEARTBEAT_LOST) {
    snprintf(c->why, sizeof c->why, "nothing was heard for 2.5 heartbeats");
  } else if (link->close != 1006) {
    snprintf(c->why, sizeof c->why, "the connection was closed with %u", (unsigned)link->close);
  } else if (!c->control.ready && link->code == CV_UNAVAILABLE) {
    snprintf(c->why, sizeof c->why, "the server did not say ready within %d ms", CV_HANDSHAKE_MS);
  } else {
    snprintf(c->why, sizeof c->why, "the connection broke");
  }
}

int control_pump(agent *a, link_control *c, cv_ms now) {
  if (c->stream.state != STREAM_OPEN) {
    stream_step(&c->stream, now);
    if (c->stream.state == STREAM_OPEN) start_handshake(a, c, now);
    if (c->stream.state == STREAM_FAILED) explain(c);
    if (c->stream.state != STREAM_OPEN) return c->stream.state == STREAM_FAILED;
  }
  if (c->in_to > 0) digest(a, c, now);
  if (c->in_to == 0 && !cv_control_gone(&c->control)) {
    long got = stream_read(&c->stream, c->in, sizeof c->in);
    if (got > 0) {
      c->in_to = (size_t)got;
      digest(a, c, now);
      a->busy |= stream_pending(&c->stream);
    } else if (got != OS_AGAIN) {
      cv_control_eof(&c->control);
    }
  }
  cv_control_tick(&c->control, now);
  inline_tick(c, now);
  control_send(a, c, now);
  if (!cv_control_gone(&c->control)) return 0;
  explain(c);
  return 1;
}

short control_events(const link_control *c) {
  const cv_link *link = &c->control.link;
  int waits = link->out_to != link->out_from || link->bulk_left > 0 || link->pong_length != 255;
  return stream_events(&c->stream, c->in_to == 0, c->stream.state == STREAM_OPEN && waits);
}

void control_release(agent *a, link_control *c, cv_ms now) {
  inline_lost(a, c, now);
  stream_close(&c->stream);
  c->used = 0;
}

link_control *control_of(agent *a, uint32_t generation) {
  int i;
  for (i = 0; i < 2; i++) {
    link_control *c = &a->controls[i];
    if (c->used && c->generation == generation && c->control.link.phase == CV_OPEN) return c;
  }
  return a->current >= 0 && a->controls[a->current].control.link.phase == CV_OPEN ? &a->controls[a->current] : NULL;
}
