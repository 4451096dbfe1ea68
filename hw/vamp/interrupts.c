/*
 * VAMP: interrupt routing: collecting, and vamp-query-interrupts
 *
 * Consistency: the guest changes I/O APIC, message tables and (with local
 * APICs in QEMU) local APICs only with the BQL, and QEMU changes KVM's routing
 * table only with it. So everything that is read after vamp_view_init(), which
 * does not drop the BQL again, is one state that the machine really was in,
 * however fast the guest reprograms. Two things are not covered: local APICs
 * in KVM, each of which is a moment older (see vamp_view_apics()), and the
 * remapping table in the guest's memory, which the guest writes without the
 * BQL; each entry of it is read whole.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vamp-interrupts.h"
#include "qapi/type-helpers.h"
#include "hw/i386/apic-msidef.h"
#include "hw/intc/ioapic_internal.h"
#include "hw/isa/i8259_internal.h"
#include "hw/pci/pci.h"
#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "hw/vamp/cpumap.h"
#include "kvm/kvm_i386.h"
#include "system/kvm.h"
#include "system/qtest.h"
#include "interrupts-int.h"
#include "trace.h"

static const char *path_of(DeviceState *dev)
{
    /* Kept by qdev since realize. */
    return dev->canonical_path ?: "";
}

/* --- rows ---------------------------------------------------------------- */

VampInterrupt *vamp_view_add(VampIrqView *v, VampInterruptKind kind)
{
    VampInterrupt *row = g_new0(VampInterrupt, 1);

    row->kind = kind;
    row->delivery = v->lapic_in_kvm ? VAMP_INTERRUPT_DELIVERY_KVM
                                    : VAMP_INTERRUPT_DELIVERY_EMULATED;
    row->injection = v->injection;
    if (v->qtest) {
        row->direct_reason = g_strdup("under qtest no guest code runs");
    } else if (!v->kvm) {
        row->direct_reason = g_strdup("without KVM the processor has no part "
                                      "in the guest's interrupts");
    } else if (kind == VAMP_INTERRUPT_KIND_LAPIC) {
        row->direct_reason = g_strdup("the local APIC is emulated, and VAMP's "
                                      "companion module is not in use");
    } else {
        row->direct_reason = g_strdup("the device is emulated, no interrupt of "
                                      "the hardware stands behind it");
    }
    QAPI_LIST_APPEND(v->tail, row);
    v->nr_rows++;
    return row;
}

void vamp_row_add_device(VampInterrupt *row, DeviceState *dev)
{
    VampInterruptDevice *d = g_new0(VampInterruptDevice, 1);
    VampInterruptDeviceList **tail = &row->devices;
    struct vamp_procirq host;

    d->path = g_strdup(path_of(dev));
    d->type = g_strdup(object_get_typename(OBJECT(dev)));
    d->id = g_strdup(dev->id);
    if (object_dynamic_cast(OBJECT(dev), TYPE_PCI_DEVICE)) {
        PCIDevice *pci = PCI_DEVICE(dev);

        d->address = g_strdup_printf("0000:%02x:%02x.%x", pci_dev_bus_num(pci),
                                     PCI_SLOT(pci->devfn),
                                     PCI_FUNC(pci->devfn));
    }
    if (vamp_vfio_address(dev, &host)) {
        d->host = g_strdup_printf("%04x:%02x:%02x.%x", host.domain, host.bus,
                                  host.slot, host.function);
    }
    while (*tail) {
        tail = &(*tail)->next;
    }
    QAPI_LIST_APPEND(tail, d);
}

void vamp_row_vcpus(VampIrqView *v, VampInterrupt *row, const int *vcpus,
                    size_t n, const char *reason)
{
    intList **tail = &row->vcpus, **pcpu_tail = &row->pcpus;

    if (!n) {
        row->vcpus_reason = g_strdup(reason);
        return;
    }
    row->has_vcpus = true;
    for (size_t i = 0; i < n; i++) {
        int pcpu = vamp_cpumap_cpu_of(vcpus[i]);

        QAPI_LIST_APPEND(tail, vcpus[i]);
        if (pcpu >= 0) {
            row->has_pcpus = true;
            QAPI_LIST_APPEND(pcpu_tail, pcpu);
        }
    }
}

