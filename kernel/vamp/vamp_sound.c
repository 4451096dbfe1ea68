// SPDX-License-Identifier: GPL-2.0
/*
 * Which guest task plays: sound devices, their interrupts, and remote wake-ups
 *
 * The hooks tell core/wakeup.c what happens around the devices that user space
 * has named; it knows what that means. Whom an IPI wakes is told by the next
 * load of CR3, so those of the vCPU that gets one exit until it comes, or until
 * the window is over. Nothing of that happens while the devices are silent.
 *
 * An interrupt may be delivered in any context, so the account has a raw lock,
 * inside of all others but kvm_vamp_vcpu.lock, which is never taken under it. A
 * change of who plays is made true by a work.
 *
 * Copyright (c) 2026 The VAMP authors
 */

#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/irq_remapping.h>
#include <asm/msi.h>
#include "ioapic.h"
#include "irq.h"
#include "lapic.h"
#include "smm.h"
#include "x86.h"
#include "core/wakeup.h"
#include "vamp.h"
#include "vamp_trace.h"

/*
 * What a woken vCPU may burn before it loads the task that it was woken for: an
 * interrupt's entry, the end of an idle loop, a scheduler.
 */
static unsigned int wakeup_us = VAMP_WAKEUP_WINDOW_US_DEFAULT;
module_param_named(vamp_wakeup_us, wakeup_us, uint, 0644);
MODULE_PARM_DESC(vamp_wakeup_us,
	"CPU time (us) within which a woken vCPU loads its task, 1..100000 (default 100)");

/* IPIs are of interest for so long after an access or an interrupt. */
#define ACTIVE_NS	NSEC_PER_SEC
/* Who plays is asked so often at most. */
#define CHOOSE_NS	(10 * NSEC_PER_MSEC)

/* The devices of a VM. Replaced as a whole but for the account, under RCU. */
struct kvm_vamp_sounds {
	struct rcu_head rcu;
	struct kvm_vamp_sound cfg;	/* immutable */
	raw_spinlock_t lock;		/* of what follows */
	u64 chosen_ns;
	u64 redirected;
	u64 fixed;
	struct vamp_wakeup w;
};

/* --- what is named --------------------------------------------------------- */

static bool range_valid(const struct kvm_vamp_sound_range *r)
{
	u64 space = r->space == KVM_VAMP_SPACE_PIO ? 0x10000 : 0;

	return !r->reserved && r->space <= KVM_VAMP_SPACE_PIO && r->len &&
	       r->len <= SZ_4G && r->addr <= U64_MAX - r->len &&
	       (!space || r->addr + r->len <= space);
}

static bool irq_valid(const struct kvm_vamp_sound_irq *irq)
{
	if (irq->reserved)
		return false;
	switch (irq->kind) {
	case KVM_VAMP_IRQ_GSI:
		return irq->gsi < KVM_MAX_IRQ_ROUTES && !irq->address &&
		       !irq->data;
	case KVM_VAMP_IRQ_MSI:
		return !irq->gsi;
	default:
		return false;
	}
}

static bool sound_valid(struct kvm_vamp_sound *s)
{
	u32 i;

	if (s->mode & ~KVM_VAMP_WAKEUP_ALL ||
	    s->flags & ~KVM_VAMP_SOUND_REDIRECT ||
	    s->nr_ranges > KVM_VAMP_SOUND_RANGES ||
	    s->nr_irqs > KVM_VAMP_SOUND_IRQS ||
	    s->window_us > VAMP_WAKEUP_WINDOW_US_MAX ||
	    memchr_inv(s->reserved, 0, sizeof(s->reserved)))
		return false;
	for (i = 0; i < s->nr_ranges; i++)
		if (!range_valid(&s->range[i]))
			return false;
	for (i = 0; i < s->nr_irqs; i++)
		if (!irq_valid(&s->irq[i]))
			return false;
	if (!s->window_us)
		s->window_us = clamp(READ_ONCE(wakeup_us),
				     VAMP_WAKEUP_WINDOW_US_MIN,
				     VAMP_WAKEUP_WINDOW_US_MAX);
	return true;
}

static struct kvm_vamp_sounds *locked_sounds(struct kvm_vamp *vamp)
{
	return rcu_dereference_protected(vamp->sound,
					 lockdep_is_held(&vamp->lock));
}

