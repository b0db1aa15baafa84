/*
 * What a board gives: a clock, randomness, a console, an Ethernet interface, and its settings.
 */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

struct netif;

/* Starts clock, console, light. */
void board_init(void);

/* Milliseconds since the start. */
uint64_t board_now(void);

/* Sleeps until the next tick of the clock, at most a millisecond, or less when something happens. */
void board_idle(void);

/* Unpredictable bytes, for WebSocket keys and masks. The signature is that of cv_random. */
void board_random(void *context, uint8_t *out, size_t length);
uint32_t board_random32(void);

/* A line on the console. */
void board_print(const char *text);

/* Prints why, and stops for ever. */
void board_panic(const char *why) __attribute__((noreturn));

/* Switches the light. */
void board_light(int on);

/* For netif_add: the Ethernet interface. */
signed char board_ethernet_init(struct netif *netif);

/* Hands the frames that have come to lwIP, at most as many as the interface holds. */
void board_ethernet_poll(struct netif *netif);

/*
 * The settings that the device was provisioned with: lines `key=value`, in flash. Copies the value of a key into out[0..size)
 * with a 0 behind; returns its length, or -1 when there is none or it does not fit.
 */
int board_setting(const char *key, char *out, size_t size);

/* Memory in bytes: all that is reserved (data, stack included), and how much of the stack was ever used. */
size_t board_ram_reserved(void);
size_t board_stack_used(void);

#endif
