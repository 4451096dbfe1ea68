/*
 * VAMP: the vamp-policy object
 *
 * One per VM. Its life: created (maybe before the machine exists), started
 * once the machine is done (vCPUs found, tracker and actuator chosen),
 * stopped when it is deleted or QEMU ends. Choosing is put off to the
 * first turn of the main loop, because QEMU may drop privileges between
 * "machine done" and there, and what can be undone depends on them.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qom/object_interfaces.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "system/qtest.h"
#include "system/runstate.h"
#include "system/system.h"
#include "system/tcg.h"
#include "vamp-int.h"
#include "trace.h"

VampPolicy *vamp_the_policy;

/* The first of the two, made so that a second can name it. BQL. */
static VampPolicy *the_object;

#define VAMP_TRIGGERS_DEFAULT                                           \
    (1u << VAMP_TRIGGER_KEY | 1u << VAMP_TRIGGER_BUTTON |               \
     1u << VAMP_TRIGGER_WHEEL | 1u << VAMP_TRIGGER_TOUCH)

uint64_t vamp_now(const VampPolicy *p)
{
    return qemu_clock_get_ns(p->clock);
}

static void policy_input(void *opaque, uint32_t mask)
{
    VampPolicy *p = opaque;

    /* The event is still being delivered: reading loads has to wait. */
    if (mask & p->triggers) {
        qemu_bh_schedule(p->input_bh);
    }
}

/* --- life ---------------------------------------------------------------- */

static void device_realized(DeviceListener *listener, DeviceState *dev)
{
    VampPolicy *p = container_of(listener, VampPolicy, listener);
    CPUState *cpu = (CPUState *)object_dynamic_cast(OBJECT(dev), TYPE_CPU);
    Error *err = NULL;

    if (!cpu || !p->running) {
        return;
    }
    vamp_vcpu_add(p, cpu);
    if (!vamp_actuator_attach(p, cpu->cpu_index, &err)) {
        /* The new vCPU works, only without VAMP; vamp-query says so. */
        warn_report_err(err);
    }
    vamp_tracker_start_vcpu(p, cpu->cpu_index);
}

static void device_unrealized(DeviceListener *listener, DeviceState *dev)
{
    VampPolicy *p = container_of(listener, VampPolicy, listener);
    CPUState *cpu = (CPUState *)object_dynamic_cast(OBJECT(dev), TYPE_CPU);
    int index;

    if (!cpu || !p->running) {
        return;
    }
    /* It has lost its own cpu_index already. */
    index = vamp_vcpu_find(p, cpu);
    if (index < 0) {
        return;
    }
    /* The thread has ended: nobody else touches the recorder any more. */
    if (p->vcpu[index].attached) {
        p->vcpu[index].attached = false;
        p->actuator_class->detach(p->actuator, index);
    }
    vamp_tracker_stop_vcpu(p, index, true);
    vamp_vcpu_del(p, index);
}

static void vm_state_changed(void *opaque, bool running, RunState state)
{
    VampPolicy *p = opaque;

    p->vm_running = running;
    if (!p->running) {
        return;
    }
    if (!running) {
        /* A stopped VM serves nobody; its threads are left as they were. */
        vamp_phase_reset(p);
        timer_del(p->load_timer);
    } else {
        vamp_tracker_resume(p);
        timer_mod_ns(p->load_timer, vamp_now(p));
        if (!p->vm_started) {
            p->vm_started = true;
            vamp_actuator_choose(p);
        }
    }
}

const char *vamp_machine_unfit(void)
{
    if (!first_cpu) {
        return "this machine has no vCPUs";
    }
    if (tcg_enabled() && !qemu_tcg_mttcg_enabled()) {
        return "all vCPUs share one thread with '-accel tcg,thread=single' "
               "(also implied by -icount and record/replay), use "
               "'-accel tcg,thread=multi' or KVM";
    }
    return NULL;
}

static void policy_alloc(VampPolicy *p)
{
    p->clock = qtest_enabled() ? QEMU_CLOCK_VIRTUAL : QEMU_CLOCK_REALTIME;
    p->max_vcpus = current_machine->smp.max_cpus;
    p->core = g_malloc0(vamp_policy_size(p->max_vcpus));
    vamp_policy_init(p->core, p->max_vcpus, &p->cfg, vamp_now(p));
    p->vcpu = g_new0(VampVcpu, p->max_vcpus);
    p->snapshot = g_new0(struct vamp_task_table, p->max_vcpus);
    p->tables = g_new0(const struct vamp_task_table *, p->max_vcpus);
    for (unsigned i = 0; i < p->max_vcpus; i++) {
        vamp_task_table_init(&p->snapshot[i], p->core->period_ns);
    }
}

static void policy_start(VampPolicy *p)
{
    CPUState *cpu;

    policy_alloc(p);
    vamp_phase_init(p);
    p->running = true;
    p->vm_running = p->vm_started = runstate_is_running();
    CPU_FOREACH(cpu) {
        vamp_vcpu_add(p, cpu);
    }
    qatomic_store_release(&vamp_the_policy, p);
    vamp_actuator_choose(p);
    vamp_tracker_choose(p);
    p->listener.realize = device_realized;
    p->listener.unrealize = device_unrealized;
    device_listener_register(&p->listener);
    vamp_input_listen(policy_input, p);
    vamp_sound_open(p);
}

