/*
 * Who is in the background: the plan that a phase begins with
 *
 * A task's load is its sum over all vCPUs, and a guest makes as many tasks as
 * it likes: a task spread over 100 vCPUs may be above the threshold with a
 * hundredth of it in each table. So no entry can be left out early. All of
 * them go into scratch space behind the policy, are sorted by task and merged:
 * exact, without allocation, and n log n whatever a hostile guest does (a hash
 * table would be faster until the guest chooses the keys, which are its own
 * page addresses). 16 vCPUs with full tables are 1024 entries.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "classify.h"
#include "scale.h"

size_t vamp_classify_scratch_size(uint32_t max_vcpus)
{
    size_t entries = (size_t)max_vcpus * VAMP_TASKS_PER_VCPU;

    return entries * sizeof(struct vamp_classify_entry);
}

static struct vamp_classify_entry *scratch(struct vamp_policy *p)
{
    void *end = &p->vcpu[p->max_vcpus];

    return end;
}

static uint32_t threshold_permille(const struct vamp_policy *p)
{
    return p->cfg.bg_percent * 10;
}

/*
 * Per mille of one vCPU. @ns is below 2^48 (4096 vCPUs, run and wait, of a
 * window below 2^35): the product fits, and so does the result.
 */
static uint32_t to_permille(const struct vamp_policy *p, uint64_t ns)
{
    uint64_t window = VAMP_WINDOW_EPOCHS * p->period_ns;

    return (uint32_t)((ns * 1000 + window / 2) / window);
}

static uint32_t vcpu_permille(const struct vamp_policy *p,
                              const struct vamp_vcpu *v, uint64_t now)
{
    return vamp_ring_permille(&v->run, p->period_ns, now)
           + vamp_ring_permille(&v->wait, p->period_ns, now);
}

static bool exempt(const struct vamp_policy *p, uint64_t task)
{
    return task == VAMP_TASK_UNKNOWN
           || task == p->system_task || task == p->audio_task;
}

/*
 * Appends what ran on one vCPU to @entry (room for VAMP_TASKS_PER_VCPU) and
 * returns how much. Run delay is load that the vCPU would have had: the tasks
 * share it as they share the run time.
 */
static size_t collect(const struct vamp_policy *p, const struct vamp_vcpu *v,
                      const struct vamp_task_table *table, uint64_t now,
                      struct vamp_classify_entry *entry)
{
    uint64_t wait = vamp_ring_sum(&v->wait, p->period_ns, now);
    uint64_t total = 0;
    uint32_t used = table->used;
    uint32_t i;
    size_t n = 0;

    /* A table of another period is from before vamp_policy_configure(). */
    if (table->period_ns != p->period_ns) {
        return 0;
    }
    if (used > VAMP_TASKS_PER_VCPU) {
        used = VAMP_TASKS_PER_VCPU;
    }
    for (i = 0; i < used; i++) {
        const struct vamp_task_slot *slot = &table->slot[i];
        uint64_t ns = vamp_ring_sum(&slot->run, p->period_ns, now);

        /* An exempt task has its share of the delay, too: count it. */
        if (ns > 0) {
            entry[n].task = slot->task;
            entry[n].ns = ns;
            total += ns;
            n++;
        }
    }
    for (i = 0; i < n; i++) {
        entry[i].ns += vamp_scale(wait, entry[i].ns, total);
    }
    return n;
}

/* Sinks @entry[@root] in the heap of @n entries, largest task first. */
static void sift_down(struct vamp_classify_entry *entry, size_t root, size_t n)
{
    struct vamp_classify_entry moved = entry[root];
    size_t child;

    while ((child = 2 * root + 1) < n) {
        if (child + 1 < n && entry[child + 1].task > entry[child].task) {
            child++;
        }
        if (entry[child].task <= moved.task) {
            break;
        }
        entry[root] = entry[child];
        root = child;
    }
    entry[root] = moved;
}

/* Heap sort: no recursion, no worst case for a guest to find. */
static void sort_by_task(struct vamp_classify_entry *entry, size_t n)
{
    struct vamp_classify_entry largest;
    size_t i;

    for (i = n / 2; i-- > 0;) {
        sift_down(entry, i, n);
    }
    for (i = n; i-- > 1;) {
        largest = entry[0];
        entry[0] = entry[i];
        entry[i] = largest;
        sift_down(entry, 0, i);
    }
}

/* Keeps the plan's list in descending order; the smallest one drops out. */
static void add_background(struct vamp_policy *p, uint64_t task,
                           uint32_t permille)
{
    uint32_t i;

    if (p->nr_background < VAMP_PLAN_TASKS) {
        i = p->nr_background++;
    } else {
        p->count.background_overflow++;
        i = VAMP_PLAN_TASKS - 1;
        if (p->background[i].permille >= permille) {
            return;
        }
    }
    for (; i > 0 && p->background[i - 1].permille < permille; i--) {
        p->background[i] = p->background[i - 1];
    }
    p->background[i].task = task;
    p->background[i].permille = permille;
}

static void set_vcpu_classes(struct vamp_policy *p, enum vamp_class vclass)
{
    uint32_t i;

    for (i = 0; i < p->max_vcpus; i++) {
        p->vcpu[i].vclass = p->vcpu[i].present ? vclass : VAMP_CLASS_NEUTRAL;
    }
}

static void set_phase(struct vamp_policy *p, enum vamp_phase phase,
                      enum vamp_reason reason)
{
    p->phase = phase;
    p->reason = reason;
}

