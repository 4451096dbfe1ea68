/*
 * A little virtual machine, and threads for its vCPUs
 *
 * Whatever goes wrong here ends the program with a sentence: no claim can be
 * tried without it.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VM_H
#define VM_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <linux/kvm.h>
#include "linux-headers/linux/kvm_vamp.h"
#include "payload.h"

#define NS_PER_MS       1000000ull

/* A message to vCPU @id, or to a logical set of them */
#define MSI_TO(id)      (0xfee00000u | (uint32_t)(id) << 12)
#define MSI_LOGICAL     (1u << 2)
#define MSI_LOWEST      (1u << 8)   /* of the data */

struct vm;

struct vcpu {
    struct vm *vm;
    int id;
    int fd;
    int stats_fd;
    struct kvm_run *run;
    struct block *block;
    pthread_t thread;
    volatile int tid;           /* volatile: set by the thread itself */
    sem_t go, done;
    bool started;
};

struct vm {
    int fd;
    int nr;
    uint8_t *mem;
    uint64_t tsc_khz;
    struct vcpu vcpu[MAX_CPUS];
};

/* /dev/kvm */
int kvm_open(void);

/* With @nr vCPUs, which run nothing yet. */
struct vm *vm_new(int nr);
struct vcpu *vm_add(struct vm *vm);

/* Closes all descriptors; the threads stay, as those of a QEMU would. */
void vm_close(struct vm *vm);

/* Registers as at the beginning, in task 0. */
void vcpu_reset(struct vcpu *v);

/* As an INIT from another vCPU leaves it, then vcpu_reset(). */
void vcpu_init(struct vcpu *v);
void vcpu_set_cr4(struct vcpu *v, uint64_t bits);
bool has_pcid(void);
bool has_svm(void);
void vm_nmi(struct vm *vm, int id);

/* For OP_WAIT: interrupts by MSRs. Before it runs. */
void vcpu_x2apic(struct vcpu *v);
/* Sends a message; returns how many vCPUs took it. */
int vm_msi(struct vm *vm, uint32_t address, uint32_t data);
/* Input @pin of the I/O APIC: interrupts vCPU @id with @vector, an edge. */
void vm_ioapic(struct vm *vm, int pin, int id, int vector);
void vm_edge(struct vm *vm, int gsi);

/* A guest of the guest's, for OP_NEST: 64-bit code in task @n. */
void vm_nest(struct vm *vm, unsigned int n);

/* The CR3 of task @n. */
uint64_t task(unsigned int n);

/*
 * Describes the next run: no counts, no steps. Then steps are added, of @us
 * each, 0 for none.
 */
struct block *vcpu_plan(struct vcpu *v, uint32_t op, uint64_t rounds);
void vcpu_step(struct vcpu *v, uint64_t cr3, uint64_t us);

/* Begins what is planned; waits for its end; both; asks it to end and waits. */
void vcpu_start(struct vcpu *v);
void vcpu_wait(struct vcpu *v);
void vcpu_go(struct vcpu *v);
void vcpu_stop(struct vcpu *v);

/* KVM's own count. */
uint64_t vcpu_exits(struct vcpu *v);

/* Nice value of a thread, from /proc. */
int nice_of(int tid);

uint64_t now_ns(void);
void sleep_ms(unsigned int ms);

void die(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));

#endif /* VM_H */
