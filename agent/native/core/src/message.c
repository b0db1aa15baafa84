#include "culvert/message.h"

#include <string.h>

#include "culvert/json.h"

/* What a field may hold, and where it goes. */
typedef enum kind { INTEGER16, INTEGER32, INTEGER64, FLAG, TEXT, ID, PATH } kind;

typedef struct field {
  const char *name;
  uint16_t types;    /* messages that have it, as bits */
  uint16_t optional; /* of these, where it may be missing */
  uint8_t kind;
  uint8_t offset;
  int64_t min; /* numbers: least value; texts: fewest characters */
  int64_t max;
  const char *expected;
} field;

#define ON(type) (uint16_t)(1u << (type))
#define AT(member) (uint8_t) offsetof(cv_message, member)
#define DAY INT64_C(86400000)
/* Offsets have to fit into a byte. */
typedef char message_fits[sizeof(cv_message) < 256 ? 1 : -1];
#define SAFE (INT64_C(9007199254740991))

static const field FIELDS[] = {
    {"port", ON(CV_MSG_ENDPOINT) | ON(CV_MSG_DIAL) | ON(CV_MSG_ASSIGN), 0, INTEGER16, AT(port), 1, 65535,
     "port: expected an integer from 1 to 65535"},
    {"url", ON(CV_MSG_ENDPOINT), ON(CV_MSG_ENDPOINT), TEXT, AT(url), 1, 512, "url: expected text of 1 to 512 characters"},
    {"host", ON(CV_MSG_ENDPOINT), ON(CV_MSG_ENDPOINT), TEXT, AT(host), 1, 255, "host: expected text of 1 to 255 characters"},
    {"public_port", ON(CV_MSG_ENDPOINT), ON(CV_MSG_ENDPOINT), INTEGER16, AT(public_port), 1, 65535,
     "public_port: expected an integer from 1 to 65535"},
    {"epoch", ON(CV_MSG_READY), 0, INTEGER64, AT(epoch), 0, SAFE, "epoch: expected an integer from 0"},
    {"heartbeat_ms", ON(CV_MSG_READY), 0, INTEGER32, AT(heartbeat_ms), 1, DAY,
     "heartbeat_ms: expected an integer from 1 to 86400000"},
    {"grace_ms", ON(CV_MSG_READY), 0, INTEGER64, AT(grace_ms), 0, 3660 * DAY, "grace_ms: expected an integer from 0"},
    {"resumed", ON(CV_MSG_READY), 0, FLAG, AT(resumed), 0, 0, "resumed: expected true or false"},
    {"inline", ON(CV_MSG_READY), ON(CV_MSG_READY), INTEGER32, AT(inlined), 0, 64, "inline: expected an integer from 0 to 64"},
    {"canary", ON(CV_MSG_DIAL), ON(CV_MSG_DIAL), FLAG, AT(canary), 0, 0, "canary: expected true or false"},
    {"transfer_url", ON(CV_MSG_READY), ON(CV_MSG_READY), TEXT, AT(transfer_url), 1, 256,
     "transfer_url: expected text of 1 to 256 characters"},
    {"transfer_key", ON(CV_MSG_READY), ON(CV_MSG_READY), TEXT, AT(transfer_key), 1, 256,
     "transfer_key: expected text of 1 to 256 characters"},
    {"id", ON(CV_MSG_DIAL) | ON(CV_MSG_REFUSED) | ON(CV_MSG_ASSIGN) | ON(CV_MSG_ACCEPTED) | ON(CV_MSG_IDLE), 0, ID, AT(id), 1,
     CV_ID_MAX, "id: expected 1 to 64 characters of A-Z a-z 0-9 _ -"},
    {"path", ON(CV_MSG_DIAL), 0, PATH, AT(path), 2, CV_PATH_MAX, "path: expected an absolute path of at most 256 characters"},
    {"visitor", ON(CV_MSG_DIAL) | ON(CV_MSG_ASSIGN), 0, TEXT, AT(visitor), 0, 128,
     "visitor: expected text of at most 128 characters"},
    {"reconnect_ms", ON(CV_MSG_WIND_DOWN), 0, INTEGER32, AT(reconnect_ms), 0, DAY,
     "reconnect_ms: expected an integer from 0 to 86400000"},
    {"code", ON(CV_MSG_REFUSED) | ON(CV_MSG_BYE), 0, TEXT, AT(code), 1, 64, "code: expected text of 1 to 64 characters"},
    {"message", ON(CV_MSG_BYE), 0, TEXT, AT(message), 0, 512, "message: expected text of at most 512 characters"},
};
enum { FIELD_COUNT = sizeof FIELDS / sizeof FIELDS[0] };

static const char *const TYPES[] = {"", "endpoint", "ready", "dial", "refused", "wind_down", "bye", "assign", "accepted", "idle"};

static cv_message_type type_of(cv_text name) {
  unsigned type;
  for (type = 1; type < sizeof TYPES / sizeof TYPES[0]; type++) {
    if (cv_text_is(name, TYPES[type])) return (cv_message_type)type;
  }
  return CV_MSG_UNKNOWN;
}

/* Characters as JavaScript counts them: those outside the first plane count twice. */
static int64_t characters(cv_text text) {
  int64_t count = 0;
  size_t i;
  for (i = 0; i < text.length; i++) {
    unsigned c = (unsigned char)text.at[i];
    if ((c & 0xc0u) != 0x80u) count += c >= 0xf0u ? 2 : 1;
  }
  return count;
}

static int is_id(cv_text text) {
  size_t i;
  for (i = 0; i < text.length; i++) {
    char c = text.at[i];
    int good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    if (!good) return 0;
  }
  return 1;
}

