/*
 * QTest: sound begins a phase
 *
 * Claim: what the guest really plays is heard, whatever the backend: it
 * begins a phase, keeps it alive, and silence (a stream of it as well as
 * none) lets the phase end. Where nothing can be heard the reason says why.
 *
 * The PC speaker is programmed as a driver would; qtest's clock drives QEMU's
 * audio timer.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "vamp-qtest.h"

#define PIT_CONTROL     0x43
#define PIT_CHANNEL_2   0x42
#define SPEAKER         0x61
#define PIT_HZ          1193182

#define NONE_DEV        "-audiodev none,id=snd"

static QTestState *start(const char *audio, const char *properties)
{
    g_autofree char *args = g_strdup_printf("-M pc -net none %s -object "
                                            "vamp-policy,id=vamp0,"
                                            "actuator=none%s",
                                            audio, properties);

    return qtest_init(args);
}

static QTestState *start_speaker(const char *dev, const char *properties)
{
    g_autofree char *audio = g_strdup_printf("%s -M pc,pcspk-audiodev=snd",
                                             dev);

    return start(audio, properties);
}

/* 0: a voice that is open and silent. */
static void speaker_on(QTestState *qts, int hz)
{
    int count = hz ? PIT_HZ / hz : 1;

    qtest_outb(qts, PIT_CONTROL, 0xb6);     /* channel 2, mode 3 */
    qtest_outb(qts, PIT_CHANNEL_2, count & 0xff);
    qtest_outb(qts, PIT_CHANNEL_2, count >> 8);
    qtest_outb(qts, SPEAKER, 3);
}

static void speaker_off(QTestState *qts)
{
    qtest_outb(qts, SPEAKER, 0);
}

/*
 * QEMU frees no capture when it ends (free_audio_state() forgets those of
 * audiodevs without a voice): LeakSanitizer is to see that we do.
 */
static void quit_without_object(QTestState *qts)
{
    vamp_object_del(qts);
    qtest_quit(qts);
}

/* In the steps that an audio timer makes on a real clock. */
static void play(QTestState *qts, int ms)
{
    for (int t = 0; t < ms; t += 10) {
        qtest_clock_step(qts, 10 * MS);
    }
}

static void expect_sound(QTestState *qts, bool active, bool playing,
                         const char *reason)
{
    QDict *info = vamp_query(qts);

    vamp_expect_text(vamp_str(info, "sound.reason"), reason);
    g_assert_cmpint(vamp_bool(info, "sound.active"), ==, active);
    g_assert_cmpint(vamp_bool(info, "sound.playing"), ==, playing);
    qobject_unref(info);
}

static void test_speaker(void)
{
    QTestState *qts = start_speaker(NONE_DEV, ",max-phase-ms=2000");
    QDict *info;

    expect_sound(qts, true, false, "listening to 1 audiodev");
    play(qts, 3000);
    vamp_expect_phase(qts, "normal");

    speaker_on(qts, 440);
    play(qts, 500);
    expect_sound(qts, true, true, "listening");
    vamp_expect_phase_event(qts, "non-mixed", "sound");
    /* It goes on as long as the sound does. */
    play(qts, 10000);
    info = vamp_query(qts);
    g_assert_cmpstr(vamp_str(info, "phase"), ==, "non-mixed");
    g_assert_cmpstr(vamp_str(info, "phase-cause"), ==, "sound");
    g_assert_cmpfloat(vamp_num(info, "counters.phases-sound"), >, 4);
    qobject_unref(info);

    speaker_off(qts);
    play(qts, 4000);
    expect_sound(qts, true, false, "listening");
    vamp_expect_phase(qts, "normal");
    qtest_quit(qts);
}

static void test_silent_stream(void)
{
    QTestState *qts = start_speaker(NONE_DEV, ",max-phase-ms=2000");

    speaker_on(qts, 0);
    play(qts, 3000);
    expect_sound(qts, true, false, "listening");
    vamp_expect_phase(qts, "normal");

    /* A short pause does not end a sound, a long one does. */
    speaker_on(qts, 1000);
    play(qts, 500);
    speaker_on(qts, 0);
    play(qts, 500);
    expect_sound(qts, true, true, "listening");
    speaker_on(qts, 1000);
    play(qts, 300);
    speaker_on(qts, 0);
    play(qts, 2000);
    expect_sound(qts, true, false, "listening");
    play(qts, 2000);
    vamp_expect_phase(qts, "normal");
    qtest_quit(qts);
}

