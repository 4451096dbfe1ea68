/*
 * QTest: the osnet-cpumap object
 *
 * Claim: each vCPU's thread runs where the map says, seen from outside through
 * /proc, from the start, after live changes and hotplug, and under each
 * accelerator that gives vCPUs threads of their own. What cannot be done is
 * refused with a reason and leaves no trace; the end of the object puts back
 * what it found; two VMs never have one CPU.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sched.h>
#include <sys/wait.h>
#include <glib/gstdio.h>
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "vamp-qtest.h"

/* ICH9: where the firmware's tables put the register block. */
#define CPU_HOTPLUG_BASE    0x0cd8
#define CPU_SELECTOR        (CPU_HOTPLUG_BASE + 0)
#define CPU_FLAGS           (CPU_HOTPLUG_BASE + 4)
#define CPU_FLAG_EJECT      (1 << 3)

static char *dir;               /* of this test */
static int cpu_a, cpu_b;        /* two that we may run on */
static char *base;              /* all of them, as /proc says it */

/* --- the host ------------------------------------------------------------ */

static char *allowed_list(int pid, int tid)
{
    g_autofree char *name = g_strdup_printf("/proc/%d/task/%d/status", pid,
                                            tid);
    g_autofree char *text = NULL;
    const char *line;

    g_assert(g_file_get_contents(name, &text, NULL, NULL));
    line = strstr(text, "\nCpus_allowed_list:\t");
    g_assert(line);
    line += strlen("\nCpus_allowed_list:\t");
    return g_strndup(line, strcspn(line, "\n"));
}

static void expect_allowed(QTestState *qts, int tid, const char *list)
{
    g_autofree char *now = allowed_list(qtest_pid(qts), tid);

    g_assert_cmpstr(now, ==, list);
}

static void expect_on(QTestState *qts, int tid, int cpu)
{
    g_autofree char *list = g_strdup_printf("%d", cpu);

    expect_allowed(qts, tid, list);
}

static char *put(const char *name, const char *text)
{
    char *path = g_strdup_printf("%s/%s", dir, name);

    g_assert(g_file_set_contents(path, text, -1, NULL));
    return path;
}

static char *lock_text(int cpu)
{
    g_autofree char *path = g_strdup_printf("%s/locks/cpu%d", dir, cpu);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

static void expect_no_claim(int cpu)
{
    g_autofree char *text = lock_text(cpu);

    g_assert(!text || !*text);
}

/* --- QEMU ---------------------------------------------------------------- */

static QTestState *start(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static QTestState *start(const char *fmt, ...)
{
    g_autofree char *options = NULL;
    g_autofree char *args = NULL;
    va_list ap;

    va_start(ap, fmt);
    options = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    args = g_strdup_printf("-M q35 -cpu qemu64 -name web "
                           "-smp 2,sockets=1,cores=4,threads=1,maxcpus=4 %s",
                           options);
    return qtest_init(args);
}

/* QEMU ends at once with status 1 and says @part. */
static void expect_refused(const char *options, const char *part)
{
    g_autofree char *cmd = g_strdup_printf(
        "timeout 60 %s -machine q35 -accel qtest -display none -nodefaults "
        "-smp 2,cores=4,maxcpus=4 %s", getenv("QTEST_QEMU_BINARY"), options);
    const char *argv[] = { "/bin/sh", "-c", cmd, NULL };
    g_autofree char *out = NULL;
    int status;

    g_assert(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL,
                          NULL, NULL, NULL, &out, &status, NULL));
    g_assert(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    vamp_expect_text(out, part);
}

static QDict *query(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'vamp-query-cpumap' }");
    QDict *info = qdict_get_qdict(rsp, "return");

    g_assert(info);
    qobject_ref(info);
    qobject_unref(rsp);
    return info;
}

/* Thread of @vcpu, also without a map. */
static int tid_of(QTestState *qts, int vcpu)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-cpus-fast' }");
    QListEntry *e;
    int tid = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), e) {
        QDict *cpu = qobject_to(QDict, qlist_entry_obj(e));

        if (qdict_get_int(cpu, "cpu-index") == vcpu) {
            tid = qdict_get_int(cpu, "thread-id");
        }
    }
    g_assert_cmpint(tid, >, 0);
    qobject_unref(rsp);
    return tid;
}

/* The query's account of thread @tid. */
static QDict *thread_info(QDict *info, int tid)
{
    QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "threads"), e) {
        QDict *t = qobject_to(QDict, qlist_entry_obj(e));

        if (qdict_get_int(t, "thread-id") == tid) {
            return t;
        }
    }
    g_error("thread %d is not in the answer", tid);
}

static void expect_thread(QTestState *qts, int tid, const char *kind,
                          bool pinned, const char *reason)
{
    QDict *info = query(qts);
    QDict *t = thread_info(info, tid);
    g_autofree char *now = allowed_list(qtest_pid(qts), tid);

    g_assert_cmpstr(vamp_str(t, "kind"), ==, kind);
    g_assert_cmpstr(vamp_str(t, "affinity"), ==, now);
    g_assert_cmpint(vamp_bool(t, "pinned"), ==, pinned);
    vamp_expect_text(vamp_str(t, "reason"), reason);
    qobject_unref(info);
}

