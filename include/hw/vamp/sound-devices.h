/*
 * VAMP: the sound devices of the machine, as KVM's companion modules want them
 *
 * Main loop, BQL held.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_SOUND_DEVICES_H
#define HW_VAMP_SOUND_DEVICES_H

#define VAMP_SOUND_RANGES   16
#define VAMP_SOUND_IRQS     16

/* Registers that the guest has mapped */
typedef struct VampSoundRange {
    uint64_t addr;              /* guest-physical, or a port */
    uint64_t len;               /* bytes, not 0 */
    bool pio;
} VampSoundRange;

/* An interrupt: a line of the board, or a message as the APICs get it */
typedef struct VampSoundIrq {
    bool msi;
    uint32_t gsi;
    uint64_t address;
    uint32_t data;
} VampSoundIrq;

typedef struct VampSoundDevices {
    VampSoundRange range[VAMP_SOUND_RANGES];
    unsigned nr_ranges;
    VampSoundIrq irq[VAMP_SOUND_IRQS];
    unsigned nr_irqs;
    GPtrArray *names;           /* char *: those that something is known of */
    char *left_out;             /* the others, and why; NULL: none */
} VampSoundDevices;

/*
 * Finds the PCI sound devices, emulated and assigned, as the guest has set them
 * up at this moment. Nothing found: no names. vamp_sound_devices_free() what is
 * returned.
 */
VampSoundDevices *vamp_sound_devices_find(void);
void vamp_sound_devices_free(VampSoundDevices *devices);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VampSoundDevices, vamp_sound_devices_free)

#endif /* HW_VAMP_SOUND_DEVICES_H */
