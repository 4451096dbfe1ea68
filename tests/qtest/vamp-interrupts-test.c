/*
 * vamp-query-interrupts: what a guest programs is what it says
 *
 * No guest runs: tables and capabilities are written through qtest. Local
 * APICs are as reset leaves them, since only a vCPU can program its own:
 * physical destinations work, logical ones address nobody.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sched.h>
#include "libqtest.h"
#include "libqos/pci.h"
#include "libqos/pci-pc.h"
#include "hw/pci/pci_regs.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"

#define NR_VECTORS  1000

static QDict *query(QTestState *qts)
{
    return qtest_qmp_assert_success_ref(qts,
                                        "{'execute':'vamp-query-interrupts'}");
}

/* The row with @kind, @index and the device @id (NULL: any), or NULL. */
static QDict *find(QDict *info, const char *kind, int64_t index, const char *id)
{
    const QListEntry *e, *d;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "interrupts"), e) {
        QDict *row = qobject_to(QDict, qlist_entry_obj(e));

        if (strcmp(qdict_get_str(row, "kind"), kind) ||
            qdict_get_try_int(row, "index", -1) != index) {
            continue;
        }
        if (!id) {
            return row;
        }
        QLIST_FOREACH_ENTRY(qdict_get_qlist(row, "devices"), d) {
            QDict *dev = qobject_to(QDict, qlist_entry_obj(d));

            if (!g_strcmp0(qdict_get_try_str(dev, "id"), id)) {
                return row;
            }
        }
    }
    return NULL;
}

static unsigned count_kind(QDict *info, const char *kind)
{
    const QListEntry *e;
    unsigned n = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "interrupts"), e) {
        n += !strcmp(qdict_get_str(qobject_to(QDict, qlist_entry_obj(e)),
                                   "kind"), kind);
    }
    return n;
}

/* "1 3"; "" if there are none, and then there must be a reason. */
static char *vcpus_of(QDict *row)
{
    g_autoptr(GString) text = g_string_new(NULL);
    const QListEntry *e;

    if (!qdict_haskey(row, "vcpus")) {
        g_assert_nonnull(qdict_get_try_str(row, "vcpus-reason"));
        return g_strdup("");
    }
    QLIST_FOREACH_ENTRY(qdict_get_qlist(row, "vcpus"), e) {
        g_string_append_printf(text, "%s%" PRId64, text->len ? " " : "",
                               qnum_get_int(qobject_to(QNum,
                                                       qlist_entry_obj(e))));
    }
    return g_strdup(text->str);
}

#define assert_vcpus(row, want)                                             \
    do {                                                                    \
        g_autofree char *got_ = vcpus_of(row);                              \
        g_assert_cmpstr(got_, ==, want);                                    \
    } while (0)

/* What every row must have, wherever it comes from. */
static void check_rows(QDict *info)
{
    const QListEntry *e;

    g_assert_cmpstr(qdict_get_str(info, "injection"), ==, "emulated");
    g_assert_nonnull(qdict_get_str(info, "injection-reason"));
    g_assert_nonnull(qdict_get_str(info, "remapping"));
    g_assert_false(qdict_get_bool(qdict_get_qdict(info, "follow"), "active"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "interrupts"), e) {
        QDict *row = qobject_to(QDict, qlist_entry_obj(e));

        g_assert_cmpstr(qdict_get_str(row, "delivery"), ==, "emulated");
        g_assert_false(qdict_get_bool(row, "direct"));
        g_assert_cmpstr(qdict_get_str(row, "direct-reason"), !=, "");
        g_assert_false(qdict_haskey(row, "host"));
        g_assert_false(qdict_haskey(row, "pcpus"));
        g_assert_true(qdict_haskey(row, "vcpus") !=
                      qdict_haskey(row, "vcpus-reason"));
    }
}

/* --- what a driver does -------------------------------------------------- */

typedef struct Machine {
    QTestState *qts;
    QPCIBus *bus;
} Machine;

static void machine_start(Machine *m, const char *args)
{
    m->qts = qtest_init(args);
    m->bus = qpci_new_pc(m->qts, NULL);
}

static void machine_end(Machine *m)
{
    qpci_free_pc(m->bus);
    qtest_quit(m->qts);
}

static QPCIDevice *device(Machine *m, int slot)
{
    QPCIDevice *dev = qpci_device_find(m->bus, QPCI_DEVFN(slot, 0));

    g_assert_nonnull(dev);
    qpci_device_enable(dev);
    return dev;
}

