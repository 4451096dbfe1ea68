/*
 * vdiguest: what the user does
 *
 * Triggers are the release of a mouse button or of a finger, Enter when it is
 * pressed, and the wheel: the moments at which a program begins to answer.
 *
 * Main thread; the callback comes from the main loop.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_INPUT_H
#define GUEST_INPUT_H

#include <stdbool.h>
#include <glib.h>

typedef struct Input Input;
typedef void (*InputTrigger)(void *opaque);
/* The vCPUs that are online have changed. */
typedef void (*InputCpus)(void *opaque);

/* Is this evdev event a trigger? Pure. */
bool input_is_trigger(unsigned type, unsigned code, int value);

/* Is it one with some value? Pure. */
bool input_can_trigger(unsigned type, unsigned code);

/*
 * Listens to @devices, or, if there are none, to all keyboards, mice and touch
 * screens, whenever they come. NULL with a sentence if one of @devices cannot
 * be used, or nothing can be found out.
 */
Input *input_begin(const GPtrArray *devices, InputTrigger trigger,
                   InputCpus cpus, void *opaque, GError **err);
void input_end(Input *in);

/* Names of the devices in use, with commas between; NULL: none. */
char *input_names(const Input *in);

#endif /* GUEST_INPUT_H */
