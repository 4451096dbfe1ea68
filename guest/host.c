/*
 * vdiguest: what host and guest tell each other
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "core/hints.h"
#include "guest/host.h"
#include "guest/log.h"
#include "guest/procfs.h"
#include "guest/scan.h"

#define NAME            "vdiguest 1"
#define LINK            "/dev/virtio-ports/" VAMP_HINTS_PORT
#define PORTS           "/sys/class/virtio-ports"
/* The host forgets after three times that. */
#define KEEPALIVE_NS    10000000000ull
#define REOPEN_NS       10000000000ull
/* Lines handled before the main loop looks at others again. */
#define LINES_AT_ONCE   64

struct Host {
    HostEvents events;
    void *opaque;
    int fd;
    guint in_source, out_source;
    struct vamp_hint_reader reader;
    GString *out;               /* not written yet */
    bool greeted;               /* the host has said hello */
    bool send_hello, send_tasks, send_split, send_sound;
    uint64_t opened_ns, sent_ns, now;
    unsigned faults;

    GArray *tasks;              /* struct vamp_hint_task */
    struct vamp_hint_cpus fast, slow;
    bool sound;
};

static void host_close(Host *h);

static void put(Host *h, const struct vamp_hint *hint)
{
    char line[VAMP_HINTS_LINE_MAX];

    g_string_append_len(h->out, line, vamp_hint_format(hint, true, line));
}

static void put_tasks(Host *h)
{
    struct vamp_hint hint = { .type = VAMP_HINT_TASKS_BEGIN };
    unsigned i;

    put(h, &hint);
    for (i = 0; i < h->tasks->len; i++) {
        hint.type = VAMP_HINT_TASK;
        hint.task = g_array_index(h->tasks, struct vamp_hint_task, i);
        put(h, &hint);
    }
    hint.type = VAMP_HINT_TASKS_END;
    put(h, &hint);
}

/* States, not a history: made when there is room, from what is true then. */
static void fill(Host *h)
{
    struct vamp_hint hint = { .type = VAMP_HINT_NONE };

    if (h->out->len || !h->greeted) {
        return;
    }
    if (h->send_hello) {
        put(h, &hint);
        hint.type = VAMP_HINT_HELLO;
        hint.version = VAMP_HINTS_VERSION;
        g_strlcpy(hint.text, NAME, sizeof(hint.text));
        put(h, &hint);
    }
    if (h->send_sound) {
        hint.type = VAMP_HINT_SOUND;
        hint.on = h->sound;
        put(h, &hint);
    }
    if (h->send_split && !vamp_hint_cpus_empty(&h->fast)) {
        hint.type = VAMP_HINT_SPLIT;
        hint.fast = h->fast;
        hint.slow = h->slow;
        put(h, &hint);
    }
    if (h->send_tasks) {
        put_tasks(h);
    }
    if (h->out->len) {
        h->sent_ns = h->now;
    }
    h->send_hello = h->send_sound = h->send_split = h->send_tasks = false;
}

static gboolean writable(gint fd, GIOCondition condition, gpointer opaque);

static void flush(Host *h)
{
    ssize_t n;

    for (fill(h); h->fd >= 0 && h->out->len; fill(h)) {
        n = write(h->fd, h->out->str, h->out->len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno != EAGAIN) {
            host_close(h);
            return;
        }
        if (n < 0) {
            if (!h->out_source) {
                h->out_source = g_unix_fd_add(h->fd, G_IO_OUT, writable, h);
            }
            return;
        }
        g_string_erase(h->out, 0, n);
    }
}

static gboolean writable(gint fd, GIOCondition condition, gpointer opaque)
{
    Host *h = opaque;

    h->out_source = 0;
    flush(h);
    return G_SOURCE_REMOVE;
}

static void obey(Host *h, const struct vamp_hint *hint)
{
    if (hint->type == VAMP_HINT_HELLO) {
        log_info(LOG_START, "the host is %s", hint->text);
        h->greeted = true;
        g_string_truncate(h->out, 0);
        h->send_hello = h->send_sound = h->send_split = h->send_tasks = true;
        h->events.end(h->opaque);
        flush(h);
    } else if (!h->greeted) {
        return;
    } else if (hint->type == VAMP_HINT_PHASE_BEGIN) {
        h->events.begin(hint->length_ms, hint->mixed, h->opaque);
    } else if (hint->type == VAMP_HINT_PHASE_END) {
        h->events.end(h->opaque);
    } else if (hint->type == VAMP_HINT_ERROR) {
        log_warn("the host says: %s", hint->text);
    }
    /* Its tasks are known by address space only, which nobody here knows. */
}

static void complain(Host *h, const struct vamp_hint_error *error)
{
    struct vamp_hint hint = { .type = VAMP_HINT_ERROR };

    vamp_hint_error_text(error, hint.text);
    /* One is enough to know that the host is not to be believed. */
    if (!h->faults++) {
        log_warn("the host sent nonsense: %s", hint.text);
        if (h->greeted && !h->out->len) {
            put(h, &hint);
            flush(h);
        }
    }
}

static void take(Host *h, const char *data, size_t len)
{
    struct vamp_hint_error error = { .fault = VAMP_HINT_LONG };
    struct vamp_hint hint;
    enum vamp_hint_got got;

    while (len && h->fd >= 0) {
        size_t n = vamp_hint_read(&h->reader, data, len, &got);

        data += n;
        len -= n;
        if (got == VAMP_HINT_GOT_LONG) {
            error.fault = VAMP_HINT_LONG;
            error.key = NULL;
            complain(h, &error);
        } else if (got == VAMP_HINT_GOT_LINE) {
            if (vamp_hint_parse(h->reader.line, h->reader.used, false, &hint,
                                &error)) {
                obey(h, &hint);
            } else {
                complain(h, &error);
            }
        }
    }
}

