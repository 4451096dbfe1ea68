/*
 * vdiguest: what the user does, by libevdev and libudev
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <libevdev/libevdev.h>
#include <libudev.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "guest/input.h"
#include "guest/log.h"

#define BITS_PER_LONG   (8 * sizeof(unsigned long))

typedef struct Device {
    Input *in;
    char *path;
    struct libevdev *dev;
    int fd;
    guint source;
} Device;

struct Input {
    const GPtrArray *wanted;
    GPtrArray *devices;         /* Device */
    struct udev *udev;
    struct udev_monitor *monitor;
    guint source;
    InputTrigger trigger;
    InputCpus cpus;
    void *opaque;
};

static void device_free(gpointer opaque)
{
    Device *d = opaque;

    if (d->source) {
        g_source_remove(d->source);
    }
    libevdev_free(d->dev);
    close(d->fd);
    g_free(d->path);
    g_free(d);
}

static Device *find(Input *in, const char *path)
{
    unsigned i;

    for (i = 0; i < in->devices->len; i++) {
        Device *d = g_ptr_array_index(in->devices, i);

        if (!strcmp(d->path, path)) {
            return d;
        }
    }
    return NULL;
}

static gboolean readable(gint fd, GIOCondition condition, gpointer opaque)
{
    Device *d = opaque;
    struct input_event ev;
    bool triggered = false;
    int ret, flag = LIBEVDEV_READ_FLAG_NORMAL;

    do {
        ret = libevdev_next_event(d->dev, flag, &ev);
        /* Events were lost: libevdev tells what has changed since. */
        flag = ret == LIBEVDEV_READ_STATUS_SYNC ? LIBEVDEV_READ_FLAG_SYNC
                                                : LIBEVDEV_READ_FLAG_NORMAL;
        if (ret >= 0) {
            triggered |= input_is_trigger(ev.type, ev.code, ev.value);
        }
    } while (ret >= 0);
    if (ret == -EAGAIN && !(condition & (G_IO_ERR | G_IO_HUP))) {
        if (triggered) {
            d->in->trigger(d->in->opaque);
        }
        return G_SOURCE_CONTINUE;
    }
    log_info(LOG_START, "%s is gone", d->path);
    d->source = 0;
    g_ptr_array_remove_fast(d->in->devices, d);
    return G_SOURCE_REMOVE;
}

static bool can_trigger(const struct libevdev *dev)
{
    return libevdev_has_event_code(dev, EV_KEY, KEY_ENTER) ||
           libevdev_has_event_code(dev, EV_KEY, BTN_LEFT) ||
           libevdev_has_event_code(dev, EV_KEY, BTN_TOUCH) ||
           libevdev_has_event_code(dev, EV_REL, REL_WHEEL);
}

static void mask_type(int fd, unsigned type, unsigned codes,
                      bool (*wanted)(unsigned type, unsigned code))
{
    unsigned long bits[KEY_CNT / BITS_PER_LONG + 1] = { 0 };
    struct input_mask mask = {
        .type = type,
        .codes_size = sizeof(bits),
        .codes_ptr = (uintptr_t)bits,
    };
    unsigned code;

    for (code = 0; code < codes; code++) {
        if (wanted(type, code)) {
            bits[code / BITS_PER_LONG] |= 1ul << code % BITS_PER_LONG;
        }
    }
    ioctl(fd, EVIOCSMASK, &mask);
}

static bool type_can_trigger(unsigned type, unsigned code)
{
    return code == EV_KEY || code == EV_REL;
}

/*
 * A mouse moves a thousand times a second, and each time a process is woken for
 * nothing on the vCPU where the user's program runs. A kernel that cannot be
 * asked not to (Linux before 4.4) wakes us as before.
 */
static void ask_for_triggers(int fd)
{
    mask_type(fd, EV_KEY, KEY_CNT, input_can_trigger);
    mask_type(fd, EV_REL, REL_CNT, input_can_trigger);
    /* As EV_SYN, the mask is of types. */
    mask_type(fd, EV_SYN, EV_CNT, type_can_trigger);
}

/* 0: in use, or of no use and not @named; else -errno. */
static int device_add(Input *in, const char *path, bool named)
{
    Device *d;
    struct libevdev *dev = NULL;
    int ret, fd;

    if (find(in, path)) {
        return 0;
    }
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ret = libevdev_new_from_fd(fd, &dev);
    if (ret == 0 && !can_trigger(dev)) {
        ret = named ? -ENOTSUP : 0;
        libevdev_free(dev);
        dev = NULL;
    }
    if (!dev) {
        close(fd);
        return ret;
    }
    ask_for_triggers(fd);
    d = g_new0(Device, 1);
    d->in = in;
    d->path = g_strdup(path);
    d->dev = dev;
    d->fd = fd;
    d->source = g_unix_fd_add(fd, G_IO_IN | G_IO_ERR | G_IO_HUP, readable, d);
    g_ptr_array_add(in->devices, d);
    log_info(LOG_START, "listening to %s (%s)", path, libevdev_get_name(dev));
    return 0;
}

