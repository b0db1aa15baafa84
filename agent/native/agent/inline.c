/*
 * Inline transfers (section 14 of PROTOCOL.md): visitors' bytes on the control connection itself, for devices that can afford a
 * single connection.
 *
 *   local target connected --> SLOT_CHANNEL --a channel is free: open--> SLOT_INLINE --both ENDs--> free
 *                                   \--none in time: a transfer connection   \--a side breaks: CLOSE, the target is reset--> free
 *
 * The bytes for the target wait in `in`, of which the server may fill as much as was granted; those of the target wait in `up` for
 * credit and for their turn.
 */
#include <string.h>

#include "agent.h"

/* How long a dial waits for a free channel. */
#define CHANNEL_MS 5000
/* More is not handed to the system: heartbeats and messages never wait behind more than this. */
#define UNSENT_MAX 32768
/* Kept free in the memory for small messages, so that whatever has to be said can be said. */
#define ROOM 512

void inline_ready(link_control *c) {
  unsigned count = c->control.inlined < INLINE_MAX ? c->control.inlined : INLINE_MAX;
  cv_inline_init(&c->table, CV_CLIENT, c->channels, (uint16_t)count);
  if (count > 0) os_limit_unsent(c->stream.socket, UNSENT_MAX);
}

static int has_room(const link_control *c) {
  const cv_link *link = &c->control.link;
  return link->phase == CV_OPEN && link->out_size - (link->out_to - link->out_from) >= ROOM;
}

/* Says a small message of the channel, which has_room made sure of. */
static void say(link_control *c, const uint8_t *message, size_t length) {
  if (length > 0) cv_link_send_binary(&c->control.link, message, length);
}

/* The channel has nothing to do with the slot any more. */
static void detach(slot *t) {
  if (t->carrier != NULL) t->carrier->carried[t->flow.channel] = NULL;
  t->carrier = NULL;
}

/* The slot is free, as soon as its last bytes have left its memory. */
static void let_go(slot *t) {
  detach(t);
  t->flow.over = 1;
  stream_reset(&t->local);
  if (!t->flow.leaving) slot_free(t);
}

static void tell_end(agent *a, slot *t, const char *outcome, cv_ms now) {
  if (t->has_visitor) tell_transfer(a, t->id, t->port, outcome, t->flow.to_device, t->flow.to_visitor);
  t->has_visitor = 0;
  warm_visited(a, now);
}

/* It broke on our side: CLOSE goes out in front of data that waits, as soon as there is room for it. */
static void cut(agent *a, slot *t, cv_code code, cv_ms now) {
  link_control *c = t->carrier;
  uint8_t message[CV_INLINE_SMALL];
  tell_end(a, t, cv_outcome_of(code), now);
  stream_reset(&t->local);
  t->flow.cut = code;
  if (c != NULL) {
    if (!has_room(c)) return;
    say(c, message, cv_inline_close(&c->table, t->flow.channel, cv_code_close(code), message));
    c->closing[t->flow.channel] = now;
  }
  let_go(t);
}

static int both_ended(const slot *t) {
  return t->flow.up_ended && t->flow.down_ended;
}

/* The server has said CLOSE, or the control connection is gone. What both sides have ended still reaches the target. */
static void closed_by_peer(agent *a, slot *t, const char *outcome, cv_ms now) {
  if (t->flow.cut == CV_NO_CODE && both_ended(t)) {
    detach(t);
    return;
  }
  tell_end(a, t, outcome, now);
  let_go(t);
}

static void receive(slot *t, const cv_inline_event *event, cv_ms now) {
  if (t->flow.cut != CV_NO_CODE) return;
  if (t->in_from == t->in_to) t->flow.taken = now;
  if (t->in_to + event->length > t->room) {
    memmove(t->in, t->in + t->in_from, t->in_to - t->in_from);
    t->in_to -= t->in_from;
    t->in_from = 0;
  }
  memcpy(t->in + t->in_to, event->bytes, event->length); /* never more than was granted, and that is room that was free */
  t->in_to += event->length;
  t->flow.active = now;
  t->flow.to_device += event->length;
}

static void on_close(agent *a, link_control *c, const cv_inline_event *event, cv_ms now) {
  slot *t = c->carried[event->channel];
  uint8_t message[CV_INLINE_SMALL];
  say(c, message, cv_inline_close(&c->table, event->channel, event->code, message)); /* nothing when it answers ours */
  c->closing[event->channel] = 0;
  if (t != NULL) closed_by_peer(a, t, event->code == 4430 ? "visitor_reset" : cv_outcome_of(cv_code_of_close(event->code)), now);
}