static void test_property(void)
{
    QTestState *qts = start_speaker(NONE_DEV, ",max-phase-ms=2000,audio=off");
    QDict *info;

    expect_sound(qts, false, false, "set to off");
    speaker_on(qts, 440);
    play(qts, 1000);
    vamp_expect_phase(qts, "normal");

    /* Live, while it sounds. */
    vamp_set_str(qts, "audio", "on");
    play(qts, 500);
    expect_sound(qts, true, true, "listening");
    vamp_expect_phase(qts, "non-mixed");
    vamp_set_str(qts, "audio", "off");
    expect_sound(qts, false, false, "set to off");
    play(qts, 4000);
    vamp_expect_phase(qts, "normal");

    /* The object goes and comes while it sounds. */
    vamp_set_str(qts, "audio", "auto");
    play(qts, 500);
    vamp_object_del(qts);
    play(qts, 500);
    vamp_expect_ok(qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                             " 'qom-type': 'vamp-policy', 'id': 'vamp0' } }"));
    play(qts, 500);
    info = vamp_query(qts);
    g_assert_cmpstr(vamp_str(info, "phase-cause"), ==, "sound");
    qobject_unref(info);

    /* A stopped VM sounds no more. */
    qtest_qmp_assert_success(qts, "{ 'execute': 'stop' }");
    vamp_expect_phase(qts, "normal");
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
    qtest_quit(qts);
}

/* The user's event is the stronger cause, and its phase outlives the sound. */
static void test_with_input(void)
{
    QTestState *qts = start_speaker(NONE_DEV, ",max-phase-ms=2000");
    QDict *info;

    vamp_input(qts);
    speaker_on(qts, 440);
    play(qts, 500);
    info = vamp_query(qts);
    g_assert_cmpstr(vamp_str(info, "phase-cause"), ==, "input");
    g_assert(vamp_bool(info, "sound.playing"));
    qobject_unref(info);
    /* Its end is no end while sound plays. */
    play(qts, 2000);
    info = vamp_query(qts);
    g_assert_cmpstr(vamp_str(info, "phase"), ==, "non-mixed");
    g_assert_cmpstr(vamp_str(info, "phase-cause"), ==, "sound");
    qobject_unref(info);
    qtest_quit(qts);
}

static void test_two(void)
{
    QTestState *qts = start_speaker(NONE_DEV " -audiodev none,id=other", "");

    expect_sound(qts, true, false, "listening to 2 audiodevs");
    speaker_on(qts, 440);
    play(qts, 500);
    expect_sound(qts, true, true, "listening to 2 audiodevs");
    quit_without_object(qts);
}

/* -audio DRIVER without a model: a device finds it as the default. */
static void test_default(void)
{
    QTestState *qts = start("-audio none -device AC97", "");

    expect_sound(qts, true, false, "listening to 1 audiodev");
    quit_without_object(qts);
}

static void test_cannot(void)
{
    QTestState *qts = start("", "");

    expect_sound(qts, false, false, "no audiodev");
    qtest_quit(qts);

    qts = start_speaker(NONE_DEV ",out.mixing-engine=off", ",audio=auto");
    expect_sound(qts, false, false, "'snd' has out.mixing-engine=off");
    qtest_quit(qts);

    qts = start_speaker(NONE_DEV " -audiodev none,id=raw,"
                        "out.mixing-engine=off", "");
    expect_sound(qts, true, false, "'raw' has out.mixing-engine=off");
    quit_without_object(qts);
}

static void expect_tracking(QTestState *qts, int mode, const char *reason)
{
    QDict *info = vamp_query(qts);

    g_assert_false(vamp_bool(info, "sound.tracking.active"));
    g_assert_cmpint(vamp_num(info, "sound.tracking.mode"), ==, mode);
    vamp_expect_text(vamp_str(info, "sound.tracking.reason"), reason);
    qobject_unref(info);
}

/* Without KVM nobody sees who wakes whom. The nearest reason is told. */
static void test_tracking(void)
{
    QTestState *qts = start("-audio none -device AC97", "");

    expect_tracking(qts, 15, "only KVM's companion modules can: needs -accel "
                    "kvm");
    vamp_set_str(qts, "audio", "off");
    expect_tracking(qts, 15, "audio is off");
    vamp_set_int(qts, "wakeup-track", 0);
    expect_tracking(qts, 0, "wakeup-track is 0");
    vamp_set_str(qts, "audio", "auto");
    vamp_set_int(qts, "wakeup-track", 1);
    expect_tracking(qts, 1, "only KVM's companion modules can");
    quit_without_object(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    if (!qtest_has_machine("pc")) {
        g_test_message("no machine with a PC speaker");
        return g_test_run();
    }
    qtest_add_func("/vamp/sound/speaker", test_speaker);
    qtest_add_func("/vamp/sound/silent-stream", test_silent_stream);
    qtest_add_func("/vamp/sound/tracking", test_tracking);
    qtest_add_func("/vamp/sound/property", test_property);
    qtest_add_func("/vamp/sound/with-input", test_with_input);
    qtest_add_func("/vamp/sound/two", test_two);
    if (qtest_has_device("AC97")) {
        qtest_add_func("/vamp/sound/default", test_default);
    }
    qtest_add_func("/vamp/sound/cannot", test_cannot);

    return g_test_run();
}
