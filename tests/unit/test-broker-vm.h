/*
 * A stand-in for a QEMU: a process with threads, which the test speaks for
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TEST_BROKER_VM_H
#define TEST_BROKER_VM_H

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "core/brokermsg.h"
#include "core/policy.h"
#include "qemu/vamp-fd.h"

#define VM_THREADS 4

/* Between the process and the test. */
typedef struct VmShared {
    pid_t tid[VM_THREADS];
    int burn[VM_THREADS];       /* 1: use CPU time; -1: end */
    int ready;
} VmShared;

typedef struct TestVm {
    pid_t pid;
    int fd;                     /* its connection, which it shares with us */
    VmShared *shared;
    const struct vamp_broker_page *page;
    size_t page_size;
} TestVm;

/* For hundreds of them: threads that only wait, and use no time for it. */
static bool vm_asleep;

static inline void pause_ms(unsigned ms)
{
    g_usleep(ms * 1000);
}

static inline int vm_connect(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

typedef struct VmStart {
    VmShared *shared;
    int index;
} VmStart;

static inline void *vm_thread(void *opaque)
{
    VmStart *s = opaque;
    VmShared *shared = s->shared;
    int i = s->index, *burn = &shared->burn[i];
    unsigned long n = 0;

    if (i == VM_THREADS - 1) {
        /* As the kernel calls its workers. */
        g_autofree char *name = g_strdup_printf("vhost-%d", getpid());

        prctl(PR_SET_NAME, name);
    }
    __atomic_store_n(&shared->tid[i], syscall(SYS_gettid), __ATOMIC_RELEASE);
    __atomic_fetch_add(&shared->ready, 1, __ATOMIC_SEQ_CST);
    while (vm_asleep) {
        pause();
    }
    while (__atomic_load_n(burn, __ATOMIC_RELAXED) >= 0) {
        if (__atomic_load_n(burn, __ATOMIC_RELAXED) > 0) {
            n += *burn;
        } else {
            pause_ms(5);
        }
    }
    return NULL;
}

/* The process: connects, has its threads, and waits for its end. */
static inline void vm_main(VmShared *shared, const char *socket_path, int to,
                           uid_t uid, pid_t parent)
{
    pthread_t thread;
    int i, fd;

    /* Last: the kernel forgets the signal when the user changes. */
    if ((uid && setuid(uid) < 0) || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
        getppid() != parent) {
        _exit(1);
    }
    for (i = 0; i < VM_THREADS; i++) {
        VmStart *s = g_new(VmStart, 1);

        *s = (VmStart) { shared, i };
        g_assert_cmpint(pthread_create(&thread, NULL, vm_thread, s), ==, 0);
    }
    while (__atomic_load_n(&shared->ready, __ATOMIC_SEQ_CST) < VM_THREADS) {
        pause_ms(1);
    }
    fd = vm_connect(socket_path);
    if (fd < 0) {
        _exit(2);
    }
    g_assert_cmpint(vamp_fd_send(to, "", 1, fd, 0), ==, 1);
    close(fd);
    for (;;) {
        pause();
    }
}

/* Begins the process; @uid 0: ours. It has said nothing yet. */
static inline void vm_start(TestVm *vm, const char *socket_path, uid_t uid)
{
    int pair[2];
    char byte;
    pid_t parent = getpid();

    memset(vm, 0, sizeof(*vm));
    vm->shared = mmap(NULL, sizeof(*vm->shared), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert(vm->shared != MAP_FAILED);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair),
                    ==, 0);
    vm->pid = fork();
    g_assert_cmpint(vm->pid, >=, 0);
    if (vm->pid == 0) {
        close(pair[0]);
        vm_main(vm->shared, socket_path, pair[1], uid, parent);
    }
    close(pair[1]);
    g_assert_cmpint(vamp_fd_receive(pair[0], &byte, 1, &vm->fd, 0), ==, 1);
    g_assert_cmpint(vm->fd, >=, 0);
    close(pair[0]);
}

