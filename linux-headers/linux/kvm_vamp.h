/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The user-space API of KVM's companion modules: task-aware vCPUs
 *
 * All calls are ioctls on a VM's file descriptor. They are there when
 * KVM_CHECK_EXTENSION(KVM_CAP_VAMP), on that descriptor or on /dev/kvm, returns
 * a version of at least 1. Everything is off until KVM_VAMP_SET turns it on,
 * and off again when the descriptor is closed.
 *
 * A task is a guest address space: bits 51..12 of CR3. 0 is "not known".
 * Times are ns of CLOCK_MONOTONIC. vCPUs are named by their KVM id, the
 * argument of KVM_CREATE_VCPU. Reserved members must be 0.
 *
 * Calls may come from any thread at any time; they are serialised. None of
 * them gives a thread more than it had when VAMP was turned on.
 *
 * The method is vAMP's (Kim et al., VEE 2013).
 *
 * Copyright (c) 2026 The VAMP authors
 */

#ifndef __LINUX_KVM_VAMP_H
#define __LINUX_KVM_VAMP_H

#include <linux/types.h>
#include <linux/ioctl.h>

/*
 * Numbers that upstream does not use: capabilities count up from 0, KVM's
 * ioctls have gaps from 0xf0 on. The build compares them with a kernel's own.
 */
#define KVM_CAP_VAMP		0x564d

#define KVM_VAMP_VERSION	1

#define KVM_VAMP_MAX_VCPUS	4096
#define KVM_VAMP_MAX_TASKS	64
#define KVM_VAMP_EPOCHS		32
#define KVM_VAMP_REASON_LEN	96

/* flags of struct kvm_vamp_config */
/* Off: restores every thread and forgets all loads. */
#define KVM_VAMP_F_ENABLE	(1U << 0)
/* Give vCPU threads nice values by the task they run. */
#define KVM_VAMP_F_WEIGHTS	(1U << 1)
/* Track exactly all the time, not only in a mixed phase. */
#define KVM_VAMP_F_EXACT	(1U << 2)
/*
 * The guest pairs page tables (kernel page table isolation): bit 12 of CR3 is
 * no part of a task, and exact tracking would cost an exit per system call.
 * Found out by itself as well, see KVM_VAMP_T_SAMPLE_KPTI.
 */
#define KVM_VAMP_F_KPTI		(1U << 3)
/* Write to notify_fd whenever a vCPU's class changes; see KVM_VAMP_VCPU. */
#define KVM_VAMP_F_NOTIFY	(1U << 4)
#define KVM_VAMP_F_ALL		0x1fU

/* boost of struct kvm_vamp_config: a vCPU that halted in a background task */
#define KVM_VAMP_BOOST_OFF	0	/* wakes with that task's weight */
#define KVM_VAMP_BOOST_FAIR	1	/* wakes interactive, within a budget */
#define KVM_VAMP_BOOST_ALWAYS	2	/* wakes interactive */

/*
 * KVM_VAMP_SET: turns VAMP on or off, or changes it.
 * EINVAL: a member is out of its range, or notify_fd is no eventfd; EBADF: it
 * is not open; E2BIG: version is newer than the module's; EOPNOTSUPP: the
 * guest's registers are encrypted; ENOMEM.
 * On an error nothing has changed. New period_ms or nr_vcpus: loads begin anew.
 */
struct kvm_vamp_config {
	__u32 version;		/* KVM_VAMP_VERSION */
	__u32 flags;		/* KVM_VAMP_F_* */
	__u32 nr_vcpus;		/* 1..4096: vCPU ids below this are served */
	__u32 ratio;		/* 1..100: interactive : background */
	__u32 bg_percent;	/* 1..100: load of a background task */
	__u32 max_phase_ms;	/* 100..60000 */
	__u32 period_ms;	/* epoch: a power of two, 4..1024 */
	__u32 boost;		/* KVM_VAMP_BOOST_* */
	__s32 notify_fd;	/* an eventfd, with KVM_VAMP_F_NOTIFY; else 0 */
	__u32 reserved[7];
};

/*
 * KVM_VAMP_EVENT: the module runs the phases itself, from its own loads.
 * EINVAL: not a kind; ENXIO: VAMP is off.
 */
#define KVM_VAMP_EVENT_INPUT		1	/* a key or button */
#define KVM_VAMP_EVENT_SOUND_ON		2
#define KVM_VAMP_EVENT_SOUND_OFF	3
#define KVM_VAMP_EVENT_END		4	/* back to the normal phase */
#define KVM_VAMP_EVENT_AUDIO_TASK	5	/* arg: never background; 0: none */

