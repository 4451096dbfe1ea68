/*
 * VAMP sensor: sound
 *
 * Captures what the guest plays, on each audiodev, as WAV and VNC capture do.
 * A guest with a sound server streams silence all day: only samples that can
 * be heard count.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-audio.h"
#include "qapi/qapi-types-audio.h"
#include "qapi/qapi-visit-audio.h"
#include "qemu/error-report.h"
#include "audio/audio.h"
#include "audio/audio_int.h"
#include "hw/qdev-core.h"
#include "hw/vamp/sensor.h"
#include "hw/vamp/trace.h"

/*
 * Louder than this is heard, of 32767: -60 dB. Dither and the rounding of a
 * mixer at volume 0 stay below it.
 */
#define AUDIBLE_LEVEL 32

/*
 * Silence that ends a sound: longer than the pauses of speech, so that these
 * do not end and begin phases.
 */
#define SILENCE_MS 1000

#define CAPTURE_HZ 8000

typedef struct SoundSource {
    VampSound *sound;
    CaptureVoiceOut *capture;       /* NULL: QEMU's audio has ended */
    char *id;
    bool playing;
    uint32_t silent_frames;
} SoundSource;

struct VampSound {
    void (*fn)(void *opaque, bool playing);
    void *opaque;
    GPtrArray *sources;
    unsigned nr_playing;
};

static void source_set_playing(SoundSource *src, bool playing)
{
    VampSound *sound = src->sound;
    unsigned before = sound->nr_playing;

    if (src->playing == playing) {
        return;
    }
    src->playing = playing;
    sound->nr_playing += playing ? 1 : -1;
    trace_vamp_sound(src->id, playing);
    if (!before != !sound->nr_playing) {
        sound->fn(sound->opaque, playing);
    }
}

static void capture_notify(void *opaque, audcnotification_e cmd)
{
    /* The guest has closed its voices: no more samples come. */
    if (cmd == AUD_CNOTIFY_DISABLE) {
        source_set_playing(opaque, false);
    }
}

/*
 * A level that does not move is silence, too: a voice at rest may have an
 * offset (QEMU's mixer makes 511 of the middle of unsigned 8-bit samples).
 */
static bool audible(const int16_t *sample, int n)
{
    int min = n ? sample[0] : 0, max = min;

    for (int i = 1; i < n; i++) {
        min = MIN(min, sample[i]);
        max = MAX(max, sample[i]);
    }
    return max - min > 2 * AUDIBLE_LEVEL;
}

static void capture_samples(void *opaque, const void *buf, int size)
{
    SoundSource *src = opaque;
    int n = size / sizeof(int16_t);

    if (audible(buf, n)) {
        src->silent_frames = 0;
        source_set_playing(src, true);
        return;
    }
    src->silent_frames = MIN(src->silent_frames + n, UINT32_MAX / 2);
    if (src->silent_frames > CAPTURE_HZ / 1000 * SILENCE_MS) {
        source_set_playing(src, false);
    }
}

static void capture_destroy(void *opaque)
{
    SoundSource *src = opaque;

    /* Also called for each voice when QEMU's audio ends. */
    src->capture = NULL;
}

static void source_free(void *opaque)
{
    SoundSource *src = opaque;

    /* QEMU's audio ends before objects do; the capture's list goes with it. */
    if (src->capture && audio_state_by_name(src->id, NULL)) {
        AUD_del_capture(src->capture, src);
    }
    g_free(src->id);
    g_free(src);
}

/* NULL, and why in @why, if audiodev @id cannot be captured. */
static SoundSource *source_new(VampSound *sound, const char *id, GString *why)
{
    struct audio_capture_ops ops = {
        .notify = capture_notify,
        .capture = capture_samples,
        .destroy = capture_destroy,
    };
    /* One channel at a low rate: the mixer converts, and we read less. */
    struct audsettings as = {
        .freq = CAPTURE_HZ,
        .nchannels = 1,
        .fmt = AUDIO_FORMAT_S16,
        .endianness = HOST_BIG_ENDIAN,
    };
    AudioState *state = audio_state_by_name(id, NULL);
    AudiodevPerDirectionOptions *out;
    SoundSource *src;

    if (!state) {
        g_string_append_printf(why, "%saudiodev '%s' is not in use",
                               why->len ? "; " : "", id);
        return NULL;
    }
    out = audio_get_pdo_out(state->dev);
    if (!out->mixing_engine) {
        g_string_append_printf(why, "%saudiodev '%s' has "
                               "out.mixing-engine=off",
                               why->len ? "; " : "", id);
        return NULL;
    }
    src = g_new0(SoundSource, 1);
    src->sound = sound;
    src->id = g_strdup(id);
    src->capture = AUD_add_capture(state, &as, &ops, src);
    if (!src->capture) {
        g_string_append_printf(why, "%saudiodev '%s' cannot be captured",
                               why->len ? "; " : "", id);
        source_free(src);
        return NULL;
    }
    return src;
}

/*
 * -audio DRIVER without a model, and QEMU's own default, make audiodevs that
 * query-audiodevs does not list. The devices that use them know their names.
 */
static int note_audiodev(Object *obj, void *opaque)
{
    GPtrArray *ids = opaque;
    g_autofree char *id = NULL;

    if (object_dynamic_cast(obj, TYPE_DEVICE) &&
        object_property_find(obj, "audiodev")) {
        id = object_property_get_str(obj, "audiodev", NULL);
    }
    if (id && *id && !g_ptr_array_find_with_equal_func(ids, id, g_str_equal,
                                                       NULL)) {
        g_ptr_array_add(ids, g_steal_pointer(&id));
    }
    return 0;
}

VampSound *vamp_sound_listen(void (*fn)(void *opaque, bool playing),
                             void *opaque, char **reason)
{
    g_autoptr(AudiodevList) devs = qmp_query_audiodevs(&error_abort);
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GString) why = g_string_new(NULL);
    VampSound *sound = g_new0(VampSound, 1);

    sound->fn = fn;
    sound->opaque = opaque;
    sound->sources = g_ptr_array_new_with_free_func(source_free);
    for (AudiodevList *l = devs; l; l = l->next) {
        g_ptr_array_add(ids, g_strdup(l->value->id));
    }
    object_child_foreach_recursive(object_get_root(), note_audiodev, ids);
    for (unsigned i = 0; i < ids->len; i++) {
        SoundSource *src = source_new(sound, g_ptr_array_index(ids, i), why);

        if (src) {
            g_ptr_array_add(sound->sources, src);
        }
    }
    if (!sound->sources->len) {
        *reason = g_strdup_printf("nothing to listen to: %s",
                                  why->len ? why->str : "no audiodev");
        g_ptr_array_unref(sound->sources);
        g_free(sound);
        return NULL;
    }
    *reason = g_strdup_printf("listening to %u audiodev%s%s%s",
                              sound->sources->len,
                              sound->sources->len == 1 ? "" : "s",
                              why->len ? "; " : "", why->str);
    return sound;
}

void vamp_sound_free(VampSound *sound)
{
    if (sound) {
        g_ptr_array_unref(sound->sources);
        g_free(sound);
    }
}
