/* The Ethernet controller of the LM3S6965 (data sheet, chapter 18), polled. */
#include <string.h>

#include "board.h"
#include "lwip/etharp.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "netif/ethernet.h"

#define MAC(offset) (*(volatile uint32_t *)(0x40048000u + (offset)))
#define MAC_RCTL MAC(0x08)
#define MAC_TCTL MAC(0x0C)
#define MAC_DATA MAC(0x10)
#define MAC_IA0 MAC(0x14)
#define MAC_IA1 MAC(0x18)
#define MAC_THR MAC(0x1C)
#define MAC_NP MAC(0x34)
#define MAC_TR MAC(0x38)
#define RCTL_RESET_FIFO 0x10u
#define RCTL_ENABLE 0x01u
#define TCTL_ENABLE_PAD_CRC_DUPLEX 0x17u
#define TR_NEW 0x01u
#define NP_FRAMES 0x3Fu
#define FRAME_MAX 1514u
#define FRAME_MIN 60u
/* In front of each frame the FIFO has its length, which counts these two bytes and the four of the checksum behind it. */
#define LENGTH_BYTES 2u
#define CRC_BYTES 4u
/* Turns to wait for the frame before; at full length it takes 1.2 ms on a line of 10 Mbit/s. */
#define SEND_SPINS 100000u

/* For one frame at a time, either way: the length, the frame, padding to whole words. */
static uint8_t buffer[LENGTH_BYTES + FRAME_MAX + 4];

static err_t send_frame(struct netif *netif, struct pbuf *p) {
  u16_t length = pbuf_copy_partial(p, buffer + LENGTH_BYTES, FRAME_MAX, 0);
  uint32_t spins = 0;
  size_t i;
  (void)netif;
  while ((MAC_TR & TR_NEW) != 0) {
    if (++spins > SEND_SPINS) return ERR_IF;
  }
  if (length < FRAME_MIN) {
    memset(buffer + LENGTH_BYTES + length, 0, FRAME_MIN - length);
    length = FRAME_MIN;
  }
  /* The controller counts what follows the 14 bytes of the header. */
  buffer[0] = (uint8_t)((length - SIZEOF_ETH_HDR) & 0xFF);
  buffer[1] = (uint8_t)((length - SIZEOF_ETH_HDR) >> 8);
  for (i = 0; i < length + LENGTH_BYTES; i += 4) {
    uint32_t word;
    memcpy(&word, buffer + i, sizeof word);
    MAC_DATA = word;
  }
  MAC_TR = TR_NEW;
  return ERR_OK;
}

/* Reads one frame out of the FIFO; NULL when there is no buffer for it. */
static struct pbuf *receive_frame(void) {
  uint32_t word = MAC_DATA;
  uint32_t total = word & 0xFFFFu;
  uint32_t at;
  struct pbuf *p;
  memcpy(buffer, &word, sizeof word);
  for (at = 4; at < total; at += 4) {
    word = MAC_DATA;
    if (at + 4 <= sizeof buffer) memcpy(buffer + at, &word, sizeof word);
  }
  if (total <= LENGTH_BYTES + CRC_BYTES || total > sizeof buffer) return NULL;
  p = pbuf_alloc(PBUF_RAW, (u16_t)(total - LENGTH_BYTES - CRC_BYTES), PBUF_POOL);
  if (p != NULL) pbuf_take(p, buffer + LENGTH_BYTES, p->tot_len);
  return p;
}

void board_ethernet_poll(struct netif *netif) {
  while ((MAC_NP & NP_FRAMES) != 0) {
    struct pbuf *p = receive_frame();
    if (p != NULL && netif->input(p, netif) != ERR_OK) pbuf_free(p);
  }
}

err_t board_ethernet_init(struct netif *netif) {
  /* Locally administered; boards on one wire need one each, by the setting `mac`. */
  static const char digits[] = "0123456789abcdef";
  char text[13];
  size_t i;
  netif->hwaddr_len = 6;
  memcpy(netif->hwaddr, "\x52\x54\x00\x12\x34\x56", 6);
  if (board_setting("mac", text, sizeof text) == 12) {
    for (i = 0; i < 6; i++) {
      const char *high = strchr(digits, text[2 * i]);
      const char *low = strchr(digits, text[2 * i + 1]);
      if (high == NULL || low == NULL) board_panic("mac: expected 12 digits of 0-9a-f");
      netif->hwaddr[i] = (u8_t)(((high - digits) << 4) | (low - digits));
    }
  }
  netif->name[0] = 'e';
  netif->name[1] = 'n';
  netif->output = etharp_output;
  netif->linkoutput = send_frame;
  netif->mtu = 1500;
  netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_LINK_UP;
  MAC_IA0 = (uint32_t)netif->hwaddr[0] | (uint32_t)netif->hwaddr[1] << 8 | (uint32_t)netif->hwaddr[2] << 16 |
            (uint32_t)netif->hwaddr[3] << 24;
  MAC_IA1 = (uint32_t)netif->hwaddr[4] | (uint32_t)netif->hwaddr[5] << 8;
  MAC_THR = 0x3F;
  MAC_RCTL = RCTL_RESET_FIFO;
  MAC_RCTL = RCTL_ENABLE;
  MAC_TCTL = TCTL_ENABLE_PAD_CRC_DUPLEX;
  return ERR_OK;
}
