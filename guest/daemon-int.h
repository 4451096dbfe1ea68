/*
 * vdiguest: the daemon, for those who look into it
 *
 * Private to answer.c, daemon.c, look.c and status.c.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_DAEMON_INT_H
#define GUEST_DAEMON_INT_H

#include "core/policy.h"
#include "guest/control.h"
#include "guest/daemon.h"
#include "guest/host.h"
#include "guest/input.h"
#include "guest/place.h"
#include "guest/sound.h"

struct Daemon {
    const Options *options;
    enum plan_mode mode;        /* these two: from now on */
    unsigned fast;              /* 0: half of the vCPUs */
    CpuSet online;
    CpuSet cpus;                /* those that can be split */
    bool like_init;             /* we may run where init may, unless split */
    Scan *scan;
    struct vamp_policy *policy; /* when a phase begins, and at what load */
    uint64_t looked_ns;         /* last look; 0: none */
    bool calm;                  /* by that, a key asks for nothing urgent */
    uint64_t *ticks;            /* of each vCPU, busy, at the last look */
    uint64_t tick_ns;
    GArray *slow;               /* SlowTask of this phase */
    bool named;                 /* the log has told which they are */
    Place place;
    uint64_t placed_list;       /* scan_list() when it was filled last */
    State *state;
    StateFile *file;
    unsigned nr_irqs;
    const char *reason;         /* constant: why it is split, or not */

    Input *input;
    Sound *sound;               /* only NULL while it begins */
    Host *host;                 /* NULL: not wanted */
    Control *control;
    guint tick_source, phase_source;
    guint evict_source, review_source, settle_source;   /* in this order */
    bool phase_by_host;
    uint64_t review_until_ns;   /* what review_source finds later is late */

    uint64_t begun_ns;
    uint64_t triggers, phases, isolations;
    uint64_t latency_ns;        /* of the last isolation */
};

/* CLOCK_MONOTONIC in ns. */
uint64_t daemon_now(void);

/* Brings all loads, and whether it is calm, up to @now. */
void daemon_look(Daemon *d, uint64_t now);

/* What is slow at @now, SlowTask without scan_name(). The caller's to free. */
GArray *daemon_find_slow(Daemon *d, uint64_t now);

/* The same tasks (SlowTask), in whatever order? */
bool daemon_same_tasks(const GArray *x, const GArray *y);

/*
 * What is in the background (SlowTask): in a phase, what was slow when it
 * began; else what would be isolated at @now. The caller's to free.
 */
GArray *daemon_background(Daemon *d, uint64_t now);

/*
 * A user is served from now on; @length_ms 0: while there are slow tasks.
 * @soon: that he does not wait, only the slow tasks of the last look go.
 */
void daemon_phase_begin(Daemon *d, uint64_t now, unsigned length_ms, bool soon);

/* Does now what a phase that began soon has left for later. */
void daemon_complete(Daemon *d);

/* @why: constant. The split of the static mode stays. */
void daemon_phase_over(Daemon *d, const char *why);

/* Makes true what the slow tasks ask for. @why: there are none; or NULL. */
void daemon_apply(Daemon *d, uint64_t now, const char *why);

/* In JSON, with a line feed (status.c): what --status says, what runs. */
char *daemon_status(Daemon *d);
char *daemon_tasks(Daemon *d);

/* For control.h: does what is asked, and says what came of it (answer.c). */
char *daemon_answer(void *opaque, const Request *request);

#endif /* GUEST_DAEMON_INT_H */
