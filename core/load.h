/*
 * Load accounting: how much CPU time went where in the last second
 *
 * Time is cut into epochs of equal length; a ring keeps the CPU time of the
 * last 32 of them. vAMP (Kim et al., VEE 2013) decides from the 31 epochs
 * before a user event what runs in the background; 32 ms an epoch make that
 * window 992 ms.
 *
 * Every time is in nanoseconds from an origin that the caller chooses and
 * keeps; it must not run backwards by more than the length of the ring. No
 * function here locks or allocates: the caller serialises access.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_LOAD_H
#define VAMP_CORE_LOAD_H

#include "port.h"

#define VAMP_EPOCHS             32
/* Complete epochs that a load is computed from; the 32nd is still filling. */
#define VAMP_WINDOW_EPOCHS      31

/* Bounds of the epoch length in ms (a power of two, as in the original). */
#define VAMP_PERIOD_MS_MIN      4
#define VAMP_PERIOD_MS_MAX      1024
#define VAMP_PERIOD_MS_DEFAULT  32

/* CPU time of one entity, by epoch. */
struct vamp_ring {
    uint64_t epoch;                 /* number of the newest epoch: t / period */
    uint32_t ns[VAMP_EPOCHS];   /* CPU time in epoch e: ns[e % 32], <= period */
};

/* Empties @ring. */
void vamp_ring_init(struct vamp_ring *ring);

/*
 * Adds @cpu_ns of CPU time, spread evenly over [@t0, @t1), to @ring.
 *
 * What lies before the ring's oldest epoch is dropped. An epoch never holds
 * more than its own length. @t1 <= @t0 puts everything into @t0's epoch.
 */
void vamp_ring_add(struct vamp_ring *ring, uint64_t period_ns,
                   uint64_t t0, uint64_t t1, uint64_t cpu_ns);

/*
 * CPU time (ns) in the VAMP_WINDOW_EPOCHS complete epochs before the epoch
 * that holds @now.
 */
uint64_t vamp_ring_sum(const struct vamp_ring *ring, uint64_t period_ns,
                       uint64_t now);

/*
 * The same as a load: per mille of one CPU, 0..1000, rounded to nearest.
 */
uint32_t vamp_ring_permille(const struct vamp_ring *ring, uint64_t period_ns,
                            uint64_t now);

/*
 * A task is a guest address space; its id is the address of its top-level
 * page table (CR3 without PCID, LAM and noflush bits). 0 stands for
 * "unknown".
 */
#define VAMP_TASK_UNKNOWN       0

/* CR3 bits that name the address space: 51..12 */
#define VAMP_CR3_TASK_MASK      0x000ffffffffff000ull

/*
 * Tasks remembered per vCPU. Classification needs tasks above a threshold of
 * tens of percent, so a few would do; 64 leave room for the many short-lived
 * ones of a compile job between two runs of a long-lived one.
 */
#define VAMP_TASKS_PER_VCPU     64

struct vamp_task_slot {
    uint64_t task;
    uint64_t last_ns;               /* when it last ran */
    struct vamp_ring run;
};

/*
 * What ran on one vCPU. Written by one thread only (the vCPU's); a reader on
 * another thread must take a copy under a sequence counter that the caller
 * provides. Plain data: copying it with an assignment is valid.
 */
struct vamp_task_table {
    uint64_t period_ns;
    uint64_t evictions;             /* tasks forgotten for lack of a slot */
    uint32_t used;                  /* slots 0..used-1 are valid */
    uint32_t hint;                  /* slot of the last charge */
    struct vamp_task_slot slot[VAMP_TASKS_PER_VCPU];
};

void vamp_task_table_init(struct vamp_task_table *table, uint64_t period_ns);

/*
 * Charges @cpu_ns of CPU time, spread over [@t0, @t1), to @task. A full table
 * forgets the task that ran longest ago. VAMP_TASK_UNKNOWN is ignored.
 */
void vamp_task_table_charge(struct vamp_task_table *table, uint64_t task,
                            uint64_t t0, uint64_t t1, uint64_t cpu_ns);

/*
 * Only the bits of @mask name a task from now on: those that differ in others
 * become one, with the sum of their loads. At most VAMP_TASKS_PER_VCPU squared
 * comparisons. The caller charges no task that has other bits any more.
 */
void vamp_task_table_mask(struct vamp_task_table *table, uint64_t mask);

#endif /* VAMP_CORE_LOAD_H */
