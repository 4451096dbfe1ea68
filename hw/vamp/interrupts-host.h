/*
 * VAMP: the host's side of interrupts, from /proc and /sys
 *
 * @root is a folder that stands for /proc (or /sys); tests give a mock. Needs
 * no QEMU around it. No state: any thread, but reading blocks.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_INTERRUPTS_HOST_H
#define HW_VAMP_INTERRUPTS_HOST_H

#include "core/procirq.h"

/* A host with 512 CPUs and 8,192 interrupts has less. */
#define VAMP_HOST_INTERRUPTS_MAX    (64 * MiB)

/* The interrupts of assigned devices, sorted. */
typedef struct VampHostIrqs {
    struct vamp_procirq *irq;
    size_t n;
} VampHostIrqs;

/*
 * Reads @root/interrupts. False with @errp: it cannot be read or is too
 * large; @irqs is empty then.
 */
bool vamp_host_irqs_read(const char *root, VampHostIrqs *irqs, Error **errp);
void vamp_host_irqs_free(VampHostIrqs *irqs);

/* The entry with the device, kind and vector of @key, or NULL. */
const struct vamp_procirq *
vamp_host_irqs_find(const VampHostIrqs *irqs, const struct vamp_procirq *key);

/*
 * @root/irq/@irq/@file, a list of CPUs such as "0-3,8" without a newline;
 * NULL with @errp if it cannot be read or is none. The caller frees it.
 */
char *vamp_host_irq_cpus(const char *root, unsigned irq, const char *file,
                         Error **errp);

/*
 * Lets CPUs @cpus take interrupt @irq. Returns 0 or a negative errno; Linux
 * has -EIO for interrupts that the kernel steers itself and -EINVAL for CPUs
 * that are offline.
 */
int vamp_host_irq_set_cpus(const char *root, unsigned irq, const char *cpus);

/*
 * What the modules of KVM below @sys_root/module say of interrupts that enter
 * a running vCPU without an exit: 'p' posted (Intel), 'a' AVIC (AMD), 'n' not,
 * '?' they do not say. @reason: how it is known; the caller frees it.
 */
char vamp_host_kvm_injection(const char *sys_root, char **reason);

#endif /* HW_VAMP_INTERRUPTS_HOST_H */
