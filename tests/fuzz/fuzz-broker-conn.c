/*
 * libFuzzer target: a conversation with the broker
 *
 * The real sockets, loop and validator; the VMs behind them are stand-ins that
 * check what reaches them. A second peer must be served all the while.
 *
 * The input is a sequence of packets: a length, then so many bytes. An odd
 * length: a head that is right for the type is put before the bytes, so that
 * valid messages are found soon.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/un.h>
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "broker/broker.h"

#define PACKETS_MAX 64

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/dev/shm/vamp-fuzz-XXXXXX";
static char socket_path[64];
static Broker broker;
static Vm *the_vm;

void fuzz_error(Error **errp, const char *fmt, ...)
{
    va_list ap;
    char *text;

    (void)errp;
    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_assert(*text);
    g_free(text);
}

void pstrcpy(char *buf, int size, const char *str)
{
    g_strlcpy(buf, str, size);
}

/* --- stand-ins ----------------------------------------------------------- */

Vm *vm_new(Broker *b, pid_t pid, uid_t uid, const struct vamp_bmsg_hello *m,
           Error **errp)
{
    Vm *vm;

    (void)errp;
    g_assert(pid == getpid() && uid == getuid());
    g_assert(memchr(m->name, 0, sizeof(m->name)));
    g_assert(m->ratio >= VAMP_RATIO_MIN && m->ratio <= VAMP_RATIO_MAX);
    if (the_vm) {
        return NULL;
    }
    vm = g_new0(Vm, 1);
    vm->b = b;
    vm->page_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    vm->page_size = sizeof(struct vamp_broker_page);
    the_vm = vm;
    return vm;
}

void vm_free(Vm *vm)
{
    g_assert(vm == the_vm);
    the_vm = NULL;
    if (vm->page_fd >= 0) {
        close(vm->page_fd);
    }
    g_free(vm);
}

static void check_thread(const Vm *vm, const struct vamp_bmsg_thread *m)
{
    g_assert(vm == the_vm);
    g_assert(m->role <= VAMP_BROKER_IO);
    g_assert(m->slot < (m->role == VAMP_BROKER_VCPU ? VAMP_BROKER_VCPUS_MAX
                                                    : VAMP_BROKER_IO_MAX));
}

int vm_thread_add(Vm *vm, const struct vamp_bmsg_thread *m, Error **errp)
{
    (void)errp;
    check_thread(vm, m);
    g_assert(m->tid > 0);
    return m->tid % 2 ? -ESRCH : 0;
}

int vm_thread_del(Vm *vm, const struct vamp_bmsg_thread *m, Error **errp)
{
    (void)errp;
    check_thread(vm, m);
    g_assert(m->tid == 0);
    return m->slot % 2 ? -ENOENT : 0;
}

void vm_set_ratio(Vm *vm, uint32_t ratio)
{
    g_assert(vm == the_vm);
    g_assert(ratio >= VAMP_RATIO_MIN && ratio <= VAMP_RATIO_MAX);
}

int vm_set_class(Vm *vm, uint32_t slot, enum vamp_class vclass)
{
    g_assert(vm == the_vm);
    g_assert(slot < VAMP_BROKER_VCPUS_MAX && vclass <= VAMP_CLASS_BACKGROUND);
    return 0;
}

unsigned ledger_period_ms(const Broker *b)
{
    (void)b;
    return 50;
}

GString *report_json(Broker *b, uid_t uid)
{
    (void)b;
    (void)uid;
    return g_string_new("{}");
}

GString *report_metrics(Broker *b, uid_t uid)
{
    (void)b;
    (void)uid;
    return g_string_new("# EOF\n");
}

/* ------------------------------------------------------------------------ */

static void clean_up(void)
{
    unlink(socket_path);
    rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    if (!mkdtemp(folder)) {
        perror(folder);
        exit(1);
    }
    snprintf(socket_path, sizeof(socket_path), "%s/s", folder);
    broker.opt.socket = socket_path;
    broker.opt.mode = 0600;
    broker.loop = loop_new();
    g_assert(listen_begin(&broker, NULL));
    atexit(clean_up);
    return 0;
}

static int peer_new(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    strcpy(a.sun_path, socket_path);
    g_assert(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    return fd;
}

static void run(void)
{
    loop_run(broker.loop, 0);
    loop_run(broker.loop, 0);
}

/* Answers are valid, whatever was asked. False: it was hung up. */
static bool drain(int fd)
{
    uint64_t buf[VAMP_BMSG_MAX / sizeof(uint64_t)];
    ssize_t n;

    while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
        g_assert(vamp_bmsg_check(buf, n, false) == VAMP_BMSG_FINE);
    }
    return n < 0;
}

/* A packet of at most 255 bytes, or of what its type needs. */
static size_t packet(uint64_t *out, const uint8_t *data, size_t size, bool head)
{
    struct vamp_bmsg_head *h = (struct vamp_bmsg_head *)out;
    size_t want = 0;

    memset(out, 0, VAMP_BMSG_MAX);
    if (head && size) {
        h->magic = VAMP_BROKER_MAGIC;
        h->type = data[0] % (VAMP_BMSG_STATUS + 1);
        want = vamp_bmsg_size(h->type);
        h->size = want;
        if (want > sizeof(*h)) {
            memcpy(h + 1, data + 1, MIN(size - 1, want - sizeof(*h)));
        }
        return want;
    }
    memcpy(out, data, size);
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t buf[VAMP_BMSG_MAX / sizeof(uint64_t)];
    struct vamp_bmsg_status q = {
        .head = { VAMP_BROKER_MAGIC, VAMP_BMSG_STATUS, sizeof(q), 5 },
    };
    int fd = peer_new(), other = peer_new();
    bool open = true;
    unsigned i;

    run();
    for (i = 0; open && size && i < PACKETS_MAX; i++) {
        size_t want = data[0], n = MIN(want, size - 1);
        size_t len = packet(buf, data + 1, n, want % 2);

        data += 1 + n;
        size -= 1 + n;
        if (len) {
            send(fd, buf, len, MSG_NOSIGNAL);
            run();
            open = drain(fd);
        }
    }
    g_assert(send(other, &q, sizeof(q), MSG_NOSIGNAL) == sizeof(q));
    run();
    g_assert(recv(other, buf, sizeof(buf), 0) ==
             sizeof(struct vamp_bmsg_report));
    close(fd);
    close(other);
    run();
    g_assert(!the_vm);
    g_assert(broker.clients == 0);
    return 0;
}