void inline_input(agent *a, link_control *c, const cv_frame *frame, cv_ms now) {
  size_t at = 0;
  while (at < frame->length) {
    cv_inline_event event;
    size_t used;
    slot *t;
    int kind = cv_inline_input(&c->table, frame->bytes + at, frame->length - at, c->control.total, c->control.offset + at, &used, &event);
    at += used;
    if (kind < 0) {
      cv_control_fail_inline(&c->control, kind, now);
      return;
    }
    t = c->carried[event.channel];
    if (kind == CV_INLINE_CLOSE) {
      on_close(a, c, &event, now);
    } else if (t != NULL && kind == CV_INLINE_DATA) {
      receive(t, &event, now);
    } else if (t != NULL && kind == CV_INLINE_END) {
      t->flow.down_ended = 1;
      t->flow.active = now;
    }
  }
}

static void pump_channel(agent *a, slot *t, cv_ms now) {
  link_control *c = control_of(a, t->generation);
  char text[CV_MESSAGE_OUT_MAX + CV_PATH_MAX];
  cv_text path = {t->path, strlen(t->path)};
  int channel = -1;
  int length;
  if (c != NULL && c->control.inlined > 0) channel = cv_inline_free(&c->table);
  if (channel < 0 && c != NULL && (c->control.inlined == 0 || now - t->since >= CHANNEL_MS)) {
    slot_open_remote(a, t, now);
  } else if (channel < 0 || !has_room(c)) {
    if (now - t->since < CV_HANDSHAKE_MS) return;
    tell_end(a, t, cv_outcome_of(CV_NO_CODE), now);
    slot_free(t);
  } else {
    length = cv_write_open(text, sizeof text, (unsigned)channel, path, INLINE_WINDOW);
    if (length < 0 || cv_link_send_text(&c->control.link, text, (size_t)length) != CV_OK) return;
    cv_inline_open(&c->table, (unsigned)channel, INLINE_WINDOW);
    memset(&t->flow, 0, sizeof t->flow);
    t->flow.channel = (unsigned)channel;
    t->flow.active = t->flow.taken = t->flow.given = now;
    t->carrier = c;
    t->state = SLOT_INLINE;
    c->carried[channel] = t;
    c->closing[channel] = 0;
  }
}

/* Gives the target what waits for it, and the server credit for what was taken, best by halves of the window. */
static void write_target(agent *a, slot *t, cv_ms now) {
  uint8_t message[CV_INLINE_SMALL];
  while (t->in_from < t->in_to) {
    long sent = stream_write(&t->local, t->in + t->in_from, t->in_to - t->in_from);
    if (sent == OS_AGAIN) break;
    if (sent < 0) {
      cut(a, t, CV_PEER_RESET, now);
      return;
    }
    t->in_from += (size_t)sent;
    t->flow.spent += (uint32_t)sent;
    t->flow.taken = t->flow.active = now;
  }
  if (t->in_from == t->in_to) t->in_from = t->in_to = 0;
  if (t->flow.spent >= INLINE_WINDOW / 2 && !t->flow.down_ended && t->carrier != NULL && has_room(t->carrier)) {
    say(t->carrier, message, cv_inline_grant(&t->carrier->table, t->flow.channel, t->flow.spent, message));
    t->flow.spent = 0;
  }
  if (t->flow.down_ended == 1 && t->in_to == 0) {
    os_shut(t->local.socket);
    t->flow.down_ended = 2;
  }
}

static void read_target(agent *a, slot *t, cv_ms now) {
  long got;
  if (t->up_eof || t->up_to > 0 || t->carrier == NULL) return;
  got = stream_read(&t->local, t->up + CV_HEADROOM + CV_INLINE_HEADER, INLINE_WINDOW - CV_INLINE_HEADER);
  if (got == OS_AGAIN) return;
  t->flow.given = now;
  if (got > 0) {
    t->up_to = (size_t)got;
    t->up_from = 0;
  } else if (got == 0) {
    t->up_eof = 1;
  } else {
    cut(a, t, CV_PEER_RESET, now);
  }
}

/* END goes out behind the last byte. */
static void send_end(slot *t, cv_ms now) {
  uint8_t message[CV_INLINE_SMALL];
  if (!t->up_eof || t->up_to > 0 || t->flow.up_ended || t->carrier == NULL || !has_room(t->carrier)) return;
  say(t->carrier, message, cv_inline_end(&t->carrier->table, t->flow.channel, message));
  t->flow.up_ended = 1;
  t->flow.active = now;
}

