/*
 * VAMP: where the hooks are kept
 *
 * Built into every system emulator, also those without CONFIG_VAMP: QEMU's
 * own files refer to these.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vamp/hooks.h"

void (*vamp_input_hook)(const InputEvent *evt);
void (*vamp_cr3_hook)(CPUState *cpu, uint64_t cr3, bool nested);
