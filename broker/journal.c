/*
 * The state file: what the broker has changed on the host
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/file.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "broker/journal.h"

/* A file this long, most of it outdated, is written anew. */
#define COMPACT_MIN (64 * 1024)

struct Journal {
    char *name;
    char *head;
    int lock_fd;
    int fd;
    int err;
    size_t size;                /* of the file */
    size_t live;                /* of what it would be if written anew */
    GHashTable *lines;          /* key -> value */
};

static char *boot_id(void)
{
    char *text = NULL;

    if (!g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL,
                             NULL)) {
        return g_strdup("unknown");
    }
    return g_strchomp(text);
}

static size_t line_size(const char *key, const char *value)
{
    return strlen("set %s %s\n") - 4 + strlen(key) + strlen(value);
}

static int write_all(int fd, const char *text, size_t len)
{
    ssize_t n = qemu_write_full(fd, text, len);

    return n == len ? 0 : -errno;
}

/* A whole new file takes the place of the old one at once. */
static int rewrite(Journal *j)
{
    g_autofree char *new_name = g_strconcat(j->name, ".new", NULL);
    g_autoptr(GString) text = g_string_new(NULL);
    GHashTableIter iter;
    gpointer key, value;
    int fd, ret;

    g_string_append_printf(text, "%s\n", j->head);
    g_hash_table_iter_init(&iter, j->lines);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        g_string_append_printf(text, "set %s %s\n", (char *)key,
                               (char *)value);
    }
    if (unlink(new_name) < 0 && errno != ENOENT) {
        return -errno;
    }
    fd = open(new_name, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW |
              O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    ret = write_all(fd, text->str, text->len);
    if (ret == 0 && rename(new_name, j->name) < 0) {
        ret = -errno;
    }
    if (ret < 0) {
        close(fd);
        unlink(new_name);
        return ret;
    }
    if (j->fd >= 0) {
        close(j->fd);
    }
    j->fd = fd;
    j->size = j->live = text->len;
    return 0;
}

static void note_error(Journal *j, int ret)
{
    if (ret < 0 && !j->err) {
        warn_report("cannot write %s: %s (until it can be, nothing new is "
                    "changed)", j->name, strerror(-ret));
    }
    j->err = -ret;
}

static void append(Journal *j, const char *line)
{
    size_t len = strlen(line);

    if (j->err || (j->size > COMPACT_MIN && j->size > 4 * j->live)) {
        /* Also after an error, which may have left half a line. */
        note_error(j, rewrite(j));
    } else {
        note_error(j, write_all(j->fd, line, len));
        j->size += len;
    }
}

void journal_set(Journal *j, const char *key, const char *fmt, ...)
{
    g_autofree char *line = NULL;
    char *value;
    const char *old;
    va_list ap;

    if (!j) {
        return;
    }
    va_start(ap, fmt);
    value = g_strdup_vprintf(fmt, ap);
    va_end(ap);

    old = g_hash_table_lookup(j->lines, key);
    if (old) {
        j->live -= line_size(key, old);
    }
    j->live += line_size(key, value);
    line = g_strdup_printf("set %s %s\n", key, value);
    g_hash_table_replace(j->lines, g_strdup(key), value);
    append(j, line);
}

void journal_del(Journal *j, const char *key)
{
    const char *old = j ? g_hash_table_lookup(j->lines, key) : NULL;

    if (old) {
        g_autofree char *line = g_strdup_printf("del %s\n", key);

        j->live -= line_size(key, old);
        g_hash_table_remove(j->lines, key);
        append(j, line);
    }
}

int journal_error(const Journal *j)
{
    return j ? j->err : 0;
}

/* The text of the file, NULL if there is none. */
static char *read_old(const char *name, Error **errp)
{
    struct stat st;
    char *text;
    ssize_t n;
    int fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        if (errno != ENOENT) {
            error_setg_errno(errp, errno, "cannot open %s", name);
        }
        return NULL;
    }
    if (fstat(fd, &st) < 0) {
        error_setg_errno(errp, errno, "cannot look at %s", name);
    } else if (!S_ISREG(st.st_mode)) {
        error_setg(errp, "%s is no file (a file, or none, would be needed)",
                   name);
    } else if (st.st_uid != geteuid() || (st.st_mode & 022)) {
        error_setg(errp, "%s is of user %u and has mode 0%o: others may have "
                   "written it (user %u and mode 0600 would be needed; remove "
                   "it to begin anew)", name, (unsigned)st.st_uid,
                   (unsigned)st.st_mode & 07777, (unsigned)geteuid());
    } else if (st.st_size > JOURNAL_SIZE_MAX) {
        error_setg(errp, "%s has %lld bytes (at most %d would be valid; remove "
                   "it to begin anew)", name, (long long)st.st_size,
                   JOURNAL_SIZE_MAX);
    } else {
        text = g_malloc0(st.st_size + 1);
        n = RETRY_ON_EINTR(read(fd, text, st.st_size));
        if (n >= 0) {
            close(fd);
            return text;
        }
        error_setg_errno(errp, errno, "cannot read %s", name);
        g_free(text);
    }
    close(fd);
    return NULL;
}

/* A name that stays, since the state file itself is replaced now and then. */
static int take_lock(const char *name, Error **errp)
{
    g_autofree char *lock = g_strconcat(name, ".lock", NULL);
    int fd = open(lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0) {
        error_setg_errno(errp, errno, "cannot open %s", lock);
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        error_setg(errp, "%s is locked: another broker has the state file %s "
                   "(one broker a host; another --state for a test)", lock,
                   name);
        close(fd);
        return -1;
    }
    return fd;
}

Journal *journal_open(const char *name, GHashTable **found, Error **errp)
{
    g_autofree char *boot = boot_id(), *text = NULL;
    Error *err = NULL;
    unsigned bad = 0;
    Journal *j;
    int ret, lock_fd = take_lock(name, errp);

    if (lock_fd < 0) {
        return NULL;
    }
    text = read_old(name, &err);
    if (err) {
        error_propagate(errp, err);
        close(lock_fd);
        return NULL;
    }
    j = g_new0(Journal, 1);
    j->name = g_strdup(name);
    j->head = g_strconcat(JOURNAL_HEAD, boot, NULL);
    j->lock_fd = lock_fd;
    j->fd = -1;
    j->lines = journal_parse(text ?: "", boot, &bad);
    if (text && bad) {
        warn_report("%s has %u lines that no broker has written; they are left "
                    "out", name, bad);
    }
    ret = rewrite(j);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot write %s", name);
        journal_close(j);
        return NULL;
    }
    *found = journal_parse(text ?: "", boot, &bad);
    return j;
}

void journal_close(Journal *j)
{
    if (!j) {
        return;
    }
    if (j->fd >= 0) {
        if (g_hash_table_size(j->lines) == 0) {
            unlink(j->name);
        }
        close(j->fd);
    }
    close(j->lock_fd);
    g_hash_table_unref(j->lines);
    g_free(j->head);
    g_free(j->name);
    g_free(j);
}
