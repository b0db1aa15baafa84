/* The system as the agent sees it, on UNIX: BSD sockets, poll, a thread for each name that is looked up, syslog. */
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#ifdef __linux__
#include <link.h>
#include <sys/mman.h>
#endif
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* One lookup. Its thread touches it only under the lock, and frees the slot itself when nobody waits any more. */
typedef struct lookup {
  char host[256];
  char service[8];
  os_address found[OS_ADDRESSES];
  int count;
  int used;
  int done;
  int dropped;
} lookup;

static lookup lookups[OS_LOOKUPS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Written to by signals and lookups: ends a poll. */
static int wake[2] = {-1, -1};
static volatile sig_atomic_t stops;
static volatile sig_atomic_t renewals;
static int random_file = -1;
static int logging;

static void rouse(void) {
  int saved = errno;
  if (write(wake[1], "", 1) < 0) { /* the pipe is full: poll will end anyway */
  }
  errno = saved;
}

static void on_signal(int number) {
  if (number == SIGHUP) {
    renewals = 1;
  } else {
    stops = stops + 1;
  }
  rouse();
}

int os_start(void) {
  struct sigaction action;
  int i;
  memset(&action, 0, sizeof action);
  sigemptyset(&action.sa_mask);
  if (pipe(wake) != 0 || (random_file = open("/dev/urandom", O_RDONLY | O_CLOEXEC)) < 0) {
    perror("culvert-agent: cannot start");
    return -1;
  }
  for (i = 0; i < 2; i++) {
    if (fcntl(wake[i], F_SETFL, O_NONBLOCK) < 0 || fcntl(wake[i], F_SETFD, FD_CLOEXEC) < 0) return -1;
  }
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGHUP, &action, NULL);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, NULL);
  return 0;
}

cv_ms os_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (cv_ms)now.tv_sec * 1000 + (cv_ms)(now.tv_nsec / 1000000);
}

void os_wall(int64_t *seconds, int *ms) {
  struct timeval now;
  gettimeofday(&now, NULL);
  *seconds = (int64_t)now.tv_sec;
  *ms = (int)(now.tv_usec / 1000);
}

/* Masks need four bytes at a time: a read for each would cost more than the frame. */
void os_random(void *context, uint8_t *out, size_t length) {
  static uint8_t pool[512];
  static size_t left;
  (void)context;
  while (length > 0) {
    size_t count;
    if (left == 0) {
      if (read(random_file, pool, sizeof pool) != (ssize_t)sizeof pool) abort();
      left = sizeof pool;
    }
    count = length < left ? length : left;
    memcpy(out, pool + sizeof pool - left, count);
    memset(pool + sizeof pool - left, 0, count);
    left -= count;
    out += count;
    length -= count;
  }
}

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

void os_shut(os_socket fd) {
  shutdown(fd, SHUT_WR);
}

void os_close(os_socket fd) {
  close(fd);
}

void os_reset(os_socket fd) {
  struct linger now = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(fd);
}

void os_poll(os_pollfd *fds, size_t count, int timeout_ms) {
  uint8_t drained[64];
  fds[count].fd = wake[0]; /* the caller leaves room for it */
  fds[count].events = POLLIN;
  fds[count].revents = 0;
  if (poll(fds, (nfds_t)(count + 1), timeout_ms) < 0) {
    size_t i;
    for (i = 0; i < count; i++) fds[i].revents = 0;
    return;
  }
  while (read(wake[0], drained, sizeof drained) > 0) {
  }
}

static int keep(const struct addrinfo *list, os_address *out, int room) {
  int count = 0;
  for (; list != NULL && count < room; list = list->ai_next) {
    if (list->ai_addrlen > sizeof out[count].storage) continue;
    memcpy(&out[count].storage, list->ai_addr, list->ai_addrlen);
    out[count++].length = list->ai_addrlen;
  }
  return count;
}

static int resolve(const char *host, const char *service, int flags, os_address *out, int room) {
  struct addrinfo hints;
  struct addrinfo *list;
  int count;
  memset(&hints, 0, sizeof hints);
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  if (getaddrinfo(host, service, &hints, &list) != 0) return 0;
  count = keep(list, out, room);
  freeaddrinfo(list);
  return count;
}

static void *look_up(void *argument) {
  lookup *one = (lookup *)argument;
  os_address found[OS_ADDRESSES];
  int count = resolve(one->host, one->service, 0, found, OS_ADDRESSES);
  pthread_mutex_lock(&lock);
  memcpy(one->found, found, (size_t)count * sizeof found[0]);
  one->count = count;
  one->done = 1;
  if (one->dropped) one->used = 0;
  pthread_mutex_unlock(&lock);
  rouse();
  return NULL;
}

