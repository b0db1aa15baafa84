/*
 * The local target of the demo: a web server in memory.
 *
 *   GET /         a page with a counter that goes on while the device lives
 *   GET /ram      memory figures, as JSON
 *   GET /pattern  100,000 bytes: the byte at n is n * 31 + n / 256, modulo 256
 */
#ifndef PAGE_H
#define PAGE_H

#include "device.h"

#define PAGE_PATTERN_BYTES 100000u

extern const cv_lwip_target page_target;

/* One step of the counter. */
void page_count(void);

#endif
