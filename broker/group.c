/*
 * The groups of VMs: which one is a VM's, and making one
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "broker/group.h"
#include "broker/task.h"
#include "core/brokermsg.h"

#define REMOVE_TRIES 6          /* 0.5 + 1 + 2 + 4 + 4 ms between them */

static char *path_parent(const char *path)
{
    char *parent = g_path_get_dirname(path);

    return parent;
}

/* The deepest group that contains both: all of @a's components that @b has. */
static char *path_common(const char *a, const char *b)
{
    size_t i = 0, end = 0;

    while (a[i] && a[i] == b[i]) {
        i++;
        if ((!a[i] || a[i] == '/') && (!b[i] || b[i] == '/')) {
            end = i;
        }
    }
    return end ? g_strndup(a, end) : g_strdup("/");
}

typedef struct Threads {
    const BrokerHost *h;
    pid_t pid;
    char *common;
    bool several;
} Threads;

static bool add_thread(pid_t tid, void *opaque)
{
    Threads *t = opaque;
    g_autofree char *path = vamp_cgroup_path(t->h->cg, t->pid, tid, NULL);

    if (path && !t->common) {
        t->common = g_steal_pointer(&path);
    } else if (path && strcmp(path, t->common)) {
        char *common = path_common(t->common, path);

        t->several = true;
        g_free(t->common);
        t->common = common;
    }
    return true;
}

/* libvirt's "vcpu3", "iothread1" and "emulator", which are parts of a VM */
static bool is_part(const char *name)
{
    return !strcmp(name, "emulator") || g_str_has_prefix(name, "vcpu") ||
           g_str_has_prefix(name, "iothread");
}

/* libvirt: up from the part, and from the "libvirt" below systemd's scope */
static void trim_parts(char **path)
{
    g_autofree char *name = g_path_get_basename(*path);

    if (is_part(name)) {
        char *up = path_parent(*path);

        g_free(*path);
        *path = up;
        g_free(name);
        name = g_path_get_basename(*path);
    }
    if (!strcmp(name, "libvirt")) {
        char *up = path_parent(*path);

        g_free(*path);
        *path = up;
    }
}

/* Has the group a weight, and no other process than @pid in it? */
static bool is_own(const BrokerHost *h, const char *path, pid_t pid)
{
    g_autofree char *dir = vamp_cgroup_dir(h->cg, path, NULL);
    g_autofree char *procs = NULL, *only = g_strdup_printf("%d", (int)pid);

    return dir && !vamp_cgroup_is_root(h->cg, dir) &&
           !g_str_has_suffix(path, ".slice") &&
           vamp_cgroup_has(dir, h->cg->weight_file) &&
           vamp_cgroup_read(dir, "cgroup.procs", &procs) == 0 &&
           !strcmp(procs, only);
}

static VmGroup *group_new(BrokerHost *h, const char *path, Error **errp)
{
    VmGroup *g = g_new0(VmGroup, 1);

    g->path = g_strdup(path);
    g->dir = vamp_cgroup_dir(h->cg, path, errp);
    g->weight = g->dir ? group_weight_open(h, path, errp) : NULL;
    if (!g->weight) {
        g_free(g->dir);
        g_free(g->path);
        g_free(g);
        return NULL;
    }
    return g;
}

/* Can groups below @dir have weights? */
static bool hands_down_cpu(const BrokerHost *h, const char *dir)
{
    g_autofree char *control = NULL;

    return h->cg->version == 1 ||
           (vamp_cgroup_read(dir, "cgroup.subtree_control", &control) == 0 &&
            vamp_cgroup_word(control, " ", "cpu"));
}

/* Would +cpu in @dir change the shares of anybody? */
static bool has_groups(const char *dir)
{
    GDir *d = g_dir_open(dir, 0, NULL);
    const char *name;
    bool found = false;

    while (d && !found && (name = g_dir_read_name(d))) {
        g_autofree char *child = g_strdup_printf("%s/%s", dir, name);
        g_autofree char *events = NULL;

        found = vamp_cgroup_read(child, "cgroup.events", &events) == 0 &&
                strstr(events, "populated 1");
    }
    if (d) {
        g_dir_close(d);
    }
    return found;
}

/*
 * Where to make a group for a process in @path: beside its group, or as near
 * to that as weights exist. @enable: the folder needs +cpu first.
 */
