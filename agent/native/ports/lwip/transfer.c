/*
 * One visitor, from the dial to the close: bytes go from the wire into the target where they lie, and from the target into one
 * buffer that is framed and masked in place. A side that takes no more makes the other wait.
 */
#include <string.h>

#include "board.h"
#include "lwip_internal.h"

static cv_lwip_transfer *free_transfer(cv_lwip *d) {
  unsigned i;
  for (i = 0; i < CV_LWIP_TRANSFERS; i++) {
    if (!d->transfers[i].used) return &d->transfers[i];
  }
  return NULL;
}

static unsigned index_of(const cv_lwip *d, const cv_lwip_transfer *t) {
  return (unsigned)(t - d->transfers);
}

/* Begins a transfer; false when the request does not fit. */
static int start(cv_lwip *d, cv_lwip_transfer *t, const char *path, int canary, cv_ms now) {
  const cv_lwip_config *config = d->config;
  cv_link_config link;
  memset(&link, 0, sizeof link);
  link.random.fill = board_random;
  link.scratch = t->scratch;
  link.scratch_size = sizeof t->scratch;
  /* `up` carries the request first: the target is not asked for bytes before the handshake is done. */
  if (cv_transfer_start(&t->transfer, &link, 0, 0, config->authority, path, config->token, (char *)t->up, sizeof t->up, now) !=
      CV_OK) {
    return 0;
  }
  t->used = 1;
  t->canary = (uint8_t)canary;
  t->up_ended = 0;
  t->held = 0;
  t->down_left = 0;
  t->open = (uint8_t)!canary;
  if (t->open) config->target->open(index_of(d, t));
  wire_open(&t->wire, config->host, config->port);
  return 1;
}

/* Keeps the dial until a transfer is free; false when as many wait already. */
static int wait_for_turn(cv_lwip *d, const cv_message *dial, cv_ms now) {
  cv_lwip_dial *place = NULL;
  unsigned i;
  for (i = 0; i < CV_LWIP_TRANSFERS; i++) {
    if (!d->dials[i].used) place = &d->dials[i];
  }
  if (place == NULL || dial->id.length > CV_ID_MAX || dial->path.length > CV_PATH_MAX) return 0;
  place->used = 1;
  place->canary = (uint8_t)(dial->canary != 0);
  place->since = now;
  memcpy(place->id, dial->id.at, dial->id.length + 1);
  memcpy(place->path, dial->path.at, dial->path.length + 1);
  return 1;
}

void transfer_dialled(cv_lwip *d, cv_control *control, cv_ms now) {
  const cv_message *dial = &control->message;
  cv_lwip_transfer *t = free_transfer(d);
  if (!dial->canary && dial->port != d->config->target_port) {
    cv_control_refuse(control, dial->id, CV_NOT_ALLOWED);
  } else if (t != NULL ? !start(d, t, dial->path.at, dial->canary, now) : !wait_for_turn(d, dial, now)) {
    cv_control_refuse(control, dial->id, CV_BUSY);
  }
}

/* Gives free transfers to the dials that wait, the oldest first. */
static void serve_waiting(cv_lwip *d, cv_ms now) {
  for (;;) {
    cv_lwip_transfer *t = free_transfer(d);
    cv_lwip_dial *oldest = NULL;
    unsigned i;
    for (i = 0; i < CV_LWIP_TRANSFERS; i++) {
      cv_lwip_dial *dial = &d->dials[i];
      if (dial->used && (oldest == NULL || dial->since < oldest->since)) oldest = dial;
    }
    if (oldest == NULL || (t == NULL && now - oldest->since < CV_CLOSE_MS)) return;
    oldest->used = 0;
    if ((t == NULL || !start(d, t, oldest->path, oldest->canary, now)) && d->current >= 0) {
      cv_text id;
      id.at = oldest->id;
      id.length = strlen(oldest->id);
      cv_control_refuse(&d->controls[d->current].control, id, CV_BUSY);
    }
  }
}

