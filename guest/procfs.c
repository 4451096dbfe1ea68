/*
 * vdiguest: what Linux says of tasks, CPUs and interrupts
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "guest/procfs.h"

/* Linux's flag of a kernel thread in field 9 of stat, since 2.6.32. */
#define FLAG_KTHREAD    0x00200000ul

static ssize_t read_some(int fd, char *buf, size_t size)
{
    ssize_t n;

    do {
        n = read(fd, buf, size);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t procfs_read_buf(const char *name, char *buf, size_t size)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n;

    if (fd < 0) {
        return -errno;
    }
    do {
        n = read_some(fd, buf + len, size - 1 - len);
        len += n > 0 ? n : 0;
    } while (n > 0 && len < size - 1);
    close(fd);
    buf[len] = 0;
    return n < 0 ? n : (ssize_t)len;
}

int procfs_read(const char *name, char **text)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    GString *s;
    ssize_t n;

    *text = NULL;
    if (fd < 0) {
        return -errno;
    }
    s = g_string_new(NULL);
    do {
        size_t len = s->len;

        g_string_set_size(s, len + 16384);
        n = read_some(fd, s->str + len, 16384);
        g_string_truncate(s, len + (n > 0 ? n : 0));
    } while (n > 0 && s->len < PROCFS_MAX);
    close(fd);
    *text = g_string_free(s, n < 0);
    return n < 0 ? n : 0;
}

int procfs_write(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CLOEXEC);
    ssize_t n;
    int ret = 0;

    if (fd < 0) {
        return -errno;
    }
    do {
        n = write(fd, text, strlen(text));
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        ret = -errno;
    }
    close(fd);
    return ret;
}

bool procfs_parse_stat(const char *text, ProcStat *st)
{
    /* The name may contain anything, ")" and blanks too. */
    const char *open = strchr(text, '('), *close = strrchr(text, ')');
    unsigned long flags;
    uint64_t cutime, cstime;

    memset(st, 0, sizeof(*st));
    if (!open || !close || close < open ||
        sscanf(text, "%d", &st->pid) != 1 ||
        sscanf(close + 1, " %*c %d %d %*d %d %*d %lu %*u %*u %*u %*u %*u %*u "
               "%" SCNu64 " %" SCNu64 " %*d %*d %*d %*d %" SCNu64 " %*u %*d "
               "%*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*d %u",
               &st->ppid, &st->pgrp, &st->tty, &flags, &cutime, &cstime,
               &st->start_ticks, &st->cpu) != 8) {
        return false;
    }
    g_snprintf(st->name, sizeof(st->name), "%.*s", (int)(close - open - 1),
               open + 1);
    st->kernel = flags & FLAG_KTHREAD;
    st->children_ticks = cutime + cstime;
    return true;
}

bool procfs_stat(pid_t pid, ProcStat *st)
{
    char name[64], text[1024];

    g_snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
    return procfs_read_buf(name, text, sizeof(text)) > 0 &&
           procfs_parse_stat(text, st);
}

bool procfs_thread_stat(pid_t pid, pid_t tid, ProcStat *st)
{
    char name[64], text[1024];

    g_snprintf(name, sizeof(name), "/proc/%d/task/%d/stat", (int)pid, (int)tid);
    return procfs_read_buf(name, text, sizeof(text)) > 0 &&
           procfs_parse_stat(text, st);
}

bool procfs_parse_schedstat(const char *text, uint64_t *run, uint64_t *wait)
{
    return sscanf(text, "%" SCNu64 " %" SCNu64, run, wait) == 2;
}

uint64_t procfs_parse_busy(const char *text, unsigned cpu)
{
    uint64_t user, nice, system, irq, softirq;
    char word[32];
    const char *p = text;
    size_t len = g_snprintf(word, sizeof(word), "cpu%u ", cpu);

    while (p && strncmp(p, word, len)) {
        p = strchr(p, '\n');
        p = p ? p + 1 : NULL;
    }
    if (!p || sscanf(p + len, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %*u %*u %"
                     SCNu64 " %" SCNu64, &user, &nice, &system, &irq,
                     &softirq) != 5) {
        return 0;
    }
    return user + nice + system + irq + softirq;
}

pid_t procfs_parse_youngest(const char *text)
{
    int pid;

    return sscanf(text, "%*s %*s %*s %*s %d", &pid) == 1 && pid > 0 ? pid : 0;
}

/*
 * "virtio1-req.0": the driver names its queues; "-virtqueues" where they share
 * one interrupt, as those of input devices and serial ports do.
 */
static bool is_wanted_queue(const char *action)
{
    static const char *const queue[] = { "-req.", "-request", "-input.",
                                         "-output.", "-events",
                                         "-virtqueues" };
    size_t n = strspn(action, "0123456789");
    unsigned i;

    for (i = 0; n && i < G_N_ELEMENTS(queue); i++) {
        if (g_str_has_prefix(action + n, queue[i])) {
            return true;
        }
    }
    return false;
}

/* @line: of /proc/interrupts; its actions come last. */
static bool serves_user(const char *line)
{
    /* PS/2, and the controllers of all USB devices, tablets among them */
    static const char *const name[] = { "i8042", "xhci_hcd", "ehci_hcd",
                                        "ohci_hcd", "uhci_hcd" };
    const char *p = line;
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(name); i++) {
        if (strstr(line, name[i])) {
            return true;
        }
    }
    while ((p = strstr(p, "virtio"))) {
        p += strlen("virtio");
        if (is_wanted_queue(p)) {
            return true;
        }
    }
    return false;
}

GArray *procfs_parse_irqs(const char *text)
{
    GArray *irqs = g_array_new(false, false, sizeof(unsigned));
    const char *line, *end;

    for (line = text; *line; line = *end ? end + 1 : end) {
        g_autofree char *copy = NULL;
        unsigned irq;
        int n = 0;

        end = strchrnul(line, '\n');
        copy = g_strndup(line, end - line);
        if (sscanf(copy, "%u%n", &irq, &n) != 1 || copy[n] != ':') {
            continue;
        }
        if (serves_user(copy)) {
            g_array_append_val(irqs, irq);
        }
    }
    return irqs;
}

void procfs_parse_slow_tasks(const char *text, GArray *ids, GArray *permille,
                             unsigned max)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    unsigned i;

    for (i = 0; lines[i] && ids->len < max; i++) {
        int id;
        unsigned percent;

        if (sscanf(lines[i], "%d %u", &id, &percent) == 2 && id > 0 &&
            percent <= 100 * CPUS_MAX) {
            uint32_t load = percent * 10;

            g_array_append_val(ids, id);
            g_array_append_val(permille, load);
        }
    }
}

int procfs_each_number(const char *dir, void (*f)(pid_t, void *), void *opaque)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    if (!d) {
        return -errno;
    }
    while ((e = readdir(d))) {
        if (g_ascii_isdigit(e->d_name[0])) {
            f(atoi(e->d_name), opaque);
        }
    }
    closedir(d);
    return 0;
}
