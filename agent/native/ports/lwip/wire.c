#include "wire.h"

#include "lwip/dns.h"

static err_t on_receive(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err) {
  wire *w = arg;
  (void)pcb;
  (void)err;
  if (p == NULL) {
    w->state = WIRE_ENDED;
  } else if (w->in == NULL) {
    w->in = p;
    w->in_from = 0;
  } else {
    pbuf_cat(w->in, p);
  }
  return ERR_OK;
}

/* lwIP has freed the connection already. */
static void on_error(void *arg, err_t err) {
  wire *w = arg;
  (void)err;
  w->pcb = NULL;
  w->state = WIRE_BROKEN;
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t err) {
  wire *w = arg;
  (void)pcb;
  (void)err;
  w->state = WIRE_OPEN;
  return ERR_OK;
}

static void connect_to(wire *w, const ip_addr_t *address) {
  w->pcb = tcp_new();
  if (w->pcb == NULL) {
    w->state = WIRE_BROKEN;
    return;
  }
  w->state = WIRE_CONNECTING;
  tcp_arg(w->pcb, w);
  tcp_recv(w->pcb, on_receive);
  tcp_err(w->pcb, on_error);
  tcp_nagle_disable(w->pcb);
  if (tcp_connect(w->pcb, address, w->port, on_connected) != ERR_OK) {
    wire_reset(w);
    w->state = WIRE_BROKEN;
  }
}

/* The resolver keeps its argument for longer than a connection may live; a wire's memory is never freed, its turn tells. */
static wire *asking;
static uint8_t asking_turn;

static void on_resolved(const char *name, const ip_addr_t *address, void *arg) {
  (void)name;
  (void)arg;
  if (asking == NULL || asking->state != WIRE_RESOLVING || asking->turn != asking_turn) return;
  if (address == NULL) {
    asking->state = WIRE_BROKEN;
  } else {
    connect_to(asking, address);
  }
}

void wire_open(wire *w, const char *host, u16_t port) {
  ip_addr_t address;
  w->pcb = NULL;
  w->in = NULL;
  w->in_from = 0;
  w->port = port;
  w->turn++;
  w->state = WIRE_RESOLVING;
  switch (dns_gethostbyname(host, &address, on_resolved, NULL)) {
    case ERR_OK:
      connect_to(w, &address);
      break;
    case ERR_INPROGRESS:
      asking = w;
      asking_turn = w->turn;
      break;
    default:
      w->state = WIRE_BROKEN;
  }
}

uint8_t *wire_peek(const wire *w, size_t *length) {
  *length = 0;
  if (w->in == NULL) return NULL;
  *length = (size_t)(w->in->len - w->in_from);
  return (uint8_t *)w->in->payload + w->in_from;
}

void wire_taken(wire *w, size_t length) {
  if (w->pcb != NULL && length > 0) tcp_recved(w->pcb, (u16_t)length);
  w->in_from = (u16_t)(w->in_from + length);
  while (w->in != NULL && w->in_from == w->in->len) {
    struct pbuf *head = w->in;
    w->in = head->next;
    w->in_from = 0;
    if (w->in != NULL) pbuf_ref(w->in);
    pbuf_free(head);
  }
}

size_t wire_write(wire *w, const uint8_t *bytes, size_t length) {
  size_t room;
  if (w->pcb == NULL || (w->state != WIRE_OPEN && w->state != WIRE_ENDED)) return 0;
  room = tcp_sndbuf(w->pcb);
  if (length > room) length = room;
  if (length == 0) return 0;
  /* Out of memory for now: room comes with the next acknowledgement of any connection. */
  if (tcp_write(w->pcb, bytes, (u16_t)length, TCP_WRITE_FLAG_COPY) != ERR_OK) return 0;
  return length;
}

void wire_flush(wire *w) {
  if (w->pcb != NULL) tcp_output(w->pcb);
}

static struct tcp_pcb *let_go(wire *w) {
  struct tcp_pcb *pcb = w->pcb;
  if (w->in != NULL) pbuf_free(w->in);
  w->in = NULL;
  w->pcb = NULL;
  w->state = WIRE_CLOSED;
  if (pcb == NULL) return NULL;
  tcp_arg(pcb, NULL);
  tcp_recv(pcb, NULL);
  tcp_err(pcb, NULL);
  return pcb;
}

void wire_close(wire *w) {
  struct tcp_pcb *pcb = let_go(w);
  if (pcb != NULL && tcp_close(pcb) != ERR_OK) tcp_abort(pcb);
}

void wire_reset(wire *w) {
  struct tcp_pcb *pcb = let_go(w);
  if (pcb != NULL) tcp_abort(pcb);
}
