/*
 * The simulated host: one static program that plays every role
 *
 * PID 1 reads a plan, makes a CPU control group per VM, starts the VMs and,
 * if the plan wants it, the broker; takes a sample of every VM's CPU time at
 * a fixed period; at the end prints all that was noted. A VM is a process
 * with a main thread, as QEMU has one, and a thread per vCPU.
 *
 * All times are nanoseconds of CLOCK_MONOTONIC, or of CPU time where the name
 * says so. A mistake ends the run: lab_die() powers the machine off, and the
 * host side finds no "end" line.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_LAB_H
#define VAMP_LAB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LAB_MS              1000000ull
#define LAB_US              1000ull

/* More than any host of a scenario has; lab/scenario.py has the same limits. */
#define LAB_VMS_MAX         128
#define LAB_THREADS_MAX     16
#define LAB_NAME_LEN        32

#define LAB_CGROUP          "/sys/fs/cgroup"
#define LAB_MACHINE         LAB_CGROUP "/machine"
#define LAB_BROKER          "/broker/qemu-vamp-broker"
#define LAB_BROKER_SOCKET   "/run/vamp/broker.sock"

enum lab_policy {
    LAB_STOCK,      /* nothing is changed; an idle host is a plan of one VM */
    LAB_NICE,       /* as actuator-nice does */
    LAB_CGROUP_RATIO,   /* as actuator-cgroup does */
    LAB_BROKER_RR,  /* the broker is asked */
};

/* A closed interval from which a number is drawn. */
struct lab_range {
    uint64_t lo, hi;
};

enum lab_kind {
    LAB_HOG,
    LAB_INTERACTIVE,
};

struct lab_thread_plan {
    unsigned id;                /* in the scenario: the seed of its numbers */
    enum lab_kind kind;
    /* LAB_HOG: sleeps between these times after the start; 0, 0: never */
    uint64_t sleep_from_ns, sleep_to_ns;
    /* LAB_INTERACTIVE */
    struct lab_range interval_ns;   /* from one event to the next */
    struct lab_range cpu_ns;        /* that the answer to an event takes */
    struct lab_range bursts;        /* into which it is cut */
    struct lab_range pause_ns;      /* between two bursts: waits for a disk */
    unsigned runaway_every;         /* this many events have one... */
    uint64_t runaway_cpu_ns;        /* ... that takes so much; 0: none */
};

struct lab_vm_plan {
    char name[LAB_NAME_LEN];
    unsigned id;                /* in the scenario: the seed of its numbers */
    unsigned weight;            /* cpu.weight, 1..10000 */
    bool vamp;                  /* has a vamp-policy object */
    unsigned nr_threads;
    struct lab_thread_plan thread[LAB_THREADS_MAX];
};

struct lab_plan {
    enum lab_policy policy;
    uint64_t seed;
    unsigned cpus;
    unsigned ratio;             /* vamp-policy's */
    uint64_t warmup_ns;         /* from the start to the first sample */
    uint64_t measure_ns;        /* from there to the end */
    uint64_t sample_ns;
    unsigned nr_vms;
    struct lab_vm_plan vm[LAB_VMS_MAX];
};

/* --- what a VM notes: memory shared with PID 1, written by one thread ---- */

#define LAB_EVENTS_MAX      4096
/* An event has a wait before it and up to 15 pauses. */
#define LAB_SLEEPS_MAX      (16 * LAB_EVENTS_MAX)

struct lab_event {
    uint64_t arrival_ns;        /* when the input comes to the main thread */
    uint64_t begin_ns;          /* when the vCPU first ran for it */
    uint64_t done_ns;
    uint64_t cpu_ns;            /* what it took, in CPU time of the thread */
    /*
     * LAB_BROKER_RR: when the vCPU first found itself in a real-time class
     * after the arrival; 0: not before the end.
     */
    uint64_t rt_ns;
    bool phase;                 /* it began (or renewed) a phase */
};

/* Did not want a CPU from @from_ns to @to_ns. */
struct lab_sleep {
    uint64_t from_ns, to_ns;
};

struct lab_thread_log {
    _Atomic uint64_t cpu_ns;    /* its CPU time now, late by 1 ms at most */
    uint32_t nr_events;
    uint32_t nr_sleeps;
    struct lab_event event[LAB_EVENTS_MAX];
    struct lab_sleep sleep[LAB_SLEEPS_MAX];
};

struct lab_vm_log {
    _Atomic uint64_t main_cpu_ns;
    _Atomic bool ready;         /* all threads are there */
    struct lab_thread_log thread[LAB_THREADS_MAX];
};

/* When everything begins; set by PID 1 after all VMs are ready. */
struct lab_shared {
    _Atomic uint64_t start_ns;
    struct lab_vm_log vm[LAB_VMS_MAX];
};

/* --- util.c -------------------------------------------------------------- */

/* Prints a line "error: ..." on the results port; powers off. */
void lab_die(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));

uint64_t lab_now(void);
uint64_t lab_thread_cpu(void);
void lab_sleep_until(uint64_t t_ns);

/* Burns some microseconds, and lets the next simulated CPU have its turn. */
void lab_spin(void);

/* Writes @text to the file @path, or dies. */
void lab_put(const char *path, const char *text);
void lab_put_number(const char *path, long long value);

/* Small fast numbers that only their seed decides. */
struct lab_random {
    uint64_t state;
};

void lab_random_init(struct lab_random *r, uint64_t seed, unsigned vm,
                     unsigned thread);
uint64_t lab_random_range(struct lab_random *r, struct lab_range range);

/* --- plan.c -------------------------------------------------------------- */

/* Reads the plan at @path, which lab/sim.py has written, or dies. */
void lab_plan_read(const char *path, struct lab_plan *plan);

/* --- broker.c ------------------------------------------------------------ */

/* Asks the broker for its report and prints it, each line after "status ". */
void lab_broker_report(void);

/* --- vm.c ---------------------------------------------------------------- */

/* A VM's whole life; called in its own process. */
void lab_vm_main(const struct lab_plan *plan, unsigned vm,
                 struct lab_shared *shared) __attribute__((noreturn));

#endif /* VAMP_LAB_H */