bool vamp_view_translate(const VampIrqView *v, uint64_t address, uint32_t data,
                         uint16_t sid, VampMessage *msg, bool *remapped,
                         const char **reason)
{
    *remapped = false;
    *reason = NULL;
    if (!vamp_message_is_interrupt(address)) {
        *reason = "the address is not one of the local APICs: the message "
                  "is a write to memory";
        return false;
    }
    if (v->iommu) {
        X86IOMMUClass *class = X86_IOMMU_DEVICE_GET_CLASS(v->iommu);
        MSIMessage from = { .address = address, .data = data };
        MSIMessage to = from;

        if (class->int_remap(v->iommu, &from, &to, sid)) {
            *reason = "the emulated IOMMU refuses the message";
            return false;
        }
        *remapped = to.address != from.address || to.data != from.data;
        address = to.address;
        data = to.data;
    }
    if (kvm_enabled()) {
        address = kvm_swizzle_msi_ext_dest_id(address);
    }
    vamp_message_decode(address, data, msg);
    return true;
}

/* Modes in which the vector of the message means something. */
static bool mode_has_vector(VampInterruptMode mode)
{
    return mode == VAMP_INTERRUPT_MODE_FIXED ||
           mode == VAMP_INTERRUPT_MODE_LOWEST_PRIORITY;
}

VampInterruptMode vamp_interrupt_mode(unsigned mode)
{
    static const VampInterruptMode modes[8] = {
        VAMP_INTERRUPT_MODE_FIXED, VAMP_INTERRUPT_MODE_LOWEST_PRIORITY,
        VAMP_INTERRUPT_MODE_SMI, VAMP_INTERRUPT_MODE_RESERVED,
        VAMP_INTERRUPT_MODE_NMI, VAMP_INTERRUPT_MODE_INIT,
        VAMP_INTERRUPT_MODE_STARTUP, VAMP_INTERRUPT_MODE_EXTINT,
    };

    return modes[mode & 7];
}

void vamp_row_decoded(VampIrqView *v, VampInterrupt *row,
                      const VampMessage *msg)
{
    size_t n;

    row->has_mode = true;
    row->mode = vamp_interrupt_mode(msg->mode);
    row->has_vector = mode_has_vector(row->mode);
    row->vector = row->has_vector ? msg->vector : 0;
    row->has_level = true;
    row->level = msg->level;
    row->has_logical = true;
    row->logical = msg->logical;
    row->has_destination = true;
    row->destination = msg->destination;
    n = vamp_dest_decode(v->apics, v->nr_apics, &v->rules, msg, v->vcpus);
    vamp_row_vcpus(v, row, v->vcpus, n,
                   "no vCPU's local APIC answers to the destination");
}

void vamp_row_message(VampIrqView *v, VampInterrupt *row, uint64_t address,
                      uint32_t data, uint16_t sid)
{
    const char *reason;
    VampMessage msg;

    if (row->masked && v->iommu) {
        /*
         * The table's entry may be gone, and asking for it would have the
         * IOMMU complain of the guest.
         */
        row->vcpus_reason = g_strdup("it is masked; the remapping table is "
                                     "not asked");
        return;
    }
    if (!vamp_view_translate(v, address, data, sid, &msg, &row->remapped,
                             &reason)) {
        row->vcpus_reason = g_strdup(reason);
        return;
    }
    vamp_row_decoded(v, row, &msg);
}

/* --- the host ------------------------------------------------------------ */

static void host_read(VampIrqView *v)
{
    Error *err = NULL;

    if (v->host_read) {
        return;
    }
    v->host_read = true;
    if (!vamp_host_irqs_read(v->proc_root, &v->host, &err)) {
        v->host_reason = g_strdup(error_get_pretty(err));
        error_free(err);
    }
}

void vamp_row_host(VampIrqView *v, VampInterrupt *row, DeviceState *dev,
                   enum vamp_procirq_kind kind, unsigned vector)
{
    struct vamp_procirq key = { .kind = kind, .vector = vector };
    const struct vamp_procirq *found;
    VampHostIrq *host;

    if (!vamp_vfio_address(dev, &key)) {
        return;
    }
    g_free(row->direct_reason);
    row->direct_reason = g_strdup(
        row->delivery == VAMP_INTERRUPT_DELIVERY_IRQFD
        ? "the host takes it first, unless its IOMMU posts interrupts, which "
          "KVM does not tell; VAMP does not deliver it directly yet"
        : "the host takes it first, and QEMU raises it for the guest");
    host_read(v);
    if (v->host_reason) {
        row->host_reason = g_strdup(v->host_reason);
        return;
    }
    found = vamp_host_irqs_find(&v->host, &key);
    if (!found) {
        row->host_reason = g_strdup("the host has not requested an interrupt "
                                    "for it");
        return;
    }
    host = row->host = g_new0(VampHostIrq, 1);
    host->irq = found->irq;
    host->count = found->count;
    /* An interrupt may go away at any time: what cannot be read is left out. */
    host->affinity = vamp_host_irq_cpus(v->proc_root, found->irq,
                                        "smp_affinity_list", NULL);
    host->effective = vamp_host_irq_cpus(v->proc_root, found->irq,
                                         "effective_affinity_list", NULL);
    host->moved = vamp_irq_follow_moved(found->irq);
}

