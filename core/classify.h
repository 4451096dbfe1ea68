/*
 * Who is in the background: the plan that a phase begins with
 *
 * Private to core/.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_CLASSIFY_H
#define VAMP_CORE_CLASSIFY_H

#include "policy.h"

/* CPU time of one task on one vCPU, or, once merged, on all. */
struct vamp_classify_entry {
    uint64_t task;
    uint64_t ns;
};

/* Bytes of scratch space that @max_vcpus vCPUs need behind their array. */
size_t vamp_classify_scratch_size(uint32_t max_vcpus);

/*
 * Computes the loads in the window before @now and sets phase, reason, by_task,
 * background list, vCPU classes and vm_permille of @p. @tables: see
 * vamp_policy_begin().
 */
void vamp_classify(struct vamp_policy *p, uint64_t now,
                   const struct vamp_task_table *const *tables);

/*
 * The same by the guest's word: see vamp_policy_begin_hinted().
 */
void vamp_classify_hinted(struct vamp_policy *p, uint64_t now,
                          const struct vamp_hinted *hinted);

/* The plan by the guest's word alone; the VM's load is enough for one. */
void vamp_classify_rehint(struct vamp_policy *p,
                          const struct vamp_hinted *hinted);

/* Did the VM so little before the phase that there is nothing to plan? */
bool vamp_classify_low_load(const struct vamp_policy *p);

/* No plan: nothing in the background, every vCPU neutral. */
void vamp_classify_clear(struct vamp_policy *p);

/* Takes @task out of the plan. */
void vamp_classify_exempt(struct vamp_policy *p, uint64_t task);

/*
 * After something left the plan: a mixed phase needs something in the
 * background and something that is not.
 */
void vamp_classify_settle(struct vamp_policy *p);

#endif /* VAMP_CORE_CLASSIFY_H */
