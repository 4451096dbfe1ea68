/*
 * Tests of qemu-vamp-broker with control groups: the VM's, libvirt's, its own,
 * and what becomes of them
 *
 * On whatever has the cpu controller here, cgroup v1 or v2.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mount.h>
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "core/weight.h"
#include "qemu/vamp-cgroup.h"
#include "test-broker-util.h"

static VampCgroups *cg;
static char *root_dir, *base_dir;
static uint64_t unit;           /* the weight of a new group */
static bool rt_groups;          /* real-time class is shared out to groups */
static bool enabled_cpu;

/* --- groups -------------------------------------------------------------- */

static void put(const char *dir, const char *file, const char *text)
{
    int ret = vamp_cgroup_write(dir, file, text);

    if (ret < 0) {
        g_test_message("%s > %s/%s: %s", text, dir, file, strerror(-ret));
    }
    g_assert_cmpint(ret, ==, 0);
}

static void put_number(const char *dir, const char *file, int64_t number)
{
    g_autofree char *text = g_strdup_printf("%" PRId64, number);

    put(dir, file, text);
}

static uint64_t weight_of(const char *dir)
{
    g_autofree char *text = NULL;
    uint64_t weight = 0;

    if (vamp_cgroup_read(dir, cg->weight_file, &text) == 0) {
        qemu_strtou64(text, NULL, 10, &weight);
    }
    return weight;
}

/* @rt_us: what it gets of real-time class, where that is given to groups. */
static char *group_new(const char *parent, const char *name, int rt_us)
{
    char *dir = g_strdup_printf("%s/%s", parent, name);

    g_assert_cmpint(mkdir(dir, 0755), ==, 0);
    if (rt_groups && rt_us) {
        put_number(dir, "cpu.rt_runtime_us", rt_us);
    }
    return dir;
}

static void group_del(char *dir)
{
    EVENTUALLY(rmdir(dir) == 0 || errno == ENOENT);
    g_free(dir);
}

/* Where its main thread is now. */
static bool is_in(const TestVm *vm, const char *dir)
{
    g_autofree char *path = vamp_cgroup_path(cg, vm->pid, vm->pid, NULL);
    g_autofree char *now = path ? vamp_cgroup_dir(cg, path, NULL) : NULL;

    return now && !strcmp(now, dir);
}

static void vm_in_group(TestVm *vm, const char *dir, const char *name)
{
    vm_start(vm, socket_path, 0);
    put_number(dir, "cgroup.procs", vm->pid);
    vm_register(vm, name);
}

/* --- tests --------------------------------------------------------------- */

static void test_found(void)
{
    char *dir = group_new(base_dir, "found", 200000);
    TestVm vm;

    put_number(dir, cg->weight_file, 2 * unit);
    broker_start(NULL);
    vm_in_group(&vm, dir, "found");
    phase_begin(&vm);
    EVENTUALLY(vm.page->weight_base == 2 * unit);
    g_assert_true(is_in(&vm, dir));
    /* The administrator thinks again. */
    put_number(dir, cg->weight_file, 3 * unit);
    EVENTUALLY(vm.page->weight_base == 3 * unit);
    phase_end(&vm);
    vm_end(&vm);
    EVENTUALLY(broker_vms() == 0);
    g_assert_cmpuint(weight_of(dir), ==, 3 * unit);
    broker_stop();
    group_del(dir);
}

/* machine/NAME/{emulator,vcpu0,vcpu1}, as libvirt makes them */
typedef struct Libvirt {
    char *dir, *emulator, *vcpu[2];
} Libvirt;

static char *libvirt_part(const Libvirt *l, const char *name)
{
    char *dir = group_new(l->dir, name, 100000);

    if (cg->version == 2) {
        put(dir, "cgroup.type", "threaded");
    }
    return dir;
}

