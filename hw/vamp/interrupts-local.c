/*
 * VAMP: interrupt routing: local APICs, and what else KVM routes
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "cpu.h"
#include "hw/core/cpu.h"
#include "hw/i386/apic_internal.h"
#include "hw/intc/ioapic.h"
#include "system/hw_accel.h"
#include "system/kvm.h"
#ifdef CONFIG_KVM
#include "system/kvm_int.h"
#endif
#include "interrupts-int.h"

/* By index, which is the order for people. */
static int compare_cpu(gconstpointer a, gconstpointer b)
{
    return (*(CPUState **)a)->cpu_index - (*(CPUState **)b)->cpu_index;
}

static void release_cpu(gpointer cpu)
{
    object_unref(OBJECT(cpu));
}

/*
 * Local APICs in KVM are read by the vCPU's own thread, and the BQL is dropped
 * while that is waited for. So each is consistent in itself but from a moment
 * of its own, before everything else of the view is read.
 */
static void sync_apics(void)
{
    g_autoptr(GPtrArray) cpus = g_ptr_array_new_with_free_func(release_cpu);
    CPUState *cs;

    CPU_FOREACH(cs) {
        object_ref(OBJECT(cs));
        g_ptr_array_add(cpus, cs);
    }
    for (unsigned i = 0; i < cpus->len; i++) {
        cs = g_ptr_array_index(cpus, i);
        /* It may have been unplugged meanwhile. */
        if (cs->created && !cs->unplug) {
            cpu_synchronize_state(cs);
        }
    }
}

void vamp_view_apics(VampIrqView *v, bool sync)
{
    g_autoptr(GPtrArray) cpus = g_ptr_array_new();
    CPUState *cs;

    if (sync && v->lapic_in_kvm) {
        sync_apics();
    }
    CPU_FOREACH(cs) {
        /* A processor without local APIC has none. */
        if (X86_CPU(cs)->apic_state) {
            g_ptr_array_add(cpus, cs);
        }
    }
    g_ptr_array_sort(cpus, compare_cpu);
    v->nr_apics = cpus->len;
    v->apics = g_new0(VampApic, cpus->len);
    v->apic_dev = g_new0(DeviceState *, cpus->len);
    for (unsigned i = 0; i < cpus->len; i++) {
        DeviceState *dev;
        APICCommonState *s;
        VampApic *a = &v->apics[i];

        cs = g_ptr_array_index(cpus, i);
        dev = X86_CPU(cs)->apic_state;
        s = APIC_COMMON(dev);
        v->apic_dev[i] = dev;
        a->vcpu = cs->cpu_index;
        a->enabled = s->apicbase & MSR_IA32_APICBASE_ENABLE;
        a->x2apic = a->enabled && (s->apicbase & MSR_IA32_APICBASE_EXTD);
        a->software_enabled = s->spurious_vec & APIC_SV_ENABLE;
        a->initial_id = s->initial_apic_id;
        a->id = s->id;
        a->logical_id = s->log_dest;
        a->format = s->dest_mode;
    }
}

size_t vamp_interrupts_extint_vcpus(VampIrqView *v, int *vcpus)
{
    size_t n = 0;

    if (!v->nr_apics) {
        vcpus[0] = first_cpu ? first_cpu->cpu_index : 0;
        return 1;
    }
    for (size_t i = 0; i < v->nr_apics; i++) {
        uint32_t lint0 = APIC_COMMON(v->apic_dev[i])->lvt[APIC_LVT_LINT0];

        /* Without its local APIC the processor has the pin for itself. */
        if (!v->apics[i].enabled || !(lint0 & APIC_LVT_MASKED)) {
            vcpus[n++] = v->apics[i].vcpu;
        }
    }
    return n;
}

