/*
 * vdiguest: answers --status
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "guest/control.h"

/* An answer is some kilobytes; a client waits no longer for it. */
#define ANSWER_TIMEOUT_S    5

struct Control {
    char *path;
    int fd;
    guint source;
    ControlStatus status;
    void *opaque;
};

static bool address(const char *path, struct sockaddr_un *sa)
{
    *sa = (struct sockaddr_un) { .sun_family = AF_UNIX };
    return g_strlcpy(sa->sun_path, path, sizeof(sa->sun_path)) <
           sizeof(sa->sun_path);
}

static gboolean asked(gint fd, GIOCondition condition, gpointer opaque)
{
    Control *c = opaque;
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    g_autofree char *text = NULL;

    if (peer < 0) {
        return G_SOURCE_CONTINUE;
    }
    text = c->status(c->opaque);
    /*
     * It fits into the socket's buffer, or the peer gets what fits: nobody
     * keeps this process from its work.
     */
    if (send(peer, text, strlen(text), MSG_NOSIGNAL) < 0) {
        /* The peer has gone: nobody is left to be told. */
    }
    close(peer);
    return G_SOURCE_CONTINUE;
}

Control *control_begin(const char *path, ControlStatus status, void *opaque,
                       GError **err)
{
    g_autofree char *dir = g_path_get_dirname(path);
    struct sockaddr_un sa;
    Control *c;
    int fd;

    if (!address(path, &sa)) {
        g_set_error(err, G_FILE_ERROR, G_FILE_ERROR_FAILED,
                    "--socket=%s is too long (at most %zu bytes would be "
                    "valid)", path, sizeof(sa.sun_path) - 1);
        return NULL;
    }
    g_mkdir_with_parents(dir, 0755);
    unlink(path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        chmod(path, 0600) < 0 || listen(fd, 4) < 0) {
        g_set_error(err, G_FILE_ERROR, G_FILE_ERROR_FAILED,
                    "the socket %s cannot be made: %s", path,
                    g_strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return NULL;
    }
    c = g_new0(Control, 1);
    c->path = g_strdup(path);
    c->fd = fd;
    c->status = status;
    c->opaque = opaque;
    c->source = g_unix_fd_add(fd, G_IO_IN, asked, c);
    return c;
}

void control_end(Control *c)
{
    if (c) {
        g_source_remove(c->source);
        close(c->fd);
        unlink(c->path);
        g_free(c->path);
        g_free(c);
    }
}

void control_string(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    for (; *text; text++) {
        unsigned char c = *text;

        if (c == '"' || c == '\\') {
            g_string_append_printf(out, "\\%c", c);
        } else if (c < ' ' || c > '~') {
            /* Names of tasks may be any bytes. */
            g_string_append_c(out, '?');
        } else {
            g_string_append_c(out, c);
        }
    }
    g_string_append_c(out, '"');
}

/* End of the JSON value at @p: its comma, or the end of the object. */
static const char *value_end(const char *p)
{
    bool quoted = false;
    int depth = 0;

    for (; *p; p++) {
        if (quoted) {
            if (*p == '\\' && p[1]) {
                p++;
            } else if (*p == '"') {
                quoted = false;
            }
        } else if (*p == '"') {
            quoted = true;
        } else if (*p == '{' || *p == '[') {
            depth++;
        } else if ((*p == '}' || *p == ']') && depth-- == 0) {
            break;
        } else if (*p == ',' && !depth) {
            break;
        }
    }
    return p;
}

char *control_plain(const char *json)
{
    GString *out = g_string_new(NULL);
    const char *p = json, *end, *colon;

    while (*p == '{' || *p == ',') {
        p += 1 + strspn(p + 1, " ");
        colon = *p == '"' ? strstr(p + 1, "\":") : NULL;
        if (!colon) {
            break;
        }
        end = value_end(colon + 2);
        g_string_append_len(out, p + 1, colon - p - 1);
        p = colon + 2 + strspn(colon + 2, " ");
        if (*p == '"' && end > p + 1) {
            g_string_append_printf(out, ": %.*s\n", (int)(end - p - 2), p + 1);
        } else {
            g_string_append_printf(out, ": %.*s\n", (int)(end - p), p);
        }
        p = end;
    }
    if (!out->len) {
        g_string_append(out, json);
    }
    return g_string_free(out, false);
}

int control_ask(const char *path, bool json)
{
    struct timeval timeout = { .tv_sec = ANSWER_TIMEOUT_S };
    struct sockaddr_un sa;
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *plain = NULL;
    char part[4096];
    ssize_t n;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || !address(path, &sa) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) ||
        connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        fprintf(stderr, "vdiguest: no vdiguest answers at %s: %s\n", path,
                g_strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return EXIT_FAILURE;
    }
    while ((n = read(fd, part, sizeof(part))) > 0) {
        g_string_append_len(text, part, n);
    }
    close(fd);
    if (!text->len) {
        fprintf(stderr, "vdiguest: the vdiguest at %s gave no answer within "
                "%d s\n", path, ANSWER_TIMEOUT_S);
        return EXIT_FAILURE;
    }
    plain = json ? NULL : control_plain(text->str);
    fputs(plain ?: text->str, stdout);
    return EXIT_SUCCESS;
}
