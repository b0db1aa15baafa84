/* The control connection: opened, kept, and opened again. */
#include <string.h>

#include "board.h"
#include "lwip_internal.h"

static void open_control(cv_lwip *d, cv_ms now) {
  const cv_lwip_config *config = d->config;
  cv_lwip_control *c = d->controls[0].used ? &d->controls[1] : &d->controls[0];
  cv_link_config link;
  cv_device device;
  cv_port port;
  if (c->used) return; /* both are closing; the next poll tries again */
  d->due = 0;
  memset(&link, 0, sizeof link);
  memset(&device, 0, sizeof device);
  link.random.fill = board_random;
  link.max_frame = CV_MESSAGE_MAX;
  link.scratch = c->scratch;
  link.scratch_size = sizeof c->scratch;
  link.out = c->out;
  link.out_size = sizeof c->out;
  port.port = config->target_port;
  port.scheme = CV_HTTP;
  device.name = config->name;
  device.boot = d->boot;
  device.ports = &port;
  device.port_count = 1;
  device.max_frame = 16384;
  device.transfers = CV_LWIP_TRANSFERS;
  c->used = 1;
  d->starting = 1;
  if (cv_control_start(&c->control, &link, &device, config->authority, config->token, c->request, sizeof c->request, now) != CV_OK) {
    board_panic("the settings are too long for a handshake");
  }
  config->print("connecting");
  wire_open(&c->wire, config->host, config->port);
}

static void on_ready(cv_lwip *d, cv_lwip_control *c, cv_ms now) {
  int8_t index = (int8_t)(c - d->controls);
  d->starting = 0;
  if (d->current >= 0 && d->current != index) cv_control_drop(&d->controls[d->current].control, now);
  d->current = index;
  d->config->print(c->control.message.resumed ? "ready again" : "ready");
}

static void on_event(cv_lwip *d, cv_lwip_control *c, cv_control_event event, cv_ms now) {
  const cv_message *message = &c->control.message;
  switch (event) {
    case CV_CONTROL_ENDPOINT:
      if (message->url.length > 0) d->config->print(message->url.at);
      break;
    case CV_CONTROL_READY:
      on_ready(d, c, now);
      break;
    case CV_CONTROL_DIAL:
      transfer_dialled(d, &c->control, now);
      break;
    case CV_CONTROL_WIND_DOWN: {
      cv_ending ending;
      memset(&ending, 0, sizeof ending);
      ending.kind = CV_ENDED_WIND_DOWN;
      ending.reconnect_ms = message->reconnect_ms;
      if (!d->starting) d->due = now + cv_backoff_next(&d->backoff, &ending, 1, board_random32());
      break;
    }
    default:
      break;
  }
}

static void read_control(cv_lwip *d, cv_lwip_control *c, cv_ms now) {
  for (;;) {
    cv_frame frame;
    size_t length;
    size_t used;
    uint8_t *bytes = wire_peek(&c->wire, &length);
    cv_control_event event;
    if (length == 0) break;
    event = cv_control_input(&c->control, bytes, length, now, &used, &frame);
    if (event != CV_CONTROL_NONE) on_event(d, c, event, now);
    wire_taken(&c->wire, used);
    if (event == CV_CONTROL_OVER || (event == CV_CONTROL_NONE && used < length)) return;
  }
  if (c->wire.state == WIRE_ENDED || c->wire.state == WIRE_BROKEN) cv_control_eof(&c->control);
}

static void write_control(cv_lwip_control *c, cv_ms now) {
  for (;;) {
    const uint8_t *bytes;
    size_t length;
    size_t sent;
    cv_link_output(&c->control.link, &bytes, &length);
    if (length == 0) break;
    sent = wire_write(&c->wire, bytes, length);
    if (sent == 0) break;
    cv_link_sent(&c->control.link, sent, now);
  }
  wire_flush(&c->wire);
}

/* A control connection is over: when to open the next, unless another has its place already. */
static void ended(cv_lwip *d, cv_lwip_control *c, cv_ms now) {
  int8_t index = (int8_t)(c - d->controls);
  int was_ready = c->control.ready;
  cv_ending ending;
  cv_control_ending(&c->control, now, &ending);
  wire_close(&c->wire);
  c->used = 0;
  if (!was_ready) d->starting = 0;
  if (d->current == index) {
    d->current = -1;
  } else if (was_ready) {
    return; /* it was dropped for the present one */
  }
  if (d->starting || (d->due != 0 && was_ready)) return;
  d->due = now + cv_backoff_next(&d->backoff, &ending, 1, board_random32());
  if (d->due == 0) d->due = 1;
  d->config->print(ending.kind == CV_ENDED_REFUSED ? "refused" : "connection lost");
  if (ending.code != CV_NO_CODE) d->config->print(cv_code_word(ending.code));
}

void controls_poll(cv_lwip *d, cv_ms now) {
  unsigned i;
  if (d->due != 0 && now >= d->due && !d->starting) open_control(d, now);
  for (i = 0; i < 2; i++) {
    cv_lwip_control *c = &d->controls[i];
    if (!c->used) continue;
    read_control(d, c, now);
    cv_control_tick(&c->control, now);
    write_control(c, now);
    if (cv_control_gone(&c->control)) ended(d, c, now);
  }
}
