/*
 * Tests of qemu-vamp-broker, end to end: the real program, stand-ins for QEMU
 * with real threads. test-broker-group.c is about their control groups,
 * test-broker-bad.c about what should not be.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/mount.h>
#include "test-broker-util.h"

/* --- tests: what it does ------------------------------------------------- */

static void test_phase(void)
{
    TestVm vm;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "phase");
    g_assert_true(all_found(&vm));
    g_assert_cmpint(vm.page->state, ==, VAMP_BROKER_NORMAL);

    phase_begin(&vm);
    EVENTUALLY(is_sched(vm.pid, RR, 2));
    EVENTUALLY(is_sched(vm.shared->tid[VM_THREADS - 1], RR, 2));
    EVENTUALLY(getpriority(PRIO_PROCESS, vm.shared->tid[1]) == 5);
    g_assert_true(is_found(vm.shared->tid[2]));
    EVENTUALLY(vm.page->state == VAMP_BROKER_BOOST);
    EVENTUALLY(vm.page->boosts == 1);
    EVENTUALLY(vm.page->thread[0].sched == VAMP_BROKER_SCHED_RR);
    EVENTUALLY(vm.page->thread[1].vclass == VAMP_CLASS_BACKGROUND);
    EVENTUALLY(vm.page->seq % 2 == 0);

    phase_end(&vm);
    EVENTUALLY(all_found(&vm));
    EVENTUALLY(vm.page->state == VAMP_BROKER_NORMAL);
    vm_end(&vm);
    broker_stop();
}

/* The slice that the state file has for a thread; -1: it has no such thread. */
static int64_t slice_in_state(pid_t tid)
{
    g_autofree char *text = read_file(state_path);
    g_autofree char *key = g_strdup_printf("thread:%d:", (int)tid);
    const char *line = strstr(text, key);
    int64_t slice = -1;

    if (line) {
        sscanf(line, "%*s %*d %*u %*u %*d %*u %" SCNd64, &slice);
    }
    return slice;
}

/* What was the kernel's own choice does not become somebody's. */
static void test_slice(void)
{
    const uint64_t chosen = 5000000;
    struct sched_attr_1 {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t prio;
        uint64_t runtime, deadline, period;
    } a = { .size = sizeof(a), .runtime = chosen };
    TestVm vm;
    pid_t tid;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    tid = vm.shared->tid[1];
    g_assert_cmpint(syscall(SYS_sched_setattr, tid, &a, 0), ==, 0);
    g_assert_cmpint(syscall(SYS_sched_getattr, tid, &a, sizeof(a), 0), ==, 0);
    if (a.runtime != chosen) {
        vm_end(&vm);
        broker_stop();
        g_test_skip("this kernel knows no slices of single threads");
        return;
    }
    vm_register(&vm, "slice");
    phase_begin(&vm);
    EVENTUALLY(slice_in_state(vm.shared->tid[0]) == 0);
    EVENTUALLY(slice_in_state(tid) == (int64_t)chosen);
    phase_end(&vm);
    EVENTUALLY(all_found(&vm));
    g_assert_cmpint(syscall(SYS_sched_getattr, tid, &a, sizeof(a), 0), ==, 0);
    g_assert_cmpuint(a.runtime, ==, chosen);
    vm_end(&vm);
    broker_stop();
}

static uint64_t ledger_steps(void)
{
    QDict *all = broker_status();
    uint64_t steps = qdict_get_int(qdict_get_qdict(all, "host"), "steps");

    qobject_unref(all);
    return steps;
}

