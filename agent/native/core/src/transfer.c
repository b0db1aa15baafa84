#include "culvert/transfer.h"

#include <string.h>

int cv_transfer_start(cv_transfer *transfer, const cv_link_config *config, int warm, uint32_t heartbeat_ms, const char *host,
                      const char *target, const char *token, char *buffer, size_t size, cv_ms now) {
  cv_link_config own = *config;
  memset(transfer, 0, sizeof *transfer);
  own.out = transfer->out;
  own.out_size = sizeof transfer->out;
  cv_link_init(&transfer->link, &own, now);
  transfer->warm = warm != 0;
  transfer->heartbeat_ms = heartbeat_ms;
  transfer->active = transfer->taken = now;
  return cv_link_request(&transfer->link, host, target, token, buffer, size);
}

const char *cv_outcome_of(cv_code code) {
  switch (code) {
    case CV_MOVED:
    case CV_LEASE_LOST:
      return cv_code_word(CV_SUPERSEDED);
    case CV_TOO_LARGE:
      return cv_code_word(CV_PROTOCOL_ERROR);
    case CV_LOCAL_REFUSED:
    case CV_LOCAL_TIMEOUT:
    case CV_NOT_ALLOWED:
    case CV_BUSY:
    case CV_DIAL_TIMEOUT:
    case CV_DEVICE_OFFLINE:
    case CV_LINGER_EXPIRED:
    case CV_WRITE_TIMEOUT:
    case CV_IDLE_TIMEOUT:
    case CV_REVOKED:
    case CV_SUPERSEDED:
    case CV_WIND_DOWN:
    case CV_PROTOCOL_ERROR:
    case CV_INTERNAL:
      return cv_code_word(code);
    default:
      return cv_code_word(CV_PEER_RESET);
  }
}

static void begin_visitor(cv_transfer *transfer, cv_ms now) {
  transfer->state = CV_TRANSFER_SERVING;
  transfer->up_ended = transfer->down_ended = 0;
  transfer->to_device = transfer->to_visitor = 0;
  transfer->untaken = 0;
  transfer->outcome = NULL;
  transfer->link.owes = 0;
  transfer->active = transfer->taken = now;
}

static void broken(cv_transfer *transfer, const char *outcome) {
  if (transfer->state == CV_TRANSFER_FINISHED || transfer->state == CV_TRANSFER_BROKEN) return;
  transfer->state = CV_TRANSFER_BROKEN;
  transfer->outcome = outcome;
}

/* When both directions have ended: in order, or again at the disposal of the server. */
static void advance(cv_transfer *transfer, cv_ms now) {
  char text[CV_MESSAGE_OUT_MAX];
  cv_text id = {transfer->id, strlen(transfer->id)};
  int length;
  if (transfer->state != CV_TRANSFER_SERVING || !transfer->up_ended || !transfer->down_ended) return;
  transfer->outcome = "ok";
  transfer->link.owes = 1;
  if (!transfer->warm) {
    transfer->state = CV_TRANSFER_FINISHED; /* it is the server that closes */
    transfer->active = now;
    return;
  }
  transfer->state = CV_TRANSFER_WAITING;
  transfer->link.heard = now;
  length = cv_write_idle(text, sizeof text, id);
  if (length < 0 || cv_link_send_text(&transfer->link, text, (size_t)length) != CV_OK) cv_transfer_cut(transfer, CV_INTERNAL, now);
}

static void fail(cv_transfer *transfer, const char *fault, cv_ms now) {
  cv_link_close(&transfer->link, CV_PROTOCOL_ERROR, fault, now);
  broken(transfer, cv_code_word(CV_PROTOCOL_ERROR));
}

