/*
 * libFuzzer's way into everything that reads what a stranger sends. The first byte chooses the reader, the second the size of the
 * chunks; the rest is what comes. Memory is checked by the sanitizers, the promises of the headers here.
 */
#include <stdlib.h>
#include <string.h>

#include "culvert/culvert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition) \
  if (!(condition)) abort()

static void fill(void *context, uint8_t *out, size_t length) {
  (void)context;
  memset(out, 0x5a, length);
}

static cv_link_config config_of(uint8_t *scratch, size_t scratch_size, uint8_t *out, size_t out_size) {
  cv_link_config config;
  memset(&config, 0, sizeof config);
  config.random.fill = fill;
  config.scratch = scratch;
  config.scratch_size = scratch_size;
  config.out = out;
  config.out_size = out_size;
  config.max_frame = 65536;
  return config;
}

/* The request has a key of 0x5a bytes: the answer to it, so that the fuzzer gets past the handshake. */
static const char UPGRADE[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";

static size_t answer(uint8_t *out, const char *request) {
  char key[CV_KEY_SIZE];
  char accept[CV_ACCEPT_SIZE];
  const char *found = strstr(request, "Sec-WebSocket-Key: ");
  size_t length = sizeof UPGRADE - 1;
  MUST(found != NULL);
  memcpy(key, found + 19, CV_KEY_SIZE - 1);
  key[CV_KEY_SIZE - 1] = '\0';
  cv_handshake_accept(key, accept);
  memcpy(out, UPGRADE, length);
  memcpy(out + length, accept, CV_ACCEPT_SIZE - 1);
  length += CV_ACCEPT_SIZE - 1;
  memcpy(out + length, "\r\nSec-WebSocket-Protocol: culvert.v1\r\n\r\n", 41);
  return length + 41;
}

/* Takes what a link has to say, and checks that a server would understand it. */
static void drain(cv_link *link, cv_parser *server, cv_ms now) {
  const uint8_t *bytes;
  size_t length;
  int frames = 0;
  for (cv_link_output(link, &bytes, &length); length > 0; cv_link_output(link, &bytes, &length)) {
    uint8_t copy[2048];
    size_t count = length > sizeof copy ? sizeof copy : length;
    size_t at = 0;
    memcpy(copy, bytes, count);
    while (server != NULL && at < count) {
      cv_frame frame;
      size_t used;
      int kind = cv_parser_next(server, copy + at, count - at, &used, &frame);
      MUST(kind >= 0);
      at += used;
      if (kind == CV_FRAME_NONE) break;
    }
    cv_link_sent(link, count, now);
    MUST(++frames < 10000);
  }
}

static void fuzz_control(uint8_t *bytes, size_t length, size_t chunk, int skip_handshake) {
  static const cv_port port = {80, CV_HTTP};
  uint8_t scratch[CV_MESSAGE_MAX];
  uint8_t server_scratch[CV_MESSAGE_MAX];
  uint8_t out[CV_OUT_MIN];
  char request[1024];
  uint8_t upgrade[512];
  cv_link_config config = config_of(scratch, sizeof scratch, out, sizeof out);
  cv_parser server;
  cv_control control;
  cv_device device;
  cv_channel channels[2];
  cv_inline table;
  cv_ending ending;
  cv_frame frame;
  size_t used;
  cv_ms now = 1;
  memset(&device, 0, sizeof device);
  device.name = "a";
  device.ports = &port;
  device.port_count = 1;
  device.inlined = 2;
  cv_inline_init(&table, CV_CLIENT, channels, 2);
  MUST(cv_inline_open(&table, 0, 1000) == CV_OK);
  MUST(cv_control_start(&control, &config, &device, "h", "t", request, sizeof request, now) == CV_OK);
  drain(&control.link, NULL, now);
  cv_parser_init(&server, CV_SERVER, 0, server_scratch, sizeof server_scratch);
  if (skip_handshake) cv_control_input(&control, upgrade, answer(upgrade, request), now, &used, &frame);
  while (length > 0) {
    size_t left = chunk < length ? chunk : length;
    size_t given = left;
    now += 100;
    while (left > 0) {
      cv_control_event event = cv_control_input(&control, bytes, left, now, &used, &frame);
      MUST(used <= left);
      bytes += used;
      left -= used;
      if (event == CV_CONTROL_INLINE) {
        cv_inline_event heard;
        size_t at = 0;
        int kind = CV_INLINE_NONE;
        while (at < frame.length && kind >= 0) {
          size_t count;
          kind = cv_inline_input(&table, frame.bytes + at, frame.length - at, control.total, control.offset + at, &count, &heard);
          at += count;
          MUST(kind < 0 || heard.channel < 2);
        }
        if (kind < 0) cv_control_fail_inline(&control, kind, now);
      }
      if (event == CV_CONTROL_DIAL) cv_control_refuse(&control, control.message.id, CV_BUSY);
      if (event == CV_CONTROL_NONE && used == 0) drain(&control.link, &server, now);
    }
    length -= given;
    cv_control_tick(&control, now);
    drain(&control.link, &server, now);
  }
  cv_control_ending(&control, now, &ending);
  MUST(ending.code > CV_NO_CODE && ending.code < CV_CODES);
}

static void fuzz_transfer(uint8_t *bytes, size_t length, size_t chunk, int warm) {
  uint8_t scratch[CV_MESSAGE_MAX];
  uint8_t server_scratch[CV_MESSAGE_MAX];
  uint8_t up[CV_HEADROOM + 64];
  char request[1024];
  uint8_t upgrade[512];
  cv_link_config config = config_of(scratch, warm ? sizeof scratch : CV_SCRATCH_MIN, NULL, 0);
  cv_parser server;
  cv_transfer transfer;
  cv_frame frame;
  size_t used;
  cv_ms now = 1;
  MUST(cv_transfer_start(&transfer, &config, warm, 10000, "h", "/v1/transfer/l/d", "t", request, sizeof request, now) == CV_OK);
  drain(&transfer.link, NULL, now);
  cv_parser_init(&server, CV_SERVER, 0, server_scratch, sizeof server_scratch);
  MUST(cv_transfer_input(&transfer, upgrade, answer(upgrade, request), now, &used, &frame) == CV_TRANSFER_OPENED);
  while (length > 0) {
    size_t left = chunk < length ? chunk : length;
    size_t given = left;
    int turns = 0;
    now += 1000;
    while (left > 0 && turns++ < 100000) {
      cv_transfer_event event = cv_transfer_input(&transfer, bytes, left, now, &used, &frame);
      MUST(used <= left);
      bytes += used;
      left -= used;
      if (event == CV_TRANSFER_DATA) {
        MUST(frame.bytes + frame.length <= bytes && transfer.state == CV_TRANSFER_SERVING);
        cv_transfer_taken(&transfer, frame.length, now);
        if (cv_transfer_can_send(&transfer)) {
          size_t back = frame.length < sizeof up - CV_HEADROOM ? frame.length : sizeof up - CV_HEADROOM;
          memcpy(up + CV_HEADROOM, frame.bytes, back);
          cv_transfer_send(&transfer, up + CV_HEADROOM, back, now);
        }
      }
      if (event == CV_TRANSFER_END) {
        cv_transfer_down_ended(&transfer, now);
        if (cv_transfer_can_send(&transfer)) cv_transfer_up_ended(&transfer, now);
      }
      if (event == CV_TRANSFER_ASSIGN && (transfer.message.port & 1) != 0) cv_transfer_refuse(&transfer, CV_NOT_ALLOWED, now);
      if (event == CV_TRANSFER_ASSIGN && (transfer.message.port & 1) == 0) cv_transfer_accept(&transfer, now);
      if (event == CV_TRANSFER_NONE && used == 0) break;
    }
    bytes += left;
    length -= given;
    cv_transfer_tick(&transfer, now);
    drain(&transfer.link, &server, now);
  }
}

static void fuzz_response(const uint8_t *bytes, size_t length, size_t chunk) {
  char line[256];
  cv_response response;
  int result = CV_ANSWER_MORE;
  cv_response_init(&response, "dGhlIHNhbXBsZSBub25jZQ==", line, sizeof line);
  while (length > 0 && result == CV_ANSWER_MORE) {
    size_t used;
    size_t given = chunk < length ? chunk : length;
    result = cv_response_push(&response, bytes, given, &used);
    MUST(used <= given && (result != CV_ANSWER_MORE || used == given));
    bytes += used;
    length -= used;
  }
  cv_response_end(&response);
  MUST(cv_response_message(&response).length <= sizeof line);
}

static void fuzz_message(uint8_t *bytes, size_t length) {
  cv_message message;
  const char *fault = NULL;
  int result = cv_message_read((char *)bytes, length, &message, &fault);
  MUST((result == CV_OK) == (fault == NULL));
  MUST(message.id.length <= CV_ID_MAX && message.path.length <= CV_PATH_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t *copy;
  size_t chunk;
  if (size < 2) return 0;
  chunk = data[1] == 0 ? size : data[1];
  copy = (uint8_t *)malloc(size - 2 + 1); /* of its own, so that the sanitizer sees its end */
  MUST(copy != NULL);
  memcpy(copy, data + 2, size - 2);
  switch (data[0] % 6) {
    case 0:
      fuzz_control(copy, size - 2, chunk, 1);
      break;
    case 1:
      fuzz_transfer(copy, size - 2, chunk, 0);
      break;
    case 2:
      fuzz_transfer(copy, size - 2, chunk, 1);
      break;
    case 3:
      fuzz_response(copy, size - 2, chunk);
      break;
    case 4:
      fuzz_message(copy, size - 2);
      break;
    default:
      fuzz_control(copy, size - 2, chunk, 0);
  }
  free(copy);
  return 0;
}