/* --- the machine --------------------------------------------------------- */

typedef struct Walk {
    VampIrqView *v;
    GPtrArray *devices;
} Walk;

static int walk_object(Object *obj, void *opaque)
{
    Walk *w = opaque;
    VampIrqView *v = w->v;
    DeviceState *dev = (DeviceState *)object_dynamic_cast(obj, TYPE_DEVICE);

    if (!dev || !dev->realized) {
        return 0;
    }
    if (object_dynamic_cast(obj, TYPE_PCI_DEVICE)) {
        g_ptr_array_add(v->pci, dev);
    } else if (object_dynamic_cast(obj, TYPE_IOAPIC_COMMON)) {
        g_ptr_array_add(v->ioapics, dev);
    } else if (object_dynamic_cast(obj, TYPE_PIC_COMMON)) {
        g_ptr_array_add(v->pics, dev);
    } else if (object_dynamic_cast(obj, TYPE_HPET)) {
        v->hpet = dev;
    } else if (object_dynamic_cast(obj, TYPE_PIT_COMMON)) {
        v->pit = dev;
    }
    g_ptr_array_add(w->devices, dev);
    return 0;
}

static int compare_pci(gconstpointer a, gconstpointer b)
{
    PCIDevice *x = *(PCIDevice **)a, *y = *(PCIDevice **)b;
    int d = pci_dev_bus_num(x) - pci_dev_bus_num(y);

    d = d ?: x->devfn - y->devfn;
    return d ?: strcmp(path_of(DEVICE(x)), path_of(DEVICE(y)));
}

static int compare_pic(gconstpointer a, gconstpointer b)
{
    PICCommonState *x = *(PICCommonState **)a, *y = *(PICCommonState **)b;

    return (int)y->master - (int)x->master;
}

static int compare_path(gconstpointer a, gconstpointer b)
{
    return strcmp(path_of(*(DeviceState **)a), path_of(*(DeviceState **)b));
}

static int compare_ioapic(gconstpointer a, gconstpointer b)
{
    IOAPICCommonState *x = *(IOAPICCommonState **)a;
    IOAPICCommonState *y = *(IOAPICCommonState **)b;
    hwaddr at_x = x->busdev.mmio[0].addr, at_y = y->busdev.mmio[0].addr;

    return at_x < at_y ? -1 : at_x > at_y;
}

static void find_devices(VampIrqView *v)
{
    g_autoptr(GPtrArray) devices = g_ptr_array_new();
    Walk walk = { .v = v, .devices = devices };

    v->pci = g_ptr_array_new();
    v->pics = g_ptr_array_new();
    v->ioapics = g_ptr_array_new();
    v->wires = g_array_new(false, false, sizeof(VampWire));
    object_child_foreach_recursive(qdev_get_machine(), walk_object, &walk);
    /* Children come in the order of a hash. */
    g_ptr_array_sort(v->pci, compare_pci);
    g_ptr_array_sort(v->pics, compare_pic);
    g_ptr_array_sort(v->ioapics, compare_ioapic);
    g_ptr_array_sort(devices, compare_path);
    vamp_interrupts_wires(v, devices);
}

static void find_injection(VampIrqView *v)
{
    if (!v->kvm) {
        v->injection = VAMP_INJECTION_EMULATED;
        v->injection_reason = g_strdup(
            v->qtest ? "qtest runs no guest code"
                     : "TCG emulates the processor");
        return;
    }
    if (!v->lapic_in_kvm) {
        v->injection = VAMP_INJECTION_EXIT;
        v->injection_reason = g_strdup("no interrupt controller is in KVM: the "
                                       "vCPU comes back to QEMU for each "
                                       "interrupt");
        return;
    }
    switch (vamp_host_kvm_injection("/sys", &v->injection_reason)) {
    case 'p':
        v->injection = VAMP_INJECTION_POSTED;
        break;
    case 'a':
        v->injection = VAMP_INJECTION_AVIC;
        break;
    case 'n':
        v->injection = VAMP_INJECTION_EXIT;
        break;
    default:
        v->injection = VAMP_INJECTION_UNKNOWN;
        break;
    }
}

