/*
 * VAMP: finding and reading the control groups of a controller
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "core/brokermsg.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/vamp-cgroup.h"

const VampHostPaths vamp_host_paths = {
    .proc = "/proc",
    .mountinfo = "/proc/self/mountinfo",
    .broker = VAMP_BROKER_SOCKET,
};

typedef struct CgroupMount {
    char *root;                 /* path of the group that is mounted */
    char *dir;                  /* where */
} CgroupMount;

static void mount_free(void *opaque)
{
    CgroupMount *m = opaque;

    g_free(m->root);
    g_free(m->dir);
    g_free(m);
}

bool vamp_cgroup_word(const char *text, const char *separators,
                      const char *word)
{
    size_t len = strlen(word);

    while (*text) {
        size_t n;

        text += strspn(text, separators);
        n = strcspn(text, separators);
        if (n == len && !memcmp(text, word, len)) {
            return true;
        }
        text += n;
    }
    return false;
}

/*
 * The path in that line of /proc/PID/cgroup ("ID:CONTROLLERS:PATH") which
 * belongs to @controller: a controller is bound to one hierarchy only, and a v1
 * hierarchy names it. Otherwise it is in v2's, "0::PATH", if anywhere. A path
 * may contain colons.
 */
static const char *find_line(char *text, const char *controller,
                             unsigned *version)
{
    const char *v2 = NULL;
    char *line, *next, *controllers, *path;

    for (line = text; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next) {
            *next++ = 0;
        }
        controllers = strchr(line, ':');
        path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) {
            continue;
        }
        *controllers++ = 0;
        *path++ = 0;
        if (!strcmp(line, "0") && !*controllers) {
            v2 = path;
        } else if (vamp_cgroup_word(controllers, ",", controller)) {
            *version = 1;
            return path;
        }
    }
    *version = 2;
    return v2;
}

static char *thread_path(const char *proc, const char *controller, pid_t pid,
                         pid_t tid, unsigned *version, Error **errp)
{
    g_autofree char *process = pid ? g_strdup_printf("%d", (int)pid)
                                   : g_strdup("self");
    g_autofree char *dir = g_strdup_printf("%s/%s/task/%d", proc, process,
                                           (int)tid);
    g_autofree char *text = NULL;
    const char *path;
    int ret = vamp_cgroup_read(dir, "cgroup", &text);

    if (ret < 0) {
        vamp_cgroup_error(errp, -ret, "read", dir, "cgroup");
        return NULL;
    }
    path = find_line(text, controller, version);
    if (!path) {
        error_setg(errp, "%s/cgroup names no group of the %s controller "
                   "(a kernel with it would be needed)", dir, controller);
        return NULL;
    }
    return g_strdup(path);
}

/*
 * Lines of mountinfo: "ID PARENT MAJ:MIN ROOT DIR OPTIONS [TAG...] - TYPE
 * SOURCE SUPEROPTIONS". In ROOT and DIR, white space and backslashes are octal.
 */
static void find_mounts(VampCgroups *cg, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    unsigned i, sep;

    for (i = 0; lines[i]; i++) {
        g_auto(GStrv) f = g_strsplit(lines[i], " ", -1);
        unsigned n = g_strv_length(f);
        CgroupMount *m;

        for (sep = 6; sep < n && strcmp(f[sep], "-"); sep++) {
            /* skip the tags */
        }
        if (sep + 3 >= n) {
            continue;
        }
        if (cg->version == 2 ? strcmp(f[sep + 1], "cgroup2") :
            strcmp(f[sep + 1], "cgroup") ||
            !vamp_cgroup_word(f[sep + 3], ",", cg->controller)) {
            continue;
        }
        m = g_new0(CgroupMount, 1);
        m->root = g_strcompress(f[3]);
        m->dir = g_strcompress(f[4]);
        g_ptr_array_add(cg->mounts, m);
    }
}

VampCgroups *vamp_cgroups_new(const VampHostPaths *paths,
                              const char *controller, Error **errp)
{
    g_autoptr(VampCgroups) cg = g_new0(VampCgroups, 1);
    g_autofree char *path = NULL, *text = NULL;
    GError *err = NULL;

    cg->proc = g_strdup(paths->proc);
    cg->controller = controller;
    cg->mounts = g_ptr_array_new_with_free_func(mount_free);

    path = thread_path(cg->proc, controller, 0, getpid(), &cg->version, errp);
    if (!path) {
        return NULL;
    }
    if (cg->version == 2) {
        cg->weight_file = "cpu.weight";
        cg->threads_file = "cgroup.threads";
        cg->weight_min = 1;
        cg->weight_max = 10000;
    } else {
        cg->weight_file = "cpu.shares";
        cg->threads_file = "tasks";
        cg->weight_min = 2;
        cg->weight_max = 262144;
    }

    if (!g_file_get_contents(paths->mountinfo, &text, NULL, &err)) {
        error_setg(errp, "cannot read %s: %s", paths->mountinfo, err->message);
        g_error_free(err);
        return NULL;
    }
    find_mounts(cg, text);
    if (!cg->mounts->len) {
        error_setg(errp, "the cgroup v%u hierarchy of the %s controller is "
                   "not mounted (%s has no such line)", cg->version,
                   controller, paths->mountinfo);
        return NULL;
    }
    return g_steal_pointer(&cg);
}

