#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform.h"

/* host or [v6], then :port. `port` keeps its value when there is none. Gives what is behind, or NULL. */
static const char *parse_authority(const char *text, char host[HOST_MAX], uint16_t *port, int *bracketed) {
  const char *end;
  size_t length;
  *bracketed = *text == '[';
  if (*bracketed) {
    end = strchr(++text, ']');
    if (end == NULL) return NULL;
  } else {
    end = text + strcspn(text, ":/?#");
  }
  length = (size_t)(end - text);
  if (length == 0 || length >= HOST_MAX) return NULL;
  memcpy(host, text, length);
  host[length] = '\0';
  if (strspn(host, *bracketed ? "0123456789abcdefABCDEF:.%" : "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-") !=
      length) {
    return NULL;
  }
  if (*bracketed) end++;
  if (*end == ':') {
    char *rest;
    unsigned long value = strtoul(end + 1, &rest, 10);
    if (rest == end + 1 || rest - end > 6 || value < 1 || value > 65535) return NULL;
    *port = (uint16_t)value;
    end = rest;
  }
  return end;
}

/* The origin, and what is behind it; NULL when it is none. */
static const char *parse_origin(const char *text, server_url *out) {
  static const struct {
    const char *scheme;
    int secure;
  } schemes[] = {{"https://", 1}, {"wss://", 1}, {"http://", 0}, {"ws://", 0}};
  size_t i;
  for (i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
    size_t length = strlen(schemes[i].scheme);
    const char *rest;
    int bracketed;
    uint16_t usual = schemes[i].secure ? 443 : 80;
    if (strncmp(text, schemes[i].scheme, length) != 0) continue;
    out->secure = schemes[i].secure;
    out->port = usual;
    rest = parse_authority(text + length, out->host, &out->port, &bracketed);
    if (rest == NULL) return NULL;
    if (out->port == usual) {
      snprintf(out->authority, sizeof out->authority, bracketed ? "[%s]" : "%s", out->host);
    } else {
      snprintf(out->authority, sizeof out->authority, bracketed ? "[%s]:%u" : "%s:%u", out->host, (unsigned)out->port);
    }
    snprintf(out->origin, sizeof out->origin, "%s%s", schemes[i].scheme, out->authority);
    return rest;
  }
  return NULL;
}

int parse_server(const char *text, server_url *out) {
  const char *rest = parse_origin(text, out);
  return rest != NULL && (strcmp(rest, "") == 0 || strcmp(rest, "/") == 0) ? 0 : -1;
}

int parse_transfer_url(const char *text, server_url *out, char prefix[257]) {
  const char *rest = parse_origin(text, out);
  size_t length;
  if (rest == NULL || text[0] != 'w' || (*rest != '\0' && *rest != '/')) return -1;
  length = strlen(rest);
  if (length > 256 || strpbrk(rest, "?#") != NULL) return -1;
  memcpy(prefix, rest, length + 1);
  if (length > 0 && prefix[length - 1] == '/') prefix[length - 1] = '\0';
  return 0;
}

/* %41 is A. */
static int percent_decoded(const char *text, size_t length, char *out, size_t size) {
  size_t at = 0;
  size_t i;
  for (i = 0; i < length; i++) {
    char c = text[i];
    if (c == '%' && i + 2 < length) {
      char digits[3] = {text[i + 1], text[i + 2], '\0'};
      char *end;
      c = (char)strtoul(digits, &end, 16);
      if (end != digits + 2 || c == '\0') return -1;
      i += 2;
    }
    if (at + 1 >= size) return -1;
    out[at++] = c;
  }
  out[at] = '\0';
  return 0;
}

int parse_proxy(const char *text, proxy_url *out) {
  const char *at;
  const char *rest;
  int bracketed;
  memset(out, 0, sizeof *out);
  if (strncmp(text, "http://", 7) == 0) {
    text += 7;
  } else if (strstr(text, "://") != NULL) {
    return -1;
  }
  at = strrchr(text, '@');
  if (at != NULL) {
    char login[256];
    if (percent_decoded(text, (size_t)(at - text), login, sizeof login) != 0) return -1;
    cv_base64((const uint8_t *)login, strlen(login), out->credentials);
    text = at + 1;
  }
  out->port = 80;
  rest = parse_authority(text, out->host, &out->port, &bracketed);
  return rest != NULL && (strcmp(rest, "") == 0 || strcmp(rest, "/") == 0) ? 0 : -1;
}

