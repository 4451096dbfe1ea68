/*
 * VAMP: the affinity of threads, changed together and put back
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/syscall.h>
#include "qapi/error.h"
#include "hw/vamp/cpumap-pin.h"

/* A thread that we have changed, or looked at. */
typedef struct Pin {
    bool ours;                  /* @set was made by us */
    VampCpus found;             /* before our first change */
    VampCpus set;               /* as read back after our last change */
} Pin;

struct VampPins {
    const VampCpuPaths *paths;
    GHashTable *pins;           /* tid -> Pin */
};

/* To undo one step of vamp_pins_apply(). */
typedef struct Undo {
    pid_t tid;
    VampCpus was;
    Pin pin;
} Undo;

void vamp_thread_free(void *opaque)
{
    VampThread *t = opaque;

    g_free(t->name);
    g_free(t);
}

VampPins *vamp_pins_new(const VampCpuPaths *paths)
{
    VampPins *pins = g_new0(VampPins, 1);

    pins->paths = paths;
    pins->pins = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    return pins;
}

void vamp_pins_free(VampPins *pins)
{
    if (pins) {
        g_hash_table_destroy(pins->pins);
        g_free(pins);
    }
}

static Pin *find_pin(const VampPins *pins, pid_t tid)
{
    return g_hash_table_lookup(pins->pins, GINT_TO_POINTER(tid));
}

void vamp_pins_forget(VampPins *pins, pid_t tid)
{
    g_hash_table_remove(pins->pins, GINT_TO_POINTER(tid));
}

void vamp_pins_keep(VampPins *pins, GPtrArray *threads)
{
    g_autoptr(GHashTable) alive = g_hash_table_new(NULL, NULL);
    GHashTableIter iter;
    gpointer tid;

    for (unsigned i = 0; i < threads->len; i++) {
        VampThread *t = g_ptr_array_index(threads, i);

        g_hash_table_add(alive, GINT_TO_POINTER(t->tid));
    }
    g_hash_table_iter_init(&iter, pins->pins);
    while (g_hash_table_iter_next(&iter, &tid, NULL)) {
        if (!g_hash_table_contains(alive, tid)) {
            g_hash_table_iter_remove(&iter);
        }
    }
}

static bool same(const VampCpus *a, const VampCpus *b)
{
    return bitmap_equal(a->bits, b->bits, VAMP_CPUS_MAX);
}

/* Is all of @part in @whole? */
static bool within(const VampCpus *part, const VampCpus *whole)
{
    VampCpus rest;

    return !bitmap_andnot(rest.bits, part->bits, whole->bits, VAMP_CPUS_MAX);
}

static char *thread_name(const VampThread *t)
{
    switch (t->kind) {
    case VAMP_THREAD_KIND_VCPU:
        return g_strdup_printf("vCPU %u (thread %d)", t->vcpu, (int)t->tid);
    case VAMP_THREAD_KIND_IOTHREAD:
        return g_strdup_printf("IOThread %s (thread %d)", t->name,
                               (int)t->tid);
    default:
        return g_strdup_printf("emulator thread %d", (int)t->tid);
    }
}

/*
 * The record of a thread, made if there is none. A thread begins with the
 * affinity of the one that creates it: what a new thread got from a main
 * thread which we have pinned is our doing, too.
 */
static Pin *get_pin(VampPins *pins, pid_t tid, const VampCpus *now)
{
    Pin *pin = find_pin(pins, tid);
    Pin *main_pin = find_pin(pins, getpid());

    if (!pin) {
        pin = g_new0(Pin, 1);
        if (main_pin && main_pin->ours && same(now, &main_pin->set)) {
            *pin = *main_pin;
        } else {
            pin->found = *now;
        }
        g_hash_table_insert(pins->pins, GINT_TO_POINTER(tid), pin);
    }
    if (!pin->ours || !same(now, &pin->set)) {
        /* Not changed by us, or by somebody else since: that counts. */
        pin->ours = false;
        pin->found = *now;
    }
    return pin;
}

/* Does its cpuset forbid what is wanted? */
static bool cpuset_forbids(const VampPins *pins, const VampThread *t,
                           VampCpus *allowed, char **group)
{
    return vamp_cpuset_of(pins->paths, t->tid, allowed, group) &&
           !bitmap_intersects(allowed->bits, t->cpus.bits, VAMP_CPUS_MAX);
}

