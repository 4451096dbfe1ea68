/*
 * What a state file says: lines, and the entries in them
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sched.h>
#include "broker/entry.h"

static bool line_ok(const char *line)
{
    size_t i;

    for (i = 0; line[i]; i++) {
        if (line[i] < ' ' || line[i] > '~' || i >= JOURNAL_LINE_MAX) {
            return false;
        }
    }
    return true;
}

GHashTable *journal_parse(const char *text, const char *boot, unsigned *bad)
{
    GHashTable *found = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                              g_free);
    g_autofree char *head = g_strconcat(JOURNAL_HEAD, boot, NULL);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    unsigned i;

    *bad = 0;
    if (!lines[0] || strcmp(lines[0], head)) {
        *bad = lines[0] && !g_str_has_prefix(lines[0], JOURNAL_HEAD);
        return found;
    }
    /* What follows the last line's end was being written: no change yet. */
    for (i = 1; lines[i] && lines[i + 1]; i++) {
        g_auto(GStrv) w = g_strsplit(lines[i], " ", 3);
        unsigned n = g_strv_length(w);

        if (!line_ok(lines[i])) {
            ++*bad;
        } else if (n == 3 && !strcmp(w[0], "set") && *w[1]) {
            g_hash_table_replace(found, g_strdup(w[1]), g_strdup(w[2]));
        } else if (n == 2 && !strcmp(w[0], "del") && *w[1]) {
            g_hash_table_remove(found, w[1]);
        } else {
            ++*bad;
        }
    }
    return found;
}

static bool number(const char *text, int64_t min, int64_t max, int64_t *value)
{
    return g_ascii_string_to_signed(text, 10, min, max, value, NULL);
}

static bool unsigned_number(const char *text, uint64_t *value)
{
    guint64 v;
    bool ok = g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64, &v, NULL);

    *value = ok ? v : 0;
    return ok;
}

bool thread_entry_parse(const char *key, const char *value, ThreadEntry *e)
{
    g_auto(GStrv) k = g_strsplit(key, ":", -1);
    g_auto(GStrv) v = g_strsplit(value, " ", -1);
    int64_t tid, pid, policy, prio, nice, flags, bg_nice;

    /* Only such threads are ever changed, and only back to such. */
    if (g_strv_length(k) != 3 || g_strv_length(v) != 7 ||
        !number(k[1], 1, INT_MAX, &tid) || !unsigned_number(k[2], &e->start) ||
        !number(v[0], 1, INT_MAX, &pid) ||
        !number(v[1], 0, SCHED_BATCH, &policy) ||
        (policy != SCHED_OTHER && policy != SCHED_BATCH) ||
        !number(v[2], 0, 0, &prio) || !number(v[3], -20, 19, &nice) ||
        !number(v[4], 0, 1, &flags) || !unsigned_number(v[5], &e->slice_ns) ||
        !number(v[6], -20, 19, &bg_nice)) {
        return false;
    }
    e->tid = tid;
    e->pid = pid;
    e->policy = policy;
    e->nice = nice;
    e->flags = flags;
    e->bg_nice = bg_nice;
    return true;
}

static char *parse_path(const char *escaped)
{
    char *path = g_uri_unescape_string(escaped, NULL);
    g_auto(GStrv) parts = path ? g_strsplit(path, "/", -1) : NULL;
    bool ok = path && *path == '/' && !strchr(path, '\n') &&
              strlen(path) < PATH_MAX;
    unsigned i;

    for (i = 0; ok && parts[i]; i++) {
        ok = strcmp(parts[i], "..") && strcmp(parts[i], ".");
    }
    if (!ok) {
        g_free(path);
        return NULL;
    }
    return path;
}

static char *key_path(const char *key, const char *kind)
{
    return g_str_has_prefix(key, kind) ? parse_path(key + strlen(kind)) : NULL;
}

bool weight_entry_parse(const char *key, const char *value, WeightEntry *e)
{
    g_auto(GStrv) v = g_strsplit(value, " ", -1);

    memset(e, 0, sizeof(*e));
    e->path = key_path(key, "weight:");
    if (!e->path || g_strv_length(v) != 3 || !unsigned_number(v[0], &e->base) ||
        !unsigned_number(v[1], &e->before) ||
        !unsigned_number(v[2], &e->after)) {
        weight_entry_clear(e);
        return false;
    }
    return true;
}

bool group_entry_parse(const char *key, const char *value, GroupEntry *e)
{
    g_auto(GStrv) v = g_strsplit(value, " ", -1);
    g_autofree char *name = NULL, *want = NULL;
    uint64_t start;
    int64_t pid;

    memset(e, 0, sizeof(*e));
    e->path = key_path(key, "group:");
    if (!e->path || g_strv_length(v) != 4 || !number(v[0], 1, INT_MAX, &pid) ||
        !unsigned_number(v[1], &start)) {
        goto fail;
    }
    e->pid = pid;
    e->origin = parse_path(v[2]);
    e->enabled = strcmp(v[3], "-") ? parse_path(v[3]) : NULL;
    name = g_path_get_basename(e->path);
    want = g_strdup_printf("vamp-%d", e->pid);
    if (!e->origin || (strcmp(v[3], "-") && !e->enabled) ||
        strcmp(name, want)) {
        goto fail;
    }
    return true;

fail:
    group_entry_clear(e);
    return false;
}

void weight_entry_clear(WeightEntry *e)
{
    g_free(e->path);
    memset(e, 0, sizeof(*e));
}

void group_entry_clear(GroupEntry *e)
{
    g_free(e->path);
    g_free(e->origin);
    g_free(e->enabled);
    memset(e, 0, sizeof(*e));
}
