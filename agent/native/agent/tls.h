/*
 * TLS of a client: tls_mbedtls.c, or tls_none.c for devices that leave it out.
 */
#ifndef AGENT_TLS_H
#define AGENT_TLS_H

#include "platform.h"

typedef struct tls_session tls_session;

/* Whether this program speaks TLS at all. */
int tls_available(void);
/*
 * Once, when a server wants it: the system's authorities, and those of `ca_file` unless NULL. With `pins`, which
 * live as long as the program, the server's public key must have one of these SHA-256, in base64. 0, or -1 with what is wrong in `why`.
 */
int tls_start(const char *ca_file, const char *const *pins, size_t pin_count, char *why, size_t size);
/* A session over a connected socket; NULL when there is no memory for it. Certificates are always verified for `host`. */
tls_session *tls_open(os_socket socket, const char *host);
/* 1: done, OS_AGAIN (*want_write says what for), OS_BROKEN with why. */
int tls_handshake(tls_session *session, int *want_write, char *why, size_t size);
long tls_read(tls_session *session, uint8_t *bytes, size_t length);
long tls_write(tls_session *session, const uint8_t *bytes, size_t length);
int tls_pending(const tls_session *session);
/* Whether several threads may use sessions, each of them in one thread at a time. */
int tls_in_threads(void);
/* Says goodbye as far as that needs no waiting, and frees it. */
void tls_close(tls_session *session);

#endif
