/*
 * VAMP: making and removing control groups for single threads
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "hw/vamp/cgroup-group.h"

#define REMOVE_TRIES    6       /* 0.5 + 1 + 2 + 4 + 4 ms between them */

/*
 * The root group is special: autogroup gives the threads in it, and only
 * those, a share for each session. A thread that leaves the root group leaves
 * its session's share too, so the VM would weigh more against its neighbours.
 */
static bool check_autogroup(VampCgroups *cg, const char *dir, Error **errp)
{
    g_autofree char *text = NULL;
    g_autofree char *kernel = g_strdup_printf("%s/sys/kernel", cg->proc);

    if (!vamp_cgroup_is_root(cg, dir) ||
        vamp_cgroup_read(kernel, "sched_autogroup_enabled", &text) < 0 ||
        !strcmp(text, "0")) {
        return true;
    }
    error_setg(errp, "the vCPU threads are in the root group %s and "
               "%s/sched_autogroup_enabled is %s: groups would take them out "
               "of their session's share (a group for the VM, or the value 0, "
               "would be needed)", dir, kernel, text);
    return false;
}

/* What the kernel can only answer with EOPNOTSUPP or EBUSY, in words. */
static bool check_v2(const char *dir, Error **errp)
{
    /* These may be in use in a threaded subtree; all others may not. */
    static const char *const threaded[] = {
        "cpu", "cpuset", "perf_event", "pids", NULL
    };
    g_autofree char *type = NULL, *controllers = NULL, *control = NULL;
    g_auto(GStrv) words = NULL;
    unsigned i;
    int ret;

    if (vamp_cgroup_read(dir, "cgroup.type", &type) == 0 &&
        !strcmp(type, "domain invalid")) {
        error_setg(errp, "%s/cgroup.type is \"domain invalid\" (domain or "
                   "threaded would be needed)", dir);
        return false;
    }

    ret = vamp_cgroup_read(dir, "cgroup.controllers", &controllers);
    if (ret < 0) {
        vamp_cgroup_error(errp, -ret, "read", dir, "cgroup.controllers");
        return false;
    }
    if (!vamp_cgroup_word(controllers, " ", "cpu")) {
        error_setg(errp, "%s/cgroup.controllers is \"%s\": cpu is missing "
                   "(+cpu in the cgroup.subtree_control of the groups above "
                   "would be needed)", dir, controllers);
        return false;
    }

    ret = vamp_cgroup_read(dir, "cgroup.subtree_control", &control);
    if (ret < 0) {
        vamp_cgroup_error(errp, -ret, "read", dir, "cgroup.subtree_control");
        return false;
    }
    /* No type: the root group, which is not bound by this rule. */
    if (type) {
        words = g_strsplit(control, " ", -1);
        for (i = 0; words[i]; i++) {
            if (*words[i] && !g_strv_contains(threaded, words[i])) {
                error_setg(errp, "%s/cgroup.subtree_control contains %s, which "
                           "knows no threads (only cpu, cpuset, perf_event and "
                           "pids may be in it)", dir, words[i]);
                return false;
            }
        }
    }
    return true;
}

/* Calls @fn for each child group of @dir until it returns true. */
static bool any_child(const char *dir,
                      bool (*fn)(const char *dir, const char *name))
{
    GDir *d = g_dir_open(dir, 0, NULL);
    const char *name;
    bool found = false;

    while (d && !found && (name = g_dir_read_name(d))) {
        g_autofree char *child = g_strdup_printf("%s/%s", dir, name);

        found = g_file_test(child, G_FILE_TEST_IS_DIR) && fn(dir, name);
    }
    if (d) {
        g_dir_close(d);
    }
    return found;
}

static bool child_populated(const char *dir, const char *name)
{
    g_autofree char *child = g_strdup_printf("%s/%s", dir, name);
    g_autofree char *events = NULL;

    return vamp_cgroup_read(child, "cgroup.events", &events) == 0 &&
           strstr(events, "populated 1");
}