static void replace(struct kvm_vamp *vamp, struct kvm_vamp_sounds *new)
{
	struct kvm_vamp_sounds *old = locked_sounds(vamp);

	rcu_assign_pointer(vamp->sound, new);
	if (old)
		kvfree_rcu(old, rcu);
}

/* Makes it true that @audio plays, by @driver. Caller. */
static void apply(struct kvm_vamp *vamp, u64 audio, u64 driver)
{
	struct kvm_vcpu *vcpu;
	unsigned long i;

	if (vamp->sound_task[0] == audio && vamp->sound_task[1] == driver)
		return;
	trace_kvm_vamp_audio(vamp->kvm->userspace_pid, audio, driver);
	WRITE_ONCE(vamp->sound_task[0], audio);
	WRITE_ONCE(vamp->sound_task[1], driver);
	kvm_vamp_event_locked(vamp, KVM_VAMP_EVENT_AUDIO_TASK, audio);
	kvm_for_each_vcpu(i, vcpu, vamp->kvm) {
		struct kvm_vamp_vcpu *v = kvm_vamp_get(vcpu);

		if (v)
			kvm_vamp_apply(v);
	}
}

void kvm_vamp_sound_refresh(struct kvm_vamp *vamp)
{
	struct kvm_vamp_sounds *s = locked_sounds(vamp);
	unsigned long flags;
	u64 audio, driver;

	if (!s || !vamp->on)
		return;
	raw_spin_lock_irqsave(&s->lock, flags);
	vamp_wakeup_choose(&s->w, kvm_vamp_now());
	audio = s->w.audio_task;
	driver = s->w.driver;
	raw_spin_unlock_irqrestore(&s->lock, flags);
	apply(vamp, audio, driver);
}

void kvm_vamp_sound_work(struct work_struct *work)
{
	struct kvm_vamp *vamp = container_of(work, struct kvm_vamp, sound_work);

	mutex_lock(&vamp->lock);
	kvm_vamp_sound_refresh(vamp);
	mutex_unlock(&vamp->lock);
}

void kvm_vamp_sound_planned(struct kvm_vamp *vamp, const u64 *task, u32 nr)
{
	struct kvm_vamp_sounds *s = locked_sounds(vamp);
	unsigned long flags;

	if (!s)
		return;
	raw_spin_lock_irqsave(&s->lock, flags);
	vamp_wakeup_planned(&s->w, task, nr);
	raw_spin_unlock_irqrestore(&s->lock, flags);
}

void kvm_vamp_sound_off(struct kvm_vamp *vamp)
{
	if (!locked_sounds(vamp))
		return;
	replace(vamp, NULL);
	apply(vamp, 0, 0);
	/* A vCPU that is watched ends that by itself. */
}

long kvm_vamp_sound_set(struct kvm_vamp *vamp, const void __user *argp)
{
	struct kvm_vamp_sounds *old = locked_sounds(vamp), *new;
	u32 nr = vamp->cfg.nr_vcpus;
	struct kvm_vamp_sound *cfg;
	unsigned long flags;
	long ret = 0;

	BUILD_BUG_ON(KVM_VAMP_WAKEUP_BASE != VAMP_WAKEUP_BASE);
	BUILD_BUG_ON(KVM_VAMP_WAKEUP_TRANSITIVE != VAMP_WAKEUP_TRANSITIVE);
	BUILD_BUG_ON(KVM_VAMP_WAKEUP_RESET != VAMP_WAKEUP_RESET);
	BUILD_BUG_ON(KVM_VAMP_WAKEUP_CONFIDENCE != VAMP_WAKEUP_CONFIDENCE);
	BUILD_BUG_ON(KVM_VAMP_SOUND_TASKS != VAMP_WAKEUP_TASKS);

	cfg = memdup_user(argp, sizeof(*cfg));
	if (IS_ERR(cfg))
		return PTR_ERR(cfg);
	if (!sound_valid(cfg)) {
		ret = -EINVAL;
		goto out;
	}
	if (!cfg->nr_ranges && !cfg->nr_irqs) {
		kvm_vamp_sound_off(vamp);
		goto out;
	}
	new = kvzalloc(offsetof(struct kvm_vamp_sounds, w) +
		       vamp_wakeup_size(nr), GFP_KERNEL_ACCOUNT);
	if (!new) {
		ret = -ENOMEM;
		goto out;
	}
	new->cfg = *cfg;
	raw_spin_lock_init(&new->lock);
	vamp_wakeup_init(&new->w, nr, cfg->mode, cfg->window_us);
	/* nr_vcpus does not change while devices are named. */
	if (old) {
		raw_spin_lock_irqsave(&old->lock, flags);
		vamp_wakeup_copy(&new->w, &old->w);
		new->redirected = old->redirected;
		new->fixed = old->fixed;
		raw_spin_unlock_irqrestore(&old->lock, flags);
		vamp_wakeup_configure(&new->w, cfg->mode, cfg->window_us);
	}
	replace(vamp, new);
out:
	kfree(cfg);
	return ret;
}

