/*
 * What a QEMU and the broker say to each other: messages and the status page
 *
 * The connection is an AF_UNIX SOCK_SEQPACKET socket: one packet is one
 * message, both sides are on one machine, so numbers are in its byte order.
 * docs/interop/vamp-broker.rst describes the conversation.
 *
 * Neither side trusts the other: vamp_bmsg_check() is the only way in.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_BROKERMSG_H
#define VAMP_CORE_BROKERMSG_H

#include "port.h"

#define VAMP_BROKER_VERSION     1u
#define VAMP_BROKER_SOCKET      "/run/vamp/broker.sock"
#define VAMP_BROKER_MAGIC       0x504d4156u     /* "VAMP" */

/* The longest packet; a receiver needs no larger buffer. */
#define VAMP_BMSG_MAX           512u
/* As many vCPUs as QEMU's largest x86 machine type has, then a few helpers. */
#define VAMP_BROKER_VCPUS_MAX   4096u
#define VAMP_BROKER_IO_MAX      256u
/* Threads of one VM in all, and so the entries of a status page. */
#define VAMP_BROKER_THREADS_MAX (VAMP_BROKER_VCPUS_MAX + VAMP_BROKER_IO_MAX)
#define VAMP_BROKER_NAME_LEN    64u
#define VAMP_BROKER_TEXT_LEN    192u

enum vamp_bmsg_type {
    /* A QEMU's, in the order in which it sends them */
    VAMP_BMSG_HELLO = 1,        /* -> WELCOME or ERROR; the first message */
    VAMP_BMSG_THREAD_ADD,       /* -> OK or ERROR */
    VAMP_BMSG_THREAD_DEL,       /* -> OK or ERROR */
    VAMP_BMSG_RATIO,            /* -> OK or ERROR */
    VAMP_BMSG_CLASS,            /* no answer: faults are in the status page */
    /* Anybody's who may open the socket; also without a HELLO */
    VAMP_BMSG_STATUS,           /* -> REPORT or ERROR */
    /* The broker's: each has the serial of what it answers */
    VAMP_BMSG_WELCOME = 65,     /* with the descriptor of the status page */
    VAMP_BMSG_OK,
    VAMP_BMSG_ERROR,
    VAMP_BMSG_REPORT,           /* with a descriptor: a file with the text */
};

/* Each packet begins with it. */
struct vamp_bmsg_head {
    uint32_t magic;             /* VAMP_BROKER_MAGIC */
    uint32_t type;              /* enum vamp_bmsg_type */
    uint32_t size;              /* of the packet in bytes, with this head */
    uint32_t serial;            /* the sender's choice; an answer repeats it */
};

struct vamp_bmsg_hello {
    struct vamp_bmsg_head head;
    uint32_t version;           /* VAMP_BROKER_VERSION */
    uint32_t ratio;             /* VAMP_RATIO_MIN..VAMP_RATIO_MAX */
    /* For people: the VM's name. Zero-terminated, printable ASCII. */
    char name[VAMP_BROKER_NAME_LEN];
};

enum vamp_broker_role {
    VAMP_BROKER_VCPU,           /* slot: the vCPU's cpu-index */
    VAMP_BROKER_IO,             /* main loop, iothread: serves the vCPUs */
};

struct vamp_bmsg_thread {       /* THREAD_ADD, THREAD_DEL */
    struct vamp_bmsg_head head;
    uint32_t role;              /* enum vamp_broker_role */
    uint32_t slot;              /* < VAMP_BROKER_VCPUS_MAX or _IO_MAX */
    int32_t tid;                /* > 0; DEL: 0 */
    uint32_t zero;
};

struct vamp_bmsg_ratio {
    struct vamp_bmsg_head head;
    uint32_t ratio;             /* VAMP_RATIO_MIN..VAMP_RATIO_MAX */
    uint32_t zero;
};

struct vamp_bmsg_class {
    struct vamp_bmsg_head head;
    uint32_t slot;              /* of a vCPU that was added */
    uint32_t vclass;            /* enum vamp_class */
};

enum vamp_broker_format {
    VAMP_BROKER_JSON,
    VAMP_BROKER_OPENMETRICS,
};

struct vamp_bmsg_status {
    struct vamp_bmsg_head head;
    uint32_t format;            /* enum vamp_broker_format */
    uint32_t zero;
};

struct vamp_bmsg_welcome {
    struct vamp_bmsg_head head;
    uint32_t version;
    uint32_t period_ms;         /* between two looks at the ledger */
    uint32_t page_size;         /* bytes of the status page */
    uint32_t zero;
};

