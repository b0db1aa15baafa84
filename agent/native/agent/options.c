#include "options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls.h"

#ifndef CULVERT_VERSION
#define CULVERT_VERSION "0.1.0"
#endif

static const char HELP[] =
    "Usage: culvert-agent [options] MAPPING...\n"
    "Connects this device to a Culvert server and offers the ports that the mappings name.\n\n"
    "  --server URL         origin of the server, https://HOST; may be given up to 8 times: they are tried in turn\n"
    "  --name NAME          the name given to: culvert device add\n"
    "  --token-file FILE    file that holds the device token, read anew before every connection\n"
    "  --enroll-file FILE   file with the enrolment key of the first start: the token is made then, and kept in --token-file\n"
    "                       (default: ~/.culvert/NAME.token); or CULVERT_ENROLL_KEY, or --enroll KEY, which others can see\n"
    "  --ca-file FILE       certificates (PEM) to trust besides those of the system (or CULVERT_CA_FILE)\n"
    "  --pin sha256/BASE64  the server's public key must have this SHA-256; up to 4: one of them\n"
    "  --proxy URL          HTTP proxy, http://[user:password@]host:port; \"\": none, whatever the environment says\n"
    "  --warm N             most warm transfers to keep when the server grants them (default: 16; 0: none)\n"
    "  --inline N           visitors on the control connection itself, at most 64, for a server that reaches the device by\n"
    "                       one connection only (default: 0)\n"
    "  --max-transfers N    most visitors served at once (default: 256); memory for them is taken at start\n"
    "  --allow-forward LIST more ports for operators alone (culvert forward), such as 22,5900=192.168.1.7:5900\n"
    "  --json               print one event a line, as JSON\n"
    "  --service            write events to the system's log\n"
    "  --config FILE        lines such as: server = https://HOST, and map = tcp:22; the command line goes before them\n"
    "  --version, --help\n\n"
    "MAPPING is a port and, after \"=\", where its bytes go; without that, the same port of this machine:\n"
    "  80                         http, to 127.0.0.1:80 (443: https; any other bare number: tcp)\n"
    "  http:8080=127.0.0.1:3000   http, to port 3000 of this machine\n"
    "  tcp:22=192.168.1.7:22      any protocol, to another machine that this one can reach\n"
    "  tcp:22=[::1]:22            the same over IPv6\n\n"
    "The token never stands on the command line: give --token-file, or set CULVERT_TOKEN. HTTPS_PROXY, HTTP_PROXY and\n"
    "NO_PROXY are obeyed. The agent connects again for ever. SIGINT or SIGTERM stops it: running transfers may finish for\n"
    "10 s, a second signal ends them. SIGHUP makes it connect anew, with the token as it is then; no visitor notices.\n\n"
    "Exit codes: 0 stopped by a signal, 1 error, 2 usage.\n";

static int faults;

static void fault(const char *format, ...) {
  va_list arguments;
  if (faults++ == 0) fprintf(stderr, "culvert-agent: cannot start:\n");
  fprintf(stderr, "  - ");
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, "\n");
}

/* What has been given on the command line, where the file has no say any more. */
typedef struct given {
  int server;
  int map;
  int warm;
  int transfers;
  int inlined;
} given;

static uint32_t whole(const char *name, const char *text, uint32_t min, uint32_t max) {
  char *end;
  unsigned long value = strtoul(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || value < min || value > max) {
    fault("%s is %s; expected a whole number from %u to %u", name, text, (unsigned)min, (unsigned)max);
    return min;
  }
  return (uint32_t)value;
}

static void add_server(options *o, const char *text) {
  if (o->server_count == SERVERS) {
    fault("more than %d servers", SERVERS);
  } else if (parse_server(text, &o->servers[o->server_count]) != 0) {
    fault("server %.128s is not an origin of http, https, ws or wss; expected one such as https://culvert.example", text);
  } else {
    o->server_count++;
  }
}

/* sha256/BASE64, as culvert agent takes it, or the base64 alone. */
static void add_pin(options *o, const char *text) {
  if (strncmp(text, "sha256/", 7) == 0) text += 7;
  if (strlen(text) != 44) {
    fault("--pin %.64s is not sha256/ and the base64 of a SHA-256; expected 44 characters behind it", text);
  } else if (o->pin_count == PINS) {
    fault("more than %d pins", PINS);
  } else {
    o->pins[o->pin_count++] = text;
  }
}

/* 22,5900=192.168.1.7:5900: ports for operators alone. */
static void add_forwards(options *o, const char *text) {
  while (*text != '\0') {
    char one[300];
    size_t length = strcspn(text, ",");
    mapping *added = &o->forwards[o->forward_count];
    snprintf(one, sizeof one, "%.*s", (int)(length < sizeof one ? length : sizeof one - 1), text);
    text += length;
    text += *text == ',';
    if (o->forward_count == MAPPINGS) {
      fault("more than %d ports in --allow-forward", MAPPINGS);
      return;
    }
    if (length >= sizeof one || parse_mapping(one, added) != 0) {
      fault("--allow-forward: %.128s is not PORT[=HOST:PORT]; expected for example 22 or 5900=192.168.1.7:5900", one);
    } else {
      o->forward_count++;
    }
  }
}

