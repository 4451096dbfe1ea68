// SPDX-License-Identifier: GPL-2.0
/*
 * From an event to the weights of threads
 *
 * The policy (core/policy.c) decides, here or in user space; its plan is
 * published for the vCPUs, and each vCPU's thread gets the nice value of the
 * class of the task it runs: at once for all, and from then on by the vCPU
 * itself whenever its task changes.
 *
 * A background task costs its thread nice steps; everything else runs with the
 * value that was found. So nobody ever gets more than before.
 *
 * Copyright (c) 2026 The VAMP authors
 */

#include <linux/eventfd.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include "vamp.h"
#include "vamp_trace.h"

/* A plan of user space's ends by then, whatever it says: its maker may hang. */
#define PLAN_MAX_NS	(60 * (u64)NSEC_PER_SEC)

/*
 * Distributions build no fault injection, and what happens then must be tried:
 * so many plans find no memory.
 */
static unsigned int fail_plans;
module_param_named(vamp_fail_plans, fail_plans, uint, 0600);
MODULE_PARM_DESC(vamp_fail_plans,
	"for tests: so many plans from now on find no memory (default 0)");

/* --- weights ------------------------------------------------------------- */

static enum vamp_class class_of(const struct kvm_vamp *vamp, u64 task)
{
	const struct kvm_vamp_view *view = rcu_dereference(vamp->view);
	u64 mask = READ_ONCE(vamp->task_mask), sound;
	u32 i;

	if (!view)
		return VAMP_CLASS_NEUTRAL;
	for (i = 0; i < ARRAY_SIZE(vamp->sound_task); i++) {
		sound = READ_ONCE(vamp->sound_task[i]);
		if (sound && !((sound ^ task) & mask))
			return VAMP_CLASS_INTERACTIVE;
	}
	for (i = 0; i < view->nr; i++)
		if ((view->task[i] & mask) == (task & mask))
			return VAMP_CLASS_BACKGROUND;
	return VAMP_CLASS_INTERACTIVE;
}

static void forget(struct kvm_vamp_vcpu *v)
{
	put_pid(v->pid);
	v->pid = NULL;
}

/* Under apply_lock and RCU. */
static void set_nice(struct kvm_vamp_vcpu *v, bool background)
{
	struct pid *pid = rcu_dereference(v->vcpu->pid);
	struct task_struct *thread;
	int nice;

	/* A vCPU may come back in another thread; the old one is put back. */
	if (v->pid && v->pid != pid) {
		thread = pid_task(v->pid, PIDTYPE_PID);
		if (thread && task_nice(thread) == v->our_nice)
			set_user_nice(thread, v->found_nice);
		forget(v);
	}
	thread = pid_task(pid, PIDTYPE_PID);
	if (!thread)
		return;
	if (!v->pid) {
		if (!background)
			return;
		v->pid = get_pid(pid);
		v->found_nice = task_nice(thread);
		v->foreign = false;
	} else if (task_nice(thread) != v->our_nice) {
		/* Somebody else's choice stays. */
		v->foreign = true;
		forget(v);
		return;
	}
	nice = v->found_nice;
	if (background)
		nice += vamp_ratio_to_nice_step(v->vamp->cfg.ratio, nice);
	if (task_nice(thread) != nice) {
		set_user_nice(thread, nice);
		v->weight_changes++;
		trace_kvm_vamp_weight(v->vcpu->vcpu_id, v->vclass, nice);
	}
	v->our_nice = nice;
	if (!background)
		forget(v);
}

void kvm_vamp_apply(struct kvm_vamp_vcpu *v)
{
	struct kvm_vamp *vamp = v->vamp;
	struct eventfd_ctx *notify;
	enum vamp_class vclass;

	spin_lock(&v->apply_lock);
	rcu_read_lock();
	vclass = class_of(vamp, READ_ONCE(v->task));
	if (vclass == VAMP_CLASS_BACKGROUND && READ_ONCE(v->boosted))
		vclass = VAMP_CLASS_INTERACTIVE;
	notify = READ_ONCE(vamp->notify);
	if (notify && vclass != v->vclass)
		eventfd_signal(notify);
	WRITE_ONCE(v->vclass, vclass);
	if ((READ_ONCE(vamp->cfg.flags) & KVM_VAMP_F_WEIGHTS) &&
	    !v->foreign)
		set_nice(v, vclass == VAMP_CLASS_BACKGROUND);
	rcu_read_unlock();
	spin_unlock(&v->apply_lock);
}

void kvm_vamp_restore(struct kvm_vamp_vcpu *v)
{
	spin_lock(&v->apply_lock);
	rcu_read_lock();
	WRITE_ONCE(v->vclass, VAMP_CLASS_NEUTRAL);
	WRITE_ONCE(v->boosted, false);
	if (v->pid)
		set_nice(v, false);
	v->foreign = false;
	rcu_read_unlock();
	spin_unlock(&v->apply_lock);
}

