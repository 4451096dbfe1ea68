/*
 * The test guest: one that plays on a PCM device of a real driver
 *
 *   play PCM CPU BUSY   a task on the CPU is busy for BUSY percent of the time
 *                       that its sound lasts, and plays it: ok PID
 *   play off            ends it
 *
 * PCM is a file of /dev/snd, like pcmC0D0p. "ok" comes when more than the
 * device's buffer has been written, that is, when it plays.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <sound/asound.h>

#include "guest.h"

#define RATE            48000
#define CHANNELS        2
/* A buffer of 160 ms, the most that virtio_snd takes: such guests are slow. */
#define PERIOD_FRAMES   1920
#define PERIODS         4
#define PERIOD_NS       40000000ull

static pid_t player;

/* --- the device ----------------------------------------------------------- */

static void set_mask(struct snd_pcm_hw_params *p, int what, unsigned value)
{
    struct snd_mask *m = &p->masks[what - SNDRV_PCM_HW_PARAM_FIRST_MASK];

    memset(m, 0, sizeof(*m));
    m->bits[value / 32] = 1u << value % 32;
}

static void set_interval(struct snd_pcm_hw_params *p, int what, unsigned value)
{
    p->intervals[what - SNDRV_PCM_HW_PARAM_FIRST_INTERVAL] =
        (struct snd_interval) { .min = value, .max = value, .integer = 1 };
}

/* What is not asked for is the driver's choice. */
static int configure(int fd)
{
    struct snd_pcm_hw_params p;
    unsigned i;

    memset(&p, 0, sizeof(p));
    memset(p.masks, 0xff, sizeof(p.masks));
    for (i = 0; i < sizeof(p.intervals) / sizeof(p.intervals[0]); i++) {
        p.intervals[i].max = UINT32_MAX;
    }
    p.rmask = UINT32_MAX;
    p.info = UINT32_MAX;
    set_mask(&p, SNDRV_PCM_HW_PARAM_ACCESS, SNDRV_PCM_ACCESS_RW_INTERLEAVED);
    set_mask(&p, SNDRV_PCM_HW_PARAM_FORMAT, SNDRV_PCM_FORMAT_S16_LE);
    set_interval(&p, SNDRV_PCM_HW_PARAM_CHANNELS, CHANNELS);
    set_interval(&p, SNDRV_PCM_HW_PARAM_RATE, RATE);
    set_interval(&p, SNDRV_PCM_HW_PARAM_PERIOD_SIZE, PERIOD_FRAMES);
    set_interval(&p, SNDRV_PCM_HW_PARAM_PERIODS, PERIODS);
    return ioctl(fd, SNDRV_PCM_IOCTL_HW_PARAMS, &p) < 0 ? -1 :
           ioctl(fd, SNDRV_PCM_IOCTL_PREPARE);
}

/* Waits for the device while its buffer is full. */
static int play_period(int fd, void *data)
{
    struct snd_xferi x = { .buf = data, .frames = PERIOD_FRAMES };

    if (ioctl(fd, SNDRV_PCM_IOCTL_WRITEI_FRAMES, &x) >= 0) {
        return 0;
    }
    /*
     * The device had nothing to play (EPIPE), or was late by a buffer and 10 %
     * (EIO): an emulated guest of a guest may stand still for so long.
     */
    if (errno != EPIPE && errno != EIO) {
        return -1;
    }
    ioctl(fd, SNDRV_PCM_IOCTL_DROP);
    return ioctl(fd, SNDRV_PCM_IOCTL_PREPARE);
}

/* --- the task ------------------------------------------------------------- */

/* What a decoder does, in noise. */
static void decode(int16_t *data, unsigned busy)
{
    static uint32_t seed = 1;
    uint64_t begin = now_ns();
    int i;

    for (i = 0; i < PERIOD_FRAMES * CHANNELS; i++) {
        seed = seed * 1103515245 + 12345;
        data[i] = seed >> 20;
    }
    while (now_ns() - begin < PERIOD_NS * busy / 100) {
        burn(1000);
    }
}

/* Says "ok", or what is wrong, to @ready. */
static void play(const char *pcm, int cpu, unsigned busy, int ready)
{
    int16_t data[PERIOD_FRAMES * CHANNELS];
    const char *step = "open";
    char path[64];
    int fd, done, n;

    run_on(cpu);
    snprintf(path, sizeof(path), "/dev/snd/%s", pcm);
    fd = done = open(path, O_WRONLY | O_CLOEXEC);
    if (done >= 0) {
        step = "configure";
        done = configure(fd);
    }
    for (n = 0; done >= 0; n++) {
        step = "play";
        decode(data, busy);
        done = play_period(fd, data);
        if (done >= 0 && n == PERIODS) {
            write_line(ready, "ok\n");
        }
    }
    /* Who listened has gone if it had begun; the console has not. */
    signal(SIGPIPE, SIG_IGN);
    printf("play: %s: %s: %s\n", pcm, step, strerror(errno));
    dprintf(ready, "error: %s: %s: %s\n", pcm, step, strerror(errno));
    exit(3);
}

static void begin(const char *pcm, int cpu, unsigned busy, char *reply)
{
    int ready[2];

    if (pipe(ready) < 0) {
        strcpy(reply, "error: pipe");
        return;
    }
    player = fork();
    if (!player) {
        close(ready[0]);
        play(pcm, cpu, busy, ready[1]);
    }
    close(ready[1]);
    if (read_line(ready[0], reply) < 0) {
        strcpy(reply, "error: the player has ended");
    } else if (!strcmp(reply, "ok")) {
        sprintf(reply, "ok %d", player);
    }
    close(ready[0]);
}

int play_command(const char *line, char reply[LINE_LEN])
{
    unsigned busy;
    char pcm[32];
    int cpu, n;

    n = sscanf(line, "play %31s %d %u", pcm, &cpu, &busy);
    if (n != 3 && !(n == 1 && !strcmp(pcm, "off"))) {
        return 0;
    }
    if (player > 0) {
        kill(player, SIGKILL);
        waitpid(player, NULL, 0);
        player = 0;
    }
    strcpy(reply, "ok");
    if (n == 3) {
        begin(pcm, cpu, busy, reply);
    }
    return 1;
}