static char *find_place(const BrokerHost *h, const char *path, bool *enable,
                        Error **errp)
{
    g_autofree char *at = path_parent(path);

    *enable = false;
    for (;;) {
        g_autofree char *dir = vamp_cgroup_dir(h->cg, at, errp);
        char *up;

        if (!dir) {
            return NULL;
        }
        if (hands_down_cpu(h, dir)) {
            return g_steal_pointer(&at);
        }
        if (!strcmp(at, "/")) {
            if (has_groups(dir)) {
                error_setg(errp, "no group above %s hands the cpu controller "
                           "down (+cpu in %s/cgroup.subtree_control would be "
                           "needed; set by the broker it would change the "
                           "shares of other groups)", path, dir);
                return NULL;
            }
            *enable = true;
            return g_steal_pointer(&at);
        }
        up = path_parent(at);
        g_free(at);
        at = up;
    }
}

/* Moves all processes in @from to @to; the first failure as -errno. */
static int move_processes(const char *from, const char *to)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) pids = NULL;
    int first = 0, ret = vamp_cgroup_read(from, "cgroup.procs", &text);
    unsigned i;

    if (ret < 0) {
        return ret;
    }
    pids = g_strsplit(text, "\n", -1);
    for (i = 0; pids[i]; i++) {
        ret = *pids[i] ? vamp_cgroup_write(to, "cgroup.procs", pids[i]) : 0;
        if (ret < 0 && ret != -ESRCH && !first) {
            first = ret;
        }
    }
    return first;
}

/* Empties and removes the group @dir. 0 or -errno. */
static int remove_group(const char *dir, const char *to)
{
    unsigned try;
    int err = 0;

    for (try = 0; try < REMOVE_TRIES; try++) {
        if (try) {
            /* A dying process stays in its group for a moment. */
            g_usleep(MIN(500 << (try - 1), 4000));
        }
        if (to) {
            move_processes(dir, to);
        }
        if (rmdir(dir) == 0 || errno == ENOENT) {
            return 0;
        }
        err = errno;
        if (err != EBUSY) {
            break;
        }
    }
    return -err;
}

/* What we did to @enabled_dir, unless somebody has come to need it. */
static void take_cpu_back(const char *enabled_dir)
{
    if (!has_groups(enabled_dir)) {
        vamp_cgroup_write(enabled_dir, "cgroup.subtree_control", "-cpu");
    }
}

/*
 * Where the kernel shares out real-time class by groups, a new group has none
 * of it, and what is given to one VM's is lost to all others: borrowing at once
 * is worth more than paying back by weight.
 */
static bool loses_real_time(const BrokerHost *h, const char *origin,
                            Error **errp)
{
    g_autofree char *dir = vamp_cgroup_dir(h->cg, origin, NULL);
    g_autofree char *text = NULL;

    if (!dir || vamp_cgroup_read(dir, "cpu.rt_runtime_us", &text) < 0 ||
        !strcmp(text, "0")) {
        return false;
    }
    error_setg(errp, "no group is made: it would have no real-time class, "
               "which %s has (cpu.rt_runtime_us; a group with some of it for "
               "the VM, or a kernel without CONFIG_RT_GROUP_SCHED, would be "
               "needed)", dir);
    return true;
}