static inline void vm_end(TestVm *vm)
{
    if (vm->pid > 0) {
        kill(vm->pid, SIGKILL);
        waitpid(vm->pid, NULL, 0);
        vm->pid = 0;
    }
    if (vm->fd >= 0) {
        close(vm->fd);
        vm->fd = -1;
    }
    if (vm->page) {
        munmap((void *)vm->page, vm->page_size);
        vm->page = NULL;
    }
    if (vm->shared) {
        munmap(vm->shared, sizeof(*vm->shared));
        vm->shared = NULL;
    }
}

/* --- messages ------------------------------------------------------------ */

typedef union vamp_bmsg TestMsg;

static inline TestMsg msg_new(uint32_t type)
{
    TestMsg m;

    memset(&m, 0, sizeof(m));
    m.head = (struct vamp_bmsg_head) {
        .magic = VAMP_BROKER_MAGIC,
        .type = type,
        .size = vamp_bmsg_size(type),
        .serial = 7,
    };
    return m;
}

static inline bool vm_send(TestVm *vm, const TestMsg *m)
{
    return send(vm->fd, m, m->head.size, MSG_NOSIGNAL) == m->head.size;
}

/* The answer's type; 0: the broker hung up. */
static inline uint32_t vm_receive(TestVm *vm, TestMsg *m, int *fd)
{
    int passed;
    ssize_t n = vamp_fd_receive(vm->fd, m, sizeof(*m), &passed, 0);

    if (fd) {
        *fd = passed;
    } else if (passed >= 0) {
        close(passed);
    }
    if (n <= 0) {
        return 0;
    }
    g_assert_cmpint(vamp_bmsg_check(m, n, false), ==, VAMP_BMSG_FINE);
    return m->head.type;
}

static inline uint32_t vm_ask(TestVm *vm, TestMsg *m)
{
    int fd = -1;
    uint32_t type;

    g_assert_true(vm_send(vm, m));
    type = vm_receive(vm, m, &fd);
    if (type == VAMP_BMSG_WELCOME) {
        vm->page_size = m->welcome.page_size;
        vm->page = mmap(NULL, vm->page_size, PROT_READ, MAP_SHARED, fd, 0);
        g_assert(vm->page != MAP_FAILED);
    }
    if (fd >= 0) {
        close(fd);
    }
    return type;
}

static inline uint32_t vm_hello(TestVm *vm, const char *name)
{
    TestMsg m = msg_new(VAMP_BMSG_HELLO);

    m.hello.version = VAMP_BROKER_VERSION;
    m.hello.ratio = 3;
    g_strlcpy(m.hello.name, name, sizeof(m.hello.name));
    return vm_ask(vm, &m);
}

static inline uint32_t vm_add(TestVm *vm, uint32_t role, uint32_t slot,
                              pid_t tid, TestMsg *answer)
{
    TestMsg m = msg_new(VAMP_BMSG_THREAD_ADD);
    uint32_t type;

    m.thread.role = role;
    m.thread.slot = slot;
    m.thread.tid = tid;
    type = vm_ask(vm, &m);
    if (answer) {
        *answer = m;
    }
    return type;
}

static inline void vm_class(TestVm *vm, uint32_t slot, enum vamp_class vclass)
{
    TestMsg m = msg_new(VAMP_BMSG_CLASS);

    m.vclass.slot = slot;
    m.vclass.vclass = vclass;
    g_assert_true(vm_send(vm, &m));
}

/* vCPUs 0 and 1 are threads 0 and 1; the main thread serves them. */
static inline void vm_register(TestVm *vm, const char *name)
{
    g_assert_cmpint(vm_hello(vm, name), ==, VAMP_BMSG_WELCOME);
    g_assert_cmpint(vm_add(vm, VAMP_BROKER_VCPU, 0, vm->shared->tid[0], NULL),
                    ==, VAMP_BMSG_OK);
    g_assert_cmpint(vm_add(vm, VAMP_BROKER_VCPU, 1, vm->shared->tid[1], NULL),
                    ==, VAMP_BMSG_OK);
    g_assert_cmpint(vm_add(vm, VAMP_BROKER_IO, 0, vm->pid, NULL), ==,
                    VAMP_BMSG_OK);
}

#endif /* TEST_BROKER_VM_H */
