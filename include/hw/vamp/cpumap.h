/*
 * VAMP: the map of vCPUs to host CPUs, as the rest of hw/vamp sees it
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_CPUMAP_H
#define HW_VAMP_CPUMAP_H

/*
 * The host CPU that vCPU @vcpu is mapped to; negative if it is mapped to none,
 * or no map is in force. Main loop, BQL held.
 */
int vamp_cpumap_cpu_of(int vcpu);

#endif /* HW_VAMP_CPUMAP_H */
