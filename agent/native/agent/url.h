/*
 * Addresses as people write them.
 */
#ifndef AGENT_URL_H
#define AGENT_URL_H

#include <stddef.h>
#include <stdint.h>

#include "culvert/culvert.h"

#define HOST_MAX 254

/* A server's origin: https://culvert.example, also http, ws and wss. */
typedef struct server_url {
  char host[HOST_MAX];
  uint16_t port;
  int secure;
  char authority[HOST_MAX + 10]; /* value of the Host header */
  char origin[HOST_MAX + 20];    /* for people */
} server_url;

/* http://[user:password@]host:port */
typedef struct proxy_url {
  char host[HOST_MAX];
  uint16_t port;
  char credentials[350]; /* base64 of user:password; empty: none */
} proxy_url;

/* One declared port, and where its bytes go. */
typedef struct mapping {
  cv_port port;
  char host[HOST_MAX];
  uint16_t target;
} mapping;

/* 0, or -1 when the text is not what it should be. */
int parse_server(const char *text, server_url *out);
/* ws or wss, with a path that goes in front of what is asked for; `prefix` is empty without one. */
int parse_transfer_url(const char *text, server_url *out, char prefix[257]);
int parse_proxy(const char *text, proxy_url *out);
int parse_mapping(const char *text, mapping *out);
/* Whether NO_PROXY names the server. */
int proxy_bypassed(const server_url *server, const char *list);
/* A DNS label of a-z, 0-9 and inner hyphens, 1 to 63. */
int is_device_name(const char *text);
/* What may stand in an Authorization header. */
int is_token(const char *text);

#endif
