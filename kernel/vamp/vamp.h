/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Task-aware vCPUs: what the files of this folder share, and KVM's hooks
 *
 * KVM calls the kvm_vamp_*() functions of the second half from a few inserted
 * lines (upstream/patches/linux). While no VM has VAMP on, each of them is a
 * patched-out jump.
 *
 * Contexts. "vCPU" is the vCPU's own thread inside KVM_RUN, preemptible unless
 * said otherwise. "caller" is any thread in an ioctl, or a worker; it holds
 * kvm_vamp.lock. A preemption notifier runs under the run queue's lock: what
 * it calls may account and nothing else.
 *
 * Locks, outermost first: kvm_vamp.lock, kvm_vamp_vcpu.apply_lock,
 * kvm_vamp_vcpu.lock; kvm_vamp_pv.lock alone.
 *
 * Copyright (c) 2026 The VAMP authors
 */

#ifndef __KVM_X86_VAMP_H
#define __KVM_X86_VAMP_H

#include <linux/kvm_host.h>
#include <linux/jump_label.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "core/policy.h"
#include <linux/kvm_vamp.h>
#include <linux/kvm_vamp_pv.h>

/*
 * The stock modules have no version. So `modinfo` and /sys/module/kvm/version
 * tell ours, and DKMS, which installs no module whose version is that of the
 * kernel's own, installs them.
 */
#define KVM_VAMP_MODULE_VERSION	"vamp-" __stringify(KVM_VAMP_VERSION)

/* A mixed phase's plan as vCPUs read it, under RCU. Immutable once published. */
struct kvm_vamp_view {
	struct rcu_head rcu;
	u32 nr;
	u64 task[KVM_VAMP_MAX_TASKS];
	u16 permille[KVM_VAMP_MAX_TASKS];	/* for the guest; 0: not asked */
};

struct kvm_vamp;
struct kvm_vamp_pv;
struct kvm_vamp_sounds;
struct dest_map;

/* One vCPU. Lives as long as the vCPU, once VAMP has been on. */
struct kvm_vamp_vcpu {
	struct kvm_vcpu *vcpu;
	struct kvm_vamp *vamp;
	bool on;		/* account at all; written by callers */

	/* The vCPU's own; others read what is marked "shared" with READ_ONCE */
	bool exact;		/* shared; charges at each switch */
	/* The next load of CR3 matters to sound; also set by who sends an IPI */
	bool watch;		/* shared */
	u64 watch_until_ns;	/* CPU time; shared */
	bool watching;		/* the vCPU has seen that, and looks at each exit */
	u64 watch_task;		/* ran when that began */
	bool armed;		/* the vendor's exits for CR3 are on */
	bool running;		/* shared; loaded on a CPU */
	bool halted;		/* shared */
	bool boosted;		/* shared; runs out by itself */
	bool nested;		/* shared */
	u64 task;		/* shared; masked */
	/*
	 * Exits in this tick of the host's clock need no look; exact: never now,
	 * so that every exit gets one.
	 */
	unsigned long seen_jiffies;
	unsigned long tick_jiffies;	/* of the last look at our clock */
	u32 random;
	u64 sample_left_ns;	/* CPU time until the next sample */
	u64 boost_until_ns;	/* of run_ns */
	u64 boost_budget_ns;	/* what KVM_VAMP_BOOST_FAIR has left */
	u64 boost_filled_ns;	/* run_ns when that was filled */
	u32 kpti_flips;
	pid_t delay_tid;	/* whose run delay that is */
	u64 delay_ns;
	/* Where the guest tells what runs; shared, 0: it has not said where */
	u32 pv_generation;
	u64 pv_data;		/* as it was written to the MSR */
	u64 pv_noted;		/* the task whose name was found last */
	struct gfn_to_hva_cache pv_at;

	raw_spinlock_t lock;	/* of what follows; taken by the notifier too */
	u64 since_ns;		/* accounted until here */
	u64 charged_ns;		/* charged until here */
	u64 pending_ns;		/* accounted, not yet charged */
	u64 run_ns;
	u64 wait_ns;
	u64 halt_task;
	bool halt_varies;
	struct vamp_ring run;
	struct vamp_ring wait;
	struct vamp_task_table table;

