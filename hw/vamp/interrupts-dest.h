/*
 * VAMP: from an interrupt message to the vCPUs that it addresses
 *
 * Pure: no state, no locks. Any thread.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_INTERRUPTS_DEST_H
#define HW_VAMP_INTERRUPTS_DEST_H

/* What a message holds, whoever sent it. */
typedef struct VampMessage {
    uint32_t destination;
    bool logical;
    uint8_t mode;               /* delivery mode, 0..7 */
    uint8_t vector;
    bool level;
} VampMessage;

/* How a local APIC is addressed. */
typedef struct VampApic {
    int vcpu;                   /* index of the vCPU */
    bool enabled;               /* in IA32_APIC_BASE */
    bool x2apic;
    bool software_enabled;      /* in the spurious-interrupt register */
    uint32_t initial_id;        /* x2APIC ID */
    uint8_t id;                 /* xAPIC ID, which a guest may change */
    uint8_t logical_id;         /* of xAPIC mode: bits 31..24 of LDR */
    uint8_t format;             /* of xAPIC mode: bits 31..28 of DFR */
} VampApic;

/* In what the models of the local APIC differ. */
typedef struct VampDestRules {
    /*
     * A message has room for 8 bits. KVM takes 0xff for a broadcast in x2APIC
     * mode as well, unless that was turned off.
     */
    bool ff_is_broadcast;
    /*
     * What an APIC in xAPIC mode does with a destination above 0xff: QEMU's
     * looks at the low 8 bits, KVM's compares with the x2APIC ID.
     */
    bool truncate;
} VampDestRules;

/*
 * Takes a message apart. @address: as the guest programmed it or, with
 * destination bits 31..8 in bits 63..40, as an IOMMU or KVM has it.
 */
void vamp_message_decode(uint64_t address, uint32_t data, VampMessage *msg);

/* Is @address, as the guest programmed it, one that interrupts? */
bool vamp_message_is_interrupt(uint64_t address);

/* Logical destination of @apic in its mode. */
uint32_t vamp_apic_logical_id(const VampApic *apic);

/* Does @msg address @apic? */
bool vamp_dest_match(const VampApic *apic, const VampDestRules *rules,
                     const VampMessage *msg);

/*
 * Indices of the vCPUs of @apics[@n] that @msg addresses, in the order of
 * @apics, to @vcpus (room for @n). Returns how many there are.
 */
size_t vamp_dest_decode(const VampApic *apics, size_t n,
                        const VampDestRules *rules, const VampMessage *msg,
                        int *vcpus);

#endif /* HW_VAMP_INTERRUPTS_DEST_H */
