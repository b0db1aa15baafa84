/*
 * The control and the transfer machine against a scripted server, in virtual time. Every case runs with the server's bytes
 * in one piece and byte by byte. Prints one line a case; the exit code is the number of those that failed.
 */
#include "scripted-server.h"

#define READY "{\"type\":\"ready\",\"epoch\":7,\"heartbeat_ms\":10000,\"grace_ms\":60000,\"resumed\":false}"
#define DIAL "{\"type\":\"dial\",\"id\":\"d1\",\"port\":22,\"path\":\"/v1/transfer/l/d1\",\"visitor\":\"v\"}"

static void open_control(int encrypted, size_t step) {
  static const cv_port ports[] = {{80, CV_HTTP}, {22, CV_TCP}};
  cv_link_config config = config_of(encrypted);
  cv_device device;
  uint8_t answer[1024];
  size_t length;
  memset(&device, 0, sizeof device);
  device.name = "alice";
  device.ports = ports;
  device.port_count = 2;
  device.boot = "Zk3vQ1x9T0aB";
  device.transfers = 4;
  CHECK(cv_control_start(&control, &config, &device, "culvert.example", "cvt_1", request, sizeof request, now) == CV_OK);
  drain(&control.link, 11);
  sent[sent_length] = '\0';
  CHECK(strncmp((const char *)sent,
                "GET /v1/control?name=alice&ports=http:80,tcp:22&transfers=4&boot=Zk3vQ1x9T0aB HTTP/1.1\r\nHost: culvert.example\r\n",
                111) == 0);
  length = upgrade((char *)answer);
  length += frame_of(answer + length, CV_OP_TEXT, READY); /* in the same segment */
  control_feed(answer, length, step);
  EXPECT_HEARD("ready ");
}

static void control_lives(size_t step) {
  uint8_t bytes[256];
  cv_ending ending;
  cv_text id = {"d1", 2};
  begin("a control connection greets, answers pings and dials, and says bye");
  open_control(0, step);
  control_text("{\"type\":\"endpoint\",\"port\":80,\"url\":\"http://x/\"}", step);
  control_text("{\"type\":\"weather\"}", step);
  control_text(DIAL, step);
  EXPECT_HEARD("endpoint dial ");
  CHECK(cv_control_refuse(&control, id, CV_LOCAL_REFUSED) == CV_OK);
  control_feed(bytes, frame_of(bytes, CV_OP_PING, "1"), step);
  control_feed(bytes, frame_of(bytes, CV_OP_PING, "2"), step);
  EXPECT_SENT(&control.link, "text:{\"type\":\"refused\",\"id\":\"d1\",\"code\":\"local_refused\"} pong:2 ");
  control_text("{\"type\":\"wind_down\",\"reconnect_ms\":500}", step);
  EXPECT_HEARD("wind_down ");
  CHECK(control.message.reconnect_ms == 500);
  now += 61000;
  cv_control_leave(&control, now);
  EXPECT_SENT(&control.link, "text:{\"type\":\"bye\",\"code\":\"bye\",\"message\":\"the agent stops\"} close:1000:bye ");
  CHECK(!cv_control_gone(&control));
  control_feed((const uint8_t *)"\x88\x02\x03\xe8", 4, step);
  CHECK(cv_control_gone(&control));
  cv_control_ending(&control, now, &ending);
  CHECK(ending.kind == CV_ENDED_LOST && ending.lived_ms == 61000);
}

static void control_ends(size_t step) {
  cv_ending ending;
  begin("a bye of the server gives the code, a close frame is answered");
  open_control(1, step);
  control_text("{\"type\":\"bye\",\"code\":\"revoked\",\"message\":\"\"}", step);
  EXPECT_HEARD("bye ");
  EXPECT_SENT(&control.link, "close:1000:bye ");
  cv_control_ending(&control, now, &ending);
  CHECK(ending.kind == CV_ENDED_LOST && ending.code == CV_REVOKED);
  open_control(1, step);
  control_feed((const uint8_t *)"\x88\x02\x11\x3f", 4, step);
  EXPECT_HEARD("over ");
  EXPECT_SENT(&control.link, "close:4415: ");
  CHECK(cv_control_gone(&control));
  cv_control_ending(&control, now, &ending);
  CHECK(ending.code == CV_WIND_DOWN);

  begin("a violation is told by its code");
  open_control(1, step);
  control_feed((const uint8_t *)"\x82\x01\x61", 3, step);
  EXPECT_SENT(&control.link, "close:4400:protocol_error: a binary message on a control connection ");
  now += CV_CLOSE_MS;
  cv_control_tick(&control, now);
  CHECK(cv_control_gone(&control));
}