static void msix_program(QPCIDevice *dev, unsigned n, uint64_t address,
                         uint32_t data, bool masked)
{
    uint64_t at = dev->msix_table_off + n * PCI_MSIX_ENTRY_SIZE;
    QPCIBar bar = dev->msix_table_bar;

    qpci_io_writel(dev, bar, at + PCI_MSIX_ENTRY_LOWER_ADDR, address);
    qpci_io_writel(dev, bar, at + PCI_MSIX_ENTRY_UPPER_ADDR, address >> 32);
    qpci_io_writel(dev, bar, at + PCI_MSIX_ENTRY_DATA, data);
    qpci_io_writel(dev, bar, at + PCI_MSIX_ENTRY_VECTOR_CTRL, masked);
}

static void msi_program(QPCIDevice *dev, uint64_t address, uint16_t data)
{
    uint8_t cap = qpci_find_capability(dev, PCI_CAP_ID_MSI, 0);
    uint16_t flags;

    g_assert_cmpint(cap, !=, 0);
    flags = qpci_config_readw(dev, cap + PCI_MSI_FLAGS);
    qpci_config_writel(dev, cap + PCI_MSI_ADDRESS_LO, address);
    if (flags & PCI_MSI_FLAGS_64BIT) {
        qpci_config_writel(dev, cap + PCI_MSI_ADDRESS_HI, address >> 32);
        qpci_config_writew(dev, cap + PCI_MSI_DATA_64, data);
    } else {
        qpci_config_writew(dev, cap + PCI_MSI_DATA_32, data);
    }
    qpci_config_writew(dev, cap + PCI_MSI_FLAGS, flags | PCI_MSI_FLAGS_ENABLE);
}

static void msix_end(QPCIDevice *dev)
{
    qpci_msix_disable(dev);
    g_free(dev);
}

/* --- tests --------------------------------------------------------------- */

static void check_row(QDict *row, int64_t vector, const char *mode,
                      bool logical, int64_t destination, bool masked)
{
    g_assert_nonnull(row);
    g_assert_cmpint(qdict_get_int(row, "vector"), ==, vector);
    g_assert_cmpstr(qdict_get_str(row, "mode"), ==, mode);
    g_assert_true(qdict_get_bool(row, "logical") == logical);
    g_assert_cmphex(qdict_get_int(row, "destination"), ==, destination);
    g_assert_true(qdict_get_bool(row, "masked") == masked);
    g_assert_false(qdict_get_bool(row, "remapped"));
}

