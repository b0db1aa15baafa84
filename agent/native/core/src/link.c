#include "culvert/link.h"

#include <string.h>

enum { NO_PONG = 255, NO_CLOSE_CODE = 1005, BROKEN = 1006, NORMAL = 1000 };

void cv_link_init(cv_link *link, const cv_link_config *config, cv_ms now) {
  memset(link, 0, sizeof *link);
  link->random = config->random;
  link->encrypted = config->encrypted != 0;
  link->max_frame = config->max_frame;
  link->scratch = config->scratch;
  link->scratch_size = config->scratch_size;
  link->out = config->out;
  link->out_size = config->out_size;
  link->pong_length = NO_PONG;
  link->close = BROKEN;
  link->started = link->heard = link->moved = now;
  link->deadline = now + CV_HANDSHAKE_MS;
}

int cv_link_request(cv_link *link, const char *host, const char *target, const char *token, char *buffer, size_t size) {
  uint8_t random[16];
  char key[CV_KEY_SIZE];
  int length;
  link->random.fill(link->random.context, random, sizeof random);
  cv_handshake_key(random, key);
  length = cv_handshake_request(buffer, size, host, target, token, key);
  if (length < 0) return length;
  cv_response_init(&link->in.response, key, (char *)link->scratch, link->scratch_size);
  link->bulk = (const uint8_t *)buffer;
  link->bulk_left = (size_t)length;
  return CV_OK;
}

/* The key for the next frame. */
static void next_mask(cv_link *link, uint8_t mask[4]) {
  memset(mask, 0, 4);
  if (!link->encrypted) link->random.fill(link->random.context, mask, 4);
}

/* A small frame, behind all that waits. */
static int queue(cv_link *link, unsigned opcode, const uint8_t *payload, size_t length) {
  uint8_t header[CV_HEADROOM];
  uint8_t mask[4];
  size_t header_length;
  next_mask(link, mask);
  header_length = cv_frame_header(header, opcode, length, mask);
  if (link->out_size - (link->out_to - link->out_from) < header_length + length) return CV_ESPACE;
  if (link->out_size - link->out_to < header_length + length) {
    memmove(link->out, link->out + link->out_from, link->out_to - link->out_from);
    link->out_to -= link->out_from;
    link->out_from = 0;
  }
  memcpy(link->out + link->out_to, header, header_length);
  if (length > 0) memcpy(link->out + link->out_to + header_length, payload, length);
  cv_mask(link->out + link->out_to + header_length, length, mask, 0);
  link->out_to += header_length + length;
  return CV_OK;
}

static int queue_small(cv_link *link, unsigned opcode, const uint8_t *bytes, size_t length) {
  if (link->phase != CV_OPEN) return CV_OK; /* left out once it closes */
  /* Room for END and a close frame is kept. */
  if (link->out_size - (link->out_to - link->out_from) < length + 8 + 6 + CV_CONTROL_PAYLOAD + 6) return CV_ESPACE;
  return queue(link, opcode, bytes, length);
}

int cv_link_send_text(cv_link *link, const char *text, size_t length) {
  return queue_small(link, CV_OP_TEXT, (const uint8_t *)text, length);
}

int cv_link_send_binary(cv_link *link, const uint8_t *bytes, size_t length) {
  return queue_small(link, CV_OP_BINARY, bytes, length);
}

int cv_link_can_send(const cv_link *link) {
  return link->phase == CV_OPEN && link->bulk_left == 0;
}

void cv_link_send_data(cv_link *link, uint8_t *bytes, size_t length) {
  uint8_t header[CV_HEADROOM];
  uint8_t mask[4];
  size_t header_length;
  next_mask(link, mask);
  cv_mask(bytes, length, mask, 0);
  header_length = cv_frame_header(header, CV_OP_BINARY, length, mask);
  memcpy(bytes - header_length, header, header_length);
  link->bulk = bytes - header_length;
  link->bulk_left = header_length + length;
  link->out_first = link->out_to - link->out_from;
}

int cv_link_send_end(cv_link *link) {
  return link->phase == CV_OPEN ? queue(link, CV_OP_BINARY, NULL, 0) : (int)CV_OK;
}

