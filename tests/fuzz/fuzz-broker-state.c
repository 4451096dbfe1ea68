/*
 * libFuzzer target: the broker's state file
 *
 * What is accepted is what the broker would undo: it must lie within what a
 * broker may ever have changed, whatever the file says.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sched.h>
#include "broker/entry.h"

#define BOOT "boot"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(const char *path)
{
    g_assert(*path == '/' && strlen(path) < PATH_MAX);
    g_assert(!strstr(path, "/../") && !g_str_has_suffix(path, "/.."));
    g_assert(!strchr(path, '\n'));
}

static void check_entry(const char *key, const char *value)
{
    ThreadEntry t;
    WeightEntry w;
    GroupEntry g;
    unsigned kinds = 0;

    if (thread_entry_parse(key, value, &t)) {
        g_assert(t.tid > 0 && t.pid > 0);
        g_assert(t.policy == SCHED_OTHER || t.policy == SCHED_BATCH);
        g_assert(t.nice >= -20 && t.nice <= 19);
        g_assert(t.bg_nice >= -20 && t.bg_nice <= 19);
        g_assert(t.flags <= 1);
        /* Its key may have any first word: the caller looks at that. */
        kinds += g_str_has_prefix(key, "thread:");
    }
    if (weight_entry_parse(key, value, &w)) {
        check_path(w.path);
        weight_entry_clear(&w);
        kinds++;
    }
    if (group_entry_parse(key, value, &g)) {
        check_path(g.path);
        check_path(g.origin);
        if (g.enabled) {
            check_path(g.enabled);
        }
        g_assert(strstr(g.path, "/vamp-"));
        group_entry_clear(&g);
        kinds++;
    }
    g_assert(kinds <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *body = g_strndup((const char *)data, size);
    g_autofree char *text = g_strdup_printf(JOURNAL_HEAD BOOT "\n%s", body);
    GHashTableIter iter;
    gpointer key, value;
    unsigned bad, other;
    GHashTable *found = journal_parse(text, BOOT, &bad);

    g_assert(bad <= size);
    g_hash_table_iter_init(&iter, found);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        g_assert(strlen(key) <= JOURNAL_LINE_MAX);
        check_entry(key, value);
    }
    g_hash_table_unref(found);

    /* Of another boot, and whatever it is without a head: nothing. */
    found = journal_parse(text, "another", &other);
    g_assert(g_hash_table_size(found) == 0);
    g_hash_table_unref(found);
    found = journal_parse(body, "another", &other);
    g_assert(g_hash_table_size(found) == 0 ||
             g_str_has_prefix(body, JOURNAL_HEAD "another\n"));
    g_hash_table_unref(found);
    return 0;
}
