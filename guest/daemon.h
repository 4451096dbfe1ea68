/*
 * vdiguest: the daemon itself
 *
 * Sensors (input, sound, the host, the clock) call it; it asks scan.h who is
 * slow, plan.h how many vCPUs are fast, and lets place.h and irq.h make that
 * true. When a phase begins and ends, core/policy.h says.
 *
 * Main thread only.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_DAEMON_H
#define GUEST_DAEMON_H

#include "guest/options.h"

typedef struct Daemon Daemon;

/*
 * Undoes what a killed predecessor left, and begins to listen. NULL with a
 * sentence, and nothing changed. @options stay the caller's.
 */
Daemon *daemon_begin(const Options *options, GError **err);

/* Puts everything back. */
void daemon_end(Daemon *d);

#endif /* GUEST_DAEMON_H */
