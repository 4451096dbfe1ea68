/*
 * Tests of interrupt destinations: which vCPUs a message addresses
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/vamp/interrupts-dest.h"

#define MAX_APICS   40

static const VampDestRules qemu_rules = { .truncate = true };
static const VampDestRules kvm_rules = { .ff_is_broadcast = true };
static const VampDestRules kvm_x2apic_api_rules;

/* As a PC with @n vCPUs comes up under Linux. */
static void machine(VampApic *apics, size_t n, bool x2apic, uint8_t format)
{
    memset(apics, 0, n * sizeof(*apics));
    for (size_t i = 0; i < n; i++) {
        apics[i].vcpu = i;
        apics[i].enabled = true;
        apics[i].software_enabled = true;
        apics[i].x2apic = x2apic;
        apics[i].initial_id = i;
        apics[i].id = i;
        apics[i].format = format;
        apics[i].logical_id = format ? 1 << (i & 7)
                                     : (i / 4) << 4 | 1 << (i % 4);
    }
}

/* The vCPUs as text: "0 3". */
static char *decode(const VampApic *apics, size_t n,
                    const VampDestRules *rules, uint32_t dest, bool logical)
{
    g_autoptr(GString) text = g_string_new(NULL);
    VampMessage msg = { .destination = dest, .logical = logical };
    int vcpus[MAX_APICS];
    size_t found;

    g_assert_cmpuint(n, <=, MAX_APICS);
    found = vamp_dest_decode(apics, n, rules, &msg, vcpus);
    g_assert_cmpuint(found, <=, n);
    for (size_t i = 0; i < found; i++) {
        g_string_append_printf(text, "%s%d", i ? " " : "", vcpus[i]);
    }
    return g_strdup(text->str);
}

#define expect(apics, n, rules, dest, logical, want)                        \
    do {                                                                    \
        g_autofree char *got_ = decode(apics, n, rules, dest, logical);     \
        g_assert_cmpstr(got_, ==, want);                                    \
    } while (0)

static void test_message(void)
{
    VampMessage m;

    /* What Linux writes for vector 0x25 to APIC ID 3, physical. */
    vamp_message_decode(0xfee03000, 0x4025, &m);
    g_assert_cmphex(m.destination, ==, 3);
    g_assert_false(m.logical);
    g_assert_cmpint(m.mode, ==, 0);
    g_assert_cmphex(m.vector, ==, 0x25);
    g_assert_false(m.level);

    /* Lowest priority, logical, level; with a redirection hint. */
    vamp_message_decode(0xfee0f00c, 0xc1b1, &m);
    g_assert_cmphex(m.destination, ==, 0x0f);
    g_assert_true(m.logical);
    g_assert_cmpint(m.mode, ==, 1);
    g_assert_cmphex(m.vector, ==, 0xb1);
    g_assert_true(m.level);

    /* 32 bits of destination, as an IOMMU has them. */
    vamp_message_decode(0x12345600fee78004, 0x0700, &m);
    g_assert_cmphex(m.destination, ==, 0x12345678);
    g_assert_cmpint(m.mode, ==, 7);
}

static void test_window(void)
{
    g_assert_true(vamp_message_is_interrupt(0xfee00000));
    g_assert_true(vamp_message_is_interrupt(0xfeeffffc));
    g_assert_false(vamp_message_is_interrupt(0));
    g_assert_false(vamp_message_is_interrupt(0xfedffffc));
    g_assert_false(vamp_message_is_interrupt(0xfef00000));
    g_assert_false(vamp_message_is_interrupt(0x1fee00000));
    g_assert_false(vamp_message_is_interrupt(UINT64_MAX));
}

static void test_physical(void)
{
    VampApic a[4];

    machine(a, 4, false, 0xf);
    expect(a, 4, &qemu_rules, 0, false, "0");
    expect(a, 4, &qemu_rules, 3, false, "3");
    expect(a, 4, &qemu_rules, 4, false, "");
    expect(a, 4, &qemu_rules, 0xff, false, "0 1 2 3");
    expect(a, 4, &kvm_rules, 0xff, false, "0 1 2 3");
    /* Above 8 bits the two models differ. */
    expect(a, 4, &qemu_rules, 0x102, false, "2");
    expect(a, 4, &kvm_rules, 0x102, false, "");
    /* The guest may change the ID; two may share one. */
    a[1].id = 3;
    expect(a, 4, &qemu_rules, 3, false, "1 3");
    expect(a, 4, &qemu_rules, 1, false, "");
    /* The index is the vCPU's, not the place in the list. */
    a[3].vcpu = 17;
    expect(a, 4, &qemu_rules, 3, false, "1 17");
}

