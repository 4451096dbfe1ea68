/*
 * Who feeds the sound server: remote wake-ups around a sound device
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "wakeup.h"
#include "load.h"

#define NS_PER_US           1000ull
#define NS_PER_MS           1000000ull
#define NS_PER_S            1000000000ull
#define CREDIT_EVERY_NS     NS_PER_MS
/* A waker from longer ago has nothing to do with what the task does now. */
#define WAKER_NS            NS_PER_S
#define AGE_NS              NS_PER_S
/* Nobody plays any more. */
#define SILENT_NS           (10 * NS_PER_S)
/* One wake-up is no evidence. */
#define ENOUGH              (2 * VAMP_WAKEUP_CREDIT)
/* So many windows are more than the handler of an interrupt takes by itself. */
#define HANDLER_WINDOWS     2
/* A driver touches the device at least this part as often as the busiest. */
#define DRIVER_PART         4
/*
 * A feeder is woken, or wakes, at least this part as often as that; the rest is
 * chance: an interrupt that came while a vCPU was between two tasks.
 */
#define FEEDER_PART         4

size_t vamp_wakeup_size(uint32_t nr_vcpus)
{
    return sizeof(struct vamp_wakeup) +
           nr_vcpus * sizeof(struct vamp_wakeup_vcpu);
}

void vamp_wakeup_configure(struct vamp_wakeup *w, uint32_t mode,
                           uint32_t window_us)
{
    w->mode = mode;
    w->window_ns = window_us * NS_PER_US;
}

void vamp_wakeup_init(struct vamp_wakeup *w, uint32_t nr_vcpus, uint32_t mode,
                      uint32_t window_us)
{
    static const struct vamp_wakeup none;
    static const struct vamp_wakeup_vcpu no_vcpu;
    uint32_t i;

    *w = none;
    w->playing = -1;
    w->nr_vcpus = nr_vcpus;
    for (i = 0; i < nr_vcpus; i++) {
        w->vcpu[i] = no_vcpu;
    }
    vamp_wakeup_configure(w, mode, window_us);
}

void vamp_wakeup_copy(struct vamp_wakeup *to, const struct vamp_wakeup *from)
{
    uint32_t i;

    *to = *from;
    for (i = 0; i < from->nr_vcpus; i++) {
        to->vcpu[i] = from->vcpu[i];
    }
}

/* Clocks of several CPUs may be a little apart. */
static uint64_t passed(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0;
}

/* Is @one among the @nr of @task? */
static bool contains(const uint64_t *task, uint32_t nr, uint64_t one)
{
    while (nr > 0 && task[nr - 1] != one) {
        nr--;
    }
    return nr > 0;
}

/* --- tasks ---------------------------------------------------------------- */

static struct vamp_wakeup_task *find(struct vamp_wakeup *w, uint64_t task)
{
    uint32_t i;

    for (i = 0; i < VAMP_WAKEUP_TASKS; i++) {
        if (w->task[i].task == task) {
            return &w->task[i];
        }
    }
    return NULL;
}

static void age(struct vamp_wakeup_task *t, uint64_t now)
{
    uint64_t n = passed(now, t->aged_ns) / AGE_NS;

    t->aged_ns += n * AGE_NS;
    t->feeds = n < 32 ? t->feeds >> n : 0;
    t->drives = n < 32 ? t->drives >> n : 0;
}

/* Is @a the better one to forget? */
static bool lesser(const struct vamp_wakeup_task *a,
                   const struct vamp_wakeup_task *b)
{
    uint64_t x = (uint64_t)a->feeds + a->drives;
    uint64_t y = (uint64_t)b->feeds + b->drives;

    return x < y || (x == y && a->seen_ns < b->seen_ns);
}