/* @map, @rest: JSON */
static QDict *try_set(QTestState *qts, const char *map, const char *rest)
{
    g_autofree char *args = g_strdup_printf("{ \"map\": [ %s ] %s }", map,
                                            rest);

    return qtest_qmp(qts, "{ 'execute': 'vamp-set-cpumap', 'arguments': %p }",
                     qobject_from_json(args, &error_abort));
}

static char *pair(int vcpu, int cpu)
{
    return g_strdup_printf("{ \"vcpu\": %d, \"cpu\": %d }", vcpu, cpu);
}

static char *pairs(int v1, int c1, int v2, int c2)
{
    g_autofree char *a = pair(v1, c1), *b = pair(v2, c2);

    return g_strdup_printf("%s, %s", a, b);
}

/* @rest: JSON, with a comma first */
static QDict *try_add(QTestState *qts, const char *rest)
{
    g_autofree char *args = g_strdup_printf(
        "{ \"qom-type\": \"osnet-cpumap\", \"id\": \"m\"%s }", rest);

    return qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': %p }",
                     qobject_from_json(args, &error_abort));
}

static void object_del(QTestState *qts, const char *id)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'object-del',"
                             " 'arguments': { 'id': %s } }", id);
}

static void expect_warning(QTestState *qts, const char *part)
{
    QDict *info = query(qts);
    QListEntry *e;
    bool found = false;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "warnings"), e) {
        QString *s = qobject_to(QString, qlist_entry_obj(e));

        found |= strstr(qstring_get_str(s), part) != NULL;
    }
    if (!found) {
        g_error("there is no warning '%s'", part);
    }
    qobject_unref(info);
}

static void expect_free(QTestState *qts)
{
    expect_allowed(qts, qtest_pid(qts), base);
    expect_allowed(qts, tid_of(qts, 0), base);
    expect_allowed(qts, tid_of(qts, 1), base);
}

/* --- options ------------------------------------------------------------- */

static void test_none(void)
{
    QTestState *qts = start(" ");
    QDict *info = query(qts);
    g_autofree char *p = pair(0, cpu_a);

    g_assert(!vamp_bool(info, "enabled"));
    vamp_expect_text(vamp_str(info, "reason"), "no osnet-cpumap object");
    vamp_expect_error(try_set(qts, p, ""), "no osnet-cpumap object");
    expect_free(qts);
    qobject_unref(info);
    qtest_quit(qts);
}

static void check_both(QTestState *qts, const char *id, const char *reason)
{
    QDict *info = query(qts), *cpu;

    expect_on(qts, tid_of(qts, 0), cpu_b);
    expect_on(qts, tid_of(qts, 1), cpu_a);
    expect_allowed(qts, qtest_pid(qts), base);
    expect_thread(qts, tid_of(qts, 0), "vcpu", true, "as mapped");
    expect_thread(qts, qtest_pid(qts), "emulator", false, "as it was found");
    g_assert_cmpstr(vamp_str(info, "id"), ==, id);
    vamp_expect_text(vamp_str(info, "reason"), reason);
    g_assert_cmpstr(vamp_str(thread_info(info, tid_of(qts, 1)),
                             "affinity-found"), ==, base);
    g_assert_cmpuint(qlist_size(qdict_get_qlist(info, "map")), ==, 2);
    cpu = qobject_to(QDict, qlist_peek(qdict_get_qlist(info, "cpus")));
    g_assert_cmpint(vamp_num(cpu, "cpu"), ==, MIN(cpu_a, cpu_b));
    g_assert(vamp_bool(cpu, "online") && vamp_bool(cpu, "claimed"));
    g_assert_cmpint(vamp_bool(cpu, "housekeeping"), ==,
                    !vamp_bool(cpu, "isolated") &&
                    !vamp_bool(cpu, "nohz-full"));
    qobject_unref(info);
}

static void test_path(void)
{
    g_autofree char *text = g_strdup_printf("# vCPU  host CPU\r\n\r\n0\t%d\r\n"
                                            " 1  %d # last", cpu_b, cpu_a);
    g_autofree char *path = put("map,1", text);
    g_autofree char *who = NULL;
    QTestState *qts;

    /* The comma in the name is doubled as everywhere in QEMU. */
    qts = start("-osnet_cpumap path=%s/map,,1", dir);
    check_both(qts, "osnet-cpumap", path);
    who = lock_text(cpu_a);
    vamp_expect_text(who, "'web', pid ");
    qtest_quit(qts);
    expect_no_claim(cpu_a);
}

