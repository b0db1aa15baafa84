/*
 * How often something is tried that may mend nothing: at once, the next time after a rest, then after twice that rest, and so on.
 * A control connection that is ended for want of transfers (health.c) must not flap, and each try of a direct address that gives no
 * transfer (direct.c) may cost a visitor seconds.
 */
#include "agent.h"

/* From a minute to about an hour. */
#define REST_MS 60000
#define MOST_DOUBLINGS 6

int rest_over(const doubling_rest *rest, cv_ms now) {
  return now >= rest->not_before;
}

/* Begins the next rest, unless the last one is not over, and says whether it did. */
int rest_begin(doubling_rest *rest, cv_ms now) {
  if (!rest_over(rest, now)) return 0;
  rest->not_before = now + ((cv_ms)REST_MS << (rest->times < MOST_DOUBLINGS ? rest->times : MOST_DOUBLINGS));
  rest->times++;
  return 1;
}
