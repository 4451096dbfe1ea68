// SPDX-License-Identifier: GPL-2.0
/*
 * What the guest itself says of its tasks: names and process ids
 *
 * Offered by CPUID leaves of our own, made here and not in user space's table,
 * so that they come and go with the policy. A vCPU tells by an MSR where it
 * keeps the record of what it runs (linux/kvm_vamp_pv.h). The record is read
 * when a task is found on that vCPU anyway, by a sample or by a switch, and is
 * believed if it speaks of the address space that was found: then the name is
 * kept for as long as there is room. Nothing depends on it.
 *
 * In return the guest may ask which tasks the plan in force holds to be in the
 * background. It asks by MSRs: no memory of the guest's is ever written, so
 * that a record which a crashed kernel has left behind does no harm.
 *
 * Copyright (c) 2026 The VAMP authors
 */

#include <linux/random.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "x86.h"
#include "vamp.h"

/* One VM's names. From the first offer until the VM is gone. */
struct kvm_vamp_pv {
	u64 plan;		/* number of the plan; under kvm_vamp.lock */
	atomic64_t refused;
	atomic64_t torn;
	atomic64_t lost;

	spinlock_t lock;	/* of what follows; innermost */
	u32 generation;		/* 0: not offered; READ_ONCE for vCPUs */
	u32 nr;
	struct kvm_vamp_name name[KVM_VAMP_MAX_NAMES];
};

/* The VM's, if the interface is offered to this vCPU; else NULL. vCPU. */
static struct kvm_vamp_pv *offered(struct kvm_vcpu *vcpu)
{
	struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);
	/* With the store in pv_set() */
	struct kvm_vamp_pv *pv = v ? smp_load_acquire(&v->vamp->pv) : NULL;

	return pv && READ_ONCE(pv->generation) ? pv : NULL;
}

/* Has the vCPU said where its record is, since that was forgotten last? */
static bool registered(const struct kvm_vamp_pv *pv,
		       const struct kvm_vamp_vcpu *v)
{
	u32 generation = READ_ONCE(pv->generation);

	return generation && READ_ONCE(v->pv_generation) == generation;
}

static u32 count_registered(const struct kvm_vamp *vamp)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;
	u32 n = 0;

	kvm_for_each_vcpu(i, vcpu, vamp->kvm) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		n += v && registered(vamp->pv, v);
	}
	return n;
}

/* --- names ---------------------------------------------------------------- */

/* Where @task is or may be put: the one seen longest ago goes. Under lock. */
static struct kvm_vamp_name *name_place(struct kvm_vamp_pv *pv, u64 task)
{
	struct kvm_vamp_name *oldest = &pv->name[0];
	u32 i;

	for (i = 0; i < pv->nr; i++) {
		if (pv->name[i].task == task)
			return &pv->name[i];
		if (pv->name[i].seen_ns < oldest->seen_ns)
			oldest = &pv->name[i];
	}
	return pv->nr < KVM_VAMP_MAX_NAMES ? &pv->name[pv->nr++] : oldest;
}

/* vCPU */
static void note(struct kvm_vamp_pv *pv, u32 generation, u64 task,
		 const struct kvm_vamp_pv_task *claim)
{
	struct kvm_vamp_name *name;
	int i;

	BUILD_BUG_ON(KVM_VAMP_NAME_LEN != KVM_VAMP_PV_NAME_LEN);
	spin_lock(&pv->lock);
	if (pv->generation == generation) {
		name = name_place(pv, task);
		name->task = task;
		name->seen_ns = kvm_vamp_now();
		name->pid = claim->pid;
		memset(name->name, 0, sizeof(name->name));
		for (i = 0; i < KVM_VAMP_NAME_LEN - 1 && claim->name[i]; i++) {
			u8 c = claim->name[i];

			/* It goes to terminals and to logs. */
			name->name[i] = c >= ' ' && c <= '~' ? c : '?';
		}
	}
	spin_unlock(&pv->lock);
}