static void look_at_deadlines(agent *a, slot *t, cv_ms now) {
  int stuck = (t->in_to > 0 && now - t->flow.taken >= CV_WRITE_MS) || (t->up_to > 0 && now - t->flow.given >= CV_WRITE_MS);
  if (stuck) {
    cut(a, t, CV_WRITE_TIMEOUT, now);
  } else if ((t->flow.up_ended != 0) != (t->flow.down_ended != 0) && now - t->flow.active >= CV_LINGER_MS) {
    cut(a, t, CV_LINGER_EXPIRED, now);
  }
}

static int is_live(const slot *t) {
  return t->state == SLOT_INLINE && !t->flow.over && t->flow.cut == CV_NO_CODE;
}

void inline_pump(agent *a, slot *t, cv_ms now) {
  if (t->state == SLOT_CHANNEL) pump_channel(a, t, now);
  if (t->state != SLOT_INLINE || t->flow.over) return;
  if (t->flow.cut != CV_NO_CODE) {
    cut(a, t, t->flow.cut, now); /* its CLOSE waits for room */
    return;
  }
  write_target(a, t, now);
  if (is_live(t)) read_target(a, t, now);
  if (is_live(t)) send_end(t, now);
  if (is_live(t)) look_at_deadlines(a, t, now);
  if (is_live(t) && t->flow.up_ended && t->flow.down_ended == 2) {
    tell_end(a, t, "ok", now);
    stream_close(&t->local);
    let_go(t); /* the server says CLOSE */
  }
}

/* Puts the data of the next transfer in turn on the link, which has sent all that waited. False: none has any, or may. */
int inline_turn(link_control *c, cv_ms now) {
  unsigned i;
  if (c->table.count == 0 || !cv_link_can_send(&c->control.link)) return 0;
  for (i = 0; i < c->table.count; i++) {
    unsigned channel = (c->turn + i) % c->table.count;
    slot *t = c->carried[channel];
    uint32_t length = cv_inline_sendable(&c->table, channel);
    uint8_t *message;
    if (t == NULL || t->flow.cut != CV_NO_CODE || t->up_to == 0 || length == 0) continue;
    if (length > t->up_to - t->up_from) length = (uint32_t)(t->up_to - t->up_from);
    message = t->up + CV_HEADROOM + t->up_from; /* both headers lie over bytes that are sent already */
    cv_inline_data(&c->table, channel, length, message);
    cv_link_send_data(&c->control.link, message, CV_INLINE_HEADER + length);
    t->up_from += length;
    t->flow.to_visitor += length;
    t->flow.given = t->flow.active = now;
    t->flow.leaving = 1;
    c->sending = t;
    c->turn = channel + 1;
    return 1;
  }
  return 0;
}

/* All that was put on the link is sent: the target may be asked for more. */
void inline_flushed(agent *a, link_control *c) {
  slot *t = c->sending;
  c->sending = NULL;
  if (t == NULL) return;
  t->flow.leaving = 0;
  if (t->flow.over) {
    slot_free(t);
  } else if (t->up_from == t->up_to) {
    t->up_from = t->up_to = 0;
    a->busy = 1;
  }
}

int inline_running(const link_control *c) {
  unsigned i;
  for (i = 0; i < c->table.count; i++) {
    if (c->carried[i] != NULL) return 1;
  }
  return 0;
}

void inline_tick(link_control *c, cv_ms now) {
  unsigned i;
  for (i = 0; i < c->table.count; i++) {
    if (c->closing[i] != 0 && now - c->closing[i] >= CV_WRITE_MS) cv_control_fail_inline(&c->control, CV_EPROTOCOL, now);
  }
}

/* The control connection is over, and with it what it carried. */
void inline_lost(agent *a, link_control *c, cv_ms now) {
  unsigned i;
  for (i = 0; i < c->table.count; i++) {
    if (c->carried[i] != NULL) closed_by_peer(a, c->carried[i], cv_outcome_of(CV_NO_CODE), now);
  }
  c->table.count = 0;
  inline_flushed(a, c); /* nothing of it will be read again */
}

/* The agent stops without waiting. */
void inline_abort(agent *a, slot *t, cv_ms now) {
  link_control *c = t->carrier;
  if (!t->flow.over) tell_end(a, t, cv_code_word(CV_WIND_DOWN), now);
  let_go(t);
  if (c != NULL && c->sending == t) control_release(a, c, now);
}
