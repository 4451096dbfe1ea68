// SPDX-License-Identifier: GPL-2.0
/*
 * Task-aware vCPUs: the life of a VM's policy, and its ioctls
 *
 * Copyright (c) 2026 The VAMP authors
 */

#include <linux/eventfd.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "vamp.h"

#define CREATE_TRACE_POINTS
#include "vamp_trace.h"

struct kvm_vamp_vendor kvm_vamp_vendor;
EXPORT_SYMBOL_GPL(kvm_vamp_vendor);
DEFINE_STATIC_KEY_FALSE(kvm_vamp_used);
EXPORT_SYMBOL_GPL(kvm_vamp_used);

unsigned int kvm_vamp_pretend;
module_param_named(vamp_pretend, kvm_vamp_pretend, uint, 0600);
MODULE_PARM_DESC(vamp_pretend,
	"for tests: take guests' registers for encrypted (1), IPIs for hidden (2), devices' interrupts for posted (4) (default 0)");

/* All VMs in which VAMP has been on. */
static LIST_HEAD(vamps);
static DEFINE_MUTEX(vamps_lock);	/* outside of kvm_vamp.lock */

void kvm_vamp_register(const struct kvm_vamp_vendor *vendor)
{
	kvm_vamp_vendor = *vendor;
}
EXPORT_SYMBOL_GPL(kvm_vamp_register);

/* NULL: VAMP has never been on in it. Under vamps_lock. */
static struct kvm_vamp *vamp_find(const struct kvm *kvm)
{
	struct kvm_vamp *vamp;

	list_for_each_entry(vamp, &vamps, node)
		if (vamp->kvm == kvm)
			return vamp;
	return NULL;
}

static struct kvm_vamp *vamp_new(struct kvm *kvm)
{
	struct kvm_vamp *vamp = kzalloc(sizeof(*vamp), GFP_KERNEL_ACCOUNT);

	if (!vamp)
		return NULL;
	vamp->kvm = kvm;
	vamp->task_mask = VAMP_CR3_TASK_MASK;
	mutex_init(&vamp->lock);
	INIT_DELAYED_WORK(&vamp->expire, kvm_vamp_expire_work);
	INIT_WORK(&vamp->fault_work, kvm_vamp_fault_work);
	INIT_WORK(&vamp->sound_work, kvm_vamp_sound_work);
	list_add(&vamp->node, &vamps);
	static_branch_inc(&kvm_vamp_used);
	return vamp;
}

/* --- vCPUs ---------------------------------------------------------------- */

/* Gives the vCPU what its account needs. Under vamps_lock. */
static int vcpu_prepare(struct kvm_vamp *vamp, struct kvm_vcpu *vcpu)
{
	struct kvm_vamp_vcpu *v;

	if (kvm_vamp_get(vcpu))
		return 0;
	v = kvzalloc(sizeof(*v), GFP_KERNEL_ACCOUNT);
	if (!v)
		return -ENOMEM;
	v->vcpu = vcpu;
	v->vamp = vamp;
	raw_spin_lock_init(&v->lock);
	spin_lock_init(&v->apply_lock);
	/* From now on hooks have it: with the load in kvm_vamp_get() */
	smp_store_release(kvm_vamp_slot(vcpu), v);
	return 0;
}

/* Turns the account of a vCPU that is prepared on. Caller. */
static void vcpu_serve(struct kvm_vamp *vamp, struct kvm_vcpu *vcpu, bool anew)
{
	struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

	if (vcpu->vcpu_id >= vamp->cfg.nr_vcpus)
		return;
	if (anew)
		kvm_vamp_track_reset(v, vamp->policy->period_ns);
	WRITE_ONCE(v->on, true);
	kvm_make_request(KVM_REQ_VAMP, vcpu);
}

void kvm_vamp_vcpu_create(struct kvm_vcpu *vcpu)
{
	struct kvm_vamp *vamp;

	if (!static_branch_unlikely(&kvm_vamp_used))
		return;
	mutex_lock(&vamps_lock);
	vamp = vamp_find(vcpu->kvm);
	if (vamp) {
		mutex_lock(&vamp->lock);
		if (!vamp->on)
			; /* prepared when it is turned on */
		else if (vcpu_prepare(vamp, vcpu) < 0)
			kvm_vamp_fault(vamp, "no memory for a vCPU");
		else
			vcpu_serve(vamp, vcpu, true);
		mutex_unlock(&vamp->lock);
	}
	mutex_unlock(&vamps_lock);
}