static void test_map(void)
{
    QTestState *qts = start("-osnet_cpumap map=0-%d,1-%d", cpu_b, cpu_a);

    check_both(qts, "osnet-cpumap", "given as map=");
    qtest_quit(qts);

    qts = start("-object osnet-cpumap,id=m,map=0-%d,1-%d,strict=off", cpu_b,
                cpu_a);
    check_both(qts, "m", "given as map=");
    qtest_quit(qts);

    qts = start("-object '{\"qom-type\":\"osnet-cpumap\",\"id\":\"m\","
                "\"map\":\"0-%d,1-%d\"}'", cpu_b, cpu_a);
    check_both(qts, "m", "given as map=");
    qtest_quit(qts);
}

/* A map may name vCPUs that are not plugged yet, and leave out others. */
static void test_partial(void)
{
    g_autofree char *all = g_strdup_printf(
        "-osnet_cpumap map=0-%d,1-%d,2-%d,3-%d,strict=on,shared=on", cpu_a,
        cpu_a, cpu_a, cpu_b);
    g_autofree char *some = g_strdup_printf(
        "-osnet_cpumap map=0-%d,1-%d,strict=on", cpu_a, cpu_b);
    QTestState *qts = start("-osnet_cpumap map=1-%d,3-%d", cpu_a, cpu_b);

    expect_allowed(qts, tid_of(qts, 0), base);
    expect_on(qts, tid_of(qts, 1), cpu_a);
    expect_thread(qts, tid_of(qts, 0), "vcpu", false, "as it was found");
    qtest_quit(qts);

    expect_refused(some, "vCPU 2 is left out, with strict=on all vCPUs from "
                   "0 to 3");
    qts = start("%s", all);
    expect_on(qts, tid_of(qts, 0), cpu_a);
    expect_on(qts, tid_of(qts, 1), cpu_a);
    qtest_quit(qts);
}

static int iothread_tid(QTestState *qts, const char *id)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-iothreads' }");
    QListEntry *e;
    int tid = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), e) {
        QDict *io = qobject_to(QDict, qlist_entry_obj(e));

        if (!strcmp(qdict_get_str(io, "id"), id)) {
            tid = qdict_get_int(io, "thread-id");
        }
    }
    g_assert_cmpint(tid, >, 0);
    qobject_unref(rsp);
    return tid;
}

static void test_other_threads(void)
{
    QTestState *qts = start("-object iothread,id=io0 -device pcie-root-port,"
                            "id=rp -blockdev null-co,node-name=n0,"
                            "read-zeroes=on -osnet_cpumap "
                            "map=0-%d,emulator=%d,iothreads=%d,%d", cpu_a,
                            cpu_b, cpu_a, cpu_b);
    g_autofree char *both = g_strdup_printf(cpu_b == cpu_a + 1 ? "%d-%d" :
                                            "%d,%d", cpu_a, cpu_b);
    g_autofree char *map = pair(0, cpu_b);
    g_autofree char *swap = g_strdup_printf(
        ", \"emulator\": \"\", \"iothreads\": \"%d\"", cpu_b);
    int io_tid = iothread_tid(qts, "io0"), new_tid;

    expect_on(qts, tid_of(qts, 0), cpu_a);
    expect_on(qts, qtest_pid(qts), cpu_b);
    /* Nothing is asked for it, whatever becomes of the main thread. */
    expect_allowed(qts, tid_of(qts, 1), base);
    expect_allowed(qts, io_tid, both);
    expect_thread(qts, io_tid, "iothread", true, "as mapped");
    expect_thread(qts, qtest_pid(qts), "emulator", true, "as mapped");

    /* A new IOThread gets its CPUs with its first device. */
    qtest_qmp_assert_success(qts, "{ 'execute': 'object-add', 'arguments':"
                             " { 'qom-type': 'iothread', 'id': 'io1' } }");
    new_tid = iothread_tid(qts, "io1");
    expect_on(qts, new_tid, cpu_b);
    qtest_qmp_assert_success(qts, "{ 'execute': 'device_add', 'arguments':"
                             " { 'driver': 'virtio-blk-pci', 'bus': 'rp',"
                             " 'drive': 'n0', 'iothread': 'io1' } }");
    expect_allowed(qts, new_tid, both);

    /* What a change does not name stays. */
    vamp_expect_ok(try_set(qts, map, ""));
    expect_on(qts, tid_of(qts, 0), cpu_b);
    expect_on(qts, qtest_pid(qts), cpu_b);
    expect_allowed(qts, io_tid, both);

    vamp_expect_ok(try_set(qts, map, swap));
    expect_on(qts, tid_of(qts, 0), cpu_b);
    expect_allowed(qts, qtest_pid(qts), base);
    expect_on(qts, io_tid, cpu_b);
    expect_on(qts, new_tid, cpu_b);

    object_del(qts, "osnet-cpumap");
    expect_free(qts);
    expect_allowed(qts, io_tid, base);
    expect_allowed(qts, new_tid, base);
    qtest_quit(qts);
}

