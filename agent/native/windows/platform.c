/* The system as the agent sees it, on Windows: Winsock with WSAPoll, a thread for each name that is looked up. */
#include "platform.h"

#include <mstcpip.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
/* after windows.h */
#include <bcrypt.h>

/* One lookup; see posix/names.c. */
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
static CRITICAL_SECTION lock;
/* UDP sockets connected to themselves: a byte sent to one ends a poll of its loop. */
static SOCKET wake = INVALID_SOCKET;
static SOCKET second_wake = INVALID_SOCKET;
static CRITICAL_SECTION second_lock;
static void (*second_run)(void);
static volatile LONG stops;
static FILE *log_file;

void os_rouse(void) {
  send(wake, "", 1, 0);
}

/* Ctrl-C, Ctrl-Break, and the end of the session or of the console: a clean stop. */
static BOOL WINAPI on_console(DWORD event) {
  InterlockedIncrement(&stops);
  os_rouse();
  if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT) Sleep(5000); /* Windows ends the process when this returns */
  return TRUE;
}

static int make_wake(SOCKET *out) {
  struct sockaddr_in here;
  int size = sizeof here;
  u_long yes = 1;
  SOCKET s = socket(AF_INET, SOCK_DGRAM, 0);
  memset(&here, 0, sizeof here);
  here.sin_family = AF_INET;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (s == INVALID_SOCKET || bind(s, (struct sockaddr *)&here, size) != 0) return -1;
  if (getsockname(s, (struct sockaddr *)&here, &size) != 0 || connect(s, (struct sockaddr *)&here, size) != 0) return -1;
  *out = s;
  return ioctlsocket(s, (long)FIONBIO, &yes);
}

int os_start(void) {
  WSADATA data;
  InitializeCriticalSection(&lock);
  InitializeCriticalSection(&second_lock);
  if (WSAStartup(MAKEWORD(2, 2), &data) != 0 || make_wake(&wake) != 0) {
    fprintf(stderr, "culvert-agent: cannot start: Winsock is not there\n");
    return -1;
  }
  SetConsoleCtrlHandler(on_console, TRUE);
  return 0;
}

cv_ms os_now(void) {
  return (cv_ms)GetTickCount64();
}

void os_wall(int64_t *seconds, int *ms) {
  FILETIME now;
  uint64_t ticks; /* of 100 ns since 1601 */
  GetSystemTimeAsFileTime(&now);
  ticks = (uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime;
  *seconds = (int64_t)(ticks / 10000000u) - INT64_C(11644473600);
  *ms = (int)(ticks / 10000u % 1000u);
}

void os_random(void *context, uint8_t *out, size_t length) {
  (void)context;
  if (BCryptGenRandom(NULL, out, (ULONG)length, BCRYPT_USE_SYSTEM_PREFERRED_RNG) != 0) abort();
}

static os_failure failure_of(int error) {
  return error == WSAETIMEDOUT ? OS_TIMEOUT : OS_REFUSED;
}

os_failure os_connect(const os_address *address, os_socket *out) {
  u_long yes = 1;
  BOOL on = TRUE;
  int error;
  SOCKET s = socket(address->storage.ss_family, SOCK_STREAM, IPPROTO_TCP);
  if (s == INVALID_SOCKET) return OS_REFUSED;
  ioctlsocket(s, (long)FIONBIO, &yes);
  setsockopt(s, IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof on);
  setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, (const char *)&on, sizeof on);
  *out = s;
  if (connect(s, (const struct sockaddr *)&address->storage, address->length) == 0) return OS_OK;
  error = WSAGetLastError();
  if (error == WSAEWOULDBLOCK) return OS_PENDING;
  closesocket(s);
  return failure_of(error);
}

/* select, since WSAPoll of older systems does not report a connection that failed. */
os_failure os_connected(os_socket s) {
  struct timeval none = {0, 0};
  fd_set writable;
  fd_set failed;
  int error = 0;
  int size = sizeof error;
  FD_ZERO(&writable);
  FD_ZERO(&failed);
  FD_SET(s, &writable);
  FD_SET(s, &failed);
  if (select(0, NULL, &writable, &failed, &none) <= 0) return OS_PENDING;
  if (getsockopt(s, SOL_SOCKET, SO_ERROR, (char *)&error, &size) != 0) return OS_REFUSED;
  if (error != 0) return failure_of(error);
  return FD_ISSET(s, &writable) ? OS_OK : OS_REFUSED;
}

