/*
 * Groups beside a VM's group: VMs without VAMP, and other work
 *
 * They take part in the ledger as everybody does, so that nobody borrows from
 * them without paying; their weights are never touched.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <dirent.h>
#include "qemu/cutils.h"
#include "broker/broker.h"

/* Of all neighbours: what is beyond is not counted. */
#define NEIGHBOURS_MAX  256
/* Processes and threads of one, where the kernel has no sum for a group. */
#define PROCESSES_MAX   64
#define THREADS_MAX     256

void neighbour_free(gpointer opaque)
{
    Neighbour *n = opaque;

    g_free(n->path);
    g_free(n->dir);
    g_free(n);
}

/* The number behind the word @name in a group's @file. */
static bool read_word(const char *dir, const char *file, const char *name,
                      uint64_t *value)
{
    g_autofree char *text = NULL;
    const char *at, *rest;

    if (vamp_cgroup_read(dir, file, &text) < 0) {
        return false;
    }
    at = strstr(text, name);
    return at && qemu_strtou64(at + strlen(name), &rest, 10, value) == 0;
}

typedef struct Sum {
    pid_t pid;
    uint64_t waited_ns;
} Sum;

static bool add_waited(pid_t tid, void *opaque)
{
    Sum *s = opaque;
    TaskTimes times;
    int fd = task_open(s->pid, tid);

    if (fd >= 0) {
        if (task_times(fd, &times) == 0) {
            s->waited_ns += times.waited_ns;
        }
        close(fd);
    }
    return true;
}

/* cgroup v1 without the sums, or no pressure information: process by process */
static void sum_processes(const char *dir, uint64_t *used_ns,
                          uint64_t *waited_ns)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) pids = NULL;
    unsigned i;

    if (vamp_cgroup_read(dir, "cgroup.procs", &text) < 0) {
        return;
    }
    pids = g_strsplit(text, "\n", PROCESSES_MAX + 1);
    for (i = 0; pids[i] && i < PROCESSES_MAX; i++) {
        Sum s = { 0 };
        clockid_t clock;
        uint64_t ns;

        if (qemu_strtoi(pids[i], NULL, 10, &s.pid) < 0) {
            continue;
        }
        if (used_ns && task_clock(s.pid, &clock) == 0 &&
            task_clock_ns(clock, &ns) == 0) {
            *used_ns += ns;
        }
        if (waited_ns) {
            task_each(s.pid, THREADS_MAX, add_waited, &s);
            *waited_ns += s.waited_ns;
        }
    }
}

/*
 * @dir and what is below it: libvirt's VMs have their threads in child groups.
 * Two levels are as deep as these go.
 */
static void sum_groups(const char *dir, unsigned levels, uint64_t *used_ns,
                       uint64_t *waited_ns)
{
    GDir *d;
    const char *name;

    sum_processes(dir, used_ns, waited_ns);
    d = levels ? g_dir_open(dir, 0, NULL) : NULL;
    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *child = g_strdup_printf("%s/%s", dir, name);

        if (g_file_test(child, G_FILE_TEST_IS_DIR)) {
            sum_groups(child, levels - 1, used_ns, waited_ns);
        }
    }
    if (d) {
        g_dir_close(d);
    }
}

/* Totals since they began: CPU time, and time that they waited for it. */
static void read_totals(const Neighbour *n, uint64_t *used_ns,
                        uint64_t *waited_ns)
{
    uint64_t value;
    bool used = false, waited = false;

    *used_ns = *waited_ns = 0;
    if (read_word(n->dir, "cpu.stat", "usage_usec ", &value)) {
        *used_ns = value * 1000;
        used = true;
    } else if (read_word(n->dir, "cpuacct.usage", "", &value)) {
        *used_ns = value;
        used = true;
    }
    /* Time in which at least one of its threads waited. */
    if (read_word(n->dir, "cpu.pressure", "total=", &value)) {
        *waited_ns = value * 1000;
        waited = true;
    }
    if (!used || !waited) {
        sum_groups(n->dir, 2, used ? NULL : used_ns,
                   waited ? NULL : waited_ns);
    }
}

static void measure(Neighbour *n)
{
    uint64_t used, waited;

    read_totals(n, &used, &waited);
    /* Sums over processes fall when one ends. */
    n->account.used_ns = used > n->used_total_ns ? used - n->used_total_ns : 0;
    n->account.waited_ns = waited > n->waited_total_ns
                           ? waited - n->waited_total_ns : 0;
    n->used_total_ns = used;
    n->waited_total_ns = waited;
}

