/*
 * Replays golden vectors: one case a line on standard input, what came of it a line on standard output. Bytes are hex, `-`
 * stands for none. The last word of `frames` and `response` is the size of the chunks, 0 for all at once.
 *
 *   frames client|server MAX_FRAME HEX CHUNK   response KEY HEX CHUNK   message HEX   backoff SERVERS STEP...
 *   inline CHUNK ROLE CHANNELS STEP...
 *   request NAME PORTS HOST TOKEN KEY          codes
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "culvert/culvert.h"

static uint8_t input[1 << 18];

static size_t unhex(const char *text, uint8_t *out) {
  size_t length = 0;
  if (strcmp(text, "-") == 0) return 0;
  for (; text[0] != '\0' && text[1] != '\0'; text += 2) {
    char pair[3] = {0, 0, 0};
    memcpy(pair, text, 2);
    out[length++] = (uint8_t)strtoul(pair, NULL, 16);
  }
  return length;
}

static void put_hex(const void *bytes, size_t length) {
  size_t i;
  if (length == 0) printf("-");
  for (i = 0; i < length; i++) printf("%02x", ((const uint8_t *)bytes)[i]);
}

static const char *error_word(int error) {
  return error == CV_ETOOLARGE ? "too_large" : "protocol_error";
}

static char *word(void) {
  char *found = strtok(NULL, " \n");
  if (found == NULL) exit(2);
  return found;
}

static void frames(void) {
  uint8_t scratch[CV_MESSAGE_MAX];
  cv_parser parser;
  cv_role role = strcmp(word(), "client") == 0 ? CV_CLIENT : CV_SERVER;
  uint64_t max_frame = strtoul(word(), NULL, 10);
  size_t length = unhex(word(), input);
  size_t chunk = strtoul(word(), NULL, 10);
  size_t at = 0;
  int data = 0;
  cv_parser_init(&parser, role, max_frame, scratch, sizeof scratch);
  while (at < length) {
    size_t left = chunk == 0 || chunk > length - at ? length - at : chunk;
    while (left > 0) {
      cv_frame frame;
      size_t used;
      int kind = cv_parser_next(&parser, input + at, left, &used, &frame);
      at += used;
      left -= used;
      if (kind != CV_FRAME_DATA && kind != CV_FRAME_NONE) data = 0;
      if (kind < 0) {
        printf(" error %s\n", error_word(kind));
        return;
      }
      if (kind == CV_FRAME_DATA && !data) printf(" data ");
      if (kind == CV_FRAME_DATA) data = 1;
      if (kind == CV_FRAME_END) printf(" end");
      if (kind == CV_FRAME_TEXT) printf(" text ");
      if (kind == CV_FRAME_PING) printf(" ping ");
      if (kind == CV_FRAME_PONG) printf(" pong ");
      if (kind == CV_FRAME_CLOSE) printf(" close %u ", frame.close);
      if (kind != CV_FRAME_NONE && kind != CV_FRAME_END) put_hex(frame.bytes, frame.length);
    }
  }
  printf("\n");
}

static void response(void) {
  char line[1024];
  cv_response reader;
  size_t at = 0;
  size_t length;
  size_t chunk;
  int result = CV_ANSWER_MORE;
  cv_response_init(&reader, word(), line, sizeof line);
  length = unhex(word(), input);
  chunk = strtoul(word(), NULL, 10);
  while (at < length && result == CV_ANSWER_MORE) {
    size_t used;
    size_t left = chunk == 0 || chunk > length - at ? length - at : chunk;
    result = cv_response_push(&reader, input + at, left, &used);
    at += used;
  }
  if (result == CV_ANSWER_MORE) result = cv_response_end(&reader);
  if (result < 0) {
    printf("error %s\n", error_word(result));
  } else if (result == CV_ANSWER_MORE) {
    printf("incomplete\n");
  } else if (result == CV_ANSWER_UPGRADED) {
    printf("upgraded ");
    put_hex(input + at, length - at);
    printf("\n");
  } else {
    printf("refused %d %s %d\n", reader.status, cv_code_word(reader.code), (int)reader.retry_after_s);
  }
}

static void put_text(const char *name, cv_text text) {
  if (text.at == NULL) return;
  printf(" %s=", name);
  put_hex(text.at, text.length);
}

static void put_number(const char *name, uint64_t value) {
  printf(" %s=%llu", name, (unsigned long long)value);
}

static void message(void) {
  static const char *const types[] = {"unknown", "endpoint", "ready", "dial", "refused", "wind_down", "bye", "assign", "accepted", "idle"};
  cv_message read;
  const char *fault;
  size_t length = unhex(word(), input);
  if (cv_message_read((char *)input, length, &read, &fault) != CV_OK) {
    printf("fault\n");
    return;
  }
  printf("%s", types[read.type]);
  if (read.port != 0) put_number("port", read.port);
  put_text("url", read.url);
  put_text("host", read.host);
  if (read.public_port != 0) put_number("public_port", read.public_port);
  if (read.type == CV_MSG_READY) {
    put_number("epoch", read.epoch);
    put_number("heartbeat_ms", read.heartbeat_ms);
    put_number("grace_ms", read.grace_ms);
    printf(" resumed=%s", read.resumed ? "true" : "false");
  }
  if (read.inlined != 0) put_number("inline", read.inlined);
  if (read.canary) printf(" canary=true");
  put_text("transfer_url", read.transfer_url);
  put_text("transfer_key", read.transfer_key);
  put_text("id", read.id);
  put_text("path", read.path);
  put_text("visitor", read.visitor);
  if (read.type == CV_MSG_WIND_DOWN) put_number("reconnect_ms", read.reconnect_ms);
  put_text("code", read.code);
  put_text("message", read.message);
  printf("\n");
}

/* A step: KIND,CODE,RETRY_AFTER_MS,RECONNECT_MS,LIVED_MS,RANDOM with the random as a 32-bit share. */
static void backoff(void) {
  static const char *const kinds[] = {"failed", "refused", "lost", "wind_down"};
  cv_backoff state;
  uint32_t servers = (uint32_t)strtoul(word(), NULL, 10);
  char *step;
  cv_backoff_init(&state);
  while ((step = strtok(NULL, " \n")) != NULL) {
    char kind[16];
    char code[32];
    unsigned long long lived;
    unsigned long reconnect;
    unsigned long random;
    long retry;
    unsigned i;
    uint32_t wait;
    cv_ending ending;
    cv_text code_text;
    if (sscanf(step, "%15[a-z_],%31[a-z_-],%ld,%lu,%llu,%lu", kind, code, &retry, &reconnect, &lived, &random) != 6) exit(2);
    memset(&ending, 0, sizeof ending);
    for (i = 0; i < 4; i++) {
      if (strcmp(kind, kinds[i]) == 0) ending.kind = (cv_ending_kind)i;
    }
    code_text.at = code;
    code_text.length = strlen(code);
    ending.code = cv_code_of_word(code_text);
    ending.retry_after_ms = (int32_t)retry;
    ending.reconnect_ms = (uint32_t)reconnect;
    ending.lived_ms = lived;
    wait = cv_backoff_next(&state, &ending, servers, (uint32_t)random);
    printf(" %lu,%lu", (unsigned long)wait, (unsigned long)state.server);
  }
  printf("\n");
}

