/*
 * What the agent wants of its system: sockets that never block, a clock, randomness, names resolved beside the loop.
 * posix/ and windows/ provide it.
 */
#ifndef AGENT_PLATFORM_H
#define AGENT_PLATFORM_H

#include "culvert/culvert.h"

#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
typedef SOCKET os_socket;
typedef WSAPOLLFD os_pollfd;
#define OS_NO_SOCKET INVALID_SOCKET
#else
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
typedef int os_socket;
typedef struct pollfd os_pollfd;
#define OS_NO_SOCKET (-1)
#endif

/* Results of reading and writing that are no count. */
enum { OS_AGAIN = -1, OS_BROKEN = -2 };

/* Why a connection attempt failed; 0 is success. */
typedef enum os_failure { OS_OK = 0, OS_PENDING, OS_REFUSED, OS_TIMEOUT } os_failure;

#define OS_ADDRESSES 8
/* Lookups that may run at once; more wait for their turn. */
#define OS_LOOKUPS 4

typedef struct os_address {
  struct sockaddr_storage storage;
  socklen_t length;
} os_address;

/* Once, before anything else. 0, or -1 with a text on standard error. */
int os_start(void);

cv_ms os_now(void);

/* Seconds since 1970 and the milliseconds behind them, for log lines. */
void os_wall(int64_t *seconds, int *ms);

/* Unpredictable bytes, in any thread; ends the program when the system has none. */
void os_random(void *context, uint8_t *out, size_t length);

/* A connection attempt: OS_OK, OS_PENDING (poll it for writing), or why it failed at once. */
os_failure os_connect(const os_address *address, os_socket *out);
/* What became of a pending one that poll reported. */
os_failure os_connected(os_socket socket);
/* Bytes read, 0 at the end, OS_AGAIN or OS_BROKEN. */
long os_read(os_socket socket, uint8_t *bytes, size_t length);
long os_write(os_socket socket, const uint8_t *bytes, size_t length);
/* At most so many bytes that were not sent are taken from us, as far as the system can be told so. */
void os_limit_unsent(os_socket socket, int bytes);
/*
 * Until os_shut, the peer sees a reset if this process dies: what a dead process had open, the system closes in order, and what the peer
 * has got so far would pass for all of it.
 */
void os_reset_at_death(os_socket socket);
/* Nothing more is written. */
void os_shut(os_socket socket);
void os_close(os_socket socket);
/* Closes so that the peer sees a reset. */
void os_reset(os_socket socket);

/* Waits for events or for `timeout_ms`; a signal, a lookup that is done, or os_rouse ends it, too. `fds` has room for one more. */
void os_poll(os_pollfd *fds, size_t count, int timeout_ms);
/* Ends the poll that is waiting, or the next one. Any thread may call it. */
void os_rouse(void);

/*
 * A second loop beside the first: runs `run` in a thread, once; -1 when there can be none. It waits by os_second_poll (-1: for ever) until
 * os_second_rouse; the lock is for what both loops look at.
 */
int os_second_start(void (*run)(void));
void os_second_poll(os_pollfd *fds, size_t count, int timeout_ms);
void os_second_rouse(void);
void os_second_lock(void);
void os_second_unlock(void);

/*
 * A lookup: begins, and gives a handle, or -1 when OS_LOOKUPS run already. os_lookup_take gives -1 while it runs, then how many
 * addresses there are (0: none), and frees the handle. os_lookup_drop forgets it.
 */
int os_lookup(const char *host, uint16_t port);
int os_lookup_take(int handle, os_address *out, int room);
void os_lookup_drop(int handle);
/* Addresses of a host written as one; 0 when it is a name. Does not wait. */
int os_literal(const char *host, uint16_t port, os_address *out);

/* Signals since the last call: how often the program was asked to stop, and whether to connect anew. */
int os_stop_asked(void);
int os_renew_asked(void);

/* Lines for the system's log in place of standard output (syslog; on Windows a file beside the program is the service's). */
void os_log_open(const char *name);
void os_log_line(int error, const char *line);

/* Writes a file that only this user can read, and its folder; on disk when this returns 0. */
int os_write_secret(const char *path, const char *line);
/* The user's own folder, or NULL. */
const char *os_home(void);

/* Bytes of memory that the machine has. */
uint64_t os_memory(void);

/* The start is over: memory that only it needed may go, as far as the system can be told so. */
void os_settle(void);

/* Where the system keeps certificates of authorities: NULL at the end of the list. A folder ends in a slash. */
const char *os_ca_path(int index);

#endif
