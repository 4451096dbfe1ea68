/*
 * Tests of what is read of the host: /proc/interrupts, /proc/irq, KVM's modules
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "hw/vamp/interrupts-host.h"
#include "test-interrupts-util.h"

/* As a host of kernel 6.12 shows it. */
static const char real[] =
    "            CPU0       CPU1       CPU2       CPU3\n"
    "   0:         38          0          0          0  IR-IO-APIC    2-edge"
    "      timer\n"
    "  16:          1          0          7          0  IR-IO-APIC   16-fasteoi"
    "   i801_smbus, vfio-intx(0000:00:1f.3)\n"
    " 131:          5         10          0          1  IR-PCI-MSIX-0000:01:00.0"
    "    0-edge      vfio-msix[0](0000:01:00.0)\n"
    " 132:          0          0 4294967296          0  IR-PCI-MSIX-0000:01:00.0"
    "   12-edge      vfio-msix[12](0000:01:00.0)\n"
    " 140:          0          3          0          0  IR-PCI-MSI-10000:e1:1c.7"
    "    0-edge      vfio-msi[0](10000:e1:1c.7)\n"
    " NMI:          0          0          0          0   Non-maskable\n"
    " ERR:          0\n";

static size_t parse(const char *text, size_t len, struct vamp_procirq *out,
                    size_t max)
{
    /* In memory of just that size: a sanitizer sees one byte too many. */
    g_autofree char *copy = g_memdup2(text, len ?: 1);

    return vamp_procirq_parse(copy, len, out, max);
}

static void test_real(void)
{
    struct vamp_procirq irq[8];

    g_assert_cmpuint(parse(real, strlen(real), irq, 8), ==, 4);
    g_assert_cmpuint(irq[0].irq, ==, 16);
    g_assert_cmpuint(irq[0].kind, ==, VAMP_PROCIRQ_INTX);
    g_assert_cmpuint(irq[0].slot, ==, 0x1f);
    g_assert_cmpuint(irq[0].function, ==, 3);
    g_assert_cmpuint(irq[0].count, ==, 8);
    g_assert_cmpuint(irq[1].irq, ==, 131);
    g_assert_cmpuint(irq[1].kind, ==, VAMP_PROCIRQ_MSIX);
    g_assert_cmpuint(irq[1].vector, ==, 0);
    g_assert_cmpuint(irq[1].bus, ==, 1);
    g_assert_cmpuint(irq[1].count, ==, 16);
    g_assert_cmpuint(irq[2].vector, ==, 12);
    g_assert_cmpuint(irq[2].count, ==, 4294967296);
    g_assert_cmpuint(irq[3].kind, ==, VAMP_PROCIRQ_MSI);
    g_assert_cmphex(irq[3].domain, ==, 0x10000);
    g_assert_cmphex(irq[3].bus, ==, 0xe1);
    g_assert_cmphex(irq[3].slot, ==, 0x1c);
    g_assert_cmphex(irq[3].function, ==, 7);
}

static void test_room(void)
{
    struct vamp_procirq irq[4];

    /* The number that would have been, without a byte beyond. */
    memset(irq, 0xa5, sizeof(irq));
    g_assert_cmpuint(parse(real, strlen(real), irq, 2), ==, 4);
    g_assert_cmpuint(irq[1].irq, ==, 131);
    g_assert_cmphex(irq[2].irq, ==, 0xa5a5a5a5);
    g_assert_cmpuint(parse(real, strlen(real), NULL, 0), ==, 4);
}

static void test_shared(void)
{
    static const char text[] =
        "9: 1 2 X 9-fasteoi a, vfio-intx(0000:00:01.0),vfio-intx(0000:00:02.0)";
    struct vamp_procirq irq[4];

    g_assert_cmpuint(parse(text, strlen(text), irq, 4), ==, 2);
    g_assert_cmpuint(irq[0].slot, ==, 1);
    g_assert_cmpuint(irq[1].slot, ==, 2);
    g_assert_cmpuint(irq[0].irq, ==, 9);
    g_assert_cmpuint(irq[1].irq, ==, 9);
    g_assert_cmpuint(irq[1].count, ==, 3);
}