static void test_msix(const void *opaque)
{
    g_autofree char *args = g_strdup_printf(
        "-M %s -smp 4 -nodefaults "
        "-netdev user,id=n0 -device virtio-net-pci,id=net0,addr=4,netdev=n0 "
        "-drive if=none,id=d0,file=null-co://,file.read-zeroes=on,format=raw "
        "-device virtio-blk-pci,id=blk0,addr=5,drive=d0 "
        "-device nvme,id=nvme0,addr=6,serial=x "
        "-device qemu-xhci,id=usb0,addr=7", (const char *)opaque);
    static const struct {
        const char *id;
        int slot;
    } devs[] = {
        { "net0", 4 }, { "blk0", 5 }, { "nvme0", 6 }, { "usb0", 7 },
    };
    QPCIDevice *dev[ARRAY_SIZE(devs)];
    QDict *info, *row;
    Machine m;

    machine_start(&m, args);
    info = query(m.qts);
    check_rows(info);
    g_assert_cmpuint(count_kind(info, "msix"), ==, 0);
    qobject_unref(info);

    for (size_t i = 0; i < ARRAY_SIZE(devs); i++) {
        dev[i] = device(&m, devs[i].slot);
        qpci_msix_enable(dev[i]);
        /* vCPU i, physical, fixed; then lowest priority to a logical one. */
        msix_program(dev[i], 0, 0xfee00000 | i << 12, 0x4030 + i, false);
        msix_program(dev[i], 1, 0xfee0f00c, 0x4150 + i, true);
    }
    /* A write to memory, and everybody. */
    msix_program(dev[0], 2, 0x100000, 0x4061, false);
    msix_program(dev[1], 0, 0xfeeff000, 0x4031, false);

    info = query(m.qts);
    check_rows(info);
    for (size_t i = 0; i < ARRAY_SIZE(devs); i++) {
        g_autofree char *want = g_strdup_printf("%zu", i);
        g_autofree char *address = g_strdup_printf("0000:00:%02x.0",
                                                   devs[i].slot);
        QDict *first;

        row = find(info, "msix", 0, devs[i].id);
        check_row(row, 0x30 + i, "fixed", false, i == 1 ? 0xff : i, false);
        assert_vcpus(row, i == 1 ? "0 1 2 3" : want);
        first = qobject_to(QDict, qlist_peek(qdict_get_qlist(row, "devices")));
        g_assert_cmpstr(qdict_get_str(first, "address"), ==, address);
        row = find(info, "msix", 1, devs[i].id);
        check_row(row, 0x50 + i, "lowest-priority", true, 0x0f, true);
        assert_vcpus(row, "");
        g_assert_null(find(info, "msix", 3, devs[i].id));
    }
    row = find(info, "msix", 2, "net0");
    g_assert_nonnull(strstr(qdict_get_str(row, "vcpus-reason"), "memory"));
    g_assert_false(qdict_haskey(row, "vector"));
    qobject_unref(info);

    /* The guest moves one, masks all of another, gives up a third. */
    msix_program(dev[0], 0, 0xfee03000, 0x4077, false);
    qpci_config_writew(dev[1], qpci_find_capability(dev[1], PCI_CAP_ID_MSIX, 0)
                               + PCI_MSIX_FLAGS,
                       PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    msix_end(dev[2]);
    info = query(m.qts);
    check_row(find(info, "msix", 0, "net0"), 0x77, "fixed", false, 3, false);
    assert_vcpus(find(info, "msix", 0, "net0"), "3");
    g_assert_true(qdict_get_bool(find(info, "msix", 0, "blk0"), "masked"));
    g_assert_null(find(info, "msix", 0, "nvme0"));
    qobject_unref(info);

    msix_end(dev[0]);
    msix_end(dev[1]);
    msix_end(dev[3]);
    machine_end(&m);
}

static void test_msi(void)
{
    QPCIDevice *edu, *ahci;
    QDict *info, *row;
    Machine m;

    machine_start(&m, "-M q35 -smp 2 -nodefaults -device edu,id=edu0,addr=4 "
                      "-device ich9-ahci,id=ahci0,addr=5");
    edu = device(&m, 4);
    ahci = device(&m, 5);
    info = query(m.qts);
    g_assert_cmpuint(count_kind(info, "msi"), ==, 0);
    /* Until then both use their lines. */
    g_assert_nonnull(find(info, "ioapic", 16 + 4, "edu0") ?:
                     find(info, "ioapic", 16 + 5, "edu0") ?:
                     find(info, "ioapic", 16 + 6, "edu0") ?:
                     find(info, "ioapic", 16 + 7, "edu0") ?:
                     find(info, "ioapic", 16, "edu0") ?:
                     find(info, "ioapic", 17, "edu0") ?:
                     find(info, "ioapic", 18, "edu0") ?:
                     find(info, "ioapic", 19, "edu0"));
    qobject_unref(info);

    msi_program(edu, 0xfee01000, 0x4041);
    msi_program(ahci, 0xfee00000, 0x0400);
    info = query(m.qts);
    check_rows(info);
    row = find(info, "msi", 0, "edu0");
    check_row(row, 0x41, "fixed", false, 1, false);
    assert_vcpus(row, "1");
    row = find(info, "msi", 0, "ahci0");
    g_assert_cmpstr(qdict_get_str(row, "mode"), ==, "nmi");
    g_assert_false(qdict_haskey(row, "vector"));
    for (int pin = 16; pin < 24; pin++) {
        g_assert_null(find(info, "ioapic", pin, "edu0"));
    }
    qobject_unref(info);
    g_free(edu);
    g_free(ahci);
    machine_end(&m);
}

#define IOAPIC      0xfec00000u

static void ioapic_write(QTestState *qts, unsigned pin, uint64_t entry)
{
    qtest_writel(qts, IOAPIC, 0x10 + 2 * pin);
    qtest_writel(qts, IOAPIC + 0x10, entry);
    qtest_writel(qts, IOAPIC, 0x11 + 2 * pin);
    qtest_writel(qts, IOAPIC + 0x10, entry >> 32);
}

static bool has_type(QDict *row, const char *type)
{
    const QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(row, "devices"), e) {
        if (!strcmp(qdict_get_str(qobject_to(QDict, qlist_entry_obj(e)),
                                  "type"), type)) {
            return true;
        }
    }
    return false;
}