/* "vamp-PID-vcpuN" or "vamp-PID-probe", and exactly that; else 0. */
static pid_t name_to_pid(const char *name)
{
    g_autofree char *again = NULL;
    const char *rest;
    unsigned pid, vcpu;

    if (!strstart(name, "vamp-", &rest) ||
        qemu_strtoui(rest, &rest, 10, &pid) < 0 || !pid || pid > INT_MAX) {
        return 0;
    }
    if (!strcmp(rest, "-probe")) {
        again = g_strdup_printf("vamp-%u-probe", pid);
    } else if (strstart(rest, "-vcpu", &rest) &&
               qemu_strtoui(rest, NULL, 10, &vcpu) == 0) {
        again = g_strdup_printf("vamp-%u-vcpu%u", pid, vcpu);
    }
    return again && !strcmp(again, name) ? pid : 0;
}

static bool child_is_vamp(const char *dir, const char *name)
{
    return name_to_pid(name) != 0;
}

static bool enable_cpu(VampCgroupParent *p, Error **errp)
{
    g_autofree char *control = NULL;
    int ret = vamp_cgroup_read(p->dir, "cgroup.subtree_control", &control);

    if (ret == 0 && vamp_cgroup_word(control, " ", "cpu")) {
        return true;
    }
    if (any_child(p->dir, child_populated)) {
        error_setg(errp, "%s has other groups with threads in them, whose "
                   "shares +cpu in its cgroup.subtree_control would change (it "
                   "would have to be there already)", p->dir);
        return false;
    }
    ret = vamp_cgroup_write(p->dir, "cgroup.subtree_control", "+cpu");
    if (ret < 0) {
        vamp_cgroup_error(errp, -ret, "write +cpu to", p->dir,
                          "cgroup.subtree_control");
        return false;
    }
    p->enabled_cpu = true;
    return true;
}

static void parent_free(void *opaque)
{
    VampCgroupParent *p = opaque;

    g_free(p->dir);
    g_free(p);
}

VampCgroupParent *vamp_cgroup_parent_get(VampCgroups *cg, const char *dir,
                                         Error **errp)
{
    VampCgroupParent *p;
    unsigned i;

    if (!cg->parents) {
        cg->parents = g_ptr_array_new_with_free_func(parent_free);
    }
    for (i = 0; i < cg->parents->len; i++) {
        p = g_ptr_array_index(cg->parents, i);
        if (!strcmp(p->dir, dir)) {
            p->users++;
            return p;
        }
    }

    if (!check_autogroup(cg, dir, errp) ||
        (cg->version == 2 && !check_v2(dir, errp))) {
        return NULL;
    }
    p = g_new0(VampCgroupParent, 1);
    p->dir = g_strdup(dir);
    p->users = 1;
    g_ptr_array_add(cg->parents, p);
    if (cg->version == 2 && !enable_cpu(p, errp)) {
        g_ptr_array_remove(cg->parents, p);
        return NULL;
    }
    return p;
}

bool vamp_cgroup_parent_put(VampCgroups *cg, VampCgroupParent *p, Error **errp)
{
    int ret = 0;

    if (--p->users) {
        return true;
    }
    /* Another QEMU in the group may have come to need it: leave it then. */
    if (p->enabled_cpu && !any_child(p->dir, child_is_vamp)) {
        ret = vamp_cgroup_write(p->dir, "cgroup.subtree_control", "-cpu");
        if (ret == -ENOENT || ret == -ENODEV) {
            ret = 0;            /* the whole group is gone */
        }
        if (ret < 0) {
            vamp_cgroup_error(errp, -ret, "write -cpu to", p->dir,
                              "cgroup.subtree_control");
        }
    }
    g_ptr_array_remove(cg->parents, p);
    return ret == 0;
}

