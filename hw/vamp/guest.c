/*
 * VAMP: what the guest says, and who says it
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/timer.h"
#include "vamp-int.h"
#include "trace.h"

/*
 * As long as the silence that ends a sound which QEMU hears
 * (audio/vamp-sound.c).
 */
#define SOUND_OFF_NS    ((int64_t)NANOSECONDS_PER_SECOND)

VampGuest vamp_guest;

/* Of the guest's running time: a stopped guest has nothing new to say. */
static int64_t guest_now(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
}

/* Whoever speaks for the guest; NULL: nobody. */
static const struct vamp_hint_view *speaker(void)
{
    if (vamp_guest.channel.greeted) {
        return &vamp_guest.channel;
    }
    return vamp_guest.set.greeted ? &vamp_guest.set : NULL;
}

VampGuestSource vamp_guest_source(void)
{
    if (vamp_guest.channel.greeted) {
        return VAMP_GUEST_SOURCE_CHANNEL;
    }
    return vamp_guest.set.greeted ? VAMP_GUEST_SOURCE_MANAGEMENT
                                  : VAMP_GUEST_SOURCE_NONE;
}

static const char *nobody_reason(void)
{
    if (vamp_guest.set_expired) {
        return "what vamp-set-tasks has said is too old";
    }
    if (!vamp_guest.port) {
        return "there is no vamp-hints device, and no vamp-set-tasks either";
    }
    if (!vamp_guest.open) {
        return "no program in the guest has opened the port " VAMP_HINTS_PORT;
    }
    return "the program in the guest has not said hello";
}

const struct vamp_hint_view *vamp_guest_view(const char **reason)
{
    const struct vamp_hint_view *view = speaker();
    const char *why = NULL;

    if (!view) {
        why = nobody_reason();
    } else if (!view->has_tasks) {
        why = vamp_guest.silent
              ? "the guest has been silent for 30 s"
              : "the guest has not said what is in its background";
    }
    if (reason) {
        *reason = why;
    }
    return why ? NULL : view;
}

const struct vamp_hint_view *vamp_guest_speaker(void)
{
    return speaker();
}

bool vamp_guest_sound(void)
{
    return vamp_guest.sound;
}

/* --- news ---------------------------------------------------------------- */

static void sound_off(void *opaque)
{
    vamp_guest.sound = false;
    vamp_policy_guest_news();
}

static void watch_sound(void)
{
    const struct vamp_hint_view *view = speaker();

    if (view && view->sound) {
        vamp_guest.sound = true;
        timer_del(vamp_guest.sound_timer);
    } else if (vamp_guest.sound && !timer_pending(vamp_guest.sound_timer)) {
        timer_mod_ns(vamp_guest.sound_timer, guest_now() + SOUND_OFF_NS);
    }
}

static void watch_silence(void)
{
    const int64_t silence = VAMP_HINTS_SILENCE_MS * (int64_t)SCALE_MS;
    int64_t next = INT64_MAX;

    if (vamp_guest.channel.greeted && !vamp_guest.silent) {
        next = vamp_guest.channel.heard_ns + silence;
    }
    if (vamp_guest.set.greeted) {
        next = MIN(next, vamp_guest.set_until_ns);
    }
    if (next < INT64_MAX) {
        timer_mod_ns(vamp_guest.silence_timer, next);
    } else {
        timer_del(vamp_guest.silence_timer);
    }
}

/* Something may have changed: whoever depends on it looks again. */
static void news(void)
{
    watch_sound();
    watch_silence();
    vamp_policy_guest_news();
}

static void silence(void *opaque)
{
    int64_t now = guest_now();
    uint32_t changed = vamp_hint_view_expire(&vamp_guest.channel, now);

    /* Nothing was heard since: the timer is for that, not for each line. */
    if (vamp_guest.channel.greeted && !vamp_guest.silent &&
        now - (int64_t)vamp_guest.channel.heard_ns >=
        VAMP_HINTS_SILENCE_MS * (int64_t)SCALE_MS) {
        vamp_guest.silent = true;
        changed = true;
        trace_vamp_guest_silent();
    }
    if (vamp_guest.set.greeted && now >= vamp_guest.set_until_ns) {
        vamp_hint_view_init(&vamp_guest.set);
        vamp_guest.set_expired = true;
        changed = true;
        trace_vamp_guest_silent();
    }
    if (changed) {
        news();
    } else {
        watch_silence();
    }
}

static void ensure_timers(void)
{
    if (!vamp_guest.sound_timer) {
        vamp_guest.sound_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, sound_off,
                                              NULL);
        vamp_guest.silence_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, silence,
                                                NULL);
    }
}

void vamp_guest_set(const struct vamp_hint_view *view, int64_t valid_ms)
{
    ensure_timers();
    vamp_guest.set = *view;
    vamp_guest.set_until_ns = guest_now() + valid_ms * SCALE_MS;
    vamp_guest.set_expired = false;
    trace_vamp_guest_tasks("management", view->tasks.n);
    news();
}

