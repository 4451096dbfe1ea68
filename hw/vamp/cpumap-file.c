/*
 * VAMP: a map of vCPUs to host CPUs, read and checked
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/vamp/cpumap-file.h"

VampCpumap *vamp_cpumap_new(void)
{
    return g_new0(VampCpumap, 1);
}

void vamp_cpumap_free(VampCpumap *map)
{
    if (map) {
        g_free(map->file);
        g_free(map);
    }
}

char *vamp_cpumap_place(const VampCpumap *map, uint32_t line)
{
    if (map->file) {
        return line ? g_strdup_printf("%s:%u", map->file, line) :
               g_strdup(map->file);
    }
    return line ? g_strdup_printf("map, pair %u", line) : g_strdup("map");
}

static void report(const VampCpumap *map, const struct vamp_cpumap_error *e,
                   Error **errp)
{
    g_autofree char *place = vamp_cpumap_place(map, e->line);
    g_autofree char *other = NULL;

    switch (e->fault) {
    case VAMP_CPUMAP_VCPU_TWICE:
        other = vamp_cpumap_place(map, e->other);
        error_setg(errp, "%s: vCPU %u is mapped already (%s), and it can be "
                   "on one host CPU only", place, e->number, other);
        break;
    case VAMP_CPUMAP_CPU_TWICE:
        other = vamp_cpumap_place(map, e->other);
        error_setg(errp, "%s: host CPU %u is used already (%s), and several "
                   "vCPUs on one host CPU need shared=on", place, e->number,
                   other);
        break;
    default:
        error_setg(errp, "%s: %s", place, vamp_cpumap_fault_text(e->fault));
        break;
    }
}

/* --- the file ------------------------------------------------------------- */

static const char *file_kind(mode_t mode)
{
    return S_ISDIR(mode) ? "a directory" :
           S_ISCHR(mode) || S_ISBLK(mode) ? "a device" :
           S_ISFIFO(mode) ? "a pipe" :
           S_ISSOCK(mode) ? "a socket" : "something else";
}

static bool check_regular(const char *file, mode_t mode, Error **errp)
{
    if (S_ISREG(mode)) {
        return true;
    }
    error_setg(errp, "%s is %s, a regular file with the map is needed", file,
               file_kind(mode));
    return false;
}

/* At most VAMP_CPUMAP_FILE_MAX bytes into @buf, which has room for one more. */
static ssize_t read_bounded(const char *file, char *buf, Error **errp)
{
    size_t used = 0;
    struct stat st;
    ssize_t n;
    int fd;

    /* Opening a device can do something, so it is looked at before. */
    if (stat(file, &st) < 0) {
        error_setg_file_open(errp, errno, file);
        return -1;
    }
    if (!check_regular(file, st.st_mode, errp)) {
        return -1;
    }
    /* It may have been replaced by a pipe since: opening must not wait. */
    fd = open(file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        error_setg_file_open(errp, errno, file);
        return -1;
    }
    if (fstat(fd, &st) < 0) {
        error_setg_errno(errp, errno, "cannot look at %s", file);
        goto fail;
    }
    if (!check_regular(file, st.st_mode, errp)) {
        goto fail;
    }
    do {
        n = RETRY_ON_EINTR(read(fd, buf + used,
                                VAMP_CPUMAP_FILE_MAX + 1 - used));
        if (n < 0) {
            error_setg_errno(errp, errno, "cannot read %s", file);
            goto fail;
        }
        used += n;
    } while (n && used <= VAMP_CPUMAP_FILE_MAX);
    if (used > VAMP_CPUMAP_FILE_MAX) {
        error_setg(errp, "%s is larger than %d bytes, a map is shorter", file,
                   VAMP_CPUMAP_FILE_MAX);
        goto fail;
    }
    close(fd);
    return used;

fail:
    close(fd);
    return -1;
}

VampCpumap *vamp_cpumap_from_file(const char *file, Error **errp)
{
    g_autofree char *buf = g_malloc(VAMP_CPUMAP_FILE_MAX + 1);
    g_autoptr(VampCpumap) map = vamp_cpumap_new();
    struct vamp_cpumap_error e;
    ssize_t len = read_bounded(file, buf, errp);

    if (len < 0) {
        return NULL;
    }
    map->file = g_strdup(file);
    map->n = vamp_cpumap_parse_file(buf, len, map->entry, VAMP_CPUMAP_MAX, &e);
    if (!map->n) {
        report(map, &e, errp);
        return NULL;
    }
    return g_steal_pointer(&map);
}

