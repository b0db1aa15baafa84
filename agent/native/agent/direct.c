/*
 * The direct address of a listener (transfer_url of ready): transfers are opened there, past the edge, with a key of their own and
 * never with the device token. What does not work there is opened at the device's own server; when that works, or answers where the
 * address said nothing, the address is left alone: for a rest that doubles, or until there is another key.
 */
#include <string.h>

#include "agent.h"

/* A listener that can be reached is reached soon. */
#define CONNECT_MS 3000
/* Once it has the request it may have joined the visitor, who is lost with it; the dial deadline must leave room for the other way. */
#define ANSWER_MS 8000

void direct_ready(const agent *a, link_control *c) {
  const cv_message *ready = &c->control.message;
  direct_address *direct = &c->direct;
  direct->known = 0;
  if (ready->transfer_url.length == 0 || ready->transfer_key.length == 0 || ready->transfer_key.length >= sizeof direct->key) return;
  if (parse_transfer_url(ready->transfer_url.at, &direct->url, direct->prefix) != 0 || !is_token(ready->transfer_key.at)) return;
  if (c->stream.secure && !direct->url.secure) return; /* it would be less safe than this connection */
  if (direct->url.secure && options_tls(a->options, c->why, sizeof c->why) != 0) return;
  direct->use_proxy = proxy_for(a->options, &direct->url, &direct->proxy);
  if (direct->use_proxy < 0) return;
  memcpy(direct->key, ready->transfer_key.at, ready->transfer_key.length + 1);
  direct->known = 1;
}

/* Whether it is the one that failed last. */
static int has_failed(const agent *a, const direct_address *direct) {
  return strcmp(a->avoid_key, direct->key) == 0;
}

int direct_open(agent *a, slot *t, cv_ms now) {
  const link_control *c = control_of(a, t->generation);
  if (c == NULL || !c->direct.known) return 0;
  if (has_failed(a, &c->direct) && !rest_over(&a->avoid, now)) return 0;
  t->direct = c->direct;
  t->way = WAY_DIRECT;
  stream_open(&t->remote, t->direct.url.host, t->direct.url.port, t->direct.use_proxy ? &t->direct.proxy : NULL, t->direct.url.secure,
              now, CONNECT_MS);
  return 1;
}

/* Whether it gives no transfer: no answer in time, or a refusal; but that of a listener which asks to wait is its own word. */
int direct_fails(const slot *t, cv_ms now) {
  const cv_link *link = &t->transfer.link;
  if (t->way != WAY_DIRECT || t->opened) return 0;
  if (t->state == SLOT_OPENING) return t->remote.state == STREAM_FAILED;
  if (link->refused && link->in.response.status == 429) return 0;
  return cv_transfer_gone(&t->transfer) || now - t->since >= ANSWER_MS;
}

/* The attempt there is over; to be called while it still says how. */
void direct_given_up(slot *t) {
  t->way = health_is_answer(t) ? WAY_AFTER_ANSWER : WAY_AFTER_SILENCE;
}

/*
 * What is held against the address after a transfer. Nothing, when it was opened there. Otherwise it depends on what the server made of
 * the transfer next. When it opened it, the address is what is wrong; and when it refused where the address said nothing: that may have
 * cost so long that the server does not know the dial any more.
 */
void direct_judge(agent *a, const slot *t, cv_ms now) {
  if (t->way == WAY_DIRECT && t->opened && has_failed(a, &t->direct)) memset(&a->avoid, 0, sizeof a->avoid);
  if (t->way != WAY_AFTER_ANSWER && t->way != WAY_AFTER_SILENCE) return;
  if (!t->opened && !(t->way == WAY_AFTER_SILENCE && health_is_answer(t))) return;
  if (!has_failed(a, &t->direct)) {
    strcpy(a->avoid_key, t->direct.key);
    memset(&a->avoid, 0, sizeof a->avoid);
  }
  rest_begin(&a->avoid, now);
}
