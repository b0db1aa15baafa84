/* What the files of this folder share. */
#ifndef POSIX_POSIX_H
#define POSIX_POSIX_H

#include "platform.h"

#include <pthread.h>

/* A pipe whose reading end wakes a poll. -1 when there is none. */
int posix_wake_make(int wake[2]);
/* Signal handlers and other threads may call it. */
void posix_wake_write(const int wake[2]);
/* poll that ends when the pipe is written to. */
void posix_wake_poll(const int wake[2], os_pollfd *fds, size_t count, int timeout_ms);

/* A thread that nobody waits for, and that gets no signals: they are for the first loop. 0, or what is wrong. */
int posix_thread(void *(*run)(void *), void *argument, size_t stack);

#endif