static void add_mapping(options *o, const char *text) {
  size_t i;
  mapping *added = &o->mappings[o->mapping_count];
  if (o->mapping_count == MAPPINGS) {
    fault("more than %d mappings", MAPPINGS);
    return;
  }
  if (parse_mapping(text, added) != 0) {
    fault("mapping %.128s is not [http:|https:|tcp:]PORT[=HOST:PORT]; expected for example 80 or tcp:22=192.168.1.7:22", text);
    return;
  }
  for (i = 0; i < o->mapping_count; i++) {
    if (o->mappings[i].port.port == added->port.port) {
      fault("mappings name port %u twice; expected every port number once", (unsigned)added->port.port);
      return;
    }
  }
  o->mapping_count++;
}

/* One setting by its name without dashes; -1 when there is none of this name. `from_file` does not override what was given. */
static int set(options *o, given *before, const char *name, const char *value, int from_file) {
  if (strcmp(name, "server") == 0) {
    if (!from_file || !before->server) add_server(o, value);
  } else if (strcmp(name, "map") == 0) {
    if (!from_file || !before->map) add_mapping(o, value);
  } else if (strcmp(name, "name") == 0) {
    if (!from_file || o->name == NULL) o->name = value;
  } else if (strcmp(name, "token-file") == 0) {
    if (!from_file || o->token_file == NULL) o->token_file = value;
  } else if (strcmp(name, "allow-forward") == 0) {
    add_forwards(o, value);
  } else if (strcmp(name, "enroll") == 0) {
    if (!from_file || o->enrol_word == NULL) o->enrol_word = value;
  } else if (strcmp(name, "enroll-file") == 0) {
    if (!from_file || o->enrol_file == NULL) o->enrol_file = value;
  } else if (strcmp(name, "ca-file") == 0 || strcmp(name, "ca") == 0) {
    if (!from_file || o->ca_file == NULL) o->ca_file = value;
  } else if (strcmp(name, "pin") == 0) {
    add_pin(o, value);
  } else if (strcmp(name, "proxy") == 0) {
    if (!from_file || o->proxy_text == NULL) o->proxy_text = value;
  } else if (strcmp(name, "warm") == 0) {
    if (!from_file || !before->warm) o->warm = whole("warm", value, 0, 64);
    if (!from_file) before->warm = 1;
  } else if (strcmp(name, "inline") == 0) {
    if (!from_file || !before->inlined) o->inlined = whole("inline", value, 0, 64);
    if (!from_file) before->inlined = 1;
  } else if (strcmp(name, "max-transfers") == 0) {
    if (!from_file || !before->transfers) o->transfers = whole("max-transfers", value, 1, 10000);
    if (!from_file) before->transfers = 1;
  } else {
    return -1;
  }
  return 0;
}

static char *trimmed(char *text) {
  char *end;
  text += strspn(text, " \t\r\n");
  end = text + strlen(text);
  while (end > text && strchr(" \t\r\n", end[-1]) != NULL) *--end = '\0';
  return text;
}

/* Values stay in this buffer for the life of the program. */
static char file_text[16384];

static void read_file(options *o, given *before, const char *path) {
  FILE *file = fopen(path, "r");
  size_t length;
  char *line;
  if (file == NULL) {
    fault("--config %s cannot be read", path);
    return;
  }
  length = fread(file_text, 1, sizeof file_text - 1, file);
  if (length == sizeof file_text - 1) fault("--config %s is longer than %d bytes", path, (int)sizeof file_text - 1);
  fclose(file);
  file_text[length] = '\0';
  for (line = file_text; line != NULL;) {
    char *next = strchr(line, '\n');
    char *equals;
    if (next != NULL) *next++ = '\0';
    line = trimmed(line);
    if (*line != '\0' && *line != '#') {
      equals = strchr(line, '=');
      if (equals != NULL) *equals = '\0';
      if (equals == NULL || set(o, before, trimmed(line), trimmed(equals + 1), 1) != 0) {
        fault("--config %s has the line \"%.64s\"; expected NAME = VALUE, with the name of an option", path, line);
      }
    }
    line = next;
  }
}

static const char *from_environment(const char *small, const char *large) {
  const char *value = getenv(small);
  if (value == NULL || *value == '\0') value = getenv(large);
  return value == NULL ? "" : value;
}

int proxy_for(const options *o, const server_url *server, proxy_url *out) {
  const char *text = server->secure ? from_environment("https_proxy", "HTTPS_PROXY") : from_environment("http_proxy", "HTTP_PROXY");
  if (o->proxy_text != NULL) {
    text = o->proxy_text;
  } else if (proxy_bypassed(server, from_environment("no_proxy", "NO_PROXY"))) {
    return 0;
  }
  if (*text == '\0') return 0;
  return parse_proxy(text, out) == 0 ? 1 : -1;
}