/* Wine reads a reset as an end, but tells of the error when it is polled. */
static int ended_by_reset(os_socket s) {
  WSAPOLLFD one;
  one.fd = s;
  one.events = POLLIN;
  one.revents = 0;
  return WSAPoll(&one, 1, 0) > 0 && (one.revents & POLLERR) != 0;
}

long os_read(os_socket s, uint8_t *bytes, size_t length) {
  int got = recv(s, (char *)bytes, (int)length, 0);
  if (got == 0 && ended_by_reset(s)) return OS_BROKEN;
  if (got >= 0) return got;
  return WSAGetLastError() == WSAEWOULDBLOCK ? OS_AGAIN : OS_BROKEN;
}

long os_write(os_socket s, const uint8_t *bytes, size_t length) {
  int sent = send(s, (const char *)bytes, (int)length, 0);
  if (sent >= 0) return sent;
  return WSAGetLastError() == WSAEWOULDBLOCK ? OS_AGAIN : OS_BROKEN;
}

void os_limit_unsent(os_socket s, int bytes) {
  setsockopt(s, SOL_SOCKET, SO_SNDBUF, (const char *)&bytes, sizeof bytes);
}

/* Whether a close throws away what was not sent, and resets. */
static void resets(os_socket s, int does) {
  struct linger at_once = {0, 0};
  at_once.l_onoff = (u_short)does;
  setsockopt(s, SOL_SOCKET, SO_LINGER, (const char *)&at_once, sizeof at_once);
}

void os_reset_at_death(os_socket s) {
  resets(s, 1);
}

void os_shut(os_socket s) {
  resets(s, 0);
  shutdown(s, SD_SEND);
}

void os_close(os_socket s) {
  closesocket(s);
}

void os_reset(os_socket s) {
  resets(s, 1);
  closesocket(s);
}

/* Connections that are being made are looked at this often: see os_connected. */
#define CONNECT_MS 20

static void poll_with(SOCKET wakes, os_pollfd *fds, size_t count, int timeout_ms) {
  char drained[64];
  size_t i;
  fds[count].fd = wakes;
  fds[count].events = POLLIN;
  fds[count].revents = 0;
  for (i = 0; i < count; i++) {
    if (fds[i].events == POLLOUT && (timeout_ms < 0 || timeout_ms > CONNECT_MS)) timeout_ms = CONNECT_MS;
  }
  if (WSAPoll(fds, (ULONG)(count + 1), timeout_ms) < 0) {
    for (i = 0; i < count; i++) fds[i].revents = 0;
    return;
  }
  while (recv(wakes, drained, sizeof drained, 0) > 0) {
  }
}

void os_poll(os_pollfd *fds, size_t count, int timeout_ms) {
  poll_with(wake, fds, count, timeout_ms);
}

static DWORD WINAPI second(void *argument) {
  (void)argument;
  second_run();
  return 0;
}

int os_second_start(void (*run)(void)) {
  HANDLE thread;
  second_run = run;
  if (make_wake(&second_wake) != 0) return -1;
  thread = CreateThread(NULL, 0, second, NULL, 0, NULL);
  if (thread == NULL) return -1;
  CloseHandle(thread);
  return 0;
}

void os_second_poll(os_pollfd *fds, size_t count, int timeout_ms) {
  poll_with(second_wake, fds, count, timeout_ms);
}

void os_second_rouse(void) {
  send(second_wake, "", 1, 0);
}

void os_second_lock(void) {
  EnterCriticalSection(&second_lock);
}

void os_second_unlock(void) {
  LeaveCriticalSection(&second_lock);
}

static int resolve(const char *host, const char *service, int flags, os_address *out, int room) {
  struct addrinfo hints;
  struct addrinfo *list;
  const struct addrinfo *one;
  int count = 0;
  memset(&hints, 0, sizeof hints);
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  if (getaddrinfo(host, service, &hints, &list) != 0) return 0;
  for (one = list; one != NULL && count < room; one = one->ai_next) {
    if (one->ai_addrlen > sizeof out[count].storage) continue;
    memcpy(&out[count].storage, one->ai_addr, one->ai_addrlen);
    out[count++].length = (socklen_t)one->ai_addrlen;
  }
  freeaddrinfo(list);
  return count;
}

