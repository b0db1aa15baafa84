/*
 * The life of the agent: keeps one control connection, answers dials, connects again for ever.
 *
 *   connecting <--wait--> ready --wind_down, SIGHUP--> ready, connecting the next one --> ready ...
 *        \_________________stop____________________________/--> finishing --> stopped
 *
 * Running transfers do not depend on the control connection: they go on while it is lost, replaced or said goodbye to.
 */
#include "agent.h"

#include <stdio.h>
#include <string.h>

/* A second signal counts from here on: a terminal and a service manager may both deliver the first. */
#define SECOND_SIGNAL_MS 500
/* A move that waits for inline transfers looks this often whether they are over. */
#define MOVE_MS 50
/* Deadlines are looked at this often. */
#define TICK_MS 500

static uint32_t drawn(void) {
  uint32_t random;
  os_random(NULL, (uint8_t *)&random, sizeof random);
  return random;
}

static void schedule(agent *a, uint32_t wait_ms, cv_ms now) {
  a->waiting = 1;
  a->next_attempt = now + wait_ms;
}

void on_control_ready(agent *a, link_control *c, cv_ms now) {
  int index = (int)(c - a->controls);
  if (c->told) return;
  c->told = 1;
  if (a->current >= 0 && a->current != index) cv_control_drop(&a->controls[a->current].control, now); /* only now: make before break */
  a->current = index;
  if (a->pending == index) a->pending = -1;
  a->warm_not_before = 0;
  tell_ready(a, c, &c->control.message);
  if (!a->settled) os_settle();
  a->settled = 1;
  if (a->stopping) cv_control_leave(&c->control, now);
}

void on_wind_down(agent *a, link_control *c, uint32_t reconnect_ms, cv_ms now) {
  cv_ending ending;
  if (a->stopping || a->waiting || a->pending >= 0 || a->current < 0 || c != &a->controls[a->current]) return;
  memset(&ending, 0, sizeof ending);
  ending.kind = CV_ENDED_WIND_DOWN;
  ending.retry_after_ms = -1;
  ending.reconnect_ms = reconnect_ms;
  a->move_by = now + reconnect_ms;
  schedule(a, cv_backoff_next(&a->backoff, &ending, a->options->server_count, drawn()), now);
}

/* A control connection, or the attempt at one, is over. */
static void control_over(agent *a, int index, cv_ms now) {
  link_control *c = &a->controls[index];
  cv_ending ending;
  cv_code code;
  uint32_t wait;
  int was_current = index == a->current;
  int was_pending = index == a->pending;
  memset(&ending, 0, sizeof ending);
  ending.kind = CV_ENDED_FAILED;
  ending.retry_after_ms = -1;
  ending.code = CV_UNAVAILABLE;
  if (c->stream.state == STREAM_OPEN) cv_control_ending(&c->control, now, &ending);
  code = ending.code;
  if (was_current) a->current = -1;
  if (was_pending) a->pending = -1;
  if (!a->stopping && (was_pending || (was_current && a->pending < 0))) {
    wait = cv_backoff_next(&a->backoff, &ending, a->options->server_count, drawn());
    if (ending.kind == CV_ENDED_REFUSED && c->control.link.refused) {
      tell_refused(a, code, c->why, c->control.link.in.response.status, wait);
    } else {
      tell_disconnected(a, code, c->why, wait);
    }
    schedule(a, wait, now);
  }
  control_release(a, c, now);
}

static void attempt(agent *a, cv_ms now) {
  int index;
  for (index = 0; index < 2 && a->controls[index].used; index++) {
  }
  if (index == 2) { /* the one that was left is still closing, or is the current one beside it: it had its time */
    index = a->current == 0 ? 1 : 0;
    control_release(a, &a->controls[index], now);
  }
  a->waiting = 0;
  a->pending = index;
  control_open(a, index, now);
}

/* Inline transfers end with the control connection: they have their time first. */
static void leave_when_quiet(agent *a, cv_ms now) {
  int i;
  for (i = 0; i < 2; i++) {
    link_control *c = &a->controls[i];
    if (!c->used || c->stream.state != STREAM_OPEN || c->control.link.phase != CV_OPEN || inline_running(c)) continue;
    cv_control_leave(&c->control, now);
    a->busy = 1;
  }
}