	struct vamp_task_table copy;	/* for the policy; under kvm_vamp.lock */

	spinlock_t apply_lock;	/* of the thread's weight */
	enum vamp_class vclass;
	struct pid *pid;	/* counted; whose nice we have changed, or NULL */
	int found_nice;
	int our_nice;
	bool foreign;

	u64 switches;
	u64 samples;
	u64 weight_changes;
	u64 boosts;
	u64 halts;
	u64 toggles;
};

/* One VM. From the first KVM_VAMP_SET until the VM is gone. */
struct kvm_vamp {
	struct list_head node;
	struct kvm *kvm;
	struct mutex lock;
	struct kvm_vamp_config cfg;
	bool on;
	u64 task_mask;		/* of CR3; READ_ONCE for vCPUs */
	bool exact_wanted;	/* READ_ONCE for vCPUs */
	bool kpti;		/* READ_ONCE for vCPUs */
	u64 kpti_pair;		/* the first in this plan; cmpxchg from 0 */
	struct eventfd_ctx *notify;	/* NULL: nobody; read under apply_lock */
	struct vamp_policy *policy;	/* nr_vcpus of them */
	bool planned;		/* the plan in force is the caller's */
	u64 plan_until_ns;
	struct kvm_vamp_view __rcu *view;
	struct delayed_work expire;
	struct work_struct fault_work;
	const char *fault_reason;	/* cmpxchg from NULL; the work clears it */
	char fault[KVM_VAMP_REASON_LEN];
	u64 faults;
	const struct vamp_task_table **table;	/* [nr_vcpus], for the policy */
	struct kvm_vamp_pv *pv;	/* NULL: never offered; stays until the VM goes */
	struct kvm_vamp_sounds __rcu *sound;	/* NULL: no devices are named */
	struct work_struct sound_work;	/* who plays has changed */
	u64 sound_task[2];	/* never background, 0: none; READ_ONCE for vCPUs */
};

/* What kvm-amd or kvm-intel adds. */
struct kvm_vamp_vendor {
	size_t offset;		/* of struct kvm_vamp_vcpu * in its vCPU */
	/*
	 * Has loads of CR3 exit, or not; @on is what it should be now, also if
	 * it is that already (INIT clears it). Returns whether they may exit
	 * still. vCPU.
	 */
	bool (*set_cr3_exits)(struct kvm_vcpu *vcpu, bool on);
	/* CR3 at the last exit, also before that is handled. vCPU. */
	u64 (*read_cr3)(struct kvm_vcpu *vcpu);
	/* Does it deliver IPIs without telling? Any context. */
	bool (*hides_ipis)(struct kvm_vcpu *vcpu);
};

/*
 * What tests have us take the processor for, since emulated ones lack it: bits
 * of the module parameter vamp_pretend
 */
#define KVM_VAMP_PRETEND_PROTECTED	BIT(0)	/* registers are encrypted */
#define KVM_VAMP_PRETEND_HIDES_IPIS	BIT(1)
#define KVM_VAMP_PRETEND_POSTS		BIT(2)	/* devices' interrupts */

extern unsigned int kvm_vamp_pretend;

static inline bool kvm_vamp_pretends(unsigned int what)
{
	return unlikely(READ_ONCE(kvm_vamp_pretend) & what);
}

/* Registers that cannot be read name no task. Any context; kvm.ko only. */
static inline bool kvm_vamp_protected(const struct kvm_vcpu *vcpu)
{
	return vcpu->arch.guest_state_protected ||
	       kvm_vamp_pretends(KVM_VAMP_PRETEND_PROTECTED);
}

extern struct kvm_vamp_vendor kvm_vamp_vendor;
DECLARE_STATIC_KEY_FALSE(kvm_vamp_used);

static inline struct kvm_vamp_vcpu **kvm_vamp_slot(struct kvm_vcpu *vcpu)
{
	return (void *)vcpu + kvm_vamp_vendor.offset;
}

