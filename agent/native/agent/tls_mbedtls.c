/* TLS by mbedTLS, 2.28 or 3. */
#include <mbedtls/error.h>
#include <mbedtls/pem.h>
#include <mbedtls/sha256.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#include <psa/crypto.h>
#endif

#include "tls.h"
#include "tls_names.h"

#ifdef _WIN32
#include <wincrypt.h>
#endif

struct tls_session {
  mbedtls_ssl_context ssl;
  os_socket socket;
  size_t blocked; /* bytes of the write that could not be finished: mbedTLS wants to be asked for the same again */
  char host[256];
};

static mbedtls_ssl_config config;
static mbedtls_x509_crt authorities;
static const char *const *pinned;
static size_t pinned_count;
/* The session of the last handshake, to be resumed: a transfer then costs one round trip less, and no certificates. */
static mbedtls_ssl_session resumable;
static char resumable_host[256];
/* Whom the handshake that is being made is for. */
static const char *verified_host = "";

#if MBEDTLS_VERSION_NUMBER >= 0x03000000
static const unsigned char *pem_bytes(const mbedtls_pem_context *pem) {
  size_t length;
  return mbedtls_pem_get_buffer((mbedtls_pem_context *)pem, &length);
}
static size_t pem_length(const mbedtls_pem_context *pem) {
  size_t length;
  mbedtls_pem_get_buffer((mbedtls_pem_context *)pem, &length);
  return length;
}
#else
static const unsigned char *pem_bytes(const mbedtls_pem_context *pem) {
  return pem->buf;
}
static size_t pem_length(const mbedtls_pem_context *pem) {
  return pem->buflen;
}
#endif

static int fill_random(void *context, unsigned char *out, size_t length) {
  os_random(context, out, length);
  return 0;
}

int tls_available(void) {
  return 1;
}

/* Sessions share nothing that changes, but for PSA's store of keys, which has locks from 3.6 on if it is built with them. */
int tls_in_threads(void) {
#if MBEDTLS_VERSION_NUMBER < 0x03000000 && !defined(MBEDTLS_USE_PSA_CRYPTO)
  return 1;
#elif MBEDTLS_VERSION_NUMBER >= 0x03060000 && defined(MBEDTLS_THREADING_C)
  return 1;
#else
  return 0;
#endif
}

#ifdef _WIN32
/* Windows keeps its authorities in a store. */
static void load_system_authorities(void) {
  HCERTSTORE store = CertOpenSystemStoreA(0, "ROOT");
  PCCERT_CONTEXT one = NULL;
  if (store == NULL) return;
  while ((one = CertEnumCertificatesInStore(store, one)) != NULL) {
    mbedtls_x509_crt_parse_der(&authorities, one->pbCertEncoded, one->cbCertEncoded);
  }
  CertCloseStore(store, 0);
}
#else
static void load_system_authorities(void) {
  int index;
  const char *path;
  for (index = 0; (path = os_ca_path(index)) != NULL; index++) {
    size_t length = strlen(path);
    int failed = path[length - 1] == '/' ? mbedtls_x509_crt_parse_path(&authorities, path)
                                         : mbedtls_x509_crt_parse_file(&authorities, path);
    if (failed >= 0 && authorities.raw.len > 0) return; /* a positive number counts those it could not read */
  }
}
#endif

/* Called for critical extensions that mbedTLS does not know: the one that is enforced by on_verify is taken. */
static int on_extension(void *context, const mbedtls_x509_crt *certificate, const mbedtls_x509_buf *identifier, int critical,
                        const unsigned char *at, const unsigned char *end) {
  (void)context;
  (void)certificate;
  (void)critical;
  (void)at;
  (void)end;
  return is_name_constraints(identifier) ? 0 : MBEDTLS_ERR_X509_INVALID_EXTENSIONS;
}

