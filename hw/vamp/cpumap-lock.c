/*
 * VAMP: locks that keep two VMs off one host CPU
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/file.h>
#include "qapi/error.h"
#include "qemu/ctype.h"
#include "hw/vamp/cpumap-lock.h"

#define HOLDER_MAX  256

struct VampLocks {
    char *dir;
    int dirfd;
    char *holder;
    GHashTable *fds;            /* CPU -> file descriptor */
};

/* --- the folder ----------------------------------------------------------- */

static int open_dir(const char *dir, mode_t mode, Error **errp)
{
    bool made = mkdir(dir, mode) == 0;
    int fd;

    if (!made && errno != EEXIST) {
        error_setg_errno(errp, errno, "cannot make %s", dir);
        return -1;
    }
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        error_setg_errno(errp, errno, "cannot open %s", dir);
        return -1;
    }
    /* The umask is not asked: others have to get in. */
    if (made && fchmod(fd, mode) < 0) {
        error_setg_errno(errp, errno, "cannot change the mode of %s", dir);
        close(fd);
        return -1;
    }
    if (faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0) {
        error_setg_errno(errp, errno, "cannot make files in %s", dir);
        close(fd);
        return -1;
    }
    return fd;
}

VampLocks *vamp_locks_open(const char *host_dir, const char *user_dir,
                           const char *holder, bool *host_wide, Error **errp)
{
    Error *err = NULL;
    VampLocks *locks;
    const char *dir = host_dir;
    int fd = -1;

    *host_wide = false;
    if (host_dir) {
        fd = open_dir(host_dir, 01777, &err);
        *host_wide = fd >= 0;
    }
    if (fd < 0 && user_dir) {
        error_free(err);
        err = NULL;
        dir = user_dir;
        fd = open_dir(user_dir, 0700, &err);
    }
    if (fd < 0) {
        if (err) {
            error_propagate(errp, err);
        } else {
            error_setg(errp, "there is no folder for locks");
        }
        return NULL;
    }
    locks = g_new0(VampLocks, 1);
    locks->dir = g_strdup(dir);
    locks->dirfd = fd;
    locks->holder = g_strdup(holder);
    locks->fds = g_hash_table_new(NULL, NULL);
    return locks;
}

const char *vamp_locks_dir(const VampLocks *locks)
{
    return locks->dir;
}

/* --- one lock ------------------------------------------------------------- */

/*
 * Opened with O_CREAT only if it is not there: in a folder open to everybody,
 * Linux refuses that for files of others (fs.protected_regular). A file that
 * may only be read can be locked as well.
 */
static int open_lock(const VampLocks *locks, const char *name)
{
    const int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd, i;

    for (i = 0; i < 10; i++) {
        fd = openat(locks->dirfd, name, O_RDWR | flags);
        if (fd < 0 && errno == EACCES) {
            fd = openat(locks->dirfd, name, O_RDONLY | flags);
        }
        if (fd >= 0 || errno != ENOENT) {
            return fd;
        }
        fd = openat(locks->dirfd, name, O_RDWR | O_CREAT | O_EXCL | flags,
                    0666);
        if (fd >= 0) {
            /* Not all is lost if that fails: others can still lock it. */
            (void)!fchmod(fd, 0666);
            return fd;
        }
        if (errno != EEXIST) {
            return fd;
        }
    }
    return fd;
}

/* What the file says, made fit to be printed: anyone may have written it. */
static char *read_holder(int fd)
{
    char buf[HOLDER_MAX];
    ssize_t n = RETRY_ON_EINTR(pread(fd, buf, sizeof(buf), 0));

    while (n > 0 && buf[n - 1] == '\n') {
        n--;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (!qemu_isprint(buf[i]) || (unsigned char)buf[i] > 126) {
            buf[i] = '?';
        }
    }
    return n > 0 ? g_strndup(buf, n) : NULL;
}

static void write_holder(const VampLocks *locks, int fd)
{
    g_autofree char *text = g_strdup_printf("%.*s\n", HOLDER_MAX - 1,
                                            locks->holder);

    /* Only for people: a full file system does not stop the VM. */
    (void)!ftruncate(fd, 0);
    (void)!pwrite(fd, text, strlen(text), 0);
}

