#include <stdio.h>
#include <stdlib.h>

#include "agent.h"
#include "enrol.h"

/* Transfers that are closing keep their memory for a while, beside those that have visitors. */
static size_t slots_for(uint32_t transfers) {
  return transfers + transfers / 4 + 4;
}

int main(int argc, char **argv) {
  static options chosen;
  static agent self;
  int code = os_start() != 0 ? EXIT_FAILED : options_read(&chosen, argc, argv);
  if (code >= 0) return code;
  code = enrol(&chosen);
  if (code >= 0) return code;
  if (chosen.service) os_log_open("culvert-agent");
  self.options = &chosen;
  self.slot_count = slots_for(chosen.transfers);
  /* All the memory there will be, TLS aside; pages that no transfer has touched yet are not resident. */
  self.slots = (slot *)calloc(self.slot_count, sizeof *self.slots);
  self.fds = (os_pollfd *)calloc(2 * self.slot_count + 4, sizeof *self.fds);
  if (self.slots == NULL || self.fds == NULL) {
    fprintf(stderr, "culvert-agent: there is not enough memory for --max-transfers %u\n", (unsigned)chosen.transfers);
    return EXIT_FAILED;
  }
  return agent_run(&self);
}
