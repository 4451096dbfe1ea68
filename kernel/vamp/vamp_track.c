// SPDX-License-Identifier: GPL-2.0
/*
 * Which guest task ran how long on a vCPU
 *
 * Two ways. By samples: at the first exit after a host tick, once 4 to 12 ms of
 * CPU time have passed, that time is charged to the task that is found; no
 * exit is added. Exactly: loads of CR3 exit, and the time up to each is charged
 * to the task that ends; only while a plan needs it.
 *
 * The interval is jittered because a guest in step with a fixed one would be
 * seen always or never, and it is counted in CPU time so that exits that a task
 * causes itself do not make it be seen more often ("since the last exit" read
 * 61 % of a CPU where it was 51).
 *
 * CPU time is the time between getting a CPU and losing it, less what passed
 * between a halt and the next entry: the host polls there for the guest.
 *
 * Copyright (c) 2026 The VAMP authors
 */

#include <linux/module.h>
#include "x86.h"
#include "smm.h"
#include "kvm_cache_regs.h"
#include "vamp.h"
#include "vamp_trace.h"

#define SAMPLE_MIN_NS		(4 * NSEC_PER_MSEC)
#define SAMPLE_SPREAD_NS	(8 * NSEC_PER_MSEC)

/* Bit 12 of CR3 names the user's half of a pair of page tables in Linux */
#define KPTI_BIT		BIT_ULL(12)
/*
 * So many changes in a row to and fro in one pair may be system calls. Two
 * processes with neighbouring page tables do that while they take turns, so it
 * needs a second pair in the same plan: isolated, all processes have one.
 */
#define KPTI_FLIPS		64

/*
 * What a boosted vCPU may burn before it counts as what it was: the answer to a
 * wake-up either loads other page tables within that, or was background work.
 */
static unsigned int boost_us = 2000;
module_param_named(vamp_boost_us, boost_us, uint, 0644);
MODULE_PARM_DESC(vamp_boost_us,
	"CPU time (us) that a boosted vCPU may use in its background task (default 2000)");

/* KVM_VAMP_BOOST_FAIR: a boost may take this part of a vCPU's time, ... */
#define BOOST_PART		8
/* ... and so much may be saved up: five default boosts */
#define BOOST_BUDGET_NS		(10 * NSEC_PER_MSEC)

static void next_sample(struct kvm_vamp_vcpu *v)
{
	/* xorshift32: any spread does */
	v->random ^= v->random << 13;
	v->random ^= v->random >> 17;
	v->random ^= v->random << 5;
	v->sample_left_ns = SAMPLE_MIN_NS + v->random % SAMPLE_SPREAD_NS;
}

void kvm_vamp_track_reset(struct kvm_vamp_vcpu *v, u64 period_ns)
{
	unsigned long flags;
	u64 now = kvm_vamp_now();

	raw_spin_lock_irqsave(&v->lock, flags);
	v->since_ns = now;
	v->charged_ns = now;
	v->pending_ns = 0;
	v->run_ns = 0;
	v->wait_ns = 0;
	v->halt_task = VAMP_TASK_UNKNOWN;
	v->halt_varies = false;
	vamp_ring_init(&v->run);
	vamp_ring_init(&v->wait);
	vamp_task_table_init(&v->table, period_ns);
	raw_spin_unlock_irqrestore(&v->lock, flags);

	v->random = 0x9e3779b9u * (v->vcpu->vcpu_idx + 1);
	next_sample(v);
	v->boost_until_ns = 0;
	v->boost_budget_ns = BOOST_BUDGET_NS;
	v->boost_filled_ns = 0;
	v->kpti_flips = 0;
	v->watch = false;
	v->watching = false;
	v->switches = 0;
	v->samples = 0;
	v->weight_changes = 0;
	v->boosts = 0;
	v->halts = 0;
	v->toggles = 0;
}

/* CPU time that has not been accounted yet. Under the lock. */
static u64 unaccounted(const struct kvm_vamp_vcpu *v, u64 now)
{
	return v->running && !v->halted && now > v->since_ns ?
	       now - v->since_ns : 0;
}