void kvm_vamp_vcpu_destroy(struct kvm_vcpu *vcpu)
{
	struct kvm_vamp_vcpu *v = *kvm_vamp_slot(vcpu);

	/* Its VM's went before: nobody else has it. */
	if (!v)
		return;
	/* Of a thread that is gone, or it would have been put back. */
	put_pid(v->pid);
	kvfree(v);
	*kvm_vamp_slot(vcpu) = NULL;
}

/* --- VMs ------------------------------------------------------------------ */

void kvm_vamp_disable_locked(struct kvm_vamp *vamp)
{
	struct eventfd_ctx *notify = vamp->notify;
	struct kvm_vcpu *vcpu;
	unsigned long i;

	if (!vamp->on)
		return;
	vamp->on = false;
	WRITE_ONCE(vamp->notify, NULL);
	vamp->cfg.flags &= ~KVM_VAMP_F_ENABLE;
	vamp_policy_reset(vamp->policy, kvm_vamp_now());
	/* Everybody neutral, nothing intercepted, no timer */
	kvm_vamp_publish_locked(vamp);
	kvm_for_each_vcpu(i, vcpu, vamp->kvm) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		if (v) {
			WRITE_ONCE(v->on, false);
			kvm_vamp_restore(v);
		}
	}
	/* Each vCPU's lock has been taken since: nobody signals any more. */
	if (notify)
		eventfd_ctx_put(notify);
}

/* Caller. */
static void vamp_off(struct kvm_vamp *vamp)
{
	kvm_vamp_sound_off(vamp);
	kvm_vamp_disable_locked(vamp);
}

void kvm_vamp_vm_destroy(struct kvm *kvm)
{
	struct kvm_vamp *vamp;

	mutex_lock(&vamps_lock);
	vamp = vamp_find(kvm);
	if (vamp)
		list_del(&vamp->node);
	mutex_unlock(&vamps_lock);
	if (!vamp)
		return;
	mutex_lock(&vamp->lock);
	vamp_off(vamp);
	mutex_unlock(&vamp->lock);
	cancel_work_sync(&vamp->sound_work);
	cancel_work_sync(&vamp->fault_work);
	cancel_delayed_work_sync(&vamp->expire);
	kvfree(vamp->policy);
	kvfree(vamp->table);
	kvfree(vamp->pv);
	kfree(vamp);
	static_branch_dec(&kvm_vamp_used);
}

/* --- KVM_VAMP_SET --------------------------------------------------------- */

static void policy_config(const struct kvm_vamp_config *cfg,
			  struct vamp_config *out)
{
	out->bg_percent = cfg->bg_percent;
	out->max_phase_ms = cfg->max_phase_ms;
	out->period_ms = cfg->period_ms;
}

static int config_check(const struct kvm_vamp_config *cfg)
{
	struct vamp_config policy;

	if (cfg->version > KVM_VAMP_VERSION)
		return -E2BIG;
	if (!cfg->version || (cfg->flags & ~KVM_VAMP_F_ALL) ||
	    memchr_inv(cfg->reserved, 0, sizeof(cfg->reserved)))
		return -EINVAL;
	/* Off needs no more. */
	if (!(cfg->flags & KVM_VAMP_F_ENABLE))
		return 0;
	policy_config(cfg, &policy);
	if (vamp_config_error(&policy) ||
	    !cfg->nr_vcpus || cfg->nr_vcpus > KVM_VAMP_MAX_VCPUS ||
	    cfg->ratio < VAMP_RATIO_MIN || cfg->ratio > VAMP_RATIO_MAX ||
	    cfg->boost > KVM_VAMP_BOOST_ALWAYS ||
	    (cfg->notify_fd && !(cfg->flags & KVM_VAMP_F_NOTIFY)))
		return -EINVAL;
	return 0;
}

static bool protected(struct kvm *kvm)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;

	kvm_for_each_vcpu(i, vcpu, kvm)
		if (kvm_vamp_protected(vcpu))
			return true;
	return kvm->arch.has_private_mem;
}

/* Takes over @notify when it succeeds; else nothing has changed. Caller. */
static int enable_locked(struct kvm_vamp *vamp,
			 const struct kvm_vamp_config *cfg,
			 struct eventfd_ctx *notify)
{
	bool anew = !vamp->on || cfg->nr_vcpus != vamp->cfg.nr_vcpus ||
		    cfg->period_ms != vamp->cfg.period_ms;
	const struct vamp_task_table **table = NULL;
	struct vamp_policy *policy = NULL;
	struct vamp_config config;
	struct kvm_vcpu *vcpu;
	unsigned long i;

