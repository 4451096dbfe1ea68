/*
 * Claims about sound: which task plays, found from outside
 *
 * The guest plays as guests do. In the first chain the device interrupts vCPU
 * 0, whose handler looks at the device and wakes the sound server on vCPU 1;
 * that one writes to the device and wakes the player on vCPU 2. vCPU 0 then
 * goes on with what it did. In the second chain the player, on vCPU 0, wakes the
 * server. Everybody halts in between, in a task of the vCPU's own.
 *
 * What counts is which task is found, not how often: on a busy machine a vCPU
 * may be slower than the window.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <string.h>
#include "claim.h"

#define STEP            5
#define GSI             10
#define FIRST           task(1)     /* on vCPU 0, of the second chain */
#define SERVER          task(2)     /* on vCPU 1 */
#define PLAYER          task(3)     /* on vCPU 2 */
#define IDLE(id)        task(8 + (id))
/* As long as there may be: a vCPU of a guest's guest is slow. */
#define WINDOW_US       100000
/* The device's; a score is half of it a second later. */
#define PERIOD_MS       20
#define PERIODS         500

#define PORTS           { .addr = PORT_DEVICE, .len = 16,               \
                          .space = KVM_VAMP_SPACE_PIO }
#define REGISTERS       { .addr = DEVICE_AT, .len = 0x1000,             \
                          .space = KVM_VAMP_SPACE_MMIO }
#define BY_GSI          { .kind = KVM_VAMP_IRQ_GSI, .gsi = GSI }
#define BY_MSI(to, mode)                                                \
    { .kind = KVM_VAMP_IRQ_MSI, .address = (to),                        \
      .data = VECTOR_DEVICE | (mode) }

/* A fixed interrupt for vCPU @id */
static uint64_t icr(int id, int vector)
{
    return (uint64_t)id << 32 | 0x4000 | vector;
}

static struct kvm_vamp_sound_status sound_status(struct vm *vm)
{
    struct kvm_vamp_sound_status s = { 0 };
    int ret = try_ioctl(vm, KVM_VAMP_SOUND_STATUS, &s);

    check(!ret, "KVM_VAMP_SOUND_STATUS: %s", strerror(-ret));
    return s;
}

static void name(struct vm *vm, const struct kvm_vamp_sound *s)
{
    int ret = try_ioctl(vm, KVM_VAMP_SOUND, s);

    check(!ret, "KVM_VAMP_SOUND: %s", strerror(-ret));
}

static const struct kvm_vamp_sound_task *
find(const struct kvm_vamp_sound_status *s, uint64_t task)
{
    for (uint32_t i = 0; i < s->nr_tasks; i++) {
        if (s->task[i].task == task) {
            return &s->task[i];
        }
    }
    return NULL;
}

static uint32_t drives(const struct kvm_vamp_sound_status *s, uint64_t task)
{
    const struct kvm_vamp_sound_task *t = find(s, task);

    return t ? t->drives : 0;
}

static uint32_t feeds(const struct kvm_vamp_sound_status *s, uint64_t task)
{
    const struct kvm_vamp_sound_task *t = find(s, task);

    return t ? t->feeds : 0;
}

static void tell(const struct kvm_vamp_sound_status *s)
{
    note("audio 0x%llx, driver 0x%llx, on vCPU %d; %llu accesses, %llu "
         "handled, %llu irqs, %llu ipis, %llu woken, %llu by sound, %llu "
         "resets, %llu late", (long long)s->audio_task, (long long)s->driver,
         s->playing, (long long)s->accesses, (long long)s->handled,
         (long long)s->irqs, (long long)s->ipis, (long long)s->woken,
         (long long)s->woken_by_sound, (long long)s->resets,
         (long long)s->late);
    for (uint32_t i = 0; i < s->nr_tasks; i++) {
        note("task 0x%llx, waker 0x%llx: feeds %u, drives %u, confidence %u",
             (long long)s->task[i].task, (long long)s->task[i].waker,
             s->task[i].feeds, s->task[i].drives, s->task[i].confidence);
    }
}

/* Three vCPUs that wait; vCPU 1 plays by port or register. */
static struct vm *guest(bool mmio, bool pull)
{
    struct vm *vm = vm_new(3);
    const uint64_t tasks[] = { pull ? IDLE(0) : FIRST, SERVER, PLAYER };
    int i;