static void explain(const VampPins *pins, const VampThread *t, int err,
                    Error **errp)
{
    g_autofree char *name = thread_name(t);
    g_autofree char *want = vamp_cpus_format(&t->cpus);
    g_autofree char *group = NULL;
    g_autofree char *list = NULL;
    VampHostCpus host;
    VampCpus allowed;

    /* The cpuset of an offline CPU forbids it, too: that is not the reason. */
    if (err == EINVAL &&
        vamp_host_cpus_read(&host, pins->paths, NULL) &&
        !bitmap_intersects(host.online.bits, t->cpus.bits, VAMP_CPUS_MAX)) {
        error_setg(errp, "%s cannot be put on host CPU %s: it is offline",
                   name, want);
    } else if (err == EINVAL && cpuset_forbids(pins, t, &allowed, &group)) {
        list = vamp_cpus_format(&allowed);
        error_setg(errp, "%s cannot be put on host CPU %s: its cpuset %s "
                   "permits only host CPU %s (libvirt's vcpupin, emulatorpin "
                   "or vcpu cpuset=, or the group's cpuset.cpus, would have to "
                   "include it)", name, want, group, list);
    } else if (err == EPERM) {
        error_setg(errp, "%s cannot be put on host CPU %s: user %u may not "
                   "(CAP_SYS_NICE or a seccomp filter that permits "
                   "sched_setaffinity would be needed)", name, want,
                   (unsigned)geteuid());
    } else {
        error_setg_errno(errp, err, "%s cannot be put on host CPU %s", name,
                         want);
    }
}

/* Says why a thread that somebody else has given @now is not moved. */
static void refuse(const VampPins *pins, const VampThread *t,
                   const VampCpus *now, Error **errp)
{
    g_autofree char *name = thread_name(t);
    g_autofree char *want = vamp_cpus_format(&t->cpus);
    g_autofree char *list = vamp_cpus_format(now);
    g_autofree char *group = NULL;
    VampCpus allowed;

    if (cpuset_forbids(pins, t, &allowed, &group)) {
        explain(pins, t, EINVAL, errp);
        return;
    }
    error_setg(errp, "%s cannot be put on host CPU %s: somebody else "
               "(libvirt's vcpupin or iothreadpin, or taskset) has pinned it "
               "to host CPU %s, which would have to include it", name, want,
               list);
}

/*
 * May we move this thread? Yes if it is where we have put it, if it may run
 * there anyway, or if it only has what the whole process began with.
 */
static bool may_pin(VampPins *pins, const VampThread *t, const Pin *pin,
                    const VampCpus *now, Error **errp)
{
    Pin *main_pin = find_pin(pins, getpid());
    VampCpus base;

    if (t->kind == VAMP_THREAD_KIND_EMULATOR || pin->ours ||
        within(&t->cpus, now)) {
        return true;
    }
    if (main_pin && main_pin->ours) {
        base = main_pin->found;
    } else if (vamp_affinity_get(getpid(), &base) < 0) {
        return true;
    }
    if (same(now, &base)) {
        return true;
    }
    refuse(pins, t, now, errp);
    return false;
}

/* 0, or -errno with the thread as it was. */
static int set_and_read_back(pid_t tid, const VampCpus *cpus, VampCpus *set)
{
    int ret = vamp_affinity_set(tid, cpus);

    /* A cpuset cuts off what it forbids: only reading tells. */
    return ret < 0 ? ret : vamp_affinity_get(tid, set);
}

static int put_back(pid_t tid, const VampCpus *found)
{
    VampCpus all;
    int ret = vamp_affinity_set(tid, found);

    if (ret == -EINVAL) {
        /* Its CPUs are gone, or its cpuset has changed: all that it permits. */
        bitmap_fill(all.bits, VAMP_CPUS_MAX);
        ret = vamp_affinity_set(tid, &all);
    }
    return ret;
}

static bool apply_one(VampPins *pins, const VampThread *t, Pin *pin,
                      Error **errp)
{
    int ret;

    if (t->pin) {
        ret = set_and_read_back(t->tid, &t->cpus, &pin->set);
        if (ret < 0) {
            if (t->kind == VAMP_THREAD_KIND_EMULATOR && t->tid != getpid() &&
                (ret == -ESRCH || ret == -EINVAL)) {
                /*
                 * A helper has ended, or it is one of io_uring's, which the
                 * kernel places itself. If the main thread may run there the
                 * cpuset is not in the way.
                 */
                return true;
            }
            explain(pins, t, -ret, errp);
            return false;
        }
        pin->ours = true;
        return true;
    }
    if (!pin->ours) {
        return true;
    }
    ret = put_back(t->tid, &pin->found);
    if (ret < 0 && ret != -ESRCH) {
        g_autofree char *name = thread_name(t);

        error_setg_errno(errp, -ret, "the affinity of %s cannot be put back",
                         name);
        return false;
    }
    pin->ours = false;
    return true;
}

static void undo_all(VampPins *pins, GArray *log)
{
    for (unsigned i = log->len; i-- > 0; ) {
        Undo *u = &g_array_index(log, Undo, i);
        Pin *pin = find_pin(pins, u->tid);

        put_back(u->tid, &u->was);
        if (pin) {
            *pin = u->pin;
        }
    }
}

