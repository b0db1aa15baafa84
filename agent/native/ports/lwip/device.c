#include "device.h"

#include <string.h>

#include "board.h"
#include "lwip_internal.h"

void cv_lwip_init(cv_lwip *device, const cv_lwip_config *config, cv_ms now) {
  static const char digits[] = "0123456789abcdef";
  uint8_t random[12];
  unsigned i;
  memset(device, 0, sizeof *device);
  device->config = config;
  device->current = -1;
  device->due = now == 0 ? 1 : now;
  cv_backoff_init(&device->backoff);
  board_random(NULL, random, sizeof random);
  for (i = 0; i < sizeof random; i++) {
    device->boot[2 * i] = digits[random[i] >> 4];
    device->boot[2 * i + 1] = digits[random[i] & 15];
  }
}

void cv_lwip_poll(cv_lwip *device, cv_ms now) {
  controls_poll(device, now);
  transfers_poll(device, now);
}