static int is_path(cv_text text) {
  size_t i;
  for (i = 0; i < text.length; i++) {
    if (text.at[i] < 0x21 || text.at[i] > 0x7e) return 0;
  }
  return text.at[0] == '/';
}

/* Checks a value and puts it into its place. */
static int store(const field *wanted, const cv_json_field *given, cv_message *message) {
  void *at = (char *)message + wanted->offset;
  if (wanted->kind == FLAG) {
    int flag = given->kind == CV_JSON_TRUE;
    if (!flag && given->kind != CV_JSON_FALSE) return 0;
    memcpy(at, &flag, sizeof flag);
    return 1;
  }
  if (wanted->kind <= INTEGER64) {
    uint16_t small = (uint16_t)given->integer;
    uint32_t medium = (uint32_t)given->integer;
    uint64_t large = (uint64_t)given->integer;
    if (given->kind != CV_JSON_INTEGER || given->integer < wanted->min || given->integer > wanted->max) return 0;
    if (wanted->kind == INTEGER16) memcpy(at, &small, sizeof small);
    if (wanted->kind == INTEGER32) memcpy(at, &medium, sizeof medium);
    if (wanted->kind == INTEGER64) memcpy(at, &large, sizeof large);
    return 1;
  }
  if (given->kind != CV_JSON_TEXT || characters(given->text) < wanted->min || characters(given->text) > wanted->max) return 0;
  if (wanted->kind == ID && !is_id(given->text)) return 0;
  if (wanted->kind == PATH && !is_path(given->text)) return 0;
  memcpy(at, &given->text, sizeof given->text);
  return 1;
}

static int is_refusal(cv_text code) {
  return cv_text_is(code, "local_refused") || cv_text_is(code, "local_timeout") || cv_text_is(code, "not_allowed") ||
         cv_text_is(code, "busy");
}

int cv_message_read(char *text, size_t length, cv_message *message, const char **fault) {
  cv_json json;
  cv_json_field given;
  cv_json_field kept[FIELD_COUNT];
  uint32_t present = 0;
  cv_text type = {NULL, 0};
  unsigned i;
  int result;
  memset(message, 0, sizeof *message);
  *fault = "expected a flat JSON object of at most 1024 bytes";
  if (length > CV_MESSAGE_MAX) return CV_EPROTOCOL;
  cv_json_init(&json, text, length);
  while ((result = cv_json_next(&json, &given)) == 1) {
    if (cv_text_is(given.name, "type")) {
      cv_text none = {NULL, 0};
      type = given.kind == CV_JSON_TEXT ? given.text : none;
      continue;
    }
    for (i = 0; i < FIELD_COUNT; i++) {
      if (!cv_text_is(given.name, FIELDS[i].name)) continue;
      kept[i] = given;
      present |= UINT32_C(1) << i;
    }
  }
  if (result < 0) return CV_EPROTOCOL;
  *fault = "type: expected the name of a message";
  if (type.at == NULL) return CV_EPROTOCOL;
  message->type = type_of(type);
  if (message->type == CV_MSG_UNKNOWN) {
    *fault = NULL;
    return CV_OK;
  }
  for (i = 0; i < FIELD_COUNT; i++) {
    const field *wanted = &FIELDS[i];
    uint16_t on = ON(message->type);
    if ((wanted->types & on) == 0) continue;
    *fault = wanted->expected;
    if ((present >> i & 1u) == 0) {
      if ((wanted->optional & on) == 0) return CV_EPROTOCOL;
    } else if (!store(wanted, &kept[i], message)) {
      return CV_EPROTOCOL;
    }
  }
  *fault = "code: expected local_refused, local_timeout, not_allowed or busy";
  if (message->type == CV_MSG_REFUSED && !is_refusal(message->code)) return CV_EPROTOCOL;
  *fault = "endpoint: expected url, or host and public_port";
  if (message->type == CV_MSG_ENDPOINT && message->url.length == 0 && (message->host.length == 0 || message->public_port == 0)) {
    return CV_EPROTOCOL;
  }
  *fault = NULL;
  return CV_OK;
}

static int write_id(char *out, size_t size, const char *type, cv_text id) {
  cv_json_writer writer;
  cv_json_begin(&writer, out, size);
  cv_json_put_word(&writer, "type", type);
  cv_json_put_text(&writer, "id", id);
  return cv_json_end(&writer);
}

int cv_write_accepted(char *out, size_t size, cv_text id) {
  return write_id(out, size, "accepted", id);
}

int cv_write_idle(char *out, size_t size, cv_text id) {
  return write_id(out, size, "idle", id);
}

int cv_write_refused(char *out, size_t size, cv_text id, cv_code code) {
  cv_json_writer writer;
  cv_json_begin(&writer, out, size);
  cv_json_put_word(&writer, "type", "refused");
  cv_json_put_text(&writer, "id", id);
  cv_json_put_word(&writer, "code", cv_code_word(code));
  return cv_json_end(&writer);
}

int cv_write_open(char *out, size_t size, unsigned channel, cv_text path, uint32_t credit) {
  cv_json_writer writer;
  cv_json_begin(&writer, out, size);
  cv_json_put_word(&writer, "type", "open");
  cv_json_put_integer(&writer, "channel", (int64_t)channel);
  cv_json_put_text(&writer, "path", path);
  cv_json_put_integer(&writer, "credit", (int64_t)credit);
  return cv_json_end(&writer);
}

int cv_write_bye(char *out, size_t size, cv_code code, const char *message) {
  cv_json_writer writer;
  cv_json_begin(&writer, out, size);
  cv_json_put_word(&writer, "type", "bye");
  cv_json_put_word(&writer, "code", cv_code_word(code));
  cv_json_put_word(&writer, "message", message);
  return cv_json_end(&writer);
}
