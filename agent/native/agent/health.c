/*
 * Notices that no transfer comes about while the control connection lives, as a proxy or a firewall makes it happen, and gives the
 * control connection up: the agent then goes to its next server.
 *
 * Failures count in rounds, each begun by a dial that came after the round before had failed. So a server that stands still for a
 * while, with whatever it had asked for before, is not taken for a dead path.
 */
#include "agent.h"

#define HEALTH_ROUNDS 3
/* Where ending it mends nothing, a device must not flap: the rest before the next time doubles, up to about an hour. */
#define REST_MS 60000
#define MOST_DOUBLINGS 6

void health_worked(agent *a) {
  a->health.rounds = 0;
  a->health.times = 0;
  a->health.not_before = 0;
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
  if (++a->health.rounds < HEALTH_ROUNDS || now < a->health.not_before) return;
  a->health.not_before = now + ((cv_ms)REST_MS << (a->health.times < MOST_DOUBLINGS ? a->health.times : MOST_DOUBLINGS));
  a->health.times++;
  a->health.rounds = 0;
  c = control_of(a, t->generation);
  if (c == NULL || c->generation != t->generation) return;
  cv_link_close(&c->control.link, CV_TRANSFERS_DEAD, "no transfer connection comes about", now);
  a->busy = 1;
}