struct kvm_vamp_event {
	__u32 kind;		/* KVM_VAMP_EVENT_* */
	__u32 reserved;
	__u64 arg;
};

/* enum vamp_phase and enum vamp_class, as core/policy.h counts them */
#define KVM_VAMP_PHASE_NORMAL		0
#define KVM_VAMP_PHASE_NON_MIXED	1
#define KVM_VAMP_PHASE_MIXED		2

#define KVM_VAMP_CLASS_NEUTRAL		0
#define KVM_VAMP_CLASS_INTERACTIVE	1
#define KVM_VAMP_CLASS_BACKGROUND	2

/*
 * KVM_VAMP_PLAN: the caller runs the phases, from KVM_VAMP_TASKS. The plan is
 * in force until until_ns at most; nr_tasks = 0 with phase
 * KVM_VAMP_PHASE_NORMAL ends it. It replaces whatever was in force.
 * EINVAL: nr_tasks above KVM_VAMP_MAX_TASKS, no such phase, a mixed phase
 * without a task or another with one; ENXIO: VAMP is off.
 */
struct kvm_vamp_plan {
	__u32 phase;		/* KVM_VAMP_PHASE_* */
	__u32 nr_tasks;
	__u64 until_ns;		/* end; later than 60 s from now is 60 s */
	__u64 reserved[2];
	__u64 task[KVM_VAMP_MAX_TASKS];		/* the background */
};

/* How tasks are told now, and why not better: tracking of the two below */
#define KVM_VAMP_T_OFF			0	/* VAMP is off */
#define KVM_VAMP_T_SAMPLE		1	/* samples: nothing needs more */
#define KVM_VAMP_T_EXACT		2	/* each load of CR3 */
#define KVM_VAMP_T_SAMPLE_KPTI		3	/* samples: page table isolation */
#define KVM_VAMP_T_PROTECTED		4	/* not: encrypted registers */
#define KVM_VAMP_T_FAULT		5	/* not: a fault, see fault */

struct kvm_vamp_task {
	__u64 task;
	__u32 permille;		/* of one CPU in the last 31 epochs */
	__u32 reserved;
};

/* KVM_VAMP_STATUS: what the VM's policy is about. Works when VAMP is off. */
struct kvm_vamp_status {
	__u32 version;
	__u32 flags;		/* KVM_VAMP_F_* in force */
	__u32 phase;
	__u32 cause;		/* enum vamp_cause */
	__u32 reason;		/* enum vamp_reason */
	__u32 tracking;		/* KVM_VAMP_T_* */
	__u32 vm_permille;	/* load at the last event */
	__u32 nr_tasks;		/* of task[] */
	__u64 since_ns;
	__u64 until_ns;		/* all ones in the normal phase */
	__u64 events;
	__u64 phases;
	__u64 phases_mixed;
	__u64 faults;
	__u64 audio_task;	/* never background; 0: none known */
	__u64 reserved[7];
	char fault[KVM_VAMP_REASON_LEN];	/* the last one; "" none */
	struct kvm_vamp_task task[KVM_VAMP_MAX_TASKS];	/* the background */
};

/* KVM_VAMP_VCPU: one vCPU. ENOENT: no such vCPU is served. */
struct kvm_vamp_vcpu_status {
	__u32 vcpu;		/* in: KVM id */
	__u32 tracking;		/* KVM_VAMP_T_* */
	__u32 vclass;		/* KVM_VAMP_CLASS_* in force */
	__s32 nice;		/* of its thread */
	__s32 tid;		/* its thread in the caller's namespace; 0: none */
	__u32 flags;		/* KVM_VAMP_V_* */
	__u64 task;		/* runs now, or was seen last */
	__u64 run_ns;		/* CPU time in the guest since VAMP is on */
	__u64 wait_ns;		/* run delay */
	__u64 switches;		/* of tasks, seen */
	__u64 samples;
	__u64 weight_changes;
	__u64 boosts;
	__u64 halts;
	__u64 toggles;		/* of exact tracking */
	__u64 reserved[6];
};

#define KVM_VAMP_V_HALTED	(1U << 0)
#define KVM_VAMP_V_BOOSTED	(1U << 1)
#define KVM_VAMP_V_FOREIGN	(1U << 2)	/* nice is somebody else's */
#define KVM_VAMP_V_NESTED	(1U << 3)	/* it runs a guest of its own */