static void begin_stop(agent *a, cv_ms now) {
  int i;
  a->stopping = 1;
  a->stop_asked_at = now;
  a->stop_at = now + STOP_MS;
  a->waiting = 0;
  for (i = 0; i < 2; i++) {
    link_control *c = &a->controls[i];
    if (!c->used) continue;
    if (c->stream.state == STREAM_OPEN && c->control.link.phase == CV_OPEN) {
      leave_when_quiet(a, now);
    } else if (c->stream.state != STREAM_OPEN || c->control.link.phase == CV_HANDSHAKING) {
      control_release(a, c, now);
      if (a->pending == i) a->pending = -1;
    }
  }
  while (warm_give_up_one(a, now)) {
  }
}

static void signals(agent *a, cv_ms now) {
  int asked = os_stop_asked();
  if (asked > 0 && !a->stopping) {
    begin_stop(a, now);
  } else if (asked > 0 && now - a->stop_asked_at > SECOND_SIGNAL_MS) {
    a->stop_at = now;
  }
  if (os_renew_asked() && a->current >= 0) {
    on_wind_down(a, &a->controls[a->current], 0, now);
    a->move_by = now + STOP_MS;
  }
}

static int is_stopped(agent *a) {
  size_t i;
  if (!a->stopping || a->controls[0].used || a->controls[1].used) return 0;
  for (i = 0; i < a->slots_end; i++) {
    if (a->slots[i].state != SLOT_FREE) return 0;
  }
  return 1;
}

static size_t watch(agent *a) {
  size_t count = 0;
  size_t i;
  for (i = 0; i < 2; i++) {
    if (a->controls[i].used) count = watch_stream(a->fds, count, &a->controls[i].stream, control_events(&a->controls[i]));
  }
  for (i = 0; i < a->slots_end; i++) {
    slot *t = &a->slots[i];
    if (t->state == SLOT_FREE || t->lent) continue; /* and not touched: its memory need not be there, or belongs to the second loop */
    count = slot_watch(a->fds, count, t);
  }
  return count;
}

static int patience(const agent *a, cv_ms now) {
  cv_ms wait = TICK_MS;
  if (a->busy) return 0;
  if (a->waiting && a->next_attempt < now + wait) wait = a->next_attempt <= now ? 0 : a->next_attempt - now;
  if (a->warm_at != 0 && a->warm_at < now + wait) wait = a->warm_at <= now ? 0 : a->warm_at - now;
  return (int)wait;
}

static void turn(agent *a) {
  cv_ms now = os_now();
  int tick = now - a->ticked >= TICK_MS;
  size_t i;
  int index;
  if (tick) a->ticked = now;
  a->busy = 0;
  bulk_take_back(a);
  signals(a, now);
  for (index = 0; index < 2; index++) {
    if (a->controls[index].used && control_pump(a, &a->controls[index], now)) control_over(a, index, now);
  }
  for (i = 0; i < a->slots_end; i++) {
    slot *t = &a->slots[i];
    if (t->state == SLOT_FREE || t->lent || (!tick && !slot_is_due(a->fds, t))) continue;
    t->again = 0;
    slot_pump(a, t, now);
  }
  warm_replenish(a, now);
  if (a->waiting && now >= a->next_attempt) {
    if (a->current >= 0 && inline_running(&a->controls[a->current]) && now < a->move_by) {
      a->next_attempt = now + MOVE_MS; /* the server ends the old connection when the new one is there */
    } else {
      attempt(a, now);
      a->busy = 1;
    }
  }
  for (index = 0; index < 2; index++) {
    if (a->controls[index].used && a->controls[index].table.count > 0) control_send(a, &a->controls[index], now);
  }
  if (a->stopping) leave_when_quiet(a, now);
  if (a->stopping && now >= a->stop_at) {
    bulk_recall(a);
    slots_abort(a, now);
    for (index = 0; index < 2; index++) {
      if (a->controls[index].used) control_release(a, &a->controls[index], now);
    }
  }
}

int agent_run(agent *a) {
  uint8_t random[16];
  char boot[25];
  size_t i;
  os_random(NULL, random, sizeof random);
  cv_base64(random, sizeof random, boot);
  for (i = 0; i < 22; i++) a->boot[i] = boot[i] == '+' ? '-' : boot[i] == '/' ? '_' : boot[i];
  a->current = a->pending = -1;
  cv_backoff_init(&a->backoff);
  cv_backoff_init(&a->warm_backoff);
  a->warm_first = 1;
  schedule(a, 0, os_now());
  for (;;) {
    size_t count;
    turn(a);
    if (is_stopped(a)) break;
    count = watch(a);
    os_poll(a->fds, count, patience(a, os_now()));
  }
  tell_stopped(a);
  return EXIT_OK;
}