static DWORD WINAPI look_up(void *argument) {
  lookup *one = (lookup *)argument;
  os_address found[OS_ADDRESSES];
  int count = resolve(one->host, one->service, 0, found, OS_ADDRESSES);
  EnterCriticalSection(&lock);
  memcpy(one->found, found, (size_t)count * sizeof found[0]);
  one->count = count;
  one->done = 1;
  if (one->dropped) one->used = 0;
  LeaveCriticalSection(&lock);
  os_rouse();
  return 0;
}

int os_lookup(const char *host, uint16_t port) {
  HANDLE thread;
  int handle;
  EnterCriticalSection(&lock);
  for (handle = 0; handle < OS_LOOKUPS && lookups[handle].used; handle++) {
  }
  if (handle < OS_LOOKUPS) {
    memset(&lookups[handle], 0, sizeof lookups[handle]);
    lookups[handle].used = 1;
  }
  LeaveCriticalSection(&lock);
  if (handle == OS_LOOKUPS) return -1;
  snprintf(lookups[handle].host, sizeof lookups[handle].host, "%s", host);
  snprintf(lookups[handle].service, sizeof lookups[handle].service, "%u", (unsigned)port);
  thread = CreateThread(NULL, 0, look_up, &lookups[handle], 0, NULL);
  if (thread == NULL) {
    lookups[handle].done = 1; /* taken as: no address */
    os_rouse();
  } else {
    CloseHandle(thread);
  }
  return handle;
}

int os_lookup_take(int handle, os_address *out, int room) {
  int count = -1;
  EnterCriticalSection(&lock);
  if (lookups[handle].done) {
    count = lookups[handle].count < room ? lookups[handle].count : room;
    memcpy(out, lookups[handle].found, (size_t)count * sizeof *out);
    lookups[handle].used = 0;
  }
  LeaveCriticalSection(&lock);
  return count;
}

void os_lookup_drop(int handle) {
  EnterCriticalSection(&lock);
  lookups[handle].dropped = 1;
  if (lookups[handle].done) lookups[handle].used = 0;
  LeaveCriticalSection(&lock);
}

int os_literal(const char *host, uint16_t port, os_address *out) {
  char service[8];
  snprintf(service, sizeof service, "%u", (unsigned)port);
  return resolve(host, service, AI_NUMERICHOST, out, 1);
}

int os_stop_asked(void) {
  return (int)InterlockedExchange(&stops, 0);
}

/* There is no SIGHUP here. */
int os_renew_asked(void) {
  return 0;
}

/* A scheduled task or a service wrapper has no console: lines go to NAME.log in the folder it runs in. */
void os_log_open(const char *name) {
  char path[128];
  snprintf(path, sizeof path, "%s.log", name);
  log_file = fopen(path, "a");
}

void os_log_line(int error, const char *line) {
  FILE *to = log_file != NULL ? log_file : error ? stderr : stdout;
  fprintf(to, "%s\n", line);
  fflush(to);
}

/* Windows keeps its authorities in a store, not in files: see tls_mbedtls.c. */
/* What others may read is what they may in the folder: a user's own is closed to other users. */
int os_write_secret(const char *path, const char *line) {
  char folder[512];
  const char *slash = strrchr(path, '\\') > strrchr(path, '/') ? strrchr(path, '\\') : strrchr(path, '/');
  HANDLE file;
  DWORD wrote;
  int good;
  if (slash != NULL && slash != path && (size_t)(slash - path) < sizeof folder) {
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    CreateDirectoryA(folder, NULL);
  }
  file = CreateFileA(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
  if (file == INVALID_HANDLE_VALUE) return -1;
  good = WriteFile(file, line, (DWORD)strlen(line), &wrote, NULL) && WriteFile(file, "\n", 1, &wrote, NULL) && FlushFileBuffers(file);
  CloseHandle(file);
  return good ? 0 : -1;
}

const char *os_home(void) {
  return getenv("USERPROFILE");
}

void os_settle(void) {
}

uint64_t os_memory(void) {
  MEMORYSTATUSEX memory;
  memory.dwLength = sizeof memory;
  return GlobalMemoryStatusEx(&memory) ? memory.ullTotalPhys : 0;
}

const char *os_ca_path(int index) {
  (void)index;
  return NULL;
}