static void test_ioapic(const void *opaque)
{
    g_autofree char *args = g_strdup_printf("-M %s -smp 4 -serial null",
                                            (const char *)opaque);
    QTestState *qts = qtest_init(args);
    QDict *info = query(qts), *row;
    int64_t count;

    check_rows(info);
    g_assert_cmpuint(count_kind(info, "msi") + count_kind(info, "msix"), ==, 0);
    /* The line of the first serial port, masked as reset leaves it. */
    row = find(info, "ioapic", 4, NULL);
    g_assert_nonnull(row);
    g_assert_true(has_type(row, "isa-serial"));
    g_assert_true(qdict_get_bool(row, "masked"));
    count = qdict_get_int(row, "count");
    /* The PIT's line is 0, which arrives at pin 2. */
    g_assert_null(find(info, "ioapic", 0, NULL));
    row = find(info, "ioapic", 2, NULL);
    g_assert_nonnull(row);
    g_assert_true(has_type(row, "isa-pit"));
    qobject_unref(info);

    ioapic_write(qts, 4, 0x0200000000000034);
    ioapic_write(qts, 23, 0x0100000000008155);
    /* Ask for an interrupt as soon as the transmitter is empty. */
    qtest_outb(qts, 0x3fc, 0x08);
    qtest_outb(qts, 0x3f9, 0x02);
    info = query(qts);
    check_rows(info);
    row = find(info, "ioapic", 4, NULL);
    check_row(row, 0x34, "fixed", false, 2, false);
    assert_vcpus(row, "2");
    g_assert_false(qdict_get_bool(row, "level"));
    g_assert_cmpint(qdict_get_int(row, "count"), ==, count + 1);
    row = find(info, "ioapic", 23, NULL);
    check_row(row, 0x55, "lowest-priority", false, 1, false);
    g_assert_true(qdict_get_bool(row, "level"));
    qobject_unref(info);
    qtest_quit(qts);
}

static void test_lapic(void)
{
    QTestState *qts = qtest_init("-M q35 -smp 2");
    QDict *info = query(qts), *lapic;
    const QListEntry *e;
    int64_t vcpu = 0;

    g_assert_cmpstr(qdict_get_str(info, "irqchip"), ==, "emulated");
    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "lapics"), e) {
        lapic = qobject_to(QDict, qlist_entry_obj(e));
        g_assert_cmpint(qdict_get_int(lapic, "vcpu"), ==, vcpu);
        g_assert_cmpint(qdict_get_int(lapic, "apic-id"), ==, vcpu);
        g_assert_cmpstr(qdict_get_str(lapic, "mode"), ==, "xapic");
        g_assert_false(qdict_get_bool(lapic, "software-enabled"));
        vcpu++;
    }
    g_assert_cmpint(vcpu, ==, 2);
    qobject_unref(info);
    qtest_quit(qts);
}

/* Without PCI: no messages, but lines. */
static void test_microvm(void)
{
    QTestState *qts = qtest_init("-M microvm -smp 2 -nodefaults "
                                 "-device virtio-serial-device");
    QDict *info = query(qts);
    const QListEntry *e;
    unsigned n = 0;

    check_rows(info);
    g_assert_cmpuint(count_kind(info, "msi") + count_kind(info, "msix"), ==, 0);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "interrupts"), e) {
        n += has_type(qobject_to(QDict, qlist_entry_obj(e)), "virtio-mmio");
    }
    g_assert_cmpuint(n, >, 0);
    qobject_unref(info);
    qtest_quit(qts);
}

static void test_isapc(void)
{
    QTestState *qts;
    QDict *info;

    if (!qtest_has_machine("isapc")) {
        g_test_skip("this QEMU has no isapc");
        return;
    }
    qts = qtest_init("-M isapc -cpu 486 -nodefaults");
    info = query(qts);
    check_rows(info);
    g_assert_cmpuint(count_kind(info, "msi") + count_kind(info, "msix") +
                     count_kind(info, "ioapic"), ==, 0);
    qobject_unref(info);
    qtest_quit(qts);
}

#define IOMMU           0xfed90000u
#define IRTE_TABLE      0x200000u
#define REMAPPABLE(n)   (0xfee00018u | (n) << 5)

