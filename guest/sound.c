/*
 * vdiguest: does the guest play sound, and who does?
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <sys/stat.h>
#include <unistd.h>
#include "guest/sound.h"

struct Sound {
    SoundServers *servers;      /* NULL: not asked */
    char *fifo;
    int fd;                     /* of the FIFO, -1: none */
    guint source;
    bool told;                  /* by the FIFO: it plays */
    SoundChanged changed;
    void *opaque;
};

static gboolean told(gint fd, GIOCondition condition, gpointer opaque)
{
    Sound *s = opaque;
    bool before = s->told;
    char text[64];
    ssize_t n, i;

    /* The last word counts; what is neither 0 nor 1 says nothing. */
    while ((n = read(fd, text, sizeof(text))) > 0) {
        for (i = 0; i < n; i++) {
            if (text[i] == '0' || text[i] == '1') {
                s->told = text[i] == '1';
            }
        }
    }
    if (s->told != before) {
        s->changed(s->opaque);
    }
    return G_SOURCE_CONTINUE;
}

static bool open_fifo(Sound *s, const char *name, GError **err)
{
    struct stat st;

    if (mkfifo(name, 0600) < 0 && errno != EEXIST) {
        g_set_error(err, G_FILE_ERROR, G_FILE_ERROR_FAILED,
                    "the FIFO %s cannot be made: %s", name, g_strerror(errno));
        return false;
    }
    /* Also for writing, so that it does not end with its last writer. */
    s->fd = open(name, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (s->fd < 0 || fstat(s->fd, &st) < 0 || !S_ISFIFO(st.st_mode)) {
        g_set_error(err, G_FILE_ERROR, G_FILE_ERROR_FAILED,
                    "%s cannot be used: %s (a FIFO would be needed)", name,
                    s->fd < 0 ? g_strerror(errno) : "it is something else");
        return false;
    }
    s->fifo = g_strdup(name);
    s->source = g_unix_fd_add(s->fd, G_IO_IN, told, s);
    return true;
}

Sound *sound_begin(bool servers, const char *fifo, SoundChanged changed,
                   void *opaque, GError **err)
{
    Sound *s = g_new0(Sound, 1);

    s->fd = -1;
    s->changed = changed;
    s->opaque = opaque;
    if (fifo && !open_fifo(s, fifo, err)) {
        sound_end(s);
        return NULL;
    }
    if (servers) {
        s->servers = servers_begin(changed, opaque);
        servers_look(s->servers);
    }
    return s;
}

void sound_end(Sound *s)
{
    if (!s) {
        return;
    }
    if (s->servers) {
        servers_end(s->servers);
    }
    if (s->source) {
        g_source_remove(s->source);
    }
    if (s->fd >= 0) {
        close(s->fd);
    }
    g_free(s->fifo);
    g_free(s);
}

void sound_look(Sound *s)
{
    if (s->servers) {
        servers_look(s->servers);
    }
}

bool sound_plays(const Sound *s)
{
    return s->told || (s->servers && servers_streams(s->servers, NULL));
}

bool sound_is_server(const char *name)
{
    static const char *const servers[] = {
        "pipewire", "pipewire-pulse", "pulseaudio", NULL
    };

    return g_strv_contains(servers, name);
}

GHashTable *sound_players(const Sound *s)
{
    GHashTable *players = g_hash_table_new(NULL, NULL);

    if (s->servers) {
        servers_streams(s->servers, players);
    }
    return players;
}

char *sound_source(const Sound *s)
{
    g_autofree char *servers = s->servers ? servers_text(s->servers)
                                          : g_strdup("servers: not asked");

    return s->fifo ? g_strdup_printf("%s; FIFO %s", servers, s->fifo)
                   : g_steal_pointer(&servers);
}
