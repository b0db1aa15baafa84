/*
 * What mbedTLS does not look at in certificates: name constraints of authorities (RFC 5280, 4.2.1.10; an authority of one's own
 * is often confined to its domain), and servers that are named by their address.
 */
#ifndef AGENT_TLS_NAMES_H
#define AGENT_TLS_NAMES_H

#include <mbedtls/x509_crt.h>

/* Whether the extension of this object identifier is the one that certificate_permits looks at. */
int is_name_constraints(const mbedtls_x509_buf *identifier);

/* Whether an authority's certificate lets it vouch for this host: always, unless it is confined to other names. */
int certificate_permits(const mbedtls_x509_crt *authority, const char *host);

/* Whether a server's certificate names this address. */
int certificate_has_address(const mbedtls_x509_crt *certificate, const char *host);

#endif