	kvm_for_each_vcpu(i, vcpu, vamp->kvm)
		if (vcpu_prepare(vamp, vcpu) < 0)
			return -ENOMEM;
	if (anew) {
		policy = kvzalloc(vamp_policy_size(cfg->nr_vcpus),
				  GFP_KERNEL_ACCOUNT);
		table = kvcalloc(cfg->nr_vcpus, sizeof(*table),
				 GFP_KERNEL_ACCOUNT);
		if (!policy || !table) {
			kvfree(policy);
			kvfree(table);
			return -ENOMEM;
		}
	}

	/* What the new weights are must not be mixed with what the old were. */
	kvm_vamp_disable_locked(vamp);
	policy_config(cfg, &config);
	vamp->cfg = *cfg;
	if (anew) {
		kvm_vamp_sound_off(vamp);
		vamp_policy_init(policy, cfg->nr_vcpus, &config,
				 kvm_vamp_now());
		kvfree(vamp->policy);
		kvfree(vamp->table);
		vamp->policy = policy;
		vamp->table = table;
		WRITE_ONCE(vamp->kpti, false);
		WRITE_ONCE(vamp->task_mask, VAMP_CR3_TASK_MASK);
	} else {
		vamp_policy_configure(vamp->policy, &config);
	}
	if (cfg->flags & KVM_VAMP_F_KPTI)
		kvm_vamp_set_kpti(vamp);
	vamp->on = true;
	kvm_for_each_vcpu(i, vcpu, vamp->kvm)
		vcpu_serve(vamp, vcpu, anew);
	WRITE_ONCE(vamp->notify, notify);
	kvm_vamp_publish_locked(vamp);
	return 0;
}

static long vamp_set(struct kvm *kvm, const void __user *argp)
{
	struct eventfd_ctx *notify = NULL;
	struct kvm_vamp_config cfg;
	struct kvm_vamp *vamp;
	long ret;

	if (copy_from_user(&cfg, argp, sizeof(cfg)))
		return -EFAULT;
	ret = config_check(&cfg);
	if (ret)
		return ret;
	if ((cfg.flags & KVM_VAMP_F_ENABLE) && protected(kvm))
		return -EOPNOTSUPP;
	if ((cfg.flags & KVM_VAMP_F_ENABLE) &&
	    (cfg.flags & KVM_VAMP_F_NOTIFY)) {
		notify = eventfd_ctx_fdget(cfg.notify_fd);
		if (IS_ERR(notify))
			return PTR_ERR(notify);
	}

	mutex_lock(&vamps_lock);
	vamp = vamp_find(kvm);
	if (!vamp && (cfg.flags & KVM_VAMP_F_ENABLE)) {
		vamp = vamp_new(kvm);
		if (!vamp)
			ret = -ENOMEM;
	}
	if (vamp) {
		mutex_lock(&vamp->lock);
		if (cfg.flags & KVM_VAMP_F_ENABLE)
			ret = enable_locked(vamp, &cfg, notify);
		else
			vamp_off(vamp);
		mutex_unlock(&vamp->lock);
	}
	mutex_unlock(&vamps_lock);
	if (ret && notify)
		eventfd_ctx_put(notify);
	return ret;
}

/* --- events and plans ----------------------------------------------------- */

static long vamp_event(struct kvm_vamp *vamp, const void __user *argp)
{
	struct kvm_vamp_event event;

	if (copy_from_user(&event, argp, sizeof(event)))
		return -EFAULT;
	if (event.kind < KVM_VAMP_EVENT_INPUT ||
	    event.kind > KVM_VAMP_EVENT_AUDIO_TASK || event.reserved ||
	    (event.arg && event.kind != KVM_VAMP_EVENT_AUDIO_TASK))
		return -EINVAL;
	kvm_vamp_event_locked(vamp, event.kind, event.arg);
	return 0;
}

static long vamp_plan(struct kvm_vamp *vamp, const void __user *argp)
{
	struct kvm_vamp_plan *plan = memdup_user(argp, sizeof(*plan));
	long ret = -EINVAL;

	if (IS_ERR(plan))
		return PTR_ERR(plan);
	if (plan->phase <= KVM_VAMP_PHASE_MIXED &&
	    plan->nr_tasks <= KVM_VAMP_MAX_TASKS &&
	    (plan->phase == KVM_VAMP_PHASE_MIXED) == (plan->nr_tasks > 0) &&
	    !memchr_inv(plan->reserved, 0, sizeof(plan->reserved)))
		ret = kvm_vamp_plan_locked(vamp, plan);
	kfree(plan);
	return ret;
}

