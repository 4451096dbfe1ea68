/*
 * VAMP task trackers: which guest task runs on a vCPU
 *
 * A tracker calls vamp_recorder_switch() or vamp_recorder_sample() on the
 * vCPU's own thread. The recorder keeps the account; the policy takes copies.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_TRACKER_H
#define HW_VAMP_TRACKER_H

#include "qemu/seqlock.h"
#include "core/load.h"

/*
 * What ran on one vCPU. Written only by the vCPU's thread, which never waits:
 * under an overload it may lose the CPU at any point, and nobody must be
 * held up by that.
 */
typedef struct VampRecorder {
    bool enabled;           /* atomic; false: calls are ignored */
    QemuSeqLock seq;
    uint64_t task;          /* runs now; atomic */
    uint64_t since_ns;      /* charged until here: host time */
    uint64_t cpu_ns;        /* charged until here: CPU time of the thread */
    uint64_t switches;
    uint64_t samples;
    struct vamp_task_table table;
} VampRecorder;

/*
 * Empties the recorder and enables it. The vCPU's thread, or any while
 * that thread cannot call the others.
 */
void vamp_recorder_start(VampRecorder *rec, uint64_t period_ns);

/*
 * The vCPU loads the page table of @task. vCPU thread.
 * Returns true if this is another task than before.
 */
bool vamp_recorder_switch(VampRecorder *rec, uint64_t task);

/*
 * The vCPU was seen running @task; the CPU time since the last sample goes to
 * it. vCPU thread, also in a signal handler. Returns true if it is another
 * task than at the last sample.
 */
bool vamp_recorder_sample(VampRecorder *rec, uint64_t task);

/*
 * Copies the table to @out, with what has not been charged yet: CPU time
 * until @cpu_ns (the thread's total), host time until @now. Any thread but
 * the vCPU's.
 * Returns false, @out unchanged, when the vCPU's thread did not finish an
 * update in time (it has lost its CPU in the middle of one).
 */
bool vamp_recorder_copy(VampRecorder *rec, uint64_t now, uint64_t cpu_ns,
                        struct vamp_task_table *out);

/* --- implemented by accel/tcg/vamp-tcg.c and accel/kvm/vamp-sample.c ------ */

/* NULL if the tracker works here, else why not (constant text). Main loop. */
const char *vamp_tcg_unavailable(void);
const char *vamp_sample_unavailable(void);

/*
 * The tracker takes vCPU @cpu. Returns at once; the vCPU's thread does the
 * rest when it next leaves the guest. Main loop.
 */
void vamp_tcg_start(CPUState *cpu);
void vamp_sample_start(CPUState *cpu);

/*
 * The VM goes on, maybe with other registers (incoming migration, loadvm):
 * which task is it? Returns at once. Main loop.
 */
void vamp_tcg_look(CPUState *cpu);

/*
 * The tracker leaves vCPU @cpu. When this returns the vCPU's thread will not
 * call the policy again. Drops the BQL while it waits for the thread. Main
 * loop.
 */
void vamp_tcg_stop(CPUState *cpu);
void vamp_sample_stop(CPUState *cpu);

/* The same when the vCPU's thread has ended (unplug). Main loop. */
void vamp_tcg_gone(CPUState *cpu);
void vamp_sample_gone(CPUState *cpu);

/* --- called by them, on the vCPU's own thread ---------------------------- */

/* Events follow; the account begins empty. */
void vamp_tracker_begin(int cpu_index);

/* No event follows. */
void vamp_tracker_end(int cpu_index);

/*
 * Guest task @task begins (@sample false) or was seen (true). Without a lock,
 * also in a signal handler.
 */
void vamp_tracker_event(int cpu_index, uint64_t task, bool sample);

#endif /* HW_VAMP_TRACKER_H */
