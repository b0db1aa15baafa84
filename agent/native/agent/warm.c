/*
 * Keeps transfers waiting at the listener that dialled last, as many as its visitors need and --warm at most. Only a visit makes it
 * open any, so that a device that nobody visits has none; a server that refuses is asked again at the next visit, after a backoff.
 */
#include <string.h>

#include "agent.h"

/* Visitors who come at once are answered before new warm transfers are opened for those after them. */
#define REPLENISH_MS 50
/* How many are kept at first; each visitor who found none doubles it, up to --warm. */
#define AT_FIRST 4

static int is_waiting(const slot *t) {
  return t->warm && !t->has_visitor && (t->state == SLOT_OPENING || t->state == SLOT_RUNNING);
}

size_t warm_waiting(const agent *a) {
  size_t count = 0;
  size_t i;
  for (i = 0; i < a->slots_end; i++) count += is_waiting(&a->slots[i]) != 0;
  return count;
}

/* Waiting or with a visitor. There is none when nobody came for long: the server has closed them. */
static int any_alive(const agent *a) {
  size_t i;
  for (i = 0; i < a->slots_end; i++) {
    const slot *t = &a->slots[i];
    if (t->warm && t->opened && (t->state == SLOT_LOCAL || t->state == SLOT_RUNNING)) return 1;
  }
  return 0;
}

void warm_visited(agent *a, cv_ms now) {
  if (a->options->warm == 0 || a->listener[0] == '\0' || a->stopping || a->warm_at != 0) return;
  a->warm_at = now + REPLENISH_MS;
}

void warm_dialled(agent *a, const char *path, cv_ms now) {
  const char *name = path + strlen("/v1/transfer/");
  size_t length = strcspn(name, "/?");
  if (length == 0 || length >= sizeof a->listener) return;
  if (strlen(a->listener) != length || memcmp(a->listener, name, length) != 0) {
    memcpy(a->listener, name, length);
    a->listener[length] = '\0';
    a->warm_not_before = 0;
    a->warm_first = 1;
    cv_backoff_init(&a->warm_backoff);
  }
  a->warm_wanted = any_alive(a) ? 2 * a->warm_wanted : AT_FIRST;
  if (a->warm_wanted > a->options->warm) a->warm_wanted = a->options->warm;
  warm_visited(a, now);
}

static void open_one(agent *a, link_control *c, cv_ms now) {
  slot *t = slot_take(a, now);
  if (t == NULL) return;
  t->warm = 1;
  t->generation = c->generation;
  t->server = c->server;
  strcpy(t->token, c->token);
  strcpy(t->path, "/v1/transfer/");
  strcat(t->path, a->listener);
  strcat(t->path, "?warm=1");
  slot_open_remote(a, t, now);
}

/* One alone, so that a server that refuses is asked once; then the others together. */
void warm_replenish(agent *a, cv_ms now) {
  size_t waiting = warm_waiting(a);
  size_t used = waiting + slots_with_visitor(a);
  link_control *c = a->current >= 0 ? &a->controls[a->current] : NULL;
  if (a->warm_at == 0 || now < a->warm_at) return;
  a->warm_at = 0;
  if (c == NULL || a->stopping || now < a->warm_not_before) return;
  if (a->warm_first && waiting > 0) return; /* it has been asked for, and is not granted yet */
  while (waiting < a->warm_wanted && used < a->options->transfers) {
    open_one(a, c, now);
    waiting++;
    used++;
    if (a->warm_first) return;
  }
}

void warm_granted(agent *a, cv_ms now) {
  cv_backoff_init(&a->warm_backoff);
  if (!a->warm_first) return;
  a->warm_first = 0;
  warm_visited(a, now);
}

void warm_refused(agent *a, slot *t, cv_ms now) {
  const cv_response *answer = &t->transfer.link.in.response;
  uint32_t random;
  uint32_t wait;
  cv_ending ending;
  memset(&ending, 0, sizeof ending);
  ending.kind = CV_ENDED_FAILED;
  ending.retry_after_ms = -1;
  if (t->state == SLOT_RUNNING && t->transfer.link.refused && answer->retry_after_s >= 0) {
    ending.kind = CV_ENDED_REFUSED;
    ending.code = answer->code;
    ending.retry_after_ms = answer->retry_after_s * 1000;
  }
  os_random(NULL, (uint8_t *)&random, sizeof random);
  wait = cv_backoff_next(&a->warm_backoff, &ending, 1, random);
  if (ending.retry_after_ms > 0 && wait < (uint32_t)ending.retry_after_ms) wait = (uint32_t)ending.retry_after_ms;
  if (now + wait > a->warm_not_before) a->warm_not_before = now + wait;
  a->warm_first = 1;
}

/* Closes one that waits, to make room. */
int warm_give_up_one(agent *a, cv_ms now) {
  size_t i;
  for (i = 0; i < a->slots_end; i++) {
    slot *t = &a->slots[i];
    if (!is_waiting(t)) continue;
    if (t->state == SLOT_RUNNING) {
      cv_transfer_cut(&t->transfer, CV_BYE, now);
      t->state = SLOT_CLOSING;
      t->since = now;
    } else {
      slot_free(t);
    }
    return 1;
  }
  return 0;
}
