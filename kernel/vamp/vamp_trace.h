/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints: each decision of the companion modules
 *
 *   trace-cmd record -e kvm_vamp
 *
 * Copyright (c) 2026 The VAMP authors
 */

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm_vamp

#if !defined(_KVM_VAMP_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _KVM_VAMP_TRACE_H

#include <linux/tracepoint.h>

/* A vCPU runs another guest task; by sample: it was found to. */
TRACE_EVENT(kvm_vamp_switch,
	TP_PROTO(u32 vcpu, u64 from, u64 to, bool sampled),
	TP_ARGS(vcpu, from, to, sampled),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u64, from)
		__field(u64, to)
		__field(bool, sampled)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->from = from;
		__entry->to = to;
		__entry->sampled = sampled;
	),
	TP_printk("vcpu %u from 0x%llx to 0x%llx%s", __entry->vcpu,
		  __entry->from, __entry->to,
		  __entry->sampled ? " sampled" : "")
);

/* A phase begins or ends, decided by the module (numbers: core/policy.h). */
TRACE_EVENT(kvm_vamp_phase,
	TP_PROTO(pid_t vm, u32 phase, u32 cause, u32 reason, u32 permille,
		 u32 background),
	TP_ARGS(vm, phase, cause, reason, permille, background),
	TP_STRUCT__entry(
		__field(pid_t, vm)
		__field(u32, phase)
		__field(u32, cause)
		__field(u32, reason)
		__field(u32, permille)
		__field(u32, background)
	),
	TP_fast_assign(
		__entry->vm = vm;
		__entry->phase = phase;
		__entry->cause = cause;
		__entry->reason = reason;
		__entry->permille = permille;
		__entry->background = background;
	),
	TP_printk("vm %d phase %s cause %s reason %u load %u permille, %u background tasks",
		  __entry->vm,
		  __print_symbolic(__entry->phase, { 0, "normal" },
				   { 1, "non-mixed" }, { 2, "mixed" }),
		  __print_symbolic(__entry->cause, { 0, "none" },
				   { 1, "input" }, { 2, "sound" }),
		  __entry->reason, __entry->permille, __entry->background)
);

/* User space has made a plan. */
TRACE_EVENT(kvm_vamp_plan,
	TP_PROTO(pid_t vm, u32 phase, u32 background),
	TP_ARGS(vm, phase, background),
	TP_STRUCT__entry(
		__field(pid_t, vm)
		__field(u32, phase)
		__field(u32, background)
	),
	TP_fast_assign(
		__entry->vm = vm;
		__entry->phase = phase;
		__entry->background = background;
	),
	TP_printk("vm %d phase %s, %u background tasks", __entry->vm,
		  __print_symbolic(__entry->phase, { 0, "normal" },
				   { 1, "non-mixed" }, { 2, "mixed" }),
		  __entry->background)
);

/* A task's load at the beginning of a phase. */
TRACE_EVENT(kvm_vamp_load,
	TP_PROTO(pid_t vm, u64 task, u32 permille),
	TP_ARGS(vm, task, permille),
	TP_STRUCT__entry(
		__field(pid_t, vm)
		__field(u64, task)
		__field(u32, permille)
	),
	TP_fast_assign(
		__entry->vm = vm;
		__entry->task = task;
		__entry->permille = permille;
	),
	TP_printk("vm %d task 0x%llx %u permille", __entry->vm, __entry->task,
		  __entry->permille)
);

/* A vCPU's thread has another nice value. */
TRACE_EVENT(kvm_vamp_weight,
	TP_PROTO(u32 vcpu, u32 vclass, int nice),
	TP_ARGS(vcpu, vclass, nice),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u32, vclass)
		__field(int, nice)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->vclass = vclass;
		__entry->nice = nice;
	),
	TP_printk("vcpu %u %s nice %d", __entry->vcpu,
		  __print_symbolic(__entry->vclass, { 0, "neutral" },
				   { 1, "interactive" }, { 2, "background" }),
		  __entry->nice)
);

