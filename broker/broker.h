/*
 * qemu-vamp-broker: what its parts share
 *
 * One thread, one loop: nothing here is locked. Times are CLOCK_MONOTONIC in
 * nanoseconds.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include "broker/group.h"
#include "broker/loop.h"
#include "broker/task.h"
#include "core/bound.h"
#include "core/brokermsg.h"
#include "core/ledger.h"
#include "core/policy.h"

/*
 * Of SCHED_RR. IO threads stand above the vCPUs that wait for them, and the
 * broker above both, so that no VM can keep it from taking the class back.
 */
#define PRIO_VCPU           1
#define PRIO_IO             2
#define PRIO_BROKER         3

/* vhost workers of one VM: one a queue and device. */
#define VHOST_MAX           64

typedef struct Broker Broker;
typedef struct Vm Vm;

typedef enum ThreadSched {
    THREAD_FOUND,               /* as it was before us */
    THREAD_RR,
    THREAD_BACKGROUND,          /* by nice value or its group's weight */
    THREAD_INTERACTIVE,         /* by its group's weight, without RR */
} ThreadSched;

typedef struct VmThread {
    Vm *vm;
    pid_t tid;
    uint64_t start;
    uint32_t role;              /* enum vamp_broker_role */
    uint32_t slot;
    bool vhost;                 /* found by us, not registered */
    bool foreign;               /* somebody else schedules it: left alone */
    enum vamp_class vclass;
    ThreadSched now;
    TaskSched found;
    TaskSched last;             /* what we set */
    int fd;                     /* task_times() */
    int stat_fd;                /* task_runnable(), or -1 */
    GroupWeight *own;           /* of the group that it has alone, or NULL */
    uint64_t ran_ns;            /* as booked at the last step */
    uint64_t waited_ns;         /* the same */
    uint64_t ahead_ns;          /* counted as waited, and not yet booked */
    bool asleep;                /* since it ran: not waiting */
    int err;                    /* > 0: errno of the last change */
    unsigned page_index;        /* UINT_MAX: not in the page */
    char *key;                  /* in the journal, or NULL */
    struct vamp_bound bound;
} VmThread;

/* A registered QEMU. */
struct Vm {
    Broker *b;
    pid_t pid;
    uid_t uid;
    uint64_t start;
    char name[VAMP_BROKER_NAME_LEN];
    uint32_t ratio;
    int64_t since_ns;

    GHashTable *slots;          /* role and slot -> VmThread */
    GPtrArray *threads;         /* all VmThread, vhost ones too */
    unsigned interactive;       /* vCPUs of that class */
    unsigned background;
    bool io_boost;              /* its helpers serve an interactive vCPU */
    bool lingers;               /* its main loop does, or did lately */
    int64_t calm_ns;            /* since when no vCPU is interactive */
    bool rr_refused;
    int64_t refused_ns;         /* when */
    int refused_err;            /* errno */
    bool own_bound;             /* a vCPU rests: our bound, not the ledger's */

    VmGroup *group;
    int64_t looked_ns;          /* at its groups; 0: to be done */
    int64_t settled_ns;         /* the same; 0: never */
    char *group_reason;         /* why there is none */
    struct vamp_account account;
    clockid_t clock;
    uint64_t process_ns;        /* at the last look */
    int64_t measured_ns;        /* the last look */
    bool idle;                  /* it was, then */
    bool waits;                 /* some threads may be waiting, by then */
    int64_t peeked_ns;

    enum vamp_broker_state state;
    char reason[VAMP_BROKER_TEXT_LEN];
    uint64_t boosts;
    uint64_t faults;

    struct vamp_broker_page *page;
    size_t page_size;
    int page_fd;
    GArray *page_free;          /* unsigned: entries to be used again */
};

/* A group beside a VM's that is no VM of ours: counted, not touched. */
typedef struct Neighbour {
    char *path;
    char *dir;
    struct vamp_account account;
    uint64_t used_total_ns;
    uint64_t waited_total_ns;
    bool seen;
} Neighbour;

typedef struct BrokerOptions {
    char *socket;
    unsigned mode;
    char *group;
    char *state_file;
    char *metrics_file;
    unsigned metrics_s;
    unsigned period_ms;         /* 0: by the number of busy VMs */
    unsigned linger_ms;         /* 0: the main loop is calm at once */
    bool dry_run;
    bool sandbox;
    GArray *uids;               /* uid_t that may register, or NULL: all */
} BrokerOptions;

struct Broker {
    BrokerOptions opt;
    BrokerHost host;
    Loop *loop;
    GPtrArray *vms;
    GPtrArray *neighbours;
    struct vamp_ledger_config ledger;
    unsigned cpus;
    int64_t rt_runtime_us;      /* kernel.sched_rt_runtime_us; -1: no bound */
    int64_t rt_period_us;
    bool active;                /* somebody borrows or owes */
    unsigned busy;              /* VMs that were not idle at the last step */
    int64_t stepped_ns;         /* time of the last step */
    int64_t slow_ns;            /* of the next slow look */
    int64_t settle_ns;          /* of the next look at some VM's groups */
    int64_t metrics_ns;         /* of the next --metrics-file */
    LoopSource *listener;
    int64_t begun_ns;
    uint64_t steps;
    uint64_t messages;
    uint64_t dropped;           /* connections that we ended */
    unsigned clients;
};

