/* All transfers of the agent: dials, the cap, and the connections that they need. Memory was taken at start. */
#include <stdio.h>
#include <string.h>

#include "agent.h"

/* What is not declared is for operators only, and only where the options allow it. */
const mapping *mapping_of(const agent *a, uint16_t port, cv_text visitor) {
  static const char operators[] = "operator:";
  size_t i;
  for (i = 0; i < a->options->mapping_count; i++) {
    if (a->options->mappings[i].port.port == port) return &a->options->mappings[i];
  }
  if (visitor.length < sizeof operators - 1 || memcmp(visitor.at, operators, sizeof operators - 1) != 0) return NULL;
  for (i = 0; i < a->options->forward_count; i++) {
    if (a->options->forwards[i].port.port == port) return &a->options->forwards[i];
  }
  return NULL;
}

size_t slots_with_visitor(const agent *a) {
  size_t count = 0;
  size_t i;
  for (i = 0; i < a->slots_end; i++) count += a->slots[i].state != SLOT_FREE && a->slots[i].has_visitor != 0;
  return count;
}

void slot_free(slot *t) {
  stream_reset(&t->local);
  stream_close(&t->remote);
  t->state = SLOT_FREE;
  t->has_visitor = 0;
  t->carrier = NULL;
}

/* A free one; else the one that has been closing the longest, whose visitor is over. NULL: all have visitors. */
slot *slot_take(agent *a, cv_ms now) {
  slot *taken = NULL;
  size_t i;
  for (i = 0; i < a->slot_count; i++) {
    slot *t = &a->slots[i];
    if (t->state == SLOT_FREE) {
      taken = t;
      break;
    }
    if (t->state == SLOT_CLOSING && (taken == NULL || t->since < taken->since)) taken = t;
  }
  if (taken == NULL) return NULL;
  if (taken->state != SLOT_FREE) slot_free(taken);
  taken->rated_at = 0;
  taken->rated_from = 0;
  if (taken >= a->slots + a->slots_end) a->slots_end = (size_t)(taken - a->slots) + 1;
  taken->room = a->room;
  taken->in = a->buffers + (size_t)(taken - a->slots) * (2 * a->room + CV_HEADROOM);
  taken->up = taken->in + a->room;
  taken->opened = 0;
  taken->way = WAY_SERVER;
  taken->warm = taken->canary = taken->has_visitor = taken->up_eof = 0;
  taken->watched = 0;
  taken->again = 1;
  taken->down_length = taken->in_from = taken->in_to = taken->up_from = taken->up_to = 0;
  taken->since = now;
  stream_init(&taken->local);
  stream_init(&taken->remote);
  return taken;
}

static int is_running(const agent *a, cv_text id) {
  size_t i;
  for (i = 0; i < a->slots_end; i++) {
    const slot *t = &a->slots[i];
    if (t->state != SLOT_FREE && t->has_visitor && strlen(t->id) == id.length && memcmp(t->id, id.at, id.length) == 0) return 1;
  }
  return 0;
}

static void open_at_server(agent *a, slot *t, cv_ms now) {
  const server_url *server = &a->options->servers[t->server];
  stream_open(&t->remote, server->host, server->port, a->options->use_proxy[t->server] ? &a->options->proxies[t->server] : NULL,
              server->secure, now, CV_HANDSHAKE_MS);
}

void slot_open_remote(agent *a, slot *t, cv_ms now) {
  t->state = SLOT_OPENING;
  t->since = t->dialled_at = now;
  if (!direct_open(a, t, now)) open_at_server(a, t, now);
}

void slot_fall_back(agent *a, slot *t, cv_ms now) {
  direct_given_up(t);
  stream_close(&t->remote);
  t->state = SLOT_OPENING;
  t->since = now;
  t->in_from = t->in_to = 0;
  open_at_server(a, t, now);
}

