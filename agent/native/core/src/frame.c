#include "culvert/frame.h"

#include <string.h>

enum { PHASE_HEADER, PHASE_PAYLOAD, PHASE_CLOSED };

size_t cv_frame_header(uint8_t out[CV_HEADROOM], unsigned opcode, uint64_t length, const uint8_t *mask) {
  size_t at = 2;
  size_t extended = length < 126 ? 0 : length < 65536 ? 2 : 8;
  size_t i;
  unsigned short_length = extended == 0 ? (unsigned)length : extended == 2 ? 126u : 127u;
  out[0] = (uint8_t)(0x80u | opcode);
  out[1] = (uint8_t)((mask == NULL ? 0u : 0x80u) | short_length);
  for (i = 0; i < extended; i++) out[at + i] = (uint8_t)(length >> (8 * (extended - 1 - i)));
  at += extended;
  if (mask != NULL) {
    memcpy(out + at, mask, 4);
    at += 4;
  }
  return at;
}

void cv_mask(uint8_t *bytes, size_t length, const uint8_t mask[4], size_t phase) {
  uint8_t key[8];
  uint64_t wide;
  size_t i = 0;
  for (i = 0; i < 8; i++) key[i] = mask[(phase + i) & 3];
  if ((key[0] | key[1] | key[2] | key[3]) == 0) return;
  memcpy(&wide, key, 8); /* in the machine's own byte order, as the words below */
  for (i = 0; i + 8 <= length; i += 8) {
    uint64_t word;
    memcpy(&word, bytes + i, 8);
    word ^= wide;
    memcpy(bytes + i, &word, 8);
  }
  for (; i < length; i++) bytes[i] = (uint8_t)(bytes[i] ^ key[i & 7]);
}

void cv_parser_init(cv_parser *parser, cv_role role, uint64_t max_frame, uint8_t *scratch, size_t scratch_size) {
  memset(parser, 0, sizeof *parser);
  parser->masked = role == CV_SERVER;
  parser->max_frame = max_frame == 0 ? UINT64_MAX : max_frame;
  parser->scratch = scratch;
  parser->max_text = scratch_size < CV_MESSAGE_MAX ? scratch_size : CV_MESSAGE_MAX;
  parser->need = 2;
}

void cv_parser_hold(cv_parser *parser, int hold) {
  parser->hold = hold != 0;
}

static int is_binary(const cv_parser *parser) {
  return parser->opcode == CV_OP_BINARY || parser->opcode == CV_OP_CONTINUATION;
}

static int is_end(const cv_parser *parser) {
  return parser->opcode == CV_OP_BINARY && parser->fin && parser->length == 0;
}

/* The first two bytes say whether a frame is legal here, and how long its header is. */
static int check_start(cv_parser *parser) {
  unsigned first = parser->header[0];
  unsigned second = parser->header[1];
  unsigned length = second & 0x7fu;
  parser->fin = first >= 0x80u;
  parser->opcode = (uint8_t)(first & 0x0fu);
  if ((first & 0x70u) != 0) return CV_EPROTOCOL;
  if ((second >= 0x80u) != (parser->masked != 0)) return CV_EPROTOCOL;
  switch (parser->opcode) {
    case CV_OP_CONTINUATION:
      if (!parser->fragmented) return CV_EPROTOCOL;
      break;
    case CV_OP_TEXT:
      if (!parser->fin || parser->fragmented) return CV_EPROTOCOL;
      break;
    case CV_OP_BINARY:
      if (parser->fragmented) return CV_EPROTOCOL;
      break;
    case CV_OP_CLOSE:
    case CV_OP_PING:
    case CV_OP_PONG:
      if (!parser->fin || length > CV_CONTROL_PAYLOAD) return CV_EPROTOCOL;
      break;
    default:
      return CV_EPROTOCOL;
  }
  parser->need = (uint8_t)(2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + (parser->masked ? 4 : 0));
  return CV_OK;
}

