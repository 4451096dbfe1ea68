/*
 * VAMP: irq-affinity=follow
 *
 * How changes are noticed: by a timer, once a second. QEMU has no notifier
 * that would do. kvm_irqchip_change_notify() tells of a new irqchip, not of a
 * new message; the callbacks of an MSI-X table belong to the device and the
 * one for PCI lines to VFIO; and with interrupt remapping the guest moves an
 * interrupt in its own memory, which nobody sees. A second is short beside how
 * seldom guests move interrupts, and one that is late is still delivered.
 *
 * A tick that finds nothing changed walks over the machine's objects and the
 * tables of assigned devices (a fraction of a millisecond), and neither
 * disturbs a vCPU nor opens a file. Only a change makes a whole query, which
 * asks KVM for the local APICs (each vCPU exits once), as do a few ticks after
 * it and one every half a minute.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vamp-interrupts.h"
#include "hw/intc/ioapic_internal.h"
#include "interrupts-int.h"
#include "trace.h"

#define PERIOD_MS       1000
/*
 * Looks at the host after so many ticks even if the guest did nothing: VFIO
 * may have requested an interrupt later than the guest programmed it, or anew.
 */
#define SETTLE_TICKS    3
#define RECHECK_TICKS   30

typedef struct Follow {
    VampIrqMover *mover;
    QEMUTimer *timer;
    uint64_t signature;         /* of the messages at the last look */
    unsigned quiet;             /* ticks since they changed */
} Follow;

static Follow *the_follow;

/* FNV-1a: tells apart what one guest programs one after the other. */
static void mix(uint64_t *hash, uint64_t value)
{
    for (unsigned i = 0; i < sizeof(value); i++) {
        *hash = (*hash ^ (value >> 8 * i & 0xff)) * 0x100000001b3;
    }
}

static void mix_message(VampIrqView *v, const struct vamp_procirq *key,
                        const VampMessage *msg, void *opaque)
{
    uint64_t *hash = opaque;

    mix(hash, (uint64_t)key->domain << 32 | key->bus << 16 | key->slot << 8 |
              key->function);
    mix(hash, (uint64_t)key->kind << 32 | key->vector);
    mix(hash, (uint64_t)msg->destination << 32 | msg->logical);
}

/* Where the I/O APICs send lines, for assigned devices that use theirs. */
static void mix_lines(VampIrqView *v, uint64_t *hash)
{
    for (unsigned i = 0; i < v->ioapics->len; i++) {
        IOAPICCommonState *s = g_ptr_array_index(v->ioapics, i);
        IOAPICCommonClass *class = IOAPIC_COMMON_GET_CLASS(s);

        if (class->pre_save) {
            class->pre_save(s);
        }
        for (unsigned pin = 0; pin < IOAPIC_NUM_PINS; pin++) {
            mix(hash, s->ioredtbl[pin] & IOAPIC_RW_BITS);
        }
    }
}

/* Something that changes when interrupts of assigned devices may; 0: none. */
static uint64_t signature(void)
{
    uint64_t hash = 0xcbf29ce484222325;
    bool any = false, lines = false;
    struct vamp_procirq key;
    VampIrqView v;

    vamp_view_init(&v, false);
    for (unsigned i = 0; i < v.pci->len; i++) {
        PCIDevice *dev = g_ptr_array_index(v.pci, i);

        if (vamp_vfio_address(DEVICE(dev), &key)) {
            any = true;
            lines |= vamp_pci_uses_line(dev);
        }
    }
    if (any) {
        vamp_interrupts_vfio(&v, mix_message, &hash);
    }
    if (lines) {
        mix_lines(&v, &hash);
    }
    vamp_view_fini(&v);
    return any ? hash | 1 : 0;
}

static void look(Follow *f)
{
    g_autoptr(VampInterrupts) info = qmp_vamp_query_interrupts(NULL);
    g_autoptr(GArray) want = g_array_new(false, false, sizeof(VampIrqWant));

    /* The query has dropped the BQL: somebody may have stopped us. */
    if (the_follow != f) {
        return;
    }
    for (VampInterruptList *l = info->interrupts; l; l = l->next) {
        const VampInterrupt *row = l->value;
        VampIrqWant w;

        /*
         * With several destinations, the first that is mapped. Also a masked
         * one: Linux masks what it moves, and nobody gains if the host's
         * interrupt goes back for that moment.
         */
        if (!row->host || !row->pcpus) {
            continue;
        }
        w.irq = row->host->irq;
        w.pcpu = row->pcpus->value;
        g_array_append_val(want, w);
    }
    vamp_irq_mover_apply(f->mover, (VampIrqWant *)want->data, want->len);
    trace_vamp_irq_follow(want->len, vamp_irq_mover_count(f->mover));
}

static void tick(void *opaque)
{
    Follow *f = opaque;
    uint64_t now = signature();

    if (now != f->signature) {
        f->signature = now;
        f->quiet = 0;
        look(f);
    } else if (now && (++f->quiet <= SETTLE_TICKS ||
                       f->quiet % RECHECK_TICKS == 0)) {
        look(f);
    }
    if (the_follow == f) {
        timer_mod(f->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + PERIOD_MS);
    }
}

bool vamp_irq_follow_start(Error **errp)
{
    Follow *f;

    if (the_follow) {
        error_setg(errp, "irq-affinity=follow is on already");
        return false;
    }
    f = g_new0(Follow, 1);
    f->mover = vamp_irq_mover_new("/proc");
    f->timer = timer_new_ms(QEMU_CLOCK_REALTIME, tick, f);
    the_follow = f;
    timer_mod(f->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME));
    return true;
}

void vamp_irq_follow_stop(void)
{
    Follow *f = the_follow;

    if (!f) {
        return;
    }
    the_follow = NULL;
    timer_free(f->timer);
    vamp_irq_mover_free(f->mover);
    g_free(f);
}

void vamp_irq_follow_update(void)
{
    if (the_follow) {
        /* Not from here: the caller may hold a half-changed map. */
        the_follow->signature = 0;
        the_follow->quiet = 0;
        timer_mod(the_follow->timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME));
    }
}

bool vamp_irq_follow_moved(unsigned irq)
{
    return the_follow && vamp_irq_mover_has(the_follow->mover, irq);
}

static void add_problem(unsigned irq, const char *problem, void *opaque)
{
    strList ***tail = opaque;

    QAPI_LIST_APPEND(*tail, g_strdup(problem));
}

VampIrqFollowInfo *vamp_irq_follow_info(void)
{
    VampIrqFollowInfo *info = g_new0(VampIrqFollowInfo, 1);
    strList **tail = &info->problems;

    if (!the_follow) {
        info->reason = g_strdup("irq-affinity=follow is not set");
        return info;
    }
    info->active = true;
    if (!the_follow->signature) {
        info->reason = g_strdup("there is no assigned device");
    } else {
        info->reason = g_strdup("interrupts of assigned devices follow the "
                                "vCPUs that take them");
    }
    info->moved = vamp_irq_mover_count(the_follow->mover);
    vamp_irq_mover_problems(the_follow->mover, add_problem, &tail);
    return info;
}
