/*
 * A VM in a host in a box that nobody works with: its busy threads
 *
 *   neighbour NAME THREADS SOCKET
 *
 * Tells the broker at SOCKET of itself as QEMU would ("-": none), then each
 * thread stands for a vCPU that always has something to do. What it would cost
 * to boot a guest for it is saved. Ends with a sentence if the broker refuses.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/brokermsg.h"
#include "include/qemu/vamp-fd.h"

#define MAX_THREADS 16
/* About 20 us of a clock that counts instructions, two ns each. */
#define LOOPS_A_TURN 4096
/* The paper's, as the desktops have it. */
#define RATIO       3

static int sock = -1;
static pthread_barrier_t ready;
static pid_t tids[MAX_THREADS];

static void die(const char *what, const char *why)
{
    fprintf(stderr, "neighbour: %s: %s\n", what, why);
    exit(1);
}

/* Says it, and waits for an answer of type @expected. */
static void ask(struct vamp_bmsg_head *head, uint32_t type, uint32_t expected)
{
    union vamp_bmsg answer;
    int fd = -1;
    ssize_t n;

    head->magic = VAMP_BROKER_MAGIC;
    head->type = type;
    head->size = (uint32_t)vamp_bmsg_size(type);
    if (vamp_fd_send(sock, head, head->size, -1, 0) != head->size) {
        die("the broker takes no message", strerror(errno));
    }
    n = vamp_fd_receive(sock, &answer, sizeof(answer), &fd, 0);
    if (fd >= 0) {
        close(fd);
    }
    if (n <= 0 || vamp_bmsg_check(&answer, (size_t)n, false)) {
        die("the broker", "no valid answer");
    }
    if (answer.head.type != expected) {
        die("the broker refuses", answer.head.type == VAMP_BMSG_ERROR ?
            answer.error.text : "another answer than expected");
    }
}

static void add_thread(enum vamp_broker_role role, unsigned slot, pid_t tid)
{
    struct vamp_bmsg_thread m = { .role = role, .slot = slot, .tid = tid };

    ask(&m.head, VAMP_BMSG_THREAD_ADD, VAMP_BMSG_OK);
}

static void attach(const char *path, const char *name, unsigned n)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct vamp_bmsg_hello hello = {
        .version = VAMP_BROKER_VERSION, .ratio = RATIO,
    };
    unsigned i;

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    snprintf(hello.name, sizeof(hello.name), "%s", name);
    sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (struct sockaddr *)&a, sizeof(a)) < 0) {
        die(path, strerror(errno));
    }
    ask(&hello.head, VAMP_BMSG_HELLO, VAMP_BMSG_WELCOME);
    add_thread(VAMP_BROKER_IO, 0, gettid());
    for (i = 0; i < n; i++) {
        add_thread(VAMP_BROKER_VCPU, i, tids[i]);
    }
}

/*
 * Emulated CPUs that take turns give up theirs at a PAUSE. Without it, one that
 * spins gets more of them than one that often leaves its guest.
 */
static void *busy(void *opaque)
{
    unsigned i;

    *(pid_t *)opaque = gettid();
    pthread_barrier_wait(&ready);
    for (;;) {
        for (i = 0; i < LOOPS_A_TURN; i++) {
            __asm__ volatile("");
        }
        __builtin_ia32_pause();
    }
    return NULL;
}

int main(int argc, char **argv)
{
    unsigned n = argc == 4 ? atoi(argv[2]) : 0, i;
    pthread_t thread;

    if (!n || n > MAX_THREADS) {
        die("usage", "neighbour NAME THREADS SOCKET|-");
    }
    pthread_barrier_init(&ready, NULL, n + 1);
    for (i = 0; i < n; i++) {
        if (pthread_create(&thread, NULL, busy, &tids[i])) {
            die("a thread", strerror(errno));
        }
    }
    pthread_barrier_wait(&ready);
    if (strcmp(argv[3], "-")) {
        attach(argv[3], argv[1], n);
    }
    for (;;) {
        pause();
    }
}