static int open_frame(cv_parser *parser) {
  unsigned short_length = parser->header[1] & 0x7fu;
  size_t extended = short_length == 126 ? 2 : short_length == 127 ? 8 : 0;
  uint64_t length = short_length;
  size_t i;
  if (extended > 0) {
    if (extended == 8 && parser->header[2] >= 0x80u) return CV_EPROTOCOL;
    length = 0;
    for (i = 0; i < extended; i++) length = length << 8 | parser->header[2 + i];
    if (length < (extended == 2 ? 126u : 65536u)) return CV_EPROTOCOL;
    if (length >> 53 != 0) return CV_ETOOLARGE;
  }
  if (parser->masked) memcpy(parser->mask, parser->header + parser->need - 4, 4);
  if (parser->opcode == CV_OP_TEXT && length > parser->max_text) return CV_ETOOLARGE;
  if (is_binary(parser) && length > parser->max_frame) return CV_ETOOLARGE;
  parser->length = parser->left = length;
  parser->phase = PHASE_PAYLOAD;
  return CV_OK;
}

/* Close codes that may stand in a frame: registered for it by RFC 6455 and successors, 3000 to 4999 by agreement. */
static int is_close_code(unsigned code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static int close_stream(cv_parser *parser, cv_frame *frame) {
  size_t length = frame->length;
  frame->close = 1005;
  if (length == 1) return CV_EPROTOCOL;
  if (length >= 2) {
    frame->close = (uint16_t)(frame->bytes[0] << 8 | frame->bytes[1]);
    if (!is_close_code(frame->close)) return CV_EPROTOCOL;
    frame->bytes += 2;
    frame->length -= 2;
    if (!cv_utf8_valid(frame->bytes, frame->length)) return CV_EPROTOCOL;
  }
  parser->phase = PHASE_CLOSED;
  return CV_FRAME_CLOSE;
}

/* The last byte of a frame has come. */
static int close_frame(cv_parser *parser, cv_frame *frame) {
  parser->phase = PHASE_HEADER;
  parser->got = 0;
  parser->need = 2;
  if (is_binary(parser)) {
    parser->fragmented = !parser->fin;
    return is_end(parser) ? CV_FRAME_END : CV_FRAME_NONE;
  }
  frame->bytes = parser->scratch;
  frame->length = (size_t)parser->length;
  if (parser->opcode == CV_OP_PING) return CV_FRAME_PING;
  if (parser->opcode == CV_OP_PONG) return CV_FRAME_PONG;
  if (parser->opcode == CV_OP_CLOSE) return close_stream(parser, frame);
  if (!cv_utf8_valid(frame->bytes, frame->length)) return CV_EPROTOCOL;
  return CV_FRAME_TEXT;
}

int cv_parser_next(cv_parser *parser, uint8_t *bytes, size_t length, size_t *used, cv_frame *frame) {
  size_t at = 0;
  memset(frame, 0, sizeof *frame);
  for (;;) {
    int result;
    int binary;
    size_t count;
    *used = at;
    if (parser->phase == PHASE_CLOSED) {
      *used = length;
      return CV_FRAME_NONE;
    }
    if (parser->phase == PHASE_HEADER) {
      while (parser->got < parser->need && at < length) {
        parser->header[parser->got++] = bytes[at++];
        if (parser->got == 2 && (result = check_start(parser)) != CV_OK) return result;
      }
      *used = at;
      if (parser->got < parser->need) return CV_FRAME_NONE;
      if ((result = open_frame(parser)) != CV_OK) return result;
    }
    binary = is_binary(parser);
    if (binary && parser->hold && (parser->left > 0 || is_end(parser))) return CV_FRAME_NONE;
    count = length - at;
    if (count > parser->left) count = (size_t)parser->left;
    if (count > 0) {
      size_t before = (size_t)(parser->length - parser->left);
      if (parser->masked) cv_mask(bytes + at, count, parser->mask, before);
      if (!binary) memcpy(parser->scratch + before, bytes + at, count);
      frame->bytes = bytes + at;
      frame->length = count;
      parser->left -= count;
      at += count;
      *used = at;
    }
    if (parser->left == 0) {
      result = close_frame(parser, frame);
      if (result != CV_FRAME_NONE) return result;
    } else if (!binary || count == 0) {
      return CV_FRAME_NONE;
    }
    if (count > 0) return CV_FRAME_DATA;
  }
}