/* Its slot, made if need be; may take that of another one. */
static struct vamp_wakeup_task *touch(struct vamp_wakeup *w, uint64_t task,
                                      uint64_t now)
{
    struct vamp_wakeup_task *t = find(w, task);
    uint32_t i;

    if (!t) {
        t = &w->task[0];
        for (i = 0; i < VAMP_WAKEUP_TASKS; i++) {
            age(&w->task[i], now);
            if (lesser(&w->task[i], t)) {
                t = &w->task[i];
            }
        }
        *t = (struct vamp_wakeup_task) { .task = task, .aged_ns = now };
    }
    age(t, now);
    t->seen_ns = now;
    return t;
}

/* At most one a millisecond, so that no loop makes a score. */
static void credit(uint32_t *score, uint64_t *last_ns, uint64_t now)
{
    if (*last_ns && passed(now, *last_ns) < CREDIT_EVERY_NS) {
        return;
    }
    *last_ns = now;
    *score += *score < UINT32_MAX / 2 ? VAMP_WAKEUP_CREDIT : 0;
}

/* --- events --------------------------------------------------------------- */

static struct vamp_wakeup_vcpu *vcpu_get(struct vamp_wakeup *w, uint32_t vcpu)
{
    return vcpu < w->nr_vcpus ? &w->vcpu[vcpu] : NULL;
}

static bool fresh(const struct vamp_wakeup *w,
                  const struct vamp_wakeup_vcpu *v, uint64_t cpu)
{
    return v->pending && passed(cpu, v->since) <= w->window_ns;
}

bool vamp_wakeup_pending(const struct vamp_wakeup *w, uint32_t vcpu,
                         uint64_t cpu)
{
    return vcpu < w->nr_vcpus && fresh(w, &w->vcpu[vcpu], cpu);
}

void vamp_wakeup_irq(struct vamp_wakeup *w, uint32_t vcpu, uint64_t cpu,
                     uint64_t now)
{
    struct vamp_wakeup_vcpu *v = vcpu_get(w, vcpu);

    if (!v) {
        return;
    }
    w->count.irqs++;
    w->last_ns = now;
    v->woke = v->asleep || (v->woke && v->sound);
    v->asleep = false;
    v->pending = true;
    v->handler = true;
    v->sound = true;
    v->waker = VAMP_TASK_UNKNOWN;
    v->since = cpu;
    v->sound_task = VAMP_TASK_UNKNOWN;
}

void vamp_wakeup_other(struct vamp_wakeup *w, uint32_t vcpu, uint64_t cpu)
{
    struct vamp_wakeup_vcpu *v = vcpu_get(w, vcpu);

    if (!v) {
        return;
    }
    v->asleep = false;
    /* The device's own handler stays what it is. */
    if (!(w->mode & VAMP_WAKEUP_RESET) || v->handler) {
        return;
    }
    if (fresh(w, v, cpu)) {
        w->count.resets++;
    }
    v->pending = false;
}

void vamp_wakeup_halted(struct vamp_wakeup *w, uint32_t vcpu, uint64_t task,
                        uint64_t cpu)
{
    struct vamp_wakeup_vcpu *v = vcpu_get(w, vcpu);

    if (!v) {
        return;
    }
    /*
     * Its time stands still from now on. So the window would last for as long
     * as it halts, and whatever it loads next would be taken for the one that
     * was woken.
     */
    v->pending = false;
    v->woke = false;
    v->asleep = true;
    v->idle_task = task;
    v->idle_since = cpu;
}

/*
 * Was it idle a moment ago, in the tables that it has now? Then a handler runs,
 * unless it was another vCPU that has woken it, for a task.
 */
static bool idle(const struct vamp_wakeup *w, const struct vamp_wakeup_vcpu *v,
                 uint64_t task, uint64_t cpu)
{
    return task != VAMP_TASK_UNKNOWN && v->idle_task == task &&
           passed(cpu, v->idle_since) <= w->window_ns &&
           !(fresh(w, v, cpu) && !v->handler);
}