/* What goes past our hooks now: KVM_VAMP_SOUND_HIDDEN, KVM_VAMP_SOUND_POSTED */
static u32 unseen(struct kvm *kvm)
{
	struct kvm_vcpu *vcpu = kvm_get_vcpu(kvm, 0);
	u32 flags = 0;

	if ((vcpu && kvm_vamp_vendor.hides_ipis(vcpu)) ||
	    kvm_vamp_pretends(KVM_VAMP_PRETEND_HIDES_IPIS))
		flags |= KVM_VAMP_SOUND_HIDDEN;
	if ((vcpu && kvm_vcpu_apicv_active(vcpu) &&
	     kvm_arch_has_assigned_device(kvm) &&
	     irq_remapping_cap(IRQ_POSTING_CAP)) ||
	    kvm_vamp_pretends(KVM_VAMP_PRETEND_POSTS))
		flags |= KVM_VAMP_SOUND_POSTED;
	return flags;
}

static void status_fill(struct kvm_vamp *vamp, struct kvm_vamp_sounds *sounds,
			struct kvm_vamp_sound_status *s)
{
	const struct vamp_wakeup *w = &sounds->w;
	unsigned long flags;
	u32 i;

	s->mode = w->mode;
	s->flags = sounds->cfg.flags;
	s->flags |= unseen(vamp->kvm);
	s->nr_ranges = sounds->cfg.nr_ranges;
	s->nr_irqs = sounds->cfg.nr_irqs;
	s->window_us = sounds->cfg.window_us;
	raw_spin_lock_irqsave(&sounds->lock, flags);
	s->playing = w->playing;
	s->audio_task = w->audio_task;
	s->driver = w->driver;
	s->accesses = w->count.accesses;
	s->handled = w->count.handled;
	s->irqs = w->count.irqs;
	s->ipis = w->count.ipis;
	s->woken = w->count.woken;
	s->woken_by_sound = w->count.woken_by_sound;
	s->resets = w->count.resets;
	s->late = w->count.late;
	s->redirected = sounds->redirected;
	s->fixed = sounds->fixed;
	for (i = 0; i < VAMP_WAKEUP_TASKS; i++) {
		const struct vamp_wakeup_task *t = &w->task[i];

		if (!t->task)
			continue;
		s->task[s->nr_tasks++] = (struct kvm_vamp_sound_task) {
			.task = t->task,
			.waker = t->waker,
			.feeds = t->feeds,
			.drives = t->drives,
			.confidence = t->confidence,
		};
	}
	raw_spin_unlock_irqrestore(&sounds->lock, flags);
}

long kvm_vamp_sound_status(struct kvm_vamp *vamp, void __user *argp)
{
	struct kvm_vamp_sounds *sounds = locked_sounds(vamp);
	struct kvm_vamp_sound_status *s = kzalloc(sizeof(*s), GFP_KERNEL);
	long ret = 0;

	if (!s)
		return -ENOMEM;
	if (sounds) {
		kvm_vamp_sound_refresh(vamp);
		status_fill(vamp, sounds, s);
	}
	if (copy_to_user(argp, s, sizeof(*s)))
		ret = -EFAULT;
	kfree(s);
	return ret;
}

/* --- the devices' interrupts ----------------------------------------------- */

/* Where an interrupt goes to, as the guest says it. */
struct message {
	u32 dest_id;
	u32 dest_mode;
	u8 vector;
};

