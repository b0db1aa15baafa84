/*
 * hop <target port> [mask]: a relay of one thread, epoll, read(2) and write(2) with 256 KiB: the yardstick of the benchmark.
 * With `mask`, what comes from the target is masked as RFC 6455 does it, by a key of equal bytes, so that two of them cancel out
 * wherever their reads begin.
 * Prints the port it listens on. Ends with its standard input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK (256 * 1024)
#define EVENTS 256
#define MASK 0x5a5a5a5a5a5a5a5au

struct end {
    int fd;
    struct end *peer;
    /* Bytes read from this end that the peer has not taken: at[from..to). */
    union {
        char *block;
        uint64_t *words;
    };
    size_t from, to;
    int eof, eof_sent, armed, masks;
};

static int poller;
/* Ends of this round of events: freed after it, since later events may still point to them. */
static struct end *dead[2 * EVENTS];
static int deaths;

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void arm(struct end *e) {
    int want = 0;
    if (!e->eof && e->to == 0) want |= EPOLLIN;
    if (e->peer->to > 0 || (e->peer->eof && !e->peer->eof_sent)) want |= EPOLLOUT;
    if (want == e->armed) return;
    struct epoll_event v = {.events = want, .data.ptr = e};
    epoll_ctl(poller, EPOLL_CTL_MOD, e->fd, &v);
    e->armed = want;
}

/* Hands on what was read from `e`. Returns -1 when the peer is broken. */
static int flush_to_peer(struct end *e) {
    while (e->from < e->to) {
        ssize_t n = write(e->peer->fd, e->block + e->from, e->to - e->from);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        e->from += n;
    }
    e->from = e->to = 0;
    if (e->eof && !e->eof_sent) {
        shutdown(e->peer->fd, SHUT_WR);
        e->eof_sent = 1;
    }
    return 0;
}

static int pull(struct end *e) {
    if (e->eof || e->to > 0) return 0;
    ssize_t n = read(e->fd, e->block, BLOCK);
    if (n < 0) return errno == EAGAIN ? 0 : -1;
    if (n == 0) e->eof = 1;
    e->to = n;
    if (e->masks)
        for (size_t i = 0; i < (e->to + sizeof MASK - 1) / sizeof MASK; i++) e->words[i] ^= MASK;
    return flush_to_peer(e);
}

static void bury(struct end *e) {
    struct end *both[] = {e, e->peer};
    for (int i = 0; i < 2; i++) {
        close(both[i]->fd);
        both[i]->fd = -1;
        dead[deaths++] = both[i];
    }
}

static struct end *begin(int fd) {
    struct end *e = calloc(1, sizeof *e);
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    e->fd = fd;
    e->block = malloc(BLOCK);
    return e;
}

int main(int argc, char **argv) {
    int one = 1, target = argc > 1 ? atoi(argv[1]) : 0, masks = argc > 2;
    int door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = loopback(0), far = loopback(target);
    socklen_t size = sizeof a;
    signal(SIGPIPE, SIG_IGN);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(door, (struct sockaddr *)&a, sizeof a) != 0 || listen(door, 4096) != 0) return 1;
    getsockname(door, (struct sockaddr *)&a, &size);
    poller = epoll_create1(0);
    struct epoll_event v = {.events = EPOLLIN, .data.ptr = NULL}, input = {.events = EPOLLIN, .data.ptr = &poller};
    epoll_ctl(poller, EPOLL_CTL_ADD, door, &v);
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input);
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event list[EVENTS];
        int n = epoll_wait(poller, list, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct end *e = list[i].data.ptr;
            if (list[i].data.ptr == &poller) return 0;
            if (e == NULL) {
                int near = accept4(door, NULL, NULL, SOCK_NONBLOCK);
                int there = near < 0 ? -1 : socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
                if (there < 0 || (connect(there, (struct sockaddr *)&far, sizeof far) != 0 && errno != EINPROGRESS)) {
                    close(near);
                    close(there);
                    continue;
                }
                struct end *x = begin(near), *y = begin(there);
                y->masks = masks;
                x->peer = y;
                y->peer = x;
                struct end *both[] = {x, y};
                for (int k = 0; k < 2; k++) {
                    struct epoll_event w = {.events = both[k]->armed = EPOLLIN, .data.ptr = both[k]};
                    epoll_ctl(poller, EPOLL_CTL_ADD, both[k]->fd, &w);
                }
                continue;
            }
            if (e->fd < 0) continue;
            int bad = (list[i].events & EPOLLERR) != 0;
            if (!bad && (list[i].events & EPOLLOUT)) bad = flush_to_peer(e->peer) != 0;
            if (!bad && (list[i].events & (EPOLLIN | EPOLLHUP))) bad = pull(e) != 0;
            if (bad || (e->eof_sent && e->peer->eof_sent)) {
                bury(e);
            } else {
                arm(e);
                arm(e->peer);
            }
        }
        while (deaths > 0) {
            struct end *e = dead[--deaths];
            free(e->block);
            free(e);
        }
    }
}