static void test_hostile(void)
{
    static const char *const none[] = {
        "", "\n\n\n", ":", "1", "1:", " : 3 x vfio-intx(0000:00:01.0)",
        "-1: 1 x vfio-intx(0000:00:01.0)",
        "+1: 1 x vfio-intx(0000:00:01.0)",
        "99999999999999999999: 1 x vfio-intx(0000:00:01.0)",
        "16777216: 1 x vfio-intx(0000:00:01.0)",
        "1: 1 x vfio-intx(0000:00:20.0)",
        "1: 1 x vfio-intx(0000:00:1f.8)",
        "1: 1 x vfio-intx(0000:100:1f.0)",
        "1: 1 x vfio-intx(000:00:1f.0)",
        "1: 1 x vfio-intx(000000000:00:1f.0)",
        "1: 1 x vfio-intx(0000:00:1f.0",
        "1: 1 x vfio-intx(0000:00:1f.0)x",
        "1: 1 x vfio-intx(0000:00:1f.)",
        "1: 1 x vfio-intx(0000:00:1F.0)",
        "1: 1 x xvfio-intx(0000:00:01.0)",
        "1: 1 x vfio-msix[](0000:00:01.0)",
        "1: 1 x vfio-msix[-1](0000:00:01.0)",
        "1: 1 x vfio-msix[2048](0000:00:01.0)",
        "1: 1 x vfio-msix[4294967296](0000:00:01.0)",
        "1: 1 x vfio-msix[1(0000:00:01.0)",
        "1: 1 x vfio-msix[1]",
        "1: 1 x vfio-msi", "1: 1 x vfio-", "1: 1 x ,,,,", "1: \t \t",
    };
    static const char nul[] = "1: 1\0 2 x vfio-intx(0000:00:01.0)";
    static const char large[] =
        "1: 99999999999999999999999 5 x vfio-intx(0000:00:01.0)";
    static const char sum[] = "1: 18446744073709551615 18446744073709551615 "
                              "x vfio-intx(0000:00:01.0)";
    struct vamp_procirq irq[2];

    for (size_t i = 0; i < G_N_ELEMENTS(none); i++) {
        g_test_message("%s", none[i]);
        g_assert_cmpuint(parse(none[i], strlen(none[i]), irq, 2), ==, 0);
    }
    /* A NUL is a byte as others. */
    g_assert_cmpuint(parse(nul, sizeof(nul) - 1, irq, 2), ==, 1);

    /* Counts saturate, one by one and in sum. */
    g_assert_cmpuint(parse(large, strlen(large), irq, 2), ==, 1);
    g_assert_cmpuint(irq[0].count, ==, UINT64_MAX);
    g_assert_cmpuint(parse(sum, strlen(sum), irq, 2), ==, 1);
    g_assert_cmpuint(irq[0].count, ==, UINT64_MAX);

    /* Every beginning of a good text is harmless. */
    for (size_t len = 0; len < strlen(real); len++) {
        parse(real, len, irq, 2);
    }
}

static void test_random(void)
{
    static const char alphabet[] = "0123456789abcdef:.,()[]\n -vfiomsxnt\0\xff";
    char text[512];
    struct vamp_procirq irq[4];

    for (int round = 0; round < 20000; round++) {
        size_t len = g_test_rand_int_range(0, sizeof(text));

        for (size_t i = 0; i < len; i++) {
            text[i] = alphabet[g_test_rand_int_range(0, sizeof(alphabet) - 1)];
        }
        parse(text, len, irq, 4);
        vamp_procirq_is_cpulist(text, len);
    }
}

static void test_cpulist(void)
{
    static const char *const good[] = {
        "", "0", "0-3", "0-3,8", "1,3,5-5", "65535",
    };
    static const char *const bad[] = {
        ",", "0,", ",0", "0-", "-1", "3-1", "0 1", "0,,1", "65536", "f", "0\n",
        "0-1-2",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_assert_true(vamp_procirq_is_cpulist(good[i], strlen(good[i])));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_test_message("%s", bad[i]);
        g_assert_false(vamp_procirq_is_cpulist(bad[i], strlen(bad[i])));
    }
}

