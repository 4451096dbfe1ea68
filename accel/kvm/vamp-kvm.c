/*
 * VAMP: the companion modules of KVM
 *
 * One configuration for two users: the tracker, and the actuator. The modules
 * are off when neither is there.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm_vamp.h>
#include "qapi/error.h"
#include "qemu/event_notifier.h"
#include "hw/boards.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "hw/vamp/kvm.h"

QEMU_BUILD_BUG_ON(KVM_VAMP_MAX_TASKS != VAMP_TASKS_PER_VCPU);
QEMU_BUILD_BUG_ON(KVM_VAMP_MAX_TASKS != VAMP_PLAN_TASKS);
QEMU_BUILD_BUG_ON(KVM_VAMP_EPOCHS != VAMP_EPOCHS);
QEMU_BUILD_BUG_ON(KVM_VAMP_PHASE_MIXED != VAMP_PHASE_MIXED);
QEMU_BUILD_BUG_ON(KVM_VAMP_CLASS_BACKGROUND != VAMP_CLASS_BACKGROUND);

static struct {
    bool track;
    unsigned ratio;                     /* 0: no weights */
    struct vamp_config cfg;
    EventNotifier notifier;             /* while track */
    void (*changed)(void *opaque);
    void *opaque;
    struct kvm_vamp_sound sound;        /* named last; zeroed: none */
} vamp;

const char *vamp_kvm_unavailable(void)
{
    int version;

    if (!kvm_enabled()) {
        return "needs -accel kvm";
    }
    if (current_machine->cgs) {
        return "the registers of a confidential guest cannot be read";
    }
    version = kvm_vm_check_extension(kvm_state, KVM_CAP_VAMP);
    if (version <= 0) {
        return "this kernel's KVM has no companion modules (package vamp-dkms)";
    }
    /* Newer ones know what older ones did. */
    if (version < KVM_VAMP_VERSION) {
        return "the companion modules are older than this QEMU (package "
               "vamp-dkms of its version)";
    }
    return NULL;
}

/* vCPUs have ids below this: KVM's id is the APIC ID, which has gaps. */
static unsigned vcpu_ids(void)
{
    const CPUArchIdList *list = current_machine->possible_cpus;
    uint64_t ids = current_machine->smp.max_cpus;

    for (int i = 0; list && i < list->len; i++) {
        ids = MAX(ids, list->cpus[i].arch_id + 1);
    }
    return MIN(ids, KVM_VAMP_MAX_VCPUS);
}

static bool configure(bool track, unsigned ratio, const struct vamp_config *cfg,
                      Error **errp)
{
    struct kvm_vamp_config set = {
        .version = KVM_VAMP_VERSION,
        .nr_vcpus = vcpu_ids(),
        .ratio = ratio ?: VAMP_RATIO_DEFAULT,
        .bg_percent = cfg->bg_percent,
        .max_phase_ms = cfg->max_phase_ms,
        .period_ms = cfg->period_ms,
        .boost = KVM_VAMP_BOOST_FAIR,
    };
    int ret;

    if (track || ratio) {
        set.flags |= KVM_VAMP_F_ENABLE;
    }
    if (ratio) {
        set.flags |= KVM_VAMP_F_WEIGHTS;
    } else if (track) {
        set.flags |= KVM_VAMP_F_NOTIFY;
        set.notify_fd = event_notifier_get_fd(&vamp.notifier);
    }
    ret = kvm_vm_ioctl(kvm_state, KVM_VAMP_SET, &set);
    if (ret == -EOPNOTSUPP) {
        error_setg(errp, "the guest's registers are encrypted (SEV-ES or "
                   "SEV-SNP), so nobody can tell its tasks from outside");
        return false;
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "KVM's companion modules refuse the "
                         "configuration of the VM");
        return false;
    }
    vamp.track = track;
    vamp.ratio = ratio;
    vamp.cfg = *cfg;
    /* They may have forgotten; telling them twice does no harm. */
    memset(&vamp.sound, 0, sizeof(vamp.sound));
    return true;
}

static void notified(EventNotifier *notifier)
{
    if (event_notifier_test_and_clear(notifier) && vamp.track) {
        vamp.changed(vamp.opaque);
    }
}