/* The next event comes to the main loop, and to no other thread. */
static void test_linger(void)
{
    static const char *const longest[] = { "--linger", "60000", NULL };
    static const char *const a_while[] = { "--linger", "200", NULL };
    uint64_t steps;
    TestVm vm;

    broker_start(longest);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "linger");
    /* A phase has to come first. */
    g_assert_true(all_found(&vm));
    phase_begin(&vm);
    EVENTUALLY(is_sched(vm.pid, RR, 2));
    EVENTUALLY(is_sched(vm.shared->tid[VM_THREADS - 1], RR, 2));
    phase_end(&vm);
    EVENTUALLY(is_found(vm.shared->tid[VM_THREADS - 1]));
    g_assert_true(is_found(vm.shared->tid[0]));
    EVENTUALLY(vm.page->state == VAMP_BROKER_NORMAL);
    /* Each step of the ledger could take it back. */
    steps = ledger_steps();
    EVENTUALLY(ledger_steps() > steps + 3);
    g_assert_true(is_sched(vm.pid, RR, 2));
    close(vm.fd);
    vm.fd = -1;
    EVENTUALLY(all_found(&vm));
    vm_end(&vm);
    broker_stop();

    broker_start(a_while);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "linger");
    phase_begin(&vm);
    EVENTUALLY(is_sched(vm.pid, RR, 2));
    phase_end(&vm);
    EVENTUALLY(all_found(&vm));
    vm_end(&vm);
    broker_stop();
}

static void test_ratio(void)
{
    TestVm vm;
    TestMsg m = msg_new(VAMP_BMSG_RATIO);

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "ratio");
    vm_class(&vm, 1, VAMP_CLASS_BACKGROUND);
    EVENTUALLY(getpriority(PRIO_PROCESS, vm.shared->tid[1]) == 5);
    m.ratio.ratio = 10;
    g_assert_cmpint(vm_ask(&vm, &m), ==, VAMP_BMSG_OK);
    EVENTUALLY(getpriority(PRIO_PROCESS, vm.shared->tid[1]) == 10);
    close(vm.fd);
    vm.fd = -1;
    kill(vm.pid, SIGCONT);
    vm_end(&vm);
    broker_stop();
}

static void test_thread_del(void)
{
    TestMsg m = msg_new(VAMP_BMSG_THREAD_DEL);
    TestVm vm;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "del");
    phase_begin(&vm);
    m.thread.role = VAMP_BROKER_VCPU;
    m.thread.slot = 0;
    g_assert_cmpint(vm_ask(&vm, &m), ==, VAMP_BMSG_OK);
    g_assert_true(is_found(vm.shared->tid[0]));
    EVENTUALLY(is_found(vm.pid));
    m = msg_new(VAMP_BMSG_THREAD_DEL);
    g_assert_cmpint(vm_ask(&vm, &m), ==, VAMP_BMSG_ERROR);
    /* Its place is free again. */
    g_assert_cmpint(vm_add(&vm, VAMP_BROKER_VCPU, 0, vm.shared->tid[2], NULL),
                    ==, VAMP_BMSG_OK);
    vm_end(&vm);
    broker_stop();
}

static void test_thread_ends(void)
{
    TestVm vm;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "ends");
    phase_begin(&vm);
    vm.shared->burn[0] = -1;
    EVENTUALLY(kill(vm.shared->tid[0], 0) < 0);
    vm_class(&vm, 0, VAMP_CLASS_BACKGROUND);
    vm_class(&vm, 1, VAMP_CLASS_INTERACTIVE);
    EVENTUALLY(is_sched(vm.shared->tid[1], RR, 1));
    EVENTUALLY(vm.page->thread[0].tid == 0);
    g_assert_cmpuint(vm.page->faults, ==, 0);
    vm_end(&vm);
    broker_stop();
}

/* Somebody else's choice stays. */
static void test_foreign_class(void)
{
    struct sched_param p = { .sched_priority = 5 };
    TestVm vm;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    g_assert_cmpint(sched_setscheduler(vm.shared->tid[1], SCHED_FIFO, &p), ==,
                    0);
    vm_register(&vm, "foreign");
    vm_class(&vm, 1, VAMP_CLASS_BACKGROUND);
    phase_begin(&vm);
    g_assert_cmpint(sched_setscheduler(vm.shared->tid[0], SCHED_FIFO, &p), ==,
                    0);
    phase_end(&vm);
    EVENTUALLY(is_found(vm.pid));
    g_assert_true(is_sched(vm.shared->tid[0], SCHED_FIFO, 5));
    g_assert_true(is_sched(vm.shared->tid[1], SCHED_FIFO, 5));
    EVENTUALLY(strstr(vm.page->reason, "left alone"));
    vm_end(&vm);
    broker_stop();
}

