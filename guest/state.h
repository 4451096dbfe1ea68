/*
 * vdiguest: what it has changed, for the next one to undo
 *
 * A text file in /run, replaced as a whole before each kind of change. It
 * holds what is needed to know our marks again, not a line per task: a thread
 * that has an affinity of exactly one of our sets has it from us, itself or by
 * its parent, unless it is listed as one that had it before.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_STATE_H
#define GUEST_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>
#include <sys/types.h>
#include "guest/cpus.h"

#define STATE_FILE      "/run/vamp/vdiguest.state"
#define STATE_SIZE_MAX  (1024 * 1024)

/* An interrupt that was moved. */
typedef struct StateIrq {
    unsigned irq;
    CpuSet found;               /* before the first move */
    CpuSet left;                /* as it was left */
} StateIrq;

typedef struct State {
    GArray *sets;               /* CpuSet: affinities that were given */
    GHashTable *leave;          /* threads that had such, or a part, before */
    GHashTable *only;           /* not empty: only these have got one yet, */
    uint64_t only_ticks;        /* and their children since then (BOOTTIME) */
    GArray *irqs;               /* StateIrq */
    CpuSet back;                /* what threads had; empty: unrestricted */
    char *groups;               /* folder below which groups were made */
    bool groups_enabled;        /* and where the controller was turned on */
} State;

State *state_new(void);
void state_free(State *st);
bool state_is_empty(const State *st);

/* Adds @set to the sets, once. True if it was not there. */
bool state_add_set(State *st, const CpuSet *set);
/* Is @mask (CPUs of @online only) one of the sets, as far as it is online? */
bool state_has_set(const State *st, const CpuSet *mask, const CpuSet *online);
/* Is @mask a part of one of the sets? An empty one is, if there are any. */
bool state_has_part(const State *st, const CpuSet *mask);

/*
 * The text form. Parsing leaves out what makes no sense and counts it in
 * *@bad; text of another boot than @boot gives an empty state.
 */
char *state_format(const State *st, const char *boot);
State *state_parse(const char *text, const char *boot, unsigned *bad);

/* The file of this process, locked against a second one. */
typedef struct StateFile StateFile;

/*
 * Takes the file @name: refuses one that another vdiguest holds, or that
 * others than this user may have written. *@found: what a predecessor left.
 */
StateFile *state_open(const char *name, State **found, GError **err);
/* Writes @st; false, with a warning once, if that cannot be. */
bool state_save(StateFile *f, const State *st);
/* Removes the file if @st is empty. */
void state_close(StateFile *f, const State *st);

#endif /* GUEST_STATE_H */