static void test_read(void)
{
    char *root = mock_new();
    struct vamp_procirq key = { .bus = 1, .kind = VAMP_PROCIRQ_MSIX,
                                .vector = 12 };
    VampHostIrqs irqs;
    Error *err = NULL;

    g_assert_false(vamp_host_irqs_read(root, &irqs, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "/interrupts"));
    error_free(err);
    g_assert_cmpuint(irqs.n, ==, 0);
    g_assert_null(vamp_host_irqs_find(&irqs, &key));

    mock_write(root, "interrupts", real, -1);
    g_assert_true(vamp_host_irqs_read(root, &irqs, &error_abort));
    g_assert_cmpuint(irqs.n, ==, 4);
    g_assert_cmpuint(vamp_host_irqs_find(&irqs, &key)->irq, ==, 132);
    key.vector = 11;
    g_assert_null(vamp_host_irqs_find(&irqs, &key));
    key.vector = 12;
    key.kind = VAMP_PROCIRQ_MSI;
    g_assert_null(vamp_host_irqs_find(&irqs, &key));
    vamp_host_irqs_free(&irqs);
    mock_free(root);
}

/* Neither a folder, nor a FIFO, nor an endless file may hold us. */
static void test_read_bad(void)
{
    char *root = mock_new();
    g_autofree char *path = g_build_filename(root, "interrupts", NULL);
    VampHostIrqs irqs;
    Error *err = NULL;

    g_assert_cmpint(g_mkdir(path, 0755), ==, 0);
    g_assert_false(vamp_host_irqs_read(root, &irqs, &err));
    error_free_or_abort(&err);
    g_rmdir(path);

    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    g_assert_true(vamp_host_irqs_read(root, &irqs, &error_abort));
    g_assert_cmpuint(irqs.n, ==, 0);
    vamp_host_irqs_free(&irqs);
    g_unlink(path);

    g_assert_cmpint(symlink("/dev/zero", path), ==, 0);
    g_assert_false(vamp_host_irqs_read(root, &irqs, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), strerror(EFBIG)));
    error_free_or_abort(&err);
    mock_free(root);
}

static void test_affinity(void)
{
    char *root = mock_new();
    g_autofree char *text = NULL;
    Error *err = NULL;

    g_assert_null(vamp_host_irq_cpus(root, 24, "smp_affinity_list", &err));
    error_free_or_abort(&err);
    mock_irq(root, 24, "0-3,8");
    text = vamp_host_irq_cpus(root, 24, "smp_affinity_list", &error_abort);
    g_assert_cmpstr(text, ==, "0-3,8");
    mock_irq(root, 24, "; rm -rf");
    g_assert_null(vamp_host_irq_cpus(root, 24, "smp_affinity_list", &err));
    error_free_or_abort(&err);

    g_assert_cmpint(vamp_host_irq_set_cpus(root, 24, "5"), ==, 0);
    assert_irq(root, 24, "5");
    g_assert_cmpint(vamp_host_irq_set_cpus(root, 25, "5"), ==, -ENOENT);
    mock_free(root);
}

static void expect_injection(const char *root, char want, const char *word)
{
    g_autofree char *reason = NULL;

    g_assert_cmpint(vamp_host_kvm_injection(root, &reason), ==, want);
    g_assert_nonnull(strstr(reason, word));
}

static void test_injection(void)
{
    char *root = mock_new();

    expect_injection(root, '?', "neither");
    mock_write(root, "module/kvm_amd/parameters/avic", "N\n", -1);
    expect_injection(root, 'n', "avic=N");
    mock_write(root, "module/kvm_amd/parameters/avic", "1\n", -1);
    expect_injection(root, 'a', "avic=Y");
    mock_write(root, "module/kvm_amd/parameters/avic", "", -1);
    expect_injection(root, '?', "neither");
    mock_write(root, "module/kvm_intel/parameters/enable_apicv", "Y\n", -1);
    expect_injection(root, 'p', "enable_apicv=Y");
    mock_write(root, "module/kvm_intel/parameters/enable_apicv", "N\n", -1);
    expect_injection(root, 'n', "enable_apicv=N");
    mock_free(root);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vamp/interrupts/host/real", test_real);
    g_test_add_func("/vamp/interrupts/host/room", test_room);
    g_test_add_func("/vamp/interrupts/host/shared", test_shared);
    g_test_add_func("/vamp/interrupts/host/hostile", test_hostile);
    g_test_add_func("/vamp/interrupts/host/random", test_random);
    g_test_add_func("/vamp/interrupts/host/cpulist", test_cpulist);
    g_test_add_func("/vamp/interrupts/host/read", test_read);
    g_test_add_func("/vamp/interrupts/host/read-bad", test_read_bad);
    g_test_add_func("/vamp/interrupts/host/affinity", test_affinity);
    g_test_add_func("/vamp/interrupts/host/injection", test_injection);
    return g_test_run();
}