u64 kvm_vamp_track_cpu(struct kvm_vamp_vcpu *v, u64 now)
{
	unsigned long flags;
	u64 cpu;

	raw_spin_lock_irqsave(&v->lock, flags);
	cpu = v->run_ns + unaccounted(v, now);
	raw_spin_unlock_irqrestore(&v->lock, flags);
	return cpu;
}

/* Under the lock. */
static void account(struct kvm_vamp_vcpu *v, u64 now)
{
	u64 ran = unaccounted(v, now);

	if (ran) {
		vamp_ring_add(&v->run, v->table.period_ns, v->since_ns, now,
			      ran);
		v->pending_ns += ran;
		v->run_ns += ran;
	}
	v->since_ns = now;
}

/* What has been accounted was @task's. Under the lock. */
static void charge(struct kvm_vamp_vcpu *v, u64 now, u64 task)
{
	/* It may have been read before the mask has changed. */
	if (v->pending_ns)
		vamp_task_table_charge(&v->table,
				       task & READ_ONCE(v->vamp->task_mask),
				       v->charged_ns, now, v->pending_ns);
	v->pending_ns = 0;
	v->charged_ns = now;
}

void kvm_vamp_track_copy(struct kvm_vamp_vcpu *v, u64 now,
			 struct vamp_task_table *out)
{
	unsigned long flags;
	u64 more, from, task;

	raw_spin_lock_irqsave(&v->lock, flags);
	*out = v->table;
	more = v->pending_ns + unaccounted(v, now);
	from = v->charged_ns;
	task = READ_ONCE(v->task) & READ_ONCE(v->vamp->task_mask);
	raw_spin_unlock_irqrestore(&v->lock, flags);
	if (more && now > from)
		vamp_task_table_charge(out, task, from, now, more);
}

void kvm_vamp_track_load(struct kvm_vamp_vcpu *v)
{
	u64 now = kvm_vamp_now();
	unsigned long flags;
#ifdef CONFIG_SCHED_INFO
	u64 delay = current->sched_info.run_delay;
	u64 waited = 0;

	/* Another thread may look at the vCPU's registers in between. */
	if (current->pid == v->delay_tid && delay > v->delay_ns)
		waited = delay - v->delay_ns;
	v->delay_tid = current->pid;
	v->delay_ns = delay;
#endif

	raw_spin_lock_irqsave(&v->lock, flags);
	v->since_ns = now;
	if (v->exact)
		v->charged_ns = now;
	WRITE_ONCE(v->running, true);
#ifdef CONFIG_SCHED_INFO
	if (waited) {
		v->wait_ns += waited;
		vamp_ring_add(&v->wait, v->table.period_ns,
			      now > waited ? now - waited : 0, now, waited);
	}
#endif
	raw_spin_unlock_irqrestore(&v->lock, flags);
}

void kvm_vamp_track_put(struct kvm_vamp_vcpu *v)
{
	u64 now = kvm_vamp_now();
	unsigned long flags;

	raw_spin_lock_irqsave(&v->lock, flags);
	account(v, now);
	if (v->exact)
		charge(v, now, v->task);
	WRITE_ONCE(v->running, false);
	raw_spin_unlock_irqrestore(&v->lock, flags);
}

static u64 task_of(struct kvm_vcpu *vcpu, const struct kvm_vamp *vamp)
{
	return kvm_read_cr3(vcpu) & READ_ONCE(vamp->task_mask);
}

/* Exits for CR3 as they should be now. vCPU. */
static void arm(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v)
{
	/* A guest of our guest's has page tables that are no tasks of ours. */
	v->armed = kvm_vamp_vendor.set_cr3_exits(vcpu,
						 (v->exact || v->watching) &&
						 !v->nested);
}

