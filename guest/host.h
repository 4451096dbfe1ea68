/*
 * vdiguest: what host and guest tell each other
 *
 * By QEMU's device vamp-hints (docs/interop/vamp-hints.rst), if the machine
 * has it. What the host says is a hint: it is checked, and can do nothing
 * that the user at the keyboard could not.
 *
 * Main thread; callbacks come from the main loop.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_HOST_H
#define GUEST_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>
#include "guest/cpus.h"

typedef struct Host Host;

typedef struct HostEvents {
    /* The host serves a user, for @length_ms unless it says so again. */
    void (*begin)(unsigned length_ms, bool mixed, void *opaque);
    void (*end)(void *opaque);
} HostEvents;

/* Never NULL: without the port, it is looked for by host_tick(). */
Host *host_begin(const HostEvents *events, void *opaque);
void host_end(Host *h);

/* What is true now (SlowTask); sent when it differs from what was said. */
void host_tasks(Host *h, const GArray *slow);
void host_split(Host *h, const CpuSet *fast, const CpuSet *slow);
void host_sound(Host *h, bool on);

/* From time to time, with the time in ns: opens, and keeps the host sure. */
void host_tick(Host *h, uint64_t now);

/* For people. */
const char *host_text(const Host *h);

#endif /* GUEST_HOST_H */
