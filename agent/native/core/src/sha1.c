#include <string.h>

#include "culvert/http.h"

static uint32_t rotate(uint32_t word, unsigned by) {
  return word << by | word >> (32 - by);
}

/* FIPS 180-4, with the schedule kept in a ring of 16 words. */
static void block(uint32_t state[5], const uint8_t *bytes) {
  uint32_t w[16];
  uint32_t a = state[0];
  uint32_t b = state[1];
  uint32_t c = state[2];
  uint32_t d = state[3];
  uint32_t e = state[4];
  unsigned i;
  for (i = 0; i < 16; i++) {
    w[i] = (uint32_t)bytes[4 * i] << 24 | (uint32_t)bytes[4 * i + 1] << 16 | (uint32_t)bytes[4 * i + 2] << 8 | bytes[4 * i + 3];
  }
  for (i = 0; i < 80; i++) {
    uint32_t f;
    uint32_t next;
    if (i >= 16) w[i & 15] = rotate(w[(i + 13) & 15] ^ w[(i + 8) & 15] ^ w[(i + 2) & 15] ^ w[i & 15], 1);
    if (i < 20) {
      f = ((b & c) | (~b & d)) + 0x5a827999u;
    } else if (i < 40) {
      f = (b ^ c ^ d) + 0x6ed9eba1u;
    } else if (i < 60) {
      f = ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdcu;
    } else {
      f = (b ^ c ^ d) + 0xca62c1d6u;
    }
    next = rotate(a, 5) + f + e + w[i & 15];
    e = d;
    d = c;
    c = rotate(b, 30);
    b = a;
    a = next;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
}

void cv_sha1(const uint8_t *bytes, size_t length, uint8_t digest[20]) {
  uint32_t state[5] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u};
  uint8_t last[64];
  uint64_t bits = (uint64_t)length * 8;
  size_t left = length;
  unsigned i;
  for (; left >= 64; left -= 64, bytes += 64) block(state, bytes);
  memset(last, 0, sizeof last);
  if (left > 0) memcpy(last, bytes, left);
  last[left] = 0x80;
  if (left >= 56) {
    block(state, last);
    memset(last, 0, sizeof last);
  }
  for (i = 0; i < 8; i++) last[56 + i] = (uint8_t)(bits >> (56 - 8 * i));
  block(state, last);
  for (i = 0; i < 20; i++) digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}