char *vamp_cgroup_child_new(VampCgroups *cg, VampCgroupParent *parent,
                            const char *name, uint64_t weight, Error **errp)
{
    g_autofree char *child = g_strdup_printf("%s/%s", parent->dir, name);
    g_autofree char *text = g_strdup_printf("%" PRIu64, weight);
    int ret;

    ret = mkdir(child, 0755);
    if (ret < 0 && errno == EEXIST && rmdir(child) == 0) {
        /* It was a dead process's, which had the pid that is ours now. */
        ret = mkdir(child, 0755);
    }
    if (ret < 0) {
        vamp_cgroup_error(errp, errno, "create", child, NULL);
        return NULL;
    }

    /* Before any thread goes in: a group with threads cannot change its type */
    if (cg->version == 2) {
        ret = vamp_cgroup_write(child, "cgroup.type", "threaded");
        if (ret == -EOPNOTSUPP) {
            error_setg(errp, "cannot write threaded to %s/cgroup.type: %s has "
                       "other groups with whole processes in them (only "
                       "threads may be below it)", child, parent->dir);
            goto fail;
        } else if (ret < 0) {
            vamp_cgroup_error(errp, -ret, "write threaded to", child,
                              "cgroup.type");
            goto fail;
        }
    }
    ret = vamp_cgroup_write(child, cg->weight_file, text);
    if (ret < 0) {
        vamp_cgroup_error(errp, -ret, "write a weight to", child,
                          cg->weight_file);
        goto fail;
    }
    return g_steal_pointer(&child);

fail:
    rmdir(child);
    return NULL;
}

bool vamp_cgroup_move(const VampCgroups *cg, const char *dir, pid_t tid,
                      Error **errp)
{
    g_autofree char *text = g_strdup_printf("%d", (int)tid);
    int ret = vamp_cgroup_write(dir, cg->threads_file, text);

    if (ret == -ENOSPC) {
        error_setg(errp, "cannot move thread %d to %s: its cpuset is empty "
                   "(cpu and cpuset are mounted together; a cpu hierarchy "
                   "without cpuset would be needed)", (int)tid, dir);
    } else if (ret < 0) {
        g_autofree char *what = g_strdup_printf("move thread %d to", (int)tid);

        vamp_cgroup_error(errp, -ret, what, dir, cg->threads_file);
    }
    return ret == 0;
}

bool vamp_cgroup_child_del(VampCgroups *cg, VampCgroupParent *parent,
                           const char *child, Error **errp)
{
    unsigned i, try;
    int err = 0;

    for (try = 0; try < REMOVE_TRIES; try++) {
        g_auto(GStrv) tids = NULL;
        g_autofree char *text = NULL;

        if (try) {
            /* An exiting thread stays in its group after pthread_join(). */
            g_usleep(MIN(500 << (try - 1), 4000));
        }
        /*
         * All of them, not only the vCPU: a thread or process that the vCPU
         * thread has started is here too. Whoever moved the vCPU elsewhere
         * meanwhile finds it where he put it.
         */
        if (vamp_cgroup_read(child, cg->threads_file, &text) == 0) {
            tids = g_strsplit(text, "\n", -1);
            for (i = 0; tids[i]; i++) {
                if (*tids[i]) {
                    vamp_cgroup_write(parent->dir, cg->threads_file, tids[i]);
                }
            }
        }
        if (rmdir(child) == 0 || errno == ENOENT) {
            return true;
        }
        err = errno;
        if (err != EBUSY) {
            break;
        }
    }
    vamp_cgroup_error(errp, err, "remove", child, NULL);
    return false;
}

void vamp_cgroup_sweep(const char *dir)
{
    GDir *d = g_dir_open(dir, 0, NULL);
    const char *name;

    while (d && (name = g_dir_read_name(d))) {
        pid_t pid = name_to_pid(name);

        if (pid && kill(pid, 0) < 0 && errno == ESRCH) {
            g_autofree char *child = g_strdup_printf("%s/%s", dir, name);

            /*
             * Fails for a group with threads in it, which is as it should be:
             * pids of another pid namespace look dead from here.
             */
            rmdir(child);
        }
    }
    if (d) {
        g_dir_close(d);
    }
}
