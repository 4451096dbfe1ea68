/*
 * The groups of VMs: which one is a VM's, its weight, and putting it back
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BROKER_GROUP_H
#define BROKER_GROUP_H

#include "broker/journal.h"
#include "qemu/vamp-cgroup.h"

/* Where changes go: all of them are made through it. */
typedef struct BrokerHost {
    VampCgroups *cg;            /* NULL: there are no control groups... */
    char *cg_reason;            /* ... and this is why */
    Journal *journal;           /* NULL with @dry_run */
    bool dry_run;               /* say it, do not do it */
} BrokerHost;

/* A group's weight, which we may move; between cg->weight_min and _max. */
typedef struct GroupWeight {
    uint64_t base;              /* the administrator's: found, or set since */
    uint64_t last;              /* what it is, as far as we know */

    /* private */
    int fd;
    char *path;
    char *key;                  /* in the journal */
} GroupWeight;

/* NULL with the reason, if it cannot be read or written. */
GroupWeight *group_weight_open(BrokerHost *h, const char *path, Error **errp);
/*
 * Gives it @weight. If somebody else has changed it since, that is the new
 * base, and nothing is written. 0 or -errno; -EAGAIN: somebody else has.
 */
int group_weight_set(BrokerHost *h, GroupWeight *w, uint64_t weight);
/* Has somebody else changed it? Then that is the new base. 0 or -errno. */
int group_weight_look(GroupWeight *w);
/* Puts the base back, unless somebody else has changed it. Accepts NULL. */
void group_weight_close(BrokerHost *h, GroupWeight *w);

/* The group that has all threads of a VM, and nothing else that matters. */
typedef struct VmGroup {
    char *path;
    char *dir;
    char *origin;               /* path where the process was; NULL: found */
    GroupWeight *weight;

    /* private */
    char *key;
    char *enabled_dir;          /* got +cpu from us, or NULL */
} VmGroup;

/*
 * Finds the VM's group, as libvirt and systemd make them, or makes one beside
 * where the process is and moves it there. NULL with the reason.
 * @start: of the process (task_start()).
 */
VmGroup *vm_group_get(BrokerHost *h, pid_t pid, uint64_t start, Error **errp);
/* Is the process @pid still in it? */
bool vm_group_holds(const BrokerHost *h, const VmGroup *g, pid_t pid);
/*
 * Undoes it all. Blocks for some milliseconds if a dying process lingers in a
 * group that was made. Accepts NULL.
 */
void vm_group_put(BrokerHost *h, VmGroup *g);

/* Path of thread @tid's group if it is the only thread there, else NULL. */
char *group_of_one(const BrokerHost *h, pid_t pid, pid_t tid,
                   const VmGroup *vm);

/*
 * Undoes what the entry (@key, @value) of a journal says. Returns false if it
 * is of no group.
 */
bool group_undo(BrokerHost *h, const char *key, const char *value);

#endif /* BROKER_GROUP_H */
