/*
 * A device in a hundred lines: blocking sockets, one connection after the other. It offers one http port and answers every visitor
 * itself with a page, without a local target: what a sensor or a meter would do. Plain ws, IPv4, one visitor at a time.
 *
 *   culvert-example HOST PORT NAME TOKEN
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <culvert/culvert.h>

static void fill(void *context, uint8_t *out, size_t length) {
  FILE *urandom = fopen("/dev/urandom", "rb"); /* firmware: the random number generator of the chip */
  (void)context;
  if (urandom == NULL || fread(out, 1, length, urandom) != length) abort();
  fclose(urandom);
}

static cv_ms now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (cv_ms)t.tv_sec * 1000 + (cv_ms)t.tv_nsec / 1000000;
}

static int dial_server(const char *host, const char *port) {
  struct addrinfo hints = {0};
  struct addrinfo *list;
  struct timeval second = {1, 0}; /* so that deadlines are looked at */
  int fd;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host, port, &hints, &list) != 0) return -1;
  fd = socket(list->ai_family, SOCK_STREAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
  if (connect(fd, list->ai_addr, list->ai_addrlen) != 0) fd = -1;
  freeaddrinfo(list);
  return fd;
}

/* Sends all that a link has to say. */
static void flush(int fd, cv_link *link) {
  const uint8_t *bytes;
  size_t length;
  for (cv_link_output(link, &bytes, &length); length > 0; cv_link_output(link, &bytes, &length)) {
    ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
    if (sent <= 0) cv_link_eof(link);
    if (sent > 0) cv_link_sent(link, (size_t)sent, now());
  }
}

/* One read: -1 when the connection is over, 0 when nothing came within the second. */
static long pull(int fd, uint8_t *bytes, size_t size) {
  long got = (long)recv(fd, bytes, size, 0);
  return got > 0 ? got : got == 0 ? -1 : 0;
}

static void serve(char **argv, const cv_link_config *config, const char *path) {
  static cv_transfer transfer;
  static uint8_t in[1460];
  static char request[1024];
  static uint8_t page[] = "HTTP/1.1 200 OK\r\nContent-Length: 19\r\nConnection: close\r\n\r\n<h1>21.5 &deg;C</h1>";
  int fd = dial_server(argv[1], argv[2]);
  if (fd < 0 || cv_transfer_start(&transfer, config, 0, 0, argv[1], path, argv[4], request, sizeof request, now()) != CV_OK) return;
  while (!cv_transfer_gone(&transfer)) {
    uint8_t reply[sizeof page];
    cv_frame frame;
    size_t used = 0;
    size_t at;
    long got;
    flush(fd, &transfer.link);
    if ((got = pull(fd, in, sizeof in)) < 0) cv_transfer_eof(&transfer);
    for (at = 0; got > 0; at += used) {
      cv_transfer_event event = cv_transfer_input(&transfer, in + at, (size_t)got - at, now(), &used, &frame);
      if (event == CV_TRANSFER_NONE) break;
      if (event == CV_TRANSFER_DATA) cv_transfer_taken(&transfer, frame.length, now());
      if (event == CV_TRANSFER_DATA && cv_transfer_can_send(&transfer)) { /* the first bytes of a request are enough for us */
        memcpy(reply, page, sizeof page); /* it is masked in place */
        cv_transfer_send(&transfer, reply, sizeof page - 1, now());
        flush(fd, &transfer.link);
        cv_transfer_up_ended(&transfer, now());
      }
      if (event == CV_TRANSFER_END) cv_transfer_down_ended(&transfer, now());
    }
    cv_transfer_tick(&transfer, now());
  }
  close(fd);
}

int main(int argc, char **argv) {
  static uint8_t scratch[CV_MESSAGE_MAX], other[CV_MESSAGE_MAX], out[CV_CONTROL_OUT], in[1460];
  static char request[1024];
  static cv_control control;
  const cv_port port = {80, CV_HTTP};
  const cv_link_config config = {{fill, NULL}, 0, 4096, scratch, sizeof scratch, out, sizeof out};
  const cv_link_config transfers = {{fill, NULL}, 0, 4096, other, sizeof other, NULL, 0};
  cv_device device = {0};
  cv_backoff backoff;
  cv_backoff_init(&backoff);
  device.name = argc == 5 ? argv[3] : NULL;
  device.ports = &port;
  device.port_count = device.transfers = 1;
  device.max_frame = 4096;
  while (argc == 5) {
    cv_ending ending = {CV_ENDED_FAILED, CV_NO_CODE, -1, 0, 0};
    uint32_t random;
    int fd = dial_server(argv[1], argv[2]);
    if (fd >= 0 && cv_control_start(&control, &config, &device, argv[1], argv[4], request, sizeof request, now()) == CV_OK) {
      while (!cv_control_gone(&control)) {
        cv_frame frame;
        size_t used = 0;
        size_t at;
        long got;
        flush(fd, &control.link);
        if ((got = pull(fd, in, sizeof in)) < 0) cv_control_eof(&control);
        for (at = 0; got > 0; at += used) {
          cv_control_event event = cv_control_input(&control, in + at, (size_t)got - at, now(), &used, &frame);
          if (event == CV_CONTROL_NONE) break;
          if (event == CV_CONTROL_ENDPOINT) printf("%s\n", control.message.url.at), fflush(stdout);
          if (event == CV_CONTROL_DIAL) serve(argv, &transfers, control.message.path.at);
        }
        cv_control_tick(&control, now());
      }
      close(fd);
      cv_control_ending(&control, now(), &ending);
    }
    fill(NULL, (uint8_t *)&random, sizeof random);
    usleep(1000 * cv_backoff_next(&backoff, &ending, 1, random));
  }
  return 2;
}
