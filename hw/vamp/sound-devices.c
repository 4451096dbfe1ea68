/*
 * VAMP: where the sound devices have their registers and their interrupts
 *
 * The guest's driver moves both: it maps BARs, chooses between line and
 * messages, and sends messages to other vCPUs. So it is found anew each time.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "cpu.h"
#include "hw/i386/apic-msidef.h"
#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci.h"
#include "hw/vamp/sound-devices.h"
#include "interrupts-int.h"

/* QEMU's name of it is private to its model. */
#define CLASS_HDA       0x0403

static bool is_sound(PCIDevice *dev)
{
    uint16_t class = pci_get_word(dev->config + PCI_CLASS_DEVICE);

    return class == PCI_CLASS_MULTIMEDIA_AUDIO ||
           class == CLASS_HDA;
}

/* The BAR of the message table: the driver goes there to move interrupts. */
static int msix_bar(PCIDevice *dev)
{
    return msix_present(dev)
           ? pci_get_byte(dev->config + dev->msix_cap + PCI_MSIX_TABLE) &
             PCI_MSIX_FLAGS_BIRMASK
           : -1;
}

static unsigned add_ranges(VampSoundDevices *d, PCIDevice *dev)
{
    unsigned found = 0;

    for (int i = 0; i < PCI_ROM_SLOT; i++) {
        const PCIIORegion *r = &dev->io_regions[i];

        if (!r->size || r->addr == PCI_BAR_UNMAPPED || i == msix_bar(dev) ||
            d->nr_ranges == VAMP_SOUND_RANGES) {
            continue;
        }
        d->range[d->nr_ranges++] = (VampSoundRange) {
            .addr = r->addr,
            .len = r->size,
            .pio = r->type & PCI_BASE_ADDRESS_SPACE_IO,
        };
        found++;
    }
    return found;
}

static void add_irq(VampSoundDevices *d, VampSoundIrq irq)
{
    if (d->nr_irqs < VAMP_SOUND_IRQS) {
        d->irq[d->nr_irqs++] = irq;
    }
}

/* What becomes of it behind an IOMMU that remaps */
static void add_message(VampSoundDevices *d, VampIrqView *v, PCIDevice *dev,
                        MSIMessage raw, bool masked)
{
    const char *reason;
    VampMessage msg;
    bool remapped;

    if (masked || !vamp_view_translate(v, raw.address, raw.data,
                                       pci_requester_id(dev), &msg, &remapped,
                                       &reason)) {
        return;
    }
    add_irq(d, (VampSoundIrq) {
        .msi = true,
        .address = APIC_DEFAULT_ADDRESS |
                   (uint64_t)(msg.destination & 0xff)
                   << MSI_ADDR_DEST_ID_SHIFT |
                   (uint64_t)(msg.destination & 0xffffff00) << 32 |
                   (msg.logical ? 1 << MSI_ADDR_DEST_MODE_SHIFT : 0),
        .data = msg.vector << MSI_DATA_VECTOR_SHIFT |
                msg.mode << MSI_DATA_DELIVERY_MODE_SHIFT,
    });
}

static void add_irqs(VampSoundDevices *d, VampIrqView *v, PCIDevice *dev)
{
    if (msix_present(dev) && msix_enabled(dev)) {
        for (unsigned i = 0; i < dev->msix_entries_nr; i++) {
            add_message(d, v, dev, msix_get_message(dev, i),
                        msix_is_masked(dev, i));
        }
    } else if (msi_enabled(dev)) {
        for (unsigned i = 0; i < msi_nr_vectors_allocated(dev); i++) {
            add_message(d, v, dev, msi_get_message(dev, i),
                        msi_is_masked(dev, i));
        }
    }
    /* Its lines, if it uses them */
    for (unsigned i = 0; i < v->wires->len; i++) {
        const VampWire *w = &g_array_index(v->wires, VampWire, i);

        if (w->dev == DEVICE(dev)) {
            add_irq(d, (VampSoundIrq) { .gsi = w->gsi });
        }
    }
}

static char *name_of(PCIDevice *dev)
{
    DeviceState *d = DEVICE(dev);

    return d->id ? g_strdup_printf("%s (%s)", d->id,
                                   object_get_typename(OBJECT(dev)))
                 : g_strdup(object_get_typename(OBJECT(dev)));
}

VampSoundDevices *vamp_sound_devices_find(void)
{
    VampSoundDevices *d = g_new0(VampSoundDevices, 1);
    g_autoptr(GString) out = g_string_new(NULL);
    VampIrqView v;

    d->names = g_ptr_array_new_with_free_func(g_free);
    vamp_view_init(&v, false);
    for (unsigned i = 0; i < v.pci->len; i++) {
        PCIDevice *dev = g_ptr_array_index(v.pci, i);
        g_autofree char *name = NULL;

        if (!is_sound(dev)) {
            continue;
        }
        name = name_of(dev);
        if (d->nr_ranges == VAMP_SOUND_RANGES) {
            g_string_append_printf(out, "%s%s: too many sound devices",
                                   out->len ? "; " : "", name);
        } else if (!add_ranges(d, dev)) {
            g_string_append_printf(out, "%s%s: the guest has not mapped its "
                                   "registers", out->len ? "; " : "", name);
        } else {
            add_irqs(d, &v, dev);
            g_ptr_array_add(d->names, g_steal_pointer(&name));
        }
    }
    vamp_view_fini(&v);
    d->left_out = out->len ? g_strdup(out->str) : NULL;
    return d;
}