static bool take_one(VampLocks *locks, unsigned cpu, Error **errp)
{
    g_autofree char *name = g_strdup_printf("cpu%u", cpu);
    g_autofree char *who = NULL;
    struct stat st;
    int fd, i;

    for (i = 0; i < 10; i++) {
        fd = open_lock(locks, name);
        if (fd < 0) {
            error_setg_errno(errp, errno, "cannot open the lock of host CPU "
                             "%u, %s/%s", cpu, locks->dir, name);
            return false;
        }
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
            error_setg(errp, "the lock of host CPU %u, %s/%s, is not a "
                       "regular file", cpu, locks->dir, name);
            close(fd);
            return false;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            if (errno == EINTR) {
                close(fd);
                continue;
            }
            if (errno != EWOULDBLOCK) {
                error_setg_errno(errp, errno, "cannot lock host CPU %u with "
                                 "%s/%s", cpu, locks->dir, name);
            } else {
                who = read_holder(fd);
                error_setg(errp, "host CPU %u is claimed by another VM: %s "
                           "(lock %s/%s)", cpu, who ?: "it does not say which",
                           locks->dir, name);
            }
            close(fd);
            return false;
        }
        /* Somebody may have removed it in the meantime. */
        if (fstat(fd, &st) == 0 && st.st_nlink) {
            write_holder(locks, fd);
            g_hash_table_insert(locks->fds, GUINT_TO_POINTER(cpu),
                                GINT_TO_POINTER(fd));
            return true;
        }
        close(fd);
    }
    error_setg(errp, "cannot lock host CPU %u: %s/%s is removed again and "
               "again", cpu, locks->dir, name);
    return false;
}

static void drop_one(VampLocks *locks, unsigned cpu)
{
    gpointer fd;

    if (g_hash_table_lookup_extended(locks->fds, GUINT_TO_POINTER(cpu), NULL,
                                     &fd)) {
        (void)!ftruncate(GPOINTER_TO_INT(fd), 0);
        close(GPOINTER_TO_INT(fd));
        g_hash_table_remove(locks->fds, GUINT_TO_POINTER(cpu));
    }
}

/* --- sets of locks -------------------------------------------------------- */

bool vamp_locks_held(const VampLocks *locks, unsigned cpu)
{
    return g_hash_table_contains(locks->fds, GUINT_TO_POINTER(cpu));
}

bool vamp_locks_take(VampLocks *locks, const VampCpus *cpus, VampCpus *added,
                     Error **errp)
{
    bitmap_zero(added->bits, VAMP_CPUS_MAX);
    for (unsigned cpu = find_first_bit(cpus->bits, VAMP_CPUS_MAX);
         cpu < VAMP_CPUS_MAX;
         cpu = find_next_bit(cpus->bits, VAMP_CPUS_MAX, cpu + 1)) {
        if (vamp_locks_held(locks, cpu)) {
            continue;
        }
        if (!take_one(locks, cpu, errp)) {
            vamp_locks_drop(locks, added);
            bitmap_zero(added->bits, VAMP_CPUS_MAX);
            return false;
        }
        set_bit(cpu, added->bits);
    }
    return true;
}

void vamp_locks_drop(VampLocks *locks, const VampCpus *cpus)
{
    for (unsigned cpu = find_first_bit(cpus->bits, VAMP_CPUS_MAX);
         cpu < VAMP_CPUS_MAX;
         cpu = find_next_bit(cpus->bits, VAMP_CPUS_MAX, cpu + 1)) {
        drop_one(locks, cpu);
    }
}

void vamp_locks_close(VampLocks *locks)
{
    VampCpus all;

    if (!locks) {
        return;
    }
    bitmap_fill(all.bits, VAMP_CPUS_MAX);
    vamp_locks_drop(locks, &all);
    g_hash_table_destroy(locks->fds);
    close(locks->dirfd);
    g_free(locks->holder);
    g_free(locks->dir);
    g_free(locks);
}

char *vamp_locks_holder(const VampLocks *locks, unsigned cpu)
{
    g_autofree char *name = g_strdup_printf("cpu%u", cpu);
    g_autofree char *who = NULL;
    struct stat st;
    int fd;

    if (vamp_locks_held(locks, cpu)) {
        return NULL;
    }
    fd = openat(locks->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW |
                O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return NULL;
    }
    /*
     * Not by trying to lock it: that would refuse the CPU to a VM that starts
     * in this moment. A QEMU that was killed leaves its text.
     */
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        const char *pid;

        who = read_holder(fd);
        pid = who ? g_strrstr(who, "pid ") : NULL;
        if (pid && atoi(pid + 4) > 0 && kill(atoi(pid + 4), 0) < 0 &&
            errno == ESRCH) {
            g_free(g_steal_pointer(&who));
        }
    }
    close(fd);
    return g_steal_pointer(&who);
}