bool vamp_pins_apply(VampPins *pins, GPtrArray *threads, Error **errp)
{
    g_autoptr(GArray) log = g_array_new(FALSE, FALSE, sizeof(Undo));
    unsigned i;

    /* First look at all of them: the order must not matter. */
    for (i = 0; i < threads->len; i++) {
        VampThread *t = g_ptr_array_index(threads, i);
        Undo u = { .tid = t->tid };
        int ret = vamp_affinity_get(t->tid, &u.was);

        if (ret < 0) {
            if (t->kind == VAMP_THREAD_KIND_EMULATOR) {
                u.tid = 0;      /* has ended */
                g_array_append_val(log, u);
                continue;
            }
            explain(pins, t, -ret, errp);
            return false;
        }
        u.pin = *get_pin(pins, t->tid, &u.was);
        g_array_append_val(log, u);
    }
    for (i = 0; i < threads->len; i++) {
        VampThread *t = g_ptr_array_index(threads, i);
        Undo *u = &g_array_index(log, Undo, i);

        if (t->pin && u->tid &&
            !may_pin(pins, t, &u->pin, &u->was, errp)) {
            return false;
        }
    }

    for (i = 0; i < threads->len; i++) {
        VampThread *t = g_ptr_array_index(threads, i);
        Undo *u = &g_array_index(log, Undo, i);

        if (u->tid &&
            !apply_one(pins, t, find_pin(pins, t->tid), errp)) {
            g_array_set_size(log, i);
            for (i = log->len; i-- > 0; ) {
                if (!g_array_index(log, Undo, i).tid) {
                    g_array_remove_index(log, i);
                }
            }
            undo_all(pins, log);
            return false;
        }
    }
    return true;
}

bool vamp_pins_renew(VampPins *pins, GPtrArray *threads, Error **errp)
{
    for (unsigned i = 0; i < threads->len; i++) {
        VampThread *t = g_ptr_array_index(threads, i);
        Pin *pin = find_pin(pins, t->tid);
        VampCpus now;

        if (t->pin && pin && pin->ours &&
            vamp_affinity_get(t->tid, &now) == 0 && !same(&now, &pin->set) &&
            !within(&t->cpus, &now)) {
            refuse(pins, t, &now, errp);
            return false;
        }
    }
    return vamp_pins_apply(pins, threads, errp);
}

/* Not of another process that has been given the number since. */
static bool is_our_thread(pid_t tid)
{
    return syscall(SYS_tgkill, getpid(), tid, 0) == 0;
}

void vamp_pins_restore(VampPins *pins, const GArray *tids)
{
    GHashTableIter iter;
    gpointer key, value;
    VampCpus now;

    /* Before the first is changed: see get_pin(). */
    for (unsigned i = 0; i < tids->len; i++) {
        pid_t tid = g_array_index(tids, pid_t, i);

        if (vamp_affinity_get(tid, &now) == 0) {
            get_pin(pins, tid, &now);
        }
    }
    g_hash_table_iter_init(&iter, pins->pins);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        pid_t tid = GPOINTER_TO_INT(key);
        Pin *pin = value;

        if (pin->ours && is_our_thread(tid) &&
            vamp_affinity_get(tid, &now) == 0 && same(&now, &pin->set)) {
            put_back(tid, &pin->found);
        }
        pin->ours = false;
    }
}

bool vamp_pins_describe(const VampPins *pins, const VampThread *thread,
                        char **affinity, char **found, char **reason)
{
    const Pin *pin = find_pin(pins, thread->tid);
    VampHostCpus host;
    VampCpus now;
    int ret = vamp_affinity_get(thread->tid, &now);
    bool ours;

    *affinity = *found = NULL;
    if (ret < 0) {
        *reason = g_strdup_printf("its affinity cannot be read: %s",
                                  strerror(-ret));
        return false;
    }
    *affinity = vamp_cpus_format(&now);
    ours = pin && pin->ours && same(&now, &pin->set);
    if (ours) {
        *found = vamp_cpus_format(&pin->found);
    }
    if (!thread->pin) {
        *reason = g_strdup(ours ? "inherited from the main thread" :
                           "left as it was found");
        return true;
    }
    if (same(&now, &thread->cpus)) {
        *reason = g_strdup("as mapped");
        return true;
    }
    if (ours) {
        *reason = g_strdup("its cpuset forbids the rest");
    } else if (vamp_host_cpus_read(&host, pins->paths, NULL) &&
               !bitmap_intersects(host.online.bits, thread->cpus.bits,
                                  VAMP_CPUS_MAX)) {
        *reason = g_strdup("its host CPU is offline");
    } else {
        *reason = g_strdup(pin && pin->ours ?
                           "somebody else has changed it since" :
                           "it could not be pinned");
    }
    return false;
}
