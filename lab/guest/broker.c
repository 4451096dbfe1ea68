/*
 * A model VM: a client of the real broker
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/brokermsg.h"
#include "vm.h"

static int sock = -1;
static uint32_t serial;

static void fill_head(struct vamp_bmsg_head *head, uint32_t type)
{
    head->magic = VAMP_BROKER_MAGIC;
    head->type = type;
    head->size = (uint32_t)vamp_bmsg_size(type);
    head->serial = ++serial;
}

static void send_message(const struct vamp_bmsg_head *head)
{
    if (send(sock, head, head->size, MSG_NOSIGNAL) < 0) {
        lab_die("the broker takes no message %u: %s", head->type,
                strerror(errno));
    }
}

/*
 * Sends and waits for an answer of type @expected. A descriptor that comes
 * with it (the status page) is not looked at: the kernel closes it.
 */
static void ask(const struct vamp_bmsg_head *head, uint32_t expected)
{
    _Alignas(uint64_t) char buf[VAMP_BMSG_MAX];
    const struct vamp_bmsg_head *answer = (void *)buf;
    enum vamp_bmsg_fault fault;
    ssize_t n;

    send_message(head);
    n = recv(sock, buf, sizeof(buf), 0);
    if (n < 0) {
        lab_die("the broker does not answer: %s", strerror(errno));
    }
    fault = vamp_bmsg_check(buf, (size_t)n, false);
    if (fault != VAMP_BMSG_FINE) {
        lab_die("the broker's answer is not valid: %s",
                vamp_bmsg_fault_text(fault));
    }
    if (answer->type == VAMP_BMSG_ERROR) {
        lab_die("the broker refuses: %s",
                ((const struct vamp_bmsg_error *)answer)->text);
    }
    if (answer->type != expected || answer->serial != head->serial) {
        lab_die("the broker answers with message %u, not %u", answer->type,
                expected);
    }
}

static void add_thread(enum vamp_broker_role role, unsigned slot, pid_t tid)
{
    struct vamp_bmsg_thread m = { .role = role, .slot = slot, .tid = tid };

    fill_head(&m.head, VAMP_BMSG_THREAD_ADD);
    ask(&m.head, VAMP_BMSG_OK);
}

static void broker_attach(const struct lab_plan *plan,
                          const struct lab_vm_plan *vm, const pid_t *tid)
{
    struct sockaddr_un address = {
        .sun_family = AF_UNIX,
        .sun_path = LAB_BROKER_SOCKET,
    };
    struct vamp_bmsg_hello hello = {
        .version = VAMP_BROKER_VERSION,
        .ratio = plan->ratio,
    };

    sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (sock < 0 ||
        connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0) {
        lab_die("%s: %s", LAB_BROKER_SOCKET, strerror(errno));
    }
    snprintf(hello.name, sizeof(hello.name), "%s", vm->name);
    fill_head(&hello.head, VAMP_BMSG_HELLO);
    ask(&hello.head, VAMP_BMSG_WELCOME);
    add_thread(VAMP_BROKER_IO, 0, gettid());
    for (unsigned i = 0; i < vm->nr_threads; i++) {
        add_thread(VAMP_BROKER_VCPU, i, tid[i]);
    }
}

static void broker_apply(unsigned vcpu, enum vamp_class vclass)
{
    struct vamp_bmsg_class m = { .slot = vcpu, .vclass = vclass };

    fill_head(&m.head, VAMP_BMSG_CLASS);
    send_message(&m.head);
}

const struct vm_actuator vm_actuator_broker = { broker_attach, broker_apply };