static void libvirt_new(Libvirt *l, const TestVm *vm)
{
    unsigned i;

    l->dir = group_new(base_dir, "qemu-1-test.libvirt-qemu", 400000);
    put_number(l->dir, "cgroup.procs", vm->pid);
    l->emulator = libvirt_part(l, "emulator");
    l->vcpu[0] = libvirt_part(l, "vcpu0");
    l->vcpu[1] = libvirt_part(l, "vcpu1");
    if (cg->version == 2) {
        put(l->dir, "cgroup.subtree_control", "+cpu");
    }
    for (i = 2; i < VM_THREADS; i++) {
        put_number(l->emulator, cg->threads_file, vm->shared->tid[i]);
    }
    put_number(l->emulator, cg->threads_file, vm->pid);
    put_number(l->vcpu[0], cg->threads_file, vm->shared->tid[0]);
    put_number(l->vcpu[1], cg->threads_file, vm->shared->tid[1]);
}

static void libvirt_del(Libvirt *l)
{
    group_del(l->vcpu[0]);
    group_del(l->vcpu[1]);
    group_del(l->emulator);
    group_del(l->dir);
}

static uint64_t background_weight(void)
{
    uint64_t interactive, background;

    g_assert_true(vamp_ratio_to_weights(3, unit, cg->weight_min,
                                        cg->weight_max, &interactive,
                                        &background));
    return background;
}

static void test_libvirt(void)
{
    Libvirt l;
    TestVm vm;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    libvirt_new(&l, &vm);
    vm_register(&vm, "libvirt");
    phase_begin(&vm);
    EVENTUALLY(weight_of(l.vcpu[1]) == background_weight());
    EVENTUALLY(vm.page->weight_base == unit);
    /* In a group of its own, a nice value counts for nothing. */
    EVENTUALLY(getpriority(PRIO_PROCESS, vm.shared->tid[1]) == 0);
    phase_end(&vm);
    EVENTUALLY(weight_of(l.vcpu[1]) == unit);
    EVENTUALLY(weight_of(l.vcpu[0]) == unit);
    EVENTUALLY(all_found(&vm));

    /* A SIGKILL in mid-phase: the next one puts the weights back. */
    phase_begin(&vm);
    EVENTUALLY(weight_of(l.vcpu[1]) == background_weight());
    broker_kill();
    broker_start(NULL);
    EVENTUALLY(all_found(&vm));
    g_assert_cmpuint(weight_of(l.vcpu[1]), ==, unit);
    g_assert_cmpuint(weight_of(l.vcpu[0]), ==, unit);
    g_assert_cmpuint(weight_of(l.dir), ==, unit);
    vm_end(&vm);
    broker_stop();
    libvirt_del(&l);
}

/* A QEMU from a shell: it shares its group with others. */
static void test_made(void)
{
    char *dir = group_new(base_dir, "shell", 0);
    g_autofree char *made = NULL;
    TestVm vm, other;

    broker_start(NULL);
    vm_start(&other, socket_path, 0);
    put_number(dir, "cgroup.procs", other.pid);
    vm_in_group(&vm, dir, "made");
    made = g_strdup_printf("%s/vamp-%d", base_dir, (int)vm.pid);

    EVENTUALLY(is_in(&vm, made));
    EVENTUALLY(vm.page->weight_base == unit);
    g_assert_true(is_in(&other, dir));
    /* The connection ends: back, and nothing remains. */
    shutdown(vm.fd, SHUT_RDWR);
    EVENTUALLY(is_in(&vm, dir));
    EVENTUALLY(access(made, F_OK) < 0);
    vm_end(&vm);

    /* The process ends. */
    vm_in_group(&vm, dir, "made again");
    g_free(made);
    made = g_strdup_printf("%s/vamp-%d", base_dir, (int)vm.pid);
    EVENTUALLY(is_in(&vm, made));
    vm_end(&vm);
    EVENTUALLY(access(made, F_OK) < 0);

    /* The broker ends, and its successor tidies up. */
    vm_in_group(&vm, dir, "made at last");
    g_free(made);
    made = g_strdup_printf("%s/vamp-%d", base_dir, (int)vm.pid);
    EVENTUALLY(is_in(&vm, made));
    broker_kill();
    broker_start(NULL);
    EVENTUALLY(is_in(&vm, dir));
    g_assert_cmpint(access(made, F_OK), <, 0);
    vm_end(&vm);
    vm_end(&other);
    broker_stop();
    group_del(dir);
}