struct vamp_bmsg_ok {
    struct vamp_bmsg_head head;
};

struct vamp_bmsg_error {
    struct vamp_bmsg_head head;
    int32_t err;                /* an errno value, > 0 */
    uint32_t zero;
    char text[VAMP_BROKER_TEXT_LEN];    /* one sentence, terminated */
};

struct vamp_bmsg_report {
    struct vamp_bmsg_head head;
    uint64_t length;            /* of the text in bytes */
};

/* Room for any message, and for the longest packet; aligned for all of them. */
union vamp_bmsg {
    struct vamp_bmsg_head head;
    struct vamp_bmsg_hello hello;
    struct vamp_bmsg_thread thread;
    struct vamp_bmsg_ratio ratio;
    struct vamp_bmsg_class vclass;
    struct vamp_bmsg_status status;
    struct vamp_bmsg_welcome welcome;
    struct vamp_bmsg_error error;
    struct vamp_bmsg_report report;
    char bytes[VAMP_BMSG_MAX];
};

/* How the broker treats a VM now. */
enum vamp_broker_state {
    VAMP_BROKER_NORMAL,         /* no interactive vCPU */
    VAMP_BROKER_BOOST,          /* interactive vCPUs run in real-time class */
    VAMP_BROKER_GUARD,          /* they did; it is in debt: weights only */
    VAMP_BROKER_WEIGHTS,        /* real-time class is refused here: weights */
};

enum vamp_broker_sched {
    VAMP_BROKER_SCHED_OTHER,    /* as it was found, or by weight */
    VAMP_BROKER_SCHED_RR,
};

struct vamp_broker_page_thread {
    int32_t tid;                /* 0: this entry is free */
    uint32_t slot;
    uint8_t role;               /* enum vamp_broker_role */
    uint8_t vclass;             /* enum vamp_class, as asked for */
    uint8_t sched;              /* enum vamp_broker_sched, as it is */
    uint8_t zero;
    int32_t err;                /* errno of the last change; 0: it worked */
};

/*
 * One VM's, written by the broker, mapped read-only by the QEMU (the file is
 * sealed against its writing). @seq is odd while the broker writes: read it
 * with acquire order before and after, and again if it differs. A reader gives
 * up after some tries: the broker may have died in the middle.
 */
struct vamp_broker_page {
    uint32_t magic;
    uint32_t version;
    uint32_t seq;
    uint32_t nr_threads;        /* entries of thread[] to be looked at */
    uint64_t updated_ns;        /* CLOCK_MONOTONIC */
    uint32_t state;             /* enum vamp_broker_state */
    uint32_t share_ppm;         /* fair share now, of all host CPUs */
    int64_t debt_ns;            /* CPU time it owes (> 0) to the others */
    uint64_t used_ns;           /* CPU time since HELLO */
    uint64_t entitled_ns;       /* fair CPU time since HELLO */
    uint64_t weight;            /* of the VM's group now; 0: no group */
    uint64_t weight_base;       /* the administrator's */
    uint64_t boosts;            /* times that RR was given to the VM */
    uint64_t guards;            /* times that the guard took it back */
    uint64_t faults;            /* changes that failed */
    /* Why the state is not better, or what failed last. Terminated. */
    char reason[VAMP_BROKER_TEXT_LEN];
    struct vamp_broker_page_thread thread[];
};

enum vamp_bmsg_fault {
    VAMP_BMSG_FINE,
    VAMP_BMSG_SHORT,            /* no whole head */
    VAMP_BMSG_MAGIC_WRONG,
    VAMP_BMSG_TYPE_UNKNOWN,     /* or not one that this side receives */
    VAMP_BMSG_SIZE_WRONG,       /* not that of the type */
    VAMP_BMSG_FIELD_WRONG,      /* out of its range, not zero, no text */
    VAMP_BMSG_FAULTS
};

/*
 * May @msg, @size bytes from a peer, be read as the struct of its type?
 * @to_broker: the broker received it. @msg is aligned for a uint64_t. HELLO's
 * version is not judged: that is the conversation's business.
 */
enum vamp_bmsg_fault vamp_bmsg_check(const void *msg, size_t size,
                                     bool to_broker);

/* Constant English text: one clause, no full stop. */
const char *vamp_bmsg_fault_text(enum vamp_bmsg_fault fault);

/* Bytes of a message of @type; 0: there is no such type. */
size_t vamp_bmsg_size(uint32_t type);

/* "normal", "boost", "guard", "weights" */
const char *vamp_broker_state_name(enum vamp_broker_state state);

#endif /* VAMP_CORE_BROKERMSG_H */
