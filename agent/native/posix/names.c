/* Names looked up beside the loops, a thread for each. */
#include <stdio.h>
#include <string.h>

#include "posix.h"

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
  os_rouse();
  return NULL;
}

int os_lookup(const char *host, uint16_t port) {
  int handle;
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
  if (posix_thread(look_up, &lookups[handle], 256 * 1024) != 0) {
    lookups[handle].done = 1; /* taken as: no address */
    os_rouse();
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