void kvm_vamp_track_update(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v)
{
	struct kvm_vamp *vamp = v->vamp;
	bool want = READ_ONCE(v->on) && READ_ONCE(vamp->exact_wanted) &&
		    !READ_ONCE(vamp->kpti) && !kvm_vamp_protected(vcpu);
	unsigned long flags;

	WRITE_ONCE(v->nested, is_guest_mode(vcpu));
	if (want != v->exact) {
		u64 now = kvm_vamp_now();

		raw_spin_lock_irqsave(&v->lock, flags);
		/* What ran so far is the task's that is found now. */
		account(v, now);
		if (!v->nested)
			WRITE_ONCE(v->task, task_of(vcpu, vamp));
		charge(v, now, v->task);
		WRITE_ONCE(v->exact, want);
		raw_spin_unlock_irqrestore(&v->lock, flags);
		v->toggles++;
		/* Every exit is looked at, or one a tick. */
		v->seen_jiffies = jiffies - 1;
		kvm_vamp_apply(v);
	}
	/*
	 * Sound wants to know the next task, and charges nothing: the time of a
	 * charge must not depend on what the guest does.
	 */
	if (!v->watching && !v->nested && READ_ONCE(v->watch) &&
	    READ_ONCE(v->on) && !kvm_vamp_protected(vcpu)) {
		v->watching = true;
		v->watch_task = task_of(vcpu, vamp);
		v->seen_jiffies = jiffies - 1;
	}
	if (v->exact || v->armed || v->watching)
		arm(vcpu, v);
}

void kvm_vamp_track_woken(struct kvm_vamp_vcpu *v)
{
	u64 now = kvm_vamp_now();
	unsigned long flags;

	raw_spin_lock_irqsave(&v->lock, flags);
	WRITE_ONCE(v->halted, false);
	v->since_ns = now;
	if (v->exact)
		v->charged_ns = now;
	raw_spin_unlock_irqrestore(&v->lock, flags);
}

void kvm_vamp_set_kpti(struct kvm_vamp *vamp)
{
	const u64 mask = VAMP_CR3_TASK_MASK & ~KPTI_BIT;
	struct kvm_vcpu *vcpu;
	unsigned long flags, i;

	WRITE_ONCE(vamp->task_mask, mask);
	WRITE_ONCE(vamp->kpti, true);
	/* Who takes a lock later charges with the new mask. */
	kvm_for_each_vcpu(i, vcpu, vamp->kvm) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		if (!v)
			continue;
		raw_spin_lock_irqsave(&v->lock, flags);
		vamp_task_table_mask(&v->table, mask);
		v->halt_task &= mask;
		raw_spin_unlock_irqrestore(&v->lock, flags);
	}
}

/* Does the guest change between the two halves of one task all the time? */
static void look_for_kpti(struct kvm_vamp_vcpu *v, u64 from, u64 to)
{
	u64 pair = to & ~KPTI_BIT, other;

	if ((from ^ to) != KPTI_BIT) {
		v->kpti_flips = 0;
		return;
	}
	if (++v->kpti_flips < KPTI_FLIPS)
		return;
	v->kpti_flips = 0;
	other = cmpxchg(&v->vamp->kpti_pair, 0, pair);
	if (other && other != pair) {
		kvm_vamp_set_kpti(v->vamp);
		kvm_make_all_cpus_request(v->vcpu->kvm, KVM_REQ_VAMP);
		trace_kvm_vamp_kpti(v->vcpu->vcpu_id);
	}
}

static void switched(struct kvm_vamp_vcpu *v, u64 task)
{
	u64 now = kvm_vamp_now();
	u64 from = v->task;
	unsigned long flags;

	raw_spin_lock_irqsave(&v->lock, flags);
	account(v, now);
	charge(v, now, from);
	WRITE_ONCE(v->task, task);
	raw_spin_unlock_irqrestore(&v->lock, flags);
	v->switches++;
	WRITE_ONCE(v->boosted, false);
	look_for_kpti(v, from, task);
	trace_kvm_vamp_switch(v->vcpu->vcpu_id, from, task, false);
	kvm_vamp_apply(v);
	kvm_vamp_pv_look(v);
}

/*
 * The clock of the tick: time for a sample, or for a name, if @by_task; the end
 * of a boost?
 */
