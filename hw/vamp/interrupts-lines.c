/*
 * VAMP: interrupt routing: the board's lines, 8259, I/O APIC and HPET
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "cpu.h"
#include "hw/acpi/acpi.h"
#include "hw/i386/apic-msidef.h"
#include "hw/i386/intel_iommu.h"
#include "hw/i386/x86.h"
#include "hw/ide/piix.h"
#include "hw/intc/intc.h"
#include "hw/intc/ioapic_internal.h"
#include "hw/isa/i8259_internal.h"
#include "hw/isa/isa.h"
#include "hw/pci/pci_bus.h"
#include "hw/southbridge/ich9.h"
#include "hw/sysbus.h"
#include "hw/timer/hpet.h"
#include "interrupts-int.h"

/* The PIT's line, by tradition; the I/O APIC has it on another pin. */
#define IRQ_PIT         0
#define PIN_PIT         2
#define IRQ_CASCADE     2
#define IRQ_RTC         8

/* --- who drives what ----------------------------------------------------- */

static void add_wire(VampIrqView *v, DeviceState *dev, unsigned gsi)
{
    VampWire wire = { .dev = dev, .gsi = gsi };

    if (gsi >= VAMP_NR_GSI) {
        return;
    }
    /* A device may have two lines to one input. */
    for (unsigned i = 0; i < v->wires->len; i++) {
        VampWire *w = &g_array_index(v->wires, VampWire, i);

        if (w->dev == dev && w->gsi == gsi) {
            return;
        }
    }
    g_array_append_val(v->wires, wire);
}

/*
 * Registers of the HPET are read as a guest does, since its structure is
 * private. That changes nothing.
 */
static uint64_t hpet_read(DeviceState *hpet, unsigned offset)
{
    MemoryRegion *mr = sysbus_mmio_get_region(SYS_BUS_DEVICE(hpet), 0);
    uint64_t value = 0;

    if (memory_region_dispatch_read(mr, offset, &value, MO_32 | MO_LE,
                                    MEMTXATTRS_UNSPECIFIED) != MEMTX_OK) {
        return 0;
    }
    return value;
}

/* Timers come after a block of general registers, 32 bytes each. */
#define HPET_TIMER(n)   (0x100 + 0x20 * (n))

static unsigned hpet_timers(DeviceState *hpet)
{
    return (hpet_read(hpet, 0) >> 8 & 0x1f) + 1;
}

static bool hpet_is_legacy(VampIrqView *v)
{
    return v->hpet && (hpet_read(v->hpet, HPET_CFG) & HPET_CFG_LEGACY);
}

static void wire_hpet(VampIrqView *v)
{
    for (unsigned n = 0; n < hpet_timers(v->hpet); n++) {
        uint64_t cfg = hpet_read(v->hpet, HPET_TIMER(n) + HPET_TN_CFG);

        if (hpet_is_legacy(v) && n < 2) {
            add_wire(v, v->hpet, n ? IRQ_RTC : IRQ_PIT);
        } else if ((cfg & HPET_TN_ENABLE) && !(cfg & HPET_TN_FSB_ENABLE)) {
            add_wire(v, v->hpet, (cfg & HPET_TN_INT_ROUTE_MASK) >>
                                 HPET_TN_INT_ROUTE_SHIFT);
        }
    }
}

/* Devices of the board that are not on a PCI bus have a pointer to the line. */
static void wire_sysbus(VampIrqView *v, DeviceState *dev)
{
    X86MachineState *x86ms = (X86MachineState *)
        object_dynamic_cast(qdev_get_machine(), TYPE_X86_MACHINE);
    SysBusDevice *sbd = SYS_BUS_DEVICE(dev);
    unsigned nr_gsi;

    /* The HPET has a pointer to each, of which it uses few. */
    if (dev == v->hpet || !x86ms || !x86ms->gsi) {
        return;
    }
    nr_gsi = x86ms->ioapic2 ? VAMP_NR_GSI : IOAPIC_NUM_PINS;
    for (int n = 0; sysbus_has_irq(sbd, n); n++) {
        qemu_irq irq = sysbus_get_connected_irq(sbd, n);

        for (unsigned gsi = 0; gsi < nr_gsi; gsi++) {
            if (x86ms->gsi[gsi] == irq) {
                add_wire(v, dev, gsi);
            }
        }
    }
}

