/*
 * VAMP: a QEMU's side of the conversation with qemu-vamp-broker
 *
 * docs/interop/vamp-broker.rst has the protocol, core/brokermsg.h the
 * messages. All functions: main thread, unless they say otherwise. Those that
 * wait for an answer block for VAMP_BROKER_TIMEOUT_MS at most: the broker is
 * a real-time process that answers in microseconds.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_BROKER_CLIENT_H
#define HW_VAMP_BROKER_CLIENT_H

#include "core/brokermsg.h"

/*
 * The broker acts by itself every 200 ms at the least; one that says nothing
 * for five times as long will not.
 */
#define VAMP_BROKER_TIMEOUT_MS  1000

typedef struct VampBrokerClient VampBrokerClient;

/* Is somebody listening at @path? Says nothing to it. */
bool vamp_broker_probe(const char *path, Error **errp);

/* Connects, and registers this process under @name (any text, or NULL). */
VampBrokerClient *vamp_broker_connect(const char *path, const char *name,
                                      unsigned ratio, Error **errp);

/* Says good-bye by closing: the broker puts everything back. NULL is fine. */
void vamp_broker_close(VampBrokerClient *c);

/* Registers and forgets a thread of this process. */
bool vamp_broker_add(VampBrokerClient *c, enum vamp_broker_role role,
                     unsigned slot, pid_t tid, Error **errp);
bool vamp_broker_del(VampBrokerClient *c, enum vamp_broker_role role,
                     unsigned slot, Error **errp);

bool vamp_broker_set_ratio(VampBrokerClient *c, unsigned ratio, Error **errp);

/*
 * The class of vCPU @slot from now on. Any thread, also several at a time;
 * async-signal-safe. Never blocks: a broker that does not read is cut off,
 * and the main loop hears of it as of any other loss.
 */
void vamp_broker_class(VampBrokerClient *c, unsigned slot,
                       enum vamp_class vclass);

/* To be watched for reading: the broker never speaks unasked. */
int vamp_broker_fd(const VampBrokerClient *c);
/* It became readable. NULL: no news; else why the broker is lost. */
const char *vamp_broker_lost(VampBrokerClient *c);

/*
 * A consistent copy of the status page without its threads. False if the
 * broker does not let go of the page, or has broken it.
 */
bool vamp_broker_read(const VampBrokerClient *c, struct vamp_broker_page *page);
/* The same for the entry of a thread; false also if there is none. */
bool vamp_broker_read_thread(const VampBrokerClient *c,
                             enum vamp_broker_role role, unsigned slot,
                             struct vamp_broker_page_thread *thread);

#endif /* HW_VAMP_BROKER_CLIENT_H */