void vamp_view_init(VampIrqView *v, bool full)
{
    X86IOMMUState *iommu = x86_iommu_get_default();

    memset(v, 0, sizeof(*v));
    v->kvm = kvm_enabled();
    v->qtest = qtest_enabled();
    v->lapic_in_kvm = kvm_irqchip_in_kernel();
    v->ioapic_in_kvm = v->lapic_in_kvm && !kvm_irqchip_is_split();
    v->proc_root = "/proc";
    if (iommu && x86_iommu_ir_supported(iommu) &&
        X86_IOMMU_DEVICE_GET_CLASS(iommu)->int_remap) {
        v->iommu = iommu;
    }
    v->rules.truncate = !v->lapic_in_kvm;
    v->rules.ff_is_broadcast = kvm_irqchip_in_kernel() &&
                               !kvm_has_x2apic_api();
    v->gsi_seen = g_hash_table_new(NULL, NULL);
    if (full) {
        find_injection(v);
    }
    vamp_view_apics(v, full);
    /* From here on the BQL is not dropped. */
    v->vcpus = g_new0(int, v->nr_apics + 1);
    find_devices(v);
}

void vamp_view_fini(VampIrqView *v)
{
    g_ptr_array_unref(v->pci);
    g_ptr_array_unref(v->pics);
    g_ptr_array_unref(v->ioapics);
    g_array_unref(v->wires);
    g_hash_table_unref(v->gsi_seen);
    vamp_host_irqs_free(&v->host);
    g_free(v->host_reason);
    g_free(v->injection_reason);
    g_free(v->apics);
    g_free(v->apic_dev);
    g_free(v->vcpus);
}

static VampLapic *lapic_info(const VampApic *apic)
{
    VampLapic *info = g_new0(VampLapic, 1);
    int pcpu = vamp_cpumap_cpu_of(apic->vcpu);

    info->vcpu = apic->vcpu;
    info->has_pcpu = pcpu >= 0;
    info->pcpu = pcpu;
    info->mode = !apic->enabled ? VAMP_LAPIC_MODE_DISABLED :
                 apic->x2apic ? VAMP_LAPIC_MODE_X2APIC : VAMP_LAPIC_MODE_XAPIC;
    info->software_enabled = apic->software_enabled;
    info->apic_id = apic->x2apic ? apic->initial_id : apic->id;
    info->logical_id = vamp_apic_logical_id(apic);
    info->cluster = apic->x2apic || apic->format != 0xf;
    return info;
}

static const char *irqchip_name(const VampIrqView *v)
{
    if (v->ioapic_in_kvm) {
        return "kernel";
    }
    if (v->lapic_in_kvm) {
        return "split";
    }
    return v->nr_apics || v->ioapics->len || v->pics->len ? "emulated" : "none";
}

static char *remapping_text(const VampIrqView *v)
{
    X86IOMMUState *iommu = x86_iommu_get_default();

    if (v->iommu) {
        return g_strdup_printf("%s remaps interrupts when the guest has turned "
                               "that on",
                               object_get_typename(OBJECT(v->iommu)));
    }
    if (iommu) {
        return g_strdup_printf("%s was made without interrupt remapping",
                               object_get_typename(OBJECT(iommu)));
    }
    return g_strdup("there is no emulated IOMMU");
}

VampInterrupts *qmp_vamp_query_interrupts(Error **errp)
{
    VampInterrupts *info = g_new0(VampInterrupts, 1);
    VampLapicList **lapic_tail = &info->lapics;
    int64_t begin = g_get_monotonic_time();
    VampIrqView v;

    vamp_view_init(&v, true);
    v.info = info;
    v.tail = &info->interrupts;
    info->irqchip = g_strdup(irqchip_name(&v));
    info->injection = v.injection;
    info->injection_reason = g_strdup(v.injection_reason);
    info->remapping = remapping_text(&v);
    for (size_t i = 0; i < v.nr_apics; i++) {
        QAPI_LIST_APPEND(lapic_tail, lapic_info(&v.apics[i]));
    }
    vamp_interrupts_lines(&v);
    vamp_interrupts_msi(&v);
    vamp_interrupts_local(&v);
    vamp_interrupts_routes(&v);
    info->follow = vamp_irq_follow_info();
    vamp_view_fini(&v);
    trace_vamp_interrupts(v.nr_rows, g_get_monotonic_time() - begin);
    return info;
}

HumanReadableText *vamp_interrupts_text(Error **errp)
{
    g_autoptr(VampInterrupts) info = qmp_vamp_query_interrupts(errp);
    g_autoptr(GString) buf = g_string_new(NULL);

    if (!info) {
        return NULL;
    }
    vamp_interrupts_print(buf, info);
    return human_readable_text_from_str(buf);
}