bool vamp_kvm_track(const struct vamp_config *cfg,
                    void (*changed)(void *opaque), void *opaque, Error **errp)
{
    bool first = !vamp.track;
    int ret;

    vamp.changed = changed;
    vamp.opaque = opaque;
    if (first) {
        ret = event_notifier_init(&vamp.notifier, false);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "cannot make an eventfd");
            return false;
        }
        event_notifier_set_handler(&vamp.notifier, notified);
    }
    if (!configure(true, vamp.ratio, cfg, errp)) {
        if (first) {
            event_notifier_set_handler(&vamp.notifier, NULL);
            event_notifier_cleanup(&vamp.notifier);
        }
        return false;
    }
    return true;
}

void vamp_kvm_untrack(void)
{
    if (!vamp.track) {
        return;
    }
    configure(false, vamp.ratio, &vamp.cfg, &error_warn);
    vamp.track = false;
    event_notifier_set_handler(&vamp.notifier, NULL);
    event_notifier_cleanup(&vamp.notifier);
}

bool vamp_kvm_weights(unsigned ratio, Error **errp)
{
    struct vamp_config cfg = vamp.cfg;

    /* Their own loads matter to a tracker only. */
    if (!vamp.track) {
        vamp_config_default(&cfg);
    }
    return configure(vamp.track, ratio, &cfg, errp);
}

static void status_read(struct kvm_vamp_status *status)
{
    if (kvm_vm_ioctl(kvm_state, KVM_VAMP_STATUS, status) < 0) {
        memset(status, 0, sizeof(*status));
    }
}

bool vamp_kvm_plan(const struct vamp_policy *core, Error **errp)
{
    g_autofree struct kvm_vamp_plan *plan = g_new0(struct kvm_vamp_plan, 1);
    int ret;

    plan->phase = core->phase;
    plan->until_ns = core->until_ns;
    if (core->phase == VAMP_PHASE_MIXED) {
        plan->nr_tasks = core->nr_background;
        for (uint32_t i = 0; i < core->nr_background; i++) {
            plan->task[i] = core->background[i].task;
        }
    }
    ret = kvm_vm_ioctl(kvm_state, KVM_VAMP_PLAN, plan);
    if (ret < 0) {
        g_autofree struct kvm_vamp_status *status =
            g_new0(struct kvm_vamp_status, 1);

        status_read(status);
        if (status->fault[0]) {
            error_setg(errp, "KVM's companion modules have turned themselves "
                       "off: %.*s", (int)sizeof(status->fault), status->fault);
        } else {
            error_setg_errno(errp, -ret, "KVM's companion modules refuse the "
                             "plan");
        }
        return false;
    }
    return true;
}

bool vamp_kvm_copy(CPUState *cpu, struct vamp_task_table *out)
{
    g_autofree struct kvm_vamp_tasks *tasks = g_new0(struct kvm_vamp_tasks, 1);

    tasks->vcpu = kvm_arch_vcpu_id(cpu);
    if (kvm_vm_ioctl(kvm_state, KVM_VAMP_TASKS, tasks) < 0) {
        return false;
    }
    vamp_task_table_init(out, tasks->period_ns);
    out->evictions = tasks->evictions;
    out->used = MIN(tasks->nr, VAMP_TASKS_PER_VCPU);
    for (uint32_t i = 0; i < out->used; i++) {
        const struct kvm_vamp_load *load = &tasks->load[i];
        struct vamp_task_slot *slot = &out->slot[i];

        slot->task = load->task;
        slot->last_ns = load->last_ns;
        slot->run.epoch = load->epoch;
        memcpy(slot->run.ns, load->ns, sizeof(slot->run.ns));
    }
    return true;
}

bool vamp_kvm_vcpu(CPUState *cpu, VampKvmVcpu *out)
{
    struct kvm_vamp_vcpu_status status = { .vcpu = kvm_arch_vcpu_id(cpu) };

    if (kvm_vm_ioctl(kvm_state, KVM_VAMP_VCPU, &status) < 0) {
        return false;
    }
    out->task = status.task;
    out->vclass = MIN(status.vclass, VAMP_CLASS_BACKGROUND);
    out->boosted = status.flags & KVM_VAMP_V_BOOSTED;
    out->foreign = status.flags & KVM_VAMP_V_FOREIGN;
    out->switches = status.switches;
    out->samples = status.samples;
    out->weight_changes = status.weight_changes;
    return true;
}

