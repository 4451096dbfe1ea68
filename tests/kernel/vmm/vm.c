/*
 * A little virtual machine, and threads for its vCPUs
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "vm.h"

#define VECTOR_NMI      2
#define VECTOR_GP       13
#define CR0_PE          (1u << 0)
#define CR0_NE          (1u << 5)
#define CR0_PG          (1u << 31)
#define CR4_PAE         (1u << 5)
#define EFER_LME        (1u << 8)
#define EFER_LMA        (1u << 10)
#define PTE_RW          3           /* present, writable */
#define PTE_LARGE       0x80
#define SELECTOR_CODE   8
#define SELECTOR_DATA   16
#define CPUID_1_ECX_PCID    (1u << 17)
#define CPUID_EXT_ECX_SVM   (1u << 2)

/* Members of a VMCB (APM volume 2, appendix B) that are not 0 here */
#define VMCB_INTERCEPT3     0x00c
#define INTERCEPT3_NMI      (1u << 1)
/* Beside it, at 0x010 */
#define INTERCEPT4_VMRUN    (1u << 0)   /* it has to be */
#define INTERCEPT4_VMMCALL  (1u << 1)
#define VMCB_ASID           0x058
#define VMCB_ES             0x400
#define VMCB_CS             0x410
#define VMCB_SS             0x420
#define VMCB_DS             0x430
#define VMCB_GDTR           0x460
#define VMCB_IDTR           0x480
#define VMCB_EFER           0x4d0
#define VMCB_CR4            0x548
#define VMCB_CR3            0x550
#define VMCB_CR0            0x558
#define VMCB_DR7            0x560
#define VMCB_DR6            0x568
#define VMCB_RFLAGS         0x570
#define VMCB_RSP            0x5d8
#define VMCB_PAT            0x668
#define ATTRIBUTES_CODE     0xa9b       /* as in segment() below */
#define ATTRIBUTES_DATA     0xc93
#define EFER_SVME           (1u << 12)

#define APIC_SPIV       0xf0
#define APIC_BASE_X2    (1u << 10)
#define MSI_NMI         0x400
#define MSI_INIT        0x4500      /* asserted */

#define PAGE            4096

/* What a payload may take; a busy machine runs it a hundred times slower. */
#define WAIT_S          60

void die(const char *format, ...)
{
    va_list args;

    printf("# cannot go on: ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    _exit(1);
}

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

void sleep_ms(unsigned int ms)
{
    usleep(ms * 1000);
}

int nice_of(int tid)
{
    char path[64], text[1024], *p;
    int fd, n, i;

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
    fd = open(path, O_RDONLY);
    n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0) {
        die("%s: %s", path, strerror(errno));
    }
    close(fd);
    text[n] = 0;
    /* The second field may hold spaces and brackets. */
    p = strrchr(text, ')');
    for (i = 2; p && i < 19; i++) {
        p = strchr(p + 1, ' ');
    }
    if (!p) {
        die("%s cannot be understood: %s", path, text);
    }
    return atoi(p);
}

/* --- the machine --------------------------------------------------------- */

int kvm_open(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        die("/dev/kvm: %s", strerror(errno));
    }
    return fd;
}

static void put64(struct vm *vm, uint64_t at, uint64_t value)
{
    memcpy(vm->mem + at, &value, sizeof(value));
}

uint64_t task(unsigned int n)
{
    return PML4S_AT + n * 0x1000ull;
}

static void put_handler(struct vm *vm, int vector, const uint8_t *code)
{
    uint64_t handler = CODE_AT + (code - payload_start);

    put64(vm, IDT_AT + vector * 16,
          (handler & 0xffff) | (SELECTOR_CODE << 16) | 0x8e0000000000 |
          (handler >> 16) << 48);
}