/* QEMU ends with all kinds of threads pinned; qtest_quit() sees a crash. */
static void test_exit(void)
{
    static const char *const order[] = {
        "-object iothread,id=a -object iothread,id=z",
        "-object iothread,id=z -object iothread,id=a",
    };

    for (int i = 0; i < G_N_ELEMENTS(order); i++) {
        QTestState *qts = start("%s -osnet_cpumap map=0-%d,iothreads=%d,"
                                "emulator=%d", order[i], cpu_a, cpu_b, cpu_b);

        expect_on(qts, tid_of(qts, 0), cpu_a);
        qtest_qmp_assert_success(qts, "{ 'execute': 'quit' }");
        qtest_wait_qemu(qts);
        qtest_quit(qts);
        expect_no_claim(cpu_a);
    }
}

/* --- live ---------------------------------------------------------------- */

static void test_live(void)
{
    g_autofree char *swapped = pairs(0, cpu_a, 1, cpu_b);
    g_autofree char *only = pair(1, cpu_a);
    g_autofree char *twice = pairs(1, cpu_a, 1, cpu_b);
    g_autofree char *same = pairs(0, cpu_a, 1, cpu_a);
    g_autofree char *no_vcpu = pairs(0, cpu_a, 4, cpu_b);
    g_autofree char *no_cpu = pairs(0, cpu_a, 1, 9999);
    g_autofree char *negative = pairs(0, cpu_a, 1, -1);
    g_autofree char *last = g_strdup_printf(
        "%s, { \"vcpu\": 1, \"cpu\": 9223372036854775807 }", only);
    const struct {
        const char *map, *rest, *error;
    } bad[] = {
        { "", "", "there is no entry" },
        { twice, "", "map, pair 2: vCPU 1 is mapped already (map, pair 1)" },
        { same, "", "several vCPUs on one host CPU need shared=on" },
        { no_vcpu, "", "pair 2: vCPU 4 does not exist, valid is 0 to 3" },
        { no_cpu, "", "pair 2: host CPU 9999 does not exist" },
        { negative, "", "pair 2: a number has a sign" },
        { last, "", "pair 2: a number is too large" },
        { swapped, ", \"emulator\": \"x\"", "emulator=x: the number" },
        { swapped, ", \"emulator\": \"8000\"", "emulator: host CPU 8000" },
        { swapped, ", \"iothreads\": \"1-0\"", "iothreads=1-0: a range" },
    };
    QTestState *qts = start("-osnet_cpumap map=0-%d,1-%d", cpu_b, cpu_a);
    QDict *info;

    for (int i = 0; i < G_N_ELEMENTS(bad); i++) {
        vamp_expect_error(try_set(qts, bad[i].map, bad[i].rest), bad[i].error);
        check_both(qts, "osnet-cpumap", "given as map=");
    }

    vamp_expect_ok(try_set(qts, swapped, ""));
    expect_on(qts, tid_of(qts, 0), cpu_a);
    expect_on(qts, tid_of(qts, 1), cpu_b);
    info = query(qts);
    vamp_expect_text(vamp_str(info, "reason"), "set by vamp-set-cpumap");
    qobject_unref(info);

    /* What the new map leaves out is free again, its CPU as well. */
    vamp_expect_ok(try_set(qts, only, ""));
    expect_allowed(qts, tid_of(qts, 0), base);
    expect_on(qts, tid_of(qts, 1), cpu_a);
    expect_no_claim(cpu_b);

    /* Single properties cannot be changed in a consistent way. */
    vamp_expect_error(qtest_qmp(qts, "{ 'execute': 'qom-set', 'arguments': {"
                                " 'path': '/objects/osnet-cpumap',"
                                " 'property': 'map', 'value': '0-0' } }"),
                      "use vamp-set-cpumap");

    object_del(qts, "osnet-cpumap");
    expect_free(qts);
    expect_no_claim(cpu_a);
    info = query(qts);
    g_assert(!vamp_bool(info, "enabled"));
    qobject_unref(info);
    qtest_quit(qts);
}

/* Made and removed while the VM runs, again and again. */
static void test_object_add(void)
{
    g_autofree char *args = g_strdup_printf(", \"map\": \"0-%d,1-%d\"", cpu_b,
                                            cpu_a);
    QTestState *qts = start(" ");

    for (int i = 0; i < 3; i++) {
        vamp_expect_ok(try_add(qts, args));
        check_both(qts, "m", "given as map=");
        object_del(qts, "m");
        expect_free(qts);
    }
    qtest_quit(qts);
}

/* --- hotplug ------------------------------------------------------------- */

static void plug(QTestState *qts, int core)
{
    g_autofree char *id = g_strdup_printf("cpu%d", core);

    qtest_qmp_assert_success(qts, "{ 'execute': 'device_add', 'arguments': {"
                             " 'driver': 'qemu64-x86_64-cpu', 'id': %s,"
                             " 'socket-id': 0, 'core-id': %d,"
                             " 'thread-id': 0 } }", id, core);
}

