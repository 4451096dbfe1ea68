/*
 * VAMP: packets that carry a descriptor, as the broker and its peers send them
 *
 * For QEMU, the broker, their tests and the simulated host's programs, which
 * have no library in common: so it needs nothing but the C library.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QEMU_VAMP_FD_H
#define QEMU_VAMP_FD_H

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Room for one descriptor: the kernel closes any further ones. */
union vamp_fd_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

/*
 * Sends the @size bytes of @packet on socket @sock, and with them descriptor
 * @fd, which stays the caller's; -1: none. @flags: of sendmsg(), beside
 * MSG_NOSIGNAL. Returns what was sent, or -errno.
 */
static inline ssize_t vamp_fd_send(int sock, const void *packet, size_t size,
                                   int fd, int flags)
{
    struct iovec iov = { .iov_base = (void *)packet, .iov_len = size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    union vamp_fd_control control;
    ssize_t n;

    if (fd >= 0) {
        struct cmsghdr *cmsg;

        memset(&control, 0, sizeof(control));
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
    }
    do {
        n = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/*
 * Receives up to @size bytes of one packet. @fd: the descriptor that came with
 * it, the caller's to close from now on; -1: none. @flags: of recvmsg().
 * Returns what was received (0: the peer hung up), or -errno.
 */
static inline ssize_t vamp_fd_receive(int sock, void *packet, size_t size,
                                      int *fd, int flags)
{
    struct iovec iov = { .iov_base = packet, .iov_len = size };
    union vamp_fd_control control;
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    struct cmsghdr *cmsg;
    ssize_t n;

    *fd = -1;
    do {
        n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    cmsg = CMSG_FIRSTHDR(&msg);
    if (cmsg && cmsg->cmsg_level == SOL_SOCKET &&
        cmsg->cmsg_type == SCM_RIGHTS &&
        cmsg->cmsg_len == CMSG_LEN(sizeof(*fd))) {
        memcpy(fd, CMSG_DATA(cmsg), sizeof(*fd));
    }
    return n;
}

#endif /* QEMU_VAMP_FD_H */
