/*
 * VAMP: interrupt routing: messages (MSI, MSI-X) of PCI devices
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci.h"
#include "interrupts-int.h"
#include CONFIG_DEVICES

#ifdef CONFIG_VFIO_PCI
#include "hw/vfio/pci.h"
#endif
#ifdef CONFIG_VIRTIO_PCI
#include "hw/virtio/virtio-pci.h"
#endif

/* --- assigned devices ---------------------------------------------------- */

#ifdef CONFIG_VFIO_PCI
static VFIOPCIDevice *vfio_of(DeviceState *dev)
{
    return (VFIOPCIDevice *)object_dynamic_cast(OBJECT(dev), TYPE_VFIO_PCI);
}

/* The GSI through which KVM carries a vector past QEMU, or -1. */
static int vfio_virq(DeviceState *dev, unsigned vector)
{
    VFIOPCIDevice *vdev = vfio_of(dev);

    if (!vdev || !vdev->msi_vectors || vdev->nr_vectors <= 0 ||
        vector >= vdev->nr_vectors || !vdev->msi_vectors[vector].use) {
        return -1;
    }
    return vdev->msi_vectors[vector].virq;
}

bool vamp_vfio_address(DeviceState *dev, struct vamp_procirq *host)
{
    VFIOPCIDevice *vdev = vfio_of(dev);

    if (!vdev) {
        return false;
    }
    host->domain = vdev->host.domain;
    host->bus = vdev->host.bus;
    host->slot = vdev->host.slot;
    host->function = vdev->host.function;
    return true;
}

bool vamp_vfio_line_bypass(DeviceState *dev)
{
    VFIOPCIDevice *vdev = vfio_of(dev);

    return vdev && vdev->interrupt == VFIO_INT_INTx && vdev->intx.kvm_accel;
}
#else
static int vfio_virq(DeviceState *dev, unsigned vector)
{
    return -1;
}

bool vamp_vfio_address(DeviceState *dev, struct vamp_procirq *host)
{
    return false;
}

bool vamp_vfio_line_bypass(DeviceState *dev)
{
    return false;
}
#endif

/* --- virtio -------------------------------------------------------------- */

static int virtio_virq(DeviceState *dev, unsigned vector)
{
#ifdef CONFIG_VIRTIO_PCI
    VirtIOPCIProxy *proxy =
        (VirtIOPCIProxy *)object_dynamic_cast(OBJECT(dev), TYPE_VIRTIO_PCI);

    if (proxy && proxy->vector_irqfd &&
        vector < msix_nr_vectors_allocated(&proxy->pci_dev) &&
        proxy->vector_irqfd[vector].users) {
        return proxy->vector_irqfd[vector].virq;
    }
#endif
    return -1;
}

/* --- all ----------------------------------------------------------------- */

bool vamp_pci_uses_line(PCIDevice *dev)
{
    return pci_get_byte(dev->config + PCI_INTERRUPT_PIN) &&
           !(pci_get_word(dev->config + PCI_COMMAND) &
             PCI_COMMAND_INTX_DISABLE) &&
           !(msix_present(dev) && msix_enabled(dev)) && !msi_enabled(dev);
}

static void add_row(VampIrqView *v, PCIDevice *dev, VampInterruptKind kind,
                    unsigned vector, MSIMessage msg, bool masked)
{
    DeviceState *d = DEVICE(dev);
    VampInterrupt *row = vamp_view_add(v, kind);
    int virq = vfio_virq(d, vector);

    if (virq < 0) {
        virq = virtio_virq(d, vector);
    }
    row->has_index = true;
    row->index = vector;
    row->masked = masked;
    vamp_row_add_device(row, d);
    if (virq >= 0) {
        row->has_gsi = true;
        row->gsi = virq;
        row->delivery = VAMP_INTERRUPT_DELIVERY_IRQFD;
        g_hash_table_add(v->gsi_seen, GINT_TO_POINTER(virq));
    }
    vamp_row_message(v, row, msg.address, msg.data, pci_requester_id(dev));
    vamp_row_host(v, row, d,
                  kind == VAMP_INTERRUPT_KIND_MSI ? VAMP_PROCIRQ_MSI
                                                  : VAMP_PROCIRQ_MSIX, vector);
}

/* An entry that the guest never wrote has no address. */
static bool in_use(MSIMessage msg, bool masked)
{
    return !masked || msg.address;
}

static void add_device(VampIrqView *v, PCIDevice *dev)
{
    if (msix_present(dev) && msix_enabled(dev)) {
        for (unsigned i = 0; i < dev->msix_entries_nr; i++) {
            MSIMessage msg = msix_get_message(dev, i);
            bool masked = msix_is_masked(dev, i);

            if (in_use(msg, masked)) {
                add_row(v, dev, VAMP_INTERRUPT_KIND_MSIX, i, msg, masked);
            }
        }
    } else if (msi_enabled(dev)) {
        for (unsigned i = 0; i < msi_nr_vectors_allocated(dev); i++) {
            MSIMessage msg = msi_get_message(dev, i);
            bool masked = msi_is_masked(dev, i);

            if (in_use(msg, masked)) {
                add_row(v, dev, VAMP_INTERRUPT_KIND_MSI, i, msg, masked);
            }
        }
    }
}

void vamp_interrupts_msi(VampIrqView *v)
{
    for (unsigned i = 0; i < v->pci->len; i++) {
        add_device(v, g_ptr_array_index(v->pci, i));
    }
}

static void report_vfio(VampIrqView *v, PCIDevice *dev,
                        struct vamp_procirq *key, MSIMessage msg, bool masked,
                        VampVfioFn *fn, void *opaque)
{
    const char *reason;
    VampMessage out;
    bool remapped;

    if (!masked &&
        vamp_view_translate(v, msg.address, msg.data, pci_requester_id(dev),
                            &out, &remapped, &reason)) {
        fn(v, key, &out, opaque);
    }
}

void vamp_interrupts_vfio(VampIrqView *v, VampVfioFn *fn, void *opaque)
{
    for (unsigned i = 0; i < v->pci->len; i++) {
        PCIDevice *dev = g_ptr_array_index(v->pci, i);
        struct vamp_procirq key = { 0 };

        if (!vamp_vfio_address(DEVICE(dev), &key)) {
            continue;
        }
        if (msix_present(dev) && msix_enabled(dev)) {
            key.kind = VAMP_PROCIRQ_MSIX;
            for (unsigned n = 0; n < dev->msix_entries_nr; n++) {
                key.vector = n;
                report_vfio(v, dev, &key, msix_get_message(dev, n),
                            msix_is_masked(dev, n), fn, opaque);
            }
        } else if (msi_enabled(dev)) {
            key.kind = VAMP_PROCIRQ_MSI;
            for (unsigned n = 0; n < msi_nr_vectors_allocated(dev); n++) {
                key.vector = n;
                report_vfio(v, dev, &key, msi_get_message(dev, n),
                            msi_is_masked(dev, n), fn, opaque);
            }
        }
    }
}
