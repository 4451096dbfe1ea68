/*
 * VAMP: control groups that QEMU makes for single threads
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_CGROUP_GROUP_H
#define HW_VAMP_CGROUP_GROUP_H

#include "qemu/vamp-cgroup.h"

/*
 * A group that gets child groups from us: counted, and on cgroup v2 with the
 * cpu controller handed down for as long as we need it.
 */
typedef struct VampCgroupParent {
    char *dir;
    unsigned users;
    bool enabled_cpu;           /* by us: to be undone */
} VampCgroupParent;

/*
 * Prepares @dir for child groups. Refuses, with the reason, where that cannot
 * work or would change more than the threads put into them.
 */
VampCgroupParent *vamp_cgroup_parent_get(VampCgroups *cg, const char *dir,
                                         Error **errp);
/* The last user undoes what was prepared; false if that failed. */
bool vamp_cgroup_parent_put(VampCgroups *cg, VampCgroupParent *parent,
                            Error **errp);

/*
 * Makes the empty group @name below @parent, with @weight. Returns its folder,
 * or NULL with nothing left behind.
 */
char *vamp_cgroup_child_new(VampCgroups *cg, VampCgroupParent *parent,
                            const char *name, uint64_t weight, Error **errp);
/*
 * Moves the threads that are in @child back to @parent and removes @child.
 * Blocks for some milliseconds if an exiting thread lingers in it.
 */
bool vamp_cgroup_child_del(VampCgroups *cg, VampCgroupParent *parent,
                           const char *child, Error **errp);

/* Moves thread @tid into the group @dir. */
bool vamp_cgroup_move(const VampCgroups *cg, const char *dir, pid_t tid,
                      Error **errp);

/* Removes the empty groups in @dir that a killed QEMU has left behind. */
void vamp_cgroup_sweep(const char *dir);

#endif /* HW_VAMP_CGROUP_GROUP_H */
