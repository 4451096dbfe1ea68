/*
 * vdiguest: sound servers, where it was built without libpulse
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "guest/sound.h"

struct SoundServers {
    char unused;
};

SoundServers *servers_begin(SoundChanged changed, void *opaque)
{
    return g_new0(SoundServers, 1);
}

void servers_end(SoundServers *s)
{
    g_free(s);
}

void servers_look(SoundServers *s)
{
}

unsigned servers_streams(const SoundServers *s, GHashTable *players)
{
    return 0;
}

char *servers_text(const SoundServers *s)
{
    return g_strdup("servers: not asked (built without libpulse)");
}