static VmGroup *make(BrokerHost *h, pid_t pid, uint64_t start,
                     const char *origin, Error **errp)
{
    bool enable;
    g_autofree char *place = find_place(h, origin, &enable, errp);
    g_autofree char *place_dir = NULL, *path = NULL, *dir = NULL, *text = NULL;
    g_autofree char *escaped = NULL, *escaped_place = NULL, *origin_esc = NULL;
    VmGroup *g;
    int ret;

    if (!place || loses_real_time(h, origin, errp)) {
        return NULL;
    }
    place_dir = vamp_cgroup_dir(h->cg, place, errp);
    if (!place_dir) {
        return NULL;
    }
    path = g_strdup_printf("%s/vamp-%d", strcmp(place, "/") ? place : "",
                           (int)pid);
    dir = g_strdup_printf("%s/vamp-%d", place_dir, (int)pid);
    if (h->dry_run) {
        info_report("would make group %s and move process %d into it", dir,
                    (int)pid);
        error_setg(errp, "no group is made (--dry-run)");
        return NULL;
    }

    g = g_new0(VmGroup, 1);
    escaped = g_uri_escape_string(path, "/", false);
    escaped_place = g_uri_escape_string(place, "/", false);
    origin_esc = g_uri_escape_string(origin, "/", false);
    g->key = g_strconcat("group:", escaped, NULL);
    journal_set(h->journal, g->key, "%d %" PRIu64 " %s %s", (int)pid, start,
                origin_esc, enable ? escaped_place : "-");
    if (journal_error(h->journal)) {
        error_setg(errp, "no group is made: the state file cannot be written");
        goto fail_key;
    }
    if (enable) {
        ret = vamp_cgroup_write(place_dir, "cgroup.subtree_control", "+cpu");
        if (ret < 0) {
            vamp_cgroup_error(errp, -ret, "write +cpu to", place_dir,
                              "cgroup.subtree_control");
            goto fail_key;
        }
        g->enabled_dir = g_strdup(place_dir);
    }
    /* One of a dead process that had the same number may be in the way. */
    if (mkdir(dir, 0755) < 0 &&
        (errno != EEXIST || rmdir(dir) < 0 || mkdir(dir, 0755) < 0)) {
        vamp_cgroup_error(errp, errno, "create", dir, NULL);
        goto fail_enabled;
    }
    g->weight = group_weight_open(h, path, errp);
    if (!g->weight) {
        goto fail_dir;
    }
    text = g_strdup_printf("%d", (int)pid);
    ret = vamp_cgroup_write(dir, "cgroup.procs", text);
    if (ret < 0) {
        g_autofree char *what = g_strdup_printf("move process %d to",
                                                (int)pid);

        vamp_cgroup_error(errp, -ret, what, dir, "cgroup.procs");
        goto fail_dir;
    }
    g->path = g_steal_pointer(&path);
    g->dir = g_steal_pointer(&dir);
    g->origin = g_strdup(origin);
    return g;

fail_dir:
    group_weight_close(h, g->weight);
    rmdir(dir);
fail_enabled:
    if (g->enabled_dir) {
        take_cpu_back(g->enabled_dir);
    }
fail_key:
    journal_del(h->journal, g->key);
    g_free(g->enabled_dir);
    g_free(g->key);
    g_free(g);
    return NULL;
}

VmGroup *vm_group_get(BrokerHost *h, pid_t pid, uint64_t start, Error **errp)
{
    Threads t = { .h = h, .pid = pid };
    g_autofree char *path = NULL, *dir = NULL;

    if (!h->cg) {
        error_setg(errp, "%s", h->cg_reason);
        return NULL;
    }
    task_each(pid, VAMP_BROKER_THREADS_MAX, add_thread, &t);
    if (!t.common) {
        error_setg(errp, "process %d has no threads to be found", (int)pid);
        return NULL;
    }
    path = g_strdup(t.common);
    trim_parts(&path);
    g_free(t.common);
    dir = vamp_cgroup_dir(h->cg, path, errp);
    if (!dir) {
        return NULL;
    }
    if (t.several) {
        /* A manager has put the parts of the VM into groups. */
        if (vamp_cgroup_is_root(h->cg, dir) ||
            g_str_has_suffix(path, ".slice")) {
            error_setg(errp, "the threads of process %d are in groups that "
                       "have only %s in common (a group for the VM would be "
                       "needed)", (int)pid, path);
            return NULL;
        }
        return group_new(h, path, errp);
    }
    if (is_own(h, path, pid)) {
        return group_new(h, path, errp);
    }
    return make(h, pid, start, path, errp);
}

bool vm_group_holds(const BrokerHost *h, const VmGroup *g, pid_t pid)
{
    g_autofree char *path = vamp_cgroup_path(h->cg, pid, pid, NULL);
    const char *rest;

    return path && strstart(path, g->path, &rest) && (!*rest || *rest == '/');
}

/* Back to where they were; that may be gone: then as near as can be. */
static void restore_made(BrokerHost *h, const char *path, const char *dir,
                         const char *origin, const char *enabled_dir)
{
    g_autofree char *to = vamp_cgroup_dir(h->cg, origin, NULL);
    g_autofree char *up = path_parent(path);
    int ret;

    if (!to) {
        to = vamp_cgroup_dir(h->cg, up, NULL);
    }
    ret = remove_group(dir, to);
    if (ret < 0) {
        warn_report("cannot remove group %s: %s", dir, strerror(-ret));
    }
    if (enabled_dir) {
        take_cpu_back(enabled_dir);
    }
}