/* Somebody moves the VM away and removes its group, in mid-phase. */
static void test_removed(void)
{
    char *dir = group_new(base_dir, "first", 200000);
    char *second = group_new(base_dir, "second", 200000);
    TestVm vm;

    put_number(second, cg->weight_file, 5 * unit);
    broker_start(NULL);
    vm_in_group(&vm, dir, "moved");
    phase_begin(&vm);
    EVENTUALLY(vm.page->weight_base == unit);
    put_number(second, "cgroup.procs", vm.pid);
    group_del(dir);
    EVENTUALLY(vm.page->weight_base == 5 * unit);
    /* In v1 the class is gone for a moment while the group changes. */
    EVENTUALLY(is_sched(vm.shared->tid[0], RR, 1));
    phase_end(&vm);
    EVENTUALLY(all_found(&vm));
    vm_end(&vm);
    broker_stop();
    g_assert_cmpuint(weight_of(second), ==, 5 * unit);
    group_del(second);
}

static void read_only(void)
{
    if (unshare(CLONE_NEWNS) < 0 ||
        mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(root_dir, root_dir, NULL, MS_BIND, NULL) < 0 ||
        mount("", root_dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0) {
        _exit(126);
    }
}

static void test_read_only(void)
{
    char *dir = group_new(base_dir, "ro", 200000);
    TestVm vm;

    broker_prepare = read_only;
    broker_start(NULL);
    broker_prepare = NULL;
    vm_in_group(&vm, dir, "ro");
    phase_begin(&vm);
    /* The books are kept, and say so, before the VM is served. */
    EVENTUALLY(strstr(vm.page->reason, "read-only") &&
               vm.page->state == VAMP_BROKER_BOOST);
    phase_end(&vm);
    EVENTUALLY(all_found(&vm));
    vm_end(&vm);
    broker_stop();
    group_del(dir);
}

static void burn(TestVm *vm, bool on)
{
    unsigned i;

    for (i = 0; i < VM_THREADS; i++) {
        __atomic_store_n(&vm->shared->burn[i], on, __ATOMIC_RELAXED);
    }
}

/* More threads than CPUs, in two VMs: who borrows pays, by weight. */
static void test_pays(void)
{
    char *dir[] = {
        group_new(base_dir, "a", 200000), group_new(base_dir, "b", 200000),
    };
    TestVm vm[2];

    broker_start(NULL);
    vm_in_group(&vm[0], dir[0], "a");
    vm_in_group(&vm[1], dir[1], "b");
    burn(&vm[0], true);
    burn(&vm[1], true);
    phase_begin(&vm[0]);
    EVENTUALLY(vm[0].page->debt_ns > 0);
    EVENTUALLY(weight_of(dir[0]) < unit);
    /*
     * It never rests: what it may borrow comes to an end. Where a group has
     * only so much of real-time class, that may come first.
     */
    if (!rt_groups) {
        EVENTUALLY(vm[0].page->guards > 0);
    }
    phase_end(&vm[0]);
    burn(&vm[0], false);
    burn(&vm[1], false);
    EVENTUALLY(weight_of(dir[0]) == unit && weight_of(dir[1]) == unit);
    EVENTUALLY(all_found(&vm[0]));
    vm_end(&vm[0]);
    vm_end(&vm[1]);
    broker_stop();
    group_del(dir[0]);
    group_del(dir[1]);
}

/* An idle VM is looked at now and then: what it does then is in its account. */
static void test_wakes(void)
{
    char *dir[] = {
        group_new(base_dir, "a", 200000), group_new(base_dir, "b", 200000),
    };
    uint64_t used;
    TestVm vm[2];

    broker_start(NULL);
    vm_in_group(&vm[0], dir[0], "a");
    vm_in_group(&vm[1], dir[1], "b");
    /* One thread: with helpers that never rest, we would not run ourselves. */
    __atomic_store_n(&vm[0].shared->burn[0], 1, __ATOMIC_RELAXED);
    phase_begin(&vm[0]);
    EVENTUALLY(vm[0].page->used_ns > 500000000);
    used = vm[1].page->used_ns;
    __atomic_store_n(&vm[1].shared->burn[0], 1, __ATOMIC_RELAXED);
    EVENTUALLY(vm[1].page->used_ns > used + 200000000);
    vm_end(&vm[0]);
    vm_end(&vm[1]);
    broker_stop();
    group_del(dir[0]);
    group_del(dir[1]);
}

/* The other VM knows nothing of us: counted all the same, and not touched. */
static void test_neighbour(void)
{
    char *dir = group_new(base_dir, "a", 200000);
    char *beside = group_new(base_dir, "stock", 0);
    TestVm vm, stock;
    QDict *all;

    broker_start(NULL);
    vm_start(&stock, socket_path, 0);
    put_number(beside, "cgroup.procs", stock.pid);
    vm_in_group(&vm, dir, "a");
    burn(&vm, true);
    burn(&stock, true);
    phase_begin(&vm);
    EVENTUALLY(weight_of(dir) < unit);
    all = broker_status();
    g_assert_cmpuint(qlist_size(qdict_get_qlist(all, "neighbours")), >=, 1);
    qobject_unref(all);
    g_assert_cmpuint(weight_of(beside), ==, unit);
    burn(&vm, false);
    burn(&stock, false);
    vm_end(&vm);
    vm_end(&stock);
    EVENTUALLY(broker_vms() == 0);
    g_assert_cmpuint(weight_of(dir), ==, unit);
    broker_stop();
    group_del(dir);
    group_del(beside);
}

/* What all accounts of a status owe together, and whether "b" has a group. */
static int64_t all_debts(const QDict *status, int64_t *of_b, bool *b_known)
{
    static const char *const lists[] = { "vms", "neighbours" };
    const QListEntry *e;
    int64_t sum = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
        QLIST_FOREACH_ENTRY(qdict_get_qlist(status, lists[i]), e) {
            const QDict *d = qobject_to(QDict, qlist_entry_obj(e));

            sum += qdict_get_int(d, "debt-ns");
            if (!g_strcmp0(qdict_get_try_str(d, "name"), "b")) {
                *of_b = qdict_get_int(d, "debt-ns");
                *b_known = qdict_haskey(d, "group");
            }
        }
    }
    return sum;
}