/* Offers the target what came; false while it does not take all. */
static int feed_target(cv_lwip *d, cv_lwip_transfer *t, cv_ms now) {
  if (t->down_left > 0) {
    size_t taken = t->open ? d->config->target->input(index_of(d, t), t->down, t->down_left) : t->down_left;
    if (taken > 0) cv_transfer_taken(&t->transfer, taken, now);
    t->down += taken;
    t->down_left -= taken;
    if (t->down_left > 0) return 0;
  }
  if (t->held > 0) wire_taken(&t->wire, t->held);
  t->held = 0;
  return 1;
}

/* Lets go of the target when the visitor is over. */
static void settle(cv_lwip *d, cv_lwip_transfer *t) {
  uint8_t state = t->transfer.state;
  if (state != CV_TRANSFER_FINISHED && state != CV_TRANSFER_BROKEN) return;
  if (t->open) d->config->target->close(index_of(d, t));
  t->open = 0;
  t->down_left = 0;
}

static void read_wire(cv_lwip *d, cv_lwip_transfer *t, cv_ms now) {
  for (;;) {
    cv_frame frame;
    size_t length;
    size_t used;
    uint8_t *bytes;
    cv_transfer_event event;
    if (!feed_target(d, t, now)) return;
    bytes = wire_peek(&t->wire, &length);
    if (length == 0) break;
    event = cv_transfer_input(&t->transfer, bytes, length, now, &used, &frame);
    t->held = used;
    if (event == CV_TRANSFER_DATA) {
      t->down = frame.bytes;
      t->down_left = frame.length;
    } else if (event == CV_TRANSFER_END) {
      if (t->open) d->config->target->end(index_of(d, t));
      cv_transfer_down_ended(&t->transfer, now);
    } else if (event == CV_TRANSFER_OPENED && t->canary) {
      cv_transfer_cut(&t->transfer, CV_BYE, now);
    } else if (event == CV_TRANSFER_NONE && used < length) {
      feed_target(d, t, now);
      return;
    }
    settle(d, t);
  }
  if (t->wire.state == WIRE_ENDED || t->wire.state == WIRE_BROKEN) cv_transfer_eof(&t->transfer);
}

static void read_target(cv_lwip *d, cv_lwip_transfer *t, cv_ms now) {
  int ended = 0;
  size_t length;
  if (!t->open || t->up_ended || t->transfer.state != CV_TRANSFER_SERVING || !cv_transfer_can_send(&t->transfer)) return;
  length = d->config->target->output(index_of(d, t), t->up + CV_HEADROOM, CV_LWIP_UP, &ended);
  if (length > 0) cv_transfer_send(&t->transfer, t->up + CV_HEADROOM, length, now);
  if (ended) {
    t->up_ended = 1;
    cv_transfer_up_ended(&t->transfer, now);
  }
}

static void write_wire(cv_lwip_transfer *t, cv_ms now) {
  for (;;) {
    const uint8_t *bytes;
    size_t length;
    size_t sent;
    cv_transfer_output(&t->transfer, &bytes, &length);
    if (length == 0) break;
    sent = wire_write(&t->wire, bytes, length);
    if (sent == 0) break;
    cv_transfer_sent(&t->transfer, sent, now);
  }
  wire_flush(&t->wire);
}

void transfers_poll(cv_lwip *d, cv_ms now) {
  unsigned i;
  serve_waiting(d, now);
  for (i = 0; i < CV_LWIP_TRANSFERS; i++) {
    cv_lwip_transfer *t = &d->transfers[i];
    if (!t->used) continue;
    read_wire(d, t, now);
    read_target(d, t, now);
    cv_transfer_tick(&t->transfer, now);
    write_wire(t, now);
    settle(d, t);
    if (!cv_transfer_gone(&t->transfer)) continue;
    if (t->open) d->config->target->close(i);
    t->open = 0;
    wire_close(&t->wire);
    t->used = 0;
  }
}