static void decode_msi(struct kvm *kvm, u32 lo, u32 hi, u32 data,
		       struct message *m)
{
	struct msi_msg msg = {
		.address_lo = lo,
		.address_hi = hi,
		.data = data,
	};

	m->dest_id = x86_msi_msg_get_destid(&msg, kvm->arch.x2apic_format);
	m->dest_mode =
		kvm_lapic_irq_dest_mode(msg.arch_addr_lo.dest_mode_logical);
	m->vector = msg.arch_data.vector;
}

/* An entry of KVM's routing table; false: it has nothing to say. */
static bool decode_route(struct kvm *kvm,
			 const struct kvm_kernel_irq_routing_entry *e,
			 struct message *m)
{
	struct kvm_ioapic *ioapic = kvm->arch.vioapic;
	union kvm_ioapic_redirect_entry entry;

	switch (e->type) {
	case KVM_IRQ_ROUTING_MSI:
		decode_msi(kvm, e->msi.address_lo, e->msi.address_hi,
			   e->msi.data, m);
		return true;
	case KVM_IRQ_ROUTING_IRQCHIP:
		if (e->irqchip.irqchip != KVM_IRQCHIP_IOAPIC || !ioapic ||
		    e->irqchip.pin >= KVM_IOAPIC_NUM_PINS)
			return false;
		/* Whoever delivers it may hold the I/O APIC's lock already. */
		entry.bits = READ_ONCE(ioapic->redirtbl[e->irqchip.pin].bits);
		if (entry.fields.mask)
			return false;
		m->dest_id = entry.fields.dest_id;
		m->dest_mode = kvm_lapic_irq_dest_mode(entry.fields.dest_mode);
		m->vector = entry.fields.vector;
		return true;
	default:
		return false;
	}
}

/*
 * Is an interrupt with @vector a device's? To @vcpu, or, NULL, with the
 * destination of @irq.
 */
static bool is_ours(struct kvm *kvm, const struct kvm_vamp_sounds *s,
		    u32 vector, struct kvm_vcpu *vcpu,
		    const struct kvm_lapic_irq *irq)
{
	struct kvm_kernel_irq_routing_entry route[KVM_NR_IRQCHIPS];
	struct message m[KVM_NR_IRQCHIPS];
	u32 i;

	for (i = 0; i < s->cfg.nr_irqs; i++) {
		const struct kvm_vamp_sound_irq *named = &s->cfg.irq[i];
		int n = 0, k, idx;

		if (named->kind == KVM_VAMP_IRQ_MSI) {
			decode_msi(kvm, named->address, named->address >> 32,
				   named->data, &m[n++]);
		} else {
			idx = srcu_read_lock(&kvm->irq_srcu);
			k = kvm_irq_map_gsi(kvm, route, named->gsi);
			srcu_read_unlock(&kvm->irq_srcu, idx);
			while (k-- > 0)
				n += decode_route(kvm, &route[k], &m[n]);
		}
		while (n-- > 0) {
			if (m[n].vector != vector)
				continue;
			if (vcpu ? kvm_apic_match_dest(vcpu, NULL,
						       APIC_DEST_NOSHORT,
						       m[n].dest_id,
						       m[n].dest_mode) :
				   m[n].dest_id == irq->dest_id &&
				   m[n].dest_mode == irq->dest_mode)
				return true;
		}
	}
	return false;
}

bool kvm_vamp_sound_redirect(struct kvm *kvm, struct kvm_vamp *vamp,
			     struct kvm_lapic_irq *irq, int *r,
			     struct dest_map *dest_map)
{
	bool choice = kvm_lowest_prio_delivery(irq), done = false;
	struct kvm_vcpu *vcpu = NULL;
	struct kvm_vamp_sounds *s;
	unsigned long flags;
	s32 playing;