static cv_transfer_event on_message(cv_transfer *transfer, cv_frame *frame, cv_ms now) {
  const char *fault;
  cv_message *message = &transfer->message;
  if (cv_message_read((char *)frame->bytes, frame->length, message, &fault) != CV_OK) {
    fail(transfer, fault, now);
    return CV_TRANSFER_CLOSED;
  }
  if (message->type == CV_MSG_UNKNOWN) return CV_TRANSFER_NONE;
  if (message->type != CV_MSG_ASSIGN || !transfer->warm || transfer->state != CV_TRANSFER_WAITING) {
    fail(transfer, "a message that does not belong on this transfer connection", now);
    return CV_TRANSFER_CLOSED;
  }
  memcpy(transfer->id, message->id.at, message->id.length);
  transfer->id[message->id.length] = '\0';
  transfer->state = CV_TRANSFER_ASSIGNED;
  transfer->discard = 0;
  cv_link_hold(&transfer->link, 1);
  return CV_TRANSFER_ASSIGN;
}

/* Whether a binary message may come now; what belongs to a refused visitor is thrown away. */
static int expects_binary(cv_transfer *transfer, cv_ms now) {
  if (transfer->state == CV_TRANSFER_WAITING && transfer->discard) return 0;
  if (transfer->state == CV_TRANSFER_SERVING && !transfer->down_ended) return 1;
  fail(transfer, transfer->down_ended ? "a binary message after END" : "a binary message while there is no visitor", now);
  return 0;
}

static cv_transfer_event on_opened(cv_transfer *transfer, cv_ms now) {
  if (transfer->warm) {
    transfer->state = CV_TRANSFER_WAITING;
  } else {
    begin_visitor(transfer, now);
  }
  return CV_TRANSFER_OPENED;
}

static cv_transfer_event on_closed(cv_transfer *transfer) {
  const cv_link *link = &transfer->link;
  broken(transfer, link->close == 4430 ? "visitor_reset" : cv_outcome_of(link->code));
  return CV_TRANSFER_CLOSED;
}

cv_transfer_event cv_transfer_input(cv_transfer *transfer, uint8_t *bytes, size_t length, cv_ms now, size_t *used,
                                    cv_frame *frame) {
  size_t at = 0;
  for (;;) {
    size_t count;
    cv_transfer_event event = CV_TRANSFER_NONE;
    cv_link_event found = cv_link_input(&transfer->link, bytes + at, length - at, now, &count, frame);
    at += count;
    *used = at;
    switch (found) {
      case CV_LINK_NONE:
        return CV_TRANSFER_NONE;
      case CV_LINK_UPGRADED:
        return on_opened(transfer, now);
      case CV_LINK_REFUSED:
        broken(transfer, transfer->link.code == CV_NOT_FOUND ? "visitor_gone" : cv_outcome_of(transfer->link.code));
        return CV_TRANSFER_REFUSED;
      case CV_LINK_CLOSED:
        return on_closed(transfer);
      case CV_LINK_TEXT:
        event = on_message(transfer, frame, now);
        break;
      case CV_LINK_DATA:
        if (!expects_binary(transfer, now)) break;
        transfer->active = now;
        if (transfer->untaken == 0) transfer->taken = now;
        transfer->untaken += frame->length;
        transfer->to_device += frame->length;
        return CV_TRANSFER_DATA;
      case CV_LINK_END:
        if (!expects_binary(transfer, now)) break;
        transfer->active = now;
        transfer->down_ended = 2; /* told; 1 once it was passed on */
        return CV_TRANSFER_END;
    }
    if (event != CV_TRANSFER_NONE) return event;
    if (transfer->state == CV_TRANSFER_BROKEN) return CV_TRANSFER_CLOSED;
  }
}

cv_transfer_event cv_transfer_eof(cv_transfer *transfer) {
  cv_link_event event = cv_link_eof(&transfer->link);
  broken(transfer, cv_outcome_of(transfer->link.code));
  return event == CV_LINK_REFUSED ? CV_TRANSFER_REFUSED : CV_TRANSFER_CLOSED;
}

void cv_transfer_accept(cv_transfer *transfer, cv_ms now) {
  char text[CV_MESSAGE_OUT_MAX];
  cv_text id = {transfer->id, strlen(transfer->id)};
  int length;
  if (transfer->state != CV_TRANSFER_ASSIGNED) return;
  begin_visitor(transfer, now);
  length = cv_write_accepted(text, sizeof text, id);
  if (length < 0 || cv_link_send_text(&transfer->link, text, (size_t)length) != CV_OK) cv_transfer_cut(transfer, CV_INTERNAL, now);
  cv_link_hold(&transfer->link, 0);
}