/* ISA devices keep the pointer to themselves, but have the number. */
static void wire_isa(VampIrqView *v, DeviceState *dev)
{
    static const char *const names[] = { "irq", "kbd-irq", "mouse-irq" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        uint64_t irq;

        if (!object_property_find(OBJECT(dev), names[i])) {
            continue;
        }
        irq = object_property_get_uint(OBJECT(dev), names[i], NULL);
        if (irq < ISA_NUM_IRQS) {
            add_wire(v, dev, irq);
        }
    }
}

/*
 * The line of a PCI device. As pci_device_route_intx_to_irq(), which complains
 * where a host bridge cannot tell; and an ICH9 has it on the I/O APIC as well.
 */
static void wire_pci_line(VampIrqView *v, PCIDevice *dev, DeviceState *ich9)
{
    int pin = pci_get_byte(dev->config + PCI_INTERRUPT_PIN) - 1;
    PCIDevice *at = dev;
    PCIINTxRoute route;
    PCIBus *bus;

    if (!vamp_pci_uses_line(dev) || pin >= PCI_NUM_PINS) {
        return;
    }
    do {
        bus = pci_get_bus(at);
        if (!bus->map_irq) {
            return;
        }
        pin = bus->map_irq(at, pin);
        at = bus->parent_dev;
    } while (at);

    if (ich9 && bus->irq_opaque == ich9) {
        add_wire(v, DEVICE(dev), ISA_NUM_IRQS + pin);
    }
    if (bus->route_intx_to_irq) {
        route = bus->route_intx_to_irq(bus->irq_opaque, pin);
        if (route.mode != PCI_INTX_DISABLED && route.irq >= 0) {
            add_wire(v, DEVICE(dev), route.irq);
        }
    }
}

static void wire_pci(VampIrqView *v, PCIDevice *dev, DeviceState *ich9)
{
    Object *obj = OBJECT(dev);

    wire_pci_line(v, dev, ich9);
    /* ACPI's interrupt, and IDE as PCs always had it. */
    if (object_property_find(obj, ACPI_PM_PROP_SCI_INT)) {
        add_wire(v, DEVICE(dev),
                 object_property_get_uint(obj, ACPI_PM_PROP_SCI_INT, NULL));
    }
    if (object_dynamic_cast(obj, TYPE_PIIX3_IDE) ||
        object_dynamic_cast(obj, TYPE_PIIX4_IDE)) {
        add_wire(v, DEVICE(dev), 14);
        add_wire(v, DEVICE(dev), 15);
    }
}

static gint compare_wire(gconstpointer a, gconstpointer b)
{
    return (int)((const VampWire *)a)->gsi - (int)((const VampWire *)b)->gsi;
}

void vamp_interrupts_wires(VampIrqView *v, GPtrArray *devices)
{
    DeviceState *ich9 = (DeviceState *)
        object_resolve_path_type("", TYPE_ICH9_LPC_DEVICE, NULL);

    if (v->pit && !hpet_is_legacy(v)) {
        add_wire(v, v->pit, IRQ_PIT);
    }
    if (v->hpet) {
        wire_hpet(v);
    }
    for (unsigned i = 0; i < devices->len; i++) {
        DeviceState *dev = g_ptr_array_index(devices, i);

        if (object_dynamic_cast(OBJECT(dev), TYPE_SYS_BUS_DEVICE)) {
            wire_sysbus(v, dev);
        } else if (object_dynamic_cast(OBJECT(dev), TYPE_ISA_DEVICE)) {
            wire_isa(v, dev);
        }
    }
    for (unsigned i = 0; i < v->pci->len; i++) {
        wire_pci(v, g_ptr_array_index(v->pci, i), ich9);
    }
    g_array_sort(v->wires, compare_wire);
}

static bool has_wire(VampIrqView *v, unsigned gsi)
{
    for (unsigned i = 0; i < v->wires->len; i++) {
        if (g_array_index(v->wires, VampWire, i).gsi == gsi) {
            return true;
        }
    }
    return false;
}

