/*
 * vdiguest: two cpuset groups, of cgroup v1 or v2
 *
 * Only for threads that are in the root group of the cpuset controller: there
 * nobody loses anything by a move. With cgroup v2 all controllers share one
 * tree, and the group of a systemd unit is its identity (who is killed with
 * it, whose session it is, what it may use): such a thread is left where it
 * is, and gets an affinity instead (place.h). With v1 the tree of cpuset is
 * its own, and systemd does not use it.
 *
 * With v2 the groups are threaded, so that the threads of a process may part.
 *
 * Main thread only.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_GROUPS_H
#define GUEST_GROUPS_H

#include <stdbool.h>
#include <glib.h>
#include "guest/cpus.h"

#define GROUPS_FAST     "vdiguest.fast"
#define GROUPS_SLOW     "vdiguest.slow"

typedef struct Groups {
    unsigned version;           /* 1 or 2 */
    char *root;                 /* folder of the root group */
    bool enabled;               /* v2: we have turned the controller on */
    bool made;
} Groups;

/* Finds the root group; NULL with a reason if it cannot be used. */
Groups *groups_find(char **reason);
/* The same in folder @root, whatever that is (tests). */
Groups *groups_at(const char *root, unsigned version);
/* The folder of a state file: v1 or v2 is found out. */
Groups *groups_again(const char *root, bool enabled);
void groups_free(Groups *g);

/* v2: would the controller have to be turned on? */
bool groups_must_enable(const Groups *g);

/* Makes both groups, or changes their CPUs. 0 or -errno, nothing made. */
int groups_make(Groups *g, const CpuSet *fast, const CpuSet *slow);

/* Moves all threads back and removes the groups. 0 or -errno. */
int groups_remove(Groups *g);

/* Thread ids (keys) in the root group (@name NULL) or in one of ours. */
GHashTable *groups_threads(const Groups *g, const char *name);

/*
 * A descriptor for moves into group @name (as above), to be closed by the
 * caller, or -errno.
 */
int groups_open(const Groups *g, const char *name);

/* Moves a thread. @fd: of groups_open(), also an error. 0 or -errno. */
int groups_put(int fd, pid_t tid);

#endif /* GUEST_GROUPS_H */
