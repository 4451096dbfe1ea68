/*
 * What a guest has told: the state that its messages add up to
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "hintview.h"

#define NS_PER_MS   1000000ull

static void forget_split(struct vamp_hint_view *view)
{
    static const struct vamp_hint_cpus none;

    view->fast = none;
    view->slow = none;
}

void vamp_hint_view_init(struct vamp_hint_view *view)
{
    view->greeted = false;
    view->version = 0;
    view->name[0] = 0;
    view->has_tasks = false;
    view->tasks.n = 0;
    forget_split(view);
    view->sound = false;
    view->heard_ns = 0;
    view->listing = false;
    view->overflowed = false;
    view->next.n = 0;
}

static uint32_t take_hello(struct vamp_hint_view *view,
                           const struct vamp_hint *hint)
{
    uint32_t i;

    vamp_hint_view_init(view);
    view->greeted = true;
    view->version = hint->version < VAMP_HINTS_VERSION ? hint->version
                                                       : VAMP_HINTS_VERSION;
    for (i = 0; i < VAMP_HINTS_NAME_LEN - 1 && hint->text[i]; i++) {
        view->name[i] = hint->text[i];
    }
    view->name[i] = 0;
    return VAMP_HINTS_NEW_HELLO | VAMP_HINTS_NEW_TASKS |
           VAMP_HINTS_NEW_SPLIT | VAMP_HINTS_NEW_SOUND;
}

static void take_task(struct vamp_hint_view *view,
                      const struct vamp_hint_task *task,
                      struct vamp_hint_error *error)
{
    if (!view->listing) {
        error->fault = VAMP_HINT_NO_LIST;
    } else if (view->next.n < VAMP_HINTS_TASKS_MAX) {
        view->next.task[view->next.n++] = *task;
    } else if (!view->overflowed) {
        /* Said once a list. */
        view->overflowed = true;
        error->fault = VAMP_HINT_TOO_MANY;
    }
}

static uint32_t take_end(struct vamp_hint_view *view,
                         struct vamp_hint_error *error)
{
    if (!view->listing) {
        error->fault = VAMP_HINT_NO_LIST;
        return 0;
    }
    view->listing = false;
    view->has_tasks = true;
    view->tasks = view->next;
    return VAMP_HINTS_NEW_TASKS;
}

uint32_t vamp_hint_view_apply(struct vamp_hint_view *view,
                              const struct vamp_hint *hint, uint64_t now_ns,
                              struct vamp_hint_error *error)
{
    uint32_t changed = 0;

    error->fault = VAMP_HINT_FINE;
    error->key = NULL;
    if (hint->type == VAMP_HINT_HELLO) {
        changed = take_hello(view, hint);
    } else if (!view->greeted || hint->type == VAMP_HINT_NONE) {
        return 0;
    }
    view->heard_ns = now_ns;
    switch (hint->type) {
    case VAMP_HINT_TASKS_BEGIN:
        view->listing = true;
        view->overflowed = false;
        view->next.n = 0;
        break;
    case VAMP_HINT_TASK:
        take_task(view, &hint->task, error);
        break;
    case VAMP_HINT_TASKS_END:
        changed = take_end(view, error);
        break;
    case VAMP_HINT_SPLIT:
        view->fast = hint->fast;
        view->slow = hint->slow;
        changed = VAMP_HINTS_NEW_SPLIT;
        break;
    case VAMP_HINT_SOUND:
        view->sound = hint->on;
        changed = VAMP_HINTS_NEW_SOUND;
        break;
    default:
        /* An error is for the log; the rest is not sent to a host. */
        break;
    }
    return changed;
}

uint32_t vamp_hint_view_expire(struct vamp_hint_view *view, uint64_t now_ns)
{
    uint32_t changed = 0;

    if (now_ns < view->heard_ns) {
        /* The clock ran backwards (a snapshot was loaded): it begins anew. */
        view->heard_ns = now_ns;
    }
    if (now_ns - view->heard_ns < VAMP_HINTS_SILENCE_MS * NS_PER_MS) {
        return 0;
    }
    if (view->has_tasks) {
        changed |= VAMP_HINTS_NEW_TASKS;
    }
    if (!vamp_hint_cpus_empty(&view->fast) ||
        !vamp_hint_cpus_empty(&view->slow)) {
        changed |= VAMP_HINTS_NEW_SPLIT;
    }
    if (view->sound) {
        changed |= VAMP_HINTS_NEW_SOUND;
    }
    view->has_tasks = false;
    view->tasks.n = 0;
    view->listing = false;
    forget_split(view);
    view->sound = false;
    return changed;
}

bool vamp_hint_view_isolates(const struct vamp_hint_view *view)
{
    return !vamp_hint_cpus_empty(&view->slow);
}