void on_dial(agent *a, link_control *c, cv_ms now) {
  static const char prefix[] = "/v1/transfer/";
  const cv_message *dial = &c->control.message;
  const mapping *m = mapping_of(a, dial->port, dial->visitor);
  slot *t;
  if (is_running(a, dial->id)) return; /* asked twice, by both connections of a move for instance */
  if (dial->path.length < sizeof prefix || memcmp(dial->path.at, prefix, sizeof prefix - 1) != 0) return;
  if (m == NULL && !dial->canary) {
    cv_control_refuse(&c->control, dial->id, CV_NOT_ALLOWED);
    return;
  }
  if (a->stopping || slots_with_visitor(a) >= a->options->transfers) {
    cv_control_refuse(&c->control, dial->id, CV_BUSY);
    return;
  }
  if (slots_with_visitor(a) + warm_waiting(a) >= a->options->transfers) warm_give_up_one(a, now);
  t = slot_take(a, now);
  if (t == NULL) {
    cv_control_refuse(&c->control, dial->id, CV_BUSY);
    return;
  }
  memcpy(t->id, dial->id.at, dial->id.length + 1);
  memcpy(t->path, dial->path.at, dial->path.length + 1);
  strcpy(t->token, c->token);
  t->generation = c->generation;
  t->server = c->server;
  t->port = dial->port;
  t->canary = dial->canary;
  t->has_visitor = 1;
  if (t->canary) {
    slot_open_remote(a, t, now);
    return;
  }
  t->state = SLOT_LOCAL;
  stream_open(&t->local, m->host, m->target, NULL, 0, now, LOCAL_MS);
  if (c->control.inlined == 0) warm_dialled(a, t->path, now);
}

static cv_code code_of(const stream *local) {
  return local->failure == OS_TIMEOUT ? CV_LOCAL_TIMEOUT : CV_LOCAL_REFUSED;
}

/* Whether the control connection of a dial carries transfers itself. */
static int is_inline(agent *a, const slot *t) {
  const link_control *c = control_of(a, t->generation);
  return c != NULL && c->control.inlined > 0;
}

/* The local target is there, or is not. */
static void pump_local(agent *a, slot *t, cv_ms now) {
  stream_step(&t->local, now);
  if (t->local.state == STREAM_OPEN) {
    os_reset_at_death(t->local.socket);
    if (t->warm) {
      t->state = SLOT_RUNNING;
      cv_transfer_accept(&t->transfer, now);
    } else if (is_inline(a, t)) {
      t->state = SLOT_CHANNEL;
      t->since = now;
      inline_pump(a, t, now);
    } else {
      slot_open_remote(a, t, now);
    }
  } else if (t->local.state == STREAM_FAILED) {
    t->refusal = code_of(&t->local);
    stream_reset(&t->local);
    if (t->warm) {
      t->state = SLOT_RUNNING;
      t->has_visitor = 0;
      cv_transfer_refuse(&t->transfer, t->refusal, now);
      tell_transfer(a, t->id, t->port, cv_code_word(t->refusal), 0, 0);
    } else {
      t->state = SLOT_REFUSE;
    }
  }
}

static void pump_refusal(agent *a, slot *t, cv_ms now) {
  link_control *c = control_of(a, t->generation);
  cv_text id = {t->id, strlen(t->id)};
  if (c != NULL && cv_control_refuse(&c->control, id, t->refusal) == CV_ESPACE && now - t->since < CV_HANDSHAKE_MS) return;
  a->busy = 1; /* the control connection has something to send */
  tell_transfer(a, t->id, t->port, cv_code_word(t->refusal), 0, 0);
  slot_free(t);
  warm_visited(a, now);
}

static void start_transfer(agent *a, slot *t, cv_ms now) {
  cv_link_config config;
  link_control *c = control_of(a, t->generation);
  const char *authority = a->options->servers[t->server].authority;
  const char *token = t->token;
  char target[CV_PATH_MAX + 258];
  int failed;
  memset(&config, 0, sizeof config);
  config.random.fill = os_random;
  config.encrypted = t->remote.secure;
  config.scratch = t->scratch;
  config.scratch_size = sizeof t->scratch;
  if (t->way == WAY_DIRECT) {
    authority = t->direct.url.authority;
    token = t->direct.key;
    snprintf(target, sizeof target, "%s%s", t->direct.prefix, t->path);
  } else {
    snprintf(target, sizeof target, "%s", t->path);
  }
  failed = cv_transfer_start(&t->transfer, &config, t->warm, c == NULL ? 30000 : c->control.heartbeat_ms, authority, target, token,
                             (char *)t->up, t->room, now);
  t->state = SLOT_RUNNING;
  if (failed != CV_OK) {
    if (t->has_visitor && !t->canary) tell_transfer(a, t->id, t->port, "internal", 0, 0);
    slot_free(t);
  }
}