static void write_irte(QTestState *qts, unsigned n, uint8_t vector,
                       uint8_t dest, unsigned source)
{
    qtest_writeq(qts, IRTE_TABLE + 16 * n,
                 (uint64_t)dest << 40 | vector << 16 | 1);
    /* The requester must be this one. */
    qtest_writeq(qts, IRTE_TABLE + 16 * n + 8, 1u << 18 | source);
}

static void test_remapping(void)
{
    QPCIDevice *dev;
    QDict *info, *row;
    Machine m;

    machine_start(&m, "-M q35 -smp 4 -nodefaults "
                      "-device intel-iommu,intremap=on "
                      "-device virtio-serial-pci,id=ser0,addr=4,vectors=4");
    dev = device(&m, 4);
    qpci_msix_enable(dev);
    msix_program(dev, 0, REMAPPABLE(5), 0, false);
    msix_program(dev, 1, REMAPPABLE(6), 0, false);
    msix_program(dev, 2, 0xfee01000, 0x4044, false);
    msix_program(dev, 3, REMAPPABLE(7), 0, true);
    write_irte(m.qts, 5, 0x61, 3, 4 << 3);
    write_irte(m.qts, 6, 0x62, 2, 5 << 3);
    qtest_writeq(m.qts, IOMMU + 0xb8, IRTE_TABLE | 7);
    qtest_writel(m.qts, IOMMU + 0x18, 1u << 24);
    qtest_writel(m.qts, IOMMU + 0x18, 1u << 25);

    /* The IOMMU's own message for faults, which is not remapped. */
    qtest_writel(m.qts, IOMMU + 0x3c, 0x66);
    qtest_writel(m.qts, IOMMU + 0x40, 0xfee02000);
    qtest_writel(m.qts, IOMMU + 0x38, 0);

    info = query(m.qts);
    check_rows(info);
    row = find(info, "iommu", 0, NULL);
    check_row(row, 0x66, "fixed", false, 2, false);
    assert_vcpus(row, "2");
    row = find(info, "msix", 0, "ser0");
    g_assert_nonnull(row);
    g_assert_true(qdict_get_bool(row, "remapped"));
    g_assert_cmpint(qdict_get_int(row, "vector"), ==, 0x61);
    assert_vcpus(row, "3");
    /* Another device's entry. */
    row = find(info, "msix", 1, "ser0");
    g_assert_nonnull(strstr(qdict_get_str(row, "vcpus-reason"), "refuses"));
    /* The old format goes through. */
    row = find(info, "msix", 2, "ser0");
    check_row(row, 0x44, "fixed", false, 1, false);
    row = find(info, "msix", 3, "ser0");
    g_assert_nonnull(strstr(qdict_get_str(row, "vcpus-reason"), "masked"));
    qobject_unref(info);

    /* The guest moves it in its memory. */
    write_irte(m.qts, 5, 0x63, 0, 4 << 3);
    info = query(m.qts);
    assert_vcpus(find(info, "msix", 0, "ser0"), "0");
    qobject_unref(info);
    msix_end(dev);
    machine_end(&m);
}