/* A vCPU that halted in a background task will wake as interactive. */
TRACE_EVENT(kvm_vamp_boost,
	TP_PROTO(u32 vcpu, u64 task),
	TP_ARGS(vcpu, task),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u64, task)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->task = task;
	),
	TP_printk("vcpu %u task 0x%llx", __entry->vcpu, __entry->task)
);

/* The guest isolates its page tables: tracking goes on by samples. */
TRACE_EVENT(kvm_vamp_kpti,
	TP_PROTO(u32 vcpu),
	TP_ARGS(vcpu),
	TP_STRUCT__entry(
		__field(u32, vcpu)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
	),
	TP_printk("seen on vcpu %u", __entry->vcpu)
);

/* A register of a sound device is touched, by a task or by a handler. */
TRACE_EVENT(kvm_vamp_sound,
	TP_PROTO(u32 vcpu, u32 space, u64 addr, u64 task, bool by_task),
	TP_ARGS(vcpu, space, addr, task, by_task),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u32, space)
		__field(u64, addr)
		__field(u64, task)
		__field(bool, by_task)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->space = space;
		__entry->addr = addr;
		__entry->task = task;
		__entry->by_task = by_task;
	),
	TP_printk("vcpu %u %s 0x%llx %s 0x%llx", __entry->vcpu,
		  __print_symbolic(__entry->space, { 0, "mmio" }, { 1, "pio" }),
		  __entry->addr, __entry->by_task ? "by task" : "handled in",
		  __entry->task)
);

/* A sound device interrupts a vCPU. */
TRACE_EVENT(kvm_vamp_sound_irq,
	TP_PROTO(u32 vcpu, u32 vector),
	TP_ARGS(vcpu, vector),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u32, vector)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->vector = vector;
	),
	TP_printk("vcpu %u vector %u", __entry->vcpu, __entry->vector)
);

/* A vCPU has been woken, in time to tell by whom, and runs this task. */
TRACE_EVENT(kvm_vamp_wakeup,
	TP_PROTO(u32 vcpu, u64 task, bool remote, bool sound),
	TP_ARGS(vcpu, task, remote, sound),
	TP_STRUCT__entry(
		__field(u32, vcpu)
		__field(u64, task)
		__field(bool, remote)
		__field(bool, sound)
	),
	TP_fast_assign(
		__entry->vcpu = vcpu;
		__entry->task = task;
		__entry->remote = remote;
		__entry->sound = sound;
	),
	TP_printk("vcpu %u task 0x%llx%s%s", __entry->vcpu, __entry->task,
		  __entry->remote ? " by another vcpu" : "",
		  __entry->sound ? " for sound" : "")
);

/* Another task plays, or drives the device; 0: none. */
TRACE_EVENT(kvm_vamp_audio,
	TP_PROTO(pid_t vm, u64 task, u64 driver),
	TP_ARGS(vm, task, driver),
	TP_STRUCT__entry(
		__field(pid_t, vm)
		__field(u64, task)
		__field(u64, driver)
	),
	TP_fast_assign(
		__entry->vm = vm;
		__entry->task = task;
		__entry->driver = driver;
	),
	TP_printk("vm %d task 0x%llx driver 0x%llx", __entry->vm, __entry->task,
		  __entry->driver)
);

/* Off, with this reason. */
TRACE_EVENT(kvm_vamp_fault,
	TP_PROTO(pid_t vm, const char *reason),
	TP_ARGS(vm, reason),
	TP_STRUCT__entry(
		__field(pid_t, vm)
		__string(reason, reason)
	),
	TP_fast_assign(
		__entry->vm = vm;
		__assign_str(reason);
	),
	TP_printk("vm %d: %s", __entry->vm, __get_str(reason))
);

#endif /* _KVM_VAMP_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH vamp
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE vamp_trace

#include <trace/define_trace.h>
