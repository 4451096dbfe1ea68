/*
 * VAMP actuator "kvm": the companion modules set the weights
 *
 * They get the plan, not the classes: at each task switch inside the kernel
 * the vCPU's thread gets the nice value of the task. Needs no privilege, since
 * the modules only ever put a thread back to what they found.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "hw/vamp/actuator.h"
#include "hw/vamp/kvm.h"
#include "hw/vamp/probe-util.h"

typedef struct VampActuatorKvm {
    VampActuator parent;
    unsigned max_vcpus;
    pid_t tid[];                /* 0: not attached */
} VampActuatorKvm;

static bool kvm_probe(const VampHostPaths *paths, const pid_t *tids, unsigned n,
                      Error **errp)
{
    const char *hindrance = vamp_kvm_unavailable();

    if (hindrance) {
        error_setg(errp, "%s", hindrance);
        return false;
    }
    return vamp_threads_check(tids, n, errp) &&
           vamp_nice_matters(paths, tids, n, errp);
}

static VampActuator *kvm_open(const VampHostPaths *paths, unsigned max_vcpus,
                              unsigned ratio, Error **errp)
{
    VampActuatorKvm *a;

    if (!vamp_kvm_weights(ratio, errp)) {
        return NULL;
    }
    a = g_malloc0(sizeof(*a) + max_vcpus * sizeof(a->tid[0]));
    a->parent.klass = &vamp_actuator_kvm;
    a->max_vcpus = max_vcpus;
    return &a->parent;
}

static bool kvm_attach(VampActuator *act, unsigned vcpu, pid_t tid,
                       Error **errp)
{
    VampActuatorKvm *a = container_of(act, VampActuatorKvm, parent);
    int nice;

    assert(vcpu < a->max_vcpus);
    if (!vamp_thread_nice(tid, &nice, errp)) {
        return false;
    }
    if (nice == VAMP_NICE_MAX) {
        error_setg(errp, "thread %d of vCPU %u already has nice %d, so nothing "
                   "can be further back (18 or less would be needed)",
                   (int)tid, vcpu, nice);
        return false;
    }
    a->tid[vcpu] = tid;
    return true;
}

static void kvm_detach(VampActuator *act, unsigned vcpu)
{
    VampActuatorKvm *a = container_of(act, VampActuatorKvm, parent);

    a->tid[vcpu] = 0;
}

static bool kvm_set_ratio(VampActuator *act, unsigned ratio, Error **errp)
{
    return vamp_kvm_weights(ratio, errp);
}

static void kvm_describe(VampActuator *act, unsigned vcpu, VampActuation *out)
{
    VampActuatorKvm *a = container_of(act, VampActuatorKvm, parent);

    memset(out, 0, sizeof(*out));
    if (vcpu < a->max_vcpus && a->tid[vcpu]) {
        out->has_nice = vamp_thread_nice(a->tid[vcpu], &out->nice, NULL);
    }
}

static void kvm_close(VampActuator *act)
{
    Error *err = NULL;

    if (act && !vamp_kvm_weights(0, &err)) {
        warn_reportf_err(err, "vamp: ");
    }
    g_free(act);
}

const VampActuatorClass vamp_actuator_kvm = {
    .name = "kvm",
    .probe = kvm_probe,
    .open = kvm_open,
    .attach = kvm_attach,
    .detach = kvm_detach,
    .set_ratio = kvm_set_ratio,
    .describe = kvm_describe,
    .close = kvm_close,
};
