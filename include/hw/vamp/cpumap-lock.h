/*
 * VAMP: locks that keep two VMs off one host CPU
 *
 * One file a CPU, "cpuN", in a folder that the VMs of a host share, held by
 * flock(): the kernel frees it when QEMU ends, however that happens. The file
 * says who holds it, for the other VM's error message; nothing relies on that
 * text. The files stay: removing one would let two VMs lock two files of
 * the same name.
 *
 * What holds: among VMs that see the same folder. For all of a host this is
 * /run/vamp, which root makes (or systemd-tmpfiles at boot) open to everybody
 * like /run/lock. Where it is neither there nor can be made, each user has one
 * of his own, and only his VMs see each other. Nobody can break a lock, but
 * anyone who can write to the folder can take one.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_CPUMAP_LOCK_H
#define HW_VAMP_CPUMAP_LOCK_H

#include "hw/vamp/cpumap-host.h"

typedef struct VampLocks VampLocks;

/*
 * Opens (makes, if need be) the first usable one of two folders. Either may be
 * NULL. NULL with the reasons if neither can be used.
 * @holder: text for the files: who we are.
 * @host_wide: is it the first one?
 */
VampLocks *vamp_locks_open(const char *host_dir, const char *user_dir,
                           const char *holder, bool *host_wide, Error **errp);
/* Frees all locks. Accepts NULL. */
void vamp_locks_close(VampLocks *locks);

const char *vamp_locks_dir(const VampLocks *locks);

/*
 * Takes the locks of @cpus that are not held yet, in ascending order, without
 * waiting. On failure none of these is held, and @errp names the holder.
 * @added: those that were taken by this call.
 */
bool vamp_locks_take(VampLocks *locks, const VampCpus *cpus, VampCpus *added,
                     Error **errp);
/* Frees those of @cpus that are held. */
void vamp_locks_drop(VampLocks *locks, const VampCpus *cpus);

bool vamp_locks_held(const VampLocks *locks, unsigned cpu);

/*
 * Who says that he holds @cpu, other than ourselves and the dead? For the
 * caller to free; NULL if nobody. A hint only.
 */
char *vamp_locks_holder(const VampLocks *locks, unsigned cpu);

#endif /* HW_VAMP_CPUMAP_LOCK_H */