/* Every certificate of the file; -1 when one cannot be taken, or there is none. */
static int load_file(const char *path) {
  static unsigned char text[65536];
  FILE *file = fopen(path, "rb");
  size_t length;
  const unsigned char *at = text;
  int count = 0;
  if (file == NULL) return -1;
  length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = '\0';
  while (strstr((const char *)at, "-----BEGIN CERTIFICATE-----") != NULL) {
    mbedtls_pem_context pem;
    size_t used;
    int failed;
    mbedtls_pem_init(&pem);
    failed = mbedtls_pem_read_buffer(&pem, "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", at, NULL, 0, &used);
    if (failed == 0) failed = mbedtls_x509_crt_parse_der_with_ext_cb(&authorities, pem_bytes(&pem), pem_length(&pem), 1, on_extension, NULL);
    mbedtls_pem_free(&pem);
    if (failed != 0) return -1;
    at += used;
    count++;
  }
  return count > 0 ? 0 : -1;
}

/* An authority that is confined to other names vouches for nothing here; an address in the server's certificate counts. */
static int on_verify(void *context, mbedtls_x509_crt *certificate, int depth, uint32_t *flags) {
  (void)context;
  if (depth > 0 && !certificate_permits(certificate, verified_host)) *flags |= MBEDTLS_X509_BADCERT_OTHER;
  if (depth == 0 && certificate_has_address(certificate, verified_host)) *flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH;
  return 0;
}