/* The devices on input @gsi; the first assigned one stands for the host. */
static void row_add_wires(VampIrqView *v, VampInterrupt *row, unsigned gsi)
{
    struct vamp_procirq key;

    for (unsigned i = 0; i < v->wires->len; i++) {
        VampWire *w = &g_array_index(v->wires, VampWire, i);

        if (w->gsi != gsi) {
            continue;
        }
        vamp_row_add_device(row, w->dev);
        if (vamp_vfio_address(w->dev, &key) && !row->host &&
            !row->host_reason) {
            if (vamp_vfio_line_bypass(w->dev)) {
                row->delivery = VAMP_INTERRUPT_DELIVERY_IRQFD;
            }
            vamp_row_host(v, row, w->dev, VAMP_PROCIRQ_INTX, 0);
        }
    }
}

/* --- controllers --------------------------------------------------------- */

static uint64_t pic_count(PICCommonState *master, unsigned irq)
{
    InterruptStatsProviderClass *class =
        INTERRUPT_STATS_PROVIDER_GET_CLASS(master);
    unsigned n = 0;
    uint64_t *counts = NULL;

    if (!class->get_statistics(INTERRUPT_STATS_PROVIDER(master), &counts, &n) ||
        irq >= n) {
        return 0;
    }
    return counts[irq];
}

static void add_pic_row(VampIrqView *v, PICCommonState *chip, unsigned input)
{
    unsigned irq = (chip->master ? 0 : 8) + input;
    VampInterrupt *row = vamp_view_add(v, VAMP_INTERRUPT_KIND_PIC);
    size_t n = vamp_interrupts_extint_vcpus(v, v->vcpus);

    row->has_index = row->has_gsi = true;
    row->index = row->gsi = irq;
    row->controller = g_strdup(DEVICE(chip)->canonical_path);
    row->has_mode = true;
    row->mode = VAMP_INTERRUPT_MODE_EXTINT;
    row->has_vector = true;
    row->vector = (chip->irq_base & 0xf8) + input;
    row->has_level = true;
    row->level = chip->ltim || (chip->elcr & 1u << input);
    row_add_wires(v, row, irq);
    row->has_count = true;
    row->count = pic_count(g_ptr_array_index(v->pics, 0), irq);
    vamp_row_vcpus(v, row, v->vcpus, n,
                   "no vCPU's LINT0 listens to the 8259");
}

/*
 * Only what can come through: systems that use the I/O APIC mask all of the
 * 8259, and a list of that tells nobody anything.
 */
static void add_pic(VampIrqView *v, PICCommonState *chip)
{
    PICCommonClass *class = PIC_COMMON_GET_CLASS(chip);
    PICCommonState *master = g_ptr_array_index(v->pics, 0);

    if (class->pre_save) {
        class->pre_save(chip);      /* ask KVM */
    }
    /* Never programmed, or behind a cascade that is masked. */
    if (!chip->irq_base ||
        (!chip->master && (master->imr & 1u << IRQ_CASCADE))) {
        return;
    }
    for (unsigned n = 0; n < 8; n++) {
        if (!(chip->imr & 1u << n) && !(chip->master && n == IRQ_CASCADE)) {
            add_pic_row(v, chip, n);
        }
    }
}

static void add_pin(VampIrqView *v, IOAPICCommonState *s, unsigned base,
                    unsigned pin)
{
    /* See ioapic_set_irq(): line 0 arrives at pin 2, where line 2 is none. */
    unsigned line = base + (base == 0 && pin == PIN_PIT ? IRQ_PIT : pin);
    bool wired = has_wire(v, line) && !(base == 0 && pin == 0);
    uint64_t entry = s->ioredtbl[pin];
    bool masked = entry & IOAPIC_LVT_MASKED;
    VampInterrupt *row;

    if (masked && !wired && !(entry & IOAPIC_VECTOR_MASK)) {
        return;
    }
    row = vamp_view_add(v, VAMP_INTERRUPT_KIND_IOAPIC);
    row->has_index = row->has_gsi = true;
    row->index = pin;
    row->gsi = base + pin;
    row->controller = g_strdup(DEVICE(s)->canonical_path);
    row->masked = masked;
    if (wired) {
        row_add_wires(v, row, line);
    }
    row->has_count = true;
    row->count = s->irq_count[pin] + (line != base + pin ? s->irq_count[0] : 0);
    if (masked && !(entry & IOAPIC_VECTOR_MASK)) {
        row->vcpus_reason = g_strdup("it is masked and has no vector");
        return;
    }
    /* As ioapic_entry_parse() makes a message of it; what remaps, needs it. */
    vamp_row_message(v, row,
                     APIC_DEFAULT_ADDRESS |
                     (entry >> IOAPIC_LVT_DEST_IDX_SHIFT & 0xffff) <<
                     MSI_ADDR_DEST_IDX_SHIFT |
                     (entry >> IOAPIC_LVT_DEST_MODE_SHIFT & 1) <<
                     MSI_ADDR_DEST_MODE_SHIFT,
                     (entry & IOAPIC_VECTOR_MASK) << MSI_DATA_VECTOR_SHIFT |
                     (entry >> IOAPIC_LVT_TRIGGER_MODE_SHIFT & 1) <<
                     MSI_DATA_TRIGGER_SHIFT |
                     (entry >> IOAPIC_LVT_DELIV_MODE_SHIFT & IOAPIC_DM_MASK) <<
                     MSI_DATA_DELIVERY_MODE_SHIFT,
                     X86_IOMMU_SID_INVALID);
    /*
     * The pin's own, also when it is remapped: Linux has edge in all entries
     * of the remapping table.
     */
    row->has_level = true;
    row->level = entry & IOAPIC_LVT_TRIGGER_MODE;
}