	rcu_read_lock();
	s = rcu_dereference(vamp->sound);
	if (!s || !(s->cfg.flags & KVM_VAMP_SOUND_REDIRECT) || irq->shorthand ||
	    (irq->delivery_mode != APIC_DM_FIXED &&
	     irq->delivery_mode != APIC_DM_LOWEST) ||
	    !READ_ONCE(vamp->on) || !is_ours(kvm, s, irq->vector, NULL, irq))
		goto out;
	playing = READ_ONCE(s->w.playing);
	if (choice && playing >= 0)
		vcpu = kvm_get_vcpu_by_id(kvm, playing);
	if (vcpu && kvm_lapic_enabled(vcpu) &&
	    kvm_apic_match_dest(vcpu, NULL, APIC_DEST_NOSHORT, irq->dest_id,
				irq->dest_mode)) {
		*r = kvm_apic_set_irq(vcpu, irq, dest_map);
		done = true;
	}
	if (done || !choice) {
		raw_spin_lock_irqsave(&s->lock, flags);
		s->redirected += done;
		s->fixed += !done;
		raw_spin_unlock_irqrestore(&s->lock, flags);
	}
out:
	rcu_read_unlock();
	return done;
}

/* --- what happens ---------------------------------------------------------- */

/* Asks who plays, from time to time. Under the lock. */
static bool look(struct kvm_vamp_sounds *s, u64 now)
{
	if (now - s->chosen_ns < CHOOSE_NS)
		return false;
	s->chosen_ns = now;
	return vamp_wakeup_choose(&s->w, now);
}

static u64 task_of(struct kvm_vcpu *vcpu, const struct kvm_vamp *vamp)
{
	/* What another guest's, or the firmware's, tables are says nothing. */
	if (is_guest_mode(vcpu) || is_smm(vcpu) ||
	    kvm_vamp_protected(vcpu))
		return VAMP_TASK_UNKNOWN;
	return kvm_vamp_vendor.read_cr3(vcpu) & READ_ONCE(vamp->task_mask);
}

static bool covers(const struct kvm_vamp_sounds *s, u32 space, u64 addr,
		   u32 len)
{
	u32 i;

	for (i = 0; i < s->cfg.nr_ranges; i++) {
		const struct kvm_vamp_sound_range *r = &s->cfg.range[i];

		if (r->space == space && addr < r->addr + r->len &&
		    addr + (len ?: 1) > r->addr)
			return true;
	}
	return false;
}

void kvm_vamp_sound_io(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v,
		       u32 space, u64 addr, u32 len)
{
	struct kvm_vamp *vamp = v->vamp;
	u64 now, cpu, task, handled;
	struct kvm_vamp_sounds *s;
	unsigned long flags;
	bool changed, by_task;

	rcu_read_lock();
	s = rcu_dereference(vamp->sound);
	if (!s || !READ_ONCE(v->on) || !covers(s, space, addr, len))
		goto out;
	task = task_of(vcpu, vamp);
	now = kvm_vamp_now();
	cpu = kvm_vamp_track_cpu(v, now);
	raw_spin_lock_irqsave(&s->lock, flags);
	handled = s->w.count.handled;
	vamp_wakeup_access(&s->w, vcpu->vcpu_id, task, cpu, now);
	by_task = handled == s->w.count.handled;
	changed = look(s, now);
	raw_spin_unlock_irqrestore(&s->lock, flags);
	trace_kvm_vamp_sound(vcpu->vcpu_id, space, addr, task, by_task);
	if (changed)
		schedule_work(&vamp->sound_work);
out:
	rcu_read_unlock();
}
EXPORT_SYMBOL_GPL(kvm_vamp_sound_io);	/* kvm-intel has a way of its own */

/* The next load of CR3 of the vCPU shall exit. */
static void watch(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v, u64 until)
{
	if (READ_ONCE(v->vamp->kpti))
		return;
	WRITE_ONCE(v->watch_until_ns, until);
	WRITE_ONCE(v->watch, true);
	kvm_make_request(KVM_REQ_VAMP, vcpu);
	/* What is posted makes it not exit. */
	if (kvm_vcpu_apicv_active(vcpu))
		kvm_vcpu_kick(vcpu);
}

