/*
 * VAMP: from an interrupt message to the vCPUs that it addresses
 *
 * The rules are those of QEMU's hw/intc/apic.c (apic_get_delivery_bitmask) and
 * of KVM's arch/x86/kvm/lapic.c (kvm_apic_match_dest), not of the manual alone.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "interrupts-dest.h"

/* 0xFEExxxxx: writes there interrupt, all others go to memory. */
#define MSI_WINDOW              0xfee00000u
#define MSI_WINDOW_MASK         0xfff00000u

#define FORMAT_FLAT             0xf
#define FORMAT_CLUSTER          0x0

#define BROADCAST_XAPIC         0xffu
#define BROADCAST_X2APIC        0xffffffffu

void vamp_message_decode(uint64_t address, uint32_t data, VampMessage *msg)
{
    msg->destination = (address >> 12 & 0xff) | (address >> 32 & 0xffffff00);
    msg->logical = address & 1u << 2;
    msg->vector = data & 0xff;
    msg->mode = data >> 8 & 7;
    msg->level = data & 1u << 15;
}

bool vamp_message_is_interrupt(uint64_t address)
{
    return (address & ~(uint64_t)~MSI_WINDOW_MASK) == MSI_WINDOW;
}

uint32_t vamp_apic_logical_id(const VampApic *apic)
{
    if (apic->x2apic) {
        /* Not programmable: the cluster is the ID without its low 4 bits. */
        return (apic->initial_id >> 4) << 16 | 1u << (apic->initial_id & 0xf);
    }
    return apic->logical_id;
}

static bool match_x2apic(const VampApic *apic, const VampDestRules *rules,
                         const VampMessage *msg)
{
    uint32_t dest = msg->destination;
    uint32_t self = vamp_apic_logical_id(apic);

    if (dest == BROADCAST_X2APIC ||
        (dest == BROADCAST_XAPIC && rules->ff_is_broadcast)) {
        return true;
    }
    if (msg->logical) {
        return self >> 16 == dest >> 16 && (self & dest & 0xffff);
    }
    return apic->initial_id == dest;
}

static bool match_logical_xapic(const VampApic *apic,
                                const VampDestRules *rules, uint8_t dest)
{
    switch (apic->format) {
    case FORMAT_FLAT:
        return apic->logical_id & dest;
    case FORMAT_CLUSTER:
        /* QEMU's has a broadcast to all clusters, with bits to choose in it. */
        return ((apic->logical_id & 0xf0) == (dest & 0xf0) ||
                (rules->truncate && (dest & 0xf0) == 0xf0)) &&
               (apic->logical_id & dest & 0xf);
    default:
        return false;
    }
}

static bool match_xapic(const VampApic *apic, const VampDestRules *rules,
                        const VampMessage *msg)
{
    uint32_t dest = msg->destination;

    if (msg->logical) {
        if (!rules->truncate && dest == BROADCAST_XAPIC) {
            return true;
        }
        return match_logical_xapic(apic, rules, dest);
    }
    if (dest == BROADCAST_XAPIC || dest == BROADCAST_X2APIC) {
        return true;
    }
    if (dest > 0xff && !rules->truncate) {
        return apic->initial_id == dest;
    }
    return apic->id == (uint8_t)dest;
}

bool vamp_dest_match(const VampApic *apic, const VampDestRules *rules,
                     const VampMessage *msg)
{
    if (!apic->enabled) {
        return false;
    }
    return apic->x2apic ? match_x2apic(apic, rules, msg)
                        : match_xapic(apic, rules, msg);
}

size_t vamp_dest_decode(const VampApic *apics, size_t n,
                        const VampDestRules *rules, const VampMessage *msg,
                        int *vcpus)
{
    size_t found = 0;

    for (size_t i = 0; i < n; i++) {
        if (vamp_dest_match(&apics[i], rules, msg)) {
            vcpus[found++] = apics[i].vcpu;
        }
    }
    return found;
}