/* --- queries -------------------------------------------------------------- */

static u32 tracking(const struct kvm_vamp *vamp)
{
	if (!vamp->on)
		return vamp->faults ? KVM_VAMP_T_FAULT : KVM_VAMP_T_OFF;
	if (protected(vamp->kvm))
		return KVM_VAMP_T_PROTECTED;
	if (vamp->kpti)
		return KVM_VAMP_T_SAMPLE_KPTI;
	return vamp->exact_wanted ? KVM_VAMP_T_EXACT : KVM_VAMP_T_SAMPLE;
}

static void status_fill(struct kvm_vamp *vamp, struct kvm_vamp_status *s)
{
	const struct kvm_vamp_view *view =
		rcu_dereference_protected(vamp->view,
					  lockdep_is_held(&vamp->lock));
	const struct vamp_policy *p = vamp->policy;
	u32 i;

	s->flags = vamp->cfg.flags;
	s->tracking = tracking(vamp);
	s->faults = vamp->faults;
	strscpy(s->fault, vamp->fault, sizeof(s->fault));
	s->until_ns = U64_MAX;
	if (!p)
		return;
	s->phase = p->phase;
	s->cause = p->cause;
	s->reason = p->reason;
	s->vm_permille = p->vm_permille;
	s->since_ns = p->since_ns;
	s->until_ns = p->until_ns;
	s->events = p->count.events;
	s->phases = p->count.phases;
	s->phases_mixed = p->count.phases_mixed;
	s->audio_task = p->audio_task;
	s->nr_tasks = p->nr_background;
	for (i = 0; i < p->nr_background; i++) {
		s->task[i].task = p->background[i].task;
		s->task[i].permille = p->background[i].permille;
	}
	if (vamp->planned) {
		/* The loads are its maker's to know. */
		s->phase = view ? KVM_VAMP_PHASE_MIXED :
				  KVM_VAMP_PHASE_NON_MIXED;
		s->until_ns = vamp->plan_until_ns;
		s->nr_tasks = view ? view->nr : 0;
		for (i = 0; i < s->nr_tasks; i++)
			s->task[i].task = view->task[i];
	}
}

static long vamp_status(struct kvm_vamp *vamp, void __user *argp)
{
	struct kvm_vamp_status *s = kzalloc(sizeof(*s), GFP_KERNEL);
	long ret = 0;

	if (!s)
		return -ENOMEM;
	s->version = KVM_VAMP_VERSION;
	if (vamp)
		status_fill(vamp, s);
	else
		s->until_ns = U64_MAX;
	if (copy_to_user(argp, s, sizeof(*s)))
		ret = -EFAULT;
	kfree(s);
	return ret;
}

/* The served vCPU with KVM's @id, or NULL. Caller. */
static struct kvm_vamp_vcpu *vcpu_find(struct kvm_vamp *vamp, u32 id)
{
	struct kvm_vcpu *vcpu = id < vamp->cfg.nr_vcpus ?
				kvm_get_vcpu_by_id(vamp->kvm, id) : NULL;
	struct kvm_vamp_vcpu *v = vcpu ? kvm_vamp_get(vcpu) : NULL;

	return v && v->on ? v : NULL;
}

static long vamp_vcpu(struct kvm_vamp *vamp, void __user *argp)
{
	struct kvm_vamp_vcpu_status s;
	struct task_struct *thread;
	struct kvm_vamp_vcpu *v;

	if (copy_from_user(&s, argp, sizeof(s)))
		return -EFAULT;
	v = vcpu_find(vamp, s.vcpu);
	if (!v)
		return -ENOENT;
	s = (struct kvm_vamp_vcpu_status) {
		.vcpu = s.vcpu,
		.tracking = tracking(vamp),
		.vclass = READ_ONCE(v->vclass),
		.flags = (READ_ONCE(v->halted) ? KVM_VAMP_V_HALTED : 0) |
			 (READ_ONCE(v->boosted) ? KVM_VAMP_V_BOOSTED : 0) |
			 (v->foreign ? KVM_VAMP_V_FOREIGN : 0) |
			 (READ_ONCE(v->nested) ? KVM_VAMP_V_NESTED : 0),
		.task = READ_ONCE(v->task),
		.run_ns = READ_ONCE(v->run_ns),
		.wait_ns = READ_ONCE(v->wait_ns),
		.switches = READ_ONCE(v->switches),
		.samples = READ_ONCE(v->samples),
		.weight_changes = READ_ONCE(v->weight_changes),
		.boosts = READ_ONCE(v->boosts),
		.halts = READ_ONCE(v->halts),
		.toggles = READ_ONCE(v->toggles),
	};
	rcu_read_lock();
	thread = pid_task(rcu_dereference(v->vcpu->pid), PIDTYPE_PID);
	if (thread) {
		s.nice = task_nice(thread);
		s.tid = task_pid_vnr(thread);
	}
	rcu_read_unlock();
	return copy_to_user(argp, &s, sizeof(s)) ? -EFAULT : 0;
}

