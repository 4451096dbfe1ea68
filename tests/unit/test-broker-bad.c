/*
 * Tests of qemu-vamp-broker with what should not be: hostile peers, more of
 * them than can be served, state files that nobody wrote, wrong options
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "test-broker-util.h"

/* --- tests: hostile peers ------------------------------------------------ */

static void test_lies(void)
{
    TestVm vm, other;
    TestMsg m;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    vm_start(&other, socket_path, 0);
    /* Before HELLO */
    g_assert_cmpint(vm_add(&vm, VAMP_BROKER_VCPU, 0, vm.pid, &m), ==,
                    VAMP_BMSG_ERROR);
    g_assert_cmpint(m.error.err, ==, EPROTO);
    vm_register(&vm, "liar");
    g_assert_cmpint(vm_hello(&vm, "again"), ==, VAMP_BMSG_ERROR);
    /* Another process's thread, init's, nobody's, its own twice */
    g_assert_cmpint(vm_add(&vm, VAMP_BROKER_VCPU, 5, other.shared->tid[0], &m),
                    ==, VAMP_BMSG_ERROR);
    g_assert_nonnull(strstr(m.error.text, "no thread of process"));
    g_assert_cmpint(vm_add(&vm, VAMP_BROKER_VCPU, 5, 1, &m), ==,
                    VAMP_BMSG_ERROR);
    g_assert_cmpint(vm_add(&vm, VAMP_BROKER_VCPU, 5, INT_MAX, &m), ==,
                    VAMP_BMSG_ERROR);
    g_assert_cmpint(vm_add(&vm, VAMP_BROKER_VCPU, 5, vm.shared->tid[0], &m),
                    ==, VAMP_BMSG_ERROR);
    g_assert_cmpint(m.error.err, ==, EEXIST);
    g_assert_cmpint(vm_add(&vm, VAMP_BROKER_VCPU, 0, vm.shared->tid[2], &m),
                    ==, VAMP_BMSG_ERROR);
    g_assert_cmpint(m.error.err, ==, EEXIST);
    /* A vCPU that it does not have: no answer, no harm */
    vm_class(&vm, 4000, VAMP_CLASS_INTERACTIVE);
    phase_begin(&vm);
    g_assert_true(all_found(&other));
    vm_end(&other);
    vm_end(&vm);
    broker_stop();
}

/* The connection is ended, with a reason, and @why is in it. */
static void expect_dropped(TestVm *vm, const char *why)
{
    TestMsg m;

    g_assert_cmpint(vm_receive(vm, &m, NULL), ==, VAMP_BMSG_ERROR);
    g_assert_nonnull(strstr(m.error.text, why));
    g_assert_cmpint(vm_receive(vm, &m, NULL), ==, 0);
}

static void test_malformed(void)
{
    static const struct {
        size_t offset;
        uint32_t value;
        size_t send;
        const char *why;
    } wrong[] = {
        { 0, 0, sizeof(struct vamp_bmsg_class), "does not begin" },
        { 4, 0, sizeof(struct vamp_bmsg_class), "type is unknown" },
        { 4, VAMP_BMSG_WELCOME, sizeof(struct vamp_bmsg_class), "type is" },
        { 8, 4, sizeof(struct vamp_bmsg_class), "size is not" },
        { 8, sizeof(struct vamp_bmsg_class), 20, "size is not" },
        { 8, sizeof(struct vamp_bmsg_class), 8, "shorter than a head" },
        { 8, sizeof(struct vamp_bmsg_class), 512, "size is not" },
        { 16, VAMP_BROKER_VCPUS_MAX, sizeof(struct vamp_bmsg_class),
          "out of range" },
        { 20, 3, sizeof(struct vamp_bmsg_class), "out of range" },
    };
    char large[4096] = { 0 };
    unsigned i;

    broker_start(NULL);
    for (i = 0; i < ARRAY_SIZE(wrong); i++) {
        TestMsg m = msg_new(VAMP_BMSG_CLASS);
        TestVm vm;

        vm_start(&vm, socket_path, 0);
        vm_register(&vm, "malformed");
        phase_begin(&vm);
        memcpy(m.bytes + wrong[i].offset, &wrong[i].value, 4);
        g_assert_cmpint(send(vm.fd, &m, wrong[i].send, 0), ==, wrong[i].send);
        expect_dropped(&vm, wrong[i].why);
        EVENTUALLY(all_found(&vm));
        vm_end(&vm);
    }
    {
        TestVm vm;

        vm_start(&vm, socket_path, 0);
        vm_register(&vm, "large");
        g_assert_cmpint(send(vm.fd, large, sizeof(large), 0), ==,
                        sizeof(large));
        expect_dropped(&vm, "4096 bytes");
        vm_end(&vm);
    }
    broker_stop();
}