static bool is_wanted(const Input *in, const char *path)
{
    return !in->wanted->len ||
           g_ptr_array_find_with_equal_func((GPtrArray *)in->wanted, path,
                                            g_str_equal, NULL);
}

static void came(Input *in, struct udev_device *u)
{
    const char *path = udev_device_get_devnode(u);
    const char *name = udev_device_get_sysname(u);
    int ret;

    if (!path || !g_str_has_prefix(name, "event") || !is_wanted(in, path)) {
        return;
    }
    ret = device_add(in, path, false);
    if (ret < 0) {
        log_warn("%s cannot be used: %s", path, g_strerror(-ret));
    }
}

static gboolean announced(gint fd, GIOCondition condition, gpointer opaque)
{
    Input *in = opaque;
    struct udev_device *u = udev_monitor_receive_device(in->monitor);
    const char *action = u ? udev_device_get_action(u) : NULL;
    const char *subsystem = u ? udev_device_get_subsystem(u) : NULL;

    if (action && !g_strcmp0(subsystem, "cpu")) {
        in->cpus(in->opaque);
    } else if (!g_strcmp0(action, "add")) {
        came(in, u);
    }
    if (u) {
        udev_device_unref(u);
    }
    return G_SOURCE_CONTINUE;
}

static void enumerate(Input *in)
{
    struct udev_enumerate *e = udev_enumerate_new(in->udev);
    struct udev_list_entry *entry;

    udev_enumerate_add_match_subsystem(e, "input");
    udev_enumerate_add_match_sysname(e, "event*");
    udev_enumerate_scan_devices(e);
    udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(e)) {
        const char *path = udev_list_entry_get_name(entry);
        struct udev_device *u = udev_device_new_from_syspath(in->udev, path);

        if (u) {
            came(in, u);
            udev_device_unref(u);
        }
    }
    udev_enumerate_unref(e);
}

/*
 * The kernel's own messages, not udevd's: its node is there when it says so,
 * and what a device can do, libevdev finds out.
 */
static bool watch(Input *in, GError **err)
{
    in->udev = udev_new();
    in->monitor = in->udev ? udev_monitor_new_from_netlink(in->udev, "kernel")
                           : NULL;
    if (!in->monitor ||
        udev_monitor_filter_add_match_subsystem_devtype(in->monitor, "input",
                                                        NULL) < 0 ||
        udev_monitor_filter_add_match_subsystem_devtype(in->monitor, "cpu",
                                                        NULL) < 0 ||
        udev_monitor_enable_receiving(in->monitor) < 0) {
        g_set_error(err, G_FILE_ERROR, G_FILE_ERROR_FAILED,
                    "the kernel's device messages cannot be received: %s",
                    g_strerror(errno));
        return false;
    }
    in->source = g_unix_fd_add(udev_monitor_get_fd(in->monitor), G_IO_IN,
                               announced, in);
    return true;
}

Input *input_begin(const GPtrArray *devices, InputTrigger trigger,
                   InputCpus cpus, void *opaque, GError **err)
{
    Input *in = g_new0(Input, 1);
    unsigned i;

    in->wanted = devices;
    in->devices = g_ptr_array_new_with_free_func(device_free);
    in->trigger = trigger;
    in->cpus = cpus;
    in->opaque = opaque;
    /* First, so that what comes between is not missed. */
    if (!watch(in, err)) {
        input_end(in);
        return NULL;
    }
    for (i = 0; i < devices->len; i++) {
        const char *path = g_ptr_array_index(devices, i);
        int ret = device_add(in, path, true);

        if (ret < 0) {
            g_set_error(err, G_FILE_ERROR, G_FILE_ERROR_FAILED,
                        "%s cannot be used: %s (an event device with Enter, "
                        "buttons, a wheel or touch would be needed)", path,
                        g_strerror(-ret));
            input_end(in);
            return NULL;
        }
    }
    if (!devices->len) {
        enumerate(in);
    }
    if (!in->devices->len) {
        log_warn("no keyboard, mouse or touch screen is there: nothing will be "
                 "isolated on input until one comes");
    }
    return in;
}

void input_end(Input *in)
{
    if (!in) {
        return;
    }
    if (in->source) {
        g_source_remove(in->source);
    }
    if (in->monitor) {
        udev_monitor_unref(in->monitor);
    }
    if (in->udev) {
        udev_unref(in->udev);
    }
    g_ptr_array_unref(in->devices);
    g_free(in);
}

char *input_names(const Input *in)
{
    GString *names = g_string_new(NULL);
    unsigned i;

    for (i = 0; i < in->devices->len; i++) {
        const Device *d = g_ptr_array_index(in->devices, i);

        g_string_append_printf(names, "%s%s", i ? "," : "", d->path);
    }
    return g_string_free(names, !in->devices->len);
}
