/*
 * A client of the real broker: a model VM's, and PID 1's for its report
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
#include "include/qemu/vamp-fd.h"
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
 * Sends and waits for an answer of type @expected. Returns the descriptor that
 * came with it, or -1.
 */
static int ask(const struct vamp_bmsg_head *head, uint32_t expected)
{
    _Alignas(uint64_t) char buf[VAMP_BMSG_MAX];
    const struct vamp_bmsg_head *answer = (void *)buf;
    enum vamp_bmsg_fault fault;
    ssize_t n;
    int fd;

    send_message(head);
    n = vamp_fd_receive(sock, buf, sizeof(buf), &fd, 0);
    if (n < 0) {
        lab_die("the broker does not answer: %s", strerror((int)-n));
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
    return fd;
}

static void open_socket(void)
{
    struct sockaddr_un address = {
        .sun_family = AF_UNIX,
        .sun_path = LAB_BROKER_SOCKET,
    };

    sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (sock < 0 ||
        connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0) {
        lab_die("%s: %s", LAB_BROKER_SOCKET, strerror(errno));
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
    struct vamp_bmsg_hello hello = {
        .version = VAMP_BROKER_VERSION,
        .ratio = plan->ratio,
    };

    open_socket();
    snprintf(hello.name, sizeof(hello.name), "%s", vm->name);
    fill_head(&hello.head, VAMP_BMSG_HELLO);
    /* The status page is for vamp-query: not looked at here. */
    close(ask(&hello.head, VAMP_BMSG_WELCOME));
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

const struct vm_actuator vm_actuator_broker = {
    .attach = broker_attach, .apply = broker_apply, .boosts = true,
};

void lab_broker_report(void)
{
    struct vamp_bmsg_status m = { .format = VAMP_BROKER_JSON };
    FILE *f;
    int c, last = '\n';

    open_socket();
    fill_head(&m.head, VAMP_BMSG_STATUS);
    f = fdopen(ask(&m.head, VAMP_BMSG_REPORT), "r");
    if (!f) {
        lab_die("the broker's report cannot be read: %s", strerror(errno));
    }
    rewind(f);
    while ((c = getc(f)) != EOF) {
        if (last == '\n') {
            printf("status ");
        }
        putchar(c);
        last = c;
    }
    if (last != '\n') {
        putchar('\n');
    }
    fclose(f);
}
