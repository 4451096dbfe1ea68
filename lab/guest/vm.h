/*
 * A model VM: what its threads share
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_LAB_VM_H
#define VAMP_LAB_VM_H

#include "core/policy.h"
#include "lab.h"

/*
 * What a policy does to a VM's threads. One of these belongs to the process;
 * every function runs in the VM's main thread and dies on an error.
 */
struct vm_actuator {
    /* All threads are there. @tid: of each vCPU. */
    void (*attach)(const struct lab_plan *plan, const struct lab_vm_plan *vm,
                   const pid_t *tid);
    /* Only on a change, as QEMU does it. */
    void (*apply)(unsigned vcpu, enum vamp_class vclass);
    /* An interactive vCPU runs at once. */
    bool boosts;
};

extern const struct vm_actuator vm_actuator_none;
extern const struct vm_actuator vm_actuator_nice;
extern const struct vm_actuator vm_actuator_cgroup;
extern const struct vm_actuator vm_actuator_broker;

/*
 * The policy of core/, driven as hw/vamp drives it without a task tracker.
 * Main thread only.
 */
void vm_phase_init(const struct lab_plan *plan, const struct lab_vm_plan *vm,
                   const pid_t *tid);
/* Input has come. Returns whether it began or renewed a phase. */
bool vm_phase_input(void);
/* When vm_phase_timer() wants to be called. */
uint64_t vm_phase_deadline(void);
void vm_phase_timer(void);

#endif /* VAMP_LAB_VM_H */
