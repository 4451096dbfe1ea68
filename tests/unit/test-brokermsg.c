/*
 * The messages between QEMU and the broker: what is valid, and what is not
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <glib.h>
#include <string.h>
#include "core/brokermsg.h"
#include "core/policy.h"

typedef union vamp_bmsg Message;

static const uint32_t types[] = {
    VAMP_BMSG_HELLO, VAMP_BMSG_THREAD_ADD, VAMP_BMSG_THREAD_DEL,
    VAMP_BMSG_RATIO, VAMP_BMSG_CLASS, VAMP_BMSG_STATUS, VAMP_BMSG_WELCOME,
    VAMP_BMSG_OK, VAMP_BMSG_ERROR, VAMP_BMSG_REPORT,
};

/* A valid message of @type. */
static Message valid(uint32_t type)
{
    Message m = {
        .head = { VAMP_BROKER_MAGIC, type, vamp_bmsg_size(type), 7 },
    };

    switch (type) {
    case VAMP_BMSG_HELLO:
        m.hello.version = VAMP_BROKER_VERSION;
        m.hello.ratio = 3;
        strcpy(m.hello.name, "desk 1");
        break;
    case VAMP_BMSG_THREAD_ADD:
        m.thread.tid = 77;
        break;
    case VAMP_BMSG_RATIO:
        m.ratio.ratio = 100;
        break;
    case VAMP_BMSG_WELCOME:
        m.welcome.period_ms = 50;
        m.welcome.page_size = sizeof(struct vamp_broker_page);
        break;
    case VAMP_BMSG_ERROR:
        m.error.err = EPERM;
        break;
    default:
        break;
    }
    return m;
}

static bool from_qemu(uint32_t type)
{
    return type < VAMP_BMSG_WELCOME;
}

static enum vamp_bmsg_fault check(const Message *m)
{
    return vamp_bmsg_check(m, m->head.size, from_qemu(m->head.type));
}

static void test_valid(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        Message m = valid(types[i]);

        g_assert_cmpuint(m.head.size, >=, sizeof(m.head));
        g_assert_cmpuint(m.head.size, <=, VAMP_BMSG_MAX);
        g_assert_cmpint(check(&m), ==, VAMP_BMSG_FINE);
    }
    g_assert_cmpuint(vamp_bmsg_size(0), ==, 0);
    g_assert_cmpuint(vamp_bmsg_size(VAMP_BMSG_REPORT + 1), ==, 0);
}

/* What is wrong with every message alike. */
static void test_head(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        const Message good = valid(types[i]);
        bool to_broker = from_qemu(types[i]);
        size_t size = good.head.size;
        Message m = good;

        for (size_t n = 0; n < sizeof(m.head); n++) {
            g_assert_cmpint(vamp_bmsg_check(&m, n, to_broker), ==,
                            VAMP_BMSG_SHORT);
        }
        g_assert_cmpint(vamp_bmsg_check(&m, size + 1, to_broker), ==,
                        VAMP_BMSG_SIZE_WRONG);
        if (size > sizeof(m.head)) {
            g_assert_cmpint(vamp_bmsg_check(&m, size - 1, to_broker), ==,
                            VAMP_BMSG_SIZE_WRONG);
        }
        m.head.size++;
        g_assert_cmpint(vamp_bmsg_check(&m, size + 1, to_broker), ==,
                        VAMP_BMSG_SIZE_WRONG);
        m = good;
        m.head.magic ^= 1;
        g_assert_cmpint(check(&m), ==, VAMP_BMSG_MAGIC_WRONG);
        m = good;
        g_assert_cmpint(vamp_bmsg_check(&m, size, !to_broker), ==,
                        VAMP_BMSG_TYPE_UNKNOWN);
        m.head.type = 0;
        g_assert_cmpint(check(&m), ==, VAMP_BMSG_TYPE_UNKNOWN);
        m.head.type = UINT32_MAX;
        g_assert_cmpint(check(&m), ==, VAMP_BMSG_TYPE_UNKNOWN);
    }
}

#define WRONG(msg, field, value)                                        \
    do {                                                                \
        Message m_ = (msg);                                             \
        m_.field = (value);                                             \
        g_assert_cmpint(check(&m_), ==, VAMP_BMSG_FIELD_WRONG);         \
    } while (0)

static void test_fields(void)
{
    Message m = valid(VAMP_BMSG_HELLO);

    WRONG(m, hello.ratio, 0);
    WRONG(m, hello.ratio, 101);
    WRONG(m, hello.name[3], '\n');
    WRONG(m, hello.name[10], 'x');      /* behind its end */
    memset(m.hello.name, 'x', sizeof(m.hello.name));
    g_assert_cmpint(check(&m), ==, VAMP_BMSG_FIELD_WRONG);

    m = valid(VAMP_BMSG_THREAD_ADD);
    WRONG(m, thread.tid, 0);
    WRONG(m, thread.tid, -1);
    WRONG(m, thread.role, 2);
    WRONG(m, thread.slot, VAMP_BROKER_VCPUS_MAX);
    WRONG(m, thread.zero, 1);
    m.thread.role = VAMP_BROKER_IO;
    m.thread.slot = VAMP_BROKER_IO_MAX - 1;
    g_assert_cmpint(check(&m), ==, VAMP_BMSG_FINE);
    WRONG(m, thread.slot, VAMP_BROKER_IO_MAX);
    m = valid(VAMP_BMSG_THREAD_DEL);
    WRONG(m, thread.tid, 1);

    m = valid(VAMP_BMSG_RATIO);
    WRONG(m, ratio.ratio, 0);
    WRONG(m, ratio.zero, 1);
    m = valid(VAMP_BMSG_CLASS);
    WRONG(m, vclass.slot, VAMP_BROKER_VCPUS_MAX);
    WRONG(m, vclass.vclass, VAMP_CLASS_BACKGROUND + 1);
    m = valid(VAMP_BMSG_STATUS);
    WRONG(m, status.format, 2);
    WRONG(m, status.zero, 1);
    m = valid(VAMP_BMSG_WELCOME);
    WRONG(m, welcome.period_ms, 0);
    WRONG(m, welcome.page_size, sizeof(struct vamp_broker_page) - 1);
    WRONG(m, welcome.zero, 1);
    m = valid(VAMP_BMSG_ERROR);
    WRONG(m, error.err, 0);
    WRONG(m, error.text[0], '\x80');
    WRONG(m, error.zero, 1);
}

static void test_texts(void)
{
    for (int i = 0; i < VAMP_BMSG_FAULTS; i++) {
        g_assert_cmpstr(vamp_bmsg_fault_text(i), !=, "unknown");
    }
    g_assert_cmpstr(vamp_bmsg_fault_text(VAMP_BMSG_FAULTS), ==, "unknown");
    g_assert_cmpstr(vamp_broker_state_name(VAMP_BROKER_NORMAL), ==, "normal");
    g_assert_cmpstr(vamp_broker_state_name(VAMP_BROKER_WEIGHTS), ==,
                    "weights");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vamp/brokermsg/valid", test_valid);
    g_test_add_func("/vamp/brokermsg/head", test_head);
    g_test_add_func("/vamp/brokermsg/fields", test_fields);
    g_test_add_func("/vamp/brokermsg/texts", test_texts);
    return g_test_run();
}
