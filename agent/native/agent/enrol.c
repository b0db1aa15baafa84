/*
 * The first start of a device that has an enrolment key: it makes its token, keeps it in a file that only this user can read, and has
 * the server know it. Cut anywhere, the next start goes on with the same token, which counts as one use of the key.
 *
 *   no token file --token in FILE.new--> asking --201--> FILE --> the life of the agent
 *                                          ^ \--no answer, later: waits, the next server
 *                                          \--/
 */
#include "enrol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

#define ANSWER_MS 20000
#define FIRST_WAIT_MS 1000
#define MOST_WAIT_MS 60000
/* cvd_, 43 characters of 32 random bytes, _, and 7 of a checksum. */
#define TOKEN_SIZE (4 + 43 + 1 + 7 + 1)

typedef struct verdict {
  int enrolled;
  cv_code code;
  int32_t retry_after_s;
  char why[600];
} verdict;

static uint32_t crc32_of(const char *text) {
  uint32_t crc = UINT32_C(0xffffffff);
  int bit;
  for (; *text != '\0'; text++) {
    crc ^= (unsigned char)*text;
    for (bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (UINT32_C(0xedb88320) & (0 - (crc & 1u)));
  }
  return ~crc;
}

/* 256 random bits, and a checksum by which a mistyped one is told. */
static void make_token(char out[TOKEN_SIZE]) {
  uint8_t random[32];
  char text[45];
  uint32_t sum;
  size_t i;
  os_random(NULL, random, sizeof random);
  cv_base64(random, sizeof random, text);
  memcpy(out, "cvd_", 4);
  for (i = 0; i < 43; i++) out[4 + i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
  out[47] = '\0';
  sum = crc32_of(out);
  out[47] = '_';
  for (i = 7; i > 0; i--, sum /= 36) out[47 + i] = "0123456789abcdefghijklmnopqrstuvwxyz"[sum % 36];
  out[55] = '\0';
}

static int wait_for(stream *s, short events, int most_ms) {
  os_pollfd fds[2];
  fds[0].fd = s->socket;
  fds[0].events = events;
  fds[0].revents = 0;
  os_poll(fds, events != 0 && s->socket != OS_NO_SOCKET ? 1 : 0, most_ms);
  return os_stop_asked();
}

static void failed(verdict *out, const char *origin, const char *why) {
  out->code = CV_UNAVAILABLE;
  snprintf(out->why, sizeof out->why, "%s cannot be reached: %s", origin, why);
}

/* Moves the request out and the answer in. Returns 1 when a signal asks to stop. */
static int exchange(stream *s, const char *request, const server_url *server, cv_ms deadline, verdict *out) {
  cv_response response;
  char line[1024];
  size_t length = strlen(request);
  size_t sent = 0;
  cv_response_init(&response, "", line, sizeof line);
  for (;;) {
    uint8_t bytes[512];
    size_t used;
    long count = sent < length ? stream_write(s, (const uint8_t *)request + sent, length - sent) : stream_read(s, bytes, sizeof bytes);
    int answer = CV_ANSWER_MORE;
    if (count == OS_AGAIN) {
      if (wait_for(s, stream_events(s, sent == length, sent < length), 200)) return 1;
    } else if (sent < length && count > 0) {
      sent += (size_t)count;
    } else {
      answer = count > 0 ? cv_response_push(&response, bytes, (size_t)count, &used) : cv_response_end(&response);
      if (answer == CV_ANSWER_MORE && count <= 0) answer = CV_EPROTOCOL;
    }
    if (answer == CV_ANSWER_REFUSED) {
      cv_text message = cv_response_message(&response);
      out->enrolled = response.status == 201;
      out->code = response.code;
      out->retry_after_s = response.retry_after_s;
      snprintf(out->why, sizeof out->why, "%.*s", (int)message.length, message.length > 0 ? message.at : "");
      if (message.length == 0) snprintf(out->why, sizeof out->why, "%s answered %d", server->origin, response.status);
      return 0;
    }
    if (answer != CV_ANSWER_MORE || os_now() >= deadline) {
      failed(out, server->origin, answer != CV_ANSWER_MORE ? "the answer is none" : "it did not answer in time");
      return 0;
    }
  }
}

/* Asks one server. Returns 1 when a signal asks to stop. */
static int ask(const options *o, uint32_t index, const char *key, const char *token, verdict *out) {
  const server_url *server = &o->servers[index];
  static stream s;
  static char request[2048];
  cv_ms deadline = os_now() + ANSWER_MS;
  int stopped = 0;
  memset(out, 0, sizeof *out);
  out->retry_after_s = -1;
  snprintf(request, sizeof request,
           "POST /v1/enroll?name=%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nDevice-Token: %s\r\nContent-Length: 0\r\n"
           "Connection: close\r\n\r\n",
           o->name, server->authority, key, token);
  stream_open(&s, server->host, server->port, o->use_proxy[index] ? &o->proxies[index] : NULL, server->secure, os_now(), CV_HANDSHAKE_MS);
  while (!stopped && s.state != STREAM_OPEN && s.state != STREAM_FAILED) {
    stopped = wait_for(&s, stream_events(&s, 0, 0), 50);
    stream_step(&s, os_now());
  }
  if (!stopped && s.state == STREAM_OPEN) stopped = exchange(&s, request, server, deadline, out);
  if (!stopped && s.state == STREAM_FAILED) failed(out, server->origin, s.why);
  stream_close(&s);
  return stopped;
}

/* The token of an earlier start that was cut, or a new one, on disk. */
static int kept_token(const char *path, char token[513], char *why, size_t size) {
  if (secret_read(path, token) == 0) return 0;
  make_token(token);
  if (os_write_secret(path, token) == 0) return 0;
  snprintf(why, size, "the token cannot be kept in %.256s", path);
  return -1;
}

/* Waits, looking for signals; 1 when one asks to stop. */
static int pause_for(cv_ms wait_ms) {
  cv_ms until = os_now() + wait_ms;
  stream none;
  stream_init(&none);
  while (os_now() < until) {
    if (wait_for(&none, 0, 200)) return 1;
  }
  return 0;
}

static int give_up(const char *why) {
  fprintf(stderr, "culvert-agent: cannot enrol: %s\n", why);
  return EXIT_FAILED;
}

int enrol(const options *o) {
  static char token[513];
  static char kept[520];
  static verdict said;
  cv_ms wait = FIRST_WAIT_MS;
  if (o->enrol_key[0] == '\0' || secret_exists(o->token_file)) return -1;
  snprintf(kept, sizeof kept, "%s.new", o->token_file);
  if (kept_token(kept, token, said.why, sizeof said.why) != 0) return give_up(said.why);
  for (;;) {
    uint32_t random;
    uint32_t i;
    cv_ms pause;
    for (i = 0; i < o->server_count; i++) {
      if (ask(o, i, o->enrol_key, token, &said)) return EXIT_OK;
      if (said.enrolled || said.code != CV_UNAVAILABLE) break; /* the next one would say the same */
    }
    if (said.enrolled) {
      if (rename(kept, o->token_file) == 0) return -1;
      return give_up("the token file cannot be put in its place");
    }
    if (cv_code_retry(said.code) != CV_RETRY_YES || said.code == CV_NAME_IN_USE) return give_up(said.why);
    pause = said.retry_after_s * 1000 > (int32_t)wait ? (cv_ms)said.retry_after_s * 1000 : wait;
    os_random(NULL, (uint8_t *)&random, sizeof random);
    pause += pause * (random >> 24) / 1024; /* up to a quarter more */
    fprintf(stderr, "not enrolled yet: %s; next try in %u.%u s\n", said.why, (unsigned)(pause / 1000), (unsigned)(pause / 100 % 10));
    if (pause_for(pause)) return EXIT_OK;
    wait = wait * 2 < MOST_WAIT_MS ? wait * 2 : MOST_WAIT_MS;
  }
}
