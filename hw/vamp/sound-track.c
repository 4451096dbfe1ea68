/*
 * VAMP: the guest task that plays, as KVM's companion modules find it
 *
 * They are told where the sound devices are; the task that they find is the
 * policy's audio task, which is never in the background. QEMU itself cannot
 * find it: what wakes whom happens between its vCPUs, in the kernel.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/core/cpu.h"
#include "hw/vamp/kvm.h"
#include "hw/vamp/sound-devices.h"
#include "vamp-int.h"
#include "trace.h"

void vamp_sound_devices_free(VampSoundDevices *devices)
{
    if (devices) {
        g_clear_pointer(&devices->names, g_ptr_array_unref);
        g_free(devices->left_out);
        g_free(devices);
    }
}

static void set_reason(VampPolicy *p, char *reason)
{
    g_free(p->track_reason);
    p->track_reason = reason;
}

static void forget_devices(VampPolicy *p)
{
    g_clear_pointer(&p->track_devices, g_strfreev);
}

/* NULL, or why the task that plays cannot be found; to be freed. */
static char *hindrance(VampPolicy *p)
{
    const char *kvm;

    if (!p->wakeup_track) {
        return g_strdup("wakeup-track is 0");
    }
    if (p->audio_wanted == ON_OFF_AUTO_OFF) {
        return g_strdup("audio is off");
    }
    if (p->tracker == VAMP_TRACKER_KVM || vamp_actuator_by_plan(p)) {
        return NULL;
    }
    kvm = vamp_kvm_unavailable();
    return g_strdup_printf("only KVM's companion modules can: %s",
                           kvm ?: "neither tracker nor actuator is kvm");
}

static void set_audio_task(VampPolicy *p, uint64_t task)
{
    if (task != p->core->audio_task) {
        trace_vamp_audio_task(task);
        vamp_policy_set_audio_task(p->core, task);
    }
}

static void stop(VampPolicy *p, char *reason)
{
    if (p->tracking) {
        vamp_kvm_sound(NULL, 0, NULL);
        p->tracking = false;
    }
    forget_devices(p);
    set_reason(p, reason);
    set_audio_task(p, VAMP_TASK_UNKNOWN);
}

/* What the modules say of the devices that they know. False: they are off. */
static bool note_player(VampPolicy *p, VampKvmSound *found)
{
    if (!vamp_kvm_sound_status(found)) {
        stop(p, g_strdup("the companion modules have turned themselves off "
                         "(the tracker's reason says why)"));
        return false;
    }
    set_audio_task(p, found->audio_task);
    return true;
}

/* @unused: as vamp_phase_recheck() wants it */
static void look(VampPolicy *p, unsigned unused)
{
    g_autoptr(VampSoundDevices) devices = NULL;
    char *why = hindrance(p);
    VampKvmSound found;
    Error *err = NULL;

    if (why) {
        stop(p, why);
        return;
    }
    devices = vamp_sound_devices_find();
    if (!devices->names->len) {
        stop(p, devices->left_out ? g_strdup(devices->left_out)
                                  : g_strdup("the machine has no PCI sound "
                                             "device"));
        return;
    }
    if (!vamp_kvm_sound(devices, p->wakeup_track, &err)) {
        stop(p, g_strdup(error_get_pretty(err)));
        error_free(err);
        return;
    }
    if (!p->tracking) {
        trace_vamp_sound_devices(devices->nr_ranges, devices->nr_irqs);
    }
    p->tracking = true;
    if (!note_player(p, &found)) {
        return;
    }
    forget_devices(p);
    g_ptr_array_add(devices->names, NULL);
    p->track_devices = (char **)g_ptr_array_free(
        g_steal_pointer(&devices->names), FALSE);
    set_reason(p, g_strdup_printf("the modules see %u ranges of registers and "
                                  "%u interrupts%s%s%s%s", devices->nr_ranges,
                                  devices->nr_irqs,
                                  devices->left_out ? "; " : "",
                                  devices->left_out ?: "",
                                  found.hidden ? "; the processor delivers "
                                  "interrupts between vCPUs itself (AVIC, IPI "
                                  "virtualization), so wake-ups may go unseen"
                                  : "",
                                  found.posted ? "; the IOMMU posts interrupts "
                                  "of assigned devices, which so go unseen"
                                  : ""));
}

/*
 * The user waits: who plays is one ioctl. To look for the devices, through the
 * whole machine with the BQL, takes 700,000 instructions: the recheck does.
 */
void vamp_sound_track(VampPolicy *p)
{
    VampKvmSound found;
    char *why;

    if (!p->tracking) {
        return;
    }
    why = hindrance(p);
    if (why) {
        stop(p, why);
    } else {
        note_player(p, &found);
    }
}

void vamp_sound_track_recheck(VampPolicy *p)
{
    vamp_phase_recheck(p, look, 0);
}

void vamp_sound_track_fini(VampPolicy *p)
{
    /* The modules forget the devices with the VM's configuration. */
    p->tracking = false;
    forget_devices(p);
    set_reason(p, NULL);
}

static int vcpu_of(VampPolicy *p, int arch_id)
{
    for (unsigned i = 0; arch_id >= 0 && i < p->max_vcpus; i++) {
        CPUState *cpu = p->vcpu[i].cpu;

        if (cpu && cpu->cc->get_arch_id(cpu) == arch_id) {
            return i;
        }
    }
    return -1;
}

static char *task_text(uint64_t task)
{
    return task == VAMP_TASK_UNKNOWN ? NULL
                                     : g_strdup_printf("0x%" PRIx64, task);
}

VampSoundTracking *vamp_sound_track_info(VampPolicy *p)
{
    VampSoundTracking *info = g_new0(VampSoundTracking, 1);
    const struct vamp_hint_task *known;
    VampKvmSound s;

    vamp_sound_track_recheck(p);
    info->active = p->tracking;
    info->mode = p->wakeup_track;
    info->reason = g_strdup(p->track_reason);
    if (!p->tracking || !vamp_kvm_sound_status(&s)) {
        return info;
    }
    info->has_devices = true;
    for (int i = g_strv_length(p->track_devices) - 1; i >= 0; i--) {
        QAPI_LIST_PREPEND(info->devices, g_strdup(p->track_devices[i]));
    }
    info->task = task_text(s.audio_task);
    known = s.audio_task ? vamp_guest_task(s.audio_task) : NULL;
    info->name = known ? g_strdup(known->name) : NULL;
    info->driver = task_text(s.driver);
    info->playing_vcpu = vcpu_of(p, s.playing);
    info->has_playing_vcpu = info->playing_vcpu >= 0;
    info->has_accesses = info->has_handled = info->has_interrupts = true;
    info->accesses = s.accesses;
    info->handled = s.handled;
    info->interrupts = s.irqs;
    info->has_ipis = info->has_wakeups = true;
    info->ipis = s.ipis;
    info->wakeups = s.wakeups;
    info->has_redirected = info->has_fixed = true;
    info->redirected = s.redirected;
    info->fixed = s.fixed;
    return info;
}
