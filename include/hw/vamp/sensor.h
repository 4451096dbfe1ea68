/*
 * VAMP sensors: user input and sound
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_SENSOR_H
#define HW_VAMP_SENSOR_H

#include "qapi/qapi-types-ui.h"

/*
 * Starts to call @fn(@opaque, mask) for each user event, @mask having a bit
 * (1 << VampTrigger) for each kind that the event is of; never 0. @fn is
 * called in the main loop with the BQL held, in the middle of the event's
 * delivery: it must be quick. There is one listener; NULL ends it.
 */
void vamp_input_listen(void (*fn)(void *opaque, uint32_t mask), void *opaque);

typedef struct VampSound VampSound;

/*
 * Listens to everything that the guest plays, on all audiodevs, whatever
 * their backend, and calls @fn(@opaque, playing) when audible sound starts or
 * ends. Main loop, BQL held.
 *
 * Never fails; with no audiodev to listen to it hears nothing.
 * @reason: one sentence, what is listened to or why nothing is; the caller
 * frees it.
 * Returns NULL if nothing can be heard.
 */
VampSound *vamp_sound_listen(void (*fn)(void *opaque, bool playing),
                             void *opaque, char **reason);

/* Ends that. Accepts NULL. Safe before and after QEMU's audio is shut down. */
void vamp_sound_free(VampSound *sound);

#endif /* HW_VAMP_SENSOR_H */
