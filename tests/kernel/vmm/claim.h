/*
 * Claims: a function each, by subject
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CLAIM_H
#define CLAIM_H

#include "vm.h"

struct claim {
    const char *name;           /* a word, for the command line */
    const char *text;           /* what is claimed */
    void (*try)(void);
};

/* By file; each ends with an empty one. */
extern const struct claim claims_api[], claims_exact[], claims_load[],
    claims_weight[], claims_phase[], claims_boost[], claims_life[],
    claims_cost[], claims_pv[], claims_sound[], claims_nested[];

/* Ends the program: the claim is wrong in this way, or cannot be tried. */
void fail(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));
void skip(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));

/* A line that explains. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define check(condition, ...)   \
    do {                        \
        if (!(condition)) {     \
            fail(__VA_ARGS__);  \
        }                       \
    } while (0)

/* Looks again for up to 20 s. */
#define eventually(condition, ...)                      \
    do {                                                \
        uint64_t until_ = now_ns() + 20000 * NS_PER_MS; \
                                                        \
        while (!(condition)) {                          \
            check(now_ns() < until_, __VA_ARGS__);      \
            sleep_ms(5);                                \
        }                                               \
    } while (0)

/* Writes a parameter of kvm.ko. */
void parameter(const char *name, int value);

/* --- the module's calls --------------------------------------------------- */

/* On, for MAX_CPUS vCPUs, ratio 3, with @flags beside ENABLE. */
struct kvm_vamp_config config(uint32_t flags);

/* -errno or 0 */
int try_ioctl(struct vm *vm, unsigned long request, const void *arg);

/* These must succeed. */
void set(struct vm *vm, const struct kvm_vamp_config *cfg);
void turn_on(struct vm *vm, uint32_t flags);
void turn_off(struct vm *vm);
void event(struct vm *vm, uint32_t kind);
/* A mixed phase with this one background task, 0: none more. */
void plan(struct vm *vm, uint64_t background, unsigned int ms);
struct kvm_vamp_status status(struct vm *vm);
struct kvm_vamp_vcpu_status vcpu_status(struct vm *vm, int id);
void tasks(struct vm *vm, int id, struct kvm_vamp_tasks *t);

#endif /* CLAIM_H */