    for (i = 0; i < 3; i++) {
        struct block *b = vcpu_plan(&vm->vcpu[i], OP_WAIT, UINT32_MAX);

        vcpu_x2apic(&vm->vcpu[i]);
        vcpu_step(&vm->vcpu[i], IDLE(i), 0);
        vcpu_step(&vm->vcpu[i], tasks[i], 0);
        if (i == 0 && pull) {
            b->handler_port = PORT_DEVICE + 1;
            b->handler_icr = icr(1, VECTOR_WAKE);
        } else if (i == 0) {
            b->icr = icr(1, VECTOR_WAKE);
        } else if (i == 1) {
            b->port = mmio ? 0 : PORT_DEVICE;
            b->mmio = mmio ? DEVICE_AT + 8 : 0;
            b->icr = pull ? icr(2, VECTOR_WAKE) : 0;
        }
    }
    turn_on(vm, KVM_VAMP_F_WEIGHTS);
    return vm;
}

static void start(struct vm *vm)
{
    int i;

    for (i = 0; i < vm->nr; i++) {
        vcpu_start(&vm->vcpu[i]);
        eventually(vcpu_status(vm, i).halts, "vCPU %d does not halt", i);
    }
}

static void stop(struct vm *vm)
{
    int i;

    for (i = 0; i < vm->nr; i++) {
        vm->vcpu[i].block->stop = 1;
        vm_msi(vm, MSI_TO(i), VECTOR_WAKE);
        vcpu_wait(&vm->vcpu[i]);
    }
}

/* The device's interrupt for vCPU 0 has been handled since it had @before. */
static void handled(struct vm *vm, uint64_t before)
{
    eventually(vm->vcpu[0].block->irqs != before, "no handler runs");
}

static void by_msi(struct vm *vm)
{
    uint64_t before = vm->vcpu[0].block->irqs;

    check(vm_msi(vm, MSI_TO(0), VECTOR_DEVICE), "nobody takes it");
    handled(vm, before);
}

static void by_gsi(struct vm *vm)
{
    uint64_t before = vm->vcpu[0].block->irqs;

    vm_edge(vm, GSI);
    handled(vm, before);
}

/* Lets the device beat until @audio is found; returns what was. */
static struct kvm_vamp_sound_status
play(struct vm *vm, void (*beat)(struct vm *vm), uint64_t audio)
{
    struct kvm_vamp_sound_status s = { 0 };
    int i;

    for (i = 0; i < PERIODS; i++) {
        beat(vm);
        sleep_ms(PERIOD_MS);
        s = sound_status(vm);
        if (i >= 10 && s.audio_task == audio) {
            break;
        }
    }
    tell(&s);
    check(s.audio_task == audio, "0x%llx is found, 0x%llx plays",
          (long long)s.audio_task, (long long)audio);
    return s;
}

/* The task of the interrupted vCPU, and its handler, are nobody. */
static void check_chain(const struct kvm_vamp_sound_status *s)
{
    check(s->driver == SERVER, "0x%llx drives the device",
          (long long)s->driver);
    check(s->playing == 1, "vCPU %d plays", s->playing);
    check(s->irqs && s->woken_by_sound && s->woken && s->handled &&
          s->accesses, "nothing of it is counted");
    check(drives(s, IDLE(0)) < drives(s, SERVER) / 2,
          "what the handler did is the interrupted task's");
    check(feeds(s, IDLE(0)) < feeds(s, SERVER) / 2,
          "the interrupted task has woken the server");
}

/* A card with ports, whose messages go to the first vCPU */
static const struct kvm_vamp_sound by_ports = {
    .mode = KVM_VAMP_WAKEUP_BASE | KVM_VAMP_WAKEUP_TRANSITIVE,
    .window_us = WINDOW_US,
    .nr_ranges = 1,
    .range = { PORTS },
    .nr_irqs = 1,
    .irq = { BY_MSI(MSI_TO(0), 0) },
};

static void pull_port(void)
{
    struct vm *vm = guest(false, true);
    struct kvm_vamp_sound sound = by_ports;
    struct kvm_vamp_sound_status s;

    name(vm, &sound);
    start(vm);
    s = play(vm, by_msi, PLAYER);
    check_chain(&s);
    check(status(vm).audio_task == PLAYER, "the status does not have it");
    stop(vm);
}

static void pull_mmio(void)
{
    struct vm *vm = guest(true, true);
    struct kvm_vamp_sound sound = {
        .mode = KVM_VAMP_WAKEUP_BASE | KVM_VAMP_WAKEUP_TRANSITIVE,
        .window_us = WINDOW_US,
        .nr_ranges = 2,
        .range = { REGISTERS, PORTS },
        .nr_irqs = 1,
        .irq = { BY_GSI },
    };
    struct kvm_vamp_sound_status s;

    vm_ioapic(vm, GSI, 0, VECTOR_DEVICE);
    name(vm, &sound);
    start(vm);
    s = play(vm, by_gsi, PLAYER);
    check_chain(&s);
    stop(vm);
}

