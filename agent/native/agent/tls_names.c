#include "tls_names.h"

#include <string.h>

#include "platform.h"

/* 2.5.29.30 and 2.5.29.17: name constraints, subject alternative names. */
static const unsigned char CONSTRAINTS[] = {0x55, 0x1d, 0x1e};
static const unsigned char NAMES[] = {0x55, 0x1d, 0x11};
enum {
  TAG_BOOLEAN = 0x01,
  TAG_OCTETS = 0x04,
  TAG_OBJECT = 0x06,
  TAG_SEQUENCE = 0x30,
  TAG_DNS_NAME = 0x82,
  TAG_ADDRESS = 0x87,
  TAG_PERMITTED = 0xa0,
  TAG_EXCLUDED = 0xa1
};

/* A run of DER. */
typedef struct run {
  const unsigned char *at;
  const unsigned char *end;
} run;

/* Takes one element: its tag, and its content. 0 at the end or for what is no DER. */
static int take(run *from, int *tag, run *content) {
  size_t length;
  size_t octets;
  if (from->end - from->at < 2) return 0;
  *tag = *from->at++;
  length = *from->at++;
  if (length >= 0x80) {
    octets = length & 0x7f;
    length = 0;
    if (octets == 0 || octets > 3 || (size_t)(from->end - from->at) < octets) return 0;
    while (octets-- > 0) length = length << 8 | *from->at++;
  }
  if ((size_t)(from->end - from->at) < length) return 0;
  content->at = from->at;
  content->end = from->at += length;
  return 1;
}

int is_name_constraints(const mbedtls_x509_buf *identifier) {
  return identifier->len == sizeof CONSTRAINTS && memcmp(identifier->p, CONSTRAINTS, sizeof CONSTRAINTS) == 0;
}

static char lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* example.com covers itself and all below. */
static int covers_name(const run *base, const char *host) {
  size_t length = (size_t)(base->end - base->at);
  size_t host_length = strlen(host);
  const char *tail = host + host_length - (length < host_length ? length : host_length);
  size_t i;
  if (length > host_length) return 0;
  for (i = 0; i < length; i++) {
    if (lower(tail[i]) != lower((char)base->at[i])) return 0;
  }
  return length == 0 || length == host_length || tail[-1] == '.' || base->at[0] == '.';
}

/* Address and mask, four or sixteen bytes each. */
static int covers_address(const run *base, const unsigned char *address, size_t size) {
  size_t i;
  if ((size_t)(base->end - base->at) != 2 * size) return 0;
  for (i = 0; i < size; i++) {
    if (((address[i] ^ base->at[i]) & base->at[size + i]) != 0) return 0;
  }
  return 1;
}

/* What the host is, as constraints see it. */
typedef struct subject {
  const char *host;
  const unsigned char *address; /* NULL: it is a name */
  size_t size;
} subject;

/* Whether one of the subtrees covers the subject; *relevant says whether there are any of its kind. */
static int covered(run subtrees, const subject *of, int *relevant) {
  run subtree;
  run base;
  int tag;
  int found = 0;
  *relevant = 0;
  while (take(&subtrees, &tag, &subtree)) {
    if (!take(&subtree, &tag, &base) || tag != (of->address == NULL ? TAG_DNS_NAME : TAG_ADDRESS)) continue;
    *relevant = 1;
    found |= of->address == NULL ? covers_name(&base, of->host) : covers_address(&base, of->address, of->size);
  }
  return found;
}

static int permits(run constraints, const subject *of) {
  run lists;
  run list;
  int tag;
  int relevant;
  if (!take(&constraints, &tag, &lists) || tag != TAG_SEQUENCE) return 0;
  while (take(&lists, &tag, &list)) {
    int found = covered(list, of, &relevant);
    if (tag == TAG_PERMITTED && relevant && !found) return 0;
    if (tag == TAG_EXCLUDED && found) return 0;
  }
  return 1;
}

/* The content of an extension: 1 when it is there, 0 when not, -1 when it is no DER. */
static int find_extension(const mbedtls_x509_crt *certificate, const unsigned char *identifier, size_t size, run *content) {
  run extensions;
  run extension;
  run part;
  int tag;
  extensions.at = certificate->v3_ext.p;
  extensions.end = extensions.at == NULL ? NULL : extensions.at + certificate->v3_ext.len;
  if (extensions.at == NULL) return 0;
  if (take(&extensions, &tag, &part) && extensions.at == extensions.end) {
    extensions = part; /* the list around them */
  } else {
    extensions.at = certificate->v3_ext.p;
  }
  while (take(&extensions, &tag, &extension)) {
    if (!take(&extension, &tag, &part) || tag != TAG_OBJECT) continue;
    if ((size_t)(part.end - part.at) != size || memcmp(part.at, identifier, size) != 0) continue;
    if (!take(&extension, &tag, content)) return -1;
    if (tag == TAG_BOOLEAN && !take(&extension, &tag, content)) return -1;
    return tag == TAG_OCTETS ? 1 : -1;
  }
  return 0;
}

/* The bytes of a host that is an address; the subject points into `literal`. */
static subject subject_of(const char *host, os_address *literal) {
  subject of = {NULL, NULL, 0};
  of.host = host;
  if (os_literal(host, 1, literal) == 1) {
    int six = literal->storage.ss_family == AF_INET6;
    of.address = six ? (const unsigned char *)&((const struct sockaddr_in6 *)&literal->storage)->sin6_addr
                     : (const unsigned char *)&((const struct sockaddr_in *)&literal->storage)->sin_addr;
    of.size = six ? 16 : 4;
  }
  return of;
}

int certificate_permits(const mbedtls_x509_crt *authority, const char *host) {
  os_address literal;
  subject of = subject_of(host, &literal);
  run constraints;
  int found = find_extension(authority, CONSTRAINTS, sizeof CONSTRAINTS, &constraints);
  return found == 0 || (found == 1 && permits(constraints, &of));
}

int certificate_has_address(const mbedtls_x509_crt *certificate, const char *host) {
  os_address literal;
  subject of = subject_of(host, &literal);
  run names;
  run list;
  run name;
  int tag;
  if (of.address == NULL || find_extension(certificate, NAMES, sizeof NAMES, &names) != 1) return 0;
  if (!take(&names, &tag, &list) || tag != TAG_SEQUENCE) return 0;
  while (take(&list, &tag, &name)) {
    if (tag == TAG_ADDRESS && (size_t)(name.end - name.at) == of.size && memcmp(name.at, of.address, of.size) == 0) return 1;
  }
  return 0;
}
