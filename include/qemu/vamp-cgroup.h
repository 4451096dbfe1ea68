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

#ifndef QEMU_VAMP_CGROUP_H
#define QEMU_VAMP_CGROUP_H

/* Where the host's files are. Tests give folders of their own. */
typedef struct VampHostPaths {
    const char *proc;       /* "/proc" */
    const char *mountinfo;  /* "/proc/self/mountinfo": cgroup mounts */
    const char *broker;     /* VAMP_BROKER_SOCKET */
} VampHostPaths;

extern const VampHostPaths vamp_host_paths;

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
    GPtrArray *parents;         /* cgroup-group.c's, or NULL */
} VampCgroups;

/*
 * Finds the hierarchy of @controller ("cpu" or "cpuset"; kept, not copied).
 * NULL with a reason when there is none to be used.
 */
VampCgroups *vamp_cgroups_new(const VampHostPaths *paths,
                              const char *controller, Error **errp);
void vamp_cgroups_free(VampCgroups *cg);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VampCgroups, vamp_cgroups_free)

/* Group of thread @tid of process @pid; @pid 0: of this process. */
char *vamp_cgroup_path(const VampCgroups *cg, pid_t pid, pid_t tid,
                       Error **errp);
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

#endif /* QEMU_VAMP_CGROUP_H */