static void ticked(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v, bool by_task)
{
	u64 now = kvm_vamp_now();
	u64 from = v->task;
	unsigned long flags;
	bool sample;

	raw_spin_lock_irqsave(&v->lock, flags);
	account(v, now);
	sample = by_task && !v->exact && v->pending_ns >= v->sample_left_ns;
	if (sample) {
		WRITE_ONCE(v->task, task_of(vcpu, v->vamp));
		charge(v, now, v->task);
	}
	raw_spin_unlock_irqrestore(&v->lock, flags);

	if (sample) {
		next_sample(v);
		v->samples++;
		kvm_vamp_pv_look(v);
		if (v->task != from) {
			v->switches++;
			WRITE_ONCE(v->boosted, false);
			trace_kvm_vamp_switch(vcpu->vcpu_id, from, v->task,
					      true);
			kvm_vamp_apply(v);
		}
	}
	/*
	 * Its name was not there at the switch, or the guest began to speak
	 * later; a task that is alone on its vCPU does not switch again.
	 */
	if (by_task && v->exact && v->pv_noted != v->task)
		kvm_vamp_pv_look(v);
	if (v->boosted && v->run_ns >= v->boost_until_ns) {
		WRITE_ONCE(v->boosted, false);
		kvm_vamp_apply(v);
	}
}

/*
 * A vCPU that halts does no background work. Whoever wakes it wants an answer:
 * it will run as interactive until it goes on with what it did, for so long
 * that it cannot be the answer.
 */
static void boost(struct kvm_vamp_vcpu *v)
{
	u64 most = boost_us * (u64)NSEC_PER_USEC;

	if (v->boosted || READ_ONCE(v->vclass) != VAMP_CLASS_BACKGROUND)
		return;
	switch (READ_ONCE(v->vamp->cfg.boost)) {
	case KVM_VAMP_BOOST_FAIR:
		v->boost_budget_ns = min_t(u64, BOOST_BUDGET_NS,
			v->boost_budget_ns +
			(v->run_ns - v->boost_filled_ns) / BOOST_PART);
		v->boost_filled_ns = v->run_ns;
		if (v->boost_budget_ns < most)
			return;
		v->boost_budget_ns -= most;
		break;
	case KVM_VAMP_BOOST_ALWAYS:
		break;
	default:
		return;
	}
	v->boost_until_ns = v->run_ns + most;
	v->boosts++;
	WRITE_ONCE(v->boosted, true);
	trace_kvm_vamp_boost(v->vcpu->vcpu_id, v->task);
	kvm_vamp_apply(v);
}

void kvm_vamp_track_halt(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v)
{
	u64 now = kvm_vamp_now();
	u64 task = v->exact || is_guest_mode(vcpu) ? v->task :
						     task_of(vcpu, v->vamp);
	unsigned long flags;

	raw_spin_lock_irqsave(&v->lock, flags);
	account(v, now);
	if (v->exact)
		charge(v, now, v->task);
	WRITE_ONCE(v->halted, true);
	if (v->halt_task != VAMP_TASK_UNKNOWN && v->halt_task != task)
		v->halt_varies = true;
	v->halt_task = task;
	raw_spin_unlock_irqrestore(&v->lock, flags);
	v->halts++;
	if (kvm_vamp_has_sound(v))
		kvm_vamp_sound_halted(vcpu, v, now);
	boost(v);
}

void kvm_vamp_track_exit(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v)
{
	bool by_task;

	if (!v->exact && !v->watching)
		v->seen_jiffies = jiffies;
	if (!READ_ONCE(v->on) || kvm_vamp_protected(vcpu))
		return;
	/* VAMP was turned on while it was in the guest. */
	if (!v->running)
		kvm_vamp_track_load(v);
	/*
	 * A guest's guest and firmware in system management mode are no tasks of
	 * the guest's. What they use is charged to the task that is found next.
	 */
	by_task = !is_guest_mode(vcpu) && !is_smm(vcpu);
	if (by_task && v->exact) {
		u64 task = task_of(vcpu, v->vamp);

		if (task != v->task)
			switched(v, task);
	}
	if (by_task && v->watching) {
		u64 task = task_of(vcpu, v->vamp);

		kvm_vamp_sound_ran(v, task, task != v->watch_task);
	}
	if (v->tick_jiffies != jiffies) {
		v->tick_jiffies = jiffies;
		ticked(vcpu, v, by_task);
	}
}
