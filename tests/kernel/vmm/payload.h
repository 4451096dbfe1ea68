/*
 * What the program and its guest agree about: where things are, and the block
 * by which a vCPU is told what to do and tells what it has done
 *
 * Read by the assembler, too.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef PAYLOAD_H
#define PAYLOAD_H

/* Guest-physical addresses; all of it is mapped one to one, by each task */
#define GDT_AT          0x1000
#define IDT_AT          0x2000
#define CODE_AT         0x10000
#define BLOCKS_AT       0x20000     /* + vCPU * BLOCK_SIZE */
#define BLOCK_SIZE      0x1000
#define STACKS_AT       0x40000     /* + vCPU * 0x1000: the top */
#define PDPT_AT         0x60000
#define PD_AT           0x61000
#define RECORD_AT       0x70000     /* what the guest says of its tasks */
#define VMCB_AT         0x72000     /* of the guest's own guest */
#define HSAVE_AT        0x73000
#define PML4S_AT        0x100000    /* + task * 0x1000 */
#define MEM_SIZE        0x400000
/* No memory: registers of a device */
#define DEVICE_AT       MEM_SIZE

#define MAX_CPUS        8
#define MAX_STEPS       16

#define PORT_DONE       0x10
#define PORT_DEVICE     0x300       /* registers of a device: 16 ports */

/* Interrupts; each ends itself at the x2APIC. */
#define VECTOR_DEVICE   0x60        /* its handler does what the block says */
#define VECTOR_WAKE     0x61        /* ends a halt, and does nothing */

/* Goes through the steps, in turn: loads their CR3, stays for their time. */
#define OP_SWITCH       1
/* Executes CPUID, which always exits. */
#define OP_CPUID        2
/* Loads the first step's CR3; then halts until an NMI, stays for its time. */
#define OP_HALT         3
/*
 * With the first step's CR3 as the register's number: reads CPUID's leaf, reads
 * the MSR, writes the first step's time to it. What was read is in B_TSC.
 */
#define OP_LEAF         4
#define OP_RDMSR        5
#define OP_WRMSR        6
/*
 * Halts in the first step's task until an interrupt; then goes to the second
 * step's, stays for its time, touches a register and interrupts another vCPU
 * if the block says so.
 */
#define OP_WAIT         7
/*
 * Goes to the first step's task, stays for its time, and runs a guest of its own
 * (SVM) until that calls it or an NMI comes; then goes through the other steps,
 * and lets the NMI in. The nested guest halts first, if the block says so, and
 * loads its two CR3 in turn.
 */
#define OP_NEST         8

/* The members of a VMCB that the payload itself touches */
#define VMCB_EXIT       0x070
#define VMCB_RIP        0x578

#define B_OP            0x00
#define B_STEPS         0x04
#define B_STOP          0x08
#define B_SEQ           0x0c
#define B_ROUNDS        0x10
#define B_MASK          0x18
#define B_LAST          0x20
#define B_SWITCHES      0x28
#define B_LOADS         0x30
#define B_DONE          0x38
#define B_NMIS          0x40
#define B_NOW           0x48
#define B_PORT          0x50
#define B_HANDLER_PORT  0x54
#define B_MMIO          0x58
#define B_ICR           0x60
#define B_HANDLER_ICR   0x68
#define B_IRQS          0x70
#define B_FAULTS        0x78
#define B_CR3           0x80
#define B_STAY          0x100
#define B_TSC           0x180
#define B_NESTED        0x200
#define B_NESTED_LOADS  0x208
#define B_NESTED_CR3    0x210
#define B_NESTED_HALT   0x220
#define B_EXIT          0x228

#ifndef __ASSEMBLER__

#include <stddef.h>
#include <stdint.h>

struct block {
    volatile uint32_t op;       /* OP_* */
    volatile uint32_t steps;    /* 1..MAX_STEPS */
    volatile uint32_t stop;     /* not 0: ends after this step */
    volatile uint32_t seq;      /* odd while a CR3 is being loaded */
    volatile uint64_t rounds;
    uint64_t mask;              /* bits of CR3 that make a task */
    uint64_t last;              /* the CR3 loaded last */
    volatile uint64_t switches; /* its own count: of tasks, ... */
    volatile uint64_t loads;    /* ... of loads ... */
    volatile uint64_t done;     /* ... and of rounds */
    volatile uint64_t nmis;
    volatile uint64_t now;      /* number of the step that runs */
    /* Of OP_WAIT; 0 is none */
    uint32_t port;
    uint32_t handler_port;      /* what the device's handler touches */
    uint64_t mmio;
    uint64_t icr;               /* what is written to the x2APIC's ICR */
    uint64_t handler_icr;       /* by the device's handler */
    volatile uint64_t irqs;     /* of the device, its own count */
    volatile uint64_t faults;   /* #GP, which skips an instruction of 2 bytes */
    uint64_t cr3[MAX_STEPS];
    uint64_t stay[MAX_STEPS];   /* in cycles of the TSC */
    volatile uint64_t tsc[MAX_STEPS];   /* its own account of them */
    /* Of OP_NEST */
    uint64_t nested;            /* pairs of loads in a run of the nested guest */
    volatile uint64_t nested_loads;     /* its own count */
    uint64_t nested_cr3[2];
    uint64_t nested_halt;       /* not 0: until an interrupt */
    volatile uint64_t exit;     /* why the nested guest was left last */
};

#define SAME(member, offset) \
    _Static_assert(offsetof(struct block, member) == (offset), #member)
SAME(op, B_OP);
SAME(steps, B_STEPS);
SAME(stop, B_STOP);
SAME(seq, B_SEQ);
SAME(rounds, B_ROUNDS);
SAME(mask, B_MASK);
SAME(last, B_LAST);
SAME(switches, B_SWITCHES);
SAME(loads, B_LOADS);
SAME(done, B_DONE);
SAME(nmis, B_NMIS);
SAME(now, B_NOW);
SAME(port, B_PORT);
SAME(handler_port, B_HANDLER_PORT);
SAME(mmio, B_MMIO);
SAME(icr, B_ICR);
SAME(handler_icr, B_HANDLER_ICR);
SAME(irqs, B_IRQS);
SAME(faults, B_FAULTS);
SAME(cr3, B_CR3);
SAME(stay, B_STAY);
SAME(tsc, B_TSC);
SAME(nested, B_NESTED);
SAME(nested_loads, B_NESTED_LOADS);
SAME(nested_cr3, B_NESTED_CR3);
SAME(nested_halt, B_NESTED_HALT);
SAME(exit, B_EXIT);

extern const uint8_t payload_start[], payload_nmi[], payload_gp[],
    payload_device[], payload_wake[], payload_end[];

#endif /* __ASSEMBLER__ */
#endif /* PAYLOAD_H */
