/*
 * Assigned devices' interrupts in the text of Linux's /proc/interrupts
 *
 * Pure: no allocation, no I/O, no state. Any thread.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_PROCIRQ_H
#define VAMP_CORE_PROCIRQ_H

#include "port.h"

/* More than Linux can have (NR_IRQS); a number above is no interrupt. */
#define VAMP_PROCIRQ_MAX_IRQ    0xffffffu
/* A PCI device has at most that many MSI-X vectors. */
#define VAMP_PROCIRQ_MAX_VECTOR 2047u

enum vamp_procirq_kind {
    VAMP_PROCIRQ_INTX,
    VAMP_PROCIRQ_MSI,
    VAMP_PROCIRQ_MSIX,
};

/* Plain numbers, so that a whole one compares field by field in this order. */
struct vamp_procirq {
    uint32_t domain;            /* PCI address on the host */
    uint32_t bus;
    uint32_t slot;
    uint32_t function;
    uint32_t kind;              /* enum vamp_procirq_kind */
    uint32_t vector;            /* 0 for INTx */
    uint32_t irq;
    uint64_t count;             /* on all CPUs, saturating */
};

/*
 * Finds what VFIO has requested in @text (/proc/interrupts as read, @len
 * bytes, no NUL needed): actions named vfio-msix[N](BDF), vfio-msi[N](BDF) and
 * vfio-intx(BDF). A line that several drivers share is one interrupt with
 * several actions, so it may count more than once.
 *
 * Fills at most @max entries of @out in the order of the text; returns how
 * many there are, which may be more. Lines of another form are passed over.
 */
size_t vamp_procirq_parse(const char *text, size_t len,
                          struct vamp_procirq *out, size_t max);

/* < 0, 0, > 0 by device, kind and vector; irq and count do not matter. */
int vamp_procirq_compare(const struct vamp_procirq *a,
                         const struct vamp_procirq *b);

/*
 * Is @text (@len bytes) a list of CPUs as Linux writes it: numbers and
 * ranges with commas between, such as "0-3,8"? An empty one is (no CPU).
 */
bool vamp_procirq_is_cpulist(const char *text, size_t len);

#endif /* VAMP_CORE_PROCIRQ_H */
