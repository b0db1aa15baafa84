/*
 * Stellaris LM3S6965: Cortex-M3 at 12 MHz, clock by SysTick, console on UART0, light on port F. It has no source of randomness
 * of its own: see board_random.
 */
#include "board.h"

#include <string.h>

#include "culvert/http.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define SYST_CSR REGISTER(0xE000E010u)
#define SYST_RVR REGISTER(0xE000E014u)
#define SYST_CVR REGISTER(0xE000E018u)
#define SYSCTL_RCGC2 REGISTER(0x400FE108u)
#define UART0_DR REGISTER(0x4000C000u)
#define UART0_FR REGISTER(0x4000C018u)
#define UART_FULL 0x20u
#define PORT_F_DATA REGISTER(0x40025004u) /* masked address: bit 0 only */
#define PORT_F_DIR REGISTER(0x40025400u)
#define PORT_F_DEN REGISTER(0x4002551Cu)
#define TICKS_A_MS 12000u
#define SETTINGS_BYTES 4096u
#define STACK_PAINT 0xA5A5A5A5u

extern uint32_t _data_source, _data_start, _data_end, _bss_start, _bss_end, _stack_start, _stack_end;
extern const char _settings[];

int main(void);
void board_reset(void);

static volatile uint32_t ticks;
static volatile uint32_t ticks_high;
static uint8_t pool[20];
static uint32_t drawn;

static void on_tick(void) {
  if (++ticks == 0) ticks_high++;
}

static void on_fault(void) {
  board_panic("fault");
}

void board_reset(void) {
  uint32_t *from = &_data_source;
  uint32_t *to;
  volatile uint32_t *paint;
  for (to = &_data_start; to < &_data_end;) *to++ = *from++;
  for (to = &_bss_start; to < &_bss_end;) *to++ = 0;
  /* All of the stack below this frame. */
  for (paint = &_stack_start; paint < (volatile uint32_t *)__builtin_frame_address(0) - 16;) *paint++ = STACK_PAINT;
  main();
  board_panic("main returned");
}

typedef void (*vector)(void);
__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    (vector)(uintptr_t)&_stack_end, board_reset, on_fault, on_fault, on_fault, on_fault, on_fault, 0, 0, 0, 0, on_fault,
    on_fault, 0, on_fault, on_tick,
};

uint64_t board_now(void) {
  uint32_t high;
  uint32_t low;
  do {
    high = ticks_high;
    low = ticks;
  } while (high != ticks_high);
  return ((uint64_t)high << 32) | low;
}

void board_idle(void) {
  __asm volatile("wfi");
}

static void put(char c) {
  while ((UART0_FR & UART_FULL) != 0) {
  }
  UART0_DR = (uint32_t)(uint8_t)c;
}

void board_print(const char *text) {
  while (*text != '\0') put(*text++);
  put('\r');
  put('\n');
}

void board_panic(const char *why) {
  board_print("stopped:");
  board_print(why);
  for (;;) board_idle();
}

void board_light(int on) {
  PORT_F_DATA = on ? 1u : 0u;
}

/*
 * A hash chain over the `seed` that the device was provisioned with, mixed with the clock at each draw. The same seed at every
 * start would give nearly the same numbers: whoever provisions it gives each device its own and a new one each time, and a
 * board with a generator in hardware uses that here instead.
 */
void board_random(void *context, uint8_t *out, size_t length) {
  (void)context;
  while (length > 0) {
    uint8_t block[sizeof pool + 12];
    uint8_t digest[20];
    uint32_t words[3];
    size_t n = length < sizeof digest ? length : sizeof digest;
    words[0] = ++drawn;
    words[1] = SYST_CVR;
    words[2] = ticks;
    memcpy(block, pool, sizeof pool);
    memcpy(block + sizeof pool, words, sizeof words);
    cv_sha1(block, sizeof block, digest);
    memcpy(out, digest, n);
    /* The state goes on by another hash, so that what was given out does not tell what comes. */
    block[0] ^= 0xFFu;
    cv_sha1(block, sizeof block, pool);
    out += n;
    length -= n;
  }
}

uint32_t board_random32(void) {
  uint32_t value;
  board_random(NULL, (uint8_t *)&value, sizeof value);
  return value;
}

int board_setting(const char *key, char *out, size_t size) {
  const char *at = _settings;
  const char *end = _settings + SETTINGS_BYTES;
  size_t key_length = strlen(key);
  while (at < end && *at != '\0' && (uint8_t)*at != 0xFFu) {
    const char *line = at;
    size_t length;
    while (at < end && *at != '\n' && *at != '\0' && (uint8_t)*at != 0xFFu) at++;
    length = (size_t)(at - line);
    if (at < end && *at == '\n') at++;
    if (length <= key_length || strncmp(line, key, key_length) != 0 || line[key_length] != '=') continue;
    length -= key_length + 1;
    if (length >= size) return -1;
    memcpy(out, line + key_length + 1, length);
    out[length] = '\0';
    return (int)length;
  }
  return -1;
}

size_t board_ram_reserved(void) {
  return (size_t)((const char *)&_stack_end - (const char *)&_data_start);
}

size_t board_stack_used(void) {
  const uint32_t *at = &_stack_start;
  while (at < &_stack_end && *at == STACK_PAINT) at++;
  return (size_t)((const char *)&_stack_end - (const char *)at);
}

void board_init(void) {
  char seed[65];
  SYST_RVR = TICKS_A_MS - 1;
  SYST_CVR = 0;
  SYST_CSR = 7;
  SYSCTL_RCGC2 |= 0x20u;
  PORT_F_DIR |= 1u;
  PORT_F_DEN |= 1u;
  if (board_setting("seed", seed, sizeof seed) < 32) board_panic("seed: expected 32 to 64 random characters");
  cv_sha1((const uint8_t *)seed, strlen(seed), pool);
}
