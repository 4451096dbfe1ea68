/*
 * vdiguest: what it has changed, for the next one to undo
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "guest/log.h"
#include "guest/procfs.h"
#include "guest/state.h"

#define HEAD    "vdiguest-state 1 "
/* Linux has no more interrupts, nor thread ids. */
#define IRQ_MAX 0xffffff
#define TID_MAX (4 * 1024 * 1024)

struct StateFile {
    char *name;
    char *boot;
    int lock_fd;
    bool failed;
};

State *state_new(void)
{
    State *st = g_new0(State, 1);

    st->sets = g_array_new(false, false, sizeof(CpuSet));
    st->leave = g_hash_table_new(NULL, NULL);
    st->only = g_hash_table_new(NULL, NULL);
    st->irqs = g_array_new(false, false, sizeof(StateIrq));
    return st;
}

void state_free(State *st)
{
    g_array_unref(st->sets);
    g_hash_table_unref(st->leave);
    g_hash_table_unref(st->only);
    g_array_unref(st->irqs);
    g_free(st->groups);
    g_free(st);
}

bool state_is_empty(const State *st)
{
    return !st->sets->len && !st->irqs->len && !st->groups;
}

bool state_add_set(State *st, const CpuSet *set)
{
    unsigned i;

    for (i = 0; i < st->sets->len; i++) {
        if (cpus_equal(&g_array_index(st->sets, CpuSet, i), set)) {
            return false;
        }
    }
    g_array_append_val(st->sets, *set);
    return true;
}

bool state_has_set(const State *st, const CpuSet *mask, const CpuSet *online)
{
    unsigned i;

    for (i = 0; i < st->sets->len; i++) {
        CpuSet set = g_array_index(st->sets, CpuSet, i);

        cpus_and(&set, online);
        if (cpus_equal(&set, mask)) {
            return true;
        }
    }
    return false;
}

bool state_has_part(const State *st, const CpuSet *mask)
{
    /* None: they are about to go offline, and it has no others yet. */
    bool found = !cpus_count(mask) && st->sets->len;
    unsigned i;

    for (i = 0; !found && i < st->sets->len; i++) {
        found = cpus_within(mask, &g_array_index(st->sets, CpuSet, i));
    }
    return found;
}

static void format_threads(GString *text, const char *key, GHashTable *tids)
{
    GHashTableIter iter;
    gpointer tid;

    g_hash_table_iter_init(&iter, tids);
    while (g_hash_table_iter_next(&iter, &tid, NULL)) {
        g_string_append_printf(text, "%s %d\n", key, GPOINTER_TO_INT(tid));
    }
}

char *state_format(const State *st, const char *boot)
{
    GString *text = g_string_new(NULL);
    unsigned i;

    g_string_append_printf(text, HEAD "%s\n", boot);
    for (i = 0; i < st->sets->len; i++) {
        g_autofree char *set =
            cpus_format(&g_array_index(st->sets, CpuSet, i));

        g_string_append_printf(text, "cpus %s\n", set);
    }
    format_threads(text, "leave", st->leave);
    format_threads(text, "only", st->only);
    if (st->only_ticks) {
        g_string_append_printf(text, "since %" PRIu64 "\n", st->only_ticks);
    }
    for (i = 0; i < st->irqs->len; i++) {
        const StateIrq *irq = &g_array_index(st->irqs, StateIrq, i);
        g_autofree char *found = cpus_format(&irq->found);
        g_autofree char *left = cpus_format(&irq->left);

        g_string_append_printf(text, "irq %u %s %s\n", irq->irq, found, left);
    }
    if (cpus_count(&st->back)) {
        g_autofree char *back = cpus_format(&st->back);

        g_string_append_printf(text, "back %s\n", back);
    }
    if (st->groups) {
        g_string_append_printf(text, "groups %d %s\n", st->groups_enabled,
                               st->groups);
    }
    return g_string_free(text, false);
}

static bool number(const char *text, unsigned max, unsigned *value)
{
    guint64 v;

    if (!g_ascii_string_to_unsigned(text, 10, 0, max, &v, NULL)) {
        return false;
    }
    *value = v;
    return true;
}

/* A folder below the one where control groups are, without tricks. */
static bool is_group_folder(const char *path)
{
    return g_str_has_prefix(path, "/sys/fs/cgroup") && !strstr(path, "/.") &&
           strlen(path) < 4096;
}

