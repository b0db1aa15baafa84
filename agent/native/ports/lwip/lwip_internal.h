/* Between the files of this port. */
#ifndef LWIP_INTERNAL_H
#define LWIP_INTERNAL_H

#include "device.h"

void controls_poll(cv_lwip *device, cv_ms now);
void transfers_poll(cv_lwip *device, cv_ms now);

/* The message of `control` is a dial. */
void transfer_dialled(cv_lwip *device, cv_control *control, cv_ms now);

#endif
