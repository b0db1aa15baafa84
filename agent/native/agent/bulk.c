/*
 * What moves much is moved by a second loop, in a thread of its own: in the first one all others would wait for it, and the system gives a
 * thread that never rests its turn late.
 *
 *   first loop --BULK_BYTES within BULK_MS--> second loop --its visitor is over, slow, or the agent stops--> first loop
 *
 * A slot that is lent belongs to the second loop, but for what neither loop changes meanwhile: state, has_visitor, warm, opened, id, port.
 * Of everything else the second loop touches only `bulk` below, under the lock.
 */
#include <stdlib.h>

#include "agent.h"

#define BULK_BYTES (1024 * 1024)
#define BULK_MS 100
/* What moves less than this within BULK_MS goes back: well below BULK_BYTES, so that nothing goes to and fro. */
#define SLOW_BYTES (128 * 1024)
/* How long the first loop waits for what it wants back. The second one never waits for anybody, so it is there in milliseconds. */
#define RECALL_MS 1000

typedef enum second_loop { NOT_YET, RUNS, IS_NONE } second_loop;

static struct {
  second_loop loop;
  os_pollfd *fds; /* of the second loop, room for all slots and its wake */
  slot *coming;
  slot *back;
  int recalled; /* all are wanted back, for good */
  size_t lent;  /* of the first loop */
} bulk;

static uint64_t moved(const slot *t) {
  return t->transfer.to_device + t->transfer.to_visitor;
}

static void rate_from_now(slot *t, cv_ms now) {
  t->rated_at = now;
  t->rated_from = moved(t);
}

static int is_slow(slot *t, cv_ms now) {
  int slow;
  if (now - t->rated_at < BULK_MS) return 0;
  slow = moved(t) - t->rated_from < SLOW_BYTES;
  rate_from_now(t, now);
  return slow;
}

static slot *take_coming(slot *mine, int *recalled) {
  cv_ms now = os_now();
  slot *t;
  os_second_lock();
  t = bulk.coming;
  bulk.coming = NULL;
  *recalled = bulk.recalled;
  os_second_unlock();
  while (t != NULL) {
    slot *next = t->next;
    rate_from_now(t, now);
    t->again = 1;
    t->next = mine;
    mine = t;
    t = next;
  }
  return mine;
}

static void give_back(slot *t) {
  os_second_lock();
  t->next = bulk.back;
  bulk.back = t;
  os_second_unlock();
  os_rouse();
}

static void run(void) {
  slot *mine = NULL;
  for (;;) {
    size_t count = 0;
    int busy = 0;
    int recalled;
    cv_ms now;
    slot *t;
    slot **at = &mine;
    mine = take_coming(mine, &recalled);
    for (t = mine; t != NULL; t = t->next) {
      count = slot_watch(bulk.fds, count, t);
      busy |= t->again;
    }
    os_second_poll(bulk.fds, count, busy || recalled ? 0 : mine != NULL ? BULK_MS : -1);
    now = os_now();
    while ((t = *at) != NULL) {
      int due = slot_is_due(bulk.fds, t);
      t->again = 0;
      if ((!due || transfer_carry(t, now)) && !recalled && !is_slow(t, now)) {
        at = &t->next;
      } else {
        *at = t->next;
        give_back(t);
      }
    }
    if (recalled) return;
  }
}

static int begin(const agent *a) {
  bulk.fds = (os_pollfd *)calloc(2 * a->slot_count + 1, sizeof *bulk.fds);
  bulk.loop = bulk.fds != NULL && os_second_start(run) == 0 ? RUNS : IS_NONE;
  return bulk.loop == RUNS;
}

void bulk_consider(agent *a, slot *t, cv_ms now) {
  int much;
  if (t->state != SLOT_RUNNING || t->transfer.state != CV_TRANSFER_SERVING || a->stopping || bulk.loop == IS_NONE) return;
  much = moved(t) >= t->rated_from && moved(t) - t->rated_from >= BULK_BYTES;
  if (moved(t) < t->rated_from || now - t->rated_at >= BULK_MS) rate_from_now(t, now);
  if (!much || (t->remote.tls != NULL && !tls_in_threads()) || (bulk.loop == NOT_YET && !begin(a))) return;
  t->lent = 1;
  bulk.lent++;
  os_second_lock();
  t->next = bulk.coming;
  bulk.coming = t;
  os_second_unlock();
  os_second_rouse();
}

void bulk_take_back(agent *a) {
  slot *t;
  if (bulk.lent == 0) return;
  os_second_lock();
  t = bulk.back;
  bulk.back = NULL;
  os_second_unlock();
  for (; t != NULL; t = t->next) {
    t->lent = 0;
    t->again = a->busy = 1;
    rate_from_now(t, os_now());
    bulk.lent--;
  }
}

void bulk_recall(agent *a) {
  cv_ms until = os_now() + RECALL_MS;
  if (bulk.loop != RUNS) return;
  os_second_lock();
  bulk.recalled = 1;
  os_second_unlock();
  os_second_rouse();
  bulk.loop = IS_NONE;
  bulk_take_back(a);
  while (bulk.lent > 0 && os_now() < until) {
    os_poll(a->fds, 0, 10);
    bulk_take_back(a);
  }
}
