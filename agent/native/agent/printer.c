/* What the agent tells: one JSON object a line, or lines for people, to standard output or to the system's log. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent.h"

/* Room for `ready` with all its endpoints. */
static char line[MAPPINGS * 640 + 1024];

/* 2026-01-31T13:05:59.123Z, by the civil calendar, without the C library's time zones. */
static void put_time(char out[32]) {
  int64_t seconds;
  int ms;
  int64_t days;
  int64_t z;
  int64_t era;
  int64_t of_era;
  int64_t year_of_era;
  int64_t of_year;
  int64_t month;
  int64_t year;
  int second;
  os_wall(&seconds, &ms);
  days = seconds / 86400;
  second = (int)(seconds % 86400);
  z = days + 719468;
  era = z / 146097;
  of_era = z - era * 146097;
  year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  month = (5 * of_year + 2) / 153;
  year = year_of_era + era * 400 + (month >= 10);
  snprintf(out, 32, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (int)(year % 10000), (int)((month < 10 ? month + 3 : month - 9) % 100),
           (int)((of_year - (153 * month + 2) / 5 + 1) % 100), second / 3600, second / 60 % 60, second % 60, ms % 1000);
}

static void begin(cv_json_writer *writer, const agent *a, const char *event) {
  char time[32];
  put_time(time);
  cv_json_begin(writer, line, sizeof line - 1);
  cv_json_put_word(writer, "event", event);
  cv_json_put_word(writer, "time", time);
  cv_json_put_word(writer, "name", a->options->name);
}

static void end(cv_json_writer *writer) {
  int length = cv_json_end(writer);
  if (length < 0) return;
  line[length] = '\0';
  os_log_line(0, line);
}

static const char *scheme_of(const mapping *m) {
  return m->port.scheme == CV_HTTP ? "http" : m->port.scheme == CV_HTTPS ? "https" : "tcp";
}

static void put_endpoint(cv_json_writer *writer, const agent *a, size_t index) {
  const mapping *m = &a->options->mappings[index];
  const endpoint *e = &a->endpoints[index];
  cv_json_put_integer(writer, "port", m->port.port);
  cv_json_put_word(writer, "scheme", scheme_of(m));
  if (m->port.scheme == CV_TCP) {
    cv_json_put_word(writer, "host", e->host);
    cv_json_put_integer(writer, "public_port", e->public_port);
  } else {
    cv_json_put_word(writer, "url", e->url);
  }
}

static int is_known(const agent *a, size_t index) {
  return a->endpoints[index].public_port != 0 || a->endpoints[index].url[0] != '\0';
}

void tell_connecting(const agent *a, const server_url *server) {
  cv_json_writer writer;
  if (a->options->json) {
    begin(&writer, a, "connecting");
    cv_json_put_word(&writer, "server", server->origin);
    end(&writer);
    return;
  }
  snprintf(line, sizeof line, "connecting to %s", server->origin);
  os_log_line(0, line);
}

void tell_endpoint(const agent *a, size_t index) {
  cv_json_writer writer;
  if (!a->options->json) return;
  begin(&writer, a, "endpoint");
  put_endpoint(&writer, a, index);
  end(&writer);
}

void tell_ready(const agent *a, const link_control *c, const cv_message *ready) {
  static char list[MAPPINGS * 640];
  cv_json_writer writer;
  size_t length = 0;
  size_t i;
  (void)c;
  if (a->options->json) {
    list[length++] = '[';
    for (i = 0; i < a->options->mapping_count; i++) {
      int added;
      if (!is_known(a, i)) continue;
      if (length > 1) list[length++] = ',';
      cv_json_begin(&writer, list + length, sizeof list - length - 2);
      put_endpoint(&writer, a, i);
      added = cv_json_end(&writer);
      if (added < 0) break;
      length += (size_t)added;
    }
    list[length++] = ']';
    list[length] = '\0';
    begin(&writer, a, "ready");
    cv_json_put_integer(&writer, "epoch", (int64_t)ready->epoch);
    cv_json_put_raw(&writer, "resumed", ready->resumed ? "true" : "false");
    cv_json_put_raw(&writer, "endpoints", list);
    cv_json_put_integer(&writer, "grace_ms", (int64_t)ready->grace_ms);
    cv_json_put_integer(&writer, "heartbeat_ms", (int64_t)ready->heartbeat_ms);
    end(&writer);
    return;
  }
  snprintf(line, sizeof line, "%s is reachable%s:", a->options->name, ready->resumed ? " again, as before" : "");
  os_log_line(0, line);
  for (i = 0; i < a->options->mapping_count; i++) {
    const mapping *m = &a->options->mappings[i];
    const endpoint *e = &a->endpoints[i];
    const char *left = strchr(m->host, ':') != NULL ? "[" : "";
    const char *right = *left != '\0' ? "]" : "";
    if (!is_known(a, i)) continue;
    if (m->port.scheme == CV_TCP) {
      snprintf(line, sizeof line, "  %s:%u  ->  %s%s%s:%u", e->host, (unsigned)e->public_port, left, m->host, right, (unsigned)m->target);
    } else {
      snprintf(line, sizeof line, "  %s  ->  %s%s%s:%u", e->url, left, m->host, right, (unsigned)m->target);
    }
    os_log_line(0, line);
  }
}

static void tell_trouble(const agent *a, const char *event, const char *words, cv_code code, const char *message, int status,
                         uint32_t retry_ms) {
  cv_json_writer writer;
  if (a->options->json) {
    begin(&writer, a, event);
    cv_json_put_word(&writer, "code", cv_code_word(code));
    cv_json_put_word(&writer, "message", message);
    if (status != 0) cv_json_put_integer(&writer, "status", status);
    cv_json_put_integer(&writer, "retry_in_ms", retry_ms);
    end(&writer);
    return;
  }
  snprintf(line, sizeof line, "%s: %s (%s); next try in %u.%u s", words, message, cv_code_word(code), (unsigned)(retry_ms / 1000),
           (unsigned)(retry_ms / 100 % 10));
  os_log_line(1, line);
}

void tell_refused(const agent *a, cv_code code, const char *message, int status, uint32_t retry_ms) {
  tell_trouble(a, "refused", "refused", code, message, status, retry_ms);
}

void tell_disconnected(const agent *a, cv_code code, const char *message, uint32_t retry_ms) {
  tell_trouble(a, "disconnected", "not connected", code, message, 0, retry_ms);
}

void tell_transfer(const agent *a, const char *id, uint16_t port, const char *outcome, uint64_t to_device, uint64_t to_visitor) {
  cv_json_writer writer;
  if (a->options->json) {
    begin(&writer, a, "transfer");
    cv_json_put_word(&writer, "id", id);
    cv_json_put_integer(&writer, "port", port);
    cv_json_put_word(&writer, "outcome", outcome);
    cv_json_put_integer(&writer, "to_device", (int64_t)to_device);
    cv_json_put_integer(&writer, "to_visitor", (int64_t)to_visitor);
    end(&writer);
    return;
  }
  if (strcmp(outcome, "ok") == 0) return;
  snprintf(line, sizeof line, "a visitor of port %u ended as %s (%llu bytes in, %llu out)", (unsigned)port, outcome,
           (unsigned long long)to_device, (unsigned long long)to_visitor);
  os_log_line(1, line);
}

void tell_stopped(const agent *a) {
  cv_json_writer writer;
  if (!a->options->json) {
    os_log_line(0, "stopped");
    return;
  }
  begin(&writer, a, "stopped");
  end(&writer);
}