/* NULL until VAMP has been on in this VM. Any context. */
static inline struct kvm_vamp_vcpu *kvm_vamp_get(struct kvm_vcpu *vcpu)
{
	/* Whole: with the store in vcpu_prepare() */
	return smp_load_acquire(kvm_vamp_slot(vcpu));
}

static inline u64 kvm_vamp_now(void)
{
	/* CLOCK_MONOTONIC, as the policies of user space use; safe anywhere */
	return ktime_get_mono_fast_ns();
}

/* --- vamp_track.c: which task ran how long -------------------------------- */

/* Begins anew. Caller; the vCPU does not account (on is false). */
void kvm_vamp_track_reset(struct kvm_vamp_vcpu *v, u64 period_ns);

/*
 * Tasks have pairs of page tables: bit 12 says nothing, and what both halves have
 * used is one task's. vCPU or caller.
 */
void kvm_vamp_set_kpti(struct kvm_vamp *vamp);

/* Copies the loads, brought up to @now. Caller. */
void kvm_vamp_track_copy(struct kvm_vamp_vcpu *v, u64 now,
			 struct vamp_task_table *out);

/* CPU time of the vCPU in the guest until @now. Any context. */
u64 kvm_vamp_track_cpu(struct kvm_vamp_vcpu *v, u64 now);

void kvm_vamp_track_load(struct kvm_vamp_vcpu *v);
void kvm_vamp_track_put(struct kvm_vamp_vcpu *v);
void kvm_vamp_track_update(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v);
void kvm_vamp_track_halt(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v);
void kvm_vamp_track_woken(struct kvm_vamp_vcpu *v);
void kvm_vamp_track_exit(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v);

/* --- vamp_phase.c: from an event to the weights of threads ----------------- */

/* The class that the plan gives to the vCPU now. vCPU or caller. */
void kvm_vamp_apply(struct kvm_vamp_vcpu *v);

/* Puts the thread back, unless somebody else has changed it. Caller. */
void kvm_vamp_restore(struct kvm_vamp_vcpu *v);

void kvm_vamp_event_locked(struct kvm_vamp *vamp, u32 kind, u64 arg);
int kvm_vamp_plan_locked(struct kvm_vamp *vamp,
			 const struct kvm_vamp_plan *plan);

/* Makes the policy's present plan true: new configuration. Caller. */
void kvm_vamp_publish_locked(struct kvm_vamp *vamp);
void kvm_vamp_expire_work(struct work_struct *work);

/* Something is wrong with us: off, restored, with @reason (constant). */
void kvm_vamp_fault(struct kvm_vamp *vamp, const char *reason);
void kvm_vamp_fault_work(struct work_struct *work);

/* --- vamp_pv.c: what the guest says ---------------------------------------- */

/* The vCPU runs v->task: its name may be there to be read. vCPU; may sleep. */
void kvm_vamp_pv_read(struct kvm_vamp_vcpu *v);

static inline void kvm_vamp_pv_look(struct kvm_vamp_vcpu *v)
{
	if (v->pv_generation)
		kvm_vamp_pv_read(v);
}

/* Nobody says any more what runs on the vCPU. vCPU. */
void kvm_vamp_pv_forget(struct kvm_vamp_vcpu *v);

/* @view, or NULL, will be published: for the guest to ask about. Caller. */
void kvm_vamp_pv_plan(struct kvm_vamp *vamp, struct kvm_vamp_view *view);

/* KVM_VAMP_PV and KVM_VAMP_NAMES. Caller. */
long kvm_vamp_pv_ioctl(struct kvm_vamp *vamp, unsigned int ioctl,
		       void __user *argp);

/* False: no leaf of ours, or none now. vCPU. */
bool kvm_vamp_pv_cpuid(struct kvm_vcpu *vcpu, u32 *eax, u32 *ebx, u32 *ecx,
		       u32 *edx);

