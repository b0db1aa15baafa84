/*
 * A device in a hundred lines: blocking sockets, one connection after the other. It offers one http port and answers every visitor
 * itself with a page, as a sensor or a meter would do. Plain ws, one visitor at a time.
 *
 *   culvert-example HOST PORT NAME TOKEN
 */
#include <culvert/culvert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static char **arguments; /* HOST PORT NAME TOKEN */
static uint8_t scratch[CV_MESSAGE_MAX], small[CV_SCRATCH_MIN], out[CV_CONTROL_OUT];
static char request[1024];

static void fill(void *context, uint8_t *bytes, size_t length) {
  (void)context; /* firmware: the random number generator of the chip */
  if (getrandom(bytes, length, 0) != (ssize_t)length) abort();
}

static cv_ms now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (cv_ms)t.tv_sec * 1000 + (cv_ms)t.tv_nsec / 1000000;
}

static int dial_server(void) {
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  const struct timeval second = {1, 0}; /* so that deadlines are looked at */
  struct addrinfo *list;
  if (getaddrinfo(arguments[0], arguments[1], &hints, &list) != 0) return -1;
  int fd = socket(list->ai_family, SOCK_STREAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
  if (connect(fd, list->ai_addr, list->ai_addrlen) != 0) close(fd), fd = -1;
  freeaddrinfo(list);
  return fd;
}

/* Sends all that a link has to say, then reads once: how many bytes, 0 when none came within the second, -1 at the end. */
static long exchange(int fd, cv_link *link, uint8_t *in, size_t size) {
  const uint8_t *bytes;
  size_t length;
  for (cv_link_output(link, &bytes, &length); length > 0; cv_link_output(link, &bytes, &length)) {
    ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
    if (sent <= 0) return -1;
    cv_link_sent(link, (size_t)sent, now());
  }
  long got = (long)recv(fd, in, size, 0);
  return got > 0 ? got : got == 0 ? -1 : 0;
}

static void serve(const char *path) {
  static const char page[] = "HTTP/1.1 200 OK\r\nContent-Length: 19\r\nConnection: close\r\n\r\n<h1>21.5 &deg;C</h1>";
  static cv_transfer t;
  static uint8_t in[1460];
  const cv_link_config config = {{fill, NULL}, 0, 4096, small, sizeof small, NULL, 0};
  uint8_t reply[CV_HEADROOM + sizeof page]; /* the frame's header goes before the bytes */
  int fd = dial_server();
  if (fd < 0 || cv_transfer_start(&t, &config, 0, 0, arguments[0], path, arguments[3], request, sizeof request, now()) != CV_OK) return;
  while (!cv_transfer_gone(&t)) {
    cv_frame frame;
    long got = exchange(fd, &t.link, in, sizeof in);
    if (got < 0) cv_transfer_eof(&t);
    for (size_t at = 0, used = 0; got > 0; at += used) {
      cv_transfer_event event = cv_transfer_input(&t, in + at, (size_t)got - at, now(), &used, &frame);
      if (event == CV_TRANSFER_NONE) break;
      if (event == CV_TRANSFER_DATA) cv_transfer_taken(&t, frame.length, now());
      if (event == CV_TRANSFER_DATA && cv_transfer_can_send(&t)) { /* the first bytes of a request are enough for us */
        memcpy(reply + CV_HEADROOM, page, sizeof page);
        cv_transfer_send(&t, reply + CV_HEADROOM, sizeof page - 1, now());
        cv_transfer_up_ended(&t, now());
      }
      if (event == CV_TRANSFER_END) cv_transfer_down_ended(&t, now());
    }
    cv_transfer_tick(&t, now());
  }
  close(fd);
}

int main(int argc, char **argv) {
  static cv_control control;
  static uint8_t in[1460];
  const cv_port port = {80, CV_HTTP};
  const cv_link_config config = {{fill, NULL}, 0, 4096, scratch, sizeof scratch, out, sizeof out};
  cv_device device = {.ports = &port, .port_count = 1, .transfers = 1, .max_frame = 4096};
  cv_backoff backoff;
  cv_backoff_init(&backoff);
  arguments = argv + 1;
  device.name = argc == 5 ? argv[3] : "";
  while (argc == 5) {
    cv_ending ending = {CV_ENDED_FAILED, CV_NO_CODE, -1, 0, 0};
    uint32_t random;
    int fd = dial_server();
    if (fd >= 0 && cv_control_start(&control, &config, &device, argv[1], argv[4], request, sizeof request, now()) == CV_OK) {
      while (!cv_control_gone(&control)) {
        cv_frame frame;
            long got = exchange(fd, &control.link, in, sizeof in);
        if (got < 0) cv_control_eof(&control);
        for (size_t at = 0, used = 0; got > 0; at += used) {
          cv_control_event event = cv_control_input(&control, in + at, (size_t)got - at, now(), &used, &frame);
          if (event == CV_CONTROL_NONE) break;
          if (event == CV_CONTROL_ENDPOINT) printf("%s\n", control.message.url.at), fflush(stdout);
          if (event == CV_CONTROL_DIAL) serve(control.message.path.at);
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
