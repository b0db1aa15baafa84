/* For devices that leave TLS out: https servers are then refused at start. */
#include <stdio.h>

#include "tls.h"

int tls_available(void) {
  return 0;
}

int tls_in_threads(void) {
  return 0;
}

int tls_start(const char *ca_file, const char *const *pins, size_t pin_count, char *why, size_t size) {
  (void)ca_file;
  (void)pins;
  (void)pin_count;
  snprintf(why, size, "this culvert-agent was built without TLS");
  return -1;
}

tls_session *tls_open(os_socket socket, const char *host) {
  (void)socket;
  (void)host;
  return NULL;
}

int tls_handshake(tls_session *session, int *want_write, char *why, size_t size) {
  (void)session;
  (void)want_write;
  snprintf(why, size, "no TLS");
  return OS_BROKEN;
}

long tls_read(tls_session *session, uint8_t *bytes, size_t length) {
  (void)session;
  (void)bytes;
  (void)length;
  return OS_BROKEN;
}

long tls_write(tls_session *session, const uint8_t *bytes, size_t length) {
  (void)session;
  (void)bytes;
  (void)length;
  return OS_BROKEN;
}

int tls_pending(const tls_session *session) {
  (void)session;
  return 0;
}

void tls_close(tls_session *session) {
  (void)session;
}