void kvm_vamp_pv_read(struct kvm_vamp_vcpu *v)
{
	struct kvm_vamp_pv *pv = offered(v->vcpu);
	u32 generation = v->pv_generation;
	struct kvm_vamp_pv_task claim;
	u64 task = v->task;

	if (!pv || !registered(pv, v)) {
		kvm_vamp_pv_forget(v);
		return;
	}
	if (kvm_read_guest_cached(v->vcpu->kvm, &v->pv_at, &claim,
				  sizeof(claim))) {
		/* It was memory when it was registered. */
		atomic64_inc(&pv->lost);
		kvm_vamp_pv_forget(v);
		return;
	}
	if (claim.seq & 1) {
		atomic64_inc(&pv->torn);
		return;
	}
	/* Of a kernel thread, or older than what was found: not of this task. */
	if (task == VAMP_TASK_UNKNOWN || !claim.aspace ||
	    (claim.aspace & READ_ONCE(v->vamp->task_mask)) != task)
		return;
	note(pv, generation, task, &claim);
	v->pv_noted = task;
}

/* --- CPUID and MSRs -------------------------------------------------------- */

bool kvm_vamp_pv_cpuid(struct kvm_vcpu *vcpu, u32 *eax, u32 *ebx, u32 *ecx,
		       u32 *edx)
{
	static const char signature[] = KVM_VAMP_PV_SIGNATURE;
	struct kvm_vamp_pv *pv = offered(vcpu);
	u32 generation;

	if (!pv)
		return false;
	switch (*eax) {
	case KVM_CPUID_VAMP_SIGNATURE:
		*eax = KVM_CPUID_VAMP_FEATURES;
		memcpy(ebx, signature, 4);
		memcpy(ecx, signature + 4, 4);
		memcpy(edx, signature + 8, 4);
		return true;
	case KVM_CPUID_VAMP_FEATURES:
		generation = READ_ONCE(pv->generation);
		*eax = generation ? KVM_VAMP_PV_F_TASK | KVM_VAMP_PV_F_SLOW : 0;
		*ebx = generation;
		*ecx = 0;
		*edx = 0;
		return true;
	default:
		return false;
	}
}

void kvm_vamp_pv_forget(struct kvm_vamp_vcpu *v)
{
	/* With the store in pv_set() */
	struct kvm_vamp_pv *pv = smp_load_acquire(&v->vamp->pv);

	if (!v->pv_generation)
		return;
	WRITE_ONCE(v->pv_generation, 0);
	if (!pv || count_registered(v->vamp))
		return;
	/* Nobody in the guest vouches for the names any more. */
	spin_lock(&pv->lock);
	pv->nr = 0;
	spin_unlock(&pv->lock);
}

static bool set_task(struct kvm_vamp_vcpu *v, struct kvm_vamp_pv *pv, u64 data)
{
	u64 at = data & ~KVM_VAMP_PV_ENABLE;
	struct gfn_to_hva_cache cache;

	if (!data) {
		kvm_vamp_pv_forget(v);
		return true;
	}
	/* A value that is refused leaves the one before in force. */
	if (!(data & KVM_VAMP_PV_ENABLE) ||
	    !IS_ALIGNED(at, sizeof(struct kvm_vamp_pv_task)) ||
	    kvm_gfn_to_hva_cache_init(v->vcpu->kvm, &cache, at,
				      sizeof(struct kvm_vamp_pv_task)))
		return false;
	v->pv_at = cache;
	v->pv_data = data;
	v->pv_noted = VAMP_TASK_UNKNOWN;
	WRITE_ONCE(v->pv_generation, READ_ONCE(pv->generation));
	return true;
}

int kvm_vamp_pv_set_msr(struct kvm_vcpu *vcpu, const struct msr_data *msr)
{
	struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);
	struct kvm_vamp_pv *pv = offered(vcpu);

	if (!pv)
		return KVM_MSR_RET_UNSUPPORTED;
	if (msr->index == MSR_KVM_VAMP_TASK && set_task(v, pv, msr->data))
		return 0;
	atomic64_inc(&pv->refused);
	return 1;
}

/* Entry @i of the background of the plan in force, as SLOW has it. */
static u64 slow_entry(struct kvm_vamp *vamp, u32 i)
{
	const struct kvm_vamp_view *view;
	u64 entry = 0;

	rcu_read_lock();
	view = rcu_dereference(vamp->view);
	if (view && i < view->nr)
		entry = (view->task[i] & ~KVM_VAMP_PV_LOAD_MASK) |
			view->permille[i];
	rcu_read_unlock();
	return entry;
}

int kvm_vamp_pv_get_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);
	struct kvm_vamp_pv *pv = offered(vcpu);

	if (!pv)
		return KVM_MSR_RET_UNSUPPORTED;
	switch (msr->index) {
	case MSR_KVM_VAMP_TASK:
		msr->data = registered(pv, v) ? v->pv_data : 0;
		return 0;
	case MSR_KVM_VAMP_PLAN:
		msr->data = READ_ONCE(pv->plan);
		return 0;
	case MSR_KVM_VAMP_SLOW ... MSR_KVM_VAMP_SLOW_LAST:
		msr->data = slow_entry(v->vamp,
				       msr->index - MSR_KVM_VAMP_SLOW);
		return 0;
	default:
		atomic64_inc(&pv->refused);
		return 1;
	}
}