static bool is_active(void)
{
    QDict *all = broker_status();
    bool active = qdict_get_bool(qdict_get_qdict(all, "host"), "active");

    qobject_unref(all);
    return active;
}

/*
 * Nobody borrows, but the broker has changed threads: what that does to the
 * VM's share is booked for as long as it lasts.
 */
static void test_background_only(void)
{
    char *dir = group_new(base_dir, "a", 200000);
    TestVm vm;

    broker_start(NULL);
    vm_in_group(&vm, dir, "a");
    g_assert_false(is_active());
    vm_class(&vm, 0, VAMP_CLASS_BACKGROUND);
    vm_class(&vm, 1, VAMP_CLASS_BACKGROUND);
    EVENTUALLY(is_active());
    /* Not for the first few steps only: nothing is owed here. */
    for (int i = 0; i < 20; i++) {
        pause_ms(50);
        g_assert_true(is_active());
    }
    phase_end(&vm);
    EVENTUALLY(!is_active());
    vm_end(&vm);
    EVENTUALLY(broker_vms() == 0);
    broker_stop();
    group_del(dir);
}

/* Not its helpers: in real-time class they would keep us from running. */
static void burn_vcpus(TestVm *vm)
{
    __atomic_store_n(&vm->shared->burn[0], 1, __ATOMIC_RELAXED);
    __atomic_store_n(&vm->shared->burn[1], 1, __ATOMIC_RELAXED);
}

/*
 * A VM whose groups the broker has not looked at yet: its weight would be a
 * guess, so it owes nothing and is owed nothing; its group may be a neighbour
 * until then. And whoever comes and goes, debts sum up to nothing.
 */