static void test_many(void)
{
    g_autofree char *log = g_dir_make_tmp("vamp-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(log, "trace", NULL);
    g_autofree char *args = g_strdup_printf(
        "-M q35 -smp 4 -nodefaults -trace vamp_interrupts -D %s "
        "-device virtio-serial-pci,id=ser0,addr=4,vectors=%d", path,
        NR_VECTORS);
    g_autofree char *text = NULL;
    QPCIDevice *dev;
    QDict *info;
    Machine m;

    machine_start(&m, args);
    dev = device(&m, 4);
    qpci_msix_enable(dev);
    for (unsigned i = 0; i < NR_VECTORS; i++) {
        msix_program(dev, i, 0xfee00000 | (i % 4) << 12, 0x4030 + i % 0xc0,
                     false);
    }
    for (int round = 0; round < 5; round++) {
        info = query(m.qts);
        g_assert_cmpuint(count_kind(info, "msix"), ==, NR_VECTORS);
        qobject_unref(info);
    }
    msix_end(dev);
    machine_end(&m);
    /* Taken inside QEMU: qtest's own reader of JSON is the slowest part. */
    if (g_file_get_contents(path, &text, NULL, NULL)) {
        g_strdelimit(text, "\n", ';');
        g_test_message("vamp-query-interrupts with %d MSI-X vectors: %s",
                       NR_VECTORS, text);
    }
    unlink(path);
    rmdir(log);
}

/* The guest reprograms while it is asked: each answer is one state. */
static void test_consistent(void)
{
    QPCIDevice *dev;
    Machine m;

    machine_start(&m, "-M q35 -smp 4 -nodefaults "
                      "-device virtio-serial-pci,id=ser0,addr=4,vectors=64");
    dev = device(&m, 4);
    qpci_msix_enable(dev);
    for (unsigned i = 0; i < 64; i++) {
        msix_program(dev, i, 0xfee00000, 0x4030, false);
    }
    for (unsigned round = 1; round < 40; round++) {
        const QListEntry *e;
        unsigned old = 0, n = 0;
        QDict *info;

        qtest_qmp_send(m.qts, "{'execute':'vamp-query-interrupts'}");
        for (unsigned i = 0; i < 64; i++) {
            msix_program(dev, i, 0xfee00000, 0x4030 + round, false);
        }
        info = qtest_qmp_receive(m.qts);
        /* Vectors in ascending order: once an old one, none is new. */
        QLIST_FOREACH_ENTRY(qdict_get_qlist(qdict_get_qdict(info, "return"),
                                            "interrupts"), e) {
            QDict *row = qobject_to(QDict, qlist_entry_obj(e));

            if (strcmp(qdict_get_str(row, "kind"), "msix")) {
                continue;
            }
            n++;
            if (qdict_get_int(row, "vector") != 0x30 + round) {
                g_assert_cmpint(qdict_get_int(row, "vector"), ==,
                                0x30 + round - 1);
                old++;
            } else {
                g_assert_cmpuint(old, ==, 0);
            }
        }
        g_assert_cmpuint(n, ==, 64);
        qobject_unref(info);
    }
    msix_end(dev);
    machine_end(&m);
}

/* A CPU that this process may use, or -1. */
static int usable_cpu(void)
{
    cpu_set_t cpus;

    if (sched_getaffinity(0, sizeof(cpus), &cpus)) {
        return -1;
    }
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &cpus)) {
            return i;
        }
    }
    return -1;
}

/* A map gives each row the host CPUs of its vCPUs; so it goes with the map. */
static void test_map(void)
{
    int cpu = usable_cpu();
    g_autofree char *locks = g_dir_make_tmp("vamp-test-XXXXXX", NULL);
    g_autofree char *lock = g_strdup_printf("%s/cpu%d", locks, cpu);
    g_autofree char *pair = g_strdup_printf("1-%d", cpu);
    g_autofree char *args = g_strdup_printf(
        "-M q35 -smp 2 -nodefaults -object osnet-cpumap,id=map0,map=%s,"
        "irq-affinity=follow "
        "-device virtio-serial-pci,id=ser0,addr=4,vectors=4", pair);
    QPCIDevice *dev;
    QDict *info, *row, *follow;
    QList *pcpus;
    QDict *rsp;
    Machine m;

    if (cpu < 0) {
        g_test_skip("sched_getaffinity does not work here");
        rmdir(locks);
        return;
    }
    /* Not the host's: another VM of it may have the CPU. */
    g_setenv("VAMP_QTEST_LOCKS", locks, true);
    machine_start(&m, args);
    dev = device(&m, 4);
    qpci_msix_enable(dev);
    msix_program(dev, 0, 0xfee00000, 0x4030, false);
    msix_program(dev, 1, 0xfee01000, 0x4031, false);

    info = query(m.qts);
    row = find(info, "msix", 0, "ser0");
    assert_vcpus(row, "0");
    g_assert_false(qdict_haskey(row, "pcpus"));
    row = find(info, "msix", 1, "ser0");
    assert_vcpus(row, "1");
    pcpus = qdict_get_qlist(row, "pcpus");
    g_assert_cmpuint(qlist_size(pcpus), ==, 1);
    g_assert_cmpint(qnum_get_int(qobject_to(QNum, qlist_peek(pcpus))), ==, cpu);
    follow = qdict_get_qdict(info, "follow");
    g_assert_true(qdict_get_bool(follow, "active"));
    g_assert_cmpint(qdict_get_int(follow, "moved"), ==, 0);
    g_assert_nonnull(strstr(qdict_get_str(follow, "reason"), "no assigned"));
    qobject_unref(info);

    qtest_qmp_assert_success(m.qts, "{'execute':'object-del',"
                                    " 'arguments':{'id':'map0'}}");
    info = query(m.qts);
    check_rows(info);
    qobject_unref(info);

    /* Another word is an error, and leaves nothing behind. */
    rsp = qtest_qmp(m.qts, "{'execute':'object-add', 'arguments':{"
                    "'qom-type':'osnet-cpumap','id':'map1','map':%s,"
                    "'irq-affinity':'lead'}}", pair);
    g_assert_nonnull(strstr(qdict_get_str(qdict_get_qdict(rsp, "error"),
                                          "desc"), "none and follow"));
    qobject_unref(rsp);
    qtest_qmp_assert_success(m.qts, "{'execute':'object-add', 'arguments':{"
                             "'qom-type':'osnet-cpumap','id':'map1',"
                             "'map':%s,'irq-affinity':'none'}}", pair);
    info = query(m.qts);
    g_assert_false(qdict_get_bool(qdict_get_qdict(info, "follow"), "active"));
    g_assert_true(qdict_haskey(find(info, "msix", 1, "ser0"), "pcpus"));
    qobject_unref(info);
    msix_end(dev);
    machine_end(&m);
    g_unsetenv("VAMP_QTEST_LOCKS");
    unlink(lock);
    rmdir(locks);
}