void cv_transfer_refuse(cv_transfer *transfer, cv_code code, cv_ms now) {
  char text[CV_MESSAGE_OUT_MAX];
  cv_text id = {transfer->id, strlen(transfer->id)};
  int length;
  if (transfer->state != CV_TRANSFER_ASSIGNED) return;
  transfer->state = CV_TRANSFER_WAITING;
  transfer->discard = 1;
  transfer->link.heard = now;
  length = cv_write_refused(text, sizeof text, id, code);
  if (length < 0 || cv_link_send_text(&transfer->link, text, (size_t)length) != CV_OK) cv_transfer_cut(transfer, CV_INTERNAL, now);
  cv_link_hold(&transfer->link, 0);
}

void cv_transfer_taken(cv_transfer *transfer, size_t length, cv_ms now) {
  if (length == 0) return;
  transfer->untaken -= length < transfer->untaken ? length : transfer->untaken;
  transfer->active = transfer->taken = now;
}

void cv_transfer_down_ended(cv_transfer *transfer, cv_ms now) {
  transfer->down_ended = 1;
  advance(transfer, now);
}

int cv_transfer_can_send(const cv_transfer *transfer) {
  return transfer->state == CV_TRANSFER_SERVING && !transfer->up_ended && cv_link_can_send(&transfer->link);
}

void cv_transfer_send(cv_transfer *transfer, uint8_t *bytes, size_t length, cv_ms now) {
  if (length == 0) return;
  transfer->active = now;
  transfer->to_visitor += length;
  cv_link_send_data(&transfer->link, bytes, length);
}

void cv_transfer_up_ended(cv_transfer *transfer, cv_ms now) {
  if (transfer->state != CV_TRANSFER_SERVING || transfer->up_ended) return;
  transfer->active = now;
  transfer->up_ended = 1;
  if (cv_link_send_end(&transfer->link) != CV_OK) cv_transfer_cut(transfer, CV_INTERNAL, now);
  if (transfer->down_ended == 1) advance(transfer, now);
}

void cv_transfer_cut(cv_transfer *transfer, cv_code code, cv_ms now) {
  cv_link_close(&transfer->link, code, NULL, now);
  broken(transfer, cv_outcome_of(code));
}

void cv_transfer_output(cv_transfer *transfer, const uint8_t **bytes, size_t *length) {
  cv_link_output(&transfer->link, bytes, length);
}

void cv_transfer_sent(cv_transfer *transfer, size_t length, cv_ms now) {
  if (length > 0) transfer->active = now;
  cv_link_sent(&transfer->link, length, now);
}

void cv_transfer_tick(cv_transfer *transfer, cv_ms now) {
  cv_link *link = &transfer->link;
  cv_link_tick(link, now);
  if (link->phase == CV_GONE) broken(transfer, cv_outcome_of(link->code));
  switch (transfer->state) {
    case CV_TRANSFER_WAITING:
      if (now - link->heard < (cv_ms)transfer->heartbeat_ms * 5 / 2) break;
      cv_link_kill(link, CV_HEARTBEAT_LOST);
      broken(transfer, cv_code_word(CV_PEER_RESET));
      break;
    case CV_TRANSFER_SERVING:
      if (transfer->untaken > 0 && now - transfer->taken >= CV_WRITE_MS) {
        cv_transfer_cut(transfer, CV_WRITE_TIMEOUT, now);
      } else if ((transfer->up_ended != 0) != (transfer->down_ended != 0) && now - transfer->active >= CV_LINGER_MS) {
        cv_transfer_cut(transfer, CV_LINGER_EXPIRED, now);
      }
      break;
    case CV_TRANSFER_FINISHED: /* the server closes once its visitor has taken everything, which may be slow */
      if (link->phase == CV_OPEN && now - transfer->active >= CV_LINGER_MS) cv_link_kill(link, CV_LINGER_EXPIRED);
      break;
    default:
      break;
  }
}

int cv_transfer_gone(const cv_transfer *transfer) {
  return transfer->link.phase == CV_GONE;
}