static void unplug(QTestState *qts, int core)
{
    g_autofree char *id = g_strdup_printf("cpu%d", core);

    qtest_outb(qts, CPU_SELECTOR, 0);
    qtest_qmp_device_del_send(qts, id);
    qtest_outl(qts, CPU_SELECTOR, core);
    qtest_outb(qts, CPU_FLAGS, CPU_FLAG_EJECT);
    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
}

static void test_hotplug(void)
{
    QTestState *qts = start("-osnet_cpumap map=0-%d,1-%d,2-%d,shared=on,"
                            "emulator=%d", cpu_a, cpu_a, cpu_b, cpu_a);
    g_autofree char *map = pairs(1, cpu_a, 3, cpu_b);

    expect_warning(qts, "its threads compete with vCPUs on host CPU");
    for (int i = 0; i < 2; i++) {
        plug(qts, 2);
        expect_on(qts, tid_of(qts, 2), cpu_b);
        expect_thread(qts, tid_of(qts, 2), "vcpu", true, "as mapped");
        /* Not mapped: it does not stay where the main thread is, either. */
        plug(qts, 3);
        expect_allowed(qts, tid_of(qts, 3), base);
        unplug(qts, 3);
        unplug(qts, 2);
    }
    plug(qts, 3);
    vamp_expect_ok(try_set(qts, map, ""));
    expect_on(qts, tid_of(qts, 3), cpu_b);
    object_del(qts, "osnet-cpumap");
    expect_free(qts);
    expect_allowed(qts, tid_of(qts, 3), base);
    qtest_quit(qts);
}

/* --- others -------------------------------------------------------------- */

static void set_affinity(int tid, int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    g_assert_cmpint(sched_setaffinity(tid, sizeof(set), &set), ==, 0);
}

/* As libvirt does it: after the start, from outside. */
static void test_foreign(void)
{
    QTestState *qts = start("-osnet_cpumap map=0-%d,1-%d", cpu_a, cpu_b);
    g_autofree char *again = pairs(0, cpu_b, 1, cpu_a);
    int tid = tid_of(qts, 1);

    set_affinity(tid, cpu_a);
    expect_thread(qts, tid, "vcpu", false, "somebody else has changed it");
    /* vCPU 0 would have to move, vCPU 1 is there already. */
    vamp_expect_ok(try_set(qts, again, ""));
    set_affinity(tid_of(qts, 0), cpu_a);
    g_free(again);
    again = pairs(0, cpu_b, 1, cpu_a);
    vamp_expect_error(try_set(qts, again, ""), "libvirt's vcpupin");
    expect_on(qts, tid_of(qts, 0), cpu_a);
    object_del(qts, "osnet-cpumap");
    expect_on(qts, tid_of(qts, 0), cpu_a);
    qtest_quit(qts);
}

static void widen(int tid)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu_a, &set);
    CPU_SET(cpu_b, &set);
    g_assert_cmpint(sched_setaffinity(tid, sizeof(set), &set), ==, 0);
}

/*
 * As libvirt does it with cgroup v1: QEMU is started stopped, and a move to
 * another cpuset undoes the affinity. Once the VM has run it is somebody's wish.
 */