/* CPU time of one task on one vCPU, by epoch: as core/load.h has it */
struct kvm_vamp_load {
	__u64 task;
	__u64 last_ns;
	__u64 epoch;
	__u32 ns[KVM_VAMP_EPOCHS];
};

/*
 * KVM_VAMP_TASKS: the loads of one vCPU, brought up to now. ENOENT as above;
 * ENXIO: VAMP is off.
 */
struct kvm_vamp_tasks {
	__u32 vcpu;		/* in: KVM id */
	__u32 nr;		/* of load[] */
	__u64 now_ns;
	__u64 period_ns;
	__u64 evictions;
	__u64 halt_task;	/* at its last halt; 0: none, or not always one */
	__u64 reserved[3];
	struct kvm_vamp_load load[KVM_VAMP_MAX_TASKS];
};

/*
 * KVM_VAMP_PV: offers the guest the interface of linux/kvm_vamp_pv.h, or no
 * longer. Either forgets what the guest has said; offered again, its generation
 * is another one. So this is also what a reset of the machine has to call.
 * EINVAL: flags; ENXIO: VAMP has never been on in this VM; ENOMEM.
 */
#define KVM_VAMP_PV_OFFER	(1U << 0)

struct kvm_vamp_pv_config {
	__u32 flags;		/* KVM_VAMP_PV_OFFER */
	__u32 reserved[3];
};

#define KVM_VAMP_MAX_NAMES	128
#define KVM_VAMP_NAME_LEN	16

/* A task by its guest's own name: a claim, printable ASCII, NUL-terminated */
struct kvm_vamp_name {
	__u64 task;
	__u64 seen_ns;
	__u32 pid;
	__u32 reserved;
	char name[KVM_VAMP_NAME_LEN];
};

/*
 * KVM_VAMP_NAMES: what the guest calls the tasks that were seen, at most
 * KVM_VAMP_MAX_NAMES, those seen last. Works when VAMP is off.
 */
struct kvm_vamp_names {
	__u32 flags;		/* KVM_VAMP_PV_OFFER */
	__u32 nr;		/* of name[] */
	__u32 vcpus;		/* that have said where they tell it */
	__u32 generation;
	__u64 refused;		/* values that the guest may not write */
	__u64 torn;		/* looks that came in mid-write */
	__u64 lost;		/* records whose memory has gone */
	__u64 reserved[4];
	struct kvm_vamp_name name[KVM_VAMP_MAX_NAMES];
};

/*
 * KVM_VAMP_SOUND: the VM's sound devices, so that the module finds the task
 * that plays (the method: core/wakeup.h). That one is never in the background,
 * whatever a plan says; while devices are named it is the module's to tell, and
 * KVM_VAMP_EVENT_AUDIO_TASK is overridden by the next that it finds. No ranges
 * and no interrupts: off. It ends as well when KVM_VAMP_SET turns VAMP off or
 * has the loads begin anew. A call replaces what was named; what is known of
 * tasks stays.
 *
 * What this adds: accesses to ranges that are named are looked at; for a second
 * after an access or an interrupt of the devices, IPIs between vCPUs are, and
 * after one of these the first load of CR3 exits.
 *
 * EINVAL: a member is out of its range; ENXIO: VAMP is off; ENOMEM; ENOTTY: a
 * module that is older than this call.
 */
#define KVM_VAMP_SOUND_RANGES	16
#define KVM_VAMP_SOUND_IRQS	16
#define KVM_VAMP_SOUND_TASKS	16

/* mode: bits of how wakers are found, see VAMP_WAKEUP_* in core/wakeup.h */
#define KVM_VAMP_WAKEUP_BASE		(1U << 0)
#define KVM_VAMP_WAKEUP_TRANSITIVE	(1U << 1)
#define KVM_VAMP_WAKEUP_RESET		(1U << 2)
#define KVM_VAMP_WAKEUP_CONFIDENCE	(1U << 3)
#define KVM_VAMP_WAKEUP_ALL		0xfU

/* flags */
/*
 * The devices' interrupts go to the vCPU that played last, where the guest
 * leaves the choice of several: lowest priority, or a redirection hint.
 */
#define KVM_VAMP_SOUND_REDIRECT		(1U << 0)
/*
 * Of the status only: the processor delivers IPIs itself, so that those to vCPUs
 * that run (AVIC), or all (IPI virtualization), go unseen; ...
 */
