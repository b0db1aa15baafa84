/*
 * One transfer with its two sockets: what the server sends goes to the local target, and back. At most one read waits in each
 * direction; a side that takes no more makes the other wait.
 */
#include <string.h>

#include "agent.h"

/* Rounds in a row for one transfer, before others have their turn. */
#define ROUNDS 4

static void assigned(agent *a, slot *t, cv_ms now) {
  const cv_message *assign = &t->transfer.message;
  const mapping *m = mapping_of(a, assign->port, assign->visitor);
  memcpy(t->id, assign->id.at, assign->id.length + 1);
  t->port = assign->port;
  warm_visited(a, now);
  if (m == NULL || a->stopping || slots_with_visitor(a) >= a->options->transfers) {
    cv_transfer_refuse(&t->transfer, m == NULL ? CV_NOT_ALLOWED : CV_BUSY, now);
    return;
  }
  t->has_visitor = 1;
  t->up_eof = 0;
  t->down_length = 0;
  t->state = SLOT_LOCAL;
  stream_open(&t->local, m->host, m->target, NULL, 0, now, LOCAL_MS);
  a->busy = 1;
}

/* Gives the local target what is for it; false while it takes no more. */
static int write_local(slot *t, cv_ms now) {
  while (t->down_length > 0) {
    long sent = stream_write(&t->local, t->down, t->down_length);
    if (sent == OS_AGAIN) return 0;
    if (sent < 0) {
      cv_transfer_cut(&t->transfer, CV_PEER_RESET, now);
      t->down_length = 0;
      return 1;
    }
    cv_transfer_taken(&t->transfer, (size_t)sent, now);
    t->down += sent;
    t->down_length -= (size_t)sent;
  }
  return 1;
}

/* Whether the visitor has just ended: the local target is let go of, and it is told. */
static void settle(agent *a, slot *t, cv_ms now) {
  cv_transfer *x = &t->transfer;
  int broken = x->state == CV_TRANSFER_BROKEN;
  if (t->state == SLOT_CLOSING || x->state == CV_TRANSFER_OPENING || direct_fails(t, now)) return;
  if (t->has_visitor && x->outcome != NULL && (broken || x->state == CV_TRANSFER_FINISHED || x->state == CV_TRANSFER_WAITING)) {
    if (!t->canary) tell_transfer(a, t->id, t->port, x->outcome, x->to_device, x->to_visitor);
    if (broken) {
      stream_reset(&t->local);
    } else {
      stream_close(&t->local);
    }
    t->has_visitor = 0;
    t->down_length = 0;
    t->since = now;
    warm_visited(a, now);
    if (t->state == SLOT_LOCAL) t->state = SLOT_RUNNING;
  }
  if (broken || x->state == CV_TRANSFER_FINISHED) {
    t->state = SLOT_CLOSING;
    t->down_length = 0;
  }
}

static void pass_end(slot *t, cv_ms now) {
  os_shut(t->local.socket);
  cv_transfer_down_ended(&t->transfer, now);
}

static void on_event(agent *a, slot *t, cv_transfer_event event, cv_ms now) {
  switch (event) {
    case CV_TRANSFER_OPENED:
      t->opened = 1;
      health_worked(a);
      direct_judge(a, t, now);
      if (t->warm) warm_granted(a, now);
      if (t->canary) cv_transfer_cut(&t->transfer, CV_BYE, now);
      break;
    case CV_TRANSFER_REFUSED:
      if (t->warm && !direct_fails(t, now)) warm_refused(a, t, now);
      break;
    case CV_TRANSFER_ASSIGN:
      assigned(a, t, now);
      break;
    case CV_TRANSFER_END:
      pass_end(t, now);
      break;
    default:
      break;
  }
}

/* Works off the data that the server has sent, up to another event; CV_TRANSFER_NONE: there is no more, or `in` has to wait. */
static cv_transfer_event digest_data(slot *t, cv_ms now) {
  for (;;) {
    cv_frame frame;
    size_t used;
    cv_transfer_event event;
    if (!write_local(t, now)) return CV_TRANSFER_NONE;
    event = cv_transfer_input(&t->transfer, t->in + t->in_from, t->in_to - t->in_from, now, &used, &frame);
    t->in_from += used;
    if (event == CV_TRANSFER_NONE && t->in_from == t->in_to) t->in_from = t->in_to = 0;
    if (event != CV_TRANSFER_DATA) return event;
    t->down = frame.bytes;
    t->down_length = frame.length;
  }
}

/* Works off what the server has sent; false when it has to wait. */
static int digest(agent *a, slot *t, cv_ms now) {
  for (;;) {
    cv_transfer_event event = digest_data(t, now);
    if (event != CV_TRANSFER_NONE) on_event(a, t, event, now);
    settle(a, t, now);
    if (event == CV_TRANSFER_NONE) return t->in_to == 0 && t->down_length == 0;
  }
}

