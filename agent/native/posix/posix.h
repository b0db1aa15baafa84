/* What the files of this folder share. */
#ifndef POSIX_POSIX_H
#define POSIX_POSIX_H

#include "platform.h"

/* Ends the poll that is waiting, or the next one. Signal handlers and other threads may call it. */
void posix_rouse(void);

#endif