void kvm_vamp_sound_irq(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v,
			u32 vector)
{
	struct kvm_vamp *vamp = v->vamp;
	struct kvm_vcpu *sender = in_task() ? kvm_get_running_vcpu() : NULL;
	struct kvm_vamp_vcpu *from = NULL;
	u64 now = kvm_vamp_now(), cpu, cpu_from = 0, task = 0;
	struct kvm_vamp_sounds *s;
	bool ours, wakes = false;
	unsigned long flags;

	rcu_read_lock();
	s = rcu_dereference(vamp->sound);
	if (!s || !READ_ONCE(v->on))
		goto out;
	ours = is_ours(vcpu->kvm, s, vector, vcpu, NULL);
	if (!ours && now - READ_ONCE(s->w.last_ns) > ACTIVE_NS)
		goto out;
	/* What a vCPU sends itself is no wake-up, its timer's included. */
	if (!ours && sender && sender != vcpu && sender->kvm == vcpu->kvm)
		from = kvm_vamp_get(sender);
	cpu = kvm_vamp_track_cpu(v, now);
	if (from) {
		cpu_from = kvm_vamp_track_cpu(from, now);
		task = task_of(sender, vamp);
	}
	raw_spin_lock_irqsave(&s->lock, flags);
	if (ours) {
		vamp_wakeup_irq(&s->w, vcpu->vcpu_id, cpu, now);
		wakes = true;
	} else if (from) {
		wakes = vamp_wakeup_ipi(&s->w, sender->vcpu_id, task, cpu_from,
					vcpu->vcpu_id, cpu);
	} else {
		vamp_wakeup_other(&s->w, vcpu->vcpu_id, cpu);
	}
	raw_spin_unlock_irqrestore(&s->lock, flags);
	if (ours)
		trace_kvm_vamp_sound_irq(vcpu->vcpu_id, vector);
	if (wakes)
		watch(vcpu, v, cpu + vamp_wakeup_stay_ns(&s->w, ours));
out:
	rcu_read_unlock();
}
EXPORT_SYMBOL_GPL(kvm_vamp_sound_irq);	/* AVIC has a way of its own */

void kvm_vamp_sound_halted(struct kvm_vcpu *vcpu, struct kvm_vamp_vcpu *v,
			   u64 now)
{
	struct kvm_vamp *vamp = v->vamp;
	struct kvm_vamp_sounds *s;
	unsigned long flags;
	u64 cpu;

	rcu_read_lock();
	s = rcu_dereference(vamp->sound);
	if (!s || now - READ_ONCE(s->w.last_ns) > ACTIVE_NS)
		goto out;
	cpu = kvm_vamp_track_cpu(v, now);
	raw_spin_lock_irqsave(&s->lock, flags);
	/*
	 * An interrupt may be on its way that KVM has not seen when it decided
	 * to halt. It is lost to us, and the next one is not.
	 */
	vamp_wakeup_halted(&s->w, vcpu->vcpu_id, task_of(vcpu, vamp), cpu);
	raw_spin_unlock_irqrestore(&s->lock, flags);
out:
	rcu_read_unlock();
}

void kvm_vamp_sound_ran(struct kvm_vamp_vcpu *v, u64 task, bool switched)
{
	struct kvm_vcpu *vcpu = v->vcpu;
	struct kvm_vamp *vamp = v->vamp;
	u64 now = kvm_vamp_now();
	u64 cpu = kvm_vamp_track_cpu(v, now);
	struct kvm_vamp_sounds *s;
	unsigned long flags;
	u64 woken, sound;
	bool changed;

	if (!switched && cpu <= READ_ONCE(v->watch_until_ns))
		return;
	WRITE_ONCE(v->watch, false);
	v->watching = false;
	kvm_make_request(KVM_REQ_VAMP, vcpu);
	rcu_read_lock();
	s = rcu_dereference(vamp->sound);
	if (!s)
		goto out;
	raw_spin_lock_irqsave(&s->lock, flags);
	woken = s->w.count.woken;
	sound = s->w.count.woken_by_sound;
	if (switched)
		vamp_wakeup_loaded(&s->w, vcpu->vcpu_id, task, cpu, now);
	else
		vamp_wakeup_stayed(&s->w, vcpu->vcpu_id, task, now);
	woken = s->w.count.woken - woken;
	sound = s->w.count.woken_by_sound - sound;
	changed = look(s, now);
	raw_spin_unlock_irqrestore(&s->lock, flags);
	if (woken || sound)
		trace_kvm_vamp_wakeup(vcpu->vcpu_id, task, woken, sound);
	if (changed)
		schedule_work(&vamp->sound_work);
out:
	rcu_read_unlock();
}