static void test_not_looked_at(void)
{
    char *dir[] = {
        group_new(base_dir, "a", 200000), group_new(base_dir, "b", 200000),
    };
    unsigned guesses = 0, tries = 0;
    bool known = false;
    TestVm vm[2];

    put_number(dir[1], cg->weight_file, 4 * unit);
    broker_start(NULL);
    vm_in_group(&vm[0], dir[0], "a");
    phase_begin(&vm[0]);
    burn_vcpus(&vm[0]);
    while (!guesses && tries++ < 20) {
        if (known) {
            vm_end(&vm[1]);
            EVENTUALLY(broker_vms() == 1);
        }
        vm_in_group(&vm[1], dir[1], "b");
        burn_vcpus(&vm[1]);
        do {
            QDict *all = broker_status();
            int64_t debt = 0, sum = all_debts(all, &debt, &known);
            uint64_t steps = qdict_get_int(qdict_get_qdict(all, "host"),
                                           "steps");

            /* Rounding, of some hundred steps. */
            g_assert_cmpint(ABS(sum), <, 1000000);
            if (!known) {
                g_assert_cmpint(debt, ==, 0);
                guesses += steps > 2;
            }
            qobject_unref(all);
        } while (!known);
    }
    EVENTUALLY(vm[1].page->weight_base == 4 * unit);
    EVENTUALLY(vm[1].page->used_ns > 0);
    burn(&vm[0], false);
    burn(&vm[1], false);
    vm_end(&vm[0]);
    vm_end(&vm[1]);
    EVENTUALLY(broker_vms() == 0);
    broker_stop();
    group_del(dir[0]);
    group_del(dir[1]);
    if (!guesses) {
        g_test_skip("the broker looked at each VM before it could be asked");
    }
}

/* ------------------------------------------------------------------------ */

static bool groups_begin(void)
{
    Error *err = NULL;
    char *text = NULL;

    cg = vamp_cgroups_new(&vamp_host_paths, "cpu", &err);
    root_dir = cg ? vamp_cgroup_dir(cg, "/", &err) : NULL;
    if (!root_dir) {
        printf("1..0 # SKIP %s\n", error_get_pretty(err));
        return false;
    }
    unit = cg->version == 2 ? 100 : 1024;
    rt_groups = vamp_cgroup_has(root_dir, "cpu.rt_runtime_us");
    base_dir = g_strdup_printf("%s/broker-test-%d", root_dir, (int)getpid());
    if (mkdir(base_dir, 0755) < 0) {
        printf("1..0 # SKIP cannot make %s: %s\n", base_dir, strerror(errno));
        return false;
    }
    if (cg->version == 2) {
        vamp_cgroup_read(root_dir, "cgroup.subtree_control", &text);
        if (!vamp_cgroup_word(text ?: "", " ", "cpu")) {
            put(root_dir, "cgroup.subtree_control", "+cpu");
            enabled_cpu = true;
        }
        put(base_dir, "cgroup.subtree_control", "+cpu");
        g_free(text);
    } else if (rt_groups &&
               vamp_cgroup_write(base_dir, "cpu.rt_runtime_us", "900000") < 0) {
        printf("1..0 # SKIP other groups have the real-time class\n");
        rmdir(base_dir);
        return false;
    }
    return true;
}

static void groups_end(void)
{
    rmdir(base_dir);
    if (enabled_cpu) {
        vamp_cgroup_write(root_dir, "cgroup.subtree_control", "-cpu");
    }
    vamp_cgroups_free(cg);
    g_free(root_dir);
    g_free(base_dir);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!broker_test_begin(argv[0])) {
        return 0;
    }
    if (!groups_begin()) {
        broker_test_end();
        return 0;
    }
    g_test_add_func("/broker-group/found", test_found);
    g_test_add_func("/broker-group/libvirt", test_libvirt);
    g_test_add_func("/broker-group/made", test_made);
    g_test_add_func("/broker-group/removed", test_removed);
    g_test_add_func("/broker-group/read-only", test_read_only);
    g_test_add_func("/broker-group/pays", test_pays);
    g_test_add_func("/broker-group/wakes", test_wakes);
    g_test_add_func("/broker-group/neighbour", test_neighbour);
    g_test_add_func("/broker-group/not-looked-at", test_not_looked_at);
    g_test_add_func("/broker-group/background-only", test_background_only);
    ret = g_test_run();
    broker_test_end();
    groups_end();
    return ret;
}
