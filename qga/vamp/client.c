/*
 * VAMP: the guest agent asks vdiguest
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "client.h"

/* The agent obeys nobody else meanwhile. */
#define TIMEOUT_US      (5 * G_USEC_PER_SEC)
/* 64 tasks have a tenth of it. */
#define ANSWER_MAX      (64 * 1024)
/* Of what the other side says in an error. */
#define QUOTED_MAX      256

static const char *socket_path(void)
{
    return g_getenv("VDIGUEST_SOCKET") ?: VDIGUEST_SOCKET;
}

static int no_vdiguest(int fd, int err, Error **errp)
{
    error_setg(errp, "vdiguest does not run in this guest, nothing answers at "
               "%s: %s", socket_path(), strerror(err));
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

/* Whoever may make sockets there could claim to be it. */
static bool is_trusted(int fd, Error **errp)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
        error_setg_errno(errp, errno, "who listens at %s cannot be told",
                         socket_path());
        return false;
    }
    if (peer.uid != 0 && peer.uid != geteuid()) {
        error_setg(errp, "not vdiguest, but a program of user %u listens at %s",
                   (unsigned)peer.uid, socket_path());
        return false;
    }
    return true;
}

static int vdiguest_connect(Error **errp)
{
    struct timeval patience = { .tv_sec = TIMEOUT_US / G_USEC_PER_SEC };
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd;

    if (g_strlcpy(sa.sun_path, socket_path(), sizeof(sa.sun_path)) >=
        sizeof(sa.sun_path)) {
        return no_vdiguest(-1, ENAMETOOLONG, errp);
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* It bounds connect(), too, where many wait already. */
    if (fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience,
                   sizeof(patience)) < 0 ||
        connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        return no_vdiguest(fd, errno, errp);
    }
    if (!is_trusted(fd, errp)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The answer up to the end of the file; NULL with an error. */
static char *read_answer(int fd, gint64 deadline, Error **errp)
{
    g_autoptr(GString) text = g_string_new(NULL);
    char part[4096];
    ssize_t n;

    for (;;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        gint64 left_ms = (deadline - g_get_monotonic_time()) / 1000;
        int ready = left_ms > 0 ? poll(&p, 1, left_ms) : 0;

        if (ready < 0 && errno == EINTR) {
            continue;
        }
        if (ready == 0) {
            error_setg(errp, "vdiguest gave no answer within %d s",
                       (int)(TIMEOUT_US / G_USEC_PER_SEC));
            return NULL;
        }
        n = ready < 0 ? -1 : recv(fd, part, sizeof(part), MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (n < 0) {
            error_setg_errno(errp, errno, "vdiguest's answer cannot be read");
            return NULL;
        }
        if (n == 0) {
            break;
        }
        g_string_append_len(text, part, n);
        if (text->len > ANSWER_MAX) {
            error_setg(errp, "vdiguest's answer is longer than %d bytes",
                       ANSWER_MAX);
            return NULL;
        }
    }
    if (!text->len) {
        error_setg(errp, "vdiguest has ended before it answered");
        return NULL;
    }
    if (memchr(text->str, '\0', text->len)) {
        error_setg(errp, "vdiguest's answer is no text");
        return NULL;
    }
    return g_strdup(text->str);
}

static QDict *parse(const char *text, Error **errp)
{
    Error *local_err = NULL;
    QObject *obj = qobject_from_json(text, &local_err);
    QDict *answer = qobject_to(QDict, obj);
    const char *said;

    if (!answer) {
        error_setg(errp, "vdiguest's answer is no object of JSON%s%s",
                   local_err ? ": " : "",
                   local_err ? error_get_pretty(local_err) : "");
        error_free(local_err);
        qobject_unref(obj);
        return NULL;
    }
    said = qdict_get_try_str(answer, "error");
    if (said) {
        error_setg(errp, "vdiguest: %.*s", QUOTED_MAX, said);
        qobject_unref(answer);
        return NULL;
    }
    return answer;
}

QDict *vdiguest_ask(const char *request, Error **errp)
{
    gint64 deadline = g_get_monotonic_time() + TIMEOUT_US;
    g_autofree char *line = g_strdup_printf("%s\n", request);
    g_autofree char *text = NULL;
    int fd = vdiguest_connect(errp);

    if (fd < 0) {
        return NULL;
    }
    /*
     * One that sends its clients away may have closed already: what it said
     * can be read.
     */
    if (send(fd, line, strlen(line), MSG_NOSIGNAL) >= 0 || errno == EPIPE) {
        text = read_answer(fd, deadline, errp);
    } else {
        error_setg_errno(errp, errno, "vdiguest takes no request");
    }
    close(fd);
    return text ? parse(text, errp) : NULL;
}
