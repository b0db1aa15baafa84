/*
 * Inline transfers: visitors' bytes on the control connection itself, for devices that can afford a single connection. Section 14 of
 * PROTOCOL.md.
 *
 *   free --open--> open --our END, the peer's END, in any order--> open --CLOSE sent and received--> free
 *                   \--CLOSE of either side at any time, answered by the other's CLOSE------------^
 *
 * The caller asks with cv_device.inlined, and makes the table once the control connection is ready with
 * `message.inlined` channels. Bytes of CV_CONTROL_INLINE go to cv_inline_input; what the functions below write goes to
 * cv_link_send_binary, data to cv_link_send_data with its header in front.
 *
 * Memory: sizeof(cv_inline) + sizeof(cv_channel) for each channel + what the caller grants for each.
 */
#ifndef CULVERT_INLINE_H
#define CULVERT_INLINE_H

#include "culvert/frame.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes in front of the data of a message. */
#define CV_INLINE_HEADER 3
/* Most data in one message, and most unspent credit of a channel. */
#define CV_INLINE_DATA_MAX 16384
#define CV_INLINE_CREDIT_MAX 1048576
/* Longest message that is not data. */
#define CV_INLINE_SMALL 7

typedef struct cv_channel {
  uint32_t send_credit;    /* bytes that we may send */
  uint32_t receive_credit; /* bytes that the peer may */
  uint8_t state;
} cv_channel;

typedef struct cv_inline {
  cv_channel *channels;
  uint16_t count;
  uint8_t server;
  uint8_t got; /* bytes of `head` */
  uint8_t head[CV_INLINE_SMALL];
} cv_inline;

typedef enum cv_inline_kind {
  CV_INLINE_NONE = 0,
  CV_INLINE_DATA,   /* a run of the visitor's bytes: channel, bytes, length */
  CV_INLINE_END,    /* the peer's direction is over */
  CV_INLINE_CREDIT, /* length: bytes more that may be sent */
  CV_INLINE_CLOSE,  /* code: a WebSocket close code. Answer with cv_inline_close unless that was sent */
  CV_INLINE_LATE    /* it came for a channel that we have closed: to be thrown away */
} cv_inline_kind;

typedef struct cv_inline_event {
  uint16_t channel;
  uint16_t code;
  const uint8_t *bytes;
  uint32_t length;
} cv_inline_event;

/* `channels` has room for `count` of them and lives as long as the table. */
void cv_inline_init(cv_inline *table, cv_role role, cv_channel *channels, uint16_t count);

/* A free channel, or -1. */
int cv_inline_free(const cv_inline *table);

/*
 * The message `open` was sent (device) or has come (server). `credit` is what the device is ready to receive. CV_EPROTOCOL when
 * there is no such channel, or it is not free.
 */
int cv_inline_open(cv_inline *table, unsigned channel, uint32_t credit);

/*
 * A run of a binary message: `total` is the length of the message, `offset` how much of it came before. Sets *used to how many bytes
 * it took; call again with the rest while there are any. Returns a cv_inline_kind, CV_EPROTOCOL or CV_ETOOLARGE.
 */
int cv_inline_input(cv_inline *table, const uint8_t *bytes, size_t length, uint64_t total, uint64_t offset, size_t *used,
                    cv_inline_event *event);

/* How many bytes may go in one message now. */
uint32_t cv_inline_sendable(const cv_inline *table, unsigned channel);

/*
 * Write a message into `out` and return its length; 0 when there is nothing to be said: the channel is closed, or it was said
 * already. cv_inline_data writes the header of `length` bytes, at most cv_inline_sendable, which the caller puts behind it.
 */
size_t cv_inline_data(cv_inline *table, unsigned channel, uint32_t length, uint8_t out[CV_INLINE_HEADER]);
size_t cv_inline_grant(cv_inline *table, unsigned channel, uint32_t bytes, uint8_t out[CV_INLINE_SMALL]);
size_t cv_inline_end(cv_inline *table, unsigned channel, uint8_t out[CV_INLINE_SMALL]);
size_t cv_inline_close(cv_inline *table, unsigned channel, uint16_t code, uint8_t out[CV_INLINE_SMALL]);

#ifdef __cplusplus
}
#endif
#endif