/* --- plans ----------------------------------------------------------------- */

/* Load of @task on all vCPUs by now, per mille of one. Caller; copies made. */
static u16 load_of(struct kvm_vamp *vamp, u64 task, u64 now)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;
	u32 sum = 0, k;

	kvm_for_each_vcpu(i, vcpu, vamp->kvm) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		if (!v || !v->on)
			continue;
		for (k = 0; k < v->copy.used; k++)
			if (v->copy.slot[k].task == task)
				sum += vamp_ring_permille(&v->copy.slot[k].run,
							  v->copy.period_ns,
							  now);
	}
	return min_t(u32, sum, KVM_VAMP_PV_LOAD_MASK);
}

void kvm_vamp_pv_plan(struct kvm_vamp *vamp, struct kvm_vamp_view *view)
{
	struct kvm_vamp_pv *pv = vamp->pv;
	u64 now = kvm_vamp_now();
	struct kvm_vcpu *vcpu;
	unsigned long i;
	u32 k;

	BUILD_BUG_ON(MSR_KVM_VAMP_SLOW_LAST - MSR_KVM_VAMP_SLOW + 1 !=
		     KVM_VAMP_MAX_TASKS);
	if (!pv)
		return;
	WRITE_ONCE(pv->plan, pv->plan + 1);
	if (!view)
		return;
	kvm_for_each_vcpu(i, vcpu, vamp->kvm) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		if (v && v->on)
			kvm_vamp_track_copy(v, now, &v->copy);
	}
	for (k = 0; k < view->nr; k++)
		view->permille[k] = load_of(vamp, view->task[k], now);
}

/* --- ioctls ---------------------------------------------------------------- */

static long pv_set(struct kvm_vamp *vamp, const void __user *argp)
{
	struct kvm_vamp_pv *pv = vamp->pv;
	struct kvm_vamp_pv_config cfg;
	u32 generation = 0;

	if (copy_from_user(&cfg, argp, sizeof(cfg)))
		return -EFAULT;
	if ((cfg.flags & ~KVM_VAMP_PV_OFFER) ||
	    memchr_inv(cfg.reserved, 0, sizeof(cfg.reserved)))
		return -EINVAL;
	if (!pv && !(cfg.flags & KVM_VAMP_PV_OFFER))
		return 0;
	if (!pv) {
		pv = kvzalloc(sizeof(*pv), GFP_KERNEL_ACCOUNT);
		if (!pv)
			return -ENOMEM;
		spin_lock_init(&pv->lock);
		pv->plan = 1;
		/* vCPUs may look now: with the loads above */
		smp_store_release(&vamp->pv, pv);
	}
	while ((cfg.flags & KVM_VAMP_PV_OFFER) &&
	       (!generation || generation == pv->generation))
		generation = get_random_u32();
	spin_lock(&pv->lock);
	WRITE_ONCE(pv->generation, generation);
	pv->nr = 0;
	spin_unlock(&pv->lock);
	return 0;
}

static long pv_names(struct kvm_vamp *vamp, void __user *argp)
{
	struct kvm_vamp_pv *pv = vamp->pv;
	struct kvm_vamp_names *s;
	long ret;

	s = kvzalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	if (pv) {
		s->vcpus = count_registered(vamp);
		s->refused = atomic64_read(&pv->refused);
		s->torn = atomic64_read(&pv->torn);
		s->lost = atomic64_read(&pv->lost);
		spin_lock(&pv->lock);
		s->generation = pv->generation;
		s->flags = pv->generation ? KVM_VAMP_PV_OFFER : 0;
		s->nr = pv->nr;
		memcpy(s->name, pv->name, s->nr * sizeof(s->name[0]));
		spin_unlock(&pv->lock);
	}
	ret = copy_to_user(argp, s, sizeof(*s)) ? -EFAULT : 0;
	kvfree(s);
	return ret;
}

long kvm_vamp_pv_ioctl(struct kvm_vamp *vamp, unsigned int ioctl,
		       void __user *argp)
{
	return ioctl == KVM_VAMP_PV ? pv_set(vamp, argp) : pv_names(vamp, argp);
}
