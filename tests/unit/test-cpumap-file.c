/*
 * Unit tests: maps in files, and whether they fit (hw/vamp/cpumap-file.c)
 *
 * Claim: bad maps are refused with their place, whatever is behind the name.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <glib/gstdio.h>
#include "hw/vamp/cpumap-file.h"
#include "test-cpumap-util.h"

static void expect_bad_file(const char *name, const char *part)
{
    g_autofree char *path = in_top(name);
    Error *err = NULL;

    g_test_message("%s", name);
    g_assert_null(vamp_cpumap_from_file(path, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), path));
    expect(&err, part);
}

static void test_file(void)
{
    g_autofree char *path = NULL;
    g_autofree char *link_path = NULL;
    g_autoptr(VampCpumap) map = NULL;
    g_autofree char *big = g_strnfill(VAMP_CPUMAP_FILE_MAX, '\n');

    begin();
    memcpy(big, "0 1", 3);
    put("map", big);
    path = in_top("map");
    link_path = in_top("link");
    g_assert_cmpint(symlink(path, link_path), ==, 0);
    map = vamp_cpumap_from_file(link_path, &error_abort);
    g_assert_cmpuint(map->n, ==, 1);
    g_assert_cmpuint(map->entry[0].cpu, ==, 1);
    g_assert_nonnull(vamp_cpumap_find(map, 0));
    g_assert_null(vamp_cpumap_find(map, 1));
    end();
}

static void test_file_bad(void)
{
    g_autofree char *path = NULL;
    g_autofree char *sparse = NULL;
    g_autofree char *big = g_strnfill(VAMP_CPUMAP_FILE_MAX + 1, '\n');
    g_autoptr(GString) many = g_string_new(NULL);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    Error *err = NULL;
    int fd;

    begin();
    expect_bad_file("missing", "No such file");
    put("dir/x", "0 0\n");
    expect_bad_file("dir", "is a directory, a regular file");
    expect_bad_file("dir/x/y", "Not a directory");
    put("lines", "# two\n0 0\n1 -1\n");
    expect_bad_file("lines", "lines:3: a number has a sign");
    put("empty", "");
    expect_bad_file("empty", "empty: there is no entry");
    memcpy(big, "0 1", 3);
    put("big", big);
    expect_bad_file("big", "is larger than 65536 bytes");
    for (int i = 0; i <= 1024; i++) {
        g_string_append_printf(many, "%d %d\n", i, i);
    }
    put("many", many->str);
    expect_bad_file("many", "many:1025: there are too many entries, valid are "
                    "up to 1024");

    put("sparse", "");
    sparse = in_top("sparse");
    g_assert_cmpint(truncate(sparse, 1ll << 40), ==, 0);
    expect_bad_file("sparse", "is larger than 65536 bytes");

    /* Nobody writes to it: opening it the usual way would wait for ever. */
    path = in_top("fifo");
    g_assert_cmpint(mkfifo(path, 0666), ==, 0);
    alarm(20);
    expect_bad_file("fifo", "is a pipe, a regular file");
    alarm(0);

    g_free(path);
    path = in_top("socket");
    g_assert_cmpuint(strlen(path), <, sizeof(addr.sun_path));
    strcpy(addr.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    expect_bad_file("socket", "is a socket, a regular file");
    close(fd);

    g_assert_null(vamp_cpumap_from_file("/dev/zero", &err));
    expect(&err, "/dev/zero is a device, a regular file");

    put("secret", "0 0\n");
    g_free(path);
    path = in_top("secret");
    g_assert_cmpint(chmod(path, 0), ==, 0);
    if (access(path, R_OK) < 0) {
        expect_bad_file("secret", "Permission denied");
    }
    end();
}

/* --- does a map fit? --------------------------------------------------- */

static void expect_invalid(const char *pairs, unsigned vcpus, bool strict,
                           bool shared, const char *part)
{
    g_autoptr(VampCpumap) map = vamp_cpumap_from_pairs(pairs, &error_abort);
    VampCpuPaths paths = mock_paths();
    VampHostCpus host;
    Error *err = NULL;

    g_assert_true(vamp_host_cpus_read(&host, &paths, &error_abort));
    if (!part) {
        g_assert_true(vamp_cpumap_valid(map, &host, vcpus, strict, shared,
                                        &error_abort));
        return;
    }
    g_assert_false(vamp_cpumap_valid(map, &host, vcpus, strict, shared, &err));
    expect(&err, part);
}

static void test_valid(void)
{
    g_autoptr(VampCpumap) map = vamp_cpumap_new();
    VampCpuPaths paths;
    VampHostCpus host;
    VampCpus cpus;
    Error *err = NULL;

    mock_begin("", NULL);
    expect_invalid("0-0,1-7", 2, true, false, NULL);
    expect_invalid("1-7", 2, false, false, NULL);
    expect_invalid("1-7", 2, true, false, "map: vCPU 0 is left out");
    expect_invalid("0-0,2-1", 2, false, false,
                   "map, pair 2: vCPU 2 does not exist, valid is 0 to 1");
    expect_invalid("0-0,1-9", 2, false, false,
                   "map, pair 2: host CPU 9 does not exist, valid is 0-8");
    expect_invalid("0-2147483647", 2, false, false,
                   "host CPU 2147483647 does not exist");
    expect_invalid("0-8", 2, false, false,
                   "map, pair 1: host CPU 8 is offline, online is 0-7");
    expect_invalid("0-1,0-2", 2, false, true,
                   "map, pair 2: vCPU 0 is mapped already (map, pair 1)");
    expect_invalid("0-1,1-1", 2, false, false,
                   "map, pair 2: host CPU 1 is used already (map, pair 1)");
    expect_invalid("0-1,1-1", 2, true, true, NULL);

    paths = mock_paths();
    g_assert_true(vamp_host_cpus_read(&host, &paths, &error_abort));
    g_assert_true(vamp_cpus_parse(&cpus, "emulator", "0-7", &error_abort));
    g_assert_true(vamp_cpus_valid(&cpus, &host, "emulator", &error_abort));
    g_assert_true(vamp_cpus_parse(&cpus, "emulator", "0-8", &error_abort));
    g_assert_false(vamp_cpus_valid(&cpus, &host, "emulator", &err));
    expect(&err, "emulator: host CPU 8 is offline");

    /* From QMP: any 64-bit numbers, any length */
    g_assert_false(vamp_cpumap_valid(map, &host, 2, false, false, &err));
    expect(&err, "map: there is no entry");
    g_assert_false(vamp_cpumap_add(map, -1, 0, &err));
    expect(&err, "map, pair 1: a number has a sign");
    g_assert_false(vamp_cpumap_add(map, 0, 1ll << 32, &err));
    expect(&err, "map, pair 1: a number is too large");
    for (int i = 0; i < 1024; i++) {
        g_assert_true(vamp_cpumap_add(map, i, i, &error_abort));
    }
    g_assert_false(vamp_cpumap_add(map, 1024, 1024, &err));
    expect(&err, "map, pair 1025: there are too many");
    mock_end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpumap-host/file", test_file);
    g_test_add_func("/cpumap-host/file/bad", test_file_bad);
    g_test_add_func("/cpumap-host/valid", test_valid);
    return g_test_run();
}