/* --- the device ---------------------------------------------------------- */

bool vamp_guest_attach(VampGuestPort *port, Error **errp)
{
    if (vamp_guest.port) {
        error_setg(errp, "there is a vamp-hints device already ('%s'), and a "
                   "VM has only one", vamp_guest.port->id ?: "without an id");
        return false;
    }
    ensure_timers();
    vamp_guest.port = port;
    return true;
}

void vamp_guest_detach(VampGuestPort *port)
{
    vamp_guest_session(false);
    vamp_guest.port = NULL;
}

void vamp_guest_session(bool open)
{
    vamp_guest.open = open;
    vamp_guest.silent = false;
    vamp_guest.count.sessions += open;
    vamp_hint_view_init(&vamp_guest.channel);
    trace_vamp_guest_session(open);
    news();
}

void vamp_guest_paused(void)
{
    vamp_guest.count.pauses++;
}

/* The guest's own word counts more than what others say of it. */
static void greeted(const struct vamp_hint_view *view)
{
    trace_vamp_guest_hello(view->version, view->name);
    vamp_hint_view_init(&vamp_guest.set);
    vamp_guest.set_expired = false;
}

static void trace_change(const struct vamp_hint_view *view, uint32_t changed)
{
    if (changed & VAMP_HINTS_NEW_HELLO) {
        greeted(view);
    } else if (changed & VAMP_HINTS_NEW_TASKS) {
        trace_vamp_guest_tasks("channel", view->tasks.n);
    } else if (changed & VAMP_HINTS_NEW_SPLIT) {
        trace_vamp_guest_split(vamp_hint_view_isolates(view));
    } else {
        trace_vamp_guest_sound(view->sound);
    }
}

const char *vamp_guest_line(const char *line, size_t len, bool got_long)
{
    struct vamp_hint_view *view = &vamp_guest.channel;
    struct vamp_hint_error error = { .fault = VAMP_HINT_LONG };
    struct vamp_hint hint;
    uint32_t changed = 0;
    uint64_t heard_ns = view->heard_ns;

    vamp_guest.count.lines++;
    if (!got_long && vamp_hint_parse(line, len, true, &hint, &error)) {
        changed = vamp_hint_view_apply(view, &hint, guest_now(), &error);
        if (view->greeted && hint.type == VAMP_HINT_ERROR) {
            trace_vamp_guest_complains(hint.text);
        }
    }
    if (vamp_guest.silent && view->heard_ns != heard_ns) {
        vamp_guest.silent = false;
        watch_silence();
    }
    if (changed) {
        trace_change(view, changed);
        news();
    }
    if (error.fault == VAMP_HINT_FINE) {
        return NULL;
    }
    vamp_guest.count.errors++;
    vamp_hint_error_text(&error, vamp_guest.last_error);
    trace_vamp_guest_error(vamp_guest.last_error);
    return vamp_guest.last_error;
}

/* --- the phase, for the guest --------------------------------------------- */

const char *vamp_guest_no_phases(void)
{
    return vamp_policy_get() ? NULL : "this VM has no vamp-policy object: no "
                                      "phase will begin";
}

void vamp_guest_phase(struct vamp_hint *hint, struct vamp_hint_tasks *tasks)
{
    VampPolicy *p = vamp_policy_get();
    const struct vamp_policy *core = p && p->running ? p->core : NULL;
    uint64_t now, left_ms;

    *hint = (struct vamp_hint) { .type = VAMP_HINT_PHASE_END };
    tasks->n = 0;
    if (!core || core->phase == VAMP_PHASE_NORMAL) {
        return;
    }
    now = vamp_now(p);
    left_ms = (MAX(now, core->until_ns) - now) / SCALE_MS;
    hint->type = VAMP_HINT_PHASE_BEGIN;
    hint->cause = core->cause;
    hint->mixed = core->phase == VAMP_PHASE_MIXED;
    hint->length_ms = MIN(MAX(left_ms, 1), VAMP_HINTS_LENGTH_MS_MAX);
    /* The guest needs no copy of what it has said itself. */
    if (!hint->mixed || !core->by_task || p->plan_hinted) {
        return;
    }
    for (uint32_t i = 0; i < core->nr_background; i++) {
        if (tasks->n < VAMP_HINTS_TASKS_MAX &&
            !(core->background[i].task & ~VAMP_CR3_TASK_MASK)) {
            tasks->task[tasks->n++] = (struct vamp_hint_task) {
                .aspace = core->background[i].task,
                .permille = MIN(core->background[i].permille,
                                VAMP_HINTS_PERMILLE_MAX),
            };
        }
    }
}

void vamp_guest_tell_phase(void)
{
    if (vamp_guest.port && vamp_guest.open) {
        vamp_guest.port->phase_changed(vamp_guest.port);
    }
}