static long vamp_tasks(struct kvm_vamp *vamp, void __user *argp)
{
	struct kvm_vamp_tasks *s;
	struct kvm_vamp_vcpu *v;
	long ret = -ENOENT;
	u32 i;

	s = memdup_user(argp, sizeof(*s));
	if (IS_ERR(s))
		return PTR_ERR(s);
	v = vcpu_find(vamp, s->vcpu);
	if (!v)
		goto out;
	s->now_ns = kvm_vamp_now();
	kvm_vamp_track_copy(v, s->now_ns, &v->copy);
	memset(s->reserved, 0, sizeof(s->reserved));
	memset(s->load, 0, sizeof(s->load));
	s->nr = v->copy.used;
	s->period_ns = v->copy.period_ns;
	s->evictions = v->copy.evictions;
	s->halt_task = v->halt_varies ? 0 : v->halt_task;
	for (i = 0; i < v->copy.used; i++) {
		const struct vamp_task_slot *slot = &v->copy.slot[i];

		s->load[i].task = slot->task;
		s->load[i].last_ns = slot->last_ns;
		s->load[i].epoch = slot->run.epoch;
		memcpy(s->load[i].ns, slot->run.ns, sizeof(s->load[i].ns));
	}
	ret = copy_to_user(argp, s, sizeof(*s)) ? -EFAULT : 0;
out:
	kfree(s);
	return ret;
}

long kvm_vamp_vm_ioctl(struct kvm *kvm, unsigned int ioctl, void __user *argp)
{
	struct kvm_vamp *vamp;
	long ret;

	BUILD_BUG_ON(KVM_VAMP_MAX_TASKS != VAMP_TASKS_PER_VCPU);
	BUILD_BUG_ON(KVM_VAMP_MAX_TASKS != VAMP_PLAN_TASKS);
	BUILD_BUG_ON(KVM_VAMP_EPOCHS != VAMP_EPOCHS);

	switch (ioctl) {
	case KVM_VAMP_SET:
		return vamp_set(kvm, argp);
	case KVM_VAMP_EVENT:
	case KVM_VAMP_PLAN:
	case KVM_VAMP_STATUS:
	case KVM_VAMP_VCPU:
	case KVM_VAMP_TASKS:
	case KVM_VAMP_PV:
	case KVM_VAMP_NAMES:
	case KVM_VAMP_SOUND:
	case KVM_VAMP_SOUND_STATUS:
		break;
	default:
		return -ENOIOCTLCMD;
	}

	mutex_lock(&vamps_lock);
	vamp = vamp_find(kvm);
	if (vamp)
		mutex_lock(&vamp->lock);
	/* It goes with the VM, and we have that VM's descriptor. */
	mutex_unlock(&vamps_lock);
	if (ioctl == KVM_VAMP_STATUS)
		ret = vamp_status(vamp, argp);
	else if (vamp && (ioctl == KVM_VAMP_PV || ioctl == KVM_VAMP_NAMES))
		ret = kvm_vamp_pv_ioctl(vamp, ioctl, argp);
	else if (!vamp || !vamp->on)
		ret = -ENXIO;
	else if (ioctl == KVM_VAMP_EVENT)
		ret = vamp_event(vamp, argp);
	else if (ioctl == KVM_VAMP_PLAN)
		ret = vamp_plan(vamp, argp);
	else if (ioctl == KVM_VAMP_VCPU)
		ret = vamp_vcpu(vamp, argp);
	else if (ioctl == KVM_VAMP_SOUND)
		ret = kvm_vamp_sound_set(vamp, argp);
	else if (ioctl == KVM_VAMP_SOUND_STATUS)
		ret = kvm_vamp_sound_status(vamp, argp);
	else
		ret = vamp_tasks(vamp, argp);
	if (vamp)
		mutex_unlock(&vamp->lock);
	return ret;
}

MODULE_VERSION(KVM_VAMP_MODULE_VERSION);
