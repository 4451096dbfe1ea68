// SPDX-License-Identifier: GPL-2.0
/*
 * vamp_pv: tells the host which process runs on each of this guest's CPUs, and
 * shows which of them the host holds to be in the background
 *
 * docs/interop/vamp-pv.rst has the interface. At each switch some 40 bytes of
 * this CPU's own record are written, and nothing exits to the host. The host
 * may come, change or go (its policy is turned on, the guest migrates): it is
 * asked for every LOOK_MS, and with nobody there nothing else is done.
 *
 * /proc/kvm_slow_task has a line for each process in the background while the
 * host serves a user: its id in the reader's namespace, a space, its load in
 * percent of one CPU.
 *
 * Copyright (c) 2026 The VAMP authors
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/io.h>
#include <linux/mm_types.h>
#include <linux/module.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/reboot.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/suspend.h>
#include <linux/tracepoint.h>
#include <linux/workqueue.h>
#include <asm/msr.h>
#include <asm/processor.h>
#include <linux/kvm_vamp_pv.h>

#define LOOK_MS		5000
#define SLOW_MAX	(MSR_KVM_VAMP_SLOW_LAST - MSR_KVM_VAMP_SLOW + 1)
/* A plan lasts for seconds: two changes in a read are a coincidence. */
#define SLOW_TRIES	3

/* Written by its CPU with interrupts off; allocated for all possible CPUs. */
static DEFINE_PER_CPU(struct kvm_vamp_pv_task *, record);

/* Of what the host is told; cpus_read_lock() is outside of it. */
static DEFINE_MUTEX(lock);
/* The host that is told, by its generation; 0: none. Read by CPUs' callbacks. */
static u32 told;
static u32 features;
static bool held;		/* the machine goes down or sleeps */
static bool probing;
static enum cpuhp_state hotplug;
static atomic_t refused = ATOMIC_INIT(0);	/* CPUs that may not tell */

static void look(struct work_struct *work);
static DECLARE_DEFERRABLE_WORK(look_work, look);

/* --- the record ------------------------------------------------------------ */

/* @task runs on this CPU from now on. Interrupts are off. */
static void tell(struct task_struct *task)
{
	struct kvm_vamp_pv_task *r = __this_cpu_read(record);
	struct mm_struct *mm = task->mm;

	WRITE_ONCE(r->seq, r->seq + 1);
	smp_wmb();	/* the host sees that it is odd before what changes */
	r->pid = task->tgid;
	/* A kernel thread borrows the page tables of whoever ran before. */
	r->aspace = mm ? __pa(mm->pgd) : 0;
	memcpy(r->name, task->group_leader->comm, sizeof(r->name));
	smp_wmb();	/* and all of that before it is even */
	WRITE_ONCE(r->seq, r->seq + 1);
}

/* Comes before the new page tables are loaded. */
static void probe_switch(void *data, bool preempt, struct task_struct *prev,
			 struct task_struct *next, unsigned int prev_state)
{
	tell(next);
}

/* The same process with other page tables and another name. */
static void probe_exec(void *data, struct task_struct *task, pid_t old_pid,
		       struct linux_binprm *bprm)
{
	unsigned long flags;

	local_irq_save(flags);
	tell(current);
	local_irq_restore(flags);
}

static struct {
	const char *name;
	void *probe;
	struct tracepoint *point;
} probes[] = {
	{ "sched_switch", probe_switch },
	{ "sched_process_exec", probe_exec },
};

static void find_probe(struct tracepoint *point, void *unused)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++)
		if (!strcmp(point->name, probes[i].name))
			probes[i].point = point;
}

static void probes_remove(int n)
{
	while (n--)
		tracepoint_probe_unregister(probes[n].point, probes[n].probe,
					    NULL);
	tracepoint_synchronize_unregister();
}

static int probes_add(void)
{
	int i, ret;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		ret = tracepoint_probe_register(probes[i].point,
						probes[i].probe, NULL);
		if (ret) {
			probes_remove(i);
			return ret;
		}
	}
	return 0;
}

/* --- who is told ----------------------------------------------------------- */

/* On each CPU, interrupts off. */
static void cpu_begin(void *unused)
{
	struct kvm_vamp_pv_task *r = __this_cpu_read(record);

	tell(current);
	if (wrmsrl_safe(MSR_KVM_VAMP_TASK,
			virt_to_phys(r) | KVM_VAMP_PV_ENABLE))
		atomic_inc(&refused);
}

static void cpu_end(void *unused)
{
	/* It may have gone already: then there is nothing to take back. */
	wrmsrl_safe(MSR_KVM_VAMP_TASK, 0);
}

static int came_online(unsigned int cpu)
{
	unsigned long flags;

	if (READ_ONCE(told)) {
		local_irq_save(flags);
		cpu_begin(NULL);
		local_irq_restore(flags);
	}
	return 0;
}

