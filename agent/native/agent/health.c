/*
 * Notices that no transfer comes about while the control connection lives, as a proxy or a firewall makes it happen, and gives the
 * control connection up: the agent then goes to its next server.
 *
 * Failures count in rounds, each begun by a dial that came after the round before had failed. So a server that stands still for a
 * while, with whatever it had asked for before, is not taken for a dead path.
 */
#include <string.h>

#include "agent.h"

#define HEALTH_ROUNDS 3

void health_worked(agent *a) {
  a->health.rounds = 0;
  memset(&a->health.rest, 0, sizeof a->health.rest);
}

/* Whether the other side, and not something on the way, has said no. */
int health_is_answer(const slot *t) {
  const cv_link *link = &t->transfer.link;
  return t->state != SLOT_OPENING && link->refused && (link->code != CV_UNAVAILABLE || link->in.response.retry_after_s >= 0);
}

void health_failed(agent *a, const slot *t, cv_ms now) {
  link_control *c;
  if (t->warm || a->stopping) return;
  if (health_is_answer(t)) {
    health_worked(a);
    return;
  }
  if (t->dialled_at <= a->health.failed_at) return; /* of a round that has failed already */
  a->health.failed_at = now;
  if (++a->health.rounds < HEALTH_ROUNDS || !rest_begin(&a->health.rest, now)) return;
  a->health.rounds = 0;
  c = control_of(a, t->generation);
  if (c == NULL || c->generation != t->generation) return;
  cv_link_close(&c->control.link, CV_TRANSFERS_DEAD, "no transfer connection comes about", now);
  a->busy = 1;
}
