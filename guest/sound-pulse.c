/*
 * vdiguest: the sound servers, by libpulse
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <pwd.h>
#include <pulse/glib-mainloop.h>
#include <pulse/pulseaudio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "guest/log.h"
#include "guest/sound.h"

/* Where the server of each user who is logged in listens. */
#define RUN_USER    "/run/user"

typedef struct Server {
    SoundServers *all;
    char *path;
    pa_context *context;
    GHashTable *streams;        /* index -> process id, 0: not known */
    GHashTable *listing;        /* the same, while the list comes in */
    bool again;                 /* something changed meanwhile */
    bool ready;
} Server;

struct SoundServers {
    pa_glib_mainloop *loop;
    GPtrArray *servers;         /* Server */
    SoundChanged changed;
    void *opaque;
};

static void server_free(gpointer opaque)
{
    Server *v = opaque;

    pa_context_set_state_callback(v->context, NULL, NULL);
    pa_context_set_subscribe_callback(v->context, NULL, NULL);
    pa_context_disconnect(v->context);
    pa_context_unref(v->context);
    g_hash_table_unref(v->streams);
    if (v->listing) {
        g_hash_table_unref(v->listing);
    }
    g_free(v->path);
    g_free(v);
}

static void list_streams(Server *v);

static void got_stream(pa_context *c, const pa_sink_input_info *info, int eol,
                       void *opaque)
{
    Server *v = opaque;
    const char *pid;

    if (!eol) {
        /* Paused, or turned off: nobody hears it. */
        if (!info->corked && !info->mute) {
            pid = pa_proplist_gets(info->proplist,
                                   PA_PROP_APPLICATION_PROCESS_ID);
            g_hash_table_replace(v->listing, GUINT_TO_POINTER(info->index),
                                 GINT_TO_POINTER(pid ? atoi(pid) : 0));
        }
        return;
    }
    g_hash_table_unref(v->streams);
    v->streams = g_steal_pointer(&v->listing);
    if (v->again) {
        v->again = false;
        list_streams(v);
    }
    v->all->changed(v->all->opaque);
}

static void list_streams(Server *v)
{
    pa_operation *o;

    if (v->listing) {
        v->again = true;
        return;
    }
    v->listing = g_hash_table_new(NULL, NULL);
    o = pa_context_get_sink_input_info_list(v->context, got_stream, v);
    if (o) {
        pa_operation_unref(o);
    } else {
        g_clear_pointer(&v->listing, g_hash_table_unref);
    }
}

static void stream_changed(pa_context *c, pa_subscription_event_type_t type,
                           uint32_t index, void *opaque)
{
    list_streams(opaque);
}

static gboolean drop_server(gpointer opaque)
{
    Server *v = opaque;
    SoundServers *s = v->all;

    g_ptr_array_remove_fast(s->servers, v);
    s->changed(s->opaque);
    return G_SOURCE_REMOVE;
}

static void state_changed(pa_context *c, void *opaque)
{
    Server *v = opaque;
    pa_operation *o;

    switch (pa_context_get_state(c)) {
    case PA_CONTEXT_READY:
        v->ready = true;
        log_info(LOG_START, "sound: the server at %s tells what it plays",
                 v->path);
        pa_context_set_subscribe_callback(c, stream_changed, v);
        o = pa_context_subscribe(c, PA_SUBSCRIPTION_MASK_SINK_INPUT, NULL,
                                 NULL);
        if (o) {
            pa_operation_unref(o);
        }
        list_streams(v);
        break;
    case PA_CONTEXT_FAILED:
    case PA_CONTEXT_TERMINATED:
        log_info(v->ready ? LOG_START : LOG_PHASE,
                 "sound: no connection to the server at %s: %s", v->path,
                 pa_strerror(pa_context_errno(c)));
        /* Not from within its own callback. */
        pa_context_set_state_callback(c, NULL, NULL);
        g_idle_add(drop_server, v);
        break;
    default:
        break;
    }
}

static bool known(const SoundServers *s, const char *path)
{
    unsigned i;

    for (i = 0; i < s->servers->len; i++) {
        const Server *v = g_ptr_array_index(s->servers, i);

        if (!strcmp(v->path, path)) {
            return true;
        }
    }
    return false;
}

/* A PulseAudio lets root in who shows the user's cookie. */
static void show_cookie(pa_context *c, const char *uid)
{
    const struct passwd *pw = getpwuid(atoi(uid));
    g_autofree char *cookie = pw ? g_build_filename(pw->pw_dir, ".config",
                                                    "pulse", "cookie", NULL)
                                 : NULL;

    if (cookie && access(cookie, R_OK) == 0) {
        pa_context_load_cookie_from_file(c, cookie);
    }
}

static void server_add(SoundServers *s, const char *uid, const char *path)
{
    g_autofree char *address = g_strconcat("unix:", path, NULL);
    Server *v = g_new0(Server, 1);

    v->all = s;
    v->path = g_strdup(path);
    v->streams = g_hash_table_new(NULL, NULL);
    v->context = pa_context_new(pa_glib_mainloop_get_api(s->loop), "vdiguest");
    show_cookie(v->context, uid);
    g_ptr_array_add(s->servers, v);
    pa_context_set_state_callback(v->context, state_changed, v);
    if (pa_context_connect(v->context, address, PA_CONTEXT_NOAUTOSPAWN,
                           NULL) < 0) {
        pa_context_set_state_callback(v->context, NULL, NULL);
        g_ptr_array_remove_fast(s->servers, v);
    }
}

void servers_look(SoundServers *s)
{
    g_autoptr(GDir) dir = g_dir_open(RUN_USER, 0, NULL);
    const char *uid;

    while (dir && (uid = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(RUN_USER, uid, "pulse",
                                                 "native", NULL);

        if (!known(s, path) && access(path, F_OK) == 0) {
            server_add(s, uid, path);
        }
    }
}

SoundServers *servers_begin(SoundChanged changed, void *opaque)
{
    SoundServers *s = g_new0(SoundServers, 1);

    s->loop = pa_glib_mainloop_new(NULL);
    s->servers = g_ptr_array_new_with_free_func(server_free);
    s->changed = changed;
    s->opaque = opaque;
    return s;
}

void servers_end(SoundServers *s)
{
    g_ptr_array_unref(s->servers);
    pa_glib_mainloop_free(s->loop);
    g_free(s);
}

unsigned servers_streams(const SoundServers *s, GHashTable *players)
{
    unsigned i, n = 0;

    for (i = 0; i < s->servers->len; i++) {
        const Server *v = g_ptr_array_index(s->servers, i);
        GHashTableIter iter;
        gpointer pid;

        n += g_hash_table_size(v->streams);
        g_hash_table_iter_init(&iter, v->streams);
        while (players && g_hash_table_iter_next(&iter, NULL, &pid)) {
            if (pid) {
                g_hash_table_add(players, pid);
            }
        }
    }
    return n;
}

char *servers_text(const SoundServers *s)
{
    unsigned i, n = 0;

    for (i = 0; i < s->servers->len; i++) {
        n += ((const Server *)g_ptr_array_index(s->servers, i))->ready;
    }
    return n ? g_strdup_printf("servers: %u", n) :
               g_strdup("servers: none found in " RUN_USER);
}
