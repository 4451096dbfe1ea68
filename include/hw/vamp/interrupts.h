/*
 * VAMP: interrupt routing, as the rest of hw/vamp and the monitor see it
 *
 * Threads: everything here is called by the main loop under the BQL.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_INTERRUPTS_H
#define HW_VAMP_INTERRUPTS_H

#include "qapi/qapi-types-common.h"
#include "qapi/qapi-types-vamp-interrupts.h"

/*
 * The routing table of `info vamp interrupts`, NULL with @errp set if this
 * target has none. The caller frees it.
 */
HumanReadableText *vamp_interrupts_text(Error **errp);

/* Appends @info as a table for people to @buf. Pure: any thread. */
void vamp_interrupts_print(GString *buf, const VampInterrupts *info);

/*
 * irq-affinity=follow: from now on the host's interrupts of assigned devices
 * are moved to the host CPU of the vCPU that takes them, as
 * vamp_cpumap_cpu_of() has it. @errp is set, and nothing begun, if this target
 * has no interrupt routing or it is on already. What the host does not permit
 * is told by vamp-query-interrupts.
 */
bool vamp_irq_follow_start(Error **errp);

/* Puts every interrupt back where it was. Harmless if it is not on. */
void vamp_irq_follow_stop(void);

/* The map has changed: brings the interrupts after the vCPUs at once. */
void vamp_irq_follow_update(void);

#endif /* HW_VAMP_INTERRUPTS_H */