bool vamp_wakeup_ipi(struct vamp_wakeup *w, uint32_t from, uint64_t task,
                     uint64_t cpu_from, uint32_t to, uint64_t cpu_to)
{
    struct vamp_wakeup_vcpu *f = vcpu_get(w, from);
    struct vamp_wakeup_vcpu *t = vcpu_get(w, to);
    bool sound, handler, slept;

    if (!f || !t || f == t) {
        return false;
    }
    slept = t->asleep;
    t->asleep = false;
    w->count.ipis++;
    handler = f->handler && fresh(w, f, cpu_from);
    if (idle(w, f, task, cpu_from)) {
        task = VAMP_TASK_UNKNOWN;
    }
    sound = handler || ((w->mode & VAMP_WAKEUP_TRANSITIVE) && task &&
                        f->sound_task == task);
    if (handler) {
        /* It interrupts the task that runs, which wakes nobody. */
        task = VAMP_TASK_UNKNOWN;
    }
    if (fresh(w, t, cpu_to) && t->sound && !sound) {
        return true;                /* that one is of more interest */
    }
    if (!sound && task == VAMP_TASK_UNKNOWN) {
        t->pending = false;
        return false;
    }
    if (t->pending && !t->handler) {
        w->count.late += !fresh(w, t, cpu_to);
    }
    t->woke = slept || (t->woke && t->sound == sound);
    t->pending = true;
    t->handler = false;
    t->sound = sound;
    t->waker = task;
    t->since = cpu_to;
    return true;
}

/* @task begins to run, which is what @was has asked for. */
static void answer(struct vamp_wakeup *w, struct vamp_wakeup_vcpu *v,
                   const struct vamp_wakeup_vcpu *was, uint64_t task,
                   uint64_t now)
{
    struct vamp_wakeup_task *t;

    w->count.woken += !was->handler;
    t = touch(w, task, now);
    t->waker = was->waker == task ? VAMP_TASK_UNKNOWN : was->waker;
    t->woken_ns = now;
    if (was->sound) {
        w->count.woken_by_sound++;
        w->last_ns = now;
        v->sound_task = task;
        credit(&t->feeds, &t->fed_ns, now);
    }
}

void vamp_wakeup_loaded(struct vamp_wakeup *w, uint32_t vcpu, uint64_t task,
                        uint64_t cpu, uint64_t now)
{
    struct vamp_wakeup_vcpu *v = vcpu_get(w, vcpu);
    struct vamp_wakeup_vcpu was;

    if (!v) {
        return;
    }
    was = *v;
    v->pending = false;
    v->woke = false;
    v->sound_task = VAMP_TASK_UNKNOWN;
    v->idle_task = VAMP_TASK_UNKNOWN;
    if (!was.pending || task == VAMP_TASK_UNKNOWN) {
        return;
    }
    if (!fresh(w, &was, cpu)) {
        w->count.late += !was.handler;
        return;
    }
    answer(w, v, &was, task, now);
}

uint64_t vamp_wakeup_stay_ns(const struct vamp_wakeup *w, bool irq)
{
    return (irq ? HANDLER_WINDOWS : 1) * w->window_ns;
}

void vamp_wakeup_stayed(struct vamp_wakeup *w, uint32_t vcpu, uint64_t task,
                        uint64_t now)
{
    struct vamp_wakeup_vcpu *v = vcpu_get(w, vcpu);

    if (!v || !v->woke || task == VAMP_TASK_UNKNOWN || v->idle_task != task) {
        return;
    }
    v->pending = false;
    v->woke = false;
    answer(w, v, v, task, now);
}

/* Who has woken @t, and who that one, feeds the sound. */
static void credit_wakers(struct vamp_wakeup *w, uint64_t task, uint64_t now)
{
    uint64_t seen[VAMP_WAKEUP_DEPTH + 1];
    uint32_t depth = w->mode & VAMP_WAKEUP_TRANSITIVE ? VAMP_WAKEUP_DEPTH : 1;
    uint32_t n;

    seen[0] = task;
    for (n = 1; n <= depth; n++) {
        const struct vamp_wakeup_task *t = find(w, task);
        struct vamp_wakeup_task *waker;

        if (!t || t->waker == VAMP_TASK_UNKNOWN ||
            passed(now, t->woken_ns) > WAKER_NS) {
            return;
        }
        task = t->waker;
        if (contains(seen, n, task)) {
            return;                 /* they wake each other */
        }
        seen[n] = task;
        waker = touch(w, task, now);
        credit(&waker->feeds, &waker->fed_ns, now);
    }
}

