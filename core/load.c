/*
 * Load accounting: how much CPU time went where in the last second
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "load.h"
#include "scale.h"

void vamp_ring_init(struct vamp_ring *ring)
{
    uint32_t i;

    ring->epoch = 0;
    for (i = 0; i < VAMP_EPOCHS; i++) {
        ring->ns[i] = 0;
    }
}

/*
 * An epoch must fit into the ring's 32-bit cells. Callers stay far below
 * (VAMP_PERIOD_MS_MAX is 2^30 ns); this guards the division as well.
 */
static bool period_valid(uint64_t period_ns)
{
    return period_ns > 0 && period_ns <= UINT32_MAX;
}

static uint64_t ring_oldest(const struct vamp_ring *ring)
{
    return ring->epoch >= VAMP_EPOCHS - 1 ?
           ring->epoch - (VAMP_EPOCHS - 1) : 0;
}

/* Makes @epoch the newest one if it is; the epochs in between were idle. */
static void ring_advance(struct vamp_ring *ring, uint64_t epoch)
{
    uint64_t e;

    if (epoch <= ring->epoch) {
        return;
    }
    if (epoch - ring->epoch >= VAMP_EPOCHS) {
        vamp_ring_init(ring);
    } else {
        for (e = ring->epoch + 1; e <= epoch; e++) {
            ring->ns[e % VAMP_EPOCHS] = 0;
        }
    }
    ring->epoch = epoch;
}

/* @epoch must be in the ring. What does not fit into an epoch is dropped. */
static void ring_put(struct vamp_ring *ring, uint64_t period_ns,
                     uint64_t epoch, uint64_t cpu_ns)
{
    uint32_t *cell = &ring->ns[epoch % VAMP_EPOCHS];
    uint64_t room = *cell < period_ns ? period_ns - *cell : 0;

    *cell += (uint32_t)(cpu_ns < room ? cpu_ns : room);
}

void vamp_ring_add(struct vamp_ring *ring, uint64_t period_ns,
                   uint64_t t0, uint64_t t1, uint64_t cpu_ns)
{
    uint64_t first, last, oldest, start, end, share;

    if (!period_valid(period_ns) || cpu_ns == 0) {
        return;
    }
    first = t0 / period_ns;
    last = t1 > t0 ? (t1 - 1) / period_ns : first;
    ring_advance(ring, last);
    oldest = ring_oldest(ring);
    if (last < oldest) {
        return;
    }
    if (first == last) {
        ring_put(ring, period_ns, first, cpu_ns);
        return;
    }
    if (first < oldest) {
        /* oldest <= last, so oldest * period_ns < t1: no overflow. */
        start = oldest * period_ns;
        cpu_ns = vamp_scale(cpu_ns, t1 - start, t1 - t0);
        t0 = start;
        first = oldest;
    }
    /*
     * Each epoch takes its part of what is left, so the parts add up to
     * @cpu_ns exactly, whatever the rounding.
     */
    for (; first < last; first++) {
        end = (first + 1) * period_ns;
        share = vamp_scale(cpu_ns, end - t0, t1 - t0);
        ring_put(ring, period_ns, first, share);
        cpu_ns -= share;
        t0 = end;
    }
    ring_put(ring, period_ns, last, cpu_ns);
}

uint64_t vamp_ring_sum(const struct vamp_ring *ring, uint64_t period_ns,
                       uint64_t now)
{
    uint64_t end, first, oldest, e, sum = 0;

    if (!period_valid(period_ns)) {
        return 0;
    }
    end = now / period_ns;
    first = end >= VAMP_WINDOW_EPOCHS ? end - VAMP_WINDOW_EPOCHS : 0;
    oldest = ring_oldest(ring);
    if (first < oldest) {
        first = oldest;
    }
    if (end > ring->epoch) {
        end = ring->epoch + 1;
    }
    for (e = first; e < end; e++) {
        sum += ring->ns[e % VAMP_EPOCHS];
    }
    return sum;
}