static int goes_offline(unsigned int cpu)
{
	if (READ_ONCE(told))
		cpu_end(NULL);
	return 0;
}

/* The host's generation, 0: there is none that would listen. */
static u32 find_host(u32 *found)
{
	u32 eax, generation, sig[3], unused;

	cpuid(KVM_CPUID_VAMP_SIGNATURE, &eax, &sig[0], &sig[1], &sig[2]);
	if (memcmp(sig, KVM_VAMP_PV_SIGNATURE, sizeof(sig)) ||
	    eax < KVM_CPUID_VAMP_FEATURES)
		return 0;
	cpuid(KVM_CPUID_VAMP_FEATURES, found, &generation, &unused, &unused);
	return *found & KVM_VAMP_PV_F_TASK ? generation : 0;
}

/* Under cpus_read_lock() and lock. */
static void tell_nobody(void)
{
	if (told) {
		WRITE_ONCE(told, 0);
		on_each_cpu(cpu_end, NULL, 1);
	}
	if (probing) {
		probes_remove(ARRAY_SIZE(probes));
		probing = false;
	}
}

/* The same. */
static void tell_host(u32 generation)
{
	int ret;

	if (!probing) {
		ret = probes_add();
		if (ret) {
			pr_warn_once("the scheduler's tracepoints refuse: %d\n",
				     ret);
			return;
		}
		probing = true;
	}
	atomic_set(&refused, 0);
	WRITE_ONCE(told, generation);
	on_each_cpu(cpu_begin, NULL, 1);
	pr_info("the host is told what runs on %u CPUs\n",
		num_online_cpus() - atomic_read(&refused));
}

static void look_now(void)
{
	u32 generation, found = 0;

	cpus_read_lock();
	mutex_lock(&lock);
	generation = held ? 0 : find_host(&found);
	if (generation != told) {
		if (told && !generation && !held)
			pr_info("the host listens no more\n");
		features = found;
		if (generation)
			tell_host(generation);
		else
			tell_nobody();
	}
	mutex_unlock(&lock);
	cpus_read_unlock();
}

static void look(struct work_struct *work)
{
	look_now();
	queue_delayed_work(system_power_efficient_wq, &look_work,
			   msecs_to_jiffies(LOOK_MS));
}

/* --- down and up ----------------------------------------------------------- */

/*
 * The next kernel has other things at our records' addresses: kexec, a resume
 * from disk.
 */
static void hold(bool on)
{
	mutex_lock(&lock);
	held = on;
	mutex_unlock(&lock);
	look_now();
}

static int rebooting(struct notifier_block *block, unsigned long event,
		     void *unused)
{
	hold(true);
	return NOTIFY_DONE;
}