static void request(void) {
  char target[2048];
  char out[4096];
  cv_port ports[32];
  cv_device device;
  char *entry;
  char *list;
  const char *host;
  const char *token;
  int length;
  memset(&device, 0, sizeof device);
  device.name = word();
  list = word();
  host = word();
  token = word();
  device.warm = 4;
  device.max_frame = 4096;
  device.transfers = 8;
  device.boot = "Zk3vQ1x9T0aB";
  device.ports = ports;
  {
    const char *key = word();
    for (entry = strtok(list, ","); entry != NULL && device.port_count < 32; entry = strtok(NULL, ",")) {
      char *number = strchr(entry, ':');
      ports[device.port_count].scheme = strncmp(entry, "https", 5) == 0 ? CV_HTTPS : strncmp(entry, "http", 4) == 0 ? CV_HTTP : CV_TCP;
      ports[device.port_count++].port = (uint16_t)strtoul(number == NULL ? entry : number + 1, NULL, 10);
    }
    length = cv_control_target(target, sizeof target, &device);
    if (length > 0) length = cv_handshake_request(out, sizeof out, host, target, token, key);
  }
  if (length < 0) {
    printf("%d\n", length);
    return;
  }
  put_hex(out, (size_t)length);
  printf("\n");
}

/*
 * A step: open,CHANNEL,CREDIT  receive,HEX  send,CHANNEL,BYTES  grant,CHANNEL,BYTES  end,CHANNEL  close,CHANNEL,CODE. `receive` is fed
 * in chunks of CHUNK bytes, 0 for all at once.
 */
