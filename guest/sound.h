/*
 * vdiguest: does the guest play sound, and who does?
 *
 * PulseAudio, or PipeWire in its place, of every user who is logged in tells
 * whenever a stream changes; nothing is polled. Besides, a FIFO takes the "1"
 * and "0" of the original's helper, for other sound servers.
 *
 * Main thread; the callback comes from the main loop.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_SOUND_H
#define GUEST_SOUND_H

#include <stdbool.h>
#include <glib.h>

typedef struct Sound Sound;
typedef struct SoundServers SoundServers;
typedef void (*SoundChanged)(void *opaque);

/*
 * @servers: ask the sound servers. @fifo: made if it is missing; NULL: none.
 * NULL with a sentence if @fifo cannot be used.
 */
Sound *sound_begin(bool servers, const char *fifo, SoundChanged changed,
                   void *opaque, GError **err);
void sound_end(Sound *s);

/*
 * Looks for sound servers that have come since. To be called when something
 * else wakes this process anyway.
 */
void sound_look(Sound *s);

bool sound_plays(const Sound *s);

/*
 * Is a process of this name a sound server? Whoever plays would wait for it;
 * nobody tells its number, as systemd has made its socket. Pure.
 */
bool sound_is_server(const char *name);

/* Processes that play, as keys. The caller's to free. */
GHashTable *sound_players(const Sound *s);

/* For people: where this is known from. */
char *sound_source(const Sound *s);

/* The servers' part, for sound.c: sound-pulse.c, or its stub. */
SoundServers *servers_begin(SoundChanged changed, void *opaque);
void servers_end(SoundServers *s);
void servers_look(SoundServers *s);
/* Streams that play; their processes are added to @players if not NULL. */
unsigned servers_streams(const SoundServers *s, GHashTable *players);
char *servers_text(const SoundServers *s);

#endif /* GUEST_SOUND_H */
