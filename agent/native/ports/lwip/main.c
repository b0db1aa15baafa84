/*
 * The firmware: a web page on a microcontroller, reachable by name. Settings are server=host[:port], name=, token= and what the
 * board wants for itself.
 */
#include <string.h>

#include "board.h"
#include "device.h"
#include "lwip/dhcp.h"
#include "lwip/init.h"
#include "lwip/netif.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"
#include "page.h"

/* Half a period of the light, in milliseconds. */
#define BLINK_MS 500

static cv_lwip device;
static struct netif ethernet;
static char authority[72];
static char host[64];
static char name[64];
static char token[128];

u32_t sys_now(void) {
  return (u32_t)board_now();
}

static void need(const char *key, char *out, size_t size) {
  if (board_setting(key, out, size) <= 0) {
    board_print(key);
    board_panic("this setting is missing or too long");
  }
}

static uint16_t split_port(const char *server) {
  const char *colon = strchr(server, ':');
  size_t length = colon == NULL ? strlen(server) : (size_t)(colon - server);
  uint32_t port = 0;
  if (length == 0 || length >= sizeof host) board_panic("server: expected host or host:port");
  memcpy(host, server, length);
  host[length] = '\0';
  if (colon == NULL) return 80;
  while (*++colon >= '0' && *colon <= '9' && port <= 65535) port = port * 10 + (uint32_t)(*colon - '0');
  if (*colon != '\0' || port == 0 || port > 65535) board_panic("server: its port must be a number from 1 to 65535");
  return (uint16_t)port;
}

int main(void) {
  static cv_lwip_config config;
  cv_ms blink = 0;
  int begun = 0;
  int lit = 0;
  board_init();
  need("server", authority, sizeof authority);
  need("name", name, sizeof name);
  need("token", token, sizeof token);
  config.port = split_port(authority);
  config.host = host;
  config.authority = authority;
  config.name = name;
  config.token = token;
  config.target_port = 80;
  config.target = &page_target;
  config.print = board_print;

  lwip_init();
  if (netif_add_noaddr(&ethernet, NULL, board_ethernet_init, ethernet_input) == NULL) board_panic("no network interface");
  netif_set_default(&ethernet);
  netif_set_up(&ethernet);
  dhcp_start(&ethernet);

  for (;;) {
    cv_ms now = board_now();
    board_ethernet_poll(&ethernet);
    sys_check_timeouts();
    if (!begun && dhcp_supplied_address(&ethernet)) {
      board_print(ip4addr_ntoa(netif_ip4_addr(&ethernet)));
      cv_lwip_init(&device, &config, now);
      begun = 1;
    }
    if (begun) cv_lwip_poll(&device, now);
    if (now >= blink) {
      blink = now + BLINK_MS;
      lit = !lit;
      board_light(lit);
      if (lit) page_count();
    }
    board_idle();
  }
}
