/*
 * vdiguest: its socket
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
#define STATUS              "status\n"

/* More at a time are sent away. */
#define CLIENTS_MAX         8

struct Control {
    char *path;
    int fd;
    guint source;
    ControlAnswer answer;
    void *opaque;
    GSList *clients;            /* Client */
};

typedef struct Client {
    Control *control;
    int fd;
    guint source, timer;
    char line[REQUEST_MAX];
    size_t used;
} Client;

static bool address(const char *path, struct sockaddr_un *sa)
{
    *sa = (struct sockaddr_un) { .sun_family = AF_UNIX };
    return g_strlcpy(sa->sun_path, path, sizeof(sa->sun_path)) <
           sizeof(sa->sun_path);
}

static void client_free(Client *client)
{
    Control *c = client->control;

    c->clients = g_slist_remove(c->clients, client);
    g_source_remove(client->source);
    g_source_remove(client->timer);
    close(client->fd);
    g_free(client);
}

static void say(int fd, const char *text)
{
    /* It fits into the socket's buffer, or the peer gets what fits. */
    if (send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        /* The peer has gone: nobody is left to be told. */
    }
}

/* @line is whole; @error: why it is none. */
static void answer(Client *client, const char *line, const char *error)
{
    Control *c = client->control;
    g_autoptr(GError) err = NULL;
    g_autofree char *text = NULL;
    Request request;

    if (!error && !request_parse(line, &request, &err)) {
        error = err->message;
    }
    text = error ? control_error(error) : c->answer(c->opaque, &request);
    say(client->fd, text);
    client_free(client);
}

static gboolean heard(gint fd, GIOCondition condition, gpointer opaque)
{
    Client *client = opaque;
    ssize_t n = recv(fd, client->line + client->used,
                     sizeof(client->line) - client->used, MSG_DONTWAIT);
    char *end;

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return G_SOURCE_CONTINUE;
    }
    if (n <= 0) {
        answer(client, NULL, "the request ends before its line feed");
        return G_SOURCE_CONTINUE;
    }
    client->used += n;
    end = memchr(client->line, '\n', client->used);
    if (end) {
        *end = '\0';
        answer(client, client->line, NULL);
    } else if (client->used == sizeof(client->line)) {
        answer(client, NULL, "the request is too long");
    }
    return G_SOURCE_CONTINUE;
}

static gboolean silent(gpointer opaque)
{
    answer(opaque, NULL, "no request came in time");
    return G_SOURCE_CONTINUE;
}

static gboolean asked(gint fd, GIOCondition condition, gpointer opaque)
{
    Control *c = opaque;
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    g_autofree char *busy = NULL;
    Client *client;

    if (peer < 0) {
        return G_SOURCE_CONTINUE;
    }
    if (g_slist_length(c->clients) >= CLIENTS_MAX) {
        busy = control_error("too many ask at the same time");
        say(peer, busy);
        close(peer);
        return G_SOURCE_CONTINUE;
    }
    client = g_new0(Client, 1);
    client->control = c;
    client->fd = peer;
    client->source = g_unix_fd_add(peer, G_IO_IN | G_IO_HUP, heard, client);
    client->timer = g_timeout_add_seconds(ANSWER_TIMEOUT_S, silent, client);
    c->clients = g_slist_prepend(c->clients, client);
    return G_SOURCE_CONTINUE;
}

Control *control_begin(const char *path, ControlAnswer answer, void *opaque,
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
    c->answer = answer;
    c->opaque = opaque;
    c->source = g_unix_fd_add(fd, G_IO_IN, asked, c);
    return c;
}

void control_end(Control *c)
{
    if (c) {
        while (c->clients) {
            client_free(c->clients->data);
        }
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

char *control_error(const char *text)
{
    GString *out = g_string_new("{\"error\": ");

    control_string(out, text);
    g_string_append(out, "}\n");
    return g_string_free(out, false);
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
        connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        send(fd, STATUS, strlen(STATUS), MSG_NOSIGNAL) < 0) {
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
