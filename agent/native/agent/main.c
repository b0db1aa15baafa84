#include <stdio.h>
#include <stdlib.h>

#include "agent.h"
#include "enrol.h"

/* Transfers that are closing keep their memory for a while, beside those that have visitors. */
static size_t slots_for(uint32_t transfers) {
  return transfers + transfers / 4 + 4;
}

/* An eighth of the machine's memory at most, should all transfers be busy at once. */
static size_t room_for(size_t slots) {
  size_t room = ROOM_MOST;
  while (room > ROOM_LEAST && (uint64_t)slots * 2 * room > os_memory() / 8) room /= 2;
  return room;
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
  self.room = room_for(self.slot_count);
  self.slots = (slot *)calloc(self.slot_count, sizeof *self.slots);
  self.buffers = (uint8_t *)calloc(self.slot_count, 2 * self.room + CV_HEADROOM);
  self.fds = (os_pollfd *)calloc(2 * self.slot_count + 4, sizeof *self.fds);
  if (self.slots == NULL || self.buffers == NULL || self.fds == NULL) {
    fprintf(stderr, "culvert-agent: there is not enough memory for --max-transfers %u\n", (unsigned)chosen.transfers);
    return EXIT_FAILED;
  }
  return agent_run(&self);
}