void vamp_cgroups_free(VampCgroups *cg)
{
    if (!cg) {
        return;
    }
    if (cg->parents) {
        g_ptr_array_unref(cg->parents);
    }
    g_ptr_array_unref(cg->mounts);
    g_free(cg->proc);
    g_free(cg);
}

char *vamp_cgroup_path(const VampCgroups *cg, pid_t pid, pid_t tid,
                       Error **errp)
{
    unsigned version;

    return thread_path(cg->proc, cg->controller, pid, tid, &version, errp);
}

/* What lies above our cgroup namespace is shown as "/..", "/../x" and so on. */
static bool is_outside(const char *path)
{
    const char *rest;

    return strstart(path, "/..", &rest) && (!*rest || *rest == '/');
}

char *vamp_cgroup_dir(const VampCgroups *cg, const char *path, Error **errp)
{
    unsigned i;

    /* The last mount lies on top. */
    for (i = cg->mounts->len; i-- > 0; ) {
        CgroupMount *m = g_ptr_array_index(cg->mounts, i);
        const char *below = path;
        g_autofree char *dir = NULL;

        /* In a container, or bind-mounted, only a part may be to be seen. */
        if (strcmp(m->root, "/") &&
            (!strstart(path, m->root, &below) || (*below && *below != '/'))) {
            continue;
        }
        dir = g_strconcat(m->dir, strcmp(below, "/") ? below : "", NULL);
        /* The mount may be hidden by a later one. */
        if (!is_outside(below) && vamp_cgroup_has(dir, "cgroup.procs")) {
            return g_steal_pointer(&dir);
        }
    }
    error_setg(errp, "group %s of the cgroup v%u hierarchy is not visible here "
               "(it lies outside of what is mounted)", path, cg->version);
    return NULL;
}

bool vamp_cgroup_is_root(const VampCgroups *cg, const char *dir)
{
    /*
     * Not by the path: in a cgroup namespace, any group may be "/". These
     * files exist only outside (v2), or only in (v1), the real root.
     */
    if (cg->version == 2) {
        return !vamp_cgroup_has(dir, "cgroup.type");
    }
    return vamp_cgroup_has(dir, "release_agent") ||
           vamp_cgroup_has(dir, "cgroup.sane_behavior");
}

bool vamp_cgroup_is_own(const VampCgroups *cg, const char *dir,
                        const char *main_dir, pid_t tid)
{
    g_autofree char *text = NULL, *only = g_strdup_printf("%d", (int)tid);

    return strcmp(dir, main_dir) &&
           vamp_cgroup_has(dir, cg->weight_file) &&
           vamp_cgroup_read(dir, cg->threads_file, &text) == 0 &&
           !strcmp(text, only);
}

int vamp_cgroup_read(const char *dir, const char *file, char **text)
{
    g_autofree char *name = g_strdup_printf("%s/%s", dir, file);
    g_autoptr(GString) buf = g_string_new(NULL);
    char chunk[4096];
    ssize_t n;
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    do {
        n = RETRY_ON_EINTR(read(fd, chunk, sizeof(chunk)));
        if (n < 0) {
            n = -errno;
            close(fd);
            return n;
        }
        g_string_append_len(buf, chunk, n);
    } while (n);
    close(fd);

    *text = g_strchomp(g_strdup(buf->str));
    return 0;
}

int vamp_cgroup_write(const char *dir, const char *file, const char *text)
{
    g_autofree char *name = g_strdup_printf("%s/%s", dir, file);
    int fd = open(name, O_WRONLY | O_CLOEXEC);
    int ret = 0;

    if (fd < 0) {
        return -errno;
    }
    if (RETRY_ON_EINTR(write(fd, text, strlen(text))) < 0) {
        ret = -errno;
    }
    close(fd);
    return ret;
}

bool vamp_cgroup_has(const char *dir, const char *file)
{
    g_autofree char *name = g_strdup_printf("%s/%s", dir, file);

    return access(name, F_OK) == 0;
}

void vamp_cgroup_error(Error **errp, int err, const char *what,
                       const char *dir, const char *file)
{
    const char *slash = file ? "/" : "";

    file = file ?: "";
    switch (err) {
    case EROFS:
        error_setg(errp, "cannot %s %s%s%s: it is mounted read-only (a "
                   "writable mount would be needed)", what, dir, slash, file);
        break;
    case EACCES:
    case EPERM:
        error_setg(errp, "cannot %s %s%s%s: user %u may not (the group would "
                   "have to be delegated to that user)", what, dir, slash,
                   file, (unsigned)geteuid());
        break;
    case ENODEV:
        error_setg(errp, "cannot %s %s%s%s: the group has been removed", what,
                   dir, slash, file);
        break;
    default:
        error_setg_errno(errp, err, "cannot %s %s%s%s", what, dir, slash, file);
        break;
    }
}
