/*
 * VAMP: the routing table for people
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vamp/interrupts.h"

/* "0,2-4" of a list in ascending order; "-" of an empty one. */
static char *ranges(const intList *list)
{
    g_autoptr(GString) text = g_string_new(NULL);

    while (list) {
        int64_t first = list->value, last = first;

        while (list->next && list->next->value == last + 1) {
            list = list->next;
            last++;
        }
        g_string_append_printf(text, "%s%" PRId64, text->len ? "," : "", first);
        if (last > first) {
            g_string_append_printf(text, "-%" PRId64, last);
        }
        list = list->next;
    }
    return g_strdup(text->len ? text->str : "-");
}

static char *source_text(const VampInterrupt *i)
{
    const VampInterruptDevice *dev = i->devices ? i->devices->value : NULL;

    switch (i->kind) {
    case VAMP_INTERRUPT_KIND_LAPIC:
        return g_strdup_printf("%s of vCPU %" PRId64, i->name, i->vcpu);
    case VAMP_INTERRUPT_KIND_MSI:
    case VAMP_INTERRUPT_KIND_MSIX:
        return g_strdup_printf("%s %s %" PRId64, VampInterruptKind_str(i->kind),
                               dev && dev->address ? dev->address : "?",
                               i->index);
    case VAMP_INTERRUPT_KIND_GSI:
        return g_strdup_printf("gsi %" PRId64 " (%s)", i->index, i->name);
    default:
        return g_strdup_printf("%s %" PRId64, VampInterruptKind_str(i->kind),
                               i->index);
    }
}

static char *devices_text(const VampInterrupt *i)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (const VampInterruptDeviceList *l = i->devices; l; l = l->next) {
        g_string_append_printf(text, "%s%s", text->len ? ", " : "",
                               l->value->id ?: l->value->type);
    }
    return g_strdup(text->len ? text->str : "-");
}

static char *mode_text(const VampInterrupt *i)
{
    g_autofree char *vector = i->has_vector
                              ? g_strdup_printf(" %" PRId64, i->vector)
                              : g_strdup("");

    if (!i->has_mode) {
        return g_strdup(i->masked ? "masked" : "-");
    }
    return g_strdup_printf("%s%s%s%s", VampInterruptMode_str(i->mode), vector,
                           i->has_level && i->level ? " level" : "",
                           i->masked ? " masked" : "");
}

static char *host_text(const VampInterrupt *i)
{
    const VampHostIrq *h = i->host;

    if (!h) {
        return g_strdup(i->host_reason ?: "-");
    }
    return g_strdup_printf("irq %" PRId64 " on %s%s", h->irq,
                           h->effective && *h->effective ? h->effective :
                           h->affinity ?: "?", h->moved ? " (moved)" : "");
}

static void print_row(GString *buf, const VampInterrupt *i)
{
    g_autofree char *source = source_text(i);
    g_autofree char *mode = mode_text(i);
    g_autofree char *vcpus = ranges(i->vcpus);
    g_autofree char *pcpus = ranges(i->pcpus);
    g_autofree char *count = g_strdup("-");
    g_autofree char *host = host_text(i);
    g_autofree char *devices = devices_text(i);
    g_autofree char *dest = g_strdup("-");

    if (i->has_destination) {
        g_free(dest);
        dest = g_strdup_printf("%s 0x%" PRIx64, i->logical ? "log" : "phys",
                               i->destination);
    }
    if (i->host || i->has_count) {
        g_free(count);
        count = g_strdup_printf("%" PRIu64, i->host ? i->host->count
                                                    : i->count);
    }
    g_string_append_printf(buf, "%-24s %-22s %-11s %-7s %-7s %-8s %-8s %10s  "
                           "%-16s %s%s\n",
                           source, mode, dest, vcpus, pcpus,
                           VampInterruptDelivery_str(i->delivery),
                           VampInjection_str(i->injection), count, host,
                           devices, i->remapped ? " (remapped)" : "");
    if (i->vcpus_reason) {
        g_string_append_printf(buf, "%-24s ^ %s\n", "", i->vcpus_reason);
    }
}

/* One line for each reason why interrupts are not delivered directly. */
static void print_direct(GString *buf, const VampInterrupts *info)
{
    for (const VampInterruptList *l = info->interrupts; l; l = l->next) {
        const char *reason = l->value->direct_reason;
        const VampInterruptList *m = info->interrupts;
        unsigned n = 0;

        /* Told already? */
        while (m != l && strcmp(m->value->direct_reason, reason)) {
            m = m->next;
        }
        if (m != l || l->value->direct) {
            continue;
        }
        for (; m; m = m->next) {
            n += !strcmp(m->value->direct_reason, reason);
        }
        g_string_append_printf(buf, "not direct (%u): %s\n", n, reason);
    }
}

void vamp_interrupts_print(GString *buf, const VampInterrupts *info)
{
    g_string_append_printf(buf, "interrupt controllers: %s\n"
                           "injection %s: %s\nremapping: %s\n",
                           info->irqchip, VampInjection_str(info->injection),
                           info->injection_reason, info->remapping);
    g_string_append_printf(buf, "follow %s: %s\n",
                           info->follow->active ? "on" : "off",
                           info->follow->reason);
    for (const strList *l = info->follow->problems; l; l = l->next) {
        g_string_append_printf(buf, "  %s\n", l->value);
    }
    for (const VampLapicList *l = info->lapics; l; l = l->next) {
        const VampLapic *a = l->value;

        g_string_append_printf(buf, "vCPU %" PRId64 ": %s%s, APIC ID 0x%"
                               PRIx64 ", logical 0x%" PRIx64 " (%s)\n",
                               a->vcpu, VampLapicMode_str(a->mode),
                               a->software_enabled ? "" : " (off)", a->apic_id,
                               a->logical_id, a->cluster ? "cluster" : "flat");
    }
    g_string_append_printf(buf, "%-24s %-22s %-11s %-7s %-7s %-8s %-8s %10s  "
                           "%-16s %s\n",
                           "source", "mode", "destination", "vCPUs", "pCPUs",
                           "carrier", "entry", "count", "host", "device");
    for (const VampInterruptList *l = info->interrupts; l; l = l->next) {
        print_row(buf, l->value);
    }
    print_direct(buf, info);
}
