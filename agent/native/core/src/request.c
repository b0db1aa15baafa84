#include <string.h>

#include "culvert/http.h"

static const char GUID[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

void cv_base64(const uint8_t *bytes, size_t length, char *out) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t at;
  for (at = 0; at < length; at += 3) {
    size_t left = length - at;
    uint32_t group = (uint32_t)bytes[at] << 16 | (left > 1 ? (uint32_t)bytes[at + 1] << 8 : 0) | (left > 2 ? bytes[at + 2] : 0u);
    *out++ = digits[group >> 18];
    *out++ = digits[group >> 12 & 63];
    *out++ = left > 1 ? digits[group >> 6 & 63] : '=';
    *out++ = left > 2 ? digits[group & 63] : '=';
  }
  *out = '\0';
}

void cv_handshake_key(const uint8_t random[16], char key[CV_KEY_SIZE]) {
  cv_base64(random, 16, key);
}

void cv_handshake_accept(const char *key, char accept[CV_ACCEPT_SIZE]) {
  uint8_t text[CV_KEY_SIZE - 1 + sizeof GUID - 1];
  uint8_t digest[20];
  size_t length = strlen(key);
  if (length > CV_KEY_SIZE - 1) length = CV_KEY_SIZE - 1;
  memcpy(text, key, length);
  memcpy(text + length, GUID, sizeof GUID - 1);
  cv_sha1(text, length + sizeof GUID - 1, digest);
  cv_base64(digest, sizeof digest, accept);
}

/* Text that is being written; `length` is SIZE_MAX once there was no room. */
typedef struct writer {
  char *out;
  size_t size;
  size_t length;
} writer;

static void put(writer *to, const char *text) {
  size_t length = strlen(text);
  if (to->length > to->size || to->size - to->length <= length) { /* one byte is kept for the 0 */
    to->length = SIZE_MAX;
    return;
  }
  memcpy(to->out + to->length, text, length + 1);
  to->length += length;
}

static void put_number(writer *to, uint32_t value) {
  char digits[11];
  size_t at = sizeof digits - 1;
  digits[at] = '\0';
  do {
    digits[--at] = (char)('0' + value % 10);
    value /= 10;
  } while (value > 0);
  put(to, digits + at);
}

static void put_parameter(writer *to, const char *name, uint32_t value) {
  if (value == 0) return;
  put(to, name);
  put_number(to, value);
}

static int finish(const writer *to) {
  return to->length == SIZE_MAX ? CV_ESPACE : (int)to->length;
}

/* No part needs percent-encoding: names, ports and boot have no characters that would. */
int cv_control_target(char *out, size_t size, const cv_device *device) {
  writer to = {NULL, 0, 0};
  size_t i;
  to.out = out;
  to.size = size;
  put(&to, "/v1/control?name=");
  put(&to, device->name);
  for (i = 0; i < device->port_count; i++) {
    cv_scheme scheme = device->ports[i].scheme;
    put(&to, i == 0 ? "&ports=" : ",");
    put(&to, scheme == CV_HTTP ? "http:" : scheme == CV_HTTPS ? "https:" : "tcp:");
    put_number(&to, device->ports[i].port);
  }
  put_parameter(&to, "&warm=", device->warm);
  put_parameter(&to, "&max_frame=", device->max_frame);
  put_parameter(&to, "&transfers=", device->transfers);
  put_parameter(&to, "&inline=", device->inlined);
  if (device->boot != NULL) {
    put(&to, "&boot=");
    put(&to, device->boot);
  }
  return finish(&to);
}

static int is_clean(const char *text) {
  for (; *text != '\0'; text++) {
    if ((unsigned char)*text < 0x20 || *text == 0x7f) return 0;
  }
  return 1;
}

int cv_handshake_request(char *out, size_t size, const char *host, const char *target, const char *token, const char *key) {
  writer to = {NULL, 0, 0};
  to.out = out;
  to.size = size;
  if (!is_clean(host) || !is_clean(target) || !is_clean(token) || strchr(target, ' ') != NULL) return CV_EINVALID;
  put(&to, "GET ");
  put(&to, target);
  put(&to, " HTTP/1.1\r\nHost: ");
  put(&to, host);
  put(&to, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ");
  put(&to, key);
  put(&to, "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: culvert.v1\r\nAuthorization: Bearer ");
  put(&to, token);
  put(&to, "\r\n\r\n");
  return finish(&to);
}