static bool parse_line(State *st, char **w, unsigned n)
{
    unsigned value;

    if (n == 2 && !strcmp(w[0], "cpus")) {
        CpuSet set;

        /* An empty set would be every thread's that runs nowhere. */
        if (!cpus_parse(&set, w[1]) || !cpus_count(&set)) {
            return false;
        }
        state_add_set(st, &set);
        return true;
    }
    if (n == 2 && !strcmp(w[0], "leave") && number(w[1], TID_MAX, &value)) {
        g_hash_table_add(st->leave, GINT_TO_POINTER(value));
        return true;
    }
    if (n == 2 && !strcmp(w[0], "only") && number(w[1], TID_MAX, &value)) {
        g_hash_table_add(st->only, GINT_TO_POINTER(value));
        return true;
    }
    if (n == 2 && !strcmp(w[0], "since")) {
        return g_ascii_string_to_unsigned(w[1], 10, 1, G_MAXUINT64,
                                          &st->only_ticks, NULL);
    }
    if (n == 4 && !strcmp(w[0], "irq") && number(w[1], IRQ_MAX, &value)) {
        StateIrq irq = { .irq = value };

        if (!cpus_parse(&irq.found, w[2]) || !cpus_parse(&irq.left, w[3]) ||
            !cpus_count(&irq.found) || !cpus_count(&irq.left)) {
            return false;
        }
        g_array_append_val(st->irqs, irq);
        return true;
    }
    if (n == 2 && !strcmp(w[0], "back")) {
        return cpus_parse(&st->back, w[1]) && cpus_count(&st->back);
    }
    if (n == 3 && !strcmp(w[0], "groups") && !st->groups &&
        number(w[1], 1, &value) && is_group_folder(w[2])) {
        st->groups_enabled = value;
        st->groups = g_strdup(w[2]);
        return true;
    }
    return false;
}

State *state_parse(const char *text, const char *boot, unsigned *bad)
{
    g_autofree char *head = g_strconcat(HEAD, boot, NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    State *st = state_new();
    unsigned i;

    *bad = 0;
    if (!lines[0] || strcmp(lines[0], head)) {
        *bad = lines[0] && *lines[0] && !g_str_has_prefix(lines[0], HEAD);
        return st;
    }
    for (i = 1; lines[i]; i++) {
        /* A folder's name may have blanks. */
        g_auto(GStrv) w = g_strsplit(lines[i], " ",
                                     g_str_has_prefix(lines[i], "groups ") ? 3
                                                                           : 5);

        if (*lines[i] && !parse_line(st, w, g_strv_length(w))) {
            ++*bad;
        }
    }
    return st;
}

/* The text of the file, "" if there is none, NULL on an error. */
static char *read_found(const char *name, GError **err)
{
    struct stat st;
    char *text;
    gsize len;

    if (lstat(name, &st) < 0) {
        if (errno == ENOENT) {
            return g_strdup("");
        }
        g_set_error(err, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "cannot look at %s: %s", name, g_strerror(errno));
        return NULL;
    }
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022)) {
        g_set_error(err, G_FILE_ERROR, G_FILE_ERROR_PERM,
                    "%s may have been written by others (a file of user %u "
                    "with mode 0600 would be valid; remove it to begin anew)",
                    name, (unsigned)geteuid());
        return NULL;
    }
    if (st.st_size > STATE_SIZE_MAX) {
        g_set_error(err, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "%s has %lld bytes (at most %d would be valid; remove it "
                    "to begin anew)", name, (long long)st.st_size,
                    STATE_SIZE_MAX);
        return NULL;
    }
    return g_file_get_contents(name, &text, &len, err) ? text : NULL;
}

StateFile *state_open(const char *name, State **found, GError **err)
{
    g_autofree char *lock = g_strconcat(name, ".lock", NULL);
    g_autofree char *dir = g_path_get_dirname(name), *text = NULL;
    StateFile *f;
    unsigned bad;
    int fd;

    /* It may be there; and what is wrong with it, the file will say. */
    g_mkdir_with_parents(dir, 0755);
    fd = open(lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        g_set_error(err, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "cannot open %s: %s", lock, g_strerror(errno));
        return NULL;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        g_set_error(err, G_FILE_ERROR, G_FILE_ERROR_AGAIN,
                    "%s is locked: another vdiguest runs (one would be valid)",
                    lock);
        close(fd);
        return NULL;
    }
    text = read_found(name, err);
    if (!text) {
        close(fd);
        return NULL;
    }
    f = g_new0(StateFile, 1);
    f->name = g_strdup(name);
    f->lock_fd = fd;
    if (procfs_read("/proc/sys/kernel/random/boot_id", &f->boot) < 0) {
        f->boot = g_strdup("unknown");
    }
    g_strchomp(f->boot);
    *found = state_parse(text, f->boot, &bad);
    if (bad) {
        log_warn("%s has %u lines that no vdiguest has written; they are left "
                 "out", name, bad);
    }
    return f;
}

bool state_save(StateFile *f, const State *st)
{
    g_autofree char *text = state_format(st, f->boot);
    g_autoptr(GError) err = NULL;

    /* A new file takes the place of the old one at once. */
    if (!g_file_set_contents_full(f->name, text, -1,
                                  G_FILE_SET_CONTENTS_CONSISTENT, 0600, &err)) {
        if (!f->failed) {
            log_warn("%s (until it can be written, nothing is changed)",
                     err->message);
        }
        f->failed = true;
        return false;
    }
    f->failed = false;
    return true;
}

void state_close(StateFile *f, const State *st)
{
    if (state_is_empty(st)) {
        unlink(f->name);
    }
    close(f->lock_fd);
    g_free(f->boot);
    g_free(f->name);
    g_free(f);
}