static int sleeping(struct notifier_block *block, unsigned long event,
		    void *unused)
{
	switch (event) {
	case PM_HIBERNATION_PREPARE:
	case PM_SUSPEND_PREPARE:
	case PM_RESTORE_PREPARE:
		hold(true);
		break;
	case PM_POST_HIBERNATION:
	case PM_POST_SUSPEND:
	case PM_POST_RESTORE:
		hold(false);
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block reboot_block = { .notifier_call = rebooting };
static struct notifier_block sleep_block = { .notifier_call = sleeping };

/* --- what the host says ----------------------------------------------------- */

struct slow_task {
	u64 aspace;
	u32 permille;
	pid_t pid;		/* 0: none that the reader may see */
};

/* The host's list, of one plan; returns its length. */
static int read_slow(struct slow_task *slow)
{
	int tries, n = 0;

	if (!READ_ONCE(told) || !(READ_ONCE(features) & KVM_VAMP_PV_F_SLOW))
		return 0;
	for (tries = 0; tries < SLOW_TRIES; tries++) {
		u64 before, after, entry;

		if (rdmsrl_safe(MSR_KVM_VAMP_PLAN, &before))
			return 0;
		for (n = 0; n < SLOW_MAX; n++) {
			if (rdmsrl_safe(MSR_KVM_VAMP_SLOW + n, &entry))
				return 0;
			if (!entry)
				break;
			slow[n].aspace = entry & ~KVM_VAMP_PV_LOAD_MASK;
			slow[n].permille = entry & KVM_VAMP_PV_LOAD_MASK;
		}
		if (rdmsrl_safe(MSR_KVM_VAMP_PLAN, &after))
			return 0;
		if (before == after)
			break;
	}
	return n;
}

/* Its page tables, of any thread: the first one may have ended. RCU. */
static u64 aspace_of(struct task_struct *process)
{
	struct task_struct *t;
	u64 aspace = 0;

	for_each_thread(process, t) {
		task_lock(t);
		if (t->mm && !(t->flags & PF_KTHREAD))
			aspace = __pa(t->mm->pgd);
		task_unlock(t);
		if (aspace)
			break;
	}
	return aspace;
}

static void find_processes(struct slow_task *slow, int n)
{
	struct pid_namespace *ns = task_active_pid_ns(current);
	struct task_struct *p;
	int i;

	rcu_read_lock();
	for_each_process(p) {
		u64 aspace = aspace_of(p);

		for (i = 0; aspace && i < n; i++)
			if (slow[i].aspace == aspace && !slow[i].pid)
				slow[i].pid = task_tgid_nr_ns(p, ns);
	}
	rcu_read_unlock();
}

static int slow_show(struct seq_file *m, void *unused)
{
	struct slow_task *slow = kcalloc(SLOW_MAX, sizeof(*slow), GFP_KERNEL);
	int i, n;

	if (!slow)
		return -ENOMEM;
	n = read_slow(slow);
	if (n)
		find_processes(slow, n);
	for (i = 0; i < n; i++)
		if (slow[i].pid)
			seq_printf(m, "%d %u\n", slow[i].pid,
				   DIV_ROUND_CLOSEST(slow[i].permille, 10));
	kfree(slow);
	return 0;
}

/* --- life -------------------------------------------------------------------- */

/* /sys/module/vamp_pv/parameters/state */
static int state_get(char *buffer, const struct kernel_param *unused)
{
	unsigned int n, all;

	if (!READ_ONCE(told))
		return sysfs_emit(buffer, "waiting: the hypervisor has no CPUID leaf 0x%x, or listens to nobody now\n",
				  KVM_CPUID_VAMP_SIGNATURE);
	all = num_online_cpus();
	n = atomic_read(&refused);
	return sysfs_emit(buffer, "the host is told what runs on %u of %u CPUs\n",
			  all - min(n, all), all);
}

static const struct kernel_param_ops state_ops = { .get = state_get };
module_param_cb(state, &state_ops, NULL, 0444);
MODULE_PARM_DESC(state, "whether a host is told, read only");

static void records_free(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		kfree(per_cpu(record, cpu));
}

static int records_new(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		/* Powers of two are aligned to their size. */
		struct kvm_vamp_pv_task *r = kzalloc_node(sizeof(*r), GFP_KERNEL,
							  cpu_to_node(cpu));

		if (!r)
			return -ENOMEM;
		per_cpu(record, cpu) = r;
	}
	return 0;
}

static int __init vamp_pv_init(void)
{
	int i, ret;

	BUILD_BUG_ON(sizeof(struct kvm_vamp_pv_task) != 64);
	BUILD_BUG_ON(TASK_COMM_LEN != KVM_VAMP_PV_NAME_LEN);
	if (!boot_cpu_has(X86_FEATURE_HYPERVISOR)) {
		pr_err("this is no virtual machine\n");
		return -ENODEV;
	}
	for_each_kernel_tracepoint(find_probe, NULL);
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (!probes[i].point) {
			pr_err("this kernel has no tracepoint %s\n",
			       probes[i].name);
			return -EOPNOTSUPP;
		}
	}
	ret = records_new();
	if (ret)
		goto no_records;
	ret = cpuhp_setup_state_nocalls(CPUHP_AP_ONLINE_DYN, "vamp_pv:online",
					came_online, goes_offline);
	if (ret < 0)
		goto no_records;
	hotplug = ret;
	ret = -ENOMEM;
	if (!proc_create_single("kvm_slow_task", 0444, NULL, slow_show))
		goto no_proc;
	ret = register_reboot_notifier(&reboot_block);
	if (ret)
		goto no_reboot;
	ret = register_pm_notifier(&sleep_block);
	if (ret)
		goto no_pm;
	look(NULL);
	if (!told)
		pr_info("no host listens yet\n");
	return 0;

no_pm:
	unregister_reboot_notifier(&reboot_block);
no_reboot:
	remove_proc_entry("kvm_slow_task", NULL);
no_proc:
	cpuhp_remove_state_nocalls(hotplug);
no_records:
	records_free();
	return ret;
}

static void __exit vamp_pv_exit(void)
{
	unregister_pm_notifier(&sleep_block);
	unregister_reboot_notifier(&reboot_block);
	remove_proc_entry("kvm_slow_task", NULL);
	cancel_delayed_work_sync(&look_work);
	hold(true);
	cpuhp_remove_state_nocalls(hotplug);
	records_free();
}

module_init(vamp_pv_init);
module_exit(vamp_pv_exit);
MODULE_DESCRIPTION("Tells the host's KVM the names of the tasks that run");
MODULE_AUTHOR("The VAMP authors");
MODULE_LICENSE("GPL");