static void fill(struct vm *vm)
{
    uint64_t at;

    memcpy(vm->mem + CODE_AT, payload_start, payload_end - payload_start);
    /* The end of an NMI loads these selectors anew. */
    put64(vm, GDT_AT + SELECTOR_CODE, 0x00209b0000000000);
    put64(vm, GDT_AT + SELECTOR_DATA, 0x0000930000000000);
    put_handler(vm, VECTOR_NMI, payload_nmi);
    put_handler(vm, VECTOR_GP, payload_gp);
    put_handler(vm, VECTOR_DEVICE, payload_device);
    put_handler(vm, VECTOR_WAKE, payload_wake);
    for (at = PML4S_AT; at < MEM_SIZE; at += 0x1000) {
        put64(vm, at, PDPT_AT | PTE_RW);
    }
    put64(vm, PDPT_AT, PD_AT | PTE_RW);
    for (at = 0; at <= DEVICE_AT; at += 0x200000) {
        put64(vm, PD_AT + at / 0x200000 * 8, at | PTE_RW | PTE_LARGE);
    }
}

struct vm *vm_new(int nr)
{
    struct vm *vm = calloc(1, sizeof(*vm));
    struct kvm_userspace_memory_region region = {
        .memory_size = MEM_SIZE,
    };
    int kvm = kvm_open();

    vm->fd = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm->fd < 0) {
        die("KVM_CREATE_VM: %s", strerror(errno));
    }
    close(kvm);
    vm->mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    region.userspace_addr = (uintptr_t)vm->mem;
    fill(vm);
    if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0 ||
        ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 ||
        ioctl(vm->fd, KVM_CREATE_IRQCHIP) < 0) {
        die("the VM's memory and interrupt controllers: %s", strerror(errno));
    }
    while (vm->nr < nr) {
        vm_add(vm);
    }
    return vm;
}

void vm_close(struct vm *vm)
{
    int i;

    for (i = 0; i < vm->nr; i++) {
        struct vcpu *v = &vm->vcpu[i];

        munmap(v->run, PAGE);
        close(v->stats_fd);
        close(v->fd);
    }
    close(vm->fd);
}

static struct kvm_cpuid2 *cpuid(void)
{
    struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));
    int kvm = kvm_open();

    c->nent = 256;
    if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, c) < 0) {
        die("KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
    }
    close(kvm);
    return c;
}

/* Bit of ECX of a leaf of CPUID that a guest may have */
static bool has(uint32_t leaf, uint32_t bit)
{
    struct kvm_cpuid2 *c = cpuid();
    bool found = false;
    uint32_t i;

    for (i = 0; i < c->nent; i++) {
        found |= c->entries[i].function == leaf && (c->entries[i].ecx & bit);
    }
    free(c);
    return found;
}

bool has_pcid(void)
{
    return has(1, CPUID_1_ECX_PCID);
}

bool has_svm(void)
{
    return has(0x80000001, CPUID_EXT_ECX_SVM);
}

static void put_segment(struct vm *vm, uint64_t at, int selector,
                        int attributes)
{
    put64(vm, VMCB_AT + at,
          0xffffffff00000000 | attributes << 16 | selector);
}

