/*
 * Culvert's device protocol in portable C99: no heap, no sockets, no clock, no globals. See README.md beside the library.
 */
#ifndef CULVERT_CULVERT_H
#define CULVERT_CULVERT_H

#include "culvert/backoff.h"
#include "culvert/codes.h"
#include "culvert/control.h"
#include "culvert/frame.h"
#include "culvert/http.h"
#include "culvert/inline.h"
#include "culvert/json.h"
#include "culvert/link.h"
#include "culvert/message.h"
#include "culvert/transfer.h"

#endif
