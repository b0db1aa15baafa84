#include "culvert/frame.h"

/* Length of a sequence by its first byte, and the range of its second byte, which excludes overlong forms and surrogates. */
static size_t sequence(uint8_t first, uint8_t *low, uint8_t *high) {
  *low = 0x80;
  *high = 0xbf;
  if (first < 0x80) return 1;
  if (first < 0xc2) return 0;
  if (first < 0xe0) return 2;
  if (first < 0xf0) {
    if (first == 0xe0) *low = 0xa0;
    if (first == 0xed) *high = 0x9f;
    return 3;
  }
  if (first > 0xf4) return 0;
  if (first == 0xf0) *low = 0x90;
  if (first == 0xf4) *high = 0x8f;
  return 4;
}

int cv_utf8_valid(const uint8_t *bytes, size_t length) {
  size_t at = 0;
  while (at < length) {
    uint8_t low;
    uint8_t high;
    size_t count = sequence(bytes[at], &low, &high);
    size_t i;
    if (count == 0 || count > length - at) return 0;
    for (i = 1; i < count; i++) {
      if (bytes[at + i] < low || bytes[at + i] > high) return 0;
      low = 0x80;
      high = 0xbf;
    }
    at += count;
  }
  return 1;
}