static void test_dry_run(void)
{
    const char *const args[] = { "--dry-run", NULL };
    TestVm vm;

    broker_start(args);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "dry");
    vm_class(&vm, 1, VAMP_CLASS_BACKGROUND);
    vm_class(&vm, 0, VAMP_CLASS_INTERACTIVE);
    EVENTUALLY(vm.page->state == VAMP_BROKER_BOOST);
    EVENTUALLY(log_has("would set thread"));
    g_assert_true(all_found(&vm));
    g_assert_cmpint(access(state_path, F_OK), <, 0);
    vm_end(&vm);
    broker_stop();
}

#define KERNEL_BOUND "/proc/sys/kernel/sched_rt_runtime_us"

/*
 * The broker sees a kernel that sets real-time class no bound; and no groups
 * of others, which the VM would soon owe something on a busy machine.
 */
static void no_kernel_bound(void)
{
    g_autofree char *file = g_build_filename(folder, "bound", NULL);

    if (unshare(CLONE_NEWNS) < 0 ||
        mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(file, KERNEL_BOUND, NULL, MS_BIND, NULL) < 0) {
        _exit(126);
    }
    umount2("/sys/fs/cgroup", MNT_DETACH);
}

static uint64_t ran_ms(const TestVm *vm, unsigned thread)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/task/%d/schedstat",
                                            (int)vm->pid,
                                            (int)vm->shared->tid[thread]);
    g_autofree char *text = read_file(name);

    return g_ascii_strtoull(text, NULL, 10) / 1000000;
}

/*
 * Where the kernel sets real-time class no bound, the broker does, as long as
 * the thread gets more of its CPU than that. This kernel may have a bound all
 * the same; and where a read of /proc is slow, the broker itself is one.
 */
static void test_own_bound(void)
{
    g_autofree char *file = g_build_filename(folder, "bound", NULL);
    int64_t begin, now;
    uint64_t ran;
    TestVm vm;

    g_assert_true(g_file_set_contents(file, "-1\n", -1, NULL));
    broker_prepare = no_kernel_bound;
    broker_start(NULL);
    broker_prepare = NULL;
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "endless");
    __atomic_store_n(&vm.shared->burn[0], 1, __ATOMIC_RELAXED);
    phase_begin(&vm);
    begin = g_get_monotonic_time() / 1000;
    ran = ran_ms(&vm, 0);
    do {
        pause_ms(5);
        now = g_get_monotonic_time() / 1000;
        if (now - begin > 5000 &&
            (ran_ms(&vm, 0) - ran) * 100 < (now - begin) * 98) {
            g_test_skip("a real-time thread does not get its CPU here");
            goto out;
        }
        g_assert_cmpint(now - begin, <, PATIENCE_MS);
    } while (!strstr(vm.page->reason, "ran 950 ms of the last second"));
    /* It rests each time, and comes back. */
    EVENTUALLY(is_sched(vm.shared->tid[0], RR, 1));
    EVENTUALLY(!is_sched(vm.shared->tid[0], RR, 1));
    EVENTUALLY(is_sched(vm.shared->tid[0], RR, 1));
    /* It owes nobody anything: that is not the ledger's guard. */
    g_assert_cmpuint(vm.page->guards, ==, 0);
out:
    phase_end(&vm);
    EVENTUALLY(all_found(&vm));
    vm_end(&vm);
    broker_stop();
    unlink(file);
}

/* As systemd does: the socket is there before the broker. */
static void pass_socket(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    g_autofree char *pid = g_strdup_printf("%d", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

    g_strlcpy(a.sun_path, socket_path, sizeof(a.sun_path));
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 9) < 0 ||
        dup2(fd, 3) != 3) {
        _exit(126);
    }
    setenv("LISTEN_FDS", "1", 1);
    setenv("LISTEN_PID", pid, 1);
}

static void test_activation(void)
{
    TestVm vm;

    broker_prepare = pass_socket;
    broker_start(NULL);
    broker_prepare = NULL;
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "activated");
    phase_begin(&vm);
    vm_end(&vm);
    broker_stop();
    /* It is systemd's, and stays. */
    g_assert_cmpint(unlink(socket_path), ==, 0);
}

