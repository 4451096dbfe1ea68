/*
 * The status page: what a QEMU can read at any time without asking
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/cutils.h"
#include "broker/broker.h"

#ifndef F_SEAL_FUTURE_WRITE     /* Linux 5.1 */
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

bool page_new(Vm *vm, Error **errp)
{
    void *page;
    int fd;

    vm->page_size = sizeof(*vm->page) + VAMP_BROKER_THREADS_MAX *
                    sizeof(vm->page->thread[0]);
    fd = memfd_create("vamp-status", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, vm->page_size) < 0) {
        goto fail;
    }
    page = mmap(NULL, vm->page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        goto fail;
    }
    vm->page = page;
    /* From here on, only the mapping above can write. */
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW |
              F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0) {
        goto fail;
    }
    vm->page_fd = fd;
    vm->page_free = g_array_new(false, false, sizeof(unsigned));
    vm->page->magic = VAMP_BROKER_MAGIC;
    vm->page->version = VAMP_BROKER_VERSION;
    page_vm(vm);
    return true;

fail:
    error_setg_errno(errp, errno, "cannot make a status page of %zu bytes",
                     vm->page_size);
    if (fd >= 0) {
        close(fd);
    }
    return false;
}

void page_free(Vm *vm)
{
    if (vm->page) {
        munmap(vm->page, vm->page_size);
        vm->page = NULL;
    }
    if (vm->page_fd >= 0) {
        close(vm->page_fd);
        vm->page_fd = -1;
    }
    if (vm->page_free) {
        g_array_unref(vm->page_free);
        vm->page_free = NULL;
    }
}

static void begin(struct vamp_broker_page *p)
{
    qatomic_set(&p->seq, p->seq + 1);
    /* Odd before anything changes... */
    smp_wmb();
}

static void end(struct vamp_broker_page *p)
{
    /* ... and even when all has changed. */
    smp_wmb();
    qatomic_set(&p->seq, p->seq + 1);
}

void page_thread(VmThread *t)
{
    struct vamp_broker_page *p = t->vm->page;

    if (t->page_index == UINT_MAX) {
        return;
    }
    begin(p);
    p->thread[t->page_index] = (struct vamp_broker_page_thread) {
        .tid = t->tid,
        .slot = t->slot,
        .role = t->role,
        .vclass = t->vclass,
        .sched = t->now == THREAD_RR ? VAMP_BROKER_SCHED_RR
                                     : VAMP_BROKER_SCHED_OTHER,
        .err = t->err,
    };
    p->nr_threads = MAX(p->nr_threads, t->page_index + 1);
    end(p);
}

void page_vm(Vm *vm)
{
    struct vamp_broker_page *p = vm->page;
    const struct vamp_account *a = &vm->account;

    begin(p);
    p->updated_ns = loop_now();
    p->state = vm->state;
    p->share_ppm = a->fair_ppm;
    p->debt_ns = a->debt_ns;
    p->used_ns = a->total_used_ns;
    p->entitled_ns = a->total_entitled_ns;
    p->weight = vm->group ? vm->group->weight->last : 0;
    p->weight_base = vm->group ? vm->group->weight->base : 0;
    p->boosts = vm->boosts;
    p->guards = a->guards;
    p->faults = vm->faults;
    memcpy(p->reason, vm->reason, sizeof(p->reason));
    end(p);
}