void vamp_wakeup_access(struct vamp_wakeup *w, uint32_t vcpu, uint64_t task,
                        uint64_t cpu, uint64_t now)
{
    struct vamp_wakeup_vcpu *v = vcpu_get(w, vcpu);
    struct vamp_wakeup_task *t;

    if (!v || task == VAMP_TASK_UNKNOWN) {
        return;
    }
    w->last_ns = now;
    if (fresh(w, v, cpu)) {
        if (v->handler) {
            w->count.handled++;
            return;
        }
        /* It was there already: a halted vCPU keeps its last task's tables. */
        vamp_wakeup_loaded(w, vcpu, task, cpu, now);
    }
    w->count.accesses++;
    w->playing = (int32_t)vcpu;
    t = touch(w, task, now);
    credit(&t->drives, &t->drove_ns, now);
    if (w->mode & VAMP_WAKEUP_BASE) {
        credit_wakers(w, task, now);
    }
}

void vamp_wakeup_planned(struct vamp_wakeup *w, const uint64_t *task,
                         uint32_t nr)
{
    uint32_t i;

    for (i = 0; i < VAMP_WAKEUP_TASKS; i++) {
        struct vamp_wakeup_task *t = &w->task[i];

        if (contains(task, nr, t->task)) {
            t->confidence += t->confidence < VAMP_WAKEUP_CONFIDENCE_MAX;
        } else {
            t->confidence -= t->confidence > 0;
        }
    }
}

/* --- who plays ------------------------------------------------------------ */

uint32_t vamp_wakeup_score(const struct vamp_wakeup *w,
                           const struct vamp_wakeup_task *t)
{
    uint64_t trust = VAMP_WAKEUP_CONFIDENCE_MAX;

    if (w->mode & VAMP_WAKEUP_CONFIDENCE) {
        trust -= t->confidence;
    }
    return (uint32_t)(t->feeds * trust / VAMP_WAKEUP_CONFIDENCE_MAX);
}

/* The one that has the place stays, unless the other is clearly ahead. */
static bool ahead(uint64_t score, uint64_t best, bool holds, bool best_holds)
{
    if (best_holds) {
        return score * 4 > best * 5;
    }
    return holds ? score * 5 >= best * 4 : score > best;
}

bool vamp_wakeup_choose(struct vamp_wakeup *w, uint64_t now)
{
    const struct vamp_wakeup_task *driver = NULL, *feeder = NULL;
    uint64_t before = w->audio_task;
    uint32_t i, drives = 0;
    bool silent = passed(now, w->last_ns) > SILENT_NS;

    for (i = 0; i < VAMP_WAKEUP_TASKS && !silent; i++) {
        struct vamp_wakeup_task *t = &w->task[i];

        age(t, now);
        if (t->drives && (!driver || ahead(t->drives, driver->drives,
                                           t->task == w->driver,
                                           driver->task == w->driver))) {
            driver = t;
        }
        drives = t->drives > drives ? t->drives : drives;
    }
    for (i = 0; i < VAMP_WAKEUP_TASKS && !silent; i++) {
        struct vamp_wakeup_task *t = &w->task[i];
        uint32_t score = vamp_wakeup_score(w, t);

        if (score < ENOUGH || score < drives / FEEDER_PART ||
            (t->drives && t->drives >= drives / DRIVER_PART)) {
            continue;
        }
        if (!feeder || ahead(score, vamp_wakeup_score(w, feeder),
                             t->task == before, feeder->task == before)) {
            feeder = t;
        }
    }
    w->driver = driver ? driver->task : VAMP_TASK_UNKNOWN;
    w->audio_task = feeder ? feeder->task : w->driver;
    return w->audio_task != before;
}