void vamp_policy_ensure_started(VampPolicy *p)
{
    if (p->complete && !p->running && phase_check(PHASE_MACHINE_READY) &&
        !vamp_machine_unfit()) {
        policy_start(p);
    }
}

VampPolicy *vamp_policy_get(void)
{
    if (the_object) {
        vamp_policy_ensure_started(the_object);
    }
    return the_object;
}

static void start_bh(void *opaque)
{
    vamp_policy_ensure_started(opaque);
}

static void machine_done(Notifier *notifier, void *data)
{
    VampPolicy *p = container_of(notifier, VampPolicy, machine_done);
    const char *unfit = vamp_machine_unfit();

    if (unfit) {
        /* Only from the command line: complete() refuses it later on. */
        error_report("vamp-policy cannot be used: %s", unfit);
        exit(1);
    }
    qemu_bh_schedule(p->start_bh);
}

/*
 * @wait: vCPU threads are alive and can be waited for (not while the process
 * exits, possibly on one of them).
 */
static void policy_stop(VampPolicy *p, bool wait)
{
    if (!p->running) {
        return;
    }
    vamp_input_listen(NULL, NULL);
    device_listener_unregister(&p->listener);
    vamp_sound_close(p);
    vamp_phase_reset(p);
    if (wait) {
        vamp_tracker_close(p);
    }
    vamp_actuator_close(p, wait);
    p->running = false;
    if (wait) {
        qatomic_store_release(&vamp_the_policy, NULL);
        vamp_wait_for_vcpus(p);
        vamp_phase_fini(p);
    }
}

static void exiting(Notifier *notifier, void *data)
{
    policy_stop(container_of(notifier, VampPolicy, exit_notifier), false);
}

static void vamp_policy_complete(UserCreatable *uc, Error **errp)
{
    VampPolicy *p = VAMP_POLICY(uc);
    const char *unfit;

    if (the_object) {
        error_setg(errp, "there is a vamp-policy object already ('%s'), and a "
                   "VM has only one",
                   object_get_canonical_path_component(OBJECT(the_object)));
        return;
    }
    if (phase_check(PHASE_MACHINE_READY)) {
        unfit = vamp_machine_unfit();
        if (unfit) {
            error_setg(errp, "vamp-policy cannot be used: %s", unfit);
            return;
        }
    }
    the_object = p;
    p->complete = true;
    p->id = g_strdup(object_get_canonical_path_component(OBJECT(p)));
    p->start_bh = qemu_bh_new(start_bh, p);
    p->vmstate = qemu_add_vm_change_state_handler(vm_state_changed, p);
    p->exit_notifier.notify = exiting;
    qemu_add_exit_notifier(&p->exit_notifier);
    p->machine_done.notify = machine_done;
    /* Called at once if the machine is done. */
    qemu_add_machine_init_done_notifier(&p->machine_done);
}

static void vamp_policy_finalize(Object *obj)
{
    VampPolicy *p = VAMP_POLICY(obj);

    if (p->complete) {
        policy_stop(p, true);
        qemu_remove_machine_init_done_notifier(&p->machine_done);
        qemu_remove_exit_notifier(&p->exit_notifier);
        qemu_del_vm_change_state_handler(p->vmstate);
        qemu_bh_delete(p->start_bh);
        the_object = NULL;
    }
    if (p->vcpu) {
        for (unsigned i = 0; i < p->max_vcpus; i++) {
            if (p->vcpu[i].cpu) {
                vamp_vcpu_del(p, i);
            }
        }
    }
    g_free(p->vcpu);
    g_free(p->core);
    g_free(p->snapshot);
    g_free(p->tables);
    g_free(p->fault);
    g_free(p->tracker_reason);
    g_free(p->actuator_reason);
    g_free(p->sound_reason);
    g_free(p->names_reason);
    vamp_sound_track_fini(p);
    g_free(p->broker);
    g_free(p->id);
    g_free(p->qtest_schedstat_dir);
}

static void vamp_policy_instance_init(Object *obj)
{
    VampPolicy *p = VAMP_POLICY(obj);

    vamp_config_default(&p->cfg);
    p->ratio = VAMP_RATIO_DEFAULT;
    p->tracker_wanted = VAMP_TRACKER_AUTO;
    p->actuator_wanted = VAMP_ACTUATOR_KIND_AUTO;
    p->actuator_kind = VAMP_ACTUATOR_KIND_NONE;
    p->broker = g_strdup(VAMP_BROKER_SOCKET);
    p->tracker = p->eyes = VAMP_TRACKER_NONE;
    p->audio_wanted = ON_OFF_AUTO_AUTO;
    p->names_wanted = ON_OFF_AUTO_AUTO;
    p->wakeup_track = VAMP_WAKEUP_ALL;
    p->triggers = VAMP_TRIGGERS_DEFAULT;
}

static void vamp_policy_class_init(ObjectClass *oc, void *data)
{
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(oc);

    ucc->complete = vamp_policy_complete;

    vamp_policy_add_properties(oc);
}

static const TypeInfo vamp_policy_info = {
    .name = TYPE_VAMP_POLICY,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(VampPolicy),
    .instance_init = vamp_policy_instance_init,
    .instance_finalize = vamp_policy_finalize,
    .class_init = vamp_policy_class_init,
    .interfaces = (InterfaceInfo[]) {
        { TYPE_USER_CREATABLE },
        { }
    },
};

static void vamp_policy_register_types(void)
{
    type_register_static(&vamp_policy_info);
}
type_init(vamp_policy_register_types)
