/*
 * What the command line, the configuration file and the environment say.
 */
#ifndef AGENT_OPTIONS_H
#define AGENT_OPTIONS_H

#include "url.h"

#define SERVERS 8
#define MAPPINGS 32
#define PINS 4

typedef struct options {
  server_url servers[SERVERS];
  uint32_t server_count;
  const char *name;
  const char *token_file; /* NULL: the token is that of CULVERT_TOKEN */
  const char *enrol_word;
  const char *enrol_file;
  char enrol_key[513];    /* empty: none */
  char token_home[512];   /* memory of a token file that was not named */
  mapping mappings[MAPPINGS];
  size_t mapping_count;
  mapping forwards[MAPPINGS]; /* for operators alone */
  size_t forward_count;
  const char *ca_file;
  const char *pins[PINS];
  size_t pin_count;
  const char *proxy_text;
  int use_proxy[SERVERS];
  proxy_url proxies[SERVERS];
  uint32_t warm;
  uint32_t transfers;
  uint32_t inlined; /* inline transfers wanted */
  int json;
  int service;
} options;

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/*
 * Reads them. -1: the program may start; else an exit code: everything that was wrong, or --help and --version, has been
 * printed.
 */
int options_read(options *out, int argc, char **argv);

/* The proxy for a server: 1, 0 when there is none, -1 when what names it makes no sense. */
int proxy_for(const options *o, const server_url *server, proxy_url *out);

/* Makes TLS ready, once; 0, or -1 with what is wrong in `why`. */
int options_tls(const options *o, char *why, size_t size);

/* A token in a file; 0, or -1 when there is none. */
int secret_read(const char *path, char token[513]);
int secret_exists(const char *path);

/* The token as it is now; 0, or -1 with what is wrong in `why`. */
int token_read(const options *o, char token[513], char *why, size_t size);

#endif