static void test_version(void)
{
    TestMsg m = msg_new(VAMP_BMSG_HELLO);
    TestVm vm;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    m.hello.version = 99;
    m.hello.ratio = 3;
    strcpy(m.hello.name, "future");
    g_assert_cmpint(vm_ask(&vm, &m), ==, VAMP_BMSG_ERROR);
    g_assert_cmpint(m.error.err, ==, EPROTO);
    vm_end(&vm);
    broker_stop();
}

static void test_uid(void)
{
    const char *const args[] = { "--uid", "12345,0", NULL };
    TestVm vm;

    broker_start(args);
    vm_start(&vm, socket_path, 54321);
    g_assert_cmpint(vm_hello(&vm, "other"), ==, VAMP_BMSG_ERROR);
    vm_end(&vm);
    vm_start(&vm, socket_path, 12345);
    g_assert_cmpint(vm_hello(&vm, "this"), ==, VAMP_BMSG_WELCOME);
    vm_end(&vm);
    broker_stop();
}

/* Questions cost much: twenty at once are enough. */
static void test_flood(void)
{
    TestVm vm, calm;
    unsigned i;

    broker_start(NULL);
    vm_start(&calm, socket_path, 0);
    vm_register(&calm, "calm");
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "flood");
    phase_begin(&vm);
    for (i = 0; i < 200; i++) {
        TestMsg m = msg_new(VAMP_BMSG_STATUS);

        if (vm_ask(&vm, &m) == VAMP_BMSG_ERROR) {
            g_assert_cmpint(m.error.err, ==, EDQUOT);
            break;
        }
    }
    g_assert_cmpuint(i, <, 200);
    EVENTUALLY(all_found(&vm));
    vm_end(&vm);
    phase_begin(&calm);
    vm_end(&calm);
    broker_stop();
}

/* Its answers pile up until there is no room: the others notice nothing. */
static void test_reads_nothing(void)
{
    TestMsg m = msg_new(VAMP_BMSG_THREAD_DEL);
    TestVm vm, calm;
    unsigned i;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "deaf");
    vm_start(&calm, socket_path, 0);
    vm_register(&calm, "calm");
    phase_begin(&vm);
    m.thread.slot = 9;
    /* Fewer than are refused for their number. */
    for (i = 0; i < 8000; i++) {
        if (!vm_send(&vm, &m)) {
            break;
        }
    }
    g_assert_cmpuint(i, <, 8000);
    EVENTUALLY(all_found(&vm));
    g_assert_true(log_has("it does not read its answers"));
    phase_begin(&calm);
    vm_end(&vm);
    vm_end(&calm);
    broker_stop();
}

static void test_many(void)
{
    enum { N = 500 };
    g_autofree TestVm *vms = g_new0(TestVm, N);
    struct rlimit r;
    unsigned i;

    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    /* Two for each VM, two for each thread, and a quarter is kept free. */
    if (r.rlim_cur < 16 * N) {
        g_test_skip("open files are limited to less than 8000 here");
        return;
    }
    broker_start(NULL);
    vm_asleep = true;
    for (i = 0; i < N; i++) {
        g_autofree char *name = g_strdup_printf("vm%u", i);

        vm_start(&vms[i], socket_path, 0);
        vm_register(&vms[i], name);
    }
    vm_asleep = false;
    g_assert_cmpuint(broker_vms(), ==, N);
    phase_begin(&vms[N / 2]);
    phase_end(&vms[N / 2]);
    EVENTUALLY(all_found(&vms[N / 2]));
    for (i = 0; i < N; i++) {
        vm_end(&vms[i]);
    }
    EVENTUALLY(broker_vms() == 0);
    broker_stop();
}

/* --- tests: the state file ----------------------------------------------- */

static void put_state(const char *text, bool head)
{
    g_autofree char *boot = read_file("/proc/sys/kernel/random/boot_id");
    g_autofree char *all = head ?
        g_strdup_printf("vamp-broker-state 1 %s%s", boot, text)
        : g_strdup(text);

    g_assert_true(g_file_set_contents(state_path, all, -1, NULL));
    g_assert_cmpint(chmod(state_path, 0600), ==, 0);
}

