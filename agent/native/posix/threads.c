/* Threads beside the first loop, and what wakes a loop. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "posix.h"

/* mbedTLS wants some KiB of it. */
#define SECOND_STACK (128 * 1024)

static int second_wake[2] = {-1, -1};
static pthread_mutex_t second_lock = PTHREAD_MUTEX_INITIALIZER;

int posix_wake_make(int wake[2]) {
  int i;
  if (pipe(wake) != 0) return -1;
  for (i = 0; i < 2; i++) {
    if (fcntl(wake[i], F_SETFL, O_NONBLOCK) < 0 || fcntl(wake[i], F_SETFD, FD_CLOEXEC) < 0) return -1;
  }
  return 0;
}

void posix_wake_write(const int wake[2]) {
  int saved = errno;
  if (write(wake[1], "", 1) < 0) { /* the pipe is full: poll will end anyway */
  }
  errno = saved;
}

void posix_wake_poll(const int wake[2], os_pollfd *fds, size_t count, int timeout_ms) {
  uint8_t drained[64];
  fds[count].fd = wake[0]; /* the caller leaves room for it */
  fds[count].events = POLLIN;
  fds[count].revents = 0;
  if (poll(fds, (nfds_t)(count + 1), timeout_ms) < 0) {
    size_t i;
    for (i = 0; i < count; i++) fds[i].revents = 0;
    return;
  }
  while (fds[count].revents != 0 && read(wake[0], drained, sizeof drained) > 0) {
  }
}

int posix_thread(void *(*run)(void *), void *argument, size_t stack) {
  pthread_attr_t attributes;
  pthread_t thread;
  sigset_t all;
  sigset_t before;
  int failed;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, stack);
  failed = pthread_create(&thread, &attributes, run, argument);
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return failed;
}

static void (*second_run)(void);

static void *second(void *argument) {
  (void)argument;
  second_run();
  return NULL;
}

int os_second_start(void (*run)(void)) {
  second_run = run;
  return posix_wake_make(second_wake) == 0 && posix_thread(second, NULL, SECOND_STACK) == 0 ? 0 : -1;
}

void os_second_poll(os_pollfd *fds, size_t count, int timeout_ms) {
  posix_wake_poll(second_wake, fds, count, timeout_ms);
}

void os_second_rouse(void) {
  posix_wake_write(second_wake);
}

void os_second_lock(void) {
  pthread_mutex_lock(&second_lock);
}

void os_second_unlock(void) {
  pthread_mutex_unlock(&second_lock);
}
