/*
 * VAMP: the control groups of a controller
 *
 * Knows cgroup v1, v2 and both side by side, namespaces and bind mounts. A
 * "path" is what /proc/PID/cgroup says, a "dir" the folder where it is mounted.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_CGROUP_UTIL_H
#define HW_VAMP_CGROUP_UTIL_H

#include "hw/vamp/actuator.h"

/*
 * The hierarchy that has a controller. What is said of weights holds for the
 * cpu controller only.
 */
typedef struct VampCgroups {
    unsigned version;           /* 1 or 2 */
    const char *weight_file;    /* "cpu.shares" or "cpu.weight" */
    const char *threads_file;   /* "tasks" or "cgroup.threads" */
    uint64_t weight_min, weight_max;

    /* private */
    const char *controller;
    char *proc;
    GPtrArray *mounts;          /* CgroupMount, as mounted, the last on top */
    GPtrArray *parents;         /* VampCgroupParent in use */
} VampCgroups;

/*
 * Finds the hierarchy of @controller ("cpu" or "cpuset"; kept, not copied).
 * NULL with a reason when there is none to be used.
 */
VampCgroups *vamp_cgroups_new(const VampHostPaths *paths,
                              const char *controller, Error **errp);
void vamp_cgroups_free(VampCgroups *cg);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VampCgroups, vamp_cgroups_free)

/* Group of a thread of this process. */
char *vamp_cgroup_path(const VampCgroups *cg, pid_t tid, Error **errp);
/* Folder of group @path. */
char *vamp_cgroup_dir(const VampCgroups *cg, const char *path, Error **errp);

/* Is it the root of the whole hierarchy (not just of a namespace)? */
bool vamp_cgroup_is_root(const VampCgroups *cg, const char *dir);

/*
 * Has thread @tid its group @dir to itself, with a weight, as libvirt does it?
 * @main_dir: the group of the process's main thread.
 */
bool vamp_cgroup_is_own(const VampCgroups *cg, const char *dir,
                        const char *main_dir, pid_t tid);

/*
 * One file of a group. 0 or -errno. Reading strips white space at the end.
 * Writing is one write(): to a cgroup file, every write is a command.
 */
int vamp_cgroup_read(const char *dir, const char *file, char **text);
int vamp_cgroup_write(const char *dir, const char *file, const char *text);

/* Does the file exist? */
bool vamp_cgroup_has(const char *dir, const char *file);

/* Is @word among the words of @text, which @separators part? */
bool vamp_cgroup_word(const char *text, const char *separators,
                      const char *word);

/* "cannot @what DIR/FILE: why (what would be needed)"; @file may be NULL. */
void vamp_cgroup_error(Error **errp, int err, const char *what,
                       const char *dir, const char *file);

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

#endif /* HW_VAMP_CGROUP_UTIL_H */
