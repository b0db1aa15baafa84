#include "culvert/backoff.h"

#include <string.h>

enum {
  BASE_MS = 1000,
  CAP_MS = 60000,
  STABLE_MS = 60000,
  NAME_IN_USE_MS = 5000,
  RETRY_AFTER_CAP_MS = 20000
};

void cv_backoff_init(cv_backoff *backoff) {
  memset(backoff, 0, sizeof *backoff);
  backoff->previous_ms = BASE_MS;
}

/* random / 2^32 of a number. */
static uint32_t share(uint64_t of, uint32_t random) {
  return (uint32_t)(of * random >> 32);
}

static uint32_t at_most(uint64_t value, uint32_t cap) {
  return value < cap ? (uint32_t)value : cap;
}

static void go_on(cv_backoff *backoff, uint32_t servers) {
  backoff->server = (backoff->server + 1) % servers;
}

/* Uniform between the base and three times the wait before: spreads devices that fell together. */
static uint32_t decorrelated(cv_backoff *backoff, uint32_t random) {
  uint32_t three = backoff->previous_ms * 3;
  backoff->conflicts = 0;
  backoff->previous_ms = at_most(BASE_MS + (uint64_t)share(three > BASE_MS ? three - BASE_MS : 0, random), CAP_MS);
  return backoff->previous_ms;
}

/* For what only a person can mend. */
static uint32_t slowest(cv_backoff *backoff, uint32_t servers, uint32_t random) {
  go_on(backoff, servers);
  backoff->conflicts = 0;
  backoff->previous_ms = CAP_MS;
  return CAP_MS / 4 * 3 + share(CAP_MS, random) / 4;
}

static uint32_t after_refusal(cv_backoff *backoff, const cv_ending *ending, uint32_t servers, uint32_t random) {
  if (ending->code == CV_NAME_IN_USE) {
    uint32_t doublings = backoff->conflicts < 8 ? backoff->conflicts : 8;
    uint32_t pace = at_most((uint64_t)NAME_IN_USE_MS << doublings, CAP_MS);
    backoff->conflicts++; /* the same server: every other would say the same */
    return at_most(pace + (uint64_t)share(pace, random) / 4, CAP_MS);
  }
  if (cv_code_retry(ending->code) != CV_RETRY_YES) return slowest(backoff, servers, random);
  go_on(backoff, servers);
  if (ending->retry_after_ms < 0) return decorrelated(backoff, random);
  backoff->conflicts = 0;
  return at_most((uint64_t)ending->retry_after_ms + share((uint64_t)ending->retry_after_ms, random) / 4, RETRY_AFTER_CAP_MS);
}

uint32_t cv_backoff_next(cv_backoff *backoff, const cv_ending *ending, uint32_t servers, uint32_t random) {
  switch (ending->kind) {
    case CV_ENDED_WIND_DOWN:
      backoff->conflicts = 0;
      return share(ending->reconnect_ms, random);
    case CV_ENDED_LOST:
      if (ending->code != CV_NO_CODE && cv_code_retry(ending->code) == CV_RETRY_SLOW) return slowest(backoff, servers, random);
      if (ending->code == CV_TRANSFERS_DEAD) go_on(backoff, servers); /* what ends them may not stand before another server */
      if (ending->lived_ms >= STABLE_MS) backoff->previous_ms = BASE_MS;
      return decorrelated(backoff, random);
    case CV_ENDED_REFUSED:
      return after_refusal(backoff, ending, servers, random);
    case CV_ENDED_FAILED:
      break;
  }
  go_on(backoff, servers);
  return decorrelated(backoff, random);
}