static gboolean readable(gint fd, GIOCondition condition, gpointer opaque)
{
    Host *h = opaque;
    char data[LINES_AT_ONCE * 16];
    ssize_t n = read(fd, data, sizeof(data));

    if (n > 0) {
        take(h, data, n);
        return h->fd >= 0 ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR) &&
        !(condition & (G_IO_HUP | G_IO_ERR))) {
        return G_SOURCE_CONTINUE;
    }
    /* The host is not there, or no more: it is tried again later. */
    h->in_source = 0;
    host_close(h);
    return G_SOURCE_REMOVE;
}

/* Without udevd nobody makes the link: the device has its name in sysfs. */
static char *port_path(void)
{
    g_autoptr(GDir) dir = NULL;
    const char *port;

    if (access(LINK, F_OK) == 0) {
        return g_strdup(LINK);
    }
    dir = g_dir_open(PORTS, 0, NULL);
    while (dir && (port = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(PORTS, port, "name", NULL);
        char name[64];

        if (procfs_read_buf(file, name, sizeof(name)) > 0 &&
            !strcmp(g_strchomp(name), VAMP_HINTS_PORT)) {
            return g_build_filename("/dev", port, NULL);
        }
    }
    return NULL;
}

static void host_open(Host *h)
{
    g_autofree char *path = port_path();

    if (path) {
        h->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    if (h->fd >= 0) {
        memset(&h->reader, 0, sizeof(h->reader));
        h->in_source = g_unix_fd_add(h->fd, G_IO_IN | G_IO_HUP | G_IO_ERR,
                                     readable, h);
    }
}

static void host_close(Host *h)
{
    if (h->in_source) {
        g_source_remove(h->in_source);
        h->in_source = 0;
    }
    if (h->out_source) {
        g_source_remove(h->out_source);
        h->out_source = 0;
    }
    if (h->fd >= 0) {
        close(h->fd);
        h->fd = -1;
    }
    g_string_truncate(h->out, 0);
    if (h->greeted) {
        h->greeted = false;
        h->events.end(h->opaque);
    }
}

Host *host_begin(const HostEvents *events, void *opaque)
{
    Host *h = g_new0(Host, 1);

    h->events = *events;
    h->opaque = opaque;
    h->fd = -1;
    h->out = g_string_new(NULL);
    h->tasks = g_array_new(false, false, sizeof(struct vamp_hint_task));
    host_open(h);
    return h;
}

void host_end(Host *h)
{
    static const HostEvents none;

    if (h) {
        h->greeted = false;
        h->events = none;
        host_close(h);
        g_string_free(h->out, true);
        g_array_unref(h->tasks);
        g_free(h);
    }
}

/* The same tasks in the same order? Loads change all the time. */
static bool same_tasks(const GArray *known, const GArray *slow)
{
    unsigned i;

    if (known->len != slow->len) {
        return false;
    }
    for (i = 0; i < known->len; i++) {
        if (g_array_index(known, struct vamp_hint_task, i).id !=
            (uint32_t)g_array_index(slow, SlowTask, i).id) {
            return false;
        }
    }
    return true;
}

void host_tasks(Host *h, const GArray *slow)
{
    unsigned i;

    h->send_tasks |= !same_tasks(h->tasks, slow);
    g_array_set_size(h->tasks, 0);
    for (i = 0; i < slow->len && i < VAMP_HINTS_TASKS_MAX; i++) {
        const SlowTask *t = &g_array_index(slow, SlowTask, i);
        struct vamp_hint_task task = {
            .id = t->id,
            /* A job has many; its number is that of the one that leads. */
            .pid = t->kind == SLOW_THREAD ? t->pid : 0,
            .permille = MIN(t->permille, VAMP_HINTS_PERMILLE_MAX),
            .has_vcpu = t->cpu >= 0,
            .vcpu = t->cpu >= 0 ? t->cpu : 0,
        };

        g_strlcpy(task.name, t->name, sizeof(task.name));
        g_array_append_val(h->tasks, task);
    }
    flush(h);
}

void host_split(Host *h, const CpuSet *fast, const CpuSet *slow)
{
    G_STATIC_ASSERT(sizeof(h->fast) == sizeof(*fast));

    h->send_split |= memcmp(&h->fast, fast, sizeof(*fast)) ||
                     memcmp(&h->slow, slow, sizeof(*slow));
    memcpy(&h->fast, fast, sizeof(*fast));
    memcpy(&h->slow, slow, sizeof(*slow));
    flush(h);
}

void host_sound(Host *h, bool on)
{
    h->send_sound |= h->sound != on;
    h->sound = on;
    flush(h);
}

void host_tick(Host *h, uint64_t now)
{
    h->now = now;
    if (h->fd < 0 && now - h->opened_ns >= REOPEN_NS) {
        h->opened_ns = now;
        host_open(h);
    }
    if (h->greeted && now - h->sent_ns >= KEEPALIVE_NS) {
        h->send_tasks = true;
        h->faults = 0;
    }
    flush(h);
}

const char *host_text(const Host *h)
{
    return h->greeted ? "in touch" :
           h->fd >= 0 ? "the port is there, the host is silent" :
           "no port " VAMP_HINTS_PORT ", or nobody at its other end";
}
