/*
 * A stand-in for a QEMU that is always in a phase: asks the broker for a vCPU
 * of the interactive class (its own thread), tells of each change of its
 * scheduling class, and comes again whenever the broker has gone.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/brokermsg.h"
#include "core/policy.h"
#include "include/qemu/vamp-fd.h"

#define SOCKET      "/run/vamp/broker.sock"
#define LOOK_MS     20
#define AGAIN_US    200000

static int sock = -1;
static uint32_t serial;

/* Our class, if it is another than it was. */
static void say_class(void)
{
    static int last = -1;
    int policy = sched_getscheduler(0) & ~SCHED_RESET_ON_FORK;

    if (policy != last) {
        last = policy;
        printf("%s\n", policy == SCHED_RR ? "rr" : "other");
    }
}

static bool tell(struct vamp_bmsg_head *head, uint32_t type)
{
    head->magic = VAMP_BROKER_MAGIC;
    head->type = type;
    head->size = (uint32_t)vamp_bmsg_size(type);
    head->serial = ++serial;
    return vamp_fd_send(sock, head, head->size, -1, 0) == head->size;
}

/* Says it, and waits for an answer of type @expected. */
static bool ask(struct vamp_bmsg_head *head, uint32_t type, uint32_t expected)
{
    union vamp_bmsg answer;
    int fd = -1;
    ssize_t n;

    if (!tell(head, type)) {
        return false;
    }
    n = vamp_fd_receive(sock, &answer, sizeof(answer), &fd, 0);
    if (fd >= 0) {
        close(fd);
    }
    if (n <= 0 || vamp_bmsg_check(&answer, (size_t)n, false)) {
        return false;
    }
    if (answer.head.type == VAMP_BMSG_ERROR) {
        printf("refused: %s\n", answer.error.text);
    }
    return answer.head.type == expected;
}

static bool begin(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = SOCKET };
    struct vamp_bmsg_hello hello = {
        .version = VAMP_BROKER_VERSION, .ratio = 3, .name = "borrower",
    };
    struct vamp_bmsg_thread thread = {
        .role = VAMP_BROKER_VCPU, .tid = gettid(),
    };
    struct vamp_bmsg_class vclass = { .vclass = VAMP_CLASS_INTERACTIVE };

    sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (struct sockaddr *)&a, sizeof(a)) < 0 ||
        !ask(&hello.head, VAMP_BMSG_HELLO, VAMP_BMSG_WELCOME) ||
        !ask(&thread.head, VAMP_BMSG_THREAD_ADD, VAMP_BMSG_OK)) {
        return false;
    }
    /* What another broker left behind has been undone by now. */
    say_class();
    return tell(&vclass.head, VAMP_BMSG_CLASS);
}

/* Until the broker hangs up. */
static void look(void)
{
    struct pollfd p = { .fd = sock };

    do {
        say_class();
    } while (poll(&p, 1, LOOK_MS) == 0);
    printf("gone\n");
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (;;) {
        if (begin()) {
            look();
        }
        close(sock);
        usleep(AGAIN_US);
    }
}
