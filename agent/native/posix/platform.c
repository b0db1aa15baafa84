/* The system as the agent sees it, on UNIX: start and signals, clock, randomness, poll, syslog, files. */
#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#ifdef __linux__
#include <link.h>
#include <sys/mman.h>
#endif
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* Written to by signals, lookups and the second loop: ends a poll. */
static int wake[2] = {-1, -1};
static volatile sig_atomic_t stops;
static volatile sig_atomic_t renewals;
static int random_file = -1;
static int logging;

void os_rouse(void) {
  posix_wake_write(wake);
}

static void on_signal(int number) {
  if (number == SIGHUP) {
    renewals = 1;
  } else {
    stops = stops + 1;
  }
  os_rouse();
}

int os_start(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  sigemptyset(&action.sa_mask);
  if (posix_wake_make(wake) != 0 || (random_file = open("/dev/urandom", O_RDONLY | O_CLOEXEC)) < 0) {
    perror("culvert-agent: cannot start");
    return -1;
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
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static uint8_t pool[512];
  static size_t left;
  (void)context;
  pthread_mutex_lock(&lock);
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
  pthread_mutex_unlock(&lock);
}

void os_poll(os_pollfd *fds, size_t count, int timeout_ms) {
  posix_wake_poll(wake, fds, count, timeout_ms);
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

uint64_t os_memory(void) {
  long pages = sysconf(_SC_PHYS_PAGES);
  return pages > 0 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
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
