#include "page.h"

#include <string.h>

#include "board.h"
#include "lwip/memp.h"
#include "lwip/stats.h"

/* Longest request line that is read; more of it does not matter here. */
#define LINE_MAX 96

typedef enum answer { ANSWER_NONE, ANSWER_PAGE, ANSWER_RAM, ANSWER_PATTERN, ANSWER_NOT_FOUND, ANSWER_METHOD } answer;

typedef struct page_visitor {
  char line[LINE_MAX + 1];
  uint8_t length;
  uint8_t line_done;
  uint8_t newlines; /* in a row: two end the head */
  uint8_t answer;
  uint8_t ended;
  uint8_t head_sent;
  uint32_t sent; /* of the pattern */
} page_visitor;

static page_visitor visitors[CV_LWIP_TRANSFERS];
static uint32_t counter;

void page_count(void) {
  counter++;
}

/* Text that grows in a buffer of fixed size; what does not fit shows as a length beyond it. */
typedef struct text {
  char *out;
  size_t size;
  size_t length;
} text;

static void put(text *t, const char *words) {
  size_t n = strlen(words);
  if (t->length + n <= t->size) memcpy(t->out + t->length, words, n);
  t->length += n;
}

static void put_number(text *t, uint32_t number) {
  char digits[11];
  size_t at = sizeof digits - 1;
  digits[at] = '\0';
  do {
    digits[--at] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  put(t, digits + at);
}

static void put_field(text *t, const char *name, uint32_t number) {
  put(t, ",\"");
  put(t, name);
  put(t, "\":");
  put_number(t, number);
}

static void put_head(text *t, const char *status, const char *type, uint32_t length) {
  put(t, "HTTP/1.1 ");
  put(t, status);
  put(t, "\r\nContent-Type: ");
  put(t, type);
  put(t, "\r\nContent-Length: ");
  put_number(t, length);
  put(t, "\r\nConnection: close\r\nCache-Control: no-store\r\n\r\n");
}

static void put_body(text *t, const char *status, const char *type, const char *body, size_t length) {
  put_head(t, status, type, (uint32_t)length);
  if (t->length + length <= t->size) memcpy(t->out + t->length, body, length);
  t->length += length;
}

static void page_open(unsigned visitor) {
  memset(&visitors[visitor], 0, sizeof visitors[visitor]);
}

static void page_close(unsigned visitor) {
  (void)visitor;
}

static answer answer_of(const char *line) {
  const char *path = line + 4;
  size_t length;
  if (strncmp(line, "GET ", 4) != 0) return ANSWER_METHOD;
  length = strcspn(path, " ?");
  if (length == 1 && path[0] == '/') return ANSWER_PAGE;
  if (length == 4 && strncmp(path, "/ram", 4) == 0) return ANSWER_RAM;
  if (length == 8 && strncmp(path, "/pattern", 8) == 0) return ANSWER_PATTERN;
  return ANSWER_NOT_FOUND;
}

static size_t page_input(unsigned visitor, const uint8_t *bytes, size_t length) {
  page_visitor *v = &visitors[visitor];
  size_t i;
  for (i = 0; i < length && v->answer == ANSWER_NONE; i++) {
    char c = (char)bytes[i];
    if (c == '\n') {
      v->line_done = 1;
      if (++v->newlines == 2) v->answer = (uint8_t)answer_of(v->line);
    } else if (c != '\r') {
      v->newlines = 0;
      if (!v->line_done && v->length < LINE_MAX) v->line[v->length++] = c;
    }
  }
  return length; /* a body is of no interest */
}

static void page_end(unsigned visitor) {
  page_visitor *v = &visitors[visitor];
  if (v->answer == ANSWER_NONE) v->ended = 1; /* half a request gets no answer */
}

static void put_page(text *t) {
  char body[420];
  text b = {body, sizeof body, 0};
  put(&b,
      "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
      "<title>A microcontroller</title><body><h1>Hello from a microcontroller</h1><p>It has counted to <output id=\"count\">");
  put_number(&b, counter);
  put(&b, "</output>.</p></body></html>\n");
  put_body(t, "200 OK", "text/html; charset=utf-8", body, b.length);
}

static void put_ram(text *t) {
  char body[320];
  text b = {body, sizeof body, 0};
  put(&b, "{\"reserved\":");
  put_number(&b, (uint32_t)board_ram_reserved());
  put_field(&b, "stack_used", (uint32_t)board_stack_used());
  put_field(&b, "lwip_heap_max", lwip_stats.mem.max);
  put_field(&b, "lwip_heap_errors", lwip_stats.mem.err);
  put_field(&b, "pool_max", memp_pools[MEMP_PBUF_POOL]->stats->max);
  put_field(&b, "pool_errors", memp_pools[MEMP_PBUF_POOL]->stats->err);
  put_field(&b, "segments_max", memp_pools[MEMP_TCP_SEG]->stats->max);
  put_field(&b, "pcbs_max", memp_pools[MEMP_TCP_PCB]->stats->max);
  put_field(&b, "device", sizeof(cv_lwip));
  put(&b, "}\n");
  put_body(t, "200 OK", "application/json", body, b.length);
}

static void put_pattern(page_visitor *v, text *t) {
  if (!v->head_sent) put_head(t, "200 OK", "application/octet-stream", PAGE_PATTERN_BYTES);
  v->head_sent = 1;
  while (t->length < t->size && v->sent < PAGE_PATTERN_BYTES) {
    t->out[t->length++] = (char)(uint8_t)(v->sent * 31u + v->sent / 256u);
    v->sent++;
  }
}

static size_t page_output(unsigned visitor, uint8_t *out, size_t size, int *ended) {
  static const char missing[] = "there is nothing here but /, /ram and /pattern\n";
  static const char method[] = "this page can only be read: GET\n";
  page_visitor *v = &visitors[visitor];
  text t = {(char *)out, size, 0};
  *ended = 1;
  switch (v->answer) {
    case ANSWER_PAGE:
      put_page(&t);
      break;
    case ANSWER_RAM:
      put_ram(&t);
      break;
    case ANSWER_PATTERN:
      put_pattern(v, &t);
      *ended = v->sent == PAGE_PATTERN_BYTES;
      break;
    case ANSWER_NOT_FOUND:
      put_body(&t, "404 Not Found", "text/plain; charset=utf-8", missing, sizeof missing - 1);
      break;
    case ANSWER_METHOD:
      put_body(&t, "405 Method Not Allowed", "text/plain; charset=utf-8", method, sizeof method - 1);
      break;
    default:
      *ended = v->ended;
  }
  return t.length;
}

const cv_lwip_target page_target = {page_open, page_input, page_end, page_output, page_close};