/* Without the bit nobody looks further than the server. */
static void base(void)
{
    struct vm *vm = guest(false, true);
    struct kvm_vamp_sound sound = by_ports;
    struct kvm_vamp_sound_status s;
    int i;

    sound.mode = KVM_VAMP_WAKEUP_BASE;
    name(vm, &sound);
    start(vm);
    for (i = 0; i < 50; i++) {
        by_msi(vm);
        sleep_ms(PERIOD_MS);
    }
    s = play(vm, by_msi, SERVER);
    check(s.woken_by_sound && !feeds(&s, PLAYER), "the player has score %u",
          feeds(&s, PLAYER));
    stop(vm);
}

static void wake_first(struct vm *vm)
{
    check(vm_msi(vm, MSI_TO(0), VECTOR_WAKE), "nobody takes it");
}

/* The device never interrupts; the player has its own time. */
static void push(void)
{
    struct vm *vm = guest(true, false);
    struct kvm_vamp_sound sound = {
        .mode = KVM_VAMP_WAKEUP_BASE,
        .window_us = WINDOW_US,
        .nr_ranges = 1,
        .range = { REGISTERS },
    };
    struct kvm_vamp_sound_status s;

    name(vm, &sound);
    start(vm);
    s = play(vm, wake_first, FIRST);
    check(s.driver == SERVER && s.playing == 1, "0x%llx drives on vCPU %d",
          (long long)s.driver, s.playing);
    check(!s.irqs && !s.handled, "%llu interrupts", (long long)s.irqs);
    stop(vm);
}

/* Whatever the plan says, it is not in the background. */
static void plan_of_player(void)
{
    struct vm *vm = guest(false, true);
    struct kvm_vamp_sound sound = by_ports, none = { 0 };
    struct vcpu *player = &vm->vcpu[2];
    struct kvm_vamp_sound_status s;
    int i, nice;

    name(vm, &sound);
    start(vm);
    play(vm, by_msi, PLAYER);
    stop(vm);

    /* It goes on playing, and computes all the time. */
    vcpu_reset(player);
    vcpu_plan(player, OP_SWITCH, 1);
    vcpu_step(player, PLAYER, 500000000);
    vcpu_start(player);
    plan(vm, PLAYER, 60000);
    eventually(vcpu_status(vm, 2).task == PLAYER, "it runs 0x%llx",
               (long long)vcpu_status(vm, 2).task);
    for (i = 0; i < 20; i++) {
        sleep_ms(5);
        check(nice_of(player->tid) == 0, "the player has nice %d",
              nice_of(player->tid));
    }
    check(vcpu_status(vm, 2).vclass == KVM_VAMP_CLASS_INTERACTIVE, "class %u",
          vcpu_status(vm, 2).vclass);
    /* It is a background task that nobody else takes for one. */
    s = sound_status(vm);
    check(find(&s, PLAYER) && find(&s, PLAYER)->confidence == 1,
          "its confidence is not 1");

    /* No devices: it plays no more. */
    name(vm, &none);
    eventually((nice = nice_of(player->tid)) == STEP, "nice %d", nice);
    check(!status(vm).audio_task, "0x%llx plays",
          (long long)status(vm).audio_task);
    turn_off(vm);
    vcpu_stop(player);
}

/* Two lowest-priority messages to all; the first comes as it always does. */
static void redirect(void)
{
    struct vm *vm = guest(false, true);
    uint32_t all = MSI_TO(7) | MSI_LOGICAL;
    struct kvm_vamp_sound sound = {
        .mode = KVM_VAMP_WAKEUP_BASE,
        .flags = KVM_VAMP_SOUND_REDIRECT,
        .window_us = WINDOW_US,
        .nr_ranges = 1,
        .range = { PORTS },
        .nr_irqs = 2,
        .irq = { BY_MSI(all, MSI_LOWEST), BY_MSI(MSI_TO(0), 0) },
    };
    struct block *b[] = { vm->vcpu[0].block, vm->vcpu[1].block,
                          vm->vcpu[2].block };
    struct kvm_vamp_sound_status s;
    uint64_t before, i;

    name(vm, &sound);
    start(vm);
    /* By vector: 0x60 of three is the first. */
    check(vm_msi(vm, all, VECTOR_DEVICE | MSI_LOWEST) == 1, "nobody");
    eventually(b[0]->irqs == 1, "vCPU 0 has had %llu",
               (long long)b[0]->irqs);
    check(!sound_status(vm).redirected, "where to?");

    /* vCPU 1 plays. */
    play(vm, by_msi, SERVER);
    before = b[0]->irqs;
    for (i = 1; i <= 10; i++) {
        check(vm_msi(vm, all, VECTOR_DEVICE | MSI_LOWEST) == 1, "nobody");
        eventually(b[1]->irqs == i, "vCPU 1 has had %llu of %llu",
                   (long long)b[1]->irqs, (long long)i);
        sleep_ms(PERIOD_MS);
    }
    s = sound_status(vm);
    check(b[0]->irqs == before && s.redirected == 10,
          "vCPU 0 has had %llu of them, %llu were redirected",
          (long long)(b[0]->irqs - before), (long long)s.redirected);
    check(s.fixed == before - 1, "%llu of %llu fixed ones are counted",
          (long long)s.fixed, (long long)before - 1);

    /* Not asked for, they come as they always did. */
    sound.flags = 0;
    name(vm, &sound);
    check(vm_msi(vm, all, VECTOR_DEVICE | MSI_LOWEST) == 1, "nobody");
    eventually(b[0]->irqs == before + 1, "vCPU 0 has had %llu",
               (long long)(b[0]->irqs - before));
    s = sound_status(vm);
    check(s.audio_task == SERVER, "0x%llx plays", (long long)s.audio_task);
    stop(vm);
}

