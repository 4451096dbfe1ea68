/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The paravirtual interface between a guest and KVM's companion modules
 *
 * A guest that has it tells which of its processes runs on each vCPU, and may
 * ask which of them the host holds to be in the background. No call of either
 * side costs an exit at a switch. docs/interop/vamp-pv.rst has the rules.
 *
 * The host only reads the guest's memory. What it reads is a claim: it names
 * tasks and does nothing else.
 *
 * Copyright (c) 2026 The VAMP authors
 */

#ifndef __LINUX_KVM_VAMP_PV_H
#define __LINUX_KVM_VAMP_PV_H

#include <linux/types.h>

/*
 * CPUID. Bases of hypervisors' leaves are 0x100 apart; KVM's own are the first
 * two, and nobody else's is here. Leaf 0: eax: the highest leaf;
 * ebx, ecx, edx: the signature, 12 bytes. Leaf 1: eax: features; ebx: the
 * generation, never 0; ecx, edx: 0.
 *
 * The leaves come and go with the host's policy, and when the generation
 * changes the host has forgotten all that it was told.
 */
#define KVM_CPUID_VAMP_SIGNATURE	0x40005600
#define KVM_CPUID_VAMP_FEATURES		0x40005601

#define KVM_VAMP_PV_SIGNATURE		"VAMPpvVAMPpv"

/* Features, eax of leaf 1; a guest ignores those that it does not know. */
#define KVM_VAMP_PV_F_TASK	(1U << 0)	/* MSR_KVM_VAMP_TASK */
#define KVM_VAMP_PV_F_SLOW	(1U << 1)	/* MSR_KVM_VAMP_PLAN, _SLOW */

/*
 * MSRs, of each vCPU. They fault (#GP) where the leaves are not; so does a
 * value that is not allowed.
 *
 * TASK: guest-physical address of this vCPU's struct kvm_vamp_pv_task, in
 * memory and aligned to its size, plus KVM_VAMP_PV_ENABLE; or 0. INIT and
 * RESET make it 0.
 *
 * PLAN, read only: a number that changes with each plan.
 *
 * SLOW to SLOW_LAST, read only: the plan's background. Bits 63..12: an address
 * space, as in struct kvm_vamp_pv_task. Bits 11..0: its load, per mille of one
 * CPU, 4095 or more: 4095. 0: the list has ended.
 */
#define MSR_KVM_VAMP_TASK	0x4b565600
#define MSR_KVM_VAMP_PLAN	0x4b565601
#define MSR_KVM_VAMP_SLOW	0x4b565640
#define MSR_KVM_VAMP_SLOW_LAST	0x4b56567f

#define KVM_VAMP_PV_ENABLE	1ULL
#define KVM_VAMP_PV_LOAD_MASK	0xfffULL

#define KVM_VAMP_PV_NAME_LEN	16

/*
 * What runs on a vCPU. Written by that vCPU, before it loads CR3; read by the
 * host while the vCPU is stopped at an exit.
 */
struct kvm_vamp_pv_task {
	__u32 seq;		/* odd while the rest is being written */
	__u32 pid;		/* the process, in the guest's first namespace */
	__u64 aspace;		/* its CR3, bits 51..12; else 0: not known */
	char name[KVM_VAMP_PV_NAME_LEN];	/* NUL-terminated, or full */
	__u64 reserved[4];	/* 0 */
};

#endif /* __LINUX_KVM_VAMP_PV_H */