void vm_nest(struct vm *vm, unsigned int n)
{
    memset(vm->mem + VMCB_AT, 0, PAGE);
    put64(vm, VMCB_AT + VMCB_INTERCEPT3, INTERCEPT3_NMI |
          (uint64_t)(INTERCEPT4_VMRUN | INTERCEPT4_VMMCALL) << 32);
    put64(vm, VMCB_AT + VMCB_ASID, 1);
    put_segment(vm, VMCB_CS, SELECTOR_CODE, ATTRIBUTES_CODE);
    put_segment(vm, VMCB_DS, SELECTOR_DATA, ATTRIBUTES_DATA);
    put_segment(vm, VMCB_ES, SELECTOR_DATA, ATTRIBUTES_DATA);
    put_segment(vm, VMCB_SS, SELECTOR_DATA, ATTRIBUTES_DATA);
    put64(vm, VMCB_AT + VMCB_GDTR, 23ull << 32);
    put64(vm, VMCB_AT + VMCB_GDTR + 8, GDT_AT);
    put64(vm, VMCB_AT + VMCB_IDTR, (256ull * 16 - 1) << 32);
    put64(vm, VMCB_AT + VMCB_IDTR + 8, IDT_AT);
    put64(vm, VMCB_AT + VMCB_EFER, EFER_LME | EFER_LMA | EFER_SVME);
    put64(vm, VMCB_AT + VMCB_CR4, CR4_PAE);
    put64(vm, VMCB_AT + VMCB_CR3, task(n));
    put64(vm, VMCB_AT + VMCB_CR0, CR0_PE | CR0_NE | CR0_PG);
    put64(vm, VMCB_AT + VMCB_DR7, 0x400);
    put64(vm, VMCB_AT + VMCB_DR6, 0xffff0ff0);
    put64(vm, VMCB_AT + VMCB_RFLAGS, 2);
    /* The stack of the last vCPU, which the guest does not have */
    put64(vm, VMCB_AT + VMCB_RSP, STACKS_AT + MAX_CPUS * 0x1000);
    put64(vm, VMCB_AT + VMCB_PAT, 0x0007040600070406);
}

int vm_msi(struct vm *vm, uint32_t address, uint32_t data)
{
    struct kvm_msi msi = {
        .address_lo = address,
        .data = data,
    };
    int taken = ioctl(vm->fd, KVM_SIGNAL_MSI, &msi);

    if (taken < 0) {
        die("KVM_SIGNAL_MSI 0x%x: %s", data, strerror(errno));
    }
    return taken;
}

static void msi(struct vm *vm, int id, uint32_t data)
{
    if (!vm_msi(vm, MSI_TO(id), data)) {
        die("vCPU %d does not take the message 0x%x", id, data);
    }
}

void vm_ioapic(struct vm *vm, int pin, int id, int vector)
{
    struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };

    if (ioctl(vm->fd, KVM_GET_IRQCHIP, &chip) < 0) {
        die("KVM_GET_IRQCHIP: %s", strerror(errno));
    }
    chip.chip.ioapic.redirtbl[pin].bits = (uint64_t)id << 56 | vector;
    if (ioctl(vm->fd, KVM_SET_IRQCHIP, &chip) < 0) {
        die("KVM_SET_IRQCHIP: %s", strerror(errno));
    }
}

void vm_edge(struct vm *vm, int gsi)
{
    struct kvm_irq_level level = { .irq = gsi, .level = 1 };

    if (ioctl(vm->fd, KVM_IRQ_LINE, &level) < 0) {
        die("KVM_IRQ_LINE %d: %s", gsi, strerror(errno));
    }
    level.level = 0;
    if (ioctl(vm->fd, KVM_IRQ_LINE, &level) < 0) {
        die("KVM_IRQ_LINE %d: %s", gsi, strerror(errno));
    }
}

void vm_nmi(struct vm *vm, int id)
{
    msi(vm, id, MSI_NMI);
}

/* --- vCPUs --------------------------------------------------------------- */

static void segment(struct kvm_segment *s, int selector, int type, int l)
{
    memset(s, 0, sizeof(*s));
    s->selector = selector;
    s->limit = 0xffffffff;
    s->type = type;
    s->present = s->s = s->g = 1;
    s->l = l;
    s->db = !l;
}

