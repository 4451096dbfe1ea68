/*
 * Unit tests: what vdiguest reads (guest/procfs.h, cpus.h, state.h) and says
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "guest/control.h"
#include "guest/procfs.h"
#include "guest/state.h"

static void test_stat(void)
{
    ProcStat st;

    g_assert_true(procfs_parse_stat(
        "812 (a) b ) (c) S 1 800 700 34816 812 4194560 1 2 3 4 10 20 300 40 20 "
        "0 1 0 777 1000 10 18446744073709551615 1 1 0 0 0 0 0 4096 81923 0 0 0 "
        "17 3 0 0 0 0 0\n", &st));
    g_assert_cmpint(st.pid, ==, 812);
    g_assert_cmpstr(st.name, ==, "a) b ) (c");
    g_assert_cmpint(st.ppid, ==, 1);
    g_assert_cmpint(st.pgrp, ==, 800);
    g_assert_cmpint(st.tty, ==, 34816);
    g_assert_false(st.kernel);
    g_assert_cmpuint(st.children_ticks, ==, 340);
    g_assert_cmpuint(st.start_ticks, ==, 777);
    g_assert_cmpuint(st.cpu, ==, 3);

    g_assert_true(procfs_parse_stat(
        "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 2 0 0 "
        "18446744073709551615 0 0 0 0 0 0 0 2147483647 0 0 0 0 0 1\n", &st));
    g_assert_true(st.kernel);

    g_assert_false(procfs_parse_stat("", &st));
    g_assert_false(procfs_parse_stat("1 (x", &st));
    g_assert_false(procfs_parse_stat(")(", &st));
    g_assert_false(procfs_parse_stat("1 (x) S 1 2 3", &st));

    /* Of ourselves */
    g_assert_true(procfs_stat(getpid(), &st));
    g_assert_cmpint(st.ppid, ==, getppid());
    g_assert_false(st.kernel);
}

static void test_numbers(void)
{
    uint64_t run, wait;

    g_assert_true(procfs_parse_schedstat("12 34 5\n", &run, &wait));
    g_assert_cmpuint(run, ==, 12);
    g_assert_cmpuint(wait, ==, 34);
    g_assert_false(procfs_parse_schedstat("12", &run, &wait));

    g_assert_cmpuint(procfs_parse_busy("cpu  9 9 9 9\ncpu1 1 2 3 50 60 4 5 6\n"
                                       "cpu10 7 7 7 7 7 7 7\n", 1), ==, 15);
    g_assert_cmpuint(procfs_parse_busy("cpu1 1 2 3 50 60 4 5\n", 2), ==, 0);
    g_assert_cmpuint(procfs_parse_busy("cpu1 1 2", 1), ==, 0);

    g_assert_cmpint(procfs_parse_youngest("0.1 0.2 0.3 2/345 6789\n"), ==,
                    6789);
    g_assert_cmpint(procfs_parse_youngest("0.1"), ==, 0);
}

static void test_irqs(void)
{
    static const unsigned want[] = { 1, 25, 26, 27, 28, 29, 30, 31, 16 };
    unsigned i;
    GArray *irqs = procfs_parse_irqs(
        "            CPU0       CPU1\n"
        "   1:          9          0   IO-APIC    1-edge      i8042\n"
        "  24:          0          0  PCI-MSIX-0000:00:02.0  virtio0-config\n"
        "  25:         12          3  PCI-MSIX-0000:00:02.0  virtio0-input.0\n"
        "  26:         12          3  PCI-MSIX-0000:00:02.0  virtio0-output.0\n"
        "  27:          5          0  PCI-MSIX-0000:00:03.0  virtio1-req.0\n"
        "  28:          5          0  PCI-MSIX-0000:00:04.0  virtio12-request\n"
        "  29:          5          0  PCI-MSIX-0000:00:05.0  virtio2-virtqueues\n"
        "  30:          5          0  IO-APIC 11 virtio3-config, virtio4-req.1\n"
        "  31:          5          0  PCI-MSIX-0000:00:06.0  xhci_hcd\n"
        "  32:          5          0  PCI-MSI-0000:00:07.0  nvme0q1\n"
        "  16:          5          0  IO-APIC 16-fasteoi  uhci_hcd:usb2\n"
        " NMI:          0          0   Non-maskable interrupts\n"
        "  31 virtio5-req.0\n"
        "virtio-req.0");

    g_assert_cmpuint(irqs->len, ==, G_N_ELEMENTS(want));
    for (i = 0; i < irqs->len; i++) {
        g_assert_cmpuint(g_array_index(irqs, unsigned, i), ==, want[i]);
    }
    g_array_unref(irqs);
}

