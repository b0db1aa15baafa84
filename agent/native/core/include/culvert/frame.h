/*
 * Frames of RFC 6455 as section 3 of PROTOCOL.md narrows them.
 */
#ifndef CULVERT_FRAME_H
#define CULVERT_FRAME_H

#include "culvert/codes.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Longest header of a frame: 2 bytes, 8 of length, 4 of mask. */
#define CV_HEADROOM 14
/* Longest payload of a ping, pong or close frame. */
#define CV_CONTROL_PAYLOAD 125
/* Longest text message of protocol version 1. */
#define CV_MESSAGE_MAX 1024

enum {
  CV_OP_CONTINUATION = 0x0,
  CV_OP_TEXT = 0x1,
  CV_OP_BINARY = 0x2,
  CV_OP_CLOSE = 0x8,
  CV_OP_PING = 0x9,
  CV_OP_PONG = 0xa
};

typedef enum cv_role { CV_CLIENT, CV_SERVER } cv_role;

/*
 * Writes the header of an unfragmented frame. `mask` is the client's key of four bytes, or NULL for a server's frame; the
 * payload is not masked here (cv_mask). Returns the header's length, 2 to CV_HEADROOM.
 */
size_t cv_frame_header(uint8_t out[CV_HEADROOM], unsigned opcode, uint64_t length, const uint8_t *mask);

/*
 * Applies a mask to bytes in place; twice restores them. `phase` is how many bytes of the same frame came before; only its
 * two lowest bits count.
 */
void cv_mask(uint8_t *bytes, size_t length, const uint8_t mask[4], size_t phase);

/* What a parser has found. Pointers are good until the next call with the same parser. */
typedef enum cv_frame_kind {
  CV_FRAME_NONE = 0, /* all bytes are taken, or the parser holds in front of data */
  CV_FRAME_DATA,     /* bytes: a run of a visitor's bytes, inside what was given */
  CV_FRAME_END,      /* an empty binary message in one frame */
  CV_FRAME_TEXT,     /* bytes: a text message, in the scratch; it may be changed in place */
  CV_FRAME_PING,     /* bytes: its payload, in the scratch */
  CV_FRAME_PONG,     /* the same */
  CV_FRAME_CLOSE     /* close: its code, 1005 when it had none; bytes: its reason. What follows it is ignored */
} cv_frame_kind;

typedef struct cv_frame {
  uint8_t *bytes;
  size_t length;
  uint16_t close;
} cv_frame;

/*
 * Reads frames from chunks of any size. It assembles no data: runs of the chunk go on as they are, so it needs memory for
 * one text message or control frame only.
 */
typedef struct cv_parser {
  uint64_t max_frame;
  uint64_t length; /* of the frame's payload */
  uint64_t left;   /* of it, still to come */
  uint8_t *scratch;
  size_t max_text;
  uint8_t header[CV_HEADROOM];
  uint8_t mask[4];
  uint8_t got;
  uint8_t need;
  uint8_t opcode;
  uint8_t masked;     /* frames that come have to be */
  uint8_t fin;
  uint8_t fragmented; /* within a binary message of several frames */
  uint8_t phase;
  uint8_t hold;
} cv_parser;

/*
 * `role` is one's own. `max_frame` bounds binary frames; 0: no limit. `scratch` holds `scratch_size` bytes, at least
 * CV_CONTROL_PAYLOAD, and lives as long as the parser; text messages longer than that, or than CV_MESSAGE_MAX, are too large.
 */
void cv_parser_init(cv_parser *parser, cv_role role, uint64_t max_frame, uint8_t *scratch, size_t scratch_size);

/* While set, the parser stops in front of the next byte, or END, of a binary message. What comes before is still found. */
void cv_parser_hold(cv_parser *parser, int hold);

/*
 * Finds the next thing in bytes[0..length), which it may unmask in place. Sets *used to how many bytes it took; call again
 * with the rest. Returns a cv_frame_kind, or CV_EPROTOCOL or CV_ETOOLARGE, after which the parser must not be used again.
 * Work is bounded by `length`.
 */
int cv_parser_next(cv_parser *parser, uint8_t *bytes, size_t length, size_t *used, cv_frame *frame);

/* Whether text is UTF-8 (no overlong forms, no surrogates). */
int cv_utf8_valid(const uint8_t *bytes, size_t length);

#ifdef __cplusplus
}
#endif
#endif
