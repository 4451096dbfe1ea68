/*
 * What a guest has told: the state that its messages add up to
 *
 * For the host's side of docs/interop/vamp-hints.rst. The caller serialises
 * access and brings the clock; nothing here allocates.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_HINTVIEW_H
#define VAMP_CORE_HINTVIEW_H

#include "hints.h"

struct vamp_hint_tasks {
    uint32_t n;
    struct vamp_hint_task task[VAMP_HINTS_TASKS_MAX];
};

/* Public for reading; written by the functions below only. */
struct vamp_hint_view {
    bool greeted;                   /* has said hello */
    uint32_t version;               /* of both, the smaller */
    char name[VAMP_HINTS_NAME_LEN]; /* of the program in the guest */
    bool has_tasks;                 /* a list is complete */
    struct vamp_hint_tasks tasks;
    struct vamp_hint_cpus fast, slow;
    bool sound;
    uint64_t heard_ns;              /* the last message; the caller's clock */

    /* Private: the list that is being received. */
    bool listing;
    bool overflowed;
    struct vamp_hint_tasks next;
};

/* What a message has changed. */
#define VAMP_HINTS_NEW_HELLO    1u
#define VAMP_HINTS_NEW_TASKS    2u
#define VAMP_HINTS_NEW_SPLIT    4u
#define VAMP_HINTS_NEW_SOUND    8u

/* Forgets everything: nobody is there. */
void vamp_hint_view_init(struct vamp_hint_view *view);

/*
 * Takes a message that was parsed as one to the host, at @now_ns.
 *
 * Returns a set of VAMP_HINTS_NEW_*: what to look at again (also if it is what
 * it was). Sets error->fault to something other than VAMP_HINT_FINE if the
 * message is out of place; it is ignored then.
 */
uint32_t vamp_hint_view_apply(struct vamp_hint_view *view,
                              const struct vamp_hint *hint, uint64_t now_ns,
                              struct vamp_hint_error *error);

/*
 * When nothing was heard for VAMP_HINTS_SILENCE_MS at @now_ns, forgets tasks,
 * split and sound. Returns the set of what it has forgotten.
 */
uint32_t vamp_hint_view_expire(struct vamp_hint_view *view, uint64_t now_ns);

/* Does the guest keep background tasks on CPUs of their own? */
bool vamp_hint_view_isolates(const struct vamp_hint_view *view);

#endif /* VAMP_CORE_HINTVIEW_H */