#define KVM_VAMP_SOUND_HIDDEN		(1U << 1)
/* ... and the IOMMU posts interrupts of assigned devices: they are not seen. */
#define KVM_VAMP_SOUND_POSTED		(1U << 2)

/* space of a range */
#define KVM_VAMP_SPACE_MMIO	0
#define KVM_VAMP_SPACE_PIO	1

struct kvm_vamp_sound_range {
	__u64 addr;		/* guest-physical, or a port */
	__u64 len;		/* 1..4 GiB; ports: up to 65536 */
	__u32 space;		/* KVM_VAMP_SPACE_* */
	__u32 reserved;
};

/* kind of an interrupt */
#define KVM_VAMP_IRQ_GSI	0	/* by KVM's routing table */
#define KVM_VAMP_IRQ_MSI	1	/* this message, as by KVM_SIGNAL_MSI */

struct kvm_vamp_sound_irq {
	__u32 kind;		/* KVM_VAMP_IRQ_* */
	__u32 gsi;		/* GSI: 0..4095 */
	__u64 address;		/* MSI */
	__u32 data;		/* MSI */
	__u32 reserved;
};

struct kvm_vamp_sound {
	__u32 mode;		/* KVM_VAMP_WAKEUP_* */
	__u32 flags;		/* KVM_VAMP_SOUND_REDIRECT */
	__u32 nr_ranges;
	__u32 nr_irqs;
	__u32 window_us;	/* 1..100000; CPU time; 0: as vamp_wakeup_us says */
	__u32 reserved[3];
	struct kvm_vamp_sound_range range[KVM_VAMP_SOUND_RANGES];
	struct kvm_vamp_sound_irq irq[KVM_VAMP_SOUND_IRQS];
};

struct kvm_vamp_sound_task {
	__u64 task;
	__u64 waker;		/* woke it from another vCPU, last; 0: none */
	__u32 feeds;		/* scores: 1024 an event, halved each second */
	__u32 drives;
	__u32 confidence;	/* 0..10: that it is background */
	__u32 reserved;
};

/* KVM_VAMP_SOUND_STATUS: what was found. All zero when it is off. */
struct kvm_vamp_sound_status {
	__u32 mode;
	__u32 flags;		/* KVM_VAMP_SOUND_* */
	__u32 nr_ranges;
	__u32 nr_irqs;
	__u32 window_us;
	__s32 playing;		/* id of the vCPU of the last access; or -1 */
	__u32 nr_tasks;		/* of task[] */
	__u32 reserved0;
	__u64 audio_task;	/* never background; 0: none known */
	__u64 driver;		/* touches the devices; 0: none known */
	__u64 accesses;		/* by tasks */
	__u64 handled;		/* by handlers of interrupts */
	__u64 irqs;		/* of the devices */
	__u64 ipis;		/* that were looked at */
	__u64 woken;		/* tasks, by one of them in time */
	__u64 woken_by_sound;	/* tasks, by the devices' interrupts */
	__u64 resets;		/* wake-ups that another interrupt hid */
	__u64 late;		/* IPIs after which no task came in time */
	__u64 redirected;	/* interrupts of the devices */
	__u64 fixed;		/* those for which the guest left no choice */
	__u64 reserved[8];
	struct kvm_vamp_sound_task task[KVM_VAMP_SOUND_TASKS];
};

#define KVM_VAMP_SET	_IOW(0xAE, 0xf0, struct kvm_vamp_config)
#define KVM_VAMP_EVENT	_IOW(0xAE, 0xf1, struct kvm_vamp_event)
#define KVM_VAMP_PLAN	_IOW(0xAE, 0xf2, struct kvm_vamp_plan)
#define KVM_VAMP_STATUS	_IOR(0xAE, 0xf3, struct kvm_vamp_status)
#define KVM_VAMP_VCPU	_IOWR(0xAE, 0xf4, struct kvm_vamp_vcpu_status)
#define KVM_VAMP_TASKS	_IOWR(0xAE, 0xf5, struct kvm_vamp_tasks)
#define KVM_VAMP_SOUND	_IOW(0xAE, 0xf6, struct kvm_vamp_sound)
#define KVM_VAMP_SOUND_STATUS \
			_IOR(0xAE, 0xf7, struct kvm_vamp_sound_status)
#define KVM_VAMP_PV	_IOW(0xAE, 0xfa, struct kvm_vamp_pv_config)
#define KVM_VAMP_NAMES	_IOR(0xAE, 0xfb, struct kvm_vamp_names)

#endif /* __LINUX_KVM_VAMP_H */
