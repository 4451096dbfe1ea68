/*
 * The state file: what the broker has changed on the host
 *
 * Lines of text, each "set KEY VALUE" or "del KEY", after a head that names
 * the boot. A line is written, by one write(), before the change that it tells
 * of; a later line of a key replaces an earlier one. After a SIGKILL the next
 * broker reads it and undoes what it says. The file lives in memory (/run):
 * it outlives the process, and there is nothing to undo after a reboot.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BROKER_JOURNAL_H
#define BROKER_JOURNAL_H

/* Longer files were not written by a broker. */
#define JOURNAL_SIZE_MAX    (16 * 1024 * 1024)

typedef struct Journal Journal;

/*
 * What the text @text of a state file says: key -> value, both strings. Never
 * NULL. Lines that make no sense are left out and counted in @bad. Empty if it
 * is of another boot than @boot.
 */
GHashTable *journal_parse(const char *text, const char *boot, unsigned *bad);

/*
 * Takes the state file @name for this process: refuses one that another
 * broker holds, that other users could have written, or that is no file.
 * @found: what a predecessor left, to be freed with g_hash_table_unref().
 * The file keeps it until the keys are deleted.
 */
Journal *journal_open(const char *name, GHashTable **found, Error **errp);

/* NULL is a journal that notes nothing (--dry-run). */
void journal_set(Journal *j, const char *key, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);
void journal_del(Journal *j, const char *key);

/* errno of the last write; 0: it worked. */
int journal_error(const Journal *j);

/* Removes the file when nothing is noted in it. Accepts NULL. */
void journal_close(Journal *j);

#endif /* BROKER_JOURNAL_H */
