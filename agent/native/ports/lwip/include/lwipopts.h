/*
 * lwIP for one control connection (two while it moves), CV_LWIP_TRANSFERS transfers, DHCP and DNS, without an operating
 * system. Every buffer is a pool of fixed size: what the pools below add up to is all that the stack ever takes.
 */
#ifndef LWIPOPTS_H
#define LWIPOPTS_H

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0 /* all calls come from the main loop */
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define MEM_ALIGNMENT 4

#define LWIP_DHCP 1
#define LWIP_DNS 1
#define LWIP_ICMP 1
#define LWIP_RAW 0
#define LWIP_ARP 1
#define ARP_TABLE_SIZE 4
#define DNS_TABLE_SIZE 1
#define DNS_MAX_NAME_LENGTH 64
#define MEMP_NUM_UDP_PCB 3

/* Connections: two control, four transfers, and as many that are only being closed. */
#define MEMP_NUM_TCP_PCB 12
#define MEMP_NUM_TCP_PCB_LISTEN 1
#define LWIP_TCP_KEEPALIVE 0

/*
 * A segment of 536 bytes fits one pool buffer with its headers. A window is four of them, and the pool holds the windows of all
 * six connections and four frames more, so that a visitor who is not read cannot keep the control connection from hearing.
 */
#define TCP_MSS 536
#define TCP_WND (4 * TCP_MSS)
#define TCP_SND_BUF (4 * TCP_MSS)
#define TCP_SND_QUEUELEN 12
#define MEMP_NUM_TCP_SEG 40
#define TCP_QUEUE_OOSEQ 0
#define PBUF_POOL_BUFSIZE 600
#define PBUF_POOL_SIZE 28
#define MEMP_NUM_PBUF 8
/* What is sent is copied in here until it is acknowledged. */
#define MEM_SIZE (12 * 1024)

#define LWIP_STATS 1
#define LWIP_STATS_DISPLAY 0
#define LINK_STATS 0
#define ETHARP_STATS 0
#define IP_STATS 0
#define ICMP_STATS 0
#define UDP_STATS 0
#define TCP_STATS 0

#endif