/* --- plans --------------------------------------------------------------- */

static void publish(struct kvm_vamp *vamp, struct kvm_vamp_view *view)
{
	struct kvm_vamp_view *old;
	struct kvm_vamp_vcpu *v;
	struct kvm_vcpu *vcpu;
	unsigned long i;
	bool exact;

	if (view)
		kvm_vamp_sound_planned(vamp, view->task, view->nr);
	exact = vamp->on && ((vamp->cfg.flags & KVM_VAMP_F_EXACT) || view);
	kvm_vamp_pv_plan(vamp, view);
	old = rcu_replace_pointer(vamp->view, view,
				  lockdep_is_held(&vamp->lock));
	if (old)
		kfree_rcu(old, rcu);
	if (exact != vamp->exact_wanted) {
		WRITE_ONCE(vamp->kpti_pair, 0);
		WRITE_ONCE(vamp->exact_wanted, exact);
		kvm_make_all_cpus_request(vamp->kvm, KVM_REQ_VAMP);
	}
	kvm_for_each_vcpu(i, vcpu, vamp->kvm) {
		v = kvm_vamp_get(vcpu);
		if (!v)
			continue;
		/* A new plan is a new chance for a thread that was changed. */
		if (!view)
			v->foreign = false;
		kvm_vamp_apply(v);
	}
}

static struct kvm_vamp_view *view_new(void)
{
	if (unlikely(READ_ONCE(fail_plans))) {
		fail_plans--;
		return NULL;
	}
	return kzalloc(sizeof(struct kvm_vamp_view), GFP_KERNEL_ACCOUNT);
}

/* A view of the policy's plan; NULL in a phase without background work. */
static int view_of(struct kvm_vamp *vamp, struct kvm_vamp_view **view)
{
	const struct vamp_policy *p = vamp->policy;
	u32 i;

	*view = NULL;
	if (p->phase != VAMP_PHASE_MIXED)
		return 0;
	*view = view_new();
	if (!*view)
		return -ENOMEM;
	(*view)->nr = min_t(u32, p->nr_background, KVM_VAMP_MAX_TASKS);
	for (i = 0; i < (*view)->nr; i++)
		(*view)->task[i] = p->background[i].task;
	return 0;
}

static void arm_timer(struct kvm_vamp *vamp, u64 until)
{
	u64 now = kvm_vamp_now();

	if (until == U64_MAX)
		cancel_delayed_work(&vamp->expire);
	else
		mod_delayed_work(system_wq, &vamp->expire,
				 nsecs_to_jiffies(until > now ? until - now :
						  0) + 1);
}

void kvm_vamp_publish_locked(struct kvm_vamp *vamp)
{
	const struct vamp_policy *p = vamp->policy;
	struct kvm_vamp_view *view;
	u32 i;

	if (view_of(vamp, &view) < 0) {
		kvm_vamp_fault(vamp, "no memory for a plan");
		return;
	}
	vamp->planned = false;
	trace_kvm_vamp_phase(vamp->kvm->userspace_pid, p->phase, p->cause,
			     p->reason, p->vm_permille, p->nr_background);
	for (i = 0; i < p->nr_background; i++)
		trace_kvm_vamp_load(vamp->kvm->userspace_pid,
				    p->background[i].task,
				    p->background[i].permille);
	publish(vamp, view);
	arm_timer(vamp, p->until_ns);
}

/* Loads, and what was seen at halts, from the vCPUs to the policy. */
static void gather(struct kvm_vamp *vamp, u64 now)
{
	struct vamp_policy *p = vamp->policy;
	struct kvm_vamp_vcpu *v;
	struct kvm_vcpu *vcpu;
	unsigned long flags, i;
	u32 id, n;

	for (id = 0; id < vamp->cfg.nr_vcpus; id++)
		vamp->table[id] = NULL;
	kvm_for_each_vcpu(i, vcpu, vamp->kvm) {
		u64 halt_task;
		bool varies;

		v = kvm_vamp_get(vcpu);
		if (!v)
			continue;
		id = vcpu->vcpu_id;
		if (id >= vamp->cfg.nr_vcpus)
			continue;
		if (!p->vcpu[id].present)
			vamp_policy_vcpu_add(p, id);
		kvm_vamp_track_copy(v, now, &v->copy);
		vamp->table[id] = &v->copy;
		raw_spin_lock_irqsave(&v->lock, flags);
		p->vcpu[id].run = v->run;
		p->vcpu[id].wait = v->wait;
		halt_task = v->halt_task;
		varies = v->halt_varies;
		v->halt_varies = false;
		raw_spin_unlock_irqrestore(&v->lock, flags);
		if (halt_task == VAMP_TASK_UNKNOWN)
			continue;
		/* One other task at a halt refutes a system task. */
		if (varies)
			vamp_policy_halted(p, id, ~halt_task);
		/* It has halted often; how often is enough for one vCPU? */
		for (n = 0; n < VAMP_SINGLE_VCPU_HALTS && n < v->halts; n++)
			vamp_policy_halted(p, id, halt_task);
	}
}