/* --- tests: ends --------------------------------------------------------- */

/* The connection ends, the process goes on. */
static void test_close(void)
{
    TestVm vm;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "close");
    phase_begin(&vm);
    shutdown(vm.fd, SHUT_RDWR);
    EVENTUALLY(all_found(&vm));
    EVENTUALLY(broker_vms() == 0);
    vm_end(&vm);
    broker_stop();
}

/* The process ends, the connection lives on: in us. */
static void test_client_killed(void)
{
    TestVm vm;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "killed");
    phase_begin(&vm);
    g_assert_cmpuint(broker_vms(), ==, 1);
    kill(vm.pid, SIGKILL);
    waitpid(vm.pid, NULL, 0);
    vm.pid = 0;
    EVENTUALLY(broker_vms() == 0);
    vm_end(&vm);
    broker_stop();
}

/* --- tests: how soon ----------------------------------------------------- */

#define TRIES       20
#define SOON_US     100000
/*
 * So many of them must be soon: the machine may be kept from running now and
 * then. A broker that looked only once in its longest period, a second, would
 * be that soon one time in ten; eight times in twenty once in 2,000 runs.
 */
#define TRIES_SOON  8

/* Ends @vm's process, or the connection: is all as it was soon afterwards? */
static bool is_restored_soon(TestVm *vm, bool process)
{
    /* The broker hangs up when it has put everything back, never before. */
    struct pollfd p = { .fd = vm->fd };
    int64_t begin = g_get_monotonic_time(), took;

    if (process) {
        kill(vm->pid, SIGKILL);
    } else {
        shutdown(vm->fd, SHUT_WR);
    }
    g_assert_cmpint(RETRY_ON_EINTR(poll(&p, 1, PATIENCE_MS)), ==, 1);
    took = g_get_monotonic_time() - begin;
    g_assert_cmpuint(broker_vms(), ==, 0);
    if (!process) {
        g_assert_true(all_found(vm));
    }
    g_test_message("%" PRId64 " us", took);
    return took < SOON_US;
}

static void test_soon(gconstpointer process)
{
    /* What its timers alone would see comes late. */
    const char *const args[] = { "--period", "1000", NULL };
    unsigned i, soon = 0;

    broker_start(args);
    for (i = 0; i < TRIES && soon < TRIES_SOON; i++) {
        TestVm vm;

        vm_start(&vm, socket_path, 0);
        vm_register(&vm, "soon");
        phase_begin(&vm);
        soon += is_restored_soon(&vm, process != NULL);
        vm_end(&vm);
    }
    g_assert_cmpuint(soon, ==, TRIES_SOON);
    broker_stop();
}

/* --- tests: the broker's end --------------------------------------------- */

static void test_broker_terminated(void)
{
    TestVm vm;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "term");
    phase_begin(&vm);
    broker_stop();
    g_assert_true(all_found(&vm));
    vm_end(&vm);
}

static void test_broker_killed(void)
{
    TestVm vm;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "bk");
    phase_begin(&vm);
    EVENTUALLY(is_sched(vm.pid, RR, 2));
    broker_kill();
    g_assert_true(is_sched(vm.shared->tid[0], RR, 1));
    broker_start(NULL);
    EVENTUALLY(all_found(&vm));
    g_assert_true(log_has("undid what a broker before left"));
    vm_end(&vm);
    broker_stop();
}

static void test_both_killed(void)
{
    TestVm vm;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "both");
    phase_begin(&vm);
    broker_kill();
    vm_end(&vm);
    broker_start(NULL);
    g_assert_cmpuint(broker_vms(), ==, 0);
    broker_stop();
}

/* --- tests: status ------------------------------------------------------- */

