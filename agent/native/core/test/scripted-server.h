/* The server of machines.c: what it was sent, what it says, and a clock that only the script moves. */
#ifndef CULVERT_SCRIPTED_SERVER_H
#define CULVERT_SCRIPTED_SERVER_H

#include <stdio.h>
#include <string.h>

#include "culvert/culvert.h"

static int failures;
static const char *running;

#define CHECK(condition)                                                  \
  do {                                                                    \
    if (!(condition)) {                                                   \
      failures++;                                                         \
      printf("FAILED %s: line %d: %s\n", running, __LINE__, #condition);  \
    }                                                                     \
  } while (0)

static uint32_t seed = 1;

/* Good enough to see that masks differ. */
static void fill(void *context, uint8_t *out, size_t length) {
  (void)context;
  while (length-- > 0) {
    seed = seed * 1664525u + 1013904223u;
    *out++ = (uint8_t)(seed >> 24);
  }
}

static uint8_t scratch[CV_MESSAGE_MAX];
static uint8_t small_out[CV_CONTROL_OUT];
static char request[2048];
static uint8_t sent[1 << 16]; /* what the server was sent, unmasked by its own parser */
static size_t sent_length;
static cv_control control;
static cv_transfer transfer;
static char heard[4096]; /* events, one word each */
static cv_ms now;

static void hear(const char *event) {
  strcat(heard, event);
  strcat(heard, " ");
}

static cv_link_config config_of(int encrypted) {
  cv_link_config config;
  memset(&config, 0, sizeof config);
  config.random.fill = fill;
  config.encrypted = encrypted;
  config.max_frame = 65536;
  config.scratch = scratch;
  config.scratch_size = sizeof scratch;
  config.out = small_out;
  config.out_size = sizeof small_out;
  return config;
}

static void begin(const char *name) {
  running = name;
  heard[0] = '\0';
  sent_length = 0;
  now = 1000000;
}

/* Takes all output, `step` bytes at a time, and keeps it as the server reads it: frames as text. */
static void drain(cv_link *link, size_t step) {
  for (;;) {
    const uint8_t *bytes;
    size_t length;
    cv_link_output(link, &bytes, &length);
    if (length == 0) return;
    if (length > step) length = step;
    memcpy(sent + sent_length, bytes, length);
    sent_length += length;
    cv_link_sent(link, length, now);
  }
}

/* What was sent behind the request, as a server's parser reads it. */
static void read_sent(char *out) {
  uint8_t server_scratch[CV_MESSAGE_MAX];
  cv_parser parser;
  cv_frame frame;
  size_t at = 0;
  out[0] = '\0';
  cv_parser_init(&parser, CV_SERVER, 0, server_scratch, sizeof server_scratch);
  while (at < sent_length) {
    size_t used;
    int kind = cv_parser_next(&parser, sent + at, sent_length - at, &used, &frame);
    static const char *const words[] = {"", "data:", "END", "text:", "ping:", "pong:", "close:"};
    at += used;
    if (kind < 0) {
      strcat(out, "VIOLATION");
      return;
    }
    strcat(out, words[kind]);
    if (kind == CV_FRAME_CLOSE) sprintf(out + strlen(out), "%u:", frame.close);
    if (kind != CV_FRAME_NONE && kind != CV_FRAME_END) strncat(out, (const char *)frame.bytes, frame.length);
    strcat(out, " ");
  }
  sent_length = 0;
}

static void expect_sent(cv_link *link, const char *expected, int line) {
  static char got[1 << 16];
  drain(link, 7);
  read_sent(got);
  if (strcmp(got, expected) != 0) {
    failures++;
    printf("FAILED %s: line %d: sent <%s>, expected <%s>\n", running, line, got, expected);
  }
}
#define EXPECT_SENT(link, expected) expect_sent(link, expected, __LINE__)

static void expect_heard(const char *expected, int line) {
  if (strcmp(heard, expected) != 0) {
    failures++;
    printf("FAILED %s: line %d: heard <%s>, expected <%s>\n", running, line, heard, expected);
  }
  heard[0] = '\0';
}
#define EXPECT_HEARD(expected) expect_heard(expected, __LINE__)

static void control_feed(const uint8_t *bytes, size_t length, size_t step) {
  static const char *const names[] = {"", "endpoint", "ready", "dial", "wind_down", "bye", "inline", "over"};
  uint8_t copy[4096];
  size_t at = 0;
  memcpy(copy, bytes, length);
  while (at < length) {
    size_t left = step == 0 || step > length - at ? length - at : step;
    for (;;) {
      cv_frame frame;
      size_t used;
      cv_control_event event = cv_control_input(&control, copy + at, left, now, &used, &frame);
      at += used;
      left -= used;
      if (event == CV_CONTROL_NONE) break;
      hear(names[event]);
    }
    CHECK(left == 0);
    if (left != 0) return;
  }
}

static void transfer_feed(const uint8_t *bytes, size_t length, size_t step) {
  static const char *const names[] = {"", "opened", "assign", "", "end", "refused", "closed"};
  static uint8_t copy[1 << 16];
  size_t at = 0;
  memcpy(copy, bytes, length);
  while (at < length) {
    size_t left = step == 0 || step > length - at ? length - at : step;
    for (;;) {
      cv_frame frame;
      size_t used;
      cv_transfer_event event = cv_transfer_input(&transfer, copy + at, left, now, &used, &frame);
      at += used;
      left -= used;
      if (event == CV_TRANSFER_NONE) break;
      if (event == CV_TRANSFER_DATA) {
        strncat(heard, (const char *)frame.bytes, frame.length);
        cv_transfer_taken(&transfer, frame.length, now);
      } else {
        hear(names[event]);
      }
      if (event == CV_TRANSFER_END) cv_transfer_down_ended(&transfer, now);
      if (event == CV_TRANSFER_ASSIGN && memcmp(transfer.message.visitor.at, "no", 2) == 0) {
        cv_transfer_refuse(&transfer, CV_LOCAL_REFUSED, now);
      } else if (event == CV_TRANSFER_ASSIGN) {
        cv_transfer_accept(&transfer, now);
      }
    }
  }
}

/* The server's frame of text or bytes. */
static size_t frame_of(uint8_t *out, unsigned opcode, const char *payload) {
  size_t length = strlen(payload);
  size_t header = cv_frame_header(out, opcode, length, NULL);
  memcpy(out + header, payload, length);
  return header + length;
}

static void control_text(const char *text, size_t step) {
  uint8_t bytes[2048];
  control_feed(bytes, frame_of(bytes, CV_OP_TEXT, text), step);
}

/* The answer to the request that was sent. */
static size_t upgrade(char *out) {
  char key[CV_KEY_SIZE];
  char accept[CV_ACCEPT_SIZE];
  const char *found = strstr((const char *)sent, "Sec-WebSocket-Key: ");
  CHECK(found != NULL);
  memcpy(key, found + 19, CV_KEY_SIZE - 1);
  key[CV_KEY_SIZE - 1] = '\0';
  cv_handshake_accept(key, accept);
  sent_length = 0;
  return (size_t)sprintf(out,
                         "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: culvert.v1\r\n\r\n",
                         accept);
}

#endif
