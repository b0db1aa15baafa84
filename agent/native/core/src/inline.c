#include "culvert/inline.h"

#include <string.h>

enum { IN_USE = 1, SENT_END = 2, GOT_END = 4, SENT_CLOSE = 8, GOT_CLOSE = 16 };
enum { KIND_DATA = 0, KIND_END = 1, KIND_CREDIT = 2, KIND_CLOSE = 3 };

void cv_inline_init(cv_inline *table, cv_role role, cv_channel *channels, uint16_t count) {
  memset(table, 0, sizeof *table);
  memset(channels, 0, count * sizeof *channels);
  table->channels = channels;
  table->count = count;
  table->server = role == CV_SERVER;
}

int cv_inline_free(const cv_inline *table) {
  unsigned i;
  for (i = 0; i < table->count; i++) {
    if (table->channels[i].state == 0) return (int)i;
  }
  return -1;
}

int cv_inline_open(cv_inline *table, unsigned channel, uint32_t credit) {
  cv_channel *one;
  if (channel >= table->count || table->channels[channel].state != 0) return CV_EPROTOCOL;
  one = &table->channels[channel];
  one->state = IN_USE;
  one->send_credit = table->server ? credit : 0;
  one->receive_credit = table->server ? 0 : credit;
  return CV_OK;
}

static unsigned channel_of(const cv_inline *table) {
  return (unsigned)table->head[0] << 8 | table->head[1];
}

/* The header of a message is there: whether it may come, and what it spends. */
static int open_message(cv_inline *table, uint64_t total) {
  static const uint8_t lengths[] = {0, 0, 4, 2};
  unsigned kind = table->head[2];
  uint32_t length = (uint32_t)(total - CV_INLINE_HEADER);
  cv_channel *one;
  if (kind > KIND_CLOSE || (kind == KIND_DATA ? length == 0 : length != lengths[kind])) return CV_EPROTOCOL;
  if (channel_of(table) >= table->count) return CV_EPROTOCOL;
  one = &table->channels[channel_of(table)];
  if ((one->state & IN_USE) == 0 || (one->state & GOT_CLOSE) != 0) return CV_EPROTOCOL;
  if (kind <= KIND_END && (one->state & GOT_END) != 0) return CV_EPROTOCOL;
  if (kind == KIND_DATA) {
    if (length > one->receive_credit) return CV_EPROTOCOL;
    one->receive_credit -= length;
  }
  return CV_OK;
}

/* A message that is no data has come as a whole. */
static int close_message(cv_inline *table, cv_inline_event *event) {
  cv_channel *one = &table->channels[channel_of(table)];
  const uint8_t *body = table->head + CV_INLINE_HEADER;
  int late = (one->state & SENT_CLOSE) != 0;
  event->channel = (uint16_t)channel_of(table);
  switch (table->head[2]) {
    case KIND_END:
      one->state |= GOT_END;
      return late ? CV_INLINE_LATE : CV_INLINE_END;
    case KIND_CREDIT:
      event->length = (uint32_t)body[0] << 24 | (uint32_t)body[1] << 16 | (uint32_t)body[2] << 8 | body[3];
      if (event->length == 0 || event->length > CV_INLINE_CREDIT_MAX - one->send_credit) return CV_EPROTOCOL;
      one->send_credit += event->length;
      return late ? CV_INLINE_LATE : CV_INLINE_CREDIT;
    default:
      event->code = (uint16_t)(body[0] << 8 | body[1]);
      if (event->code < 1000 || event->code > 4999) return CV_EPROTOCOL;
      one->state = late ? 0 : (uint8_t)(one->state | GOT_CLOSE);
      return CV_INLINE_CLOSE;
  }
}

int cv_inline_input(cv_inline *table, const uint8_t *bytes, size_t length, uint64_t total, uint64_t offset, size_t *used,
                    cv_inline_event *event) {
  size_t at = 0;
  memset(event, 0, sizeof *event);
  *used = length;
  if (total < CV_INLINE_HEADER) return CV_EPROTOCOL;
  if (total > CV_INLINE_HEADER + CV_INLINE_DATA_MAX) return CV_ETOOLARGE;
  if (offset == 0) table->got = 0;
  while (at < length) {
    if (table->got < CV_INLINE_HEADER) {
      table->head[table->got++] = bytes[at++];
      if (table->got == CV_INLINE_HEADER) {
        int result = open_message(table, total);
        if (result != CV_OK) return result;
        if (table->head[2] == KIND_END) return close_message(table, event);
      }
    } else if (table->head[2] == KIND_DATA) {
      event->channel = (uint16_t)channel_of(table);
      event->bytes = bytes + at;
      event->length = (uint32_t)(length - at);
      return (table->channels[event->channel].state & SENT_CLOSE) != 0 ? CV_INLINE_LATE : CV_INLINE_DATA;
    } else {
      table->head[table->got++] = bytes[at++];
      if (table->got == total) return close_message(table, event);
    }
  }
  return CV_INLINE_NONE;
}

/* The channel, if something may still be sent on it. */
static cv_channel *sending(const cv_inline *table, unsigned channel) {
  cv_channel *one;
  if (channel >= table->count) return NULL;
  one = &table->channels[channel];
  return (one->state & (IN_USE | SENT_CLOSE | GOT_CLOSE)) == IN_USE ? one : NULL;
}

uint32_t cv_inline_sendable(const cv_inline *table, unsigned channel) {
  const cv_channel *one = sending(table, channel);
  if (one == NULL || (one->state & SENT_END) != 0) return 0;
  return one->send_credit < CV_INLINE_DATA_MAX ? one->send_credit : CV_INLINE_DATA_MAX;
}

static size_t put(uint8_t *out, unsigned channel, unsigned kind, uint32_t value, unsigned bytes) {
  unsigned i;
  out[0] = (uint8_t)(channel >> 8);
  out[1] = (uint8_t)channel;
  out[2] = (uint8_t)kind;
  for (i = 0; i < bytes; i++) out[CV_INLINE_HEADER + i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
  return CV_INLINE_HEADER + bytes;
}

size_t cv_inline_data(cv_inline *table, unsigned channel, uint32_t length, uint8_t out[CV_INLINE_HEADER]) {
  if (length == 0 || length > cv_inline_sendable(table, channel)) return 0;
  table->channels[channel].send_credit -= length;
  return put(out, channel, KIND_DATA, 0, 0);
}

size_t cv_inline_grant(cv_inline *table, unsigned channel, uint32_t bytes, uint8_t out[CV_INLINE_SMALL]) {
  cv_channel *one = sending(table, channel);
  if (one == NULL || (one->state & GOT_END) != 0 || bytes == 0) return 0;
  one->receive_credit += bytes;
  return put(out, channel, KIND_CREDIT, bytes, 4);
}

size_t cv_inline_end(cv_inline *table, unsigned channel, uint8_t out[CV_INLINE_SMALL]) {
  cv_channel *one = sending(table, channel);
  if (one == NULL || (one->state & SENT_END) != 0) return 0;
  one->state |= SENT_END;
  return put(out, channel, KIND_END, 0, 0);
}

size_t cv_inline_close(cv_inline *table, unsigned channel, uint16_t code, uint8_t out[CV_INLINE_SMALL]) {
  cv_channel *one = channel < table->count ? &table->channels[channel] : NULL;
  if (one == NULL || (one->state & IN_USE) == 0 || (one->state & SENT_CLOSE) != 0) return 0;
  one->state = (one->state & GOT_CLOSE) != 0 ? 0 : (uint8_t)(one->state | SENT_CLOSE);
  return put(out, channel, KIND_CLOSE, code, 2);
}
