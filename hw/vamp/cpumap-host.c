/*
 * VAMP: the host's CPUs, and which of them a thread may run on
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/syscall.h>
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/vamp-cgroup.h"
#include "hw/vamp/cpumap-host.h"

const VampCpuPaths vamp_cpu_paths = {
    .host = {
        .proc = "/proc",
        .mountinfo = "/proc/self/mountinfo",
    },
    .sys = "/sys",
};

/* --- sets ----------------------------------------------------------------- */

bool vamp_cpus_parse(VampCpus *cpus, const char *name, const char *text,
                     Error **errp)
{
    struct vamp_cpumap_error e;

    if (!vamp_cpulist_parse(text, strlen(text), cpus->bits, VAMP_CPUS_MAX,
                            &e)) {
        error_setg(errp, "%s=%.64s: %s, valid is a list of host CPUs like "
                   "0-3,5", name, text, vamp_cpumap_fault_text(e.fault));
        return false;
    }
    return true;
}

char *vamp_cpus_format(const VampCpus *cpus)
{
    GString *s = g_string_new(NULL);
    unsigned long first, end;

    first = find_first_bit(cpus->bits, VAMP_CPUS_MAX);
    while (first < VAMP_CPUS_MAX) {
        end = find_next_zero_bit(cpus->bits, VAMP_CPUS_MAX, first);
        g_string_append_printf(s, "%s%lu", s->len ? "," : "", first);
        if (end - first > 1) {
            g_string_append_printf(s, "-%lu", end - 1);
        }
        first = find_next_bit(cpus->bits, VAMP_CPUS_MAX, end);
    }
    if (!s->len) {
        g_string_append(s, "none");
    }
    return g_string_free(s, FALSE);
}

/* --- the host ------------------------------------------------------------- */

/*
 * A list in one of the kernel's files; no such file, an empty one and
 * "(null)", which kernels before 5.19 have in nohz_full, are no CPUs.
 */
static bool read_list(VampCpus *cpus, const char *dir, const char *file)
{
    g_autofree char *text = NULL;
    struct vamp_cpumap_error e;

    if (vamp_cgroup_read(dir, file, &text) < 0 ||
        !vamp_cpulist_parse(text, strlen(text), cpus->bits, VAMP_CPUS_MAX,
                            &e)) {
        bitmap_zero(cpus->bits, VAMP_CPUS_MAX);
        return false;
    }
    return true;
}

bool vamp_host_cpus_read(VampHostCpus *host, const VampCpuPaths *paths,
                         Error **errp)
{
    g_autofree char *dir = g_strdup_printf("%s/devices/system/cpu",
                                           paths->sys);
    g_autofree char *cgroup = g_strdup_printf("%s/fs/cgroup", paths->sys);
    VampCpus partitions;

    if (!read_list(&host->online, dir, "online")) {
        error_setg(errp, "cannot find out which CPUs the host has (%s/online "
                   "would be needed)", dir);
        return false;
    }
    if (!read_list(&host->present, dir, "present")) {
        host->present = host->online;
    }
    read_list(&host->isolated, dir, "isolated");
    /* Isolated at run time (Linux 6.7, cgroup v2): only the root tells. */
    read_list(&partitions, cgroup, "cpuset.cpus.isolated");
    bitmap_or(host->isolated.bits, host->isolated.bits, partitions.bits,
              VAMP_CPUS_MAX);
    read_list(&host->nohz_full, dir, "nohz_full");
    return true;
}

bool vamp_cpu_siblings(const VampCpuPaths *paths, unsigned cpu,
                       VampCpus *siblings)
{
    g_autofree char *dir = g_strdup_printf("%s/devices/system/cpu/cpu%u/"
                                           "topology", paths->sys, cpu);

    return read_list(siblings, dir, "thread_siblings_list");
}

int vamp_cpu_node(const VampCpuPaths *paths, unsigned cpu)
{
    g_autofree char *name = g_strdup_printf("%s/devices/system/cpu/cpu%u",
                                            paths->sys, cpu);
    g_autoptr(GDir) dir = g_dir_open(name, 0, NULL);
    const char *entry, *number;
    unsigned node;

    while (dir && (entry = g_dir_read_name(dir))) {
        if (strstart(entry, "node", &number) &&
            qemu_strtoui(number, NULL, 10, &node) == 0 && node <= INT_MAX) {
            return node;
        }
    }
    return -1;
}

bool vamp_cpuset_of(const VampCpuPaths *paths, pid_t tid, VampCpus *cpus,
                    char **group)
{
    g_autoptr(VampCgroups) cg = vamp_cgroups_new(&paths->host, "cpuset", NULL);
    g_autofree char *path = NULL;

    path = cg ? vamp_cgroup_path(cg, 0, tid, NULL) : NULL;
    /*
     * In v2 a group without the controller is bound by the nearest one above
     * it that has it.
     */
    while (path) {
        g_autofree char *dir = vamp_cgroup_dir(cg, path, NULL);
        char *slash;

        if (dir && read_list(cpus, dir, cg->version == 2 ?
                             "cpuset.cpus.effective" :
                             vamp_cgroup_has(dir, "cpuset.effective_cpus") ?
                             "cpuset.effective_cpus" : "cpuset.cpus")) {
            *group = g_steal_pointer(&path);
            return true;
        }
        if (cg->version == 1 || !path[1]) {
            break;
        }
        slash = strrchr(path, '/');
        if (!slash) {
            break;
        }
        slash[slash == path ? 1 : 0] = 0;
    }
    return false;
}

