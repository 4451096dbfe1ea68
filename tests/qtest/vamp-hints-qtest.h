/*
 * VAMP qtests: a guest's driver of the port org.vamp.hints.0
 *
 * Just enough of virtio-serial: the two queues of control messages and the two
 * of the port. Guest memory is used in fixed places; nothing else is in it.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_VAMP_HINTS_QTEST_H
#define TESTS_QTEST_VAMP_HINTS_QTEST_H

#include "qemu/bswap.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-pc.h"
#include "libqos/virtio-pci.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_console.h"
#include "vamp-qtest.h"

#define HINTS_SLOT      4
#define HINTS_PORT_NR   1

/* ioeventfd=off: what a kick causes has happened when it returns. */
#define HINTS_ARGS      " -device virtio-serial-pci,id=ser,addr=4,ioeventfd=off"
#define HINTS_DEVICE    " -device vamp-hints,id=hints,nr=1"

#define HINTS_IN_SIZE   4096
#define HINTS_OUT_SIZE  (1024 * 1024)

typedef struct HintsGuest {
    QTestState *qts;
    QPCIBus *bus;
    QGuestAllocator alloc;
    QVirtioPCIDevice *dev;
    QVirtQueue *control, *in, *out;
    uint64_t in_at, out_at;
    GString *got;               /* what the host has written, not yet read */
} HintsGuest;

static inline void hints_post(HintsGuest *g)
{
    qvirtqueue_reset_pool(g->in);
    qvirtqueue_kick(g->qts, &g->dev->vdev, g->in,
                    qvirtqueue_add(g->qts, g->in, g->in_at, HINTS_IN_SIZE, true,
                                   false));
}

static inline void hints_queues_free(HintsGuest *g)
{
    QVirtQueue *queues[] = { g->control, g->in, g->out };

    for (int i = 0; i < G_N_ELEMENTS(queues); i++) {
        if (queues[i]) {
            qvirtqueue_cleanup(g->dev->vdev.bus, queues[i], &g->alloc);
        }
    }
    g->control = g->in = g->out = NULL;
}

/* The driver starts (again): queues, but no port is open. */
static inline void hints_driver_start(HintsGuest *g)
{
    QVirtioDevice *d = &g->dev->vdev;
    uint64_t features;

    hints_queues_free(g);
    qvirtio_start_device(d);
    features = qvirtio_get_features(d);
    qvirtio_set_features(d, features &
                         ~(QVIRTIO_F_BAD_FEATURE |
                           1ull << VIRTIO_RING_F_INDIRECT_DESC |
                           1ull << VIRTIO_RING_F_EVENT_IDX));
    g->control = qvirtqueue_setup(d, &g->alloc, 3);
    g->in = qvirtqueue_setup(d, &g->alloc, 4);
    g->out = qvirtqueue_setup(d, &g->alloc, 5);
    qvirtio_set_driver_ok(d);
    hints_post(g);
}

static inline void hints_control(HintsGuest *g, uint16_t event, uint16_t value)
{
    struct virtio_console_control c = {
        .id = cpu_to_le32(HINTS_PORT_NR),
        .event = cpu_to_le16(event),
        .value = cpu_to_le16(value),
    };

    qtest_memwrite(g->qts, g->out_at, &c, sizeof(c));
    qvirtqueue_reset_pool(g->control);
    qvirtqueue_kick(g->qts, &g->dev->vdev, g->control,
                    qvirtqueue_add(g->qts, g->control, g->out_at, sizeof(c),
                                   false, false));
    g_assert_true(qvirtqueue_get_buf(g->qts, g->control, NULL, NULL));
}

static inline void hints_open(HintsGuest *g, bool open)
{
    hints_control(g, VIRTIO_CONSOLE_PORT_OPEN, open);
}

static inline HintsGuest *hints_guest_new(const char *args)
{
    g_autofree char *all = g_strdup_printf("-M pc -nodefaults -smp 4"
                                           HINTS_ARGS "%s", args);
    HintsGuest *g = g_new0(HintsGuest, 1);
    QPCIAddress where = { .devfn = QPCI_DEVFN(HINTS_SLOT, 0) };

    g->qts = qtest_init(all);
    g->bus = qpci_new_pc(g->qts, NULL);
    pc_alloc_init(&g->alloc, g->qts, ALLOC_NO_FLAGS);
    g->dev = virtio_pci_new(g->bus, &where);
    g_assert(g->dev);
    g->in_at = guest_alloc(&g->alloc, HINTS_IN_SIZE);
    g->out_at = guest_alloc(&g->alloc, HINTS_OUT_SIZE);
    g->got = g_string_new(NULL);
    qvirtio_pci_device_enable(g->dev);
    hints_driver_start(g);
    return g;
}