/* Whether another read is worth its call: one that did not fill its room has emptied the socket, unless it gave one record of TLS. */
static int is_more(const stream *s, long got, size_t room) {
  return (size_t)got == room || s->tls != NULL;
}

static int read_remote(agent *a, slot *t, cv_ms now) {
  long got;
  if (!digest(a, t, now) || cv_transfer_gone(&t->transfer)) return 0;
  got = stream_read(&t->remote, t->in, t->room);
  if (got == OS_AGAIN) return 0;
  if (got <= 0) {
    if (cv_transfer_eof(&t->transfer) == CV_TRANSFER_REFUSED && t->warm && !direct_fails(t, now)) warm_refused(a, t, now);
    settle(a, t, now);
    return 0;
  }
  t->in_to = (size_t)got;
  digest(a, t, now);
  return is_more(&t->remote, got, t->room);
}

static void write_remote(slot *t, cv_ms now) {
  for (;;) {
    const uint8_t *bytes;
    size_t length;
    long sent;
    cv_transfer_output(&t->transfer, &bytes, &length);
    if (length == 0) return;
    sent = stream_write(&t->remote, bytes, length);
    if (sent == OS_AGAIN) return;
    if (sent < 0) {
      cv_transfer_eof(&t->transfer);
      return;
    }
    cv_transfer_sent(&t->transfer, (size_t)sent, now);
  }
}

static int read_local(slot *t, cv_ms now) {
  long got;
  if (!t->has_visitor || t->state != SLOT_RUNNING || t->up_eof || !cv_transfer_can_send(&t->transfer)) return 0;
  got = stream_read(&t->local, t->up + CV_HEADROOM, t->room);
  if (got == OS_AGAIN) return 0;
  if (got > 0) {
    cv_transfer_send(&t->transfer, t->up + CV_HEADROOM, (size_t)got, now);
    return is_more(&t->local, got, t->room);
  }
  if (got == 0) {
    t->up_eof = 1;
    cv_transfer_up_ended(&t->transfer, now);
  } else {
    cv_transfer_cut(&t->transfer, CV_PEER_RESET, now);
  }
  return 1;
}

static int is_serving(const slot *t) {
  return t->transfer.state == CV_TRANSFER_SERVING && !cv_transfer_gone(&t->transfer);
}

/* The same as read_remote for bytes of one visitor and nothing else: false, too, when the visitor is over. */
static int carry_remote(slot *t, cv_ms now) {
  long got = 0;
  int round;
  for (round = 0; round < 2; round++) { /* what has waited, then what is read */
    while (digest_data(t, now) == CV_TRANSFER_END) {
      pass_end(t, now);
      if (!is_serving(t)) return 0;
    }
    if (t->in_to > 0 || t->down_length > 0 || !is_serving(t) || round == 1) break;
    got = stream_read(&t->remote, t->in, t->room);
    if (got == OS_AGAIN) return 0;
    if (got <= 0) {
      cv_transfer_eof(&t->transfer);
      return 0;
    }
    t->in_to = (size_t)got;
  }
  return got > 0 && is_more(&t->remote, got, t->room);
}

int transfer_carry(slot *t, cv_ms now) {
  int round;
  int more = 1;
  for (round = 0; round < ROUNDS && more; round++) {
    more = carry_remote(t, now);
    if (!is_serving(t)) return 0;
    more |= read_local(t, now);
    write_remote(t, now);
    if (!is_serving(t)) return 0;
  }
  cv_transfer_tick(&t->transfer, now);
  write_remote(t, now);
  t->again = more || (stream_pending(&t->remote) && t->in_to == 0 && t->down_length == 0);
  return is_serving(t);
}

void transfer_pump(agent *a, slot *t, cv_ms now) {
  int round;
  int more = 1;
  for (round = 0; round < ROUNDS && more && !cv_transfer_gone(&t->transfer); round++) {
    more = read_remote(a, t, now);
    more |= read_local(t, now);
    settle(a, t, now);
    write_remote(t, now);
  }
  cv_transfer_tick(&t->transfer, now);
  settle(a, t, now);
  write_remote(t, now);
  if (direct_fails(t, now)) {
    slot_fall_back(a, t, now);
  } else if (cv_transfer_gone(&t->transfer)) {
    if (!t->opened) {
      health_failed(a, t, now);
      direct_judge(a, t, now);
    }
    settle(a, t, now);
    slot_free(t);
  } else if (more || (stream_pending(&t->remote) && t->in_to == 0 && t->down_length == 0)) {
    t->again = a->busy = 1;
  }
  bulk_consider(a, t, now);
}
