/*
 * Claims about the companion modules, tried with a guest of our own
 *
 *   vmm --list     name and text of each claim
 *   vmm NAME       tries one: exit status 0, 1 wrong, 77 cannot be tried here
 *
 * A process tries one claim, so that what it leaves is seen when it is gone.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "claim.h"

static const struct claim *const all[] = {
    claims_api, claims_exact, claims_load, claims_weight, claims_phase,
    claims_boost, claims_life, claims_cost, claims_pv, claims_sound,
    claims_nested,
};

#define SAY(prefix, status)             \
    do {                                \
        va_list args_;                  \
                                        \
        fputs(prefix, stdout);          \
        va_start(args_, format);        \
        vprintf(format, args_);         \
        va_end(args_);                  \
        printf("\n");                   \
        fflush(stdout);                 \
        if ((status) >= 0) {            \
            _exit(status);              \
        }                               \
    } while (0)

void fail(const char *format, ...)
{
    SAY("# ", 1);
    abort();
}

void skip(const char *format, ...)
{
    SAY("", 77);
    abort();
}

void note(const char *format, ...)
{
    SAY("# ", -1);
}

void parameter(const char *name, int value)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "/sys/module/kvm/parameters/%s", name);
    f = fopen(path, "w");
    check(f && fprintf(f, "%d", value) > 0 && !fclose(f), "%s cannot be written",
          path);
}

struct kvm_vamp_config config(uint32_t flags)
{
    return (struct kvm_vamp_config) {
        .version = KVM_VAMP_VERSION,
        .flags = KVM_VAMP_F_ENABLE | flags,
        .nr_vcpus = MAX_CPUS,
        .ratio = 3,
        .bg_percent = 50,
        .max_phase_ms = 5000,
        .period_ms = 32,
    };
}

int try_ioctl(struct vm *vm, unsigned long request, const void *arg)
{
    return ioctl(vm->fd, request, arg) < 0 ? -errno : 0;
}

static void must(struct vm *vm, unsigned long request, const void *arg,
                 const char *name)
{
    int ret = try_ioctl(vm, request, arg);

    check(!ret, "%s: %s", name, strerror(-ret));
}

void set(struct vm *vm, const struct kvm_vamp_config *cfg)
{
    must(vm, KVM_VAMP_SET, cfg, "KVM_VAMP_SET");
}

void turn_on(struct vm *vm, uint32_t flags)
{
    struct kvm_vamp_config cfg = config(flags);

    set(vm, &cfg);
}

void turn_off(struct vm *vm)
{
    struct kvm_vamp_config cfg = { .version = KVM_VAMP_VERSION };

    set(vm, &cfg);
}

void event(struct vm *vm, uint32_t kind)
{
    struct kvm_vamp_event e = { .kind = kind };

    must(vm, KVM_VAMP_EVENT, &e, "KVM_VAMP_EVENT");
}

void plan(struct vm *vm, uint64_t background, unsigned int ms)
{
    struct kvm_vamp_plan p = {
        .phase = background ? KVM_VAMP_PHASE_MIXED : KVM_VAMP_PHASE_NORMAL,
        .nr_tasks = background != 0,
        .until_ns = now_ns() + ms * NS_PER_MS,
        .task[0] = background,
    };

    must(vm, KVM_VAMP_PLAN, &p, "KVM_VAMP_PLAN");
}

struct kvm_vamp_status status(struct vm *vm)
{
    struct kvm_vamp_status s;

    must(vm, KVM_VAMP_STATUS, &s, "KVM_VAMP_STATUS");
    return s;
}

struct kvm_vamp_vcpu_status vcpu_status(struct vm *vm, int id)
{
    struct kvm_vamp_vcpu_status s = { .vcpu = id };

    must(vm, KVM_VAMP_VCPU, &s, "KVM_VAMP_VCPU");
    return s;
}

void tasks(struct vm *vm, int id, struct kvm_vamp_tasks *t)
{
    memset(t, 0, sizeof(*t));
    t->vcpu = id;
    must(vm, KVM_VAMP_TASKS, t, "KVM_VAMP_TASKS");
}

int main(int argc, char **argv)
{
    bool list = argc == 2 && strcmp(argv[1], "--list") == 0;
    const struct claim *c;
    size_t i;

    if (argc != 2) {
        die("usage: vmm --list | vmm NAME");
    }
    for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        for (c = all[i]; c->name; c++) {
            if (list) {
                printf("%s %s\n", c->name, c->text);
            } else if (strcmp(c->name, argv[1]) == 0) {
                c->try();
                fflush(stdout);
                /* The vCPUs' threads end with us. */
                _exit(0);
            }
        }
    }
    if (!list) {
        die("no claim %s", argv[1]);
    }
    return 0;
}