static void test_disabled(void)
{
    VampApic a[2];

    machine(a, 2, false, 0xf);
    a[1].enabled = false;
    expect(a, 2, &qemu_rules, 1, false, "");
    expect(a, 2, &qemu_rules, 0xff, false, "0");
    expect(a, 2, &qemu_rules, 3, true, "0");
    /* Addressed all the same; whether it takes it is another question. */
    a[0].software_enabled = false;
    expect(a, 2, &qemu_rules, 0, false, "0");
    expect(NULL, 0, &qemu_rules, 0, false, "");
}

static void test_flat(void)
{
    VampApic a[8];

    machine(a, 8, false, 0xf);
    expect(a, 8, &qemu_rules, 0x01, true, "0");
    expect(a, 8, &qemu_rules, 0x82, true, "1 7");
    expect(a, 8, &qemu_rules, 0xff, true, "0 1 2 3 4 5 6 7");
    expect(a, 8, &qemu_rules, 0, true, "");
    /* Never programmed: no message reaches it. KVM's broadcast does. */
    a[2].logical_id = 0;
    expect(a, 8, &qemu_rules, 0xff, true, "0 1 3 4 5 6 7");
    expect(a, 8, &kvm_rules, 0xff, true, "0 1 2 3 4 5 6 7");
    /* Neither flat nor cluster. */
    a[1].format = 5;
    expect(a, 8, &qemu_rules, 0x02, true, "");
}

static void test_cluster(void)
{
    VampApic a[8];

    machine(a, 8, false, 0);
    expect(a, 8, &qemu_rules, 0x01, true, "0");
    expect(a, 8, &qemu_rules, 0x11, true, "4");
    expect(a, 8, &qemu_rules, 0x1a, true, "5 7");
    expect(a, 8, &qemu_rules, 0x20, true, "");
    expect(a, 8, &qemu_rules, 0xf1, true, "0 4");
    expect(a, 8, &kvm_rules, 0xf1, true, "");
    expect(a, 8, &kvm_rules, 0xff, true, "0 1 2 3 4 5 6 7");
}

static void test_x2apic(void)
{
    VampApic a[MAX_APICS];

    machine(a, MAX_APICS, true, 0xf);
    g_assert_cmphex(vamp_apic_logical_id(&a[0]), ==, 0x00001);
    g_assert_cmphex(vamp_apic_logical_id(&a[35]), ==, 0x20008);
    expect(a, MAX_APICS, &qemu_rules, 35, false, "35");
    expect(a, MAX_APICS, &qemu_rules, 0x20008, true, "35");
    expect(a, MAX_APICS, &qemu_rules, 0x18001, true, "16 31");
    expect(a, MAX_APICS, &qemu_rules, 0x30001, true, "");
    /* What was programmed for xAPIC mode means nothing. */
    a[3].id = 9;
    a[3].logical_id = 0x80;
    expect(a, 4, &qemu_rules, 3, false, "3");
    expect(a, 4, &qemu_rules, 8, true, "3");
    /* Broadcasts: 32 bits everywhere, 8 bits in KVM as it was first. */
    expect(a, 3, &qemu_rules, 0xffffffff, false, "0 1 2");
    expect(a, 3, &qemu_rules, 0xffffffff, true, "0 1 2");
    expect(a, 3, &kvm_rules, 0xff, false, "0 1 2");
    expect(a, 3, &kvm_x2apic_api_rules, 0xff, false, "");
    expect(a, 3, &qemu_rules, 0xff, false, "");
}

static void test_mixed(void)
{
    VampApic a[4];

    /* While a guest switches over, some are in x2APIC mode. */
    machine(a, 4, false, 0xf);
    a[2].x2apic = a[3].x2apic = true;
    expect(a, 4, &qemu_rules, 0xff, false, "0 1");
    expect(a, 4, &qemu_rules, 0xffffffff, false, "0 1 2 3");
    expect(a, 4, &qemu_rules, 0x0c, true, "2 3");
    expect(a, 4, &qemu_rules, 0x03, true, "0 1");
    expect(a, 4, &qemu_rules, 2, false, "2");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vamp/interrupts/dest/message", test_message);
    g_test_add_func("/vamp/interrupts/dest/window", test_window);
    g_test_add_func("/vamp/interrupts/dest/physical", test_physical);
    g_test_add_func("/vamp/interrupts/dest/disabled", test_disabled);
    g_test_add_func("/vamp/interrupts/dest/flat", test_flat);
    g_test_add_func("/vamp/interrupts/dest/cluster", test_cluster);
    g_test_add_func("/vamp/interrupts/dest/x2apic", test_x2apic);
    g_test_add_func("/vamp/interrupts/dest/mixed", test_mixed);
    return g_test_run();
}
