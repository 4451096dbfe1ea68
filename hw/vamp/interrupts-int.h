/*
 * VAMP: what the files of interrupt routing share
 *
 * Threads: everything here runs in the main loop under the BQL.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_INTERRUPTS_INT_H
#define HW_VAMP_INTERRUPTS_INT_H

#include "hw/qdev-core.h"
#include "hw/i386/x86-iommu.h"
#include "hw/pci/pci_device.h"
#include "hw/vamp/interrupts.h"
#include "interrupts-dest.h"
#include "interrupts-host.h"
#include "irq-follow.h"

/* Inputs of the board: two I/O APICs of 24 pins. */
#define VAMP_NR_GSI     48

/* A device with a line to the board, to list with its pins. */
typedef struct VampWire {
    DeviceState *dev;
    unsigned gsi;
} VampWire;

/*
 * The machine, as it is during one query. Valid until the BQL is dropped;
 * only vamp_view_init() does that.
 */
typedef struct VampIrqView {
    bool kvm;
    bool qtest;
    bool lapic_in_kvm;
    bool ioapic_in_kvm;
    X86IOMMUState *iommu;       /* NULL: none, or without remapping */

    VampApic *apics;
    DeviceState **apic_dev;
    size_t nr_apics;
    VampDestRules rules;

    /* Found by one walk over the machine's objects, in a fixed order. */
    GPtrArray *pci;             /* PCIDevice */
    GPtrArray *pics;            /* PICCommonState */
    GPtrArray *ioapics;         /* IOAPICCommonState */
    DeviceState *hpet;
    DeviceState *pit;
    GArray *wires;              /* VampWire */

    VampInjection injection;
    char *injection_reason;

    const char *proc_root;
    bool host_read;
    VampHostIrqs host;
    char *host_reason;          /* why .host is not known */

    GHashTable *gsi_seen;       /* of KVM's routing table */
    int *vcpus;                 /* room for a destination */

    VampInterrupts *info;
    VampInterruptList **tail;
    unsigned nr_rows;
} VampIrqView;

/* --- interrupts.c -------------------------------------------------------- */

/*
 * @full: ask KVM for the local APICs, which makes each vCPU exit once and
 * drops the BQL while it waits; and the host for how interrupts are injected.
 * Without, local APICs and so vCPUs are what was last known.
 */
void vamp_view_init(VampIrqView *v, bool full);
void vamp_view_fini(VampIrqView *v);

/* A new row, complete but for its source and its way. */
VampInterrupt *vamp_view_add(VampIrqView *v, VampInterruptKind kind);
void vamp_row_add_device(VampInterrupt *row, DeviceState *dev);

/*
 * What becomes of the message @address, @data from requester @sid
 * (X86_IOMMU_SID_INVALID: the I/O APIC). False with @reason: nothing.
 */
bool vamp_view_translate(const VampIrqView *v, uint64_t address, uint32_t data,
                         uint16_t sid, VampMessage *msg, bool *remapped,
                         const char **reason);

/* Fills in the way of a row whose source sends that message. */
void vamp_row_message(VampIrqView *v, VampInterrupt *row, uint64_t address,
                      uint32_t data, uint16_t sid);

/* The same for a message that nothing translates any more. */
void vamp_row_decoded(VampIrqView *v, VampInterrupt *row,
                      const VampMessage *msg);

/* Bits 10..8 of a message, of an I/O APIC's or of a local entry. */
VampInterruptMode vamp_interrupt_mode(unsigned mode);

/* @vcpus[@n] take it; none: @reason says why. */
void vamp_row_vcpus(VampIrqView *v, VampInterrupt *row, const int *vcpus,
                    size_t n, const char *reason);

/* The host's interrupt behind an assigned device's. */
void vamp_row_host(VampIrqView *v, VampInterrupt *row, DeviceState *dev,
                   enum vamp_procirq_kind kind, unsigned vector);

/* --- interrupts-msi.c: messages of devices ------------------------------- */

void vamp_interrupts_msi(VampIrqView *v);

/*
 * Calls @fn for each message of an assigned device that is in use, and for
 * its line if it uses that. Asks neither host nor KVM.
 */
typedef void VampVfioFn(VampIrqView *v, const struct vamp_procirq *key,
                        const VampMessage *msg, void *opaque);
void vamp_interrupts_vfio(VampIrqView *v, VampVfioFn *fn, void *opaque);

/* Is @dev assigned? Its address on the host to @host (not NULL). */
bool vamp_vfio_address(DeviceState *dev, struct vamp_procirq *host);
/* Does KVM carry the line of assigned @dev past QEMU? */
bool vamp_vfio_line_bypass(DeviceState *dev);
/* Does @dev use its line: neither MSI nor MSI-X, and it is not disabled? */
bool vamp_pci_uses_line(PCIDevice *dev);

/* --- interrupts-lines.c: 8259, I/O APIC, HPET ---------------------------- */

/* Who drives which input of the board: fills @v->wires. */
void vamp_interrupts_wires(VampIrqView *v, GPtrArray *devices);
void vamp_interrupts_lines(VampIrqView *v);

/* --- interrupts-local.c: local APICs, KVM's routing table ---------------- */

/* @sync: ask KVM for them. */
void vamp_view_apics(VampIrqView *v, bool sync);
void vamp_interrupts_local(VampIrqView *v);
/* vCPUs that take what the 8259 has to say, to @vcpus; returns how many. */
size_t vamp_interrupts_extint_vcpus(VampIrqView *v, int *vcpus);
void vamp_interrupts_routes(VampIrqView *v);

/* --- interrupts-follow.c ------------------------------------------------- */

VampIrqFollowInfo *vamp_irq_follow_info(void);
bool vamp_irq_follow_moved(unsigned irq);

#endif /* HW_VAMP_INTERRUPTS_INT_H */