void vcpu_reset(struct vcpu *v)
{
    struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
    struct kvm_regs regs = {
        .rip = CODE_AT,
        .rsp = STACKS_AT + (v->id + 1) * 0x1000,
        .rdi = BLOCKS_AT + v->id * BLOCK_SIZE,
        /*
         * Interrupts are on, though none comes: Bochs 2.7 keeps the host's timer
         * from a guest whose are off, which would run for ever.
         */
        .rflags = 0x202,
    };
    struct kvm_sregs s;

    if (ioctl(v->fd, KVM_GET_SREGS, &s) < 0) {
        die("KVM_GET_SREGS: %s", strerror(errno));
    }
    segment(&s.cs, SELECTOR_CODE, 0xb, 1);
    segment(&s.ds, SELECTOR_DATA, 3, 0);
    s.es = s.fs = s.gs = s.ss = s.ds;
    s.gdt.base = GDT_AT;
    s.gdt.limit = 23;
    s.idt.base = IDT_AT;
    s.idt.limit = 256 * 16 - 1;
    s.cr0 = CR0_PE | CR0_NE | CR0_PG;
    s.cr3 = task(0);
    s.cr4 = CR4_PAE;
    s.efer = EFER_LME | EFER_LMA;
    if (ioctl(v->fd, KVM_SET_SREGS, &s) < 0 ||
        ioctl(v->fd, KVM_SET_REGS, &regs) < 0 ||
        ioctl(v->fd, KVM_SET_MP_STATE, &runnable) < 0) {
        die("the registers of vCPU %d: %s", v->id, strerror(errno));
    }
    v->block->last = task(0);
}

void vcpu_set_cr4(struct vcpu *v, uint64_t bits)
{
    struct kvm_sregs s;

    if (ioctl(v->fd, KVM_GET_SREGS, &s) < 0) {
        die("KVM_GET_SREGS: %s", strerror(errno));
    }
    s.cr4 |= bits;
    if (ioctl(v->fd, KVM_SET_SREGS, &s) < 0) {
        die("CR4 of vCPU %d: %s", v->id, strerror(errno));
    }
}

void vcpu_x2apic(struct vcpu *v)
{
    struct kvm_sregs s;

    if (ioctl(v->fd, KVM_GET_SREGS, &s) < 0) {
        die("KVM_GET_SREGS: %s", strerror(errno));
    }
    s.apic_base |= APIC_BASE_X2;
    if (ioctl(v->fd, KVM_SET_SREGS, &s) < 0) {
        die("the x2APIC of vCPU %d: %s", v->id, strerror(errno));
    }
}

void vcpu_init(struct vcpu *v)
{
    struct kvm_mp_state state;

    msi(v->vm, v->id, MSI_INIT);
    /* Takes what is pending first. */
    if (ioctl(v->fd, KVM_GET_MP_STATE, &state) < 0 ||
        state.mp_state != KVM_MP_STATE_INIT_RECEIVED) {
        die("vCPU %d has not taken the INIT: state %u", v->id, state.mp_state);
    }
    vcpu_reset(v);
}

/* Registers that hold nothing */
static bool of_device(const struct kvm_run *run)
{
    return (run->exit_reason == KVM_EXIT_IO &&
            (run->io.port & ~0xf) == PORT_DEVICE) ||
           (run->exit_reason == KVM_EXIT_MMIO &&
            run->mmio.phys_addr >= DEVICE_AT &&
            run->mmio.phys_addr < DEVICE_AT + PAGE);
}

static void run(struct vcpu *v)
{
    for (;;) {
        if (ioctl(v->fd, KVM_RUN, 0) < 0) {
            if (errno != EINTR) {
                die("KVM_RUN of vCPU %d: %s", v->id, strerror(errno));
            }
        } else if (v->run->exit_reason == KVM_EXIT_IO &&
                   v->run->io.port == PORT_DONE) {
            return;
        } else if (!of_device(v->run)) {
            die("vCPU %d: exit %u, 0x%llx", v->id, v->run->exit_reason,
                (unsigned long long)v->run->hw.hardware_exit_reason);
        }
    }
}

static void *thread(void *opaque)
{
    struct vcpu *v = opaque;

    v->tid = syscall(SYS_gettid);
    sem_post(&v->done);
    for (;;) {
        if (sem_wait(&v->go) == 0) {
            run(v);
            sem_post(&v->done);
        }
    }
    return NULL;
}

