/*
 * Fuzzing: /proc/self/mountinfo and /proc/self/task/TID/cgroup
 *
 * The kernel writes these files, but names of groups and of mount points in
 * them are chosen by whoever made those. An input is the two files, parted by
 * a zero byte.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/vamp-cgroup.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char proc[64], mountinfo[96], cgroup[160];

void fuzz_error(Error **errp, const char *fmt, ...)
{
    va_list ap;
    char *text;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    /* A reason is one sentence for a person. */
    g_assert(*text);
    g_free(text);
}

int strstart(const char *str, const char *val, const char **ptr)
{
    size_t n = strlen(val);

    if (strncmp(str, val, n)) {
        return 0;
    }
    if (ptr) {
        *ptr = str + n;
    }
    return 1;
}

static void clean_up(void)
{
    char *dir;

    unlink(mountinfo);
    unlink(cgroup);
    for (dir = g_path_get_dirname(cgroup); strlen(dir) >= strlen(proc); ) {
        char *up = g_path_get_dirname(dir);

        rmdir(dir);
        g_free(dir);
        dir = up;
    }
    g_free(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char *dir;

    snprintf(proc, sizeof(proc), "/dev/shm/vamp-fuzz-XXXXXX");
    if (!mkdtemp(proc)) {
        perror(proc);
        exit(1);
    }
    snprintf(mountinfo, sizeof(mountinfo), "%s/mountinfo", proc);
    snprintf(cgroup, sizeof(cgroup), "%s/self/task/%d/cgroup", proc,
             (int)getpid());
    dir = g_path_get_dirname(cgroup);
    g_mkdir_with_parents(dir, 0700);
    g_free(dir);
    atexit(clean_up);
    /* GLib says on stderr that a name ends in a backslash. */
    g_log_set_default_handler((GLogFunc)getpid, NULL);
    return 0;
}

static void put_file(const char *name, const void *data, size_t size)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        perror(name);
        exit(1);
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VampHostPaths paths = { .proc = proc, .mountinfo = mountinfo };
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t first = zero ? (size_t)(zero - data) : size;
    VampCgroups *cg;
    char *path, *dir;

    put_file(mountinfo, data, first);
    put_file(cgroup, zero ? zero + 1 : data, zero ? size - first - 1 : 0);
    cg = vamp_cgroups_new(&paths, "cpu", NULL);
    if (!cg) {
        return 0;
    }
    g_assert(cg->version == 1 || cg->version == 2);
    path = vamp_cgroup_path(cg, 0, getpid(), NULL);
    if (path) {
        dir = vamp_cgroup_dir(cg, path, NULL);
        if (dir) {
            vamp_cgroup_is_root(cg, dir);
            vamp_cgroup_is_own(cg, dir, "", getpid());
        }
        g_free(dir);
    }
    g_free(path);
    vamp_cgroups_free(cg);
    return 0;
}
