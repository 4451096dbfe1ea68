/*
 * The socket on which the broker waits for QEMUs
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib-unix.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/systemd.h"
#include "broker/broker.h"

/* Connections in a row, before those that are there get their turn. */
#define ACCEPTS_MAX 32

typedef struct Listener {
    LoopSource source;
    Broker *b;
    char *unlink_name;
} Listener;

static void listener_ready(LoopSource *s, uint32_t events)
{
    Listener *l = container_of(s, Listener, source);
    unsigned i;

    for (i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0) {
            break;
        }
        conn_new(l->b, fd);
    }
}

static void listener_destroy(LoopSource *s)
{
    Listener *l = container_of(s, Listener, source);

    if (l->unlink_name) {
        unlink(l->unlink_name);
        g_free(l->unlink_name);
    }
    close(s->fd);
    g_free(l);
}

/* What a killed broker left may go; what somebody listens on may not. */
static bool clear_name(const char *name, const struct sockaddr_un *a,
                       Error **errp)
{
    struct stat st;
    int fd, ret;

    if (lstat(name, &st) < 0) {
        return true;
    }
    if (!S_ISSOCK(st.st_mode)) {
        error_setg(errp, "%s is there and is no socket (a socket, or nothing, "
                   "would be needed)", name);
        return false;
    }
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    ret = connect(fd, (const struct sockaddr *)a, sizeof(*a));
    close(fd);
    if (ret == 0) {
        error_setg(errp, "another process listens on %s (another --socket "
                   "would be needed)", name);
        return false;
    }
    unlink(name);
    return true;
}

static int listen_on(const Broker *b, Error **errp)
{
    const char *name = b->opt.socket;
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct group *gr = NULL;
    mode_t old;
    int fd, ret;

    if (strlen(name) >= sizeof(a.sun_path)) {
        error_setg(errp, "the socket's name %s has %zu bytes (at most %zu "
                   "would be valid)", name, strlen(name),
                   sizeof(a.sun_path) - 1);
        return -1;
    }
    pstrcpy(a.sun_path, sizeof(a.sun_path), name);
    if (b->opt.group) {
        gr = getgrnam(b->opt.group);
        if (!gr) {
            error_setg(errp, "there is no group '%s' (--group)", b->opt.group);
            return -1;
        }
    }
    if (!clear_name(name, &a, errp)) {
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Nobody may connect before mode and group are set. */
    old = umask(0777);
    ret = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&a, sizeof(a));
    umask(old);
    if (ret < 0 || (gr && lchown(name, -1, gr->gr_gid) < 0) ||
        chmod(name, b->opt.mode) < 0 || listen(fd, SOMAXCONN) < 0) {
        error_setg_errno(errp, errno, "cannot listen on %s", name);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

/* systemd's: it made it, it keeps it. */
static int listen_inherited(Error **errp)
{
    int fd = FIRST_SOCKET_ACTIVATION_FD, type = 0;
    socklen_t len = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
        type != SOCK_SEQPACKET) {
        error_setg(errp, "the socket from systemd has type %d "
                   "(ListenSequentialPacket= would be needed)", type);
        return -1;
    }
    qemu_set_cloexec(fd);
    if (!g_unix_set_fd_nonblocking(fd, true, NULL)) {
        error_setg_errno(errp, errno, "the socket from systemd cannot be used");
        return -1;
    }
    return fd;
}

bool listen_begin(Broker *b, Error **errp)
{
    unsigned inherited = check_socket_activation();
    Listener *l;
    int fd, ret;

    if (inherited > 1) {
        error_setg(errp, "systemd gave %u sockets (1 would be needed)",
                   inherited);
        return false;
    }
    fd = inherited ? listen_inherited(errp) : listen_on(b, errp);
    if (fd < 0) {
        return false;
    }
    conns_begin();
    l = g_new0(Listener, 1);
    l->b = b;
    l->unlink_name = inherited ? NULL : g_strdup(b->opt.socket);
    l->source = (LoopSource) {
        .fd = fd, .ready = listener_ready, .destroy = listener_destroy,
    };
    ret = loop_add(b->loop, &l->source);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "cannot wait for connections");
        listener_destroy(&l->source);
        return false;
    }
    b->listener = &l->source;
    return true;
}

void listen_end(Broker *b)
{
    conns_end();
    loop_remove(b->loop, b->listener);
}