int tls_start(const char *ca_file, const char *const *pins, size_t pin_count, char *why, size_t size) {
  int result;
  mbedtls_ssl_config_init(&config);
  mbedtls_x509_crt_init(&authorities);
  mbedtls_ssl_session_init(&resumable);
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
  psa_crypto_init();
#endif
  load_system_authorities();
  if (ca_file != NULL && load_file(ca_file) != 0) {
    snprintf(why, size, "--ca-file %s holds no certificate; expected PEM", ca_file);
    return -1;
  }
  if (authorities.raw.len == 0) {
    snprintf(why, size, "the system has no certificates of authorities; give them by --ca-file");
    return -1;
  }
  pinned = pins;
  pinned_count = pin_count;
  result = mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
  if (result != 0) {
    snprintf(why, size, "TLS cannot be set up (%d)", result);
    return -1;
  }
  mbedtls_ssl_conf_rng(&config, fill_random, NULL);
  mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
  mbedtls_ssl_conf_verify(&config, on_verify, NULL);
  mbedtls_ssl_conf_ca_chain(&config, &authorities, NULL);
#if MBEDTLS_VERSION_NUMBER < 0x03000000
  mbedtls_ssl_conf_min_version(&config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
#endif
  return 0;
}

static int on_send(void *context, const unsigned char *bytes, size_t length) {
  long sent = os_write(((tls_session *)context)->socket, bytes, length);
  return sent == OS_AGAIN ? MBEDTLS_ERR_SSL_WANT_WRITE : sent < 0 ? MBEDTLS_ERR_SSL_INTERNAL_ERROR : (int)sent;
}

static int on_receive(void *context, unsigned char *bytes, size_t length) {
  long got = os_read(((tls_session *)context)->socket, bytes, length);
  return got == OS_AGAIN ? MBEDTLS_ERR_SSL_WANT_READ : got < 0 ? MBEDTLS_ERR_SSL_CONN_EOF : (int)got;
}

tls_session *tls_open(os_socket socket, const char *host) {
  tls_session *session = (tls_session *)calloc(1, sizeof *session);
  if (session == NULL) return NULL;
  session->socket = socket;
  snprintf(session->host, sizeof session->host, "%s", host);
  mbedtls_ssl_init(&session->ssl);
  if (mbedtls_ssl_setup(&session->ssl, &config) != 0 || mbedtls_ssl_set_hostname(&session->ssl, host) != 0) {
    mbedtls_ssl_free(&session->ssl);
    free(session);
    return NULL;
  }
  if (strcmp(resumable_host, host) == 0) mbedtls_ssl_set_session(&session->ssl, &resumable);
  mbedtls_ssl_set_bio(&session->ssl, session, on_send, on_receive, NULL);
  return session;
}

/* One of the public keys that are taken, when some were named. Resumed sessions were checked when they began. */
static int pin_matches(const tls_session *session) {
  const mbedtls_x509_crt *peer = mbedtls_ssl_get_peer_cert(&session->ssl);
  unsigned char digest[32];
  char text[48];
  size_t i;
  if (pinned_count == 0) return 1;
  if (peer == NULL) return 0;
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
  mbedtls_sha256(peer->pk_raw.p, peer->pk_raw.len, digest, 0);
#else
  mbedtls_sha256_ret(peer->pk_raw.p, peer->pk_raw.len, digest, 0);
#endif
  cv_base64(digest, sizeof digest, text);
  for (i = 0; i < pinned_count; i++) {
    if (strcmp(text, pinned[i]) == 0) return 1;
  }
  return 0;
}

int tls_handshake(tls_session *session, int *want_write, char *why, size_t size) {
  int result;
  verified_host = session->host;
  result = mbedtls_ssl_handshake(&session->ssl);
  *want_write = result == MBEDTLS_ERR_SSL_WANT_WRITE;
  if (result == MBEDTLS_ERR_SSL_WANT_READ || result == MBEDTLS_ERR_SSL_WANT_WRITE) return OS_AGAIN;
  if (result == 0 && !pin_matches(session)) {
    snprintf(why, size, "the certificate has another public key than those pinned");
    return OS_BROKEN;
  }
  if (result == 0) {
    mbedtls_ssl_session_free(&resumable);
    mbedtls_ssl_session_init(&resumable);
    resumable_host[0] = '\0';
    if (mbedtls_ssl_get_session(&session->ssl, &resumable) == 0) strcpy(resumable_host, session->host);
    return 1;
  }
  resumable_host[0] = '\0';
  if (result == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED) {
    uint32_t flags = mbedtls_ssl_get_verify_result(&session->ssl);
    const char *what = (flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) != 0 ? "it is for another name"
                       : (flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0   ? "it has expired"
                       : (flags & MBEDTLS_X509_BADCERT_FUTURE) != 0    ? "it is not valid yet; is the clock right?"
                       : (flags & MBEDTLS_X509_BADCERT_OTHER) != 0     ? "its authority may not vouch for this name"
                                                                       : "no authority that is trusted here has signed it";
    snprintf(why, size, "the certificate cannot be trusted: %s", what);
  } else {
    snprintf(why, size, "the TLS handshake failed (-0x%04x)", (unsigned)-result);
  }
  return OS_BROKEN;
}

/* TLS 1.3 hands over session tickets between the data: that is no end. */
static int is_no_end(int result) {
  if (result == MBEDTLS_ERR_SSL_WANT_READ || result == MBEDTLS_ERR_SSL_WANT_WRITE) return 1;
#ifdef MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET
  if (result == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) return 1;
#endif
  return 0;
}

long tls_read(tls_session *session, uint8_t *bytes, size_t length) {
  int result = mbedtls_ssl_read(&session->ssl, bytes, length);
  if (result > 0) return result;
  if (result == 0 || result == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) return 0;
  return is_no_end(result) ? OS_AGAIN : OS_BROKEN;
}

long tls_write(tls_session *session, const uint8_t *bytes, size_t length) {
  int result;
  if (session->blocked > 0 && session->blocked < length) length = session->blocked;
  result = mbedtls_ssl_write(&session->ssl, bytes, length);
  session->blocked = result > 0 ? 0 : length;
  if (result > 0) return result;
  return is_no_end(result) ? OS_AGAIN : OS_BROKEN;
}

int tls_pending(const tls_session *session) {
  return mbedtls_ssl_get_bytes_avail(&session->ssl) > 0 || mbedtls_ssl_check_pending(&session->ssl);
}

void tls_close(tls_session *session) {
  mbedtls_ssl_close_notify(&session->ssl);
  mbedtls_ssl_free(&session->ssl);
  free(session);
}
