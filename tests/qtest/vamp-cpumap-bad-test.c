/*
 * QTest: bad files and options of the osnet-cpumap object
 *
 * Claim: what cannot be a map is refused with its place, pins nothing and
 * claims nothing.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "vamp-cpumap-qtest.h"

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

int main(int argc, char **argv)
{
    if (!cpumap_begin(&argc, &argv)) {
        return 0;
    }
    qtest_add_func("/vamp/cpumap/bad-file", test_bad_file);
    qtest_add_func("/vamp/cpumap/bad-options", test_bad_options);
    return cpumap_run();
}