/* --- warnings ------------------------------------------------------------- */

static void warn_not_isolated(GPtrArray *out, const VampHostCpus *host,
                              const VampCpus *mapped)
{
    g_autofree char *list = NULL;
    VampCpus busy;

    if (!bitmap_andnot(busy.bits, mapped->bits, host->isolated.bits,
                       VAMP_CPUS_MAX)) {
        return;
    }
    list = vamp_cpus_format(&busy);
    g_ptr_array_add(out, g_strdup_printf("the host may run other work on host "
        "CPU %s: not isolated (isolcpus=%s on the kernel's command line, or "
        "an isolated cpuset partition, would be needed)", list, list));
}

/* The vCPU on @cpu, or -1. */
static int vcpu_on(const struct vamp_cpumap_entry *map, unsigned n,
                   unsigned cpu)
{
    for (unsigned i = 0; i < n; i++) {
        if (map[i].cpu == cpu) {
            return map[i].vcpu;
        }
    }
    return -1;
}

static void warn_siblings(GPtrArray *out, const VampCpuPaths *paths,
                          const VampHostCpus *host,
                          const struct vamp_cpumap_entry *map, unsigned n,
                          const VampCpus *mapped,
                          char *(*claimed_by)(void *, unsigned), void *opaque)
{
    unsigned cpu, other;

    for (cpu = find_first_bit(mapped->bits, VAMP_CPUS_MAX);
         cpu < VAMP_CPUS_MAX;
         cpu = find_next_bit(mapped->bits, VAMP_CPUS_MAX, cpu + 1)) {
        VampCpus siblings;

        if (!vamp_cpu_siblings(paths, cpu, &siblings)) {
            continue;
        }
        for (other = find_first_bit(siblings.bits, VAMP_CPUS_MAX);
             other < VAMP_CPUS_MAX;
             other = find_next_bit(siblings.bits, VAMP_CPUS_MAX, other + 1)) {
            g_autofree char *vm = NULL;
            g_autofree char *user = NULL;

            if (other == cpu || !test_bit(other, host->online.bits)) {
                continue;
            }
            vm = claimed_by(opaque, other);
            if (test_bit(other, mapped->bits)) {
                if (other < cpu) {
                    continue;   /* said from the other side */
                }
                user = g_strdup_printf("vCPU %d", vcpu_on(map, n, other));
            } else if (vm) {
                user = g_strdup_printf("the VM %s", vm);
            } else if (!test_bit(other, host->isolated.bits)) {
                user = g_strdup("the host's other work");
            } else {
                continue;
            }
            g_ptr_array_add(out, g_strdup_printf("vCPU %d on host CPU %u "
                "shares its core with %s on the SMT sibling %u",
                vcpu_on(map, n, cpu), cpu, user, other));
        }
    }
}

static void warn_nodes(GPtrArray *out, const VampCpuPaths *paths,
                       const VampCpus *mapped)
{
    g_autoptr(GString) s = g_string_new(NULL);
    VampCpus left = *mapped;
    unsigned nodes = 0, cpu;

    while ((cpu = find_first_bit(left.bits, VAMP_CPUS_MAX)) < VAMP_CPUS_MAX) {
        int node = vamp_cpu_node(paths, cpu);
        g_autofree char *list = NULL;
        VampCpus same = { };

        for (; cpu < VAMP_CPUS_MAX;
             cpu = find_next_bit(left.bits, VAMP_CPUS_MAX, cpu + 1)) {
            if (vamp_cpu_node(paths, cpu) == node) {
                set_bit(cpu, same.bits);
            }
        }
        bitmap_andnot(left.bits, left.bits, same.bits, VAMP_CPUS_MAX);
        if (node < 0) {
            continue;
        }
        list = vamp_cpus_format(&same);
        g_string_append_printf(s, "%s%d (host CPU %s)", nodes ? ", " : "",
                               node, list);
        nodes++;
    }
    if (nodes > 1) {
        g_ptr_array_add(out, g_strdup_printf("the map spans NUMA nodes: %s; "
            "memory is far from some vCPUs", s->str));
    }
}

GPtrArray *vamp_cpumap_warnings(const VampCpuPaths *paths,
                                const VampHostCpus *host,
                                const struct vamp_cpumap_entry *map,
                                unsigned n,
                                char *(*claimed_by)(void *opaque,
                                                    unsigned cpu),
                                void *opaque)
{
    GPtrArray *out = g_ptr_array_new_with_free_func(g_free);
    VampCpus mapped = { };

    for (unsigned i = 0; i < n; i++) {
        set_bit(map[i].cpu, mapped.bits);
    }
    warn_not_isolated(out, host, &mapped);
    warn_siblings(out, paths, host, map, n, &mapped, claimed_by, opaque);
    warn_nodes(out, paths, &mapped);
    return out;
}

/* --- threads -------------------------------------------------------------- */

/* Bare system calls: glibc's wrappers want sets of fixed size. */
int vamp_affinity_get(pid_t tid, VampCpus *cpus)
{
    bitmap_zero(cpus->bits, VAMP_CPUS_MAX);
    return syscall(SYS_sched_getaffinity, tid, sizeof(cpus->bits),
                   cpus->bits) < 0 ? -errno : 0;
}

int vamp_affinity_set(pid_t tid, const VampCpus *cpus)
{
    return syscall(SYS_sched_setaffinity, tid, sizeof(cpus->bits),
                   cpus->bits) < 0 ? -errno : 0;
}