int parse_mapping(const char *text, mapping *out) {
  const char *equals = strchr(text, '=');
  const char *number = text;
  char *end;
  unsigned long port;
  int bracketed;
  memset(out, 0, sizeof *out);
  out->port.scheme = CV_TCP;
  if (strncmp(text, "http:", 5) == 0) {
    out->port.scheme = CV_HTTP;
    number += 5;
  } else if (strncmp(text, "https:", 6) == 0) {
    out->port.scheme = CV_HTTPS;
    number += 6;
  } else if (strncmp(text, "tcp:", 4) == 0) {
    number += 4;
  }
  if (*number < '0' || *number > '9') return -1;
  port = strtoul(number, &end, 10);
  if (end - number > 5 || port < 1 || port > 65535 || (*end != '\0' && end != equals)) return -1;
  out->port.port = out->target = (uint16_t)port;
  if (number == text && port == 80) out->port.scheme = CV_HTTP;
  if (number == text && port == 443) out->port.scheme = CV_HTTPS;
  if (equals == NULL) {
    strcpy(out->host, "127.0.0.1");
    return 0;
  }
  out->target = 0;
  end = (char *)parse_authority(equals + 1, out->host, &out->target, &bracketed);
  return end != NULL && *end == '\0' && out->target != 0 ? 0 : -1;
}

/* Whether an address lies in a range such as 10.0.0.0/8. */
static int in_range(const os_address *address, const char *range) {
  char network[64];
  const char *slash = strchr(range, '/');
  size_t length = slash == NULL ? strlen(range) : (size_t)(slash - range);
  os_address base;
  const uint8_t *a;
  const uint8_t *b;
  unsigned long bits;
  unsigned i;
  if (length >= sizeof network) return 0;
  memcpy(network, range, length);
  network[length] = '\0';
  if (os_literal(network, 1, &base) != 1 || base.storage.ss_family != address->storage.ss_family) return 0;
  if (base.storage.ss_family == AF_INET) {
    a = (const uint8_t *)&((const struct sockaddr_in *)&address->storage)->sin_addr;
    b = (const uint8_t *)&((const struct sockaddr_in *)&base.storage)->sin_addr;
    bits = 32;
  } else {
    a = (const uint8_t *)&((const struct sockaddr_in6 *)&address->storage)->sin6_addr;
    b = (const uint8_t *)&((const struct sockaddr_in6 *)&base.storage)->sin6_addr;
    bits = 128;
  }
  if (slash != NULL && strtoul(slash + 1, NULL, 10) < bits) bits = strtoul(slash + 1, NULL, 10);
  for (i = 0; i < bits; i++) {
    if (((a[i / 8] ^ b[i / 8]) >> (7 - i % 8) & 1) != 0) return 0;
  }
  return 1;
}

static int same_word(const char *a, const char *b, size_t length) {
  size_t i;
  for (i = 0; i < length; i++) {
    if ((a[i] >= 'A' && a[i] <= 'Z' ? a[i] + 32 : a[i]) != (b[i] >= 'A' && b[i] <= 'Z' ? b[i] + 32 : b[i])) return 0;
  }
  return 1;
}

int proxy_bypassed(const server_url *server, const char *list) {
  os_address address;
  int literal = os_literal(server->host, server->port, &address) == 1;
  size_t host = strlen(server->host);
  while (*list != '\0') {
    char entry[HOST_MAX];
    char *colon;
    const char *name = entry;
    size_t length = strcspn(list, ", \t");
    if (length > 0 && length < sizeof entry) {
      memcpy(entry, list, length);
      entry[length] = '\0';
      if (strcmp(entry, "*") == 0) return 1;
      colon = strrchr(entry, ':');
      if (colon != NULL && strchr(entry, ':') == colon) { /* host:port */
        *colon = '\0';
        if (strtoul(colon + 1, NULL, 10) != server->port) *entry = '\0';
      }
      if (literal) {
        if (in_range(&address, entry)) return 1;
      } else {
        if (*name == '*') name++;
        if (*name == '.') name++;
        length = strlen(name);
        if (length > 0 && length <= host && same_word(server->host + host - length, name, length) &&
            (length == host || server->host[host - length - 1] == '.')) {
          return 1;
        }
      }
      length = strcspn(list, ", \t");
    }
    list += length;
    list += strspn(list, ", \t");
  }
  return 0;
}

int is_device_name(const char *text) {
  size_t length = strlen(text);
  return length >= 1 && length <= 63 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == length && text[0] != '-' &&
         text[length - 1] != '-';
}

int is_token(const char *text) {
  size_t length = strlen(text);
  size_t plain = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~+/-");
  return length >= 1 && length <= 512 && plain > 0 && strspn(text + plain, "=") == length - plain;
}