static void test_state_garbage(void)
{
    static const struct {
        const char *text;
        bool head;
        const char *says;
    } garbage[] = {
        { "", false, NULL },
        { "\n\n\n", false, "no broker has written" },
        { "\xff\xfe garbage", false, "no broker has written" },
        { "set\nset x\ndel\nnonsense\nset a\x01 b\n", true, "5 lines" },
        { "set thread:1:0 1 0 0 0 0 0 0\n", true, NULL },
        { "set thread:x:y a b c\nset thread: 1\n", true, "makes no sense" },
        { "set thread:1:1 1 99 99 99 99 99 99\n", true, "makes no sense" },
        { "set group:/../../tmp/vamp-1 1 1 / -\n", true, "makes no sense" },
        { "set group:/%2e%2e/vamp-1 1 1 / -\n", true, "makes no sense" },
        { "set group:tmp 1 1 / -\n", true, "makes no sense" },
        { "set group:/vamp-1 2 1 / -\n", true, "makes no sense" },
        { "set weight:/../cpu.shares 1 2 3\n", true, "makes no sense" },
        { "set weight:/ nonsense\n", true, "makes no sense" },
        { "set weight:/no/such 1 2 3\n", true, NULL },
        { "set unknown:key value\n", true, NULL },
        { "set thread:1:1 torn", true, NULL },
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(garbage); i++) {
        g_test_message("state file %u", i);
        put_state(garbage[i].text, garbage[i].head);
        broker_start(NULL);
        if (garbage[i].says) {
            g_assert_true(log_has(garbage[i].says));
        }
        broker_stop();
    }
}

/* Somebody who may not write as root could have: not believed. */
static void test_state_refused(void)
{
    g_autofree char *target = g_strconcat(state_path, ".target", NULL);

    put_state("", true);
    g_assert_cmpint(chmod(state_path, 0666), ==, 0);
    broker_spawn(NULL);
    g_assert_cmpint(broker_wait(), ==, 1);
    g_assert_true(log_has("others may have written it"));
    unlink(state_path);

    g_assert_true(g_file_set_contents(target, "", -1, NULL));
    g_assert_cmpint(symlink(target, state_path), ==, 0);
    broker_spawn(NULL);
    g_assert_cmpint(broker_wait(), ==, 1);
    unlink(state_path);
    unlink(target);

    g_assert_cmpint(mkdir(state_path, 0700), ==, 0);
    broker_spawn(NULL);
    g_assert_cmpint(broker_wait(), ==, 1);
    rmdir(state_path);
}

static void test_one_a_host(void)
{
    pid_t first;

    broker_start(NULL);
    first = broker;
    broker_spawn(NULL);
    g_assert_cmpint(broker_wait(), ==, 1);
    g_assert_true(log_has("another broker has the state file"));
    broker = first;
    broker_stop();
}

/* --- tests: options ------------------------------------------------------ */

static void test_options(void)
{
    static const char *const wrong[][2] = {
        { "--period=5", "10..1000" },
        { "--linger=60001", "0..60000" },
        { "--mode=999", "0..0777" },
        { "--uid=no-such-user-here", "there is no user" },
        { "--sandbox=maybe", "on or off" },
        { "--json", "--json needs --status" },
        { "surplus", "is no option" },
        { "--group=no-such-group-here", "there is no group" },
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(wrong); i++) {
        const char *const args[] = { wrong[i][0], NULL };

        unlink(log_path);
        broker_spawn(args);
        g_assert_cmpint(broker_wait(), ==, 1);
        g_assert_true(log_has(wrong[i][1]));
    }
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!broker_test_begin(argv[0])) {
        return 0;
    }
    g_test_add_func("/broker/lies", test_lies);
    g_test_add_func("/broker/malformed", test_malformed);
    g_test_add_func("/broker/version", test_version);
    g_test_add_func("/broker/uid", test_uid);
    g_test_add_func("/broker/flood", test_flood);
    g_test_add_func("/broker/reads-nothing", test_reads_nothing);
    g_test_add_func("/broker/many", test_many);
    g_test_add_func("/broker/state-garbage", test_state_garbage);
    g_test_add_func("/broker/state-refused", test_state_refused);
    g_test_add_func("/broker/one-a-host", test_one_a_host);
    g_test_add_func("/broker/options", test_options);
    ret = g_test_run();

    broker_test_end();
    return ret;
}
