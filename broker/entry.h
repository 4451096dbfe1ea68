/*
 * What a state file says: lines, and the entries in them
 *
 * Whoever wrote it: a broker that was killed, or somebody who wants the next
 * one to change what it should not. Everything is checked here; only GLib.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BROKER_ENTRY_H
#define BROKER_ENTRY_H

#define JOURNAL_HEAD        "vamp-broker-state 1 "
/* A group's path and a little: PATH_MAX, each byte escaped to three. */
#define JOURNAL_LINE_MAX    (3 * PATH_MAX + 512)

/*
 * What the text @text of a state file says: key -> value, both strings. Never
 * NULL. Lines that make no sense are left out and counted in @bad. Empty if it
 * is of another boot than @boot.
 */
GHashTable *journal_parse(const char *text, const char *boot, unsigned *bad);

/* "thread:TID:START": a thread, and how it was scheduled. */
typedef struct ThreadEntry {
    int tid, pid;
    uint64_t start;
    unsigned policy;            /* SCHED_OTHER or SCHED_BATCH */
    int nice, bg_nice;          /* -20..19 */
    uint64_t flags;             /* 0 or SCHED_FLAG_RESET_ON_FORK */
    uint64_t slice_ns;
} ThreadEntry;

/* "weight:PATH": a group's weight, as found and around the last change. */
typedef struct WeightEntry {
    char *path;
    uint64_t base, before, after;
} WeightEntry;

/* "group:PATH": a group that was made; its name is "vamp-@pid". */
typedef struct GroupEntry {
    char *path;
    int pid;
    char *origin;               /* where the process was */
    char *enabled;              /* got +cpu; NULL: none */
} GroupEntry;

/*
 * Each returns false if it makes no sense; then @e holds nothing. Paths begin
 * with a slash, and have neither "." nor ".." in them.
 */
bool thread_entry_parse(const char *key, const char *value, ThreadEntry *e);
bool weight_entry_parse(const char *key, const char *value, WeightEntry *e);
bool group_entry_parse(const char *key, const char *value, GroupEntry *e);

void weight_entry_clear(WeightEntry *e);
void group_entry_clear(GroupEntry *e);

#endif /* BROKER_ENTRY_H */
