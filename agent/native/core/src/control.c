#include "culvert/control.h"

#include <string.h>

int cv_control_start(cv_control *control, const cv_link_config *config, const cv_device *device, const char *host,
                     const char *token, char *buffer, size_t size, cv_ms now) {
  int length;
  char *target;
  memset(control, 0, sizeof *control);
  cv_link_init(&control->link, config, now);
  control->inline_asked = (uint16_t)device->inlined;
  length = cv_control_target(buffer, size, device);
  if (length < 0) return length;
  /* The target waits at the far end of the buffer while the request is written in front of it. */
  target = buffer + size - (size_t)length - 1;
  memmove(target, buffer, (size_t)length + 1);
  return cv_link_request(&control->link, host, target, token, buffer, size - (size_t)length - 1);
}

static int has_room(const cv_control *control) {
  const cv_link *link = &control->link;
  return link->out_size - (link->out_to - link->out_from) >= CV_MESSAGE_OUT_MAX + 8 + 2 * (CV_CONTROL_PAYLOAD + 6);
}

static cv_control_event fail(cv_control *control, const char *fault, cv_ms now) {
  control->fault = fault;
  cv_link_close(&control->link, CV_PROTOCOL_ERROR, fault, now);
  return CV_CONTROL_NONE;
}

static cv_control_event on_message(cv_control *control, cv_frame *frame, cv_ms now) {
  const char *fault;
  cv_message *message = &control->message;
  if (cv_message_read((char *)frame->bytes, frame->length, message, &fault) != CV_OK) return fail(control, fault, now);
  switch (message->type) {
    case CV_MSG_ENDPOINT:
      return CV_CONTROL_ENDPOINT;
    case CV_MSG_READY:
      if (control->ready) return CV_CONTROL_NONE;
      control->ready = 1;
      control->since = now;
      control->epoch = message->epoch;
      control->heartbeat_ms = message->heartbeat_ms;
      if (message->inlined > control->inline_asked) message->inlined = control->inline_asked;
      control->inlined = (uint16_t)message->inlined;
      return CV_CONTROL_READY;
    case CV_MSG_DIAL:
      return control->leaving ? CV_CONTROL_NONE : CV_CONTROL_DIAL;
    case CV_MSG_WIND_DOWN:
      return CV_CONTROL_WIND_DOWN;
    case CV_MSG_BYE:
      control->bye = cv_code_of_word(message->code);
      if (control->bye == CV_NO_CODE) control->bye = CV_BYE;
      cv_link_close(&control->link, CV_BYE, NULL, now);
      return CV_CONTROL_BYE;
    default: /* unknown, or of no meaning here: a later version may know better */
      return CV_CONTROL_NONE;
  }
}

/* Inline messages are one frame each. */
static cv_control_event on_binary(cv_control *control, const cv_frame *frame, cv_ms now) {
  const cv_parser *parser = &control->link.in.parser;
  if (control->inlined == 0) return fail(control, "a binary message on a control connection", now);
  if (parser->opcode != CV_OP_BINARY || parser->fragmented || !parser->fin) return fail(control, "an inline message is fragmented", now);
  control->total = parser->length;
  control->offset = parser->length - parser->left - frame->length;
  return CV_CONTROL_INLINE;
}

void cv_control_fail_inline(cv_control *control, int error, cv_ms now) {
  control->fault = "an inline message is not what section 14 allows";
  cv_link_close(&control->link, error == CV_ETOOLARGE ? CV_TOO_LARGE : CV_PROTOCOL_ERROR, control->fault, now);
}

cv_control_event cv_control_input(cv_control *control, uint8_t *bytes, size_t length, cv_ms now, size_t *used, cv_frame *frame) {
  size_t at = 0;
  for (;;) {
    size_t count;
    cv_control_event event = CV_CONTROL_NONE;
    *used = at;
    if (control->link.phase == CV_OPEN && !has_room(control)) {
      if (length > at) control->link.heard = now;
      return CV_CONTROL_NONE;
    }
    switch (cv_link_input(&control->link, bytes + at, length - at, now, &count, frame)) {
      case CV_LINK_NONE:
        *used = at + count;
        return CV_CONTROL_NONE;
      case CV_LINK_UPGRADED:
        control->since = now;
        break;
      case CV_LINK_TEXT:
        event = on_message(control, frame, now);
        break;
      case CV_LINK_DATA:
        event = on_binary(control, frame, now);
        break;
      case CV_LINK_END:
        event = fail(control, "a binary message on a control connection", now);
        break;
      case CV_LINK_REFUSED:
      case CV_LINK_CLOSED:
        event = CV_CONTROL_OVER;
        break;
    }
    at += count;
    *used = at;
    if (event != CV_CONTROL_NONE) return event;
  }
}

cv_control_event cv_control_eof(cv_control *control) {
  cv_link_eof(&control->link);
  return CV_CONTROL_OVER;
}

int cv_control_refuse(cv_control *control, cv_text id, cv_code code) {
  char text[CV_MESSAGE_OUT_MAX];
  int length = cv_write_refused(text, sizeof text, id, code);
  return length < 0 ? length : cv_link_send_text(&control->link, text, (size_t)length);
}

void cv_control_leave(cv_control *control, cv_ms now) {
  char text[CV_MESSAGE_OUT_MAX];
  int length = cv_write_bye(text, sizeof text, CV_BYE, "the agent stops");
  if (length > 0) cv_link_send_text(&control->link, text, (size_t)length);
  cv_control_drop(control, now);
}

void cv_control_drop(cv_control *control, cv_ms now) {
  control->leaving = 1;
  cv_link_close(&control->link, CV_BYE, NULL, now);
}

void cv_control_tick(cv_control *control, cv_ms now) {
  cv_link *link = &control->link;
  cv_link_tick(link, now);
  if (link->phase != CV_OPEN) return;
  if (!control->ready) {
    if (now - control->since >= CV_HANDSHAKE_MS) cv_link_kill(link, CV_UNAVAILABLE);
  } else if (now - link->heard >= (cv_ms)control->heartbeat_ms * 5 / 2) {
    cv_link_close(link, CV_HEARTBEAT_LOST, NULL, now);
    link->deadline = now; /* said once, answered by nobody: the next tick ends it */
  }
}

int cv_control_gone(const cv_control *control) {
  return control->link.phase == CV_GONE;
}

void cv_control_ending(const cv_control *control, cv_ms now, cv_ending *ending) {
  const cv_link *link = &control->link;
  memset(ending, 0, sizeof *ending);
  ending->retry_after_ms = -1;
  ending->code = control->bye != CV_NO_CODE ? control->bye : link->code;
  if (ending->code == CV_NO_CODE) ending->code = CV_UNAVAILABLE;
  if (link->refused) {
    ending->kind = CV_ENDED_REFUSED;
    if (link->in.response.retry_after_s >= 0) ending->retry_after_ms = link->in.response.retry_after_s * 1000;
  } else if (control->ready) {
    ending->kind = CV_ENDED_LOST;
    ending->lived_ms = now - control->since;
  } else {
    /* Said before it was ready: what only a person can mend is a refusal all the same. */
    ending->kind = cv_code_retry(ending->code) == CV_RETRY_SLOW && link->phase != CV_HANDSHAKING && control->since != 0
                       ? CV_ENDED_REFUSED
                       : CV_ENDED_FAILED;
  }
}