static void control_times(size_t step) {
  const char *refusal =
      "HTTP/1.1 503 No\r\nContent-Length: 38\r\nRetry-After: 3\r\n\r\n{\"code\":\"recovering\",\"message\":\"wait\"}";
  cv_link_config config = config_of(0);
  cv_device device;
  cv_port port = {80, CV_HTTP};
  cv_ending ending;
  begin("silence of 2.5 heartbeats ends a control connection, any frame counts");
  open_control(0, step);
  now += 20000;
  control_text("{\"type\":\"weather\"}", step);
  now += 24999;
  cv_control_tick(&control, now);
  EXPECT_SENT(&control.link, "");
  now += 1;
  cv_control_tick(&control, now);
  EXPECT_SENT(&control.link, "close:4414:heartbeat_lost ");
  cv_control_tick(&control, now);
  CHECK(cv_control_gone(&control));

  begin("no answer to the handshake within 10 s, and a refusal, are told apart");
  memset(&device, 0, sizeof device);
  device.name = "alice";
  device.ports = &port;
  device.port_count = 1;
  CHECK(cv_control_start(&control, &config, &device, "h", "t", request, sizeof request, now) == CV_OK);
  drain(&control.link, 4096);
  now += CV_HANDSHAKE_MS - 1;
  cv_control_tick(&control, now);
  CHECK(!cv_control_gone(&control));
  now += 1;
  cv_control_tick(&control, now);
  cv_control_ending(&control, now, &ending);
  CHECK(cv_control_gone(&control) && ending.kind == CV_ENDED_FAILED);
  CHECK(cv_control_start(&control, &config, &device, "h", "t", request, sizeof request, now) == CV_OK);
  control_feed((const uint8_t *)refusal, strlen(refusal), step);
  EXPECT_HEARD("over ");
  cv_control_ending(&control, now, &ending);
  CHECK(ending.kind == CV_ENDED_REFUSED && ending.code == CV_RECOVERING && ending.retry_after_ms == 3000);
  CHECK(cv_control_start(&control, &config, &device, "h", "t", request, 100, now) == CV_ESPACE);
  CHECK(cv_control_start(&control, &config, &device, "h\r\nX: y", "t", request, sizeof request, now) == CV_EINVALID);

  begin("a server that takes no bytes is given up after the write deadline");
  open_control(0, step);
  control_feed((const uint8_t *)"\x89\x00", 2, step);
  {
    const uint8_t *bytes;
    size_t length;
    cv_link_output(&control.link, &bytes, &length);
    CHECK(length > 0);
  }
  control.heartbeat_ms = 1000000;
  now += CV_WRITE_MS;
  cv_control_tick(&control, now);
  CHECK(cv_control_gone(&control) && control.link.code == CV_WRITE_TIMEOUT);
}

static void control_stays_bounded(size_t step) {
  uint8_t bytes[256];
  cv_text id = {"0123456789012345678901234567890123456789012345678901234567890123", 64};
  size_t length;
  size_t used;
  cv_frame frame;
  int said = 0;
  (void)step;
  begin("with no room for an answer nothing is taken, and goes on once there is");
  open_control(0, 0);
  while (cv_control_refuse(&control, id, CV_BUSY) == CV_OK) said++;
  CHECK(said >= 1);
  length = frame_of(bytes, CV_OP_TEXT, DIAL);
  CHECK(cv_control_input(&control, bytes, length, now, &used, &frame) == CV_CONTROL_NONE && used == 0);
  drain(&control.link, 50);
  CHECK(cv_control_input(&control, bytes, length, now, &used, &frame) == CV_CONTROL_DIAL && used == length);
}

static void open_transfer(int warm, size_t step) {
  cv_link_config config = config_of(0);
  char answer[1024];
  CHECK(cv_transfer_start(&transfer, &config, warm, 10000, "h", warm ? "/v1/transfer/l?warm=1" : "/v1/transfer/l/d1", "t", request,
                          sizeof request, now) == CV_OK);
  drain(&transfer.link, 4096);
  sent[sent_length] = '\0';
  transfer_feed((const uint8_t *)answer, upgrade(answer), step);
  EXPECT_HEARD("opened ");
}

