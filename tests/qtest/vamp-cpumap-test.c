/*
 * QTest: the osnet-cpumap object
 *
 * Claim: each vCPU's thread runs where the map says, seen from outside through
 * /proc, from the start, after live changes and hotplug, and under each
 * accelerator that gives vCPUs threads of their own. The end of the object puts
 * back what it found.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "vamp-cpumap-qtest.h"

/* ICH9: where the firmware's tables put the register block. */
#define CPU_HOTPLUG_BASE    0x0cd8
#define CPU_SELECTOR        (CPU_HOTPLUG_BASE + 0)
#define CPU_FLAGS           (CPU_HOTPLUG_BASE + 4)
#define CPU_FLAG_EJECT      (1 << 3)

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
    if (!cpumap_begin(&argc, &argv)) {
        return 0;
    }
    qtest_add_func("/vamp/cpumap/none", test_none);
    qtest_add_func("/vamp/cpumap/path", test_path);
    qtest_add_func("/vamp/cpumap/map", test_map);
    qtest_add_func("/vamp/cpumap/partial", test_partial);
    qtest_add_func("/vamp/cpumap/other-threads", test_other_threads);
    qtest_add_func("/vamp/cpumap/exit", test_exit);
    qtest_add_func("/vamp/cpumap/live", test_live);
    qtest_add_func("/vamp/cpumap/object-add", test_object_add);
    qtest_add_func("/vamp/cpumap/hotplug", test_hotplug);
    qtest_add_func("/vamp/cpumap/mttcg", test_mttcg);
    qtest_add_func("/vamp/cpumap/kvm", test_kvm);
    qtest_add_func("/vamp/cpumap/monitor", test_monitor);
    return cpumap_run();
}