/*
 * With vCPUs that run firmware and local APICs that QEMU has to ask for. The
 * I/O APIC is programmed from here; where it is, only KVM knows.
 */
static void test_kvm(const void *opaque)
{
    const char *irqchip = opaque;
    bool kernel = !strcmp(irqchip, "kernel"), enabled = false;
    g_autofree char *args = g_strdup_printf(
        "-accel kvm -M q35,kernel-irqchip=%s -smp 2",
        kernel ? "on" : irqchip);
    QTestState *qts;
    QDict *info, *row;

    if (!qtest_has_accel("kvm") || access("/dev/kvm", R_OK | W_OK)) {
        g_test_skip("no KVM here");
        return;
    }
    qts = qtest_init(args);
    /*
     * While the vCPUs run: each query makes them exit. Until the firmware has
     * enabled the first one's local APIC, which KVM knows first.
     */
    for (int i = 0; i < 20 || (!enabled && i < 3000); i++) {
        info = query(qts);
        if (strcmp(qdict_get_str(info, "irqchip"), irqchip)) {
            g_test_skip(qdict_get_str(info, "irqchip"));
            qobject_unref(info);
            qtest_quit(qts);
            return;
        }
        g_assert_cmpuint(qlist_size(qdict_get_qlist(info, "lapics")), ==, 2);
        g_assert_cmpstr(qdict_get_str(info, "injection"), !=, "emulated");
        row = find(info, "ioapic", 4, NULL);
        g_assert_nonnull(row);
        g_assert_true(has_type(row, "isa-serial"));
        g_assert_cmpstr(qdict_get_str(row, "delivery"), ==, "kvm");
        g_assert_cmpuint(count_kind(info, "gsi"), ==, 0);
        row = qobject_to(QDict, qlist_peek(qdict_get_qlist(info, "lapics")));
        enabled = qdict_get_bool(row, "software-enabled");
        qobject_unref(info);
        g_usleep(10 * 1000);
    }
    g_assert_true(enabled);
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_data_func("/vamp/interrupts/msix/q35", "q35", test_msix);
    qtest_add_data_func("/vamp/interrupts/msix/pc", "pc", test_msix);
    qtest_add_func("/vamp/interrupts/msi", test_msi);
    qtest_add_data_func("/vamp/interrupts/ioapic/q35", "q35", test_ioapic);
    qtest_add_data_func("/vamp/interrupts/ioapic/pc", "pc", test_ioapic);
    qtest_add_func("/vamp/interrupts/lapic", test_lapic);
    qtest_add_func("/vamp/interrupts/microvm", test_microvm);
    qtest_add_func("/vamp/interrupts/isapc", test_isapc);
    qtest_add_func("/vamp/interrupts/remapping", test_remapping);
    qtest_add_func("/vamp/interrupts/many", test_many);
    qtest_add_func("/vamp/interrupts/consistent", test_consistent);
    qtest_add_func("/vamp/interrupts/map", test_map);
    qtest_add_data_func("/vamp/interrupts/kvm/kernel", "kernel", test_kvm);
    qtest_add_data_func("/vamp/interrupts/kvm/split", "split", test_kvm);
    return g_test_run();
}