static void choose_proxies(options *o) {
  uint32_t i;
  for (i = 0; i < o->server_count; i++) {
    o->use_proxy[i] = proxy_for(o, &o->servers[i], &o->proxies[i]);
    if (o->use_proxy[i] >= 0) continue;
    fault("the proxy is not http://[user:password@]host:port");
    return;
  }
}

int options_tls(const options *o, char *why, size_t size) {
  static int started;
  if (!started && tls_start(o->ca_file, o->pins, o->pin_count, why, size) != 0) return -1;
  started = 1;
  return 0;
}

/* The key of a first start, and where the token will be kept. */
static void choose_enrolment(options *o) {
  const char *key = o->enrol_word != NULL ? o->enrol_word : getenv("CULVERT_ENROLL_KEY");
  const char *token = getenv("CULVERT_TOKEN");
  if (o->enrol_file != NULL) {
    if (secret_read(o->enrol_file, o->enrol_key) != 0) fault("--enroll-file %.256s holds no enrolment key", o->enrol_file);
  } else if (key == NULL || *key == '\0') {
    return;
  } else if (is_token(key)) {
    strcpy(o->enrol_key, key);
  } else {
    fault("the enrolment key is none; expected the one of culvert enroll-key add");
  }
  if (token != NULL && *token != '\0') fault("an enrolment key and CULVERT_TOKEN are both given; expected one of them");
  if (o->token_file != NULL || o->name == NULL) return;
  if (os_home() == NULL) {
    fault("--token-file is missing; expected where the token is to be kept");
    return;
  }
  snprintf(o->token_home, sizeof o->token_home, "%.300s/.culvert/%.64s.token", os_home(), o->name);
  o->token_file = o->token_home;
}

static void check(options *o) {
  char token[513];
  char why[400];
  uint32_t i;
  if (o->server_count == 0 && faults == 0) fault("--server is missing; expected a URL such as https://culvert.example");
  if (o->name == NULL) {
    fault("--name is missing; expected the name given to culvert device add");
  } else if (!is_device_name(o->name)) {
    fault("name %.64s is not a DNS label; expected a-z, 0-9 and inner hyphens only, at most 63", o->name);
  }
  if (o->mapping_count == 0 && faults == 0) fault("no MAPPING; expected at least one, such as 80 or tcp:22=192.168.1.7:22");
  choose_enrolment(o);
  if (o->enrol_key[0] == '\0' && o->enrol_file == NULL && token_read(o, token, why, sizeof why) != 0) fault("%s", why);
  for (i = 0; i < o->server_count; i++) {
    if (!o->servers[i].secure) continue;
    if (options_tls(o, why, sizeof why) != 0) fault("%s", why);
    return;
  }
  if (o->ca_file != NULL) {
    FILE *file = fopen(o->ca_file, "r");
    if (file == NULL) {
      fault("--ca-file %s cannot be read", o->ca_file);
    } else {
      fclose(file);
    }
  }
}

int options_read(options *o, int argc, char **argv) {
  given before = {0, 0, 0, 0, 0};
  const char *config = NULL;
  int i;
  memset(o, 0, sizeof *o);
  o->warm = 16;
  o->transfers = 256;
  for (i = 1; i < argc; i++) {
    const char *word = argv[i];
    char name[32];
    const char *equals = strchr(word, '=');
    const char *value = equals == NULL ? NULL : equals + 1;
    size_t length = equals == NULL ? strlen(word) : (size_t)(equals - word);
    if (word[0] != '-') {
      add_mapping(o, word);
      before.map = 1;
      continue;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "--version") == 0) {
      fputs(word[2] == 'h' ? HELP : "culvert-agent " CULVERT_VERSION "\n", stdout);
      return EXIT_OK;
    }
    if (strcmp(word, "--json") == 0 || strcmp(word, "--service") == 0) {
      if (word[2] == 'j') o->json = 1;
      if (word[2] == 's') o->service = 1;
      continue;
    }
    snprintf(name, sizeof name, "%.*s", (int)(length > 2 ? length - 2 : 0), length > 2 ? word + 2 : "");
    if (value == NULL && i + 1 < argc) value = argv[++i];
    if (value == NULL) {
      fault("option %.64s wants a value", word);
    } else if (strcmp(name, "config") == 0) {
      config = value;
    } else if (strcmp(name, "map") == 0 || set(o, &before, name, value, 0) != 0) {
      fault("option %.64s is unknown", word);
      if (equals == NULL) i--; /* what follows may be meant otherwise */
    }
    if (strcmp(name, "server") == 0) before.server = 1;
  }
  if (config != NULL) read_file(o, &before, config);
  if (o->ca_file == NULL && getenv("CULVERT_CA_FILE") != NULL) o->ca_file = getenv("CULVERT_CA_FILE");
  choose_proxies(o);
  check(o);
  if (faults == 0) return -1;
  fprintf(stderr, "See culvert-agent --help.\n");
  return EXIT_USAGE;
}
