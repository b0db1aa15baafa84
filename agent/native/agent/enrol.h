/*
 * Enrolment: a device that was given a key makes its own token.
 */
#ifndef AGENT_ENROL_H
#define AGENT_ENROL_H

#include "options.h"

/* Enrols when there is a key and no token file yet. -1: the agent may start; else its exit code, and what was wrong was printed. */
int enrol(const options *o);

#endif