int os_lookup(const char *host, uint16_t port) {
  pthread_attr_t attributes;
  pthread_t thread;
  sigset_t all;
  sigset_t before;
  int handle;
  int failed;
  pthread_mutex_lock(&lock);
  for (handle = 0; handle < OS_LOOKUPS && lookups[handle].used; handle++) {
  }
  if (handle < OS_LOOKUPS) {
    memset(&lookups[handle], 0, sizeof lookups[handle]);
    lookups[handle].used = 1;
  }
  pthread_mutex_unlock(&lock);
  if (handle == OS_LOOKUPS) return -1;
  snprintf(lookups[handle].host, sizeof lookups[handle].host, "%s", host);
  snprintf(lookups[handle].service, sizeof lookups[handle].service, "%u", (unsigned)port);
  sigfillset(&all); /* signals are for the loop */
  pthread_sigmask(SIG_BLOCK, &all, &before);
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  failed = pthread_create(&thread, &attributes, look_up, &lookups[handle]);
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (failed) {
    lookups[handle].done = 1; /* taken as: no address */
    rouse();
  }
  return handle;
}

int os_lookup_take(int handle, os_address *out, int room) {
  int count = -1;
  pthread_mutex_lock(&lock);
  if (lookups[handle].done) {
    count = lookups[handle].count < room ? lookups[handle].count : room;
    memcpy(out, lookups[handle].found, (size_t)count * sizeof *out);
    lookups[handle].used = 0;
  }
  pthread_mutex_unlock(&lock);
  return count;
}

void os_lookup_drop(int handle) {
  pthread_mutex_lock(&lock);
  lookups[handle].dropped = 1;
  if (lookups[handle].done) lookups[handle].used = 0;
  pthread_mutex_unlock(&lock);
}

int os_literal(const char *host, uint16_t port, os_address *out) {
  char service[8];
  snprintf(service, sizeof service, "%u", (unsigned)port);
  return resolve(host, service, AI_NUMERICHOST, out, 1);
}

int os_stop_asked(void) {
  int count = stops;
  stops = 0;
  return count;
}

int os_renew_asked(void) {
  int asked = renewals;
  renewals = 0;
  return asked;
}

void os_log_open(const char *name) {
  openlog(name, LOG_PID, LOG_DAEMON);
  logging = 1;
}

void os_log_line(int error, const char *line) {
  if (logging) {
    syslog(error ? LOG_WARNING : LOG_INFO, "%s", line);
    return;
  }
  fprintf(error ? stderr : stdout, "%s\n", line);
  fflush(error ? stderr : stdout);
}

int os_write_secret(const char *path, const char *line) {
  char folder[512];
  const char *slash = strrchr(path, '/');
  size_t length = strlen(line);
  int fd;
  int good;
  if (slash != NULL && slash != path && (size_t)(slash - path) < sizeof folder) {
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    mkdir(folder, 0700); /* when it is there already, that is well */
  }
  fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return -1;
  good = fchmod(fd, 0600) == 0 && write(fd, line, length) == (ssize_t)length && write(fd, "\n", 1) == 1 && fsync(fd) == 0;
  return close(fd) == 0 && good ? 0 : -1;
}

const char *os_home(void) {
  return getenv("HOME");
}

#ifdef __linux__
/* Code is read from its file again where it is wanted. */
static int let_code_go(struct dl_phdr_info *object, size_t size, void *context) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  int i;
  (void)size;
  (void)context;
  for (i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &object->dlpi_phdr[i];
    uintptr_t from = (object->dlpi_addr + part->p_vaddr + page - 1) / page * page;
    uintptr_t to = (object->dlpi_addr + part->p_vaddr + part->p_filesz) / page * page;
    if (part->p_type == PT_LOAD && (part->p_flags & PF_W) == 0 && from < to) madvise((void *)from, to - from, MADV_DONTNEED);
  }
  return 0;
}

void os_settle(void) {
  dl_iterate_phdr(let_code_go, NULL);
}
#else
void os_settle(void) {
}
#endif

const char *os_ca_path(int index) {
  static const char *const paths[] = {
      "/etc/ssl/certs/ca-certificates.crt",  /* Debian, Alpine, OpenWrt */
      "/etc/pki/tls/certs/ca-bundle.crt",    /* Fedora */
      "/etc/ssl/ca-bundle.pem",              /* openSUSE */
      "/etc/ssl/cert.pem",                   /* BSD, macOS */
      "/system/etc/security/cacerts/",       /* Android */
  };
  return (size_t)index < sizeof paths / sizeof paths[0] ? paths[index] : NULL;
}