QEMU_BUILD_BUG_ON(VAMP_SOUND_RANGES != KVM_VAMP_SOUND_RANGES);
QEMU_BUILD_BUG_ON(VAMP_SOUND_IRQS != KVM_VAMP_SOUND_IRQS);
QEMU_BUILD_BUG_ON(VAMP_WAKEUP_ALL != KVM_VAMP_WAKEUP_ALL);

static void name_devices(const VampSoundDevices *devices,
                         struct kvm_vamp_sound *out)
{
    out->nr_ranges = devices->nr_ranges;
    for (unsigned i = 0; i < devices->nr_ranges; i++) {
        const VampSoundRange *r = &devices->range[i];

        out->range[i].addr = r->addr;
        out->range[i].len = r->len;
        out->range[i].space = r->pio ? KVM_VAMP_SPACE_PIO
                                     : KVM_VAMP_SPACE_MMIO;
    }
    out->nr_irqs = devices->nr_irqs;
    for (unsigned i = 0; i < devices->nr_irqs; i++) {
        const VampSoundIrq *irq = &devices->irq[i];

        out->irq[i].kind = irq->msi ? KVM_VAMP_IRQ_MSI : KVM_VAMP_IRQ_GSI;
        out->irq[i].gsi = irq->gsi;
        out->irq[i].address = irq->address;
        out->irq[i].data = irq->data;
    }
}

bool vamp_kvm_sound(const VampSoundDevices *devices, unsigned mode,
                    Error **errp)
{
    struct kvm_vamp_sound sound = {
        .mode = mode,
        .flags = KVM_VAMP_SOUND_REDIRECT,
    };
    int ret;

    if (devices) {
        name_devices(devices, &sound);
    } else {
        memset(&sound, 0, sizeof(sound));
    }
    if (!memcmp(&sound, &vamp.sound, sizeof(sound)) && devices) {
        return true;
    }
    ret = kvm_vm_ioctl(kvm_state, KVM_VAMP_SOUND, &sound);
    if (ret < 0) {
        memset(&sound, 0, sizeof(sound));
        kvm_vm_ioctl(kvm_state, KVM_VAMP_SOUND, &sound);
        vamp.sound = sound;
        if (ret == -ENOTTY || ret == -EINVAL) {
            error_setg(errp, "the companion modules are older than this QEMU "
                       "and know no sound devices like these (package "
                       "vamp-dkms of its version)");
        } else {
            error_setg_errno(errp, -ret, "KVM's companion modules refuse the "
                             "sound devices");
        }
        return false;
    }
    vamp.sound = sound;
    return true;
}

bool vamp_kvm_sound_status(VampKvmSound *out)
{
    struct kvm_vamp_sound_status s;

    if (kvm_vm_ioctl(kvm_state, KVM_VAMP_SOUND_STATUS, &s) < 0 ||
        !s.nr_ranges) {
        return false;
    }
    *out = (VampKvmSound) {
        .audio_task = s.audio_task,
        .driver = s.driver,
        .playing = s.playing,
        .hidden = s.flags & KVM_VAMP_SOUND_HIDDEN,
        .posted = s.flags & KVM_VAMP_SOUND_POSTED,
        .accesses = s.accesses,
        .handled = s.handled,
        .irqs = s.irqs,
        .ipis = s.ipis,
        .wakeups = s.woken + s.woken_by_sound,
        .redirected = s.redirected,
        .fixed = s.fixed,
    };
    return true;
}

char *vamp_kvm_tracking(void)
{
    g_autofree struct kvm_vamp_status *status =
        g_new0(struct kvm_vamp_status, 1);

    status_read(status);
    switch (status->tracking) {
    case KVM_VAMP_T_SAMPLE:
        return g_strdup("by samples until a plan needs more");
    case KVM_VAMP_T_EXACT:
        return g_strdup("exact while the plan is in force");
    case KVM_VAMP_T_SAMPLE_KPTI:
        return g_strdup("by samples, because the guest isolates its page "
                        "tables, and exact tracking would cost an exit per "
                        "system call");
    case KVM_VAMP_T_PROTECTED:
        return g_strdup("not at all, because the guest's registers are "
                        "encrypted");
    case KVM_VAMP_T_FAULT:
        return g_strdup_printf("not at all, after a fault: %.*s",
                               (int)sizeof(status->fault), status->fault);
    default:
        return g_strdup("not at all, it is off");
    }
}
