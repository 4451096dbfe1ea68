/*
 * VAMP: what the guest says
 *
 * A VM has one guest, and one of two may speak for it: a daemon in it, by the
 * device vamp-hints, or the management by QMP. The guest's own word counts
 * more. Nothing here trusts it: its lists are bounded by core/hintview.h.
 *
 * Everything in the main loop under the BQL.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_GUEST_H
#define HW_VAMP_GUEST_H

#include "core/hintview.h"

typedef struct VampGuestCount {
    uint64_t lines;
    uint64_t errors;
    uint64_t pauses;
    uint64_t sessions;
} VampGuestCount;

/* --- for the device ------------------------------------------------------- */

typedef struct VampGuestPort {
    char *id;               /* of the device, for errors; NULL: it has none */
    /* The phase has changed: the guest is to hear of it. */
    void (*phase_changed)(struct VampGuestPort *port);
} VampGuestPort;

/* A VM has one port. Fails if there is one. */
bool vamp_guest_attach(VampGuestPort *port, Error **errp);
/* The guest's words are forgotten. */
void vamp_guest_detach(VampGuestPort *port);

/* A conversation begins (@open), or is over: nothing is known of the guest. */
void vamp_guest_session(bool open);

/*
 * The guest has written a line, of @len bytes; @got_long: one that is too
 * long. Returns an error's text for the guest, NULL if nothing is wrong;
 * valid until the next call.
 */
const char *vamp_guest_line(const char *line, size_t len, bool got_long);

/* The guest wrote so much that it has to wait. */
void vamp_guest_paused(void);

/*
 * The message that says what phase is on: PHASE_BEGIN or PHASE_END, and with
 * the first the tasks that the host holds to be in the background. @tasks may
 * be NULL.
 */
void vamp_guest_phase(struct vamp_hint *hint, struct vamp_hint_tasks *tasks);

/* Why no phase will ever begin, NULL if one may. Constant. */
const char *vamp_guest_no_phases(void);

/* --- for the policy ------------------------------------------------------- */

/*
 * What is known: NULL, and why in @reason (constant text), if nobody speaks
 * for the guest or it has not said what is in its background. @reason may be
 * NULL.
 */
const struct vamp_hint_view *vamp_guest_view(const char **reason);

/*
 * Whether the guest says that it plays sound. "off" is believed when it has
 * lasted a second, as sound that QEMU hears is: nobody can begin phases by
 * saying "on" and "off" fast.
 */
bool vamp_guest_sound(void);

/* The phase has changed, or was begun anew. */
void vamp_guest_tell_phase(void);

#endif /* HW_VAMP_GUEST_H */