void cv_link_hold(cv_link *link, int hold) {
  if (link->phase == CV_OPEN) cv_parser_hold(&link->in.parser, hold);
}

void cv_link_close(cv_link *link, cv_code code, const char *text, cv_ms now) {
  uint8_t payload[CV_CONTROL_PAYLOAD];
  const char *word = cv_code_word(code);
  size_t length = strlen(word);
  size_t more = text == NULL ? 0 : strlen(text);
  uint16_t close = cv_code_close(code);
  if (link->phase == CV_HANDSHAKING) {
    cv_link_kill(link, code);
    return;
  }
  if (link->phase != CV_OPEN) return;
  payload[0] = (uint8_t)(close >> 8);
  payload[1] = (uint8_t)close;
  memcpy(payload + 2, word, length);
  if (more > 0 && length + 4 + more <= sizeof payload) { /* our own texts are ASCII, and those that are too long are left out */
    memcpy(payload + 2 + length, ": ", 2);
    memcpy(payload + 4 + length, text, more);
    length += 2 + more;
  }
  link->phase = CV_CLOSING;
  link->code = code;
  link->deadline = now + CV_CLOSE_MS;
  link->pong_length = NO_PONG;
  if (!link->deaf) cv_parser_hold(&link->in.parser, 0); /* what stands before the peer's close frame is thrown away */
  if (queue(link, CV_OP_CLOSE, payload, 2 + length) != CV_OK) link->phase = CV_GONE;
}

void cv_link_kill(cv_link *link, cv_code code) {
  if (link->phase == CV_GONE) return;
  link->phase = CV_GONE;
  if (link->code == CV_NO_CODE) link->code = code;
}

/* The peer's close frame: the code for it when we know one, an answer unless it is the answer to ours. */
static cv_link_event peer_closed(cv_link *link, uint16_t close, cv_ms now) {
  uint8_t payload[2];
  uint16_t back = close == NO_CLOSE_CODE ? (uint16_t)NORMAL : close;
  link->close = close;
  link->deaf = 1;
  if (link->phase == CV_CLOSING) {
    link->phase = CV_GONE;
    return CV_LINK_CLOSED;
  }
  payload[0] = (uint8_t)(back >> 8);
  payload[1] = (uint8_t)back;
  link->phase = CV_CLOSING;
  link->answered = 1;
  link->code = cv_code_of_close(close);
  if (link->code == CV_NO_CODE && (close == NORMAL || close == 1001 || close == NO_CLOSE_CODE)) link->code = CV_BYE;
  link->deadline = now + CV_CLOSE_MS;
  link->pong_length = NO_PONG;
  if (queue(link, CV_OP_CLOSE, payload, sizeof payload) != CV_OK) link->phase = CV_GONE;
  return CV_LINK_CLOSED;
}

static cv_link_event violated(cv_link *link, int error, cv_ms now) {
  cv_code code = error == CV_ETOOLARGE ? CV_TOO_LARGE : CV_PROTOCOL_ERROR;
  link->deaf = 1;
  if (link->phase == CV_CLOSING) { /* its close frame will never be found */
    link->phase = CV_GONE;
  } else {
    cv_link_close(link, code, NULL, now);
  }
  return CV_LINK_CLOSED;
}

static cv_link_event answer(cv_link *link, const uint8_t *bytes, size_t length, size_t *used) {
  int result = cv_response_push(&link->in.response, bytes, length, used);
  if (result == CV_ANSWER_MORE) return CV_LINK_NONE;
  if (result == CV_ANSWER_UPGRADED) {
    cv_parser_init(&link->in.parser, CV_CLIENT, link->max_frame, link->scratch, link->scratch_size);
    link->phase = CV_OPEN;
    return CV_LINK_UPGRADED;
  }
  if (result == CV_ANSWER_REFUSED) {
    link->phase = CV_GONE;
    link->refused = 1;
    link->code = link->in.response.code;
    return CV_LINK_REFUSED;
  }
  cv_link_kill(link, result == CV_ETOOLARGE ? CV_TOO_LARGE : CV_PROTOCOL_ERROR);
  return CV_LINK_CLOSED;
}