void vm_group_put(BrokerHost *h, VmGroup *g)
{
    if (!g) {
        return;
    }
    group_weight_close(h, g->weight);
    if (g->origin) {
        restore_made(h, g->path, g->dir, g->origin, g->enabled_dir);
        journal_del(h->journal, g->key);
    }
    g_free(g->enabled_dir);
    g_free(g->key);
    g_free(g->origin);
    g_free(g->dir);
    g_free(g->path);
    g_free(g);
}

char *group_of_one(const BrokerHost *h, pid_t pid, pid_t tid,
                   const VmGroup *vm)
{
    g_autofree char *path = vamp_cgroup_path(h->cg, pid, tid, NULL);
    g_autofree char *dir = path ? vamp_cgroup_dir(h->cg, path, NULL) : NULL;

    if (!dir || !vamp_cgroup_is_own(h->cg, dir, vm->dir, tid)) {
        return NULL;
    }
    return g_steal_pointer(&path);
}

/*
 * A path out of a state file: below the hierarchy, whatever the file says.
 * NULL: it is none.
 */
static char *checked_path(const char *escaped)
{
    char *path = g_uri_unescape_string(escaped, NULL);
    g_auto(GStrv) parts = path ? g_strsplit(path, "/", -1) : NULL;
    unsigned i;

    if (!path || *path != '/' || strchr(path, '\n') ||
        strlen(path) >= PATH_MAX) {
        g_free(path);
        return NULL;
    }
    for (i = 0; parts[i]; i++) {
        if (!strcmp(parts[i], "..") || !strcmp(parts[i], ".")) {
            g_free(path);
            return NULL;
        }
    }
    return path;
}

static void undo_weight(BrokerHost *h, const char *path, const char *value)
{
    g_autofree char *dir = vamp_cgroup_dir(h->cg, path, NULL);
    g_autofree char *now_text = NULL, *base_text = NULL;
    uint64_t base, before, after, now;
    int ret;

    if (!dir ||
        sscanf(value, "%" SCNu64 " %" SCNu64 " %" SCNu64, &base, &before,
               &after) != 3 ||
        vamp_cgroup_read(dir, h->cg->weight_file, &now_text) < 0 ||
        qemu_strtou64(now_text, NULL, 10, &now) < 0) {
        return;
    }
    /* Neither of ours: it is somebody else's choice. */
    if (now == base || (now != before && now != after)) {
        return;
    }
    base_text = g_strdup_printf("%" PRIu64, base);
    ret = vamp_cgroup_write(dir, h->cg->weight_file, base_text);
    if (ret < 0) {
        warn_report("cannot put the weight of %s back to %" PRIu64 ": %s", dir,
                    base, strerror(-ret));
    }
}

static void undo_made(BrokerHost *h, const char *path, const char *value)
{
    g_auto(GStrv) w = g_strsplit(value, " ", -1);
    g_autofree char *name = g_path_get_basename(path), *want = NULL;
    g_autofree char *up = path_parent(path), *up_dir = NULL, *dir = NULL;
    g_autofree char *origin = NULL, *enabled = NULL, *enabled_dir = NULL;
    int pid;

    if (g_strv_length(w) != 4 || qemu_strtoi(w[0], NULL, 10, &pid) < 0) {
        return;
    }
    want = g_strdup_printf("vamp-%d", pid);
    origin = checked_path(w[2]);
    up_dir = vamp_cgroup_dir(h->cg, up, NULL);
    if (strcmp(name, want) || !origin || !up_dir) {
        return;
    }
    if (strcmp(w[3], "-")) {
        enabled = checked_path(w[3]);
        enabled_dir = enabled ? vamp_cgroup_dir(h->cg, enabled, NULL) : NULL;
    }
    dir = g_strdup_printf("%s/%s", up_dir, name);
    restore_made(h, path, dir, origin, enabled_dir);
}

bool group_undo(BrokerHost *h, const char *key, const char *value)
{
    g_autofree char *path = NULL;
    const char *rest;
    bool made;

    if (strstart(key, "group:", &rest)) {
        made = true;
    } else if (strstart(key, "weight:", &rest)) {
        made = false;
    } else {
        return false;
    }
    path = checked_path(rest);
    if (!path || !h->cg) {
        warn_report("the state file's %s makes no sense here; it is left out",
                    key);
    } else if (made) {
        undo_made(h, path, value);
    } else {
        undo_weight(h, path, value);
    }
    return true;
}
