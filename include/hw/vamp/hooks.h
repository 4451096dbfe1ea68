/*
 * VAMP: the hooks that QEMU's own files call
 *
 * A hook is a load and a branch while no policy wants it.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_HOOKS_H
#define HW_VAMP_HOOKS_H

#include "qemu/atomic.h"
#include "qapi/qapi-types-ui.h"

/*
 * Each user event, from every display and from QMP and HMP. Main loop, BQL
 * held. Set by ui/vamp-input.c under the BQL.
 */
extern void (*vamp_input_hook)(const InputEvent *evt);

/*
 * Each load of CR3 by a guest under TCG. The vCPU's thread, without the BQL.
 * @cr3: the value loaded. @nested: the guest is running a guest of its own.
 * Set by accel/tcg/vamp-tcg.c under the BQL.
 */
extern void (*vamp_cr3_hook)(CPUState *cpu, uint64_t cr3, bool nested);

/*
 * The argument of -osnet_cpumap as one of -object. Ends QEMU when the option
 * is given twice. @arg and the result live as long as QEMU.
 */
const char *vamp_cpumap_option(const char *arg);

/*
 * The argument of any -object. In one for osnet-cpumap, the commas within
 * lists are doubled for QemuOpts; others are returned as they are. The
 * result lives as long as QEMU.
 */
const char *vamp_object_option(const char *arg);

static inline void vamp_input_event(const InputEvent *evt)
{
    if (unlikely(vamp_input_hook)) {
        vamp_input_hook(evt);
    }
}

static inline void vamp_cr3_written(CPUState *cpu, uint64_t cr3, bool nested)
{
    void (*hook)(CPUState *, uint64_t, bool) = qatomic_read(&vamp_cr3_hook);

    if (unlikely(hook)) {
        hook(cpu, cr3, nested);
    }
}

#endif /* HW_VAMP_HOOKS_H */