static void inlined(void) {
  static const char *const kinds[] = {"", "data", "end", "credit", "close", "late"};
  static uint8_t message[1 << 17];
  cv_channel channels[64];
  cv_inline table;
  size_t chunk = strtoul(word(), NULL, 10);
  cv_role role = strcmp(word(), "server") == 0 ? CV_SERVER : CV_CLIENT;
  char *step;
  cv_inline_init(&table, role, channels, (uint16_t)strtoul(word(), NULL, 10));
  while ((step = strtok(NULL, " \n")) != NULL) {
    char *first = strchr(step, ',') + 1;
    char *second = strchr(first, ',');
    unsigned channel = (unsigned)strtoul(first, NULL, 10);
    uint32_t value = second == NULL ? 0 : (uint32_t)strtoul(second + 1, NULL, 10);
    size_t length = 0;
    if (strncmp(step, "open", 4) == 0) {
      printf(cv_inline_open(&table, channel, value) == CV_OK ? " -" : " protocol_error");
      continue;
    }
    if (strncmp(step, "receive", 7) == 0) {
      size_t total = unhex(first, input);
      size_t at = 0;
      uint32_t data = 0;
      int kind = CV_INLINE_NONE;
      int last = CV_INLINE_NONE;
      cv_inline_event event;
      if (total == 0) kind = CV_EPROTOCOL;
      while (at < total && kind >= 0) {
        size_t given = chunk == 0 || chunk > total - at ? total - at : chunk;
        size_t used;
        kind = cv_inline_input(&table, input + at, given, total, at, &used, &event);
        at += used;
        if (kind > 0) last = kind;
        if (kind == CV_INLINE_DATA) data += event.length;
      }
      if (kind < 0) {
        printf(" %s", error_word(kind));
      } else {
        printf(" %s,%u,%lu", kinds[last], event.channel,
               (unsigned long)(last == CV_INLINE_CLOSE ? event.code : last == CV_INLINE_DATA ? data : last == CV_INLINE_LATE ? 0 : event.length));
      }
      continue;
    }
    if (strncmp(step, "send", 4) == 0) {
      uint32_t most = cv_inline_sendable(&table, channel);
      if (most > value) most = value;
      length = cv_inline_data(&table, channel, most, message);
      if (length > 0) memset(message + length, 'a', most);
      if (length > 0) length += most;
    } else if (strncmp(step, "grant", 5) == 0) {
      length = cv_inline_grant(&table, channel, value, message);
    } else if (strncmp(step, "end", 3) == 0) {
      length = cv_inline_end(&table, channel, message);
    } else {
      length = cv_inline_close(&table, channel, (uint16_t)value, message);
    }
    printf(" ");
    put_hex(message, length);
  }
  printf("\n");
}

static void codes(void) {
  int code;
  for (code = 1; code < CV_CODES; code++) {
    static const char *const retries[] = {"yes", "slow", "no"};
    printf(" %s,%d,%d,%s", cv_code_word((cv_code)code), cv_code_status((cv_code)code), cv_code_close((cv_code)code),
           retries[cv_code_retry((cv_code)code)]);
  }
  printf("\n");
}

int main(void) {
  static char line[1 << 19];
  while (fgets(line, sizeof line, stdin) != NULL) {
    const char *what = strtok(line, " \n");
    if (what == NULL) continue;
    if (strcmp(what, "frames") == 0) frames();
    if (strcmp(what, "response") == 0) response();
    if (strcmp(what, "message") == 0) message();
    if (strcmp(what, "backoff") == 0) backoff();
    if (strcmp(what, "request") == 0) request();
    if (strcmp(what, "inline") == 0) inlined();
    if (strcmp(what, "codes") == 0) codes();
  }
  return 0;
}
