// SPDX-License-Identifier: GPL-2.0
/*
 * Loads of CR3 that exit, on Intel (SDM volume 3, 25.6.2)
 *
 * Copyright (c) 2026 The VAMP authors
 */

#include <linux/module.h>
#include "vmx/vmx.h"
#include "vmx/nested.h"
#include "vamp.h"

static bool set_cr3_exits(struct kvm_vcpu *vcpu, bool on)
{
	struct vcpu_vmx *vmx = to_vmx(vcpu);

	/* Shadow paging has them exit anyway. */
	if (!enable_ept)
		return false;
	if (is_guest_mode(vcpu)) {
		/*
		 * vmcs02 has inherited the bit from vmcs01 at the nested entry;
		 * only the nested hypervisor may want it. vmcs01 keeps it.
		 */
		if (!(get_vmcs12(vcpu)->cpu_based_vm_exec_control &
		      CPU_BASED_CR3_LOAD_EXITING))
			exec_controls_clearbit(vmx, CPU_BASED_CR3_LOAD_EXITING);
		return true;
	}
	if (!!(exec_controls_get(vmx) & CPU_BASED_CR3_LOAD_EXITING) == on)
		return on;
	if (on) {
		/* From now on KVM takes its cached CR3 for the guest's. */
		kvm_read_cr3(vcpu);
		exec_controls_setbit(vmx, CPU_BASED_CR3_LOAD_EXITING);
	} else if (enable_unrestricted_guest || is_paging(vcpu)) {
		exec_controls_clearbit(vmx, CPU_BASED_CR3_LOAD_EXITING);
	}
	/* Else KVM itself needs it for real mode, and will clear it. */
	return on;
}

static u64 read_cr3(struct kvm_vcpu *vcpu)
{
	return kvm_read_cr3(vcpu);
}

/*
 * IPI virtualization posts the interrupt, also to a vCPU that does not run (SDM
 * volume 3, 30.1.6). Without it, a write to ICR exits, posted interrupts or not.
 */
static bool hides_ipis(struct kvm_vcpu *vcpu)
{
	return enable_ipiv && kvm_vcpu_apicv_active(vcpu);
}

void kvm_vamp_vmx_register(void)
{
	static const struct kvm_vamp_vendor vendor = {
		.offset = offsetof(struct vcpu_vmx, vamp),
		.set_cr3_exits = set_cr3_exits,
		.read_cr3 = read_cr3,
		.hides_ipis = hides_ipis,
	};

	kvm_vamp_register(&vendor);
}

MODULE_VERSION(KVM_VAMP_MODULE_VERSION);
