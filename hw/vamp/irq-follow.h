/*
 * VAMP: moves interrupts of the host, and puts them back
 *
 * What irq-affinity=follow does to the host. It is told which interrupt shall
 * be on which CPU and knows neither devices nor vCPUs. Needs no QEMU around
 * it. Not thread-safe: one thread at a time; calls block in /proc.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_IRQ_FOLLOW_H
#define HW_VAMP_IRQ_FOLLOW_H

typedef struct VampIrqMover VampIrqMover;

typedef struct VampIrqWant {
    unsigned irq;               /* of the host */
    int pcpu;                   /* CPU of the host that shall take it */
} VampIrqWant;

/* @proc_root: a folder that stands for /proc. Touches nothing yet. */
VampIrqMover *vamp_irq_mover_new(const char *proc_root);

/*
 * Makes exactly @want[@n] true: moves these interrupts (the first entry of an
 * interrupt counts), puts all others back that an earlier call has moved.
 *
 * An interrupt that somebody else (irqbalance, an administrator) has set
 * meanwhile is theirs from then on: it is not moved and not put back. One that
 * has its first affinity again was requested anew by its driver, and is moved
 * again, a few times. What could not be done is tried again by the next call.
 */
void vamp_irq_mover_apply(VampIrqMover *m, const VampIrqWant *want, size_t n);

/* Puts back what is still as it was left, then frees @m. Accepts NULL. */
void vamp_irq_mover_free(VampIrqMover *m);

/* Is @irq where it was put? As of the last apply(). */
bool vamp_irq_mover_has(const VampIrqMover *m, unsigned irq);
size_t vamp_irq_mover_count(const VampIrqMover *m);

/* Calls @fn for each interrupt that could not be moved, with the reason. */
void vamp_irq_mover_problems(const VampIrqMover *m,
                             void (*fn)(unsigned irq, const char *problem,
                                        void *opaque),
                             void *opaque);

#endif /* HW_VAMP_IRQ_FOLLOW_H */