static void classify_tasks(struct vamp_policy *p, uint64_t now,
                           const struct vamp_task_table *const *tables)
{
    struct vamp_classify_entry *entry = scratch(p);
    size_t n = 0, i, next;
    uint32_t v;

    for (v = 0; v < p->max_vcpus; v++) {
        if (p->vcpu[v].present && tables[v]) {
            n += collect(p, &p->vcpu[v], tables[v], now, entry + n);
        }
    }
    sort_by_task(entry, n);
    for (i = 0; i < n; i = next) {
        uint64_t ns = 0;
        uint32_t permille;

        for (next = i; next < n && entry[next].task == entry[i].task; next++) {
            ns += entry[next].ns;
        }
        permille = to_permille(p, ns);
        if (permille > threshold_permille(p) && !exempt(p, entry[i].task)) {
            add_background(p, entry[i].task, permille);
        }
    }
    if (p->nr_background == 0) {
        set_phase(p, VAMP_PHASE_NON_MIXED, VAMP_REASON_NO_BACKGROUND);
        return;
    }
    set_phase(p, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
    set_vcpu_classes(p, VAMP_CLASS_INTERACTIVE);
}

static void classify_vcpus(struct vamp_policy *p, uint64_t now)
{
    uint32_t i;

    for (i = 0; i < p->max_vcpus; i++) {
        struct vamp_vcpu *v = &p->vcpu[i];

        if (v->present) {
            v->vclass = vcpu_permille(p, v, now) > threshold_permille(p) ?
                        VAMP_CLASS_BACKGROUND : VAMP_CLASS_INTERACTIVE;
        }
    }
    set_phase(p, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
    vamp_classify_settle(p);
}

void vamp_classify_clear(struct vamp_policy *p)
{
    p->by_task = false;
    p->nr_background = 0;
    set_vcpu_classes(p, VAMP_CLASS_NEUTRAL);
}

void vamp_classify_settle(struct vamp_policy *p)
{
    bool background = false, other = false;
    uint32_t i;

    if (p->phase != VAMP_PHASE_MIXED) {
        return;
    }
    if (p->by_task) {
        background = p->nr_background > 0;
        other = true;
    } else {
        for (i = 0; i < p->max_vcpus; i++) {
            if (p->vcpu[i].vclass == VAMP_CLASS_BACKGROUND) {
                background = true;
            } else if (p->vcpu[i].present) {
                other = true;
            }
        }
    }
    if (background && other) {
        return;
    }
    /*
     * Equal classes help nobody: within the VM every vCPU would get what it
     * gets anyway, and where weights of several VMs compete, a VM that is all
     * background would give its share away, a VM that is all interactive
     * would take that of others.
     */
    set_phase(p, VAMP_PHASE_NON_MIXED,
              background ? VAMP_REASON_ALL_BUSY : VAMP_REASON_NO_BACKGROUND);
    set_vcpu_classes(p, VAMP_CLASS_NEUTRAL);
}

void vamp_classify_exempt(struct vamp_policy *p, uint64_t task)
{
    uint32_t i, kept = 0;

    for (i = 0; i < p->nr_background; i++) {
        if (p->background[i].task != task) {
            p->background[kept++] = p->background[i];
        }
    }
    if (kept < p->nr_background) {
        p->nr_background = kept;
        vamp_classify_settle(p);
    }
}

bool vamp_classify_low_load(const struct vamp_policy *p)
{
    return p->vm_permille <= threshold_permille(p);
}

/* Sets vm_permille. */
static void measure(struct vamp_policy *p, uint64_t now)
{
    uint32_t i;

    p->vm_permille = 0;
    for (i = 0; i < p->max_vcpus; i++) {
        if (p->vcpu[i].present) {
            p->vm_permille += vcpu_permille(p, &p->vcpu[i], now);
        }
    }
}

void vamp_classify_rehint(struct vamp_policy *p,
                          const struct vamp_hinted *hinted)
{
    uint32_t i;

    vamp_classify_clear(p);
    p->by_task = hinted->by_task;
    set_vcpu_classes(p, VAMP_CLASS_INTERACTIVE);
    if (hinted->by_task) {
        for (i = 0; i < hinted->nr_tasks; i++) {
            if (!exempt(p, hinted->task[i].task)) {
                add_background(p, hinted->task[i].task,
                               hinted->task[i].permille);
            }
        }
    } else {
        for (i = 0; i < p->max_vcpus; i++) {
            if (p->vcpu[i].present && hinted->vcpu[i]) {
                p->vcpu[i].vclass = VAMP_CLASS_BACKGROUND;
            }
        }
    }
    set_phase(p, VAMP_PHASE_MIXED, VAMP_REASON_BACKGROUND);
    vamp_classify_settle(p);
}

void vamp_classify_hinted(struct vamp_policy *p, uint64_t now,
                          const struct vamp_hinted *hinted)
{
    vamp_classify_clear(p);
    measure(p, now);
    if (vamp_classify_low_load(p)) {
        set_phase(p, VAMP_PHASE_NON_MIXED, VAMP_REASON_LOW_LOAD);
    } else {
        vamp_classify_rehint(p, hinted);
    }
}

void vamp_classify(struct vamp_policy *p, uint64_t now,
                   const struct vamp_task_table *const *tables)
{
    vamp_classify_clear(p);
    p->by_task = tables != NULL;
    measure(p, now);
    if (vamp_classify_low_load(p)) {
        set_phase(p, VAMP_PHASE_NON_MIXED, VAMP_REASON_LOW_LOAD);
    } else if (tables) {
        classify_tasks(p, now, tables);
    } else {
        classify_vcpus(p, now);
    }
}
