/*
 * VAMP: moves interrupts of the host, and puts them back
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "interrupts-host.h"
#include "irq-follow.h"

/*
 * A driver that is loaded anew gets the same interrupt with its first
 * affinity; so looks a tool that insists on that affinity. After so many
 * times it is taken for a tool.
 */
#define REMOVES_MAX     8

typedef struct Moved {
    unsigned irq;
    int pcpu;                   /* where it shall be */
    bool wanted;
    bool moved;                 /* it is there, and we have put it there */
    bool theirs;                /* somebody else has set it */
    unsigned removes;           /* how often it was moved again */
    char *found;                /* affinity before the first move */
    char *left;                 /* affinity as read back after the last */
    char *problem;
} Moved;

struct VampIrqMover {
    char *root;
    GPtrArray *irqs;            /* Moved */
};

static void moved_free(gpointer opaque)
{
    Moved *i = opaque;

    g_free(i->found);
    g_free(i->left);
    g_free(i->problem);
    g_free(i);
}

VampIrqMover *vamp_irq_mover_new(const char *proc_root)
{
    VampIrqMover *m = g_new0(VampIrqMover, 1);

    m->root = g_strdup(proc_root);
    m->irqs = g_ptr_array_new_with_free_func(moved_free);
    return m;
}

static char *affinity(VampIrqMover *m, unsigned irq, Error **errp)
{
    return vamp_host_irq_cpus(m->root, irq, "smp_affinity_list", errp);
}

static void set_problem(Moved *i, char *problem)
{
    g_free(i->problem);
    i->problem = problem;
}

/* Steals @err. */
static void set_error(Moved *i, Error *err)
{
    set_problem(i, g_strdup(error_get_pretty(err)));
    error_free(err);
}

/* Has it still the affinity that it was left with? */
static bool is_ours(VampIrqMover *m, Moved *i)
{
    g_autofree char *now = affinity(m, i->irq, NULL);

    return now && !strcmp(now, i->left);
}

static void put_back(VampIrqMover *m, Moved *i)
{
    /* An interrupt that is gone needs nothing. */
    if (i->moved && is_ours(m, i)) {
        vamp_host_irq_set_cpus(m->root, i->irq, i->found);
    }
    i->moved = false;
}

static const char *write_problem(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
        return "this process may not move interrupts (only root may)";
    case EIO:
        return "the host's kernel steers it itself (managed interrupt)";
    case EINVAL:
        return "the CPU is offline, or cannot take it";
    default:
        return strerror(error);
    }
}

static void move(VampIrqMover *m, Moved *i)
{
    g_autofree char *cpus = g_strdup_printf("%d", i->pcpu);
    Error *err = NULL;
    int ret;

    ret = vamp_host_irq_set_cpus(m->root, i->irq, cpus);
    if (ret < 0) {
        set_problem(i, g_strdup_printf("irq %u cannot be moved to CPU %d: %s",
                                       i->irq, i->pcpu, write_problem(-ret)));
        return;
    }
    g_free(i->left);
    i->left = affinity(m, i->irq, &err);
    if (!i->left) {
        set_error(i, err);
        return;
    }
    i->moved = true;
    set_problem(i, NULL);
}

/* Finds out who has changed a moved interrupt, if anybody has. */
static void check(VampIrqMover *m, Moved *i)
{
    g_autofree char *now = affinity(m, i->irq, NULL);

    if (!now || !strcmp(now, i->left)) {
        return;
    }
    i->moved = false;
    if (strcmp(now, i->found) || ++i->removes > REMOVES_MAX) {
        i->theirs = true;
        set_problem(i, g_strdup_printf("irq %u was set to CPUs %s by somebody "
                                       "else and is left alone", i->irq, now));
    }
}

static void make_true(VampIrqMover *m, Moved *i, int pcpu)
{
    Error *err = NULL;

    if (i->moved) {
        check(m, i);
    }
    if (i->theirs || (i->moved && i->pcpu == pcpu)) {
        return;
    }
    i->pcpu = pcpu;
    if (!i->found) {
        i->found = affinity(m, i->irq, &err);
        if (!i->found) {
            set_error(i, err);
            return;
        }
    }
    move(m, i);
}

static Moved *find(const VampIrqMover *m, unsigned irq)
{
    for (unsigned n = 0; n < m->irqs->len; n++) {
        Moved *i = g_ptr_array_index(m->irqs, n);

        if (i->irq == irq) {
            return i;
        }
    }
    return NULL;
}

void vamp_irq_mover_apply(VampIrqMover *m, const VampIrqWant *want, size_t n)
{
    for (unsigned k = 0; k < m->irqs->len; k++) {
        ((Moved *)g_ptr_array_index(m->irqs, k))->wanted = false;
    }
    for (size_t k = 0; k < n; k++) {
        Moved *i = find(m, want[k].irq);

        if (i && i->wanted) {
            continue;
        }
        if (!i) {
            i = g_new0(Moved, 1);
            i->irq = want[k].irq;
            g_ptr_array_add(m->irqs, i);
        }
        i->wanted = true;
        make_true(m, i, want[k].pcpu);
    }
    for (unsigned k = m->irqs->len; k-- > 0;) {
        Moved *i = g_ptr_array_index(m->irqs, k);

        if (!i->wanted) {
            put_back(m, i);
            g_ptr_array_remove_index(m->irqs, k);
        }
    }
}

void vamp_irq_mover_free(VampIrqMover *m)
{
    if (!m) {
        return;
    }
    vamp_irq_mover_apply(m, NULL, 0);
    g_ptr_array_unref(m->irqs);
    g_free(m->root);
    g_free(m);
}

bool vamp_irq_mover_has(const VampIrqMover *m, unsigned irq)
{
    Moved *i = find(m, irq);

    return i && i->moved;
}

size_t vamp_irq_mover_count(const VampIrqMover *m)
{
    size_t n = 0;

    for (unsigned k = 0; k < m->irqs->len; k++) {
        n += ((Moved *)g_ptr_array_index(m->irqs, k))->moved;
    }
    return n;
}

void vamp_irq_mover_problems(const VampIrqMover *m,
                             void (*fn)(unsigned irq, const char *problem,
                                        void *opaque),
                             void *opaque)
{
    for (unsigned k = 0; k < m->irqs->len; k++) {
        Moved *i = g_ptr_array_index(m->irqs, k);

        if (i->problem) {
            fn(i->irq, i->problem, opaque);
        }
    }
}
