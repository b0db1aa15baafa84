/*
 * culvert-agent: a device's end of Culvert as one process and one loop. What is shared by the files of this folder.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "options.h"
#include "stream.h"

/* One read of a transfer, each way: fewer and larger ones cost less CPU. main.c chooses by the machine's memory. */
#define ROOM_MOST 262144
#define ROOM_LEAST 16384
/* What the server may send ahead on an inline transfer, and one read of its target. */
#define INLINE_WINDOW 16384
/* Most inline transfers of a control connection. */
#define INLINE_MAX 64
/* Local targets that do not answer within this are `local_timeout`; below the 10 s of the dial. */
#define LOCAL_MS 5000
/* Running transfers may finish this long after a stop. */
#define STOP_MS 10000

struct slot;

/* How often something is tried that may mend nothing (rest.c). All zero at first, and again when it worked. */
typedef struct doubling_rest {
  unsigned times;
  cv_ms not_before;
} doubling_rest;

/* Where transfers may be opened past the edge (direct.c). */
typedef struct direct_address {
  int known;
  int use_proxy;
  server_url url;
  proxy_url proxy;
  char prefix[257];
  char key[257];
} direct_address;

/* By which way a transfer is opened. */
typedef enum way { WAY_SERVER, WAY_DIRECT, WAY_AFTER_ANSWER, WAY_AFTER_SILENCE } way;

/* One control connection: two of them live while the device moves from one to the other. */
typedef struct link_control {
  stream stream;
  cv_control control;
  int used;
  int told;     /* it has become ready, and that was told */
  uint32_t generation;
  uint32_t server;
  char token[513];
  uint8_t scratch[CV_MESSAGE_MAX];
  uint8_t out[4096];
  uint8_t in[4096];
  size_t in_from;
  size_t in_to;
  char request[4096];
  char why[320]; /* of its end, for people */
  direct_address direct;
  /* Inline transfers (inline.c): what each channel carries, and since when our CLOSE of it waits for the answer; 0: it does not. */
  cv_inline table;
  cv_channel channels[INLINE_MAX];
  struct slot *carried[INLINE_MAX];
  cv_ms closing[INLINE_MAX];
  struct slot *sending; /* whose bytes are on their way */
  unsigned turn;
} link_control;

typedef enum slot_state {
  SLOT_FREE,
  SLOT_LOCAL,   /* connecting to the local target: of a dial, or of an assigned warm transfer */
  SLOT_REFUSE,  /* the refusal waits for room on the control connection */
  SLOT_CHANNEL, /* waiting for a channel of the control connection */
  SLOT_INLINE,  /* its bytes go on the control connection */
  SLOT_OPENING, /* connecting the transfer: the local target is there, unless it is a warm one or a canary */
  SLOT_RUNNING, /* the WebSocket is open */
  SLOT_CLOSING  /* no visitor any more; the connection is still closing */
} slot_state;

/* What an inline transfer knows beside its bytes. */
typedef struct inline_flow {
  unsigned channel;
  int up_ended;   /* our END was sent */
  int down_ended; /* 1: the server's END came; 2: it was passed on */
  int leaving;    /* bytes of it are on their way: its memory is in use */
  int over;       /* and when they have left it is free */
  uint32_t spent; /* credit that the server may have back */
  cv_code cut;    /* CLOSE with this is still to be said */
  cv_ms active;   /* when bytes last moved */
  cv_ms taken;    /* when the target last took some, or none waited */
  cv_ms given;    /* when the server was last sent some, or none waited */
  uint64_t to_device;
  uint64_t to_visitor;
} inline_flow;

/* One transfer, with all memory it will ever need but that of TLS. */
typedef struct slot {
  slot_state state;
  int warm;
  int canary;
  int has_visitor;
  int up_eof;
  int opened;     /* the server has agreed to the transfer */
  way way;
  cv_ms dialled_at;
  direct_address direct;
  int again;      /* something is left to do without waiting for a socket */
  int lent;       /* the second loop has it (bulk.c) */
  struct slot *next;   /* of those on their way to the second loop, in it, and back */
  cv_ms rated_at;      /* since when bytes are counted, to see whether it moves much */
  uint64_t rated_from; /* and how many it had moved by then */
  size_t watched; /* how many of the polled sockets are its own, from `watched_at` on */
  size_t watched_at;
  uint16_t port;
  uint32_t generation; /* of the control connection that dialled */
  uint32_t server;
  cv_code refusal;
  cv_ms since;
  stream local;
  stream remote;
  cv_transfer transfer;
  uint8_t *down; /* bytes for the local target, inside `in` */
  size_t down_length;
  size_t in_from;
  size_t in_to;
  size_t up_from; /* inline: bytes of the target that wait, behind room for a header */
  size_t up_to;
  link_control *carrier; /* of an inline transfer; NULL: none any more */
  inline_flow flow;
  char id[CV_ID_MAX + 1];
  char path[CV_PATH_MAX + 1];
  char token[513];
  uint8_t scratch[CV_MESSAGE_MAX];
  size_t room; /* of `in`; `up` has CV_HEADROOM more: a frame's header goes before the bytes */
  uint8_t *in;
  uint8_t *up;
} slot;

typedef struct endpoint {
  char url[513];
  char host[256];
  uint16_t public_port;
} endpoint;

