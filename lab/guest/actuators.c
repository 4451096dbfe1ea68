/*
 * A model VM: what the policies "nice" and "cgroup" do to its threads
 *
 * The values are those of hw/vamp/actuator-nice.c and actuator-cgroup.c: both
 * take them from core/weight.c.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "core/weight.h"
#include "vm.h"

/* cgroup v2: cpu.weight */
#define WEIGHT_NEUTRAL  100
#define WEIGHT_MIN      1
#define WEIGHT_MAX      10000

static pid_t vcpu_tid[LAB_THREADS_MAX];

static void none_attach(const struct lab_plan *plan,
                        const struct lab_vm_plan *vm, const pid_t *tid)
{
}

static void none_apply(unsigned vcpu, enum vamp_class vclass)
{
}

const struct vm_actuator vm_actuator_none = { none_attach, none_apply };

/* --- nice ---------------------------------------------------------------- */

static int nice_step;

static void nice_attach(const struct lab_plan *plan,
                        const struct lab_vm_plan *vm, const pid_t *tid)
{
    memcpy(vcpu_tid, tid, vm->nr_threads * sizeof(*tid));
    nice_step = vamp_ratio_to_nice_step(plan->ratio, 0);
}

static void nice_apply(unsigned vcpu, enum vamp_class vclass)
{
    int nice = vclass == VAMP_CLASS_BACKGROUND ? nice_step : 0;

    if (setpriority(PRIO_PROCESS, (id_t)vcpu_tid[vcpu], nice) < 0) {
        lab_die("nice %d: %s", nice, strerror(errno));
    }
}

const struct vm_actuator vm_actuator_nice = { nice_attach, nice_apply };

/* --- cgroup -------------------------------------------------------------- */

static const char *vm_name;
static uint64_t weight_of[VAMP_CLASS_BACKGROUND + 1];

static const char *vcpu_file(unsigned vcpu, const char *file)
{
    static char path[128];

    snprintf(path, sizeof(path), LAB_MACHINE "/%s/vcpu%u%s%s", vm_name, vcpu,
             *file ? "/" : "", file);
    return path;
}

static void cgroup_attach(const struct lab_plan *plan,
                          const struct lab_vm_plan *vm, const pid_t *tid)
{
    char control[128];

    vm_name = vm->name;
    weight_of[VAMP_CLASS_NEUTRAL] = WEIGHT_NEUTRAL;
    if (!vamp_ratio_to_weights(plan->ratio, WEIGHT_NEUTRAL, WEIGHT_MIN,
                               WEIGHT_MAX, &weight_of[VAMP_CLASS_INTERACTIVE],
                               &weight_of[VAMP_CLASS_BACKGROUND])) {
        lab_die("no weights for ratio %u", plan->ratio);
    }
    /* All of them threaded before the first thread moves. */
    for (unsigned i = 0; i < vm->nr_threads; i++) {
        if (mkdir(vcpu_file(i, ""), 0755) < 0) {
            lab_die("%s: %s", vcpu_file(i, ""), strerror(errno));
        }
        lab_put(vcpu_file(i, "cgroup.type"), "threaded");
    }
    snprintf(control, sizeof(control), LAB_MACHINE "/%s/cgroup.subtree_control",
             vm_name);
    lab_put(control, "+cpu");
    for (unsigned i = 0; i < vm->nr_threads; i++) {
        lab_put_number(vcpu_file(i, "cgroup.threads"), tid[i]);
    }
}

static void cgroup_apply(unsigned vcpu, enum vamp_class vclass)
{
    lab_put_number(vcpu_file(vcpu, "cpu.weight"),
                   (long long)weight_of[vclass]);
}

const struct vm_actuator vm_actuator_cgroup = { cgroup_attach, cgroup_apply };