void neighbours_measure(Broker *b)
{
    unsigned i;

    for (i = 0; i < b->neighbours->len; i++) {
        measure(g_ptr_array_index(b->neighbours, i));
    }
}

static bool has_processes(const Broker *b, const char *dir)
{
    g_autofree char *text = NULL;
    uint64_t used = 0;

    if (b->host.cg->version == 2) {
        return vamp_cgroup_read(dir, "cgroup.events", &text) == 0 &&
               strstr(text, "populated 1");
    }
    if (vamp_cgroup_read(dir, "cgroup.procs", &text) == 0 && *text) {
        return true;
    }
    sum_groups(dir, 2, &used, NULL);
    return used > 0;
}

static void found(Broker *b, const char *path)
{
    g_autofree char *dir = vamp_cgroup_dir(b->host.cg, path, NULL);
    uint64_t weight;
    Neighbour *n;
    unsigned i;

    if (!dir || !read_word(dir, b->host.cg->weight_file, "", &weight) ||
        !has_processes(b, dir)) {
        return;
    }
    for (i = 0; i < b->neighbours->len; i++) {
        n = g_ptr_array_index(b->neighbours, i);
        if (!strcmp(n->path, path)) {
            n->seen = true;
            n->account.weight = MAX(weight, 1);
            return;
        }
    }
    if (b->neighbours->len >= NEIGHBOURS_MAX) {
        return;
    }
    n = g_new0(Neighbour, 1);
    n->path = g_strdup(path);
    n->dir = g_steal_pointer(&dir);
    n->seen = true;
    vamp_account_init(&n->account, MAX(weight, 1), false);
    read_totals(n, &n->used_total_ns, &n->waited_total_ns);
    g_ptr_array_add(b->neighbours, n);
}

/*
 * What is in @parent, but for the groups in @vms. The folder itself says what
 * is a group: to ask of each of its files would cost more than all the rest.
 */
static void scan(Broker *b, const char *parent, GHashTable *vms)
{
    g_autofree char *dir = vamp_cgroup_dir(b->host.cg, parent, NULL);
    DIR *d = dir ? opendir(dir) : NULL;
    const struct dirent *e;

    while (d && (e = readdir(d))) {
        if (e->d_type == DT_DIR && strcmp(e->d_name, ".") &&
            strcmp(e->d_name, "..")) {
            g_autofree char *path = g_strdup_printf(
                "%s/%s", strcmp(parent, "/") ? parent : "", e->d_name);

            if (!g_hash_table_contains(vms, path)) {
                found(b, path);
            }
        }
    }
    if (d) {
        closedir(d);
    }
}

/* Leaves @n out of the ledger, which stays balanced. */
static void gone(Broker *b, unsigned index)
{
    Neighbour *n = g_ptr_array_steal_index_fast(b->neighbours, index);
    g_autoptr(GPtrArray) all = ledger_accounts(b);

    vamp_ledger_leave((struct vamp_account *const *)all->pdata, all->len,
                      &n->account);
    neighbour_free(n);
}

void neighbours_claim(Vm *vm, const char *path)
{
    GPtrArray *all = vm->b->neighbours;
    unsigned i;

    for (i = 0; i < all->len; i++) {
        const Neighbour *n = g_ptr_array_index(all, i);

        if (!strcmp(n->path, path)) {
            vm->account.debt_ns += n->account.debt_ns;
            g_ptr_array_remove_index_fast(all, i);
            return;
        }
    }
}

void neighbours_scan(Broker *b)
{
    g_autoptr(GHashTable) parents = g_hash_table_new_full(g_str_hash,
                                                          g_str_equal, g_free,
                                                          NULL);
    g_autoptr(GHashTable) vms = g_hash_table_new(g_str_hash, g_str_equal);
    GHashTableIter iter;
    gpointer parent;
    unsigned i;

    for (i = 0; i < b->neighbours->len; i++) {
        ((Neighbour *)g_ptr_array_index(b->neighbours, i))->seen = false;
    }
    for (i = 0; i < b->vms->len; i++) {
        const Vm *vm = g_ptr_array_index(b->vms, i);

        if (vm->group) {
            g_hash_table_add(vms, vm->group->path);
            g_hash_table_add(parents, g_path_get_dirname(vm->group->path));
        }
    }
    g_hash_table_iter_init(&iter, parents);
    while (g_hash_table_iter_next(&iter, &parent, NULL)) {
        scan(b, parent, vms);
    }
    for (i = b->neighbours->len; i-- > 0; ) {
        if (!((Neighbour *)g_ptr_array_index(b->neighbours, i))->seen) {
            gone(b, i);
        }
    }
}