/* --- vm.c: one VM and its threads ---------------------------------------- */

/* The process behind @pid has said HELLO. NULL with the reason. */
Vm *vm_new(Broker *b, pid_t pid, uid_t uid, const struct vamp_bmsg_hello *m,
           Error **errp);
/* Puts everything back. */
void vm_free(Vm *vm);

/* 0 or -errno with the reason. */
int vm_thread_add(Vm *vm, const struct vamp_bmsg_thread *m, Error **errp);
int vm_thread_del(Vm *vm, const struct vamp_bmsg_thread *m, Error **errp);
void vm_set_ratio(Vm *vm, uint32_t ratio);
/* -ENOENT: there is no such vCPU. */
int vm_set_class(Vm *vm, uint32_t slot, enum vamp_class vclass);

/* Brings all threads to what class, guard and bound say. */
void vm_apply(Vm *vm);
/* Looks for the VM's group, its vCPUs' groups and its vhost workers. */
void vm_settle(Vm *vm);
/*
 * IO threads back, once no vCPU is interactive; the main loop's a while later.
 */
void vm_calm(Vm *vm);
/* Forgets threads that have ended. */
void vm_drop_ended(Vm *vm);
/*
 * The same, and sums up how long the others waited in the @dt_ns since the last
 * call.
 */
uint64_t vm_waited(Vm *vm, uint64_t dt_ns);
/* Our own bound of real-time class. Returns true if something changed. */
bool vm_bound(Vm *vm, int64_t now_ns);
void vm_update_state(Vm *vm);

/* --- wait.c: run delay as it passes -------------------------------------- */

/*
 * How long @t waited in the @dt_ns since the last call, which are the last
 * thing read of it in @times. 0: what was before does not count.
 */
uint64_t thread_waited(VmThread *t, const TaskTimes *times, uint64_t dt_ns);

/* --- act.c: changing one thread ------------------------------------------ */

/*
 * Makes @t what it is to be now. The thread is the process's own, proved anew
 * each time. 0 or -errno; -ESRCH: it has ended.
 */
int thread_apply(VmThread *t, ThreadSched want);
/* Undoes a journal's entry, if it is of a thread. */
bool thread_undo(const BrokerHost *h, const char *key, const char *value);
/* Notes in the journal what was found, before the first change. */
int thread_note(VmThread *t);

/* --- page.c: the status page --------------------------------------------- */

bool page_new(Vm *vm, Error **errp);
void page_free(Vm *vm);
void page_thread(VmThread *t);
void page_vm(Vm *vm);

/* --- account.c: the ledger's clock --------------------------------------- */

/* A vCPU became interactive or background: step until all is paid. */
void ledger_wake(Broker *b);
/* Does what is due; returns when to call again (CLOCK_MONOTONIC ns). */
int64_t ledger_run(Broker *b, int64_t now_ns);
/* The account of @vm comes; it goes, and leaves its debt to the others. */
void ledger_join(Vm *vm);
void ledger_leave(Vm *vm);
/*
 * The accounts of who takes part: struct vamp_account, owned by their VMs and
 * neighbours; valid until one of these comes or goes. Not those VMs whose
 * groups were never looked at.
 */
GPtrArray *ledger_accounts(Broker *b);
unsigned ledger_period_ms(const Broker *b);

/* --- neighbour.c: groups that are no VM of ours -------------------------- */

void neighbours_scan(Broker *b);
void neighbours_measure(Broker *b);
/*
 * The group at @path is that of @vm, as has just been found: it is no neighbour
 * any more, and what it owes or is owed is the VM's.
 */
void neighbours_claim(Vm *vm, const char *path);
void neighbour_free(gpointer opaque);

/* --- listen.c: the socket --------------------------------------------- */

/* Listens on --socket, or on what systemd passed. */
bool listen_begin(Broker *b, Error **errp);
/* Ends all connections as well. */
void listen_end(Broker *b);

/* --- conn.c: the conversation with one peer ---------------------------- */

void conns_begin(void);
/* Ends all connections, and so puts everything back. */
void conns_end(void);
/* A peer has connected: @fd is ours to close. */
void conn_new(Broker *b, int fd);
/* Drops those that say nothing. */
void conns_slow(Broker *b, int64_t now_ns);

/* --- report.c: --status and --metrics ------------------------------------ */

/* What @uid may see. 0: everything. To be freed. */
GString *report_json(Broker *b, uid_t uid);
GString *report_metrics(Broker *b, uid_t uid);
/* Rewrites --metrics-file when it is time. */
void report_metrics_file(Broker *b, int64_t now_ns);

/* --- client.c ------------------------------------------------------------ */

/* Prints what the broker at @socket answers; an exit code. */
int client_status(const char *socket_name, bool json);
int client_metrics(const char *socket_name);

/* --- privilege.c --------------------------------------------------------- */

/* Only what is needed remains; a message for what could not be done. */
void privilege_real_time(void);
bool privilege_drop(bool sandbox, Error **errp);

#endif /* BROKER_BROKER_H */