static void add_hpet(VampIrqView *v)
{
    for (unsigned n = 0; n < hpet_timers(v->hpet); n++) {
        unsigned at = HPET_TIMER(n);
        uint64_t cfg = hpet_read(v->hpet, at + HPET_TN_CFG);
        VampInterrupt *row;

        if (!(cfg & HPET_TN_FSB_ENABLE) || (hpet_is_legacy(v) && n < 2)) {
            continue;
        }
        row = vamp_view_add(v, VAMP_INTERRUPT_KIND_HPET);
        row->has_index = true;
        row->index = n;
        row->masked = !(cfg & HPET_TN_ENABLE);
        vamp_row_add_device(row, v->hpet);
        vamp_row_message(v, row, hpet_read(v->hpet, at + HPET_TN_ROUTE + 4),
                         hpet_read(v->hpet, at + HPET_TN_ROUTE),
                         X86_IOMMU_SID_INVALID);
    }
}

/*
 * Events of an Intel IOMMU: control, data and address follow one another. They
 * are not remapped. (AMD's has a PCI device with an MSI capability for them.)
 */
static void add_iommu(VampIrqView *v, IntelIOMMUState *iommu)
{
    static const unsigned events[] = {
        0x38,           /* fault event */
        0xa0,           /* invalidation completion event */
    };

    for (unsigned n = 0; n < ARRAY_SIZE(events); n++) {
        const uint8_t *at = &iommu->csr[events[n]];
        uint32_t control = ldl_le_p(at);
        uint32_t data = ldl_le_p(at + 4);
        uint64_t address = ldq_le_p(at + 8);
        bool masked = control & 1u << 31;
        VampInterrupt *row;
        VampMessage msg;

        if (!address) {
            continue;
        }
        row = vamp_view_add(v, VAMP_INTERRUPT_KIND_IOMMU);
        row->has_index = true;
        row->index = n;
        row->masked = masked;
        vamp_row_add_device(row, DEVICE(iommu));
        vamp_message_decode(address, data, &msg);
        vamp_row_decoded(v, row, &msg);
    }
}

void vamp_interrupts_lines(VampIrqView *v)
{
    X86IOMMUState *iommu = x86_iommu_get_default();

    for (unsigned i = 0; i < v->pics->len; i++) {
        add_pic(v, g_ptr_array_index(v->pics, i));
    }
    for (unsigned i = 0; i < v->ioapics->len && i < MAX_IOAPICS; i++) {
        IOAPICCommonState *s = g_ptr_array_index(v->ioapics, i);
        IOAPICCommonClass *class = IOAPIC_COMMON_GET_CLASS(s);

        if (class->pre_save) {
            class->pre_save(s);     /* ask KVM */
        }
        for (unsigned pin = 0; pin < IOAPIC_NUM_PINS; pin++) {
            add_pin(v, s, i * IO_APIC_SECONDARY_IRQBASE, pin);
        }
    }
    if (v->hpet) {
        add_hpet(v);
    }
    if (iommu && object_dynamic_cast(OBJECT(iommu), TYPE_INTEL_IOMMU_DEVICE)) {
        add_iommu(v, INTEL_IOMMU_DEVICE(iommu));
    }
}
