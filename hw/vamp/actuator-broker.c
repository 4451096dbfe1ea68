/*
 * VAMP: the actuator that leaves it to the broker
 *
 * An interactive vCPU runs now, in a real-time class; the broker, which sees
 * all VMs of the host, keeps the ledger that makes them even again.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-misc.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "system/system.h"
#include "hw/vamp/actuator.h"
#include "hw/vamp/broker-client.h"

typedef struct BrokerActuator {
    VampActuator parent;
    VampBrokerClient *client;
    unsigned max_vcpus;
    bool attached[];            /* [max_vcpus] */
} BrokerActuator;

static BrokerActuator *of(VampActuator *a)
{
    return container_of(a, BrokerActuator, parent);
}

static bool broker_probe(const VampHostPaths *paths, const pid_t *tids,
                         unsigned n, Error **errp)
{
    return vamp_broker_probe(paths->broker, errp);
}

static void readable(void *opaque)
{
    BrokerActuator *b = opaque;
    const char *why = vamp_broker_lost(b->client);

    if (why) {
        /* It closes us. */
        b->parent.lost(b->parent.lost_opaque, why);
    }
}

/*
 * The threads that serve vCPUs: what a key press passes on its way, and what
 * a vCPU waits for. One that is missing is only slower.
 */
static void add_io_threads(BrokerActuator *b)
{
    g_autoptr(IOThreadInfoList) list = qmp_query_iothreads(NULL);
    unsigned slot = 0;
    Error *err = NULL;

    /* The main loop runs in the thread that began the process. */
    vamp_broker_add(b->client, VAMP_BROKER_IO, slot++, getpid(), &err);
    for (IOThreadInfoList *l = list; l && !err && slot < VAMP_BROKER_IO_MAX;
         l = l->next) {
        vamp_broker_add(b->client, VAMP_BROKER_IO, slot++,
                        l->value->thread_id, &err);
    }
    if (err) {
        warn_reportf_err(err, "vamp-policy: an I/O thread gets no priority "
                         "in a phase: ");
    }
}

static VampActuator *broker_open(const VampHostPaths *paths,
                                 unsigned max_vcpus, unsigned ratio,
                                 Error **errp)
{
    BrokerActuator *b;
    VampBrokerClient *client;

    if (max_vcpus > VAMP_BROKER_VCPUS_MAX) {
        error_setg(errp, "the machine has room for %u vCPUs, valid are at most "
                   "%u", max_vcpus, VAMP_BROKER_VCPUS_MAX);
        return NULL;
    }
    client = vamp_broker_connect(paths->broker, qemu_get_vm_name(), ratio,
                                 errp);
    if (!client) {
        return NULL;
    }
    b = g_malloc0(sizeof(*b) + max_vcpus * sizeof(b->attached[0]));
    b->parent.klass = &vamp_actuator_broker;
    b->client = client;
    b->max_vcpus = max_vcpus;
    add_io_threads(b);
    qemu_set_fd_handler(vamp_broker_fd(client), readable, NULL, b);
    return &b->parent;
}

static bool broker_attach(VampActuator *a, unsigned vcpu, pid_t tid,
                          Error **errp)
{
    BrokerActuator *b = of(a);

    b->attached[vcpu] = vamp_broker_add(b->client, VAMP_BROKER_VCPU, vcpu, tid,
                                        errp);
    return b->attached[vcpu];
}

static void broker_detach(VampActuator *a, unsigned vcpu)
{
    BrokerActuator *b = of(a);

    if (b->attached[vcpu]) {
        b->attached[vcpu] = false;
        /* If that fails the broker is lost, and has put it back anyway. */
        vamp_broker_del(b->client, VAMP_BROKER_VCPU, vcpu, NULL);
    }
}

static int broker_apply(VampActuator *a, unsigned vcpu, enum vamp_class vclass)
{
    vamp_broker_class(of(a)->client, vcpu, vclass);
    return 0;
}

static bool broker_set_ratio(VampActuator *a, unsigned ratio, Error **errp)
{
    return vamp_broker_set_ratio(of(a)->client, ratio, errp);
}

static void broker_describe(VampActuator *a, unsigned vcpu, VampActuation *out)
{
    struct vamp_broker_page_thread t;

    if (vamp_broker_read_thread(of(a)->client, VAMP_BROKER_VCPU, vcpu, &t)) {
        out->scheduling = g_strdup(t.sched == VAMP_BROKER_SCHED_RR ? "rr"
                                                                   : "other");
    }
}

static bool broker_account(VampActuator *a, struct vamp_broker_page *page)
{
    return vamp_broker_read(of(a)->client, page);
}

static void broker_close(VampActuator *a)
{
    BrokerActuator *b;

    if (!a) {
        return;
    }
    b = of(a);
    qemu_set_fd_handler(vamp_broker_fd(b->client), NULL, NULL, NULL);
    /* Each is answered: they are as they were when this returns. */
    for (unsigned i = 0; i < b->max_vcpus; i++) {
        broker_detach(a, i);
    }
    vamp_broker_close(b->client);
    g_free(b);
}

const VampActuatorClass vamp_actuator_broker = {
    .name = "broker",
    .boosts = true,
    .probe = broker_probe,
    .open = broker_open,
    .attach = broker_attach,
    .detach = broker_detach,
    .apply = broker_apply,
    .set_ratio = broker_set_ratio,
    .describe = broker_describe,
    .account = broker_account,
    .close = broker_close,
};