static void test_status(void)
{
    const char *const table[] = { "--status", NULL };
    const char *const metrics[] = { "--metrics", NULL };
    g_autofree char *text = NULL;
    QDict *all, *entry;
    QObject *first;
    TestVm vm;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "with \"quotes\\");
    phase_begin(&vm);

    all = broker_status();
    g_assert_cmpint(qdict_get_int(qdict_get_qdict(all, "host"), "cpus"), >=, 1);
    first = qlist_peek(qdict_get_qlist(all, "vms"));
    entry = qobject_to(QDict, first);
    g_assert_cmpstr(qdict_get_str(entry, "name"), ==, "with \"quotes\\");
    g_assert_cmpint(qdict_get_int(entry, "pid"), ==, vm.pid);
    g_assert_cmpstr(qdict_get_str(entry, "state"), ==, "boost");
    g_assert_cmpuint(qlist_size(qdict_get_qlist(entry, "threads")), >=, 3);
    qobject_unref(all);

    text = broker_ask(table);
    g_assert_nonnull(strstr(text, "boost"));
    g_free(text);
    text = broker_ask(metrics);
    g_assert_nonnull(strstr(text, "# HELP vamp_vm_debt_seconds"));
    g_assert_nonnull(strstr(text, "vamp_vm_boosts_total{vm=\"with "
                            "\\\"quotes\\\\\",pid="));
    g_assert_true(g_str_has_suffix(text, "# EOF\n"));
    vm_end(&vm);
    broker_stop();
}

/* Other users see their own. */
static void test_status_uid(void)
{
    TestMsg m = msg_new(VAMP_BMSG_STATUS);
    TestVm vm, other;
    char *text;
    int fd;

    broker_start(NULL);
    vm_start(&vm, socket_path, 0);
    vm_register(&vm, "roots");
    vm_start(&other, socket_path, 54321);
    vm_register(&other, "others");
    g_assert_true(vm_send(&other, &m));
    g_assert_cmpint(vm_receive(&other, &m, &fd), ==, VAMP_BMSG_REPORT);
    text = g_malloc0(m.report.length + 1);
    g_assert_cmpint(pread(fd, text, m.report.length, 0), ==, m.report.length);
    g_assert_nonnull(strstr(text, "others"));
    g_assert_null(strstr(text, "roots"));
    /* Sealed: nobody can change what another reads. */
    g_assert_cmpint(pwrite(fd, "x", 1, 0), <, 0);
    close(fd);
    g_free(text);
    vm_end(&other);
    vm_end(&vm);
    broker_stop();
}

static void test_metrics_file(void)
{
    g_autofree char *file = g_build_filename(folder, "vamp.prom", NULL);
    const char *const args[] = { "--metrics-file", file,
                                 "--metrics-interval", "1", NULL };

    broker_start(args);
    EVENTUALLY(access(file, R_OK) == 0);
    {
        g_autofree char *text = read_file(file);

        g_assert_true(g_str_has_suffix(text, "# EOF\n"));
    }
    broker_stop();
    unlink(file);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!broker_test_begin(argv[0])) {
        return 0;
    }
    g_test_add_func("/broker/phase", test_phase);
    g_test_add_func("/broker/slice", test_slice);
    g_test_add_func("/broker/linger", test_linger);
    g_test_add_func("/broker/ratio", test_ratio);
    g_test_add_func("/broker/thread-del", test_thread_del);
    g_test_add_func("/broker/thread-ends", test_thread_ends);
    g_test_add_func("/broker/foreign-class", test_foreign_class);
    g_test_add_func("/broker/dry-run", test_dry_run);
    g_test_add_func("/broker/own-bound", test_own_bound);
    g_test_add_func("/broker/activation", test_activation);
    g_test_add_func("/broker/close", test_close);
    g_test_add_func("/broker/client-killed", test_client_killed);
    g_test_add_data_func("/broker/soon/connection", NULL, test_soon);
    g_test_add_data_func("/broker/soon/process", "", test_soon);
    g_test_add_func("/broker/broker-terminated", test_broker_terminated);
    g_test_add_func("/broker/broker-killed", test_broker_killed);
    g_test_add_func("/broker/both-killed", test_both_killed);
    g_test_add_func("/broker/status", test_status);
    g_test_add_func("/broker/status-uid", test_status_uid);
    g_test_add_func("/broker/metrics-file", test_metrics_file);
    ret = g_test_run();

    broker_test_end();
    return ret;
}