typedef struct agent {
  const options *options;
  char boot[23];
  link_control controls[2];
  int current; /* index of the one that is ready; -1: none */
  int pending; /* index of the one that is connecting; -1: none */
  uint32_t generations;
  cv_backoff backoff;
  cv_ms next_attempt; /* when to connect next; meaningful while `waiting` */
  int waiting;
  cv_ms move_by; /* a move waits for inline transfers until then */
  int settled; /* it was ready once */
  int stopping;
  cv_ms stop_at;
  cv_ms stop_asked_at;
  endpoint endpoints[MAPPINGS];
  cv_code ending_code;
  slot *slots;
  size_t slot_count;
  size_t slots_end; /* behind the last one that is in use: what lies there is not touched */
  uint8_t *buffers; /* of all slots */
  size_t room;      /* of each, each way */
  os_pollfd *fds;
  int busy; /* something is left to do at once */
  cv_ms ticked; /* when the deadlines of all were last looked at */
  /* The direct address that failed where the server did not, and how long it is left alone (direct.c). */
  char avoid_key[257];
  doubling_rest avoid;
  /* Rounds in which no transfer was opened (health.c). */
  struct {
    unsigned rounds;
    cv_ms failed_at;
    doubling_rest rest;
  } health;
  /* Warm transfers (warm.c). */
  char listener[64];
  uint32_t warm_wanted; /* how many should wait */
  cv_ms warm_at; /* when to look whether some are missing; 0: no need */
  cv_ms warm_not_before;
  cv_backoff warm_backoff;
  int warm_first; /* one is asked for alone, before the others */
} agent;

/* agent.c: the life of the agent. Returns the exit code. */
int agent_run(agent *a);
/* The control connection of a generation, if it lives and can be told something. */
link_control *control_of(agent *a, uint32_t generation);

/* control.c */
void control_open(agent *a, int index, cv_ms now);
/* Moves bytes; returns 1 when it is over, and `why` says how. */
int control_pump(agent *a, link_control *c, cv_ms now);
short control_events(const link_control *c);
/* Sends what waits, inline data in turns. */
void control_send(agent *a, link_control *c, cv_ms now);
void control_release(agent *a, link_control *c, cv_ms now);
void on_dial(agent *a, link_control *c, cv_ms now); /* slots.c */
void on_control_ready(agent *a, link_control *c, cv_ms now); /* agent.c */
void on_wind_down(agent *a, link_control *c, uint32_t reconnect_ms, cv_ms now);

/* slots.c, transfer.c */
slot *slot_take(agent *a, cv_ms now);
void slot_free(slot *t);
size_t slots_with_visitor(const agent *a);
void slot_open_remote(agent *a, slot *t, cv_ms now);
/* The direct address gave no transfer: the same at the server. */
void slot_fall_back(agent *a, slot *t, cv_ms now);
void slot_pump(agent *a, slot *t, cv_ms now);
/* Adds what is to be polled for, and says how many there are then. */
size_t watch_stream(os_pollfd *fds, size_t count, const stream *s, short events);
size_t slot_watch(os_pollfd *fds, size_t count, slot *t);
/* Whether a transfer has something to do: those that are still connecting always do. */
int slot_is_due(const os_pollfd *fds, const slot *t);
void slots_abort(agent *a, cv_ms now);
const mapping *mapping_of(const agent *a, uint16_t port, cv_text visitor);
void transfer_pump(agent *a, slot *t, cv_ms now);
/* For the second loop: moves bytes of a visitor, and touches nothing but the slot. False once something else is to be done. */
int transfer_carry(slot *t, cv_ms now);

/* bulk.c */
/* Lends it to the second loop if it moves much. */
void bulk_consider(agent *a, slot *t, cv_ms now);
void bulk_take_back(agent *a);
/* Takes back all that are lent, and lends no more. */
void bulk_recall(agent *a);

/* direct.c */
void direct_ready(const agent *a, link_control *c);
int direct_open(agent *a, slot *t, cv_ms now);
int direct_fails(const slot *t, cv_ms now);
void direct_given_up(slot *t);
void direct_judge(agent *a, const slot *t, cv_ms now);

/* rest.c */
int rest_over(const doubling_rest *rest, cv_ms now);
int rest_begin(doubling_rest *rest, cv_ms now);

/* health.c */
void health_worked(agent *a);
int health_is_answer(const slot *t);
void health_failed(agent *a, const slot *t, cv_ms now);

/* inline.c */
void inline_ready(link_control *c);
void inline_input(agent *a, link_control *c, const cv_frame *frame, cv_ms now);
void inline_pump(agent *a, slot *t, cv_ms now);
int inline_turn(link_control *c, cv_ms now);
void inline_flushed(agent *a, link_control *c);
int inline_running(const link_control *c);
void inline_tick(link_control *c, cv_ms now);
void inline_abort(agent *a, slot *t, cv_ms now);
void inline_lost(agent *a, link_control *c, cv_ms now);

/* warm.c */
void warm_visited(agent *a, cv_ms now);
void warm_dialled(agent *a, const char *path, cv_ms now);
void warm_replenish(agent *a, cv_ms now);
void warm_refused(agent *a, slot *t, cv_ms now);
void warm_granted(agent *a, cv_ms now);
int warm_give_up_one(agent *a, cv_ms now);
size_t warm_waiting(const agent *a);

/* printer.c */
void tell_connecting(const agent *a, const server_url *server);
void tell_endpoint(const agent *a, size_t index);
void tell_ready(const agent *a, const link_control *c, const cv_message *ready);
void tell_refused(const agent *a, cv_code code, const char *message, int status, uint32_t retry_ms);
void tell_disconnected(const agent *a, cv_code code, const char *message, uint32_t retry_ms);
void tell_transfer(const agent *a, const char *id, uint16_t port, const char *outcome, uint64_t to_device, uint64_t to_visitor);
void tell_stopped(const agent *a);

#endif