static void say(const char *text) {
  static uint8_t bytes[CV_HEADROOM + 256];
  memcpy(bytes + CV_HEADROOM, text, strlen(text));
  CHECK(cv_transfer_can_send(&transfer));
  cv_transfer_send(&transfer, bytes + CV_HEADROOM, strlen(text), now);
}

static void transfer_lives(size_t step) {
  begin("a transfer carries bytes both ways, each direction ends by itself, the server closes");
  open_transfer(0, step);
  transfer_feed((const uint8_t *)"\x82\x02hi\x89\x01p\x02\x01!\x80\x01?", 13, step);
  EXPECT_HEARD("hi!?");
  say("hello");
  CHECK(!cv_transfer_can_send(&transfer));
  EXPECT_SENT(&transfer.link, "data:hello pong:p ");
  transfer_feed((const uint8_t *)"\x82\x00", 2, step);
  EXPECT_HEARD("end ");
  say("more");
  cv_transfer_up_ended(&transfer, now);
  EXPECT_SENT(&transfer.link, "data:more END ");
  CHECK(transfer.state == CV_TRANSFER_FINISHED && strcmp(transfer.outcome, "ok") == 0);
  CHECK(transfer.to_device == 4 && transfer.to_visitor == 9);
  transfer_feed((const uint8_t *)"\x88\x02\x03\xe8", 4, step);
  EXPECT_HEARD("closed ");
  EXPECT_SENT(&transfer.link, "close:1000: ");
  CHECK(cv_transfer_gone(&transfer) && transfer.state == CV_TRANSFER_FINISHED);
}

static void transfer_breaks(size_t step) {
  begin("a break of either side is told by its code");
  open_transfer(0, step);
  cv_transfer_cut(&transfer, CV_PEER_RESET, now);
  EXPECT_SENT(&transfer.link, "close:4430:peer_reset ");
  CHECK(transfer.state == CV_TRANSFER_BROKEN && strcmp(transfer.outcome, "peer_reset") == 0);
  open_transfer(0, step);
  transfer_feed((const uint8_t *)"\x88\x02\x11\x4e", 4, step);
  EXPECT_HEARD("closed ");
  CHECK(strcmp(transfer.outcome, "visitor_reset") == 0);
  open_transfer(0, step);
  transfer_feed((const uint8_t *)"\x82\x00\x82\x00", 4, step);
  EXPECT_HEARD("end closed ");
  EXPECT_SENT(&transfer.link, "close:4400:protocol_error: a binary message after END ");
  open_transfer(0, step);
  transfer_feed((const uint8_t *)"\x81\x02{}", 4, step);
  EXPECT_HEARD("closed ");
  CHECK(strcmp(transfer.outcome, "protocol_error") == 0);
  open_transfer(0, step);
  cv_transfer_eof(&transfer);
  CHECK(cv_transfer_gone(&transfer) && transfer.state == CV_TRANSFER_BROKEN);
}

static void transfer_times(size_t step) {
  uint8_t bytes[8] = {0x82, 0x02, 'h', 'i', 0x82, 0x00, 0, 0};
  cv_frame frame;
  size_t used;
  begin("linger and write deadlines");
  open_transfer(0, step);
  cv_transfer_up_ended(&transfer, now);
  drain(&transfer.link, 4096);
  sent_length = 0;
  now += CV_LINGER_MS - 1;
  cv_transfer_tick(&transfer, now);
  CHECK(transfer.state == CV_TRANSFER_SERVING);
  now += 1;
  cv_transfer_tick(&transfer, now);
  EXPECT_SENT(&transfer.link, "close:4431:linger_expired ");
  open_transfer(0, step);
  CHECK(cv_transfer_input(&transfer, bytes, 4, now, &used, &frame) == CV_TRANSFER_DATA);
  now += CV_WRITE_MS;
  cv_transfer_tick(&transfer, now);
  EXPECT_SENT(&transfer.link, "close:4432:write_timeout ");
  open_transfer(0, step);
  now += 10 * CV_WRITE_MS;
  cv_transfer_tick(&transfer, now);
  CHECK(transfer.state == CV_TRANSFER_SERVING); /* without END, and with nothing that waits, silence is no fault */
}

