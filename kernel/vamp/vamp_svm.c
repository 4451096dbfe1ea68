// SPDX-License-Identifier: GPL-2.0
/*
 * Loads of CR3 that exit, on AMD (APM volume 2, 15.8)
 *
 * Copyright (c) 2026 The VAMP authors
 */

#include <linux/module.h>
#include "kvm_cache_regs.h"
#include "lapic.h"
#include "svm/svm.h"
#include "vamp.h"

static bool set_cr3_exits(struct kvm_vcpu *vcpu, bool on)
{
	struct vcpu_svm *svm = to_svm(vcpu);

	/* Shadow paging has them exit anyway; encrypted guests never may. */
	if (!npt_enabled || sev_es_guest(vcpu->kvm))
		return false;
	if (vmcb_is_intercept(&svm->vmcb01.ptr->control,
			      INTERCEPT_CR3_WRITE) != on) {
		/* Also of the VMCB that a nested guest runs with. */
		if (on)
			svm_set_intercept(svm, INTERCEPT_CR3_WRITE);
		else
			svm_clr_intercept(svm, INTERCEPT_CR3_WRITE);
	}
	return on;
}

/* Exits that are handled at once come before KVM looks at this. */
static u64 read_cr3(struct kvm_vcpu *vcpu)
{
	return npt_enabled ? to_svm(vcpu)->vmcb->save.cr3 : kvm_read_cr3(vcpu);
}

/*
 * AVIC sets the interrupt in the other vCPU's APIC and rings its doorbell. Only
 * if that one does not run, KVM is told, and by it we are.
 */
static bool hides_ipis(struct kvm_vcpu *vcpu)
{
	return kvm_vcpu_apicv_active(vcpu);
}

void kvm_vamp_svm_register(void)
{
	static const struct kvm_vamp_vendor vendor = {
		.offset = offsetof(struct vcpu_svm, vamp),
		.set_cr3_exits = set_cr3_exits,
		.read_cr3 = read_cr3,
		.hides_ipis = hides_ipis,
	};

	kvm_vamp_register(&vendor);
}

MODULE_VERSION(KVM_VAMP_MODULE_VERSION);
