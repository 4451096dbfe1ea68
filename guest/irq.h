/*
 * vdiguest: interrupts go to the fast vCPUs, and back
 *
 * An interrupt that Linux manages by itself (queues of virtio-blk and nvme)
 * cannot be moved and is left. Back is only what is still as it was left.
 *
 * Main thread only.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_IRQ_H
#define GUEST_IRQ_H

#include "guest/state.h"

/*
 * Moves @irqs (unsigned), or if that is NULL the queues of virtio disks and
 * network devices that are found, to @fast. What was found is noted in @st,
 * and saved in @f, before the first move. How many are there now.
 */
unsigned irq_pin(const GArray *irqs, const CpuSet *fast, State *st,
                 StateFile *f);

/* Puts back what @st says, and forgets it there. Does not save. */
void irq_restore(State *st);

#endif /* GUEST_IRQ_H */
