/*
 * A group's weight: moved by us, and now and then by its administrator
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

static int read_weight(int fd, uint64_t *weight)
{
    char text[32];
    ssize_t n = RETRY_ON_EINTR(pread(fd, text, sizeof(text) - 1, 0));

    if (n < 0) {
        return -errno;
    }
    text[n] = 0;
    return qemu_strtou64(g_strchomp(text), NULL, 10, weight);
}

static int write_weight(int fd, uint64_t weight)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%" PRIu64, weight);

    return RETRY_ON_EINTR(pwrite(fd, text, len, 0)) < 0 ? -errno : 0;
}

/* In a journal, values are parted by blanks. */
static char *path_key(const char *kind, const char *path)
{
    g_autofree char *escaped = g_uri_escape_string(path, "/", false);

    return g_strconcat(kind, ":", escaped, NULL);
}

GroupWeight *group_weight_open(BrokerHost *h, const char *path, Error **errp)
{
    g_autofree char *dir = vamp_cgroup_dir(h->cg, path, errp);
    g_autofree char *name = NULL;
    GroupWeight *w;
    uint64_t base;
    int fd, ret;

    if (!dir) {
        return NULL;
    }
    name = g_strdup_printf("%s/%s", dir, h->cg->weight_file);
    fd = open(name, (h->dry_run ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (fd < 0) {
        vamp_cgroup_error(errp, errno, "open", dir, h->cg->weight_file);
        return NULL;
    }
    ret = read_weight(fd, &base);
    if (ret < 0) {
        vamp_cgroup_error(errp, -ret, "read", dir, h->cg->weight_file);
        close(fd);
        return NULL;
    }
    w = g_new(GroupWeight, 1);
    *w = (GroupWeight) {
        .base = base,
        .last = base,
        .fd = fd,
        .path = g_strdup(path),
        .key = path_key("weight", path),
    };
    return w;
}

int group_weight_look(GroupWeight *w)
{
    uint64_t now;
    int ret = read_weight(w->fd, &now);

    if (ret == 0 && now != w->last) {
        info_report("%s: somebody has set weight %" PRIu64 " (was %" PRIu64
                    "): that is its fair share now", w->path, now, w->last);
        w->base = w->last = now;
    }
    return ret;
}

int group_weight_set(BrokerHost *h, GroupWeight *w, uint64_t weight)
{
    uint64_t old = w->last;
    int ret;

    if (h->dry_run) {
        info_report("%s: would set weight %" PRIu64, w->path, weight);
        w->last = old;
        return 0;
    }
    ret = group_weight_look(w);
    if (ret < 0) {
        return ret;
    }
    if (w->last != old) {
        return -EAGAIN;
    }
    journal_set(h->journal, w->key, "%" PRIu64 " %" PRIu64 " %" PRIu64,
                w->base, old, weight);
    if (journal_error(h->journal) && weight != w->base) {
        return -journal_error(h->journal);
    }
    ret = write_weight(w->fd, weight);
    if (ret == 0) {
        /* As the kernel took it: its scale may be coarser. */
        w->last = weight;
        ret = read_weight(w->fd, &w->last);
    }
    if (w->last == w->base) {
        journal_del(h->journal, w->key);
    }
    return ret;
}

void group_weight_close(BrokerHost *h, GroupWeight *w)
{
    int ret = 0;

    if (!w) {
        return;
    }
    if (w->last != w->base) {
        ret = group_weight_set(h, w, w->base);
    }
    /* Gone with the VM, or somebody else's choice: nothing to undo. */
    if (ret == 0 || ret == -ENODEV || ret == -EAGAIN) {
        journal_del(h->journal, w->key);
    } else {
        warn_report("cannot put the weight of %s back to %" PRIu64 ": %s",
                    w->path, w->base, strerror(-ret));
    }
    close(w->fd);
    g_free(w->path);
    g_free(w->key);
    g_free(w);
}
