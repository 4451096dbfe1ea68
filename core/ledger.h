/*
 * The ledger: who used more CPU time than was fair, and how it is paid back
 *
 * An interactive vCPU that runs at once borrows CPU time from the other VMs of
 * the host. Each VM has an account: what it used, what it was entitled to, and
 * the difference, its debt. The debt moves the VM's weight until it is paid;
 * a VM that owes too much may not borrow more (the guard).
 *
 * Entitled means max-min fair by demand: the CPU time that all accounts
 * together got is shared by weight, but nobody is entitled to more than it
 * wanted; what it leaves is shared among the rest. So debts of all accounts
 * sum up to nothing, an idle VM earns no credit, and a host that is not full
 * makes no debts.
 *
 * Pure: the caller measures, and applies what comes out. All times are
 * nanoseconds. The caller serialises. The formula and its constants:
 * shared/research/scheduling.md, "The recommended actuator".
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_LEDGER_H
#define VAMP_CORE_LEDGER_H

#include "port.h"

#define VAMP_LEDGER_PPM         1000000u

struct vamp_ledger_config {
    uint32_t ncpu;              /* host CPUs that the accounts share, > 0 */
    /*
     * A debt is to be paid in about this time; at least two steps, or what is
     * paid in one of them is more than is owed.
     */
    uint64_t pay_ns;
    /*
     * The promise is a fair share over this time, within some percent. The
     * guard closes at guard_on_ppm of what is fair in it, and opens at
     * guard_off_ppm; neither is below guard_min_ns: one answer to a key.
     */
    uint64_t window_ns;
    uint32_t guard_on_ppm;
    uint32_t guard_off_ppm;
    uint64_t guard_min_ns;
    uint64_t forget_ns;         /* so fast goes the credit of who has enough */
    uint32_t share_min_ppm;     /* limits of the share that pays a debt */
    uint32_t share_max_ppm;
};

/* One VM. Initialise with vamp_account_init(). */
struct vamp_account {
    /* The caller's, before each step: of the time since the last step */
    uint64_t used_ns;           /* CPU time it got */
    /*
     * Its threads were runnable and did not run. The kernel books a thread's
     * run delay when the wait is over: one that has not run since the last
     * step, and is runnable, waited all the time. It is counted now, and taken
     * off what the kernel books later.
     */
    uint64_t waited_ns;
    uint64_t weight;            /* the administrator's, 1..2^20 */
    bool regulated;             /* its weight is ours to move */

    /* The result of a step */
    int64_t debt_ns;
    uint64_t entitled_ns;       /* of this step */
    uint32_t fair_ppm;          /* its fair share of all CPUs, if it wants it */
    /*
     * The weight to give it now, in 1/1024 of the administrator's units (a
     * kernel's scale may be coarse); never 0.
     */
    uint64_t weight_1024;
    bool guard;                 /* it may not borrow */

    /* Sums over all steps */
    uint64_t total_used_ns;
    uint64_t total_entitled_ns;
    uint64_t guards;            /* times that the guard closed */

    /* Private */
    uint64_t want_ns;           /* of this step */
    bool full;                  /* this step gives it all it wants */
    bool contended;             /* somebody waited in this step */
};

void vamp_ledger_config_default(struct vamp_ledger_config *cfg, uint32_t ncpu);

void vamp_account_init(struct vamp_account *a, uint64_t weight,
                       bool regulated);

/*
 * Before a step of @step_ns: @a used @used_ns and waited @waited_ns in the last
 * @dt_ns. More than a step: an account that seemed to be idle was left out for
 * some steps. Only the part of the last one is booked: all of it would look as
 * if it had taken in one step what it got in several, and who has just woken
 * would be in debt for its fair share. To the rest it was entitled.
 */
void vamp_account_book(struct vamp_account *a, uint64_t used_ns,
                       uint64_t waited_ns, uint64_t dt_ns, uint64_t step_ns);

/*
 * A time of @dt_ns has passed: brings @n accounts up to date. An account that
 * comes starts with nothing; of one that goes, vamp_ledger_leave() hands its
 * debt or credit to those that stay, so that the sum remains zero.
 */
void vamp_ledger_step(struct vamp_account *const *accounts, uint32_t n,
                      uint64_t dt_ns, const struct vamp_ledger_config *cfg);

/* Account @gone is no longer among the @n @accounts. */
void vamp_ledger_leave(struct vamp_account *const *accounts, uint32_t n,
                       const struct vamp_account *gone);

/*
 * Between two steps: @a used @used_ns in the @dt_ns since the last one. Closes
 * the guard in time if that is more than it may borrow; true if it has just
 * been closed. A longer look at all accounts is what opens it.
 */
bool vamp_ledger_peek(struct vamp_account *a, uint64_t used_ns, uint64_t dt_ns,
                      const struct vamp_ledger_config *cfg);

/*
 * Is there nothing to pay? Then, while nobody borrows, the caller may look
 * less often.
 */
bool vamp_ledger_settled(const struct vamp_account *const *accounts,
                         uint32_t n, const struct vamp_ledger_config *cfg);

#endif /* VAMP_CORE_LEDGER_H */