static void test_slow_tasks(void)
{
    GArray *ids = g_array_new(false, false, sizeof(pid_t));
    GArray *loads = g_array_new(false, false, sizeof(uint32_t));

    procfs_parse_slow_tasks("812 97\n-1 50\nnonsense\n0 1\n9 99999999\n813 5\n"
                            "814 6\n", ids, loads, 2);
    g_assert_cmpuint(ids->len, ==, 2);
    g_assert_cmpint(g_array_index(ids, pid_t, 0), ==, 812);
    g_assert_cmpuint(g_array_index(loads, uint32_t, 0), ==, 970);
    g_assert_cmpint(g_array_index(ids, pid_t, 1), ==, 813);
    g_array_unref(ids);
    g_array_unref(loads);
}

/* A pipe gives what it has: one read is not all. */
static void test_short_reads(void)
{
    g_autofree char *dir = g_dir_make_tmp("vdiguest-XXXXXX", NULL), *text;
    g_autofree char *fifo = g_build_filename(dir, "fifo", NULL);
    char buf[8];
    pid_t pid;
    int fd, i;

    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    for (i = 0; i < 2; i++) {
        pid = fork();
        if (pid == 0) {
            fd = open(fifo, O_WRONLY);
            for (i = 0; i < 6; i++) {
                if (write(fd, "ab", 2) != 2) {
                    _exit(1);
                }
                usleep(2000);
            }
            _exit(0);
        }
        if (i == 0) {
            g_assert_cmpint(procfs_read(fifo, &text), ==, 0);
            g_assert_cmpstr(text, ==, "abababababab");
        } else {
            /* Cut, and ended by a zero */
            g_assert_cmpint(procfs_read_buf(fifo, buf, sizeof(buf)), ==, 7);
            g_assert_cmpstr(buf, ==, "abababa");
        }
    }
    g_unlink(fifo);
    g_rmdir(dir);
    g_assert_cmpint(procfs_read_buf(fifo, buf, sizeof(buf)), ==, -ENOENT);
}

static void test_cpus(void)
{
    CpuSet set, low, rest;
    g_autofree char *a = NULL, *b = NULL, *c = NULL;

    g_assert_true(cpus_parse(&set, "0-2,5,4095"));
    g_assert_cmpuint(cpus_count(&set), ==, 5);
    g_assert_true(cpus_has(&set, 4095));
    g_assert_false(cpus_has(&set, 4096));
    a = cpus_format(&set);
    g_assert_cmpstr(a, ==, "0-2,5,4095");
    cpus_split(&set, 2, &low, &rest);
    b = cpus_format(&low);
    c = cpus_format(&rest);
    g_assert_cmpstr(b, ==, "0-1");
    g_assert_cmpstr(c, ==, "2,5,4095");
    g_assert_true(cpus_parse(&set, "-"));
    g_assert_cmpuint(cpus_count(&set), ==, 0);
    g_assert_false(cpus_parse(&set, "3-1"));
    g_assert_false(cpus_parse(&set, "4096"));
    g_assert_false(cpus_parse(&set, "a"));
}

static void test_state(void)
{
    State *st = state_new(), *again;
    StateIrq irq = { .irq = 25 };
    CpuSet set, online, mask;
    g_autofree char *text = NULL, *text2 = NULL;
    unsigned bad;

    g_assert_true(state_is_empty(st));
    cpus_parse(&set, "2-3");
    g_assert_true(state_add_set(st, &set));
    g_assert_false(state_add_set(st, &set));
    g_hash_table_add(st->leave, GINT_TO_POINTER(4711));
    g_hash_table_add(st->only, GINT_TO_POINTER(4712));
    st->only_ticks = 123456789012;
    cpus_parse(&irq.found, "0-3");
    cpus_parse(&irq.left, "0-1");
    g_array_append_val(st->irqs, irq);
    cpus_parse(&st->back, "0-6");
    st->groups = g_strdup("/sys/fs/cgroup/with a blank");
    st->groups_enabled = true;
    text = state_format(st, "boot-1");
    state_free(st);

    again = state_parse(text, "boot-1", &bad);
    g_assert_cmpuint(bad, ==, 0);
    text2 = state_format(again, "boot-1");
    g_assert_cmpstr(text, ==, text2);
    g_assert_true(g_hash_table_contains(again->leave, GINT_TO_POINTER(4711)));
    g_assert_true(g_hash_table_contains(again->only, GINT_TO_POINTER(4712)));
    g_assert_cmpuint(g_hash_table_size(again->only), ==, 1);
    g_assert_cmpuint(again->only_ticks, ==, 123456789012);
    /* A CPU that is offline is in nobody's affinity. */
    cpus_parse(&online, "0-2");
    cpus_parse(&mask, "2");
    g_assert_true(state_has_set(again, &mask, &online));
    cpus_parse(&mask, "0-1");
    g_assert_false(state_has_set(again, &mask, &online));
    state_free(again);

    /* Another boot: nothing is left to undo. */
    again = state_parse(text, "boot-2", &bad);
    g_assert_true(state_is_empty(again));
    g_assert_cmpuint(bad, ==, 0);
    state_free(again);
}

