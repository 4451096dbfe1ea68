/*
 * The simulated host: reading the plan
 *
 * One word list a line; lab/sim.py writes it, from a scenario that
 * lab/scenario.py has checked. So this only refuses what would make the
 * result wrong.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lab.h"

static const char *const policies[] = {
    [LAB_STOCK] = "stock",
    [LAB_NICE] = "nice",
    [LAB_CGROUP_RATIO] = "cgroup",
    [LAB_BROKER_RR] = "broker",
};

static bool read_policy(const char *line, struct lab_plan *plan)
{
    char name[LAB_NAME_LEN];

    if (sscanf(line, "policy %31s", name) == 1) {
        for (unsigned i = 0; i < sizeof(policies) / sizeof(*policies); i++) {
            if (!strcmp(name, policies[i])) {
                plan->policy = i;
                return true;
            }
        }
    }
    return false;
}

static bool read_vm(const char *line, struct lab_plan *plan)
{
    struct lab_vm_plan *vm = &plan->vm[plan->nr_vms];
    unsigned vamp;

    if (plan->nr_vms == LAB_VMS_MAX ||
        sscanf(line, "vm %31s %u %u %u", vm->name, &vm->id, &vm->weight,
               &vamp) != 4) {
        return false;
    }
    vm->vamp = vamp;
    plan->nr_vms++;
    return true;
}

static bool read_thread(const char *line, struct lab_plan *plan)
{
    struct lab_vm_plan *vm = &plan->vm[plan->nr_vms - 1];
    struct lab_thread_plan *t;

    if (!plan->nr_vms || vm->nr_threads == LAB_THREADS_MAX) {
        return false;
    }
    t = &vm->thread[vm->nr_threads++];
    if (sscanf(line, "hog %u %" SCNu64 " %" SCNu64, &t->id,
               &t->sleep_from_ns, &t->sleep_to_ns) == 3) {
        t->kind = LAB_HOG;
        return true;
    }
    t->kind = LAB_INTERACTIVE;
    return sscanf(line, "interactive %u %" SCNu64 " %" SCNu64 " %" SCNu64
                  " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                  " %u %" SCNu64,
                  &t->id, &t->interval_ns.lo, &t->interval_ns.hi,
                  &t->cpu_ns.lo, &t->cpu_ns.hi, &t->bursts.lo, &t->bursts.hi,
                  &t->pause_ns.lo, &t->pause_ns.hi, &t->runaway_every,
                  &t->runaway_cpu_ns) == 11;
}

static bool read_line(const char *line, struct lab_plan *plan)
{
    return sscanf(line, "seed %" SCNu64, &plan->seed) == 1 ||
           sscanf(line, "cpus %u", &plan->cpus) == 1 ||
           sscanf(line, "ratio %u", &plan->ratio) == 1 ||
           sscanf(line, "warmup %" SCNu64, &plan->warmup_ns) == 1 ||
           sscanf(line, "measure %" SCNu64, &plan->measure_ns) == 1 ||
           sscanf(line, "sample %" SCNu64, &plan->sample_ns) == 1 ||
           read_policy(line, plan) || read_vm(line, plan) ||
           read_thread(line, plan);
}

void lab_plan_read(const char *path, struct lab_plan *plan)
{
    FILE *f = fopen(path, "re");
    char line[512];

    if (!f) {
        lab_die("%s cannot be opened", path);
    }
    while (fgets(line, sizeof(line), f)) {
        if (!read_line(line, plan)) {
            line[strcspn(line, "\n")] = '\0';
            lab_die("%s: not understood: '%s'", path, line);
        }
    }
    fclose(f);
    if (!plan->nr_vms || !plan->sample_ns || !plan->measure_ns) {
        lab_die("%s is not complete", path);
    }
}