cv_link_event cv_link_input(cv_link *link, uint8_t *bytes, size_t length, cv_ms now, size_t *used, cv_frame *frame) {
  size_t at = 0;
  *used = length;
  if (length > 0) link->heard = now;
  if (link->phase == CV_GONE || link->deaf) return CV_LINK_NONE;
  if (link->phase == CV_HANDSHAKING) return answer(link, bytes, length, used);
  for (;;) {
    size_t count;
    int kind = cv_parser_next(&link->in.parser, bytes + at, length - at, &count, frame);
    at += count;
    *used = at;
    if (kind < 0) {
      *used = length;
      return violated(link, kind, now);
    }
    if (kind == CV_FRAME_NONE) return CV_LINK_NONE;
    if (kind == CV_FRAME_CLOSE) {
      *used = length;
      return peer_closed(link, frame->close, now);
    }
    if (link->phase != CV_OPEN) continue; /* we are closing: what still comes is thrown away */
    if (kind == CV_FRAME_PING) {
      link->pong_length = (uint8_t)frame->length; /* takes the place of one that could not be sent yet */
      if (frame->length > 0) memcpy(link->pong, frame->bytes, frame->length);
    }
    if (kind == CV_FRAME_DATA) return CV_LINK_DATA;
    if (kind == CV_FRAME_END) return CV_LINK_END;
    if (kind == CV_FRAME_TEXT) return CV_LINK_TEXT;
  }
}

cv_link_event cv_link_eof(cv_link *link) {
  if (link->phase == CV_HANDSHAKING && cv_response_end(&link->in.response) == CV_ANSWER_REFUSED) {
    link->phase = CV_GONE;
    link->refused = 1;
    link->code = link->in.response.code;
    return CV_LINK_REFUSED;
  }
  cv_link_kill(link, CV_NO_CODE);
  return CV_LINK_CLOSED;
}

void cv_link_output(cv_link *link, const uint8_t **bytes, size_t *length) {
  size_t waiting = link->out_to - link->out_from;
  int bulk = link->bulk_left > 0;
  *bytes = NULL;
  *length = 0;
  if (link->phase == CV_GONE) return;
  if (!bulk && waiting == 0 && link->pong_length != NO_PONG) {
    /* Only now, so that a newer ping takes the place of an older one. */
    if (queue(link, CV_OP_PONG, link->pong, link->pong_length) == CV_OK) link->pong_length = NO_PONG;
    waiting = link->out_to - link->out_from;
  }
  if (bulk && link->out_first == 0) {
    *bytes = link->bulk;
    *length = link->bulk_left;
    return;
  }
  *bytes = link->out + link->out_from;
  *length = bulk ? link->out_first : waiting;
}

/* Whether bytes wait for the socket. */
static int waits(const cv_link *link) { return link->out_from != link->out_to || link->bulk_left > 0; }

void cv_link_sent(cv_link *link, size_t length, cv_ms now) {
  if (length == 0) return;
  link->moved = now;
  if (link->bulk_left > 0 && link->out_first == 0) {
    link->bulk += length;
    link->bulk_left -= length;
    return;
  }
  link->out_from += length;
  if (link->out_first > 0) link->out_first -= length;
  if (link->out_from == link->out_to) link->out_from = link->out_to = 0;
  if (waits(link)) return;
  if (link->answered) link->phase = CV_GONE;
  if (link->phase == CV_CLOSING && link->owes) link->deadline = now + CV_CLOSE_MS;
}

void cv_link_tick(cv_link *link, cv_ms now) {
  if (link->phase == CV_GONE) return;
  if (link->phase != CV_OPEN && now >= link->deadline && !(link->owes && waits(link))) {
    cv_link_kill(link, CV_UNAVAILABLE);
    return;
  }
  if (!waits(link)) {
    link->moved = now;
  } else if (now - link->moved >= CV_WRITE_MS) {
    link->code = CV_WRITE_TIMEOUT;
    link->phase = CV_GONE;
  }
}