static inline void hints_guest_free(HintsGuest *g)
{
    hints_queues_free(g);
    qvirtio_pci_device_disable(g->dev);
    g_free(g->dev->pdev);
    g_free(g->dev);
    qpci_free_pc(g->bus);
    alloc_destroy(&g->alloc);
    g_string_free(g->got, true);
    qtest_quit(g->qts);
    g_free(g);
}

/* Gives the host @len bytes; false: it makes us wait. */
static inline bool hints_write_try(HintsGuest *g, const void *data, size_t len)
{
    g_assert_cmpint(len, <=, HINTS_OUT_SIZE);
    qtest_memwrite(g->qts, g->out_at, data, len);
    qvirtqueue_reset_pool(g->out);
    qvirtqueue_kick(g->qts, &g->dev->vdev, g->out,
                    qvirtqueue_add(g->qts, g->out, g->out_at, len, false,
                                   false));
    return qvirtqueue_get_buf(g->qts, g->out, NULL, NULL);
}

static inline void hints_write(HintsGuest *g, const char *text)
{
    g_assert_true(hints_write_try(g, text, strlen(text)));
}

/* Time goes by in the guest until the host has taken what it was given. */
static inline void hints_wait_written(HintsGuest *g)
{
    for (int i = 0; i < 10000; i++) {
        if (qvirtqueue_get_buf(g->qts, g->out, NULL, NULL)) {
            return;
        }
        qtest_clock_step(g->qts, 10 * MS);
    }
    g_error("the host does not take what the guest has written");
}

/* The next line that the host has written; NULL: there is none. */
static inline char *hints_read(HintsGuest *g)
{
    g_autofree char *buf = g_malloc(HINTS_IN_SIZE);
    char *end, *line;
    uint32_t len;

    while (!(end = strchr(g->got->str, '\n')) &&
           qvirtqueue_get_buf(g->qts, g->in, NULL, &len)) {
        g_assert_cmpint(len, <=, HINTS_IN_SIZE);
        qtest_memread(g->qts, g->in_at, buf, len);
        g_string_append_len(g->got, buf, len);
        hints_post(g);
    }
    if (!end) {
        return NULL;
    }
    line = g_strndup(g->got->str, end - g->got->str);
    g_string_erase(g->got, 0, end - g->got->str + 1);
    return line;
}

/* The next line begins with @what. */
static inline void hints_expect(HintsGuest *g, const char *what)
{
    g_autofree char *line = hints_read(g);

    if (!line || !g_str_has_prefix(line, what)) {
        g_error("the host wrote '%s', not '%s'", line ?: "(nothing)", what);
    }
}

static inline void hints_expect_nothing(HintsGuest *g)
{
    g_autofree char *line = hints_read(g);

    if (line) {
        g_error("the host wrote '%s', expected was nothing", line);
    }
}

/* The port is opened, and both sides have said hello. */
static inline void hints_greet(HintsGuest *g)
{
    char *line;

    /* What an earlier conversation has left is nobody's. */
    while ((line = hints_read(g))) {
        g_free(line);
    }
    g_string_truncate(g->got, 0);
    hints_open(g, true);
    hints_expect(g, "");
    hints_expect(g, "hello version=1 name=qemu%20");
    hints_write(g, "\nhello version=1 name=test%201\n");
}

/* vamp-query's number @name of guest.counters */
static inline uint64_t hints_count(HintsGuest *g, const char *name)
{
    g_autofree char *path = g_strdup_printf("guest.counters.%s", name);
    QDict *info = vamp_query(g->qts);
    uint64_t n = vamp_num(info, path);

    qobject_unref(info);
    return n;
}

static inline void hints_expect_source(QTestState *qts, const char *source,
                                       const char *reason)
{
    QDict *info = vamp_query(qts);

    g_assert_cmpstr(vamp_str(info, "guest.source"), ==, source);
    vamp_expect_text(vamp_str(info, "guest.reason"), reason);
    qobject_unref(info);
}

/* How many tasks the guest is known to have in the background; -1: unknown */
static inline int hints_tasks(QTestState *qts)
{
    QDict *info = vamp_query(qts);
    QList *list = qobject_to(QList, vamp_get(info, "guest.tasks"));
    int n = list ? qlist_size(list) : -1;

    qobject_unref(info);
    return n;
}

#endif /* TESTS_QTEST_VAMP_HINTS_QTEST_H */