static void pump_opening(agent *a, slot *t, cv_ms now) {
  stream_step(&t->remote, now);
  if (t->remote.state == STREAM_OPEN) {
    start_transfer(a, t, now);
    if (t->state == SLOT_RUNNING) transfer_pump(a, t, now);
  } else if (direct_fails(t, now)) {
    slot_fall_back(a, t, now);
  } else if (t->remote.state == STREAM_FAILED) {
    health_failed(a, t, now);
    if (t->warm) {
      warm_refused(a, t, now);
    } else if (!t->canary) {
      tell_transfer(a, t->id, t->port, "peer_reset", 0, 0);
    }
    slot_free(t);
  }
}

void slot_pump(agent *a, slot *t, cv_ms now) {
  switch (t->state) {
    case SLOT_FREE:
      break;
    case SLOT_LOCAL:
      pump_local(a, t, now);
      if (t->warm) transfer_pump(a, t, now);
      break;
    case SLOT_REFUSE:
      pump_refusal(a, t, now);
      break;
    case SLOT_CHANNEL:
    case SLOT_INLINE:
      inline_pump(a, t, now);
      break;
    case SLOT_OPENING:
      pump_opening(a, t, now);
      break;
    case SLOT_RUNNING:
    case SLOT_CLOSING:
      transfer_pump(a, t, now);
      break;
  }
}

size_t watch_stream(os_pollfd *fds, size_t count, const stream *s, short events) {
  if (events == 0 || s->socket == OS_NO_SOCKET) return count;
  fds[count].fd = s->socket;
  fds[count].events = events;
  fds[count].revents = 0;
  return count + 1;
}

size_t slot_watch(os_pollfd *fds, size_t count, slot *t) {
  const uint8_t *bytes;
  size_t length = 0;
  int live = t->state == SLOT_RUNNING || t->state == SLOT_CLOSING || (t->state == SLOT_LOCAL && t->warm);
  t->watched_at = count;
  if (live) cv_transfer_output(&t->transfer, &bytes, &length);
  count = watch_stream(fds, count, &t->remote, stream_events(&t->remote, live && t->in_to == 0 && t->down_length == 0, length > 0));
  if (t->state == SLOT_INLINE) {
    count = watch_stream(fds, count, &t->local, stream_events(&t->local, !t->up_eof && t->up_to == 0, t->in_to > 0));
  } else {
    count = watch_stream(fds, count, &t->local,
                         stream_events(&t->local, t->state == SLOT_RUNNING && !t->up_eof && cv_transfer_can_send(&t->transfer),
                                       t->state == SLOT_RUNNING && t->down_length > 0));
  }
  t->watched = count - t->watched_at;
  return count;
}

int slot_is_due(const os_pollfd *fds, const slot *t) {
  size_t i;
  if (t->again || (t->state != SLOT_RUNNING && t->state != SLOT_CLOSING)) return 1;
  for (i = 0; i < t->watched; i++) {
    if (fds[t->watched_at + i].revents != 0) return 1;
  }
  return 0;
}

/* The agent stops without waiting: running transfers are reset. */
void slots_abort(agent *a, cv_ms now) {
  size_t i;
  for (i = 0; i < a->slots_end; i++) {
    slot *t = &a->slots[i];
    if (t->state == SLOT_FREE || t->lent) continue;
    if (t->state == SLOT_INLINE) {
      inline_abort(a, t, now);
    } else if (t->state == SLOT_RUNNING || (t->state == SLOT_LOCAL && t->warm)) {
      cv_transfer_cut(&t->transfer, CV_WIND_DOWN, now);
      transfer_pump(a, t, now);
    } else if (t->has_visitor && t->state != SLOT_CLOSING) {
      tell_transfer(a, t->id, t->port, cv_code_word(CV_WIND_DOWN), 0, 0);
    }
    if (t->state != SLOT_FREE) slot_free(t);
  }
}