/* --- other sources -------------------------------------------------------- */

VampCpumap *vamp_cpumap_from_pairs(const char *text, Error **errp)
{
    g_autoptr(VampCpumap) map = vamp_cpumap_new();
    struct vamp_cpumap_error e;

    map->n = vamp_cpumap_parse_pairs(text, strlen(text), map->entry,
                                     VAMP_CPUMAP_MAX, &e);
    if (!map->n) {
        report(map, &e, errp);
        return NULL;
    }
    return g_steal_pointer(&map);
}

bool vamp_cpumap_add(VampCpumap *map, int64_t vcpu, int64_t cpu, Error **errp)
{
    struct vamp_cpumap_error e = { .line = map->n + 1 };

    if (map->n == VAMP_CPUMAP_MAX) {
        e.fault = VAMP_CPUMAP_TOO_MANY;
    } else if (vcpu < 0 || cpu < 0) {
        e.fault = VAMP_CPUMAP_SIGN;
    } else if (vcpu > VAMP_CPUMAP_NUMBER_MAX || cpu > VAMP_CPUMAP_NUMBER_MAX) {
        e.fault = VAMP_CPUMAP_OVERFLOW;
    } else {
        map->entry[map->n++] = (struct vamp_cpumap_entry) {
            .vcpu = vcpu, .cpu = cpu, .line = e.line,
        };
        return true;
    }
    report(map, &e, errp);
    return false;
}

/* --- checks --------------------------------------------------------------- */

const struct vamp_cpumap_entry *vamp_cpumap_find(const VampCpumap *map,
                                                 unsigned vcpu)
{
    for (uint32_t i = 0; map && i < map->n; i++) {
        if (map->entry[i].vcpu == vcpu) {
            return &map->entry[i];
        }
    }
    return NULL;
}

static bool cpu_valid(unsigned cpu, const VampHostCpus *host,
                      const char *place, Error **errp)
{
    g_autofree char *list = NULL;

    if (cpu >= VAMP_CPUS_MAX || !test_bit(cpu, host->present.bits)) {
        list = vamp_cpus_format(&host->present);
        error_setg(errp, "%s: host CPU %u does not exist, valid is %s", place,
                   cpu, list);
        return false;
    }
    if (!test_bit(cpu, host->online.bits)) {
        list = vamp_cpus_format(&host->online);
        error_setg(errp, "%s: host CPU %u is offline, online is %s", place,
                   cpu, list);
        return false;
    }
    return true;
}

bool vamp_cpus_valid(const VampCpus *cpus, const VampHostCpus *host,
                     const char *name, Error **errp)
{
    for (unsigned cpu = find_first_bit(cpus->bits, VAMP_CPUS_MAX);
         cpu < VAMP_CPUS_MAX;
         cpu = find_next_bit(cpus->bits, VAMP_CPUS_MAX, cpu + 1)) {
        if (!cpu_valid(cpu, host, name, errp)) {
            return false;
        }
    }
    return true;
}

bool vamp_cpumap_valid(const VampCpumap *map, const VampHostCpus *host,
                       unsigned max_vcpus, bool strict, bool shared,
                       Error **errp)
{
    struct vamp_cpumap_error e;

    if (!map->n) {
        e = (struct vamp_cpumap_error) { .fault = VAMP_CPUMAP_EMPTY };
        report(map, &e, errp);
        return false;
    }
    for (uint32_t i = 0; i < map->n; i++) {
        g_autofree char *place = vamp_cpumap_place(map, map->entry[i].line);

        if (map->entry[i].vcpu >= max_vcpus) {
            error_setg(errp, "%s: vCPU %u does not exist, valid is 0 to %u",
                       place, map->entry[i].vcpu, max_vcpus - 1);
            return false;
        }
        if (!cpu_valid(map->entry[i].cpu, host, place, errp)) {
            return false;
        }
    }
    if (!vamp_cpumap_check(map->entry, map->n, shared, &e)) {
        report(map, &e, errp);
        return false;
    }
    for (unsigned vcpu = 0; strict && vcpu < max_vcpus; vcpu++) {
        if (!vamp_cpumap_find(map, vcpu)) {
            g_autofree char *place = vamp_cpumap_place(map, 0);

            error_setg(errp, "%s: vCPU %u is left out, with strict=on all "
                       "vCPUs from 0 to %u are needed", place, vcpu,
                       max_vcpus - 1);
            return false;
        }
    }
    return true;
}
