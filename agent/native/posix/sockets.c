/* BSD sockets that never block. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "posix.h"

static os_failure failure_of(int error) {
  return error == ETIMEDOUT ? OS_TIMEOUT : OS_REFUSED;
}

os_failure os_connect(const os_address *address, os_socket *out) {
  int one = 1;
  int idle = 60;
  int fd = socket(address->storage.ss_family, SOCK_STREAM, 0);
  if (fd < 0) return OS_REFUSED;
  if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
    close(fd);
    return OS_REFUSED;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
#ifdef TCP_KEEPIDLE
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
#endif
  if (connect(fd, (const struct sockaddr *)&address->storage, address->length) == 0) {
    *out = fd;
    return OS_OK;
  }
  if (errno == EINPROGRESS) {
    *out = fd;
    return OS_PENDING;
  }
  one = errno;
  close(fd);
  return failure_of(one);
}

os_failure os_connected(os_socket fd) {
  struct pollfd one = {0, POLLOUT, 0};
  int error = 0;
  socklen_t size = sizeof error;
  one.fd = fd;
  if (poll(&one, 1, 0) == 0) return OS_PENDING;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return OS_REFUSED;
  return error == 0 ? OS_OK : failure_of(error);
}

long os_read(os_socket fd, uint8_t *bytes, size_t length) {
  ssize_t got = recv(fd, bytes, length, 0);
  if (got >= 0) return (long)got;
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? OS_AGAIN : OS_BROKEN;
}

long os_write(os_socket fd, const uint8_t *bytes, size_t length) {
  ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
  if (sent >= 0) return (long)sent;
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? OS_AGAIN : OS_BROKEN;
}

void os_limit_unsent(os_socket fd, int bytes) {
#ifdef TCP_NOTSENT_LOWAT
  if (setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes) == 0) return;
#endif
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

/* Whether a close throws away what was not sent, and resets. */
static void resets(os_socket fd, int does) {
  struct linger at_once = {0, 0};
  at_once.l_onoff = does;
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void os_reset_at_death(os_socket fd) {
  resets(fd, 1);
}

void os_shut(os_socket fd) {
  resets(fd, 0);
  shutdown(fd, SHUT_WR);
}

void os_close(os_socket fd) {
  close(fd);
}

void os_reset(os_socket fd) {
  resets(fd, 1);
  close(fd);
}
