/*
 * One WebSocket of a device, from the handshake to the end, without its socket:
 *
 *   handshake --101--> open --close of either side, violation--> closing --both closed, CV_CLOSE_MS--> gone
 *       \--refused, no answer in time, broken------------------------------------------------------------^
 *
 * Control connections (control.h) and transfers (transfer.h) are made of it. The caller moves bytes: what the socket gives
 * goes to *_input, what *_output names goes to the socket.
 */
#ifndef CULVERT_LINK_H
#define CULVERT_LINK_H

#include "culvert/frame.h"
#include "culvert/http.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A handshake that takes longer is given up. */
#define CV_HANDSHAKE_MS 10000
/* How long the closing handshake may take, counted from when what was sent has left where a visitor ended in order. */
#define CV_CLOSE_MS 2000
/* A peer that takes no byte for this long, while bytes wait, is frozen. */
#define CV_WRITE_MS 60000
/* Least size of a scratch: one control frame, one header line of the handshake. */
#define CV_SCRATCH_MIN 128
/* Least size of the memory for small frames that wait: a pong, a text message, END and a close frame. */
#define CV_OUT_MIN 448

/* Randomness for keys and masks; it must not be predictable. */
typedef struct cv_random {
  void (*fill)(void *context, uint8_t *out, size_t length);
  void *context;
} cv_random;

/* What a link is given. All of it lives as long as the link, except the texts, which only have to live through the call. */
typedef struct cv_link_config {
  cv_random random;
  int encrypted;      /* over TLS: the zero mask is used, which costs nothing */
  uint32_t max_frame; /* largest binary frame to take; 0: no limit */
  uint8_t *scratch;   /* scratch_size bytes, at least CV_SCRATCH_MIN; CV_MESSAGE_MAX for text messages */
  size_t scratch_size;
  uint8_t *out; /* out_size bytes, at least CV_OUT_MIN */
  size_t out_size;
} cv_link_config;

typedef enum cv_phase { CV_HANDSHAKING, CV_OPEN, CV_CLOSING, CV_GONE } cv_phase;

typedef struct cv_link {
  union {
    cv_response response; /* while handshaking, and after a refusal */
    cv_parser parser;
  } in;
  cv_random random;
  uint8_t *scratch;
  size_t scratch_size;
  uint8_t *out;
  size_t out_size;
  size_t out_from;
  size_t out_to;
  size_t out_first; /* bytes of `out` that go before the bulk */
  const uint8_t *bulk;
  size_t bulk_left;
  uint8_t phase;
  uint8_t encrypted;
  uint8_t deaf;     /* nothing that comes is read any more */
  uint8_t answered; /* the peer has sent its close frame */
  uint8_t owes;     /* set by the user: what waits is of a visitor who ended in order, closing has a deadline once it has left */
  uint8_t refused;
  uint8_t pong_length; /* of the pong that waits; 255: none */
  uint8_t pong[CV_CONTROL_PAYLOAD];
  uint32_t max_frame;
  uint16_t close; /* WebSocket close code of the peer; 1006 when there was none */
  cv_code code;   /* why it ended, when that is known */
  cv_ms started;
  cv_ms deadline; /* of the handshake, or of closing */
  cv_ms heard;    /* when bytes last came */
  cv_ms moved;    /* when bytes last went, or nothing waited */
} cv_link;

typedef enum cv_link_event {
  CV_LINK_NONE = 0, /* all bytes are taken, or held */
  CV_LINK_UPGRADED,
  CV_LINK_REFUSED, /* in.response has status, code, Retry-After and message; the phase is CV_GONE */
  CV_LINK_DATA,
  CV_LINK_END,
  CV_LINK_TEXT,
  CV_LINK_CLOSED /* the peer closes, or broke the protocol: `code` and `close` */
} cv_link_event;

void cv_link_init(cv_link *link, const cv_link_config *config, cv_ms now);

/*
 * Writes the request of the handshake into buffer[0..size), which has to stay until it is sent. Returns CV_OK, CV_ESPACE or
 * CV_EINVALID.
 */
int cv_link_request(cv_link *link, const char *host, const char *target, const char *token, char *buffer, size_t size);

/*
 * Takes bytes of the socket, which it may change, up to the next event, and sets *used to how many. Call again with the rest
 * while the result is not CV_LINK_NONE. Pings are answered by themselves.
 */
cv_link_event cv_link_input(cv_link *link, uint8_t *bytes, size_t length, cv_ms now, size_t *used, cv_frame *frame);

/* The socket has ended or broke: the link is gone. CV_LINK_REFUSED when it was a refusal without a length. */
cv_link_event cv_link_eof(cv_link *link);

/* Stops in front of binary messages, or goes on. */
void cv_link_hold(cv_link *link, int hold);

/* Queues a text message: CV_OK, or CV_ESPACE when there is no room now. */
int cv_link_send_text(cv_link *link, const char *text, size_t length);

/* Queues a short binary message, before data that waits: CV_OK, or CV_ESPACE when there is no room now. */
int cv_link_send_binary(cv_link *link, const uint8_t *bytes, size_t length);

/* Whether cv_link_send_data may be called: the data before is sent. */
int cv_link_can_send(const cv_link *link);

/*
 * Sends bytes as one binary frame. They are masked in place, and the frame's header is put into the CV_HEADROOM bytes before them, which
 * the caller keeps free: so both leave with one write. All of it has to stay until cv_link_can_send is true again.
 */
void cv_link_send_data(cv_link *link, uint8_t *bytes, size_t length);

/* Queues END behind the data: CV_OK or CV_ESPACE. */
int cv_link_send_end(cv_link *link);

/* Begins to close. The reason is the word of the code, and `text` behind it unless NULL. */
void cv_link_close(cv_link *link, cv_code code, const char *text, cv_ms now);

/* Ends it at once, for a peer that would not hear a close frame. */
void cv_link_kill(cv_link *link, cv_code code);

/* The bytes that the socket should take next; length 0: none. */
void cv_link_output(cv_link *link, const uint8_t **bytes, size_t *length);

/* The socket took that many of them. */
void cv_link_sent(cv_link *link, size_t length, cv_ms now);

/* Looks at the deadlines; to be called now and then (every second is enough). */
void cv_link_tick(cv_link *link, cv_ms now);

#ifdef __cplusplus
}
#endif
#endif