/* As a guest does at first; KVM knows no vCPU by its APIC before. */
static void enable_apic(struct vcpu *v)
{
    struct kvm_lapic_state s;

    if (ioctl(v->fd, KVM_GET_LAPIC, &s) < 0) {
        die("KVM_GET_LAPIC: %s", strerror(errno));
    }
    s.regs[APIC_SPIV + 1] |= 1;
    if (ioctl(v->fd, KVM_SET_LAPIC, &s) < 0) {
        die("KVM_SET_LAPIC: %s", strerror(errno));
    }
}

struct vcpu *vm_add(struct vm *vm)
{
    struct vcpu *v = &vm->vcpu[vm->nr];
    struct kvm_cpuid2 *c = cpuid();

    v->vm = vm;
    v->id = vm->nr;
    v->fd = ioctl(vm->fd, KVM_CREATE_VCPU, v->id);
    v->block = (void *)(vm->mem + BLOCKS_AT + v->id * BLOCK_SIZE);
    if (v->fd < 0 || ioctl(v->fd, KVM_SET_CPUID2, c) < 0) {
        die("vCPU %d: %s", v->id, strerror(errno));
    }
    free(c);
    v->stats_fd = ioctl(v->fd, KVM_GET_STATS_FD, NULL);
    v->run = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
                  v->fd, 0);
    if (v->run == MAP_FAILED) {
        die("vCPU %d: mmap: %s", v->id, strerror(errno));
    }
    enable_apic(v);
    vcpu_reset(v);
    vm->tsc_khz = ioctl(v->fd, KVM_GET_TSC_KHZ);
    sem_init(&v->go, 0, 0);
    sem_init(&v->done, 0, 0);
    if (pthread_create(&v->thread, NULL, thread, v)) {
        die("no thread for vCPU %d", v->id);
    }
    sem_wait(&v->done);
    vm->nr++;
    return v;
}

struct block *vcpu_plan(struct vcpu *v, uint32_t op, uint64_t rounds)
{
    struct block *b = v->block;
    uint64_t last = b->last;

    memset(b, 0, sizeof(*b));
    b->op = op;
    b->rounds = rounds;
    b->mask = 0x000ffffffffff000;
    b->last = last;
    return b;
}

void vcpu_step(struct vcpu *v, uint64_t cr3, uint64_t us)
{
    struct block *b = v->block;

    b->cr3[b->steps] = cr3;
    b->stay[b->steps] = us * v->vm->tsc_khz / 1000;
    b->steps++;
}

void vcpu_start(struct vcpu *v)
{
    v->started = true;
    sem_post(&v->go);
}

void vcpu_wait(struct vcpu *v)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    while (sem_timedwait(&v->done, &until) < 0) {
        if (errno == ETIMEDOUT) {
            die("vCPU %d has not ended its payload in %d s: round %llu, "
                "%llu NMIs", v->id, WAIT_S, (long long)v->block->done,
                (long long)v->block->nmis);
        }
    }
    v->started = false;
}

void vcpu_go(struct vcpu *v)
{
    vcpu_start(v);
    vcpu_wait(v);
}

void vcpu_stop(struct vcpu *v)
{
    v->block->stop = 1;
    vcpu_wait(v);
}

uint64_t vcpu_exits(struct vcpu *v)
{
    struct kvm_stats_header h;
    struct kvm_stats_desc *d;
    uint64_t value = 0;
    char *text;
    uint32_t i;

    if (pread(v->stats_fd, &h, sizeof(h), 0) != sizeof(h)) {
        die("no statistics: %s", strerror(errno));
    }
    text = malloc(sizeof(*d) + h.name_size);
    d = (void *)text;
    for (i = 0; i < h.num_desc; i++) {
        size_t size = sizeof(*d) + h.name_size;

        if (pread(v->stats_fd, d, size, h.desc_offset + i * size) ==
                (ssize_t)size &&
            strcmp(d->name, "exits") == 0 &&
            pread(v->stats_fd, &value, 8, h.data_offset + d->offset) == 8) {
            free(text);
            return value;
        }
    }
    die("KVM counts no exits");
}