static void warm_lives(size_t step) {
  uint8_t bytes[512];
  size_t length;
  begin("a warm transfer serves one visitor after the other, and may refuse");
  open_transfer(1, step);
  length = frame_of(bytes, CV_OP_TEXT, "{\"type\":\"assign\",\"id\":\"a\",\"port\":22,\"visitor\":\"v\"}");
  memcpy(bytes + length, "\x82\x02hi\x82\x00", 6);
  transfer_feed(bytes, length + 6, step);
  EXPECT_HEARD("assign hiend ");
  say("yes");
  cv_transfer_up_ended(&transfer, now);
  EXPECT_SENT(&transfer.link, "text:{\"type\":\"accepted\",\"id\":\"a\"} data:yes END text:{\"type\":\"idle\",\"id\":\"a\"} ");
  CHECK(transfer.state == CV_TRANSFER_WAITING);
  length = frame_of(bytes, CV_OP_TEXT, "{\"type\":\"assign\",\"id\":\"b\",\"port\":22,\"visitor\":\"no\"}");
  memcpy(bytes + length, "\x82\x02hi", 4);
  transfer_feed(bytes, length + 4, step);
  EXPECT_HEARD("assign ");
  EXPECT_SENT(&transfer.link, "text:{\"type\":\"refused\",\"id\":\"b\",\"code\":\"local_refused\"} ");
  now += 24999;
  cv_transfer_tick(&transfer, now);
  CHECK(!cv_transfer_gone(&transfer));
  now += 1;
  cv_transfer_tick(&transfer, now);
  CHECK(cv_transfer_gone(&transfer));
  open_transfer(1, step);
  transfer_feed((const uint8_t *)"\x82\x01x", 3, step);
  EXPECT_HEARD("closed ");
  EXPECT_SENT(&transfer.link, "close:4400:protocol_error: a binary message while there is no visitor ");
}

static void warm_owes(void) {
  uint8_t bytes[512];
  size_t length;
  int slow;
  begin("it closes behind the last bytes of its visitor, however slowly the server takes them, unless that is frozen");
  for (slow = 0; slow < 2; slow++) {
    open_transfer(1, 0);
    length = frame_of(bytes, CV_OP_TEXT, "{\"type\":\"assign\",\"id\":\"a\",\"port\":22,\"visitor\":\"v\"}");
    memcpy(bytes + length, "\x82\x00", 2);
    transfer_feed(bytes, length + 2, 0);
    EXPECT_HEARD("assign end ");
    cv_transfer_up_ended(&transfer, now);
    cv_transfer_cut(&transfer, CV_BYE, now);
    now += CV_WRITE_MS - 1;
    cv_transfer_tick(&transfer, now);
    CHECK(!cv_transfer_gone(&transfer));
    if (slow) {
      EXPECT_SENT(&transfer.link,
                  "text:{\"type\":\"accepted\",\"id\":\"a\"} END text:{\"type\":\"idle\",\"id\":\"a\"} close:1000:bye ");
      now += CV_CLOSE_MS - 1;
      cv_transfer_tick(&transfer, now);
      CHECK(!cv_transfer_gone(&transfer));
    }
    now += 1;
    cv_transfer_tick(&transfer, now);
    CHECK(cv_transfer_gone(&transfer));
  }
  begin("whose visitor has not ended is given up");
  open_transfer(1, 0);
  transfer_feed(bytes, length, 0);
  cv_transfer_cut(&transfer, CV_WIND_DOWN, now);
  now += CV_CLOSE_MS;
  cv_transfer_tick(&transfer, now);
  CHECK(cv_transfer_gone(&transfer));
}

static void warm_holds(void) {
  uint8_t bytes[512];
  size_t length;
  size_t used;
  cv_frame frame;
  begin("until it is accepted nothing of a visitor is told");
  open_transfer(1, 0);
  length = frame_of(bytes, CV_OP_TEXT, "{\"type\":\"assign\",\"id\":\"a\",\"port\":22,\"visitor\":\"v\"}");
  CHECK(cv_transfer_input(&transfer, bytes, length, now, &used, &frame) == CV_TRANSFER_ASSIGN);
  memcpy(bytes, "\x82\x02hi", 4);
  CHECK(cv_transfer_input(&transfer, bytes, 4, now, &used, &frame) == CV_TRANSFER_NONE && used == 2);
  CHECK(!cv_transfer_can_send(&transfer));
  cv_transfer_accept(&transfer, now);
  CHECK(cv_transfer_input(&transfer, bytes + 2, 2, now, &used, &frame) == CV_TRANSFER_DATA && used == 2);
}