static void begin(struct kvm_vamp *vamp, u64 now, enum vamp_cause cause)
{
	kvm_vamp_sound_refresh(vamp);
	gather(vamp, now);
	vamp_policy_begin(vamp->policy, now, cause, vamp->table);
	kvm_vamp_publish_locked(vamp);
}

void kvm_vamp_event_locked(struct kvm_vamp *vamp, u32 kind, u64 arg)
{
	struct vamp_policy *p = vamp->policy;
	u32 background = p->nr_background;
	u64 now = kvm_vamp_now();

	switch (kind) {
	case KVM_VAMP_EVENT_INPUT:
		if (vamp_policy_input(p, now))
			begin(vamp, now, VAMP_CAUSE_INPUT);
		break;
	case KVM_VAMP_EVENT_SOUND_ON:
	case KVM_VAMP_EVENT_SOUND_OFF:
		if (vamp_policy_sound(p, kind == KVM_VAMP_EVENT_SOUND_ON))
			begin(vamp, now, VAMP_CAUSE_SOUND);
		break;
	case KVM_VAMP_EVENT_END:
		vamp_policy_reset(p, now);
		kvm_vamp_publish_locked(vamp);
		break;
	case KVM_VAMP_EVENT_AUDIO_TASK:
		vamp_policy_set_audio_task(p, arg);
		if (background != p->nr_background)
			kvm_vamp_publish_locked(vamp);
		break;
	}
}

int kvm_vamp_plan_locked(struct kvm_vamp *vamp,
			 const struct kvm_vamp_plan *plan)
{
	struct kvm_vamp_view *view = NULL;
	u64 now = kvm_vamp_now();
	u32 i;

	if (plan->phase == KVM_VAMP_PHASE_MIXED) {
		view = view_new();
		if (!view)
			return -ENOMEM;
		view->nr = plan->nr_tasks;
		for (i = 0; i < view->nr; i++)
			view->task[i] = plan->task[i];
	}
	vamp_policy_reset(vamp->policy, now);
	vamp->planned = plan->phase != KVM_VAMP_PHASE_NORMAL;
	vamp->plan_until_ns = vamp->planned ?
			      min(plan->until_ns, now + PLAN_MAX_NS) : U64_MAX;
	trace_kvm_vamp_plan(vamp->kvm->userspace_pid, plan->phase,
			    plan->nr_tasks);
	publish(vamp, view);
	arm_timer(vamp, vamp->plan_until_ns);
	return 0;
}

void kvm_vamp_expire_work(struct work_struct *work)
{
	struct kvm_vamp *vamp = container_of(to_delayed_work(work),
					     struct kvm_vamp, expire);
	struct vamp_policy *p = vamp->policy;
	u64 now, until;

	mutex_lock(&vamp->lock);
	now = kvm_vamp_now();
	until = vamp->planned ? vamp->plan_until_ns : p->until_ns;
	if (!vamp->on || until == U64_MAX) {
		/* Nothing runs: the work was on its way when that ended. */
	} else if (now < until) {
		arm_timer(vamp, until);
	} else if (vamp->planned) {
		vamp->planned = false;
		publish(vamp, NULL);
	} else if (vamp_policy_expire(p, now)) {
		kvm_vamp_publish_locked(vamp);
	} else {
		begin(vamp, now, VAMP_CAUSE_SOUND);
	}
	mutex_unlock(&vamp->lock);
}

/* --- faults -------------------------------------------------------------- */

void kvm_vamp_fault(struct kvm_vamp *vamp, const char *reason)
{
	if (!cmpxchg(&vamp->fault_reason, NULL, reason))
		schedule_work(&vamp->fault_work);
}

void kvm_vamp_fault_work(struct work_struct *work)
{
	struct kvm_vamp *vamp = container_of(work, struct kvm_vamp, fault_work);

	mutex_lock(&vamp->lock);
	strscpy(vamp->fault, vamp->fault_reason, sizeof(vamp->fault));
	vamp->faults++;
	trace_kvm_vamp_fault(vamp->kvm->userspace_pid, vamp->fault);
	kvm_vamp_disable_locked(vamp);
	WRITE_ONCE(vamp->fault_reason, NULL);
	mutex_unlock(&vamp->lock);
}