/* It is off at first, refuses nonsense, and goes when VAMP goes. */
static void refused(void)
{
    struct vm *vm = vm_new(1);
    const struct kvm_vamp_sound good = {
        .mode = KVM_VAMP_WAKEUP_ALL,
        .flags = KVM_VAMP_SOUND_REDIRECT,
        .nr_ranges = 2,
        .range = { PORTS, REGISTERS },
        .nr_irqs = 2,
        .irq = { BY_GSI, BY_MSI(MSI_TO(0), 0) },
    };
    struct kvm_vamp_sound_status before, s = { 0 };
    struct kvm_vamp_sound bad;
    int ret;

    check(try_ioctl(vm, KVM_VAMP_SOUND, &good) == -ENXIO, "it is taken");
    check(try_ioctl(vm, KVM_VAMP_SOUND_STATUS, &s) == -ENXIO, "it is told");
    turn_on(vm, 0);
    s = sound_status(vm);
    check(!s.mode && !s.nr_ranges && !s.nr_tasks, "it is on at first");
    name(vm, &good);
    before = sound_status(vm);
    check(before.mode == KVM_VAMP_WAKEUP_ALL && before.nr_ranges == 2 &&
          before.nr_irqs == 2 && before.window_us == 100 &&
          before.flags & KVM_VAMP_SOUND_REDIRECT && before.playing == -1,
          "it is not as it was set");
#define BAD(what)                                                       \
    do {                                                                \
        bad = good;                                                     \
        what;                                                           \
        ret = try_ioctl(vm, KVM_VAMP_SOUND, &bad);                      \
        check(ret == -EINVAL, #what ": %d", ret);                       \
        s = sound_status(vm);                                           \
        check(!memcmp(&s, &before, sizeof(s)), #what " changes it");    \
    } while (0)
    BAD(bad.mode = KVM_VAMP_WAKEUP_ALL + 1);
    BAD(bad.flags = 2);
    BAD(bad.nr_ranges = KVM_VAMP_SOUND_RANGES + 1);
    BAD(bad.nr_irqs = UINT32_MAX);
    BAD(bad.window_us = 100001);
    BAD(bad.reserved[2] = 1);
    BAD(bad.range[0].len = 0);
    BAD(bad.range[0].addr = 0xfff1);
    BAD(bad.range[0].space = 2);
    BAD(bad.range[1].reserved = 1);
    BAD(bad.range[1].len = (1ull << 32) + 1);
    BAD(bad.range[1].addr = UINT64_MAX);
    BAD(bad.irq[0].kind = 2);
    BAD(bad.irq[0].gsi = 4096);
    BAD(bad.irq[0].data = 1);
    BAD(bad.irq[1].gsi = 1);
    BAD(bad.irq[1].reserved = 1);
#undef BAD
    check(try_ioctl(vm, KVM_VAMP_SOUND, (void *)8) == -EFAULT,
          "an address that is not there is read");
    turn_off(vm);
    turn_on(vm, 0);
    check(!sound_status(vm).nr_ranges, "it outlives VAMP");
    name(vm, &good);
    vm_close(vm);
}

const struct claim claims_sound[] = {
    { "sound-refuse", "sound devices are named with valid numbers only",
      refused },
    { "sound-pull", "who is woken for the device's interrupt plays (ports, MSI)",
      pull_port },
    { "sound-mmio", "the same by registers in memory and by the I/O APIC",
      pull_mmio },
    { "sound-base", "the base bit alone finds whom the interrupt wakes", base },
    { "sound-push", "who wakes the task that drives the device plays", push },
    { "sound-plan", "who plays is not in the background of any plan",
      plan_of_player },
    { "sound-redirect", "an interrupt with a choice goes to the vCPU that plays",
      redirect },
    { NULL }
};