static void masks_differ(void) {
  uint8_t first[64];
  size_t length;
  const uint8_t *bytes;
  begin("masks are random over plain connections, zero over TLS");
  open_control(0, 0);
  control_feed((const uint8_t *)"\x89\x00", 2, 0);
  cv_link_output(&control.link, &bytes, &length);
  CHECK(length == 6 && memcmp(bytes + 2, "\0\0\0\0", 4) != 0);
  memcpy(first, bytes, length);
  drain(&control.link, 100);
  sent_length = 0;
  control_feed((const uint8_t *)"\x89\x00", 2, 0);
  cv_link_output(&control.link, &bytes, &length);
  CHECK(length == 6 && memcmp(bytes, first, 6) != 0);
  open_control(1, 0);
  control_feed((const uint8_t *)"\x89\x00", 2, 0);
  cv_link_output(&control.link, &bytes, &length);
  CHECK(length == 6 && memcmp(bytes + 2, "\0\0\0\0", 4) == 0);
}

static void inline_lives(size_t step) {
  static const cv_port port = {80, CV_HTTP};
  cv_link_config config = config_of(1);
  cv_device device;
  uint8_t bytes[1024];
  uint8_t message[CV_INLINE_SMALL];
  cv_channel channels[2];
  cv_inline table;
  cv_text path = {"/v1/transfer/l/d1", 17};
  char text[256];
  size_t length;
  size_t at;
  uint32_t got = 0;
  int length_of_text;
  begin("inline transfers: granted at most what was asked for, bytes and credit in order");
  memset(&device, 0, sizeof device);
  device.name = "alice";
  device.ports = &port;
  device.port_count = 1;
  device.inlined = 2;
  CHECK(cv_control_start(&control, &config, &device, "h", "t", request, sizeof request, now) == CV_OK);
  drain(&control.link, 4096);
  sent[sent_length] = '\0';
  CHECK(strstr((const char *)sent, "&inline=2 ") != NULL);
  length = upgrade((char *)bytes);
  length += frame_of(bytes + length, CV_OP_TEXT,
                     "{\"type\":\"ready\",\"epoch\":7,\"heartbeat_ms\":10000,\"grace_ms\":60000,\"resumed\":false,\"inline\":9}");
  control_feed(bytes, length, step);
  EXPECT_HEARD("ready ");
  CHECK(control.inlined == 2);
  cv_inline_init(&table, CV_CLIENT, channels, control.inlined);
  CHECK(cv_inline_open(&table, 0, 100) == CV_OK);
  length_of_text = cv_write_open(text, sizeof text, 0, path, 100);
  CHECK(length_of_text > 0 && cv_link_send_text(&control.link, text, (size_t)length_of_text) == CV_OK);
  EXPECT_SENT(&control.link, "text:{\"type\":\"open\",\"channel\":0,\"path\":\"/v1/transfer/l/d1\",\"credit\":100} ");
  memcpy(bytes, "\x82\x08\x00\x00\x00hello", 10);
  for (at = 0; at < 10;) {
    size_t left = step == 0 || step > 10 - at ? 10 - at : step;
    while (left > 0) {
      cv_frame frame;
      cv_inline_event event;
      size_t used;
      size_t taken = 0;
      cv_control_event heard_event = cv_control_input(&control, bytes + at, left, now, &used, &frame);
      at += used;
      left -= used;
      while (heard_event == CV_CONTROL_INLINE && taken < frame.length) {
        size_t count;
        int kind = cv_inline_input(&table, frame.bytes + taken, frame.length - taken, control.total, control.offset + taken, &count, &event);
        taken += count;
        CHECK(kind >= 0);
        if (kind == CV_INLINE_DATA) got += event.length;
      }
    }
  }
  CHECK(got == 5);
  CHECK(cv_inline_grant(&table, 0, 5, message) == 7 && cv_link_send_binary(&control.link, message, 7) == CV_OK);
  drain(&control.link, 3);
  sent_length = 0;
  cv_control_fail_inline(&control, CV_EPROTOCOL, now);
  EXPECT_SENT(&control.link, "close:4400:protocol_error: an inline message is not what section 14 allows ");
}

int main(void) {
  size_t step;
  for (step = 0; step < 4; step++) {
    control_lives(step);
    control_ends(step);
    control_times(step);
    control_stays_bounded(step);
    transfer_lives(step);
    transfer_breaks(step);
    transfer_times(step);
    warm_lives(step);
    inline_lives(step);
  }
  warm_holds();
  warm_owes();
  masks_differ();
  printf("%s: control %u bytes, transfer %u bytes\n", failures == 0 ? "ok" : "not ok", (unsigned)sizeof(cv_control),
         (unsigned)sizeof(cv_transfer));
  return failures;
}