/* As kvm_set_msr_common() and kvm_get_msr_common() return it. vCPU. */
int kvm_vamp_pv_set_msr(struct kvm_vcpu *vcpu, const struct msr_data *msr);
int kvm_vamp_pv_get_msr(struct kvm_vcpu *vcpu, struct msr_data *msr);

/* --- vamp_sound.c: which task plays ---------------------------------------- */

/* KVM_VAMP_SOUND and KVM_VAMP_SOUND_STATUS. Caller. */
long kvm_vamp_sound_set(struct kvm_vamp *vamp, const void __user *argp);
long kvm_vamp_sound_status(struct kvm_vamp *vamp, void __user *argp);
/* No devices are named any more. Caller. */
void kvm_vamp_sound_off(struct kvm_vamp *vamp);
/* Who plays now? For a plan that is to be made. Caller. */
void kvm_vamp_sound_refresh(struct kvm_vamp *vamp);
/* These are in the background from now on. Caller. */
void kvm_vamp_sound_planned(struct kvm_vamp *vamp, const u64 *task, u32 nr);
void kvm_vamp_sound_work(struct work_struct *work);

/* It is watched, and runs @task, or what it was. vCPU. */
void kvm_vamp_sound_ran(struct kvm_vamp_vcpu *v, u64 task, bool switched);
/* It has halted. vCPU. */
void kvm_vamp_sound_halted(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v,
			   u64 now);

void kvm_vamp_sound_io(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v,
		       u32 space, u64 addr, u32 len);
void kvm_vamp_sound_irq(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v,
			u32 vector);
bool kvm_vamp_sound_redirect(struct kvm *kvm, struct kvm_vamp *vamp,
			     struct kvm_lapic_irq *irq, int *r,
			     struct dest_map *dest_map);

/* --- vamp_main.c: life ---------------------------------------------------- */

/* Off: every thread is put back. Caller. */
void kvm_vamp_disable_locked(struct kvm_vamp *vamp);

/* --- hooks --------------------------------------------------------------- */

/* kvm-amd and kvm-intel, when they are loaded and no VM is */
void kvm_vamp_register(const struct kvm_vamp_vendor *vendor);
void kvm_vamp_svm_register(void);
void kvm_vamp_vmx_register(void);

/* Do loads of CR3 exit because of us? vCPU. */
static inline bool kvm_vamp_cr3_exits(struct kvm_vcpu *vcpu)
{
	struct kvm_vamp_vcpu *v;

	if (!static_branch_unlikely(&kvm_vamp_used))
		return false;
	v = kvm_vamp_get(vcpu);
	return v && v->armed;
}

/* ENOIOCTLCMD: not one of ours */
long kvm_vamp_vm_ioctl(struct kvm *kvm, unsigned int ioctl, void __user *argp);

void kvm_vamp_vcpu_create(struct kvm_vcpu *vcpu);
void kvm_vamp_vcpu_destroy(struct kvm_vcpu *vcpu);
void kvm_vamp_vm_destroy(struct kvm *kvm);

/* The vCPU gets a CPU. Its thread; maybe in a preemption notifier. */
static inline void kvm_vamp_load(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvm_vamp_used)) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		if (v && READ_ONCE(v->on))
			kvm_vamp_track_load(v);
	}
}

/* It loses it. The same context, with the vendor's state still loaded. */
static inline void kvm_vamp_put(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvm_vamp_used)) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		if (v && v->running)
			kvm_vamp_track_put(v);
	}
}

/*
 * Look whether loads of CR3 shall exit, before the next entry. KVM's own
 * requests of x86 end at 34.
 */
#define KVM_REQ_VAMP	KVM_ARCH_REQ_FLAGS(50, KVM_REQUEST_WAIT | \
					       KVM_REQUEST_NO_WAKEUP)

/* KVM_REQ_VAMP has come. vCPU. */
static inline void kvm_vamp_update(struct kvm_vcpu *vcpu)
{
	struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

	if (v)
		kvm_vamp_track_update(vcpu, v);
}

