/* What lwIP wants of compiler and board. */
#ifndef ARCH_CC_H
#define ARCH_CC_H

#include <stdint.h>

#include "board.h"

#define LWIP_NO_INTTYPES_H 1
#define X8_F "02x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "lu"
#define S32_F "ld"
#define X32_F "lx"
#define SZT_F "u"

#define LWIP_PLATFORM_DIAG(message)
#define LWIP_PLATFORM_ASSERT(message) board_panic(message)
#define LWIP_RAND() board_random32()

#endif
