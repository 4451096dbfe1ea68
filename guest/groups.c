/*
 * vdiguest: two cpuset groups, of cgroup v1 or v2
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "guest/groups.h"
#include "guest/log.h"
#include "guest/procfs.h"

/*
 * Threads that are born while a group is emptied are born in it, and one that
 * ends cannot be moved any more: again, when it has had time to. We run before
 * it in real-time class, on the same CPU maybe.
 */
#define EMPTY_ROUNDS    100
#define EMPTY_WAIT_US   2000

static char *file_of(const Groups *g, const char *name, const char *file)
{
    return name ? g_strdup_printf("%s/%s/%s", g->root, name, file) :
                  g_strdup_printf("%s/%s", g->root, file);
}

static int put(const Groups *g, const char *name, const char *file,
               const char *text)
{
    g_autofree char *path = file_of(g, name, file);

    return procfs_write(path, text);
}

static char *get(const Groups *g, const char *name, const char *file)
{
    g_autofree char *path = file_of(g, name, file);
    char *text;

    return procfs_read(path, &text) < 0 ? NULL : g_strchomp(text);
}

static bool has_word(const char *text, const char *word)
{
    g_auto(GStrv) words = g_strsplit_set(text ?: "", "\n ,", -1);

    return g_strv_contains((const char *const *)words, word);
}

Groups *groups_at(const char *root, unsigned version)
{
    Groups *g = g_new0(Groups, 1);

    g->root = g_strdup(root);
    g->version = version;
    return g;
}

Groups *groups_again(const char *root, bool enabled)
{
    g_autofree char *v2 = g_strconcat(root, "/cgroup.controllers", NULL);
    Groups *g = groups_at(root, access(v2, F_OK) == 0 ? 2 : 1);

    g->enabled = enabled;
    g->made = true;
    return g;
}

void groups_free(Groups *g)
{
    if (g) {
        g_free(g->root);
        g_free(g);
    }
}

Groups *groups_find(char **reason)
{
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    struct mntent *m;
    Groups *found = NULL;

    *reason = NULL;
    while (mounts && !found && (m = getmntent(mounts))) {
        if (!strcmp(m->mnt_type, "cgroup") && hasmntopt(m, "cpuset")) {
            found = groups_at(m->mnt_dir, 1);
        } else if (!strcmp(m->mnt_type, "cgroup2")) {
            Groups *g = groups_at(m->mnt_dir, 2);
            g_autofree char *all = get(g, NULL, "cgroup.controllers");
            g_autofree char *type = get(g, NULL, "cgroup.type");

            /* Only the real root has no type. */
            if (has_word(all, "cpuset") && !type) {
                found = g;
            } else {
                groups_free(g);
            }
        }
    }
    if (mounts) {
        endmntent(mounts);
    }
    if (!found) {
        *reason = g_strdup("no root group of the cpuset controller is mounted "
                           "(cgroup v1 with cpuset, or cgroup v2, would be "
                           "needed)");
    } else if (access(found->root, W_OK) < 0) {
        *reason = g_strdup_printf("%s cannot be written: %s", found->root,
                                  g_strerror(errno));
        groups_free(found);
        found = NULL;
    }
    return found;
}

bool groups_must_enable(const Groups *g)
{
    g_autofree char *on = NULL;

    if (g->version != 2) {
        return false;
    }
    on = get(g, NULL, "cgroup.subtree_control");
    return !has_word(on, "cpuset");
}

static int make_group(const Groups *g, const char *name, const CpuSet *cpus)
{
    g_autofree char *dir = file_of(g, NULL, name), *list = cpus_format(cpus);
    int ret = 0;

    if (mkdir(dir, 0755) < 0 && errno != EEXIST) {
        return -errno;
    }
    if (g->version == 2) {
        if (!g->made) {
            ret = put(g, name, "cgroup.type", "threaded");
        }
    } else {
        /* An empty set of memory nodes would take no task. */
        g_autofree char *mems = get(g, NULL, "cpuset.mems");

        ret = put(g, name, "cpuset.mems", mems ?: "0");
    }
    return ret < 0 ? ret : put(g, name, "cpuset.cpus", list);
}

int groups_make(Groups *g, const CpuSet *fast, const CpuSet *slow)
{
    int ret = 0;

    if (!g->made && groups_must_enable(g)) {
        ret = put(g, NULL, "cgroup.subtree_control", "+cpuset");
        g->enabled = ret == 0;
    }
    if (ret == 0) {
        ret = make_group(g, GROUPS_FAST, fast);
    }
    if (ret == 0) {
        ret = make_group(g, GROUPS_SLOW, slow);
    }
    if (ret < 0 && !g->made) {
        groups_remove(g);
    }
    g->made |= ret == 0;
    return ret;
}

GHashTable *groups_threads(const Groups *g, const char *name)
{
    GHashTable *tids = g_hash_table_new(NULL, NULL);
    g_autofree char *text = get(g, name, g->version == 2 ? "cgroup.threads"
                                                         : "tasks");
    const char *line;

    for (line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        g_hash_table_add(tids, GINT_TO_POINTER(atoi(line)));
    }
    return tids;
}

int groups_open(const Groups *g, const char *name)
{
    g_autofree char *path = file_of(g, name, g->version == 2 ? "cgroup.threads"
                                                             : "tasks");
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int groups_put(int fd, pid_t tid)
{
    char text[16];
    int len = g_snprintf(text, sizeof(text), "%d", (int)tid);

    return fd < 0 ? fd : write(fd, text, len) < 0 ? -errno : 0;
}

static int empty_group(const Groups *g, const char *name)
{
    g_autofree char *dir = file_of(g, NULL, name);
    int root = groups_open(g, NULL), ret = -EBUSY;
    unsigned round;

    for (round = 0; round < EMPTY_ROUNDS && ret == -EBUSY; round++) {
        GHashTable *tids = groups_threads(g, name);
        GHashTableIter iter;
        gpointer tid;

        g_hash_table_iter_init(&iter, tids);
        while (g_hash_table_iter_next(&iter, &tid, NULL)) {
            /* One that has ended meanwhile needs no move. */
            groups_put(root, GPOINTER_TO_INT(tid));
        }
        g_hash_table_unref(tids);
        ret = rmdir(dir) == 0 || errno == ENOENT ? 0 : -errno;
        if (ret == -EBUSY) {
            g_usleep(EMPTY_WAIT_US);
        }
    }
    if (root >= 0) {
        close(root);
    }
    return ret;
}

int groups_remove(Groups *g)
{
    int fast = empty_group(g, GROUPS_FAST), slow = empty_group(g, GROUPS_SLOW);
    int ret = fast < 0 ? fast : slow;

    if (ret == 0 && g->enabled) {
        /* It stays on where somebody else has begun to use it. */
        int off = put(g, NULL, "cgroup.subtree_control", "-cpuset");

        if (off < 0 && off != -EBUSY) {
            log_warn("the cpuset controller stays on in %s: %s", g->root,
                     g_strerror(-off));
        }
        g->enabled = false;
    }
    g->made = ret != 0;
    return ret;
}