/* INIT or RESET: the vendor's state is as at first, without our exits. */
static inline void kvm_vamp_reset(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvm_vamp_used)) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		kvm_make_request(KVM_REQ_VAMP, vcpu);
		if (v)
			kvm_vamp_pv_forget(v);
	}
}

/* It begins or ends to run a guest of its own. vCPU, or caller of an ioctl. */
static inline void kvm_vamp_nested(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvm_vamp_used) && kvm_vamp_get(vcpu))
		kvm_make_request(KVM_REQ_VAMP, vcpu);
}

/* CPUID is emulated: is it one of our leaves? vCPU. */
static inline bool kvm_vamp_cpuid(struct kvm_vcpu *vcpu, u32 *eax, u32 *ebx,
				  u32 *ecx, u32 *edx)
{
	return static_branch_unlikely(&kvm_vamp_used) &&
	       (*eax & ~0xffU) == KVM_CPUID_VAMP_SIGNATURE &&
	       kvm_vamp_pv_cpuid(vcpu, eax, ebx, ecx, edx);
}

/* The MSRs between these go to kvm_vamp_pv_set_msr() and _get_msr(). */
#define KVM_VAMP_MSR_FIRST	MSR_KVM_VAMP_TASK
#define KVM_VAMP_MSR_LAST	MSR_KVM_VAMP_SLOW_LAST

/* It has halted, and waits from now on. vCPU. */
static inline void kvm_vamp_halt(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvm_vamp_used)) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		if (v && READ_ONCE(v->on) &&
		    vcpu->arch.mp_state == KVM_MP_STATE_HALTED &&
		    !kvm_vamp_protected(vcpu))
			kvm_vamp_track_halt(vcpu, v);
	}
}

/* It waits no more. vCPU. */
static inline void kvm_vamp_woken(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvm_vamp_used)) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		if (v && v->halted)
			kvm_vamp_track_woken(v);
	}
}

/*
 * Its exit has been handled. vCPU. The one hook that costs something while a
 * VM has VAMP on and nothing is to be done: two loads and two comparisons.
 */
static inline void kvm_vamp_exit(struct kvm_vcpu *vcpu)
{
	if (static_branch_unlikely(&kvm_vamp_used)) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		if (v && v->seen_jiffies != jiffies)
			kvm_vamp_track_exit(vcpu, v);
	}
}

/* Its VM's, if that has named sound devices. Any context. */
static inline bool kvm_vamp_has_sound(const struct kvm_vamp_vcpu *v)
{
	return v && rcu_access_pointer(v->vamp->sound);
}

/* An access that KVM or user space answers, at @space and @addr. vCPU. */
static inline void kvm_vamp_io(struct kvm_vcpu *vcpu, u32 space, u64 addr,
			       u32 len)
{
	if (static_branch_unlikely(&kvm_vamp_used)) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		if (kvm_vamp_has_sound(v))
			kvm_vamp_sound_io(vcpu, v, space, addr, len);
	}
}

/* An interrupt is about to be delivered to it. Any context, maybe atomic. */
static inline void kvm_vamp_irq(struct kvm_vcpu *vcpu, int mode, int vector)
{
	if (static_branch_unlikely(&kvm_vamp_used)) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		if (kvm_vamp_has_sound(v) &&
		    (mode == APIC_DM_FIXED || mode == APIC_DM_LOWEST))
			kvm_vamp_sound_irq(vcpu, v, vector);
	}
}

/* Has the interrupt been delivered to the vCPU that plays? As above. */
static inline bool kvm_vamp_redirect(struct kvm *kvm, struct kvm_lapic_irq *irq,
				     int *r, struct dest_map *dest_map)
{
	if (static_branch_unlikely(&kvm_vamp_used)) {
		struct kvm_vcpu *vcpu = kvm_get_vcpu(kvm, 0);
		struct kvm_vamp_vcpu *v = vcpu ? kvm_vamp_get(vcpu) : NULL;

		return kvm_vamp_has_sound(v) &&
		       kvm_vamp_sound_redirect(kvm, v->vamp, irq, r, dest_map);
	}
	return false;
}

#endif /* __KVM_X86_VAMP_H */