static void test_state_hostile(void)
{
    static const char *const lines[] = {
        "cpus", "cpus -", "cpus x", "cpus 1 2", "leave -1", "leave 99999999",
        "only", "only x", "only 1 2", "since", "since 0", "since x",
        "irq 1 0-3", "irq x 0 0", "irq 1 - 0", "back", "back -",
        "groups 2 /sys/fs/cgroup", "groups 0 /etc",
        "groups 0 /sys/fs/cgroup/../../etc", "nonsense", "cpus 99999",
    };
    unsigned i, bad;

    for (i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *text = g_strdup_printf("vdiguest-state 1 b\n%s\n",
                                                lines[i]);
        State *st = state_parse(text, "b", &bad);

        g_test_message("%s", lines[i]);
        g_assert_cmpuint(bad, ==, 1);
        g_assert_true(state_is_empty(st));
        state_free(st);
    }
    state_free(state_parse("", "b", &bad));
    g_assert_cmpuint(bad, ==, 0);
    state_free(state_parse("something else\n", "b", &bad));
    g_assert_cmpuint(bad, ==, 1);
}

static void test_state_file(void)
{
    g_autofree char *dir = g_dir_make_tmp("vdiguest-XXXXXX", NULL);
    g_autofree char *name = g_build_filename(dir, "state", NULL);
    g_autofree char *lock = g_strconcat(name, ".lock", NULL);
    g_autoptr(GError) err = NULL;
    State *found, *st = state_new(), *none;
    StateFile *f = state_open(name, &found, &err);
    CpuSet set;

    g_assert_no_error(err);
    g_assert_true(state_is_empty(found));
    state_free(found);
    cpus_parse(&set, "1");
    state_add_set(st, &set);
    g_assert_true(state_save(f, st));
    /* A second one is refused. */
    g_assert_null(state_open(name, &none, &err));
    g_assert_nonnull(strstr(err->message, "another vdiguest runs"));
    g_clear_error(&err);
    state_close(f, st);

    /* What it has not undone is there for the next. */
    f = state_open(name, &found, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(found->sets->len, ==, 1);
    g_array_set_size(found->sets, 0);
    state_close(f, found);
    g_assert_false(g_file_test(name, G_FILE_TEST_EXISTS));
    state_free(found);

    /* One that others may have written */
    g_assert_true(g_file_set_contents(name, "vdiguest-state 1 x\n", -1, NULL));
    g_assert_cmpint(chmod(name, 0666), ==, 0);
    g_assert_null(state_open(name, &found, &err));
    g_assert_nonnull(strstr(err->message, "by others"));
    g_clear_error(&err);
    g_unlink(name);
    g_assert_cmpint(symlink("/etc/passwd", name), ==, 0);
    g_assert_null(state_open(name, &found, &err));
    g_unlink(name);
    g_unlink(lock);
    g_rmdir(dir);
    state_free(st);
}

static void test_status(void)
{
    g_autofree char *plain = control_plain(
        "{\"isolated\": true, \"reason\": \"a, \\\"b\\\"\", \"tasks\": "
        "[{\"thread\": 1, \"name\": \"}x\"}], \"n\": 12}\n");
    g_autofree char *other = control_plain("nonsense");
    GString *out = g_string_new(NULL);

    g_assert_cmpstr(plain, ==, "isolated: true\nreason: a, \\\"b\\\"\n"
                    "tasks: [{\"thread\": 1, \"name\": \"}x\"}]\nn: 12\n");
    g_assert_cmpstr(other, ==, "nonsense");
    control_string(out, "a\"b\\c\n\xff");
    g_assert_cmpstr(out->str, ==, "\"a\\\"b\\\\c??\"");
    g_string_free(out, true);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/guest/proc/stat", test_stat);
    g_test_add_func("/guest/proc/numbers", test_numbers);
    g_test_add_func("/guest/proc/irqs", test_irqs);
    g_test_add_func("/guest/proc/slow-tasks", test_slow_tasks);
    g_test_add_func("/guest/proc/short-reads", test_short_reads);
    g_test_add_func("/guest/cpus", test_cpus);
    g_test_add_func("/guest/state", test_state);
    g_test_add_func("/guest/state/hostile", test_state_hostile);
    g_test_add_func("/guest/state/file", test_state_file);
    g_test_add_func("/guest/status", test_status);
    return g_test_run();
}