uint32_t vamp_ring_permille(const struct vamp_ring *ring, uint64_t period_ns,
                            uint64_t now)
{
    uint64_t window = VAMP_WINDOW_EPOCHS * period_ns;

    if (!period_valid(period_ns)) {
        return 0;
    }
    return (uint32_t)((vamp_ring_sum(ring, period_ns, now) * 1000
                       + window / 2) / window);
}

void vamp_task_table_init(struct vamp_task_table *table, uint64_t period_ns)
{
    uint32_t i;

    table->period_ns = period_ns;
    table->evictions = 0;
    table->used = 0;
    table->hint = 0;
    /* A copy of the table copies unused slots too: leave nothing undefined. */
    for (i = 0; i < VAMP_TASKS_PER_VCPU; i++) {
        table->slot[i].task = VAMP_TASK_UNKNOWN;
        table->slot[i].last_ns = 0;
        vamp_ring_init(&table->slot[i].run);
    }
}

/* The slot of @task; a new or the longest unused one if it has none. */
static struct vamp_task_slot *slot_get(struct vamp_task_table *table,
                                       uint64_t task)
{
    uint32_t i, found = 0;

    /* Mostly the same task goes on: a switch is rarer than a charge. */
    if (table->hint < table->used
        && table->slot[table->hint].task == task) {
        return &table->slot[table->hint];
    }
    for (i = 0; i < table->used; i++) {
        if (table->slot[i].task == task) {
            table->hint = i;
            return &table->slot[i];
        }
        if (table->slot[i].last_ns < table->slot[found].last_ns) {
            found = i;
        }
    }
    if (table->used < VAMP_TASKS_PER_VCPU) {
        found = table->used++;
    } else {
        table->evictions++;
    }
    table->hint = found;
    table->slot[found].task = task;
    table->slot[found].last_ns = 0;
    vamp_ring_init(&table->slot[found].run);
    return &table->slot[found];
}

void vamp_task_table_charge(struct vamp_task_table *table, uint64_t task,
                            uint64_t t0, uint64_t t1, uint64_t cpu_ns)
{
    struct vamp_task_slot *slot;
    uint64_t last = t1 > t0 ? t1 : t0;

    /* A task that did not run must not push out one that did. */
    if (task == VAMP_TASK_UNKNOWN || cpu_ns == 0) {
        return;
    }
    slot = slot_get(table, task);
    if (slot->last_ns < last) {
        slot->last_ns = last;
    }
    vamp_ring_add(&slot->run, table->period_ns, t0, t1, cpu_ns);
}

/* What is too old for the newer of the two rings is dropped. */
static void ring_merge(struct vamp_ring *ring, uint64_t period_ns,
                       const struct vamp_ring *other)
{
    uint64_t e;

    ring_advance(ring, other->epoch);
    for (e = ring_oldest(other); e <= other->epoch; e++) {
        if (e >= ring_oldest(ring)) {
            ring_put(ring, period_ns, e, other->ns[e % VAMP_EPOCHS]);
        }
    }
}

void vamp_task_table_mask(struct vamp_task_table *table, uint64_t mask)
{
    uint32_t i, k, used = 0;

    for (i = 0; i < table->used; i++) {
        struct vamp_task_slot *slot = &table->slot[i];

        slot->task &= mask;
        if (slot->task == VAMP_TASK_UNKNOWN) {
            continue;
        }
        for (k = 0; k < used && table->slot[k].task != slot->task; k++) {
            /* found, or the next that is free */
        }
        if (k == used) {
            table->slot[used++] = *slot;
            continue;
        }
        if (table->slot[k].last_ns < slot->last_ns) {
            table->slot[k].last_ns = slot->last_ns;
        }
        ring_merge(&table->slot[k].run, table->period_ns, &slot->run);
    }
    table->used = used;
    table->hint = 0;
}