static void add_local(VampIrqView *v, size_t apic, unsigned entry,
                      uint32_t lvt)
{
    static const char *const names[APIC_LVT_NB] = {
        [APIC_LVT_TIMER] = "timer",
        [APIC_LVT_THERMAL] = "thermal",
        [APIC_LVT_PERFORM] = "perf",
        [APIC_LVT_LINT0] = "lint0",
        [APIC_LVT_LINT1] = "lint1",
        [APIC_LVT_ERROR] = "error",
    };
    bool lint = entry == APIC_LVT_LINT0 || entry == APIC_LVT_LINT1;
    VampInterrupt *row = vamp_view_add(v, VAMP_INTERRUPT_KIND_LAPIC);
    int vcpu = v->apics[apic].vcpu;

    row->name = g_strdup(names[entry]);
    row->has_vcpu = true;
    row->vcpu = vcpu;
    row->controller = g_strdup(v->apic_dev[apic]->canonical_path);
    row->masked = lvt & APIC_LVT_MASKED;
    row->has_mode = true;
    /* The timer and the error entry have no delivery mode to choose. */
    row->mode = entry == APIC_LVT_TIMER || entry == APIC_LVT_ERROR
                ? VAMP_INTERRUPT_MODE_FIXED
                : vamp_interrupt_mode(lvt >> APIC_LVT_DELIV_MOD_SHIFT);
    if (row->mode == VAMP_INTERRUPT_MODE_FIXED) {
        row->has_vector = true;
        row->vector = lvt & APIC_VECTOR_MASK;
    }
    row->has_level = lint;
    row->level = lint && (lvt & APIC_LVT_LEVEL_TRIGGER);
    vamp_row_vcpus(v, row, &vcpu, 1, NULL);
}

void vamp_interrupts_local(VampIrqView *v)
{
    for (size_t i = 0; i < v->nr_apics; i++) {
        APICCommonState *s = APIC_COMMON(v->apic_dev[i]);

        for (unsigned n = 0; n < APIC_LVT_NB; n++) {
            uint32_t lvt = s->lvt[n];

            if (!(lvt & APIC_LVT_MASKED) || (lvt & APIC_VECTOR_MASK)) {
                add_local(v, i, n, lvt);
            }
        }
    }
}

#ifdef CONFIG_KVM
static void add_route(VampIrqView *v, const struct kvm_irq_routing_entry *e)
{
    VampInterrupt *row = vamp_view_add(v, VAMP_INTERRUPT_KIND_GSI);
    VampMessage msg;

    row->has_index = row->has_gsi = true;
    row->index = row->gsi = e->gsi;
    row->delivery = VAMP_INTERRUPT_DELIVERY_IRQFD;
    switch (e->type) {
    case KVM_IRQ_ROUTING_MSI:
        row->name = g_strdup("msi");
        vamp_message_decode((uint64_t)e->u.msi.address_hi << 32 |
                            e->u.msi.address_lo, e->u.msi.data, &msg);
        vamp_row_decoded(v, row, &msg);
        return;
    case KVM_IRQ_ROUTING_IRQCHIP:
        row->name = g_strdup_printf("irqchip %u pin %u", e->u.irqchip.irqchip,
                                    e->u.irqchip.pin);
        break;
    case KVM_IRQ_ROUTING_HV_SINT:
        row->name = g_strdup_printf("hv-sint %u", e->u.hv_sint.sint);
        row->has_vcpu = true;
        row->vcpu = e->u.hv_sint.vcpu;
        break;
    default:
        row->name = g_strdup_printf("type %u", e->type);
        break;
    }
    row->vcpus_reason = g_strdup("it is no message");
}
#endif

void vamp_interrupts_routes(VampIrqView *v)
{
#ifdef CONFIG_KVM
    struct kvm_irq_routing *routes;

    if (!v->kvm || !kvm_gsi_routing_enabled() || !kvm_state->irq_routes) {
        return;
    }
    routes = kvm_state->irq_routes;
    for (unsigned i = 0; i < routes->nr; i++) {
        const struct kvm_irq_routing_entry *e = &routes->entries[i];

        /* The first belong to the pins, which have rows of their own. */
        if (e->gsi >= IOAPIC_NUM_PINS &&
            !g_hash_table_contains(v->gsi_seen, GINT_TO_POINTER(e->gsi))) {
            add_route(v, e);
        }
    }
#endif
}