static void test_started(void)
{
    QTestState *qts = start("-S -osnet_cpumap map=0-%d,1-%d", cpu_a, cpu_b);
    int tid = tid_of(qts, 1);

    widen(tid);
    expect_thread(qts, tid, "vcpu", false, "somebody else has changed it");
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    expect_on(qts, tid, cpu_b);
    expect_thread(qts, tid, "vcpu", true, "as mapped");
    widen(tid);
    qtest_qmp_assert_success(qts, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    expect_thread(qts, tid, "vcpu", false, "somebody else has changed it");
    qtest_quit(qts);
}

static char *cpuset_group(void)
{
    static const char *const tops[] = { "/sys/fs/cgroup/cpuset", NULL };
    g_autofree char *group = g_strdup_printf("%s/vamp-test-%d", tops[0],
                                             (int)getpid());

    return g_mkdir(group, 0755) == 0 ? g_steal_pointer(&group) : NULL;
}

static void group_put(const char *group, const char *file, const char *text)
{
    g_autofree char *path = g_strdup_printf("%s/%s", group, file);
    int fd = open(path, O_WRONLY);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
    close(fd);
}

/* libvirt's vcpupin with control groups: one thread has a cpuset of its own. */
static void test_cpuset(void)
{
    g_autofree char *group = cpuset_group();
    g_autofree char *a = g_strdup_printf("%d", cpu_a);
    g_autofree char *map = pairs(0, cpu_a, 1, cpu_b);
    g_autofree char *want = g_strdup_printf("permits only host CPU %d", cpu_a);
    g_autofree char *tid = NULL;
    QTestState *qts;

    if (!group) {
        g_test_skip("needs the right to make a cpuset (cgroup v1)");
        return;
    }
    qts = start("-osnet_cpumap map=0-%d", cpu_b);
    tid = g_strdup_printf("%d", tid_of(qts, 1));
    group_put(group, "cpuset.cpus", a);
    group_put(group, "cpuset.mems", "0");
    group_put(group, "tasks", tid);
    expect_on(qts, tid_of(qts, 1), cpu_a);

    vamp_expect_error(try_set(qts, map, ""), want);
    /* All of it failed: vCPU 0 is where it was. */
    expect_on(qts, tid_of(qts, 0), cpu_b);
    expect_on(qts, tid_of(qts, 1), cpu_a);
    expect_no_claim(cpu_a);
    qtest_quit(qts);
    while (rmdir(group) < 0 && errno == EBUSY) {
        g_usleep(1000);
    }
}

/* All of QEMU in a cpuset, as a service or container has it. */
static void test_cpuset_named(void)
{
    g_autofree char *group = cpuset_group();
    g_autofree char *a = g_strdup_printf("%d", cpu_a);
    g_autofree char *map = g_strdup_printf(", \"map\": \"1-%d\"", cpu_b);
    g_autofree char *tasks = NULL;
    g_autofree char *want = g_strdup_printf("permits only host CPU %d", cpu_a);
    QTestState *qts;
    GDir *d;
    const char *tid;

    if (!group) {
        g_test_skip("needs the right to make a cpuset (cgroup v1)");
        return;
    }
    qts = start(" ");
    group_put(group, "cpuset.cpus", a);
    group_put(group, "cpuset.mems", "0");
    tasks = g_strdup_printf("/proc/%d/task", (int)qtest_pid(qts));
    d = g_dir_open(tasks, 0, NULL);
    while ((tid = g_dir_read_name(d))) {
        group_put(group, "tasks", tid);
    }
    g_dir_close(d);
    vamp_expect_error(try_add(qts, map), want);
    vamp_expect_error(try_add(qts, map), "its cpuset /vamp-test-");
    expect_on(qts, tid_of(qts, 1), cpu_a);
    qtest_quit(qts);
    while (rmdir(group) < 0 && errno == EBUSY) {
        g_usleep(1000);
    }
}

static void test_two_vms(void)
{
    QTestState *one = start("-osnet_cpumap map=0-%d", cpu_a);
    g_autofree char *same = g_strdup_printf("-osnet_cpumap map=0-%d,1-%d",
                                            cpu_b, cpu_a);
    g_autofree char *who = g_strdup_printf(
        "host CPU %d is claimed by another VM: 'web', pid %d", cpu_a,
        (int)qtest_pid(one));
    g_autofree char *add = g_strdup_printf(", \"map\": \"0-%d\"", cpu_a);
    g_autofree char *to_a = pair(0, cpu_a);
    g_autofree char *to_b = pair(0, cpu_b);
    QTestState *two;

    /* On the command line, at run time, and by a live change */
    expect_refused(same, who);
    expect_no_claim(cpu_b);
    two = start("-osnet_cpumap map=0-%d", cpu_b);
    vamp_expect_error(try_set(two, to_a, ""), who);
    expect_on(two, tid_of(two, 0), cpu_b);
    vamp_expect_error(try_set(one, to_b, ""), "is claimed by another VM");
    object_del(two, "osnet-cpumap");
    vamp_expect_error(try_add(two, add), who);
    expect_free(two);

    /* What one gives up, the other can have. */
    vamp_expect_ok(try_set(one, to_b, ""));
    vamp_expect_ok(try_add(two, add));
    vamp_expect_error(try_set(one, to_a, ""), "is claimed by another VM");

    /* A killed VM holds nothing. */
    qtest_kill_qemu(two);
    vamp_expect_ok(try_set(one, to_a, ""));
    expect_on(one, tid_of(one, 0), cpu_a);
    qtest_quit(one);
    qtest_quit(two);
}

/* Where there is no /run/vamp, and none can be made */
static void test_lock_folders(void)
{
    g_autofree char *host = put("not-a-folder", "");
    g_autofree char *user = g_strdup_printf("%s/vamp", dir);
    g_autofree char *old = g_strdup(getenv("VAMP_QTEST_LOCKS"));
    g_autofree char *old_run = g_strdup(getenv("XDG_RUNTIME_DIR"));
    QTestState *qts;
    QDict *info;

    g_setenv("VAMP_QTEST_LOCKS", host, true);
    g_setenv("XDG_RUNTIME_DIR", dir, true);
    qts = start("-osnet_cpumap map=0-%d", cpu_a);
    info = query(qts);
    g_assert_cmpstr(vamp_str(info, "lock-dir"), ==, user);
    expect_warning(qts, "only VMs of user ");
    qobject_unref(info);
    qtest_quit(qts);

    /* Not a reason to run without a map, but to be told. */
    g_setenv("XDG_RUNTIME_DIR", "relative", true);
    qts = start("-osnet_cpumap map=0-%d", cpu_a);
    info = query(qts);
    g_assert(!vamp_get(info, "lock-dir"));
    expect_warning(qts, "other VMs are not kept off these host CPUs: cannot");
    expect_on(qts, tid_of(qts, 0), cpu_a);
    qobject_unref(info);
    qtest_quit(qts);

    g_setenv("VAMP_QTEST_LOCKS", old, true);
    if (old_run) {
        g_setenv("XDG_RUNTIME_DIR", old_run, true);
    } else {
        g_unsetenv("XDG_RUNTIME_DIR");
    }
}

/* --- bad input ----------------------------------------------------------- */

static void expect_bad_text(QTestState *qts, const char *text,
                            const char *part)
{
    g_autofree char *path = put("bad", text);
    g_autofree char *args = g_strdup_printf(", \"path\": \"%s\"", path);
    g_autofree char *options = g_strdup_printf("-osnet_cpumap path=%s", path);

    g_test_message("%s", part);
    vamp_expect_error(try_add(qts, args), part);
    expect_free(qts);
    expect_no_claim(cpu_a);
    /* The whole program only for some: it takes its time. */
    if (strstr(part, ":3:")) {
        expect_refused(options, part);
    }
}

static void test_bad_file(void)
{
    static const char *const files[][2] = {
        { "/dev/zero", "/dev/zero is a device" },
        { "/proc", "/proc is a directory" },
        { "/nonexistent/map", "'/nonexistent/map': No such file" },
    };
    QTestState *qts = start(" ");
    g_autofree char *fifo = g_strdup_printf("%s/fifo", dir);
    g_autofree char *fifo_args = g_strdup_printf(", \"path\": \"%s\"", fifo);
    g_autofree char *big = g_strnfill(70000, ' ');
    g_autofree char *twice = g_strdup_printf("0 %d\n\n0 %d\n", cpu_a, cpu_b);
    g_autofree char *same = g_strdup_printf("0 %d\n1 %d\n", cpu_a, cpu_a);
    g_autofree char *vcpu = g_strdup_printf("0 %d\n4 %d\n", cpu_a, cpu_b);
    g_autofree char *cpu = g_strdup_printf("0 %d\n1 9999\n", cpu_a);
    g_autoptr(GString) many = g_string_new(NULL);

    for (int i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *args = g_strdup_printf(", \"path\": \"%s\"",
                                                files[i][0]);

        vamp_expect_error(try_add(qts, args), files[i][1]);
    }
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    vamp_expect_error(try_add(qts, fifo_args), "is a pipe");

    expect_bad_text(qts, "", "bad: there is no entry");
    expect_bad_text(qts, big, "bad is larger than 65536 bytes");
    expect_bad_text(qts, "0 0\r\n\r\n1 +1\r\n", "bad:3: a number has a sign");
    expect_bad_text(qts, "0\t0\n1\n", "bad:2: the number of a host CPU");
    expect_bad_text(qts, "0 99999999999999999999\n", "bad:1: a number is too");
    expect_bad_text(qts, twice, "bad:3: vCPU 0 is mapped already");
    expect_bad_text(qts, same, "need shared=on");
    expect_bad_text(qts, vcpu, "bad:2: vCPU 4 does not exist");
    expect_bad_text(qts, cpu, "bad:2: host CPU 9999 does not exist");
    for (int i = 0; i <= 1024; i++) {
        g_string_append_printf(many, "%d %d\n", i, i);
    }
    expect_bad_text(qts, many->str, "bad:1025: there are too many entries");
    qtest_quit(qts);
}

static void test_bad_options(void)
{
    g_autofree char *map = g_strdup_printf("-osnet_cpumap map=0-%d", cpu_a);
    g_autofree char *twice = g_strdup_printf("%s %s", map, map);
    g_autofree char *two = g_strdup_printf("%s -object osnet-cpumap,id=x,"
                                           "map=1-%d", map, cpu_b);
    g_autofree char *both = g_strdup_printf("%s,path=/x", map);
    g_autofree char *list = g_strdup_printf("%s,emulator=3-1", map);
    g_autofree char *sandbox = g_strdup_printf("-sandbox on,"
                                               "resourcecontrol=deny %s", map);
    g_autofree char *none = g_strdup_printf("-M none %s", map);

    expect_refused(twice, "-osnet_cpumap is given twice");
    expect_refused(two, "there is an osnet-cpumap object already");
    expect_refused(both, "both path=/x and map=0-");
    expect_refused("-osnet_cpumap strict=on", "osnet-cpumap has no map");
    expect_refused("-osnet_cpumap map=0-0,x=1", "Invalid parameter 'x'");
    expect_refused("-osnet_cpumap map=", "map: there is no entry");
    expect_refused("-osnet_cpumap map=0-0,1", "map, pair 2: the number of");
    expect_refused(list, "emulator=3-1: a range ends below");
    expect_refused(sandbox, "resourcecontrol=deny forbids it");
    expect_no_claim(cpu_a);
    if (qtest_has_accel("tcg")) {
        g_autofree char *cmd = g_strdup_printf(
            "timeout 60 %s -accel tcg,thread=single -display none -nodefaults "
            "-smp 2 %s 2>&1", getenv("QTEST_QEMU_BINARY"), map);
        const char *argv[] = { "/bin/sh", "-c", cmd, NULL };
        g_autofree char *out = NULL;
        int status;

        g_assert(g_spawn_sync(NULL, (char **)argv, NULL, 0, NULL, NULL, &out,
                              NULL, &status, NULL));
        g_assert_cmpint(WEXITSTATUS(status), ==, 1);
        vamp_expect_text(out, "all vCPUs share one thread");
    }
}

/* --- accelerators, monitor ----------------------------------------------- */

static void check_accel(const char *accel)
{
    QTestState *qts = start("-accel %s -S -osnet_cpumap map=0-%d,1-%d", accel,
                            cpu_b, cpu_a);

    check_both(qts, "osnet-cpumap", "given as map=");
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    check_both(qts, "osnet-cpumap", "given as map=");
    object_del(qts, "osnet-cpumap");
    expect_free(qts);
    qtest_quit(qts);
}

static void test_mttcg(void)
{
    if (!qtest_has_accel("tcg")) {
        g_test_skip("this QEMU has no TCG");
        return;
    }
    check_accel("tcg,thread=multi");
}

static void test_kvm(void)
{
    if (!qtest_has_accel("kvm")) {
        g_test_skip("there is no KVM here");
        return;
    }
    check_accel("kvm");
}

static void test_monitor(void)
{
    QTestState *qts = start("-osnet_cpumap map=0-%d,1-%d", cpu_b, cpu_a);
    g_autofree char *cpumap = qtest_hmp(qts, "info vamp cpumap");
    g_autofree char *policy = qtest_hmp(qts, "info vamp");
    g_autofree char *named = qtest_hmp(qts, "info vamp policy");
    g_autofree char *wrong = qtest_hmp(qts, "info vamp weather");
    g_autofree char *line = g_strdup_printf("vCPU 0 %18d  %-10d",
                                            tid_of(qts, 0), cpu_b);

    vamp_expect_text(cpumap, "osnet-cpumap: given as map=");
    vamp_expect_text(cpumap, line);
    vamp_expect_text(cpumap, "as mapped");
    vamp_expect_text(policy, "off: there is no vamp-policy object");
    g_assert_cmpstr(policy, ==, named);
    vamp_expect_text(wrong, "'weather' is unknown, valid are policy, cpumap");
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_autofree char *locks = NULL;
    cpu_set_t set;
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(sched_getaffinity(0, sizeof(set), &set), ==, 0);
    for (cpu_a = 0; cpu_a < CPU_SETSIZE && !CPU_ISSET(cpu_a, &set); cpu_a++) {
        /* the first one */
    }
    for (cpu_b = cpu_a + 1; cpu_b < CPU_SETSIZE && !CPU_ISSET(cpu_b, &set);
         cpu_b++) {
        /* the second one */
    }
    if (cpu_b >= CPU_SETSIZE) {
        g_print("1..0 # SKIP needs two CPUs\n");
        return 0;
    }
    base = allowed_list(getpid(), getpid());
    dir = g_dir_make_tmp("vamp-cpumap-XXXXXX", NULL);
    locks = g_strdup_printf("%s/locks", dir);
    g_setenv("VAMP_QTEST_LOCKS", locks, true);

    qtest_add_func("/vamp/cpumap/none", test_none);
    qtest_add_func("/vamp/cpumap/path", test_path);
    qtest_add_func("/vamp/cpumap/map", test_map);
    qtest_add_func("/vamp/cpumap/partial", test_partial);
    qtest_add_func("/vamp/cpumap/other-threads", test_other_threads);
    qtest_add_func("/vamp/cpumap/exit", test_exit);
    qtest_add_func("/vamp/cpumap/live", test_live);
    qtest_add_func("/vamp/cpumap/object-add", test_object_add);
    qtest_add_func("/vamp/cpumap/hotplug", test_hotplug);
    qtest_add_func("/vamp/cpumap/foreign", test_foreign);
    qtest_add_func("/vamp/cpumap/started", test_started);
    qtest_add_func("/vamp/cpumap/cpuset", test_cpuset);
    qtest_add_func("/vamp/cpumap/cpuset/named", test_cpuset_named);
    qtest_add_func("/vamp/cpumap/two-vms", test_two_vms);
    qtest_add_func("/vamp/cpumap/lock-folders", test_lock_folders);
    qtest_add_func("/vamp/cpumap/bad-file", test_bad_file);
    qtest_add_func("/vamp/cpumap/bad-options", test_bad_options);
    qtest_add_func("/vamp/cpumap/mttcg", test_mttcg);
    qtest_add_func("/vamp/cpumap/kvm", test_kvm);
    qtest_add_func("/vamp/cpumap/monitor", test_monitor);
    ret = g_test_run();

    {
        const char *rm[] = { "rm", "-rf", dir, NULL };

        g_spawn_sync(NULL, (char **)rm, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL,
                     NULL, NULL, NULL, NULL);
    }
    return ret;
}
