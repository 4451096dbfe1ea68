/*
 * VAMP: the guest's own names of its tasks, which KVM's companion modules keep
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm_vamp.h>
#include "qapi/error.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "hw/vamp/kvm.h"

QEMU_BUILD_BUG_ON(KVM_VAMP_MAX_NAMES != ARRAY_SIZE(((VampKvmNames *)0)->name));
QEMU_BUILD_BUG_ON(KVM_VAMP_NAME_LEN != sizeof(((VampKvmName *)0)->name));

bool vamp_kvm_names_offer(bool on, Error **errp)
{
    struct kvm_vamp_pv_config cfg = { .flags = on ? KVM_VAMP_PV_OFFER : 0 };
    int ret = kvm_vm_ioctl(kvm_state, KVM_VAMP_PV, &cfg);

    if (ret == -ENOTTY || ret == -EINVAL) {
        error_setg(errp, "the companion modules are older than this QEMU");
    } else if (ret < 0) {
        error_setg_errno(errp, -ret, "KVM's companion modules refuse to offer "
                         "it");
    }
    return ret >= 0;
}

/* The modules have done so; but what is shown to people is checked here. */
static void copy_name(VampKvmName *out, const struct kvm_vamp_name *in)
{
    out->task = in->task;
    out->id = in->pid;
    memcpy(out->name, in->name, sizeof(out->name));
    out->name[sizeof(out->name) - 1] = 0;
    for (char *c = out->name; *c; c++) {
        if (!g_ascii_isprint(*c)) {
            *c = '?';
        }
    }
}

bool vamp_kvm_names(VampKvmNames *out)
{
    g_autofree struct kvm_vamp_names *names = g_new0(struct kvm_vamp_names, 1);

    if (kvm_vm_ioctl(kvm_state, KVM_VAMP_NAMES, names) < 0) {
        return false;
    }
    out->vcpus = names->vcpus;
    out->refused = names->refused;
    out->torn = names->torn;
    out->lost = names->lost;
    out->nr = MIN(names->nr, ARRAY_SIZE(out->name));
    for (unsigned i = 0; i < out->nr; i++) {
        copy_name(&out->name[i], &names->name[i]);
    }
    return true;
}
