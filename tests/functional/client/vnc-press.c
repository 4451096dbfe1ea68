/*
 * A VNC client that presses keys and waits for the guest's answer
 *
 * Usage: vnc-press VNC ANSWER_SOCKET
 *
 *   VNC            a unix socket's path or HOST:DISPLAY
 *   ANSWER_SOCKET  the unix socket of the virtio-serial port on which the
 *                  guest answers each press with one line
 *
 * Press and answer are timed in this one process. It stands for a user at
 * another machine, so it asks for real-time priority: on a full host its own
 * waiting for a CPU is not the guest's response time. It hardly needs any CPU.
 *
 * Commands on stdin, one a line; the keysym is a number as in X11's keysymdef.h:
 *
 *   press KEYSYM                       one press without waiting for the answer
 *   block N KEYSYM GAP_MIN GAP_MAX SEED [TIMEOUT]
 *                                      N presses, a pseudo-random gap of GAP_MIN to GAP_MAX ms
 *                                      between them; a press unanswered for
 *                                      TIMEOUT ms (10000) is lost
 *   quit                               at once; the end of stdin lets a block end first
 *
 * Lines on stdout (times: nanoseconds of CLOCK_MONOTONIC):
 *
 *   ready WIDTH HEIGHT SCHEDULER       connected
 *   pressed I TIME
 *   answer I TIME_PRESSED TIME_ANSWERED TEXT
 *   lost I TIME_PRESSED
 *   done                               after the last answer of a block
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <rfb/rfbclient.h>

#define LINE_LEN    512
#define MS          1000000ULL
#define NEVER       UINT64_MAX

struct reader {
    int fd;
    size_t len;
    char buf[LINE_LEN];
};

/* The block that runs; left == 0 and !waiting: none. */
struct block {
    unsigned left;
    unsigned index;
    uint32_t keysym;
    uint64_t gap_min, gap_max, seed, timeout;
    uint64_t next;              /* when to press */
    uint64_t pressed;           /* when it was pressed */
    bool waiting;
};

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("vnc-press: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = (*seed += 0x9e3779b97f4a7c15ULL);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/*
 * Gives the next complete line of @r (in @line, without its end) if there is
 * one. Lines that are too long are cut.
 */
static bool take_line(struct reader *r, char line[LINE_LEN])
{
    char *end = memchr(r->buf, '\n', r->len);
    size_t n;

    if (!end) {
        if (r->len == sizeof(r->buf)) {
            r->len = 0;
        }
        return false;
    }
    n = end - r->buf;
    memcpy(line, r->buf, n);
    line[n] = '\0';
    r->len -= n + 1;
    memmove(r->buf, end + 1, r->len);
    return true;
}

/* Reads what is there; false at the end. */
static bool fill(struct reader *r)
{
    ssize_t n = read(r->fd, r->buf + r->len, sizeof(r->buf) - r->len);

    if (n < 0) {
        return errno == EINTR || errno == EAGAIN;
    }
    r->len += n;
    return n > 0;
}

static int connect_unix(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(addr.sun_path)) {
        die("%s: the path of a socket must be shorter", path);
    }
    strcpy(addr.sun_path, path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        die("%s: %s", path, strerror(errno));
    }
    return fd;
}

static rfbBool new_framebuffer(rfbClient *client)
{
    size_t size = (size_t)client->width * client->height *
                  (client->format.bitsPerPixel / 8);

    free(client->frameBuffer);
    client->frameBuffer = calloc(1, size ? size : 1);
    return client->frameBuffer != NULL;
}

static void quiet(const char *fmt, ...)
{
}

static rfbClient *connect_vnc(const char *where)
{
    rfbClient *client = rfbGetClient(8, 3, 4);
    const char *colon = strrchr(where, ':');

    if (!client) {
        die("no memory");
    }
    rfbClientLog = quiet;
    client->MallocFrameBuffer = new_framebuffer;
    client->canHandleNewFBSize = TRUE;
    client->appData.shareDesktop = TRUE;
    client->appData.encodingsString = "hextile raw";
    if (where[0] == '/' || !colon) {
        client->serverHost = strdup(where);
    } else {
        client->serverHost = strndup(where, colon - where);
        client->serverPort = 5900 + atoi(colon + 1);
    }
    if (!rfbInitClient(client, NULL, NULL)) {
        die("no VNC server answers at %s", where);
    }
    return client;
}

static uint64_t press(rfbClient *client, uint32_t keysym)
{
    uint64_t t = now_ns();

    if (!SendKeyEvent(client, keysym, TRUE) ||
        !SendKeyEvent(client, keysym, FALSE)) {
        die("the VNC server has closed the connection");
    }
    return t;
}

static void command(rfbClient *client, struct block *b, const char *line)
{
    uint64_t n, keysym;
    struct block new = { .timeout = 10000 };

    if (sscanf(line, "press %" SCNi64, &keysym) == 1) {
        printf("pressed 0 %" PRIu64 "\n", press(client, keysym));
    } else if (sscanf(line, "block %" SCNu64 " %" SCNi64 " %" SCNu64 " %"
                      SCNu64 " %" SCNu64 " %" SCNu64, &n, &keysym,
                      &new.gap_min, &new.gap_max, &new.seed,
                      &new.timeout) >= 5 &&
               n && n < UINT32_MAX && new.gap_min <= new.gap_max) {
        new.left = n;
        new.keysym = keysym;
        new.next = now_ns();
        *b = new;
    } else if (!strcmp(line, "quit")) {
        exit(0);
    } else {
        die("unknown command: %s", line);
    }
}

/* The press is answered, or given up: when is the next one? */
static void plan_next(struct block *b)
{
    uint64_t gap = b->gap_min +
                   next_random(&b->seed) % (b->gap_max - b->gap_min + 1);
    uint64_t now = now_ns();

    b->waiting = false;
    b->index++;
    b->next = b->pressed + gap * MS;
    /* An answer that came late must not shorten the quiet time before the next */
    if (b->next < now + b->gap_min / 2 * MS) {
        b->next = now + b->gap_min / 2 * MS;
    }
    if (!b->left) {
        puts("done");
    }
}

static void answered(struct block *b, uint64_t now, const char *text)
{
    if (!b->waiting) {
        return;     /* of a single press, or of one given up */
    }
    printf("answer %u %" PRIu64 " %" PRIu64 " %s\n", b->index, b->pressed,
           now, text);
    plan_next(b);
}

int main(int argc, char **argv)
{
    struct sched_param rr = { .sched_priority = 2 };
    struct reader in = { .fd = 0 }, answer = { .fd = -1 };
    struct block b = { 0 };
    struct pollfd fds[3];
    char line[LINE_LEN];
    rfbClient *client;
    bool realtime;

    if (argc != 3) {
        fprintf(stderr, "usage: vnc-press VNC ANSWER_SOCKET\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    answer.fd = connect_unix(argv[2]);
    client = connect_vnc(argv[1]);
    realtime = sched_setscheduler(0, SCHED_RR, &rr) == 0;
    printf("ready %d %d %s\n", client->width, client->height,
           realtime ? "SCHED_RR" : "SCHED_OTHER");

    fds[0].fd = in.fd;
    fds[1].fd = answer.fd;
    fds[2].fd = client->sock;
    fds[0].events = fds[1].events = fds[2].events = POLLIN;
    for (;;) {
        uint64_t now = now_ns();
        uint64_t deadline = b.waiting ? b.pressed + b.timeout * MS :
                            b.left ? b.next : NEVER;
        struct timespec ts = { 0, 0 };

        if (deadline != NEVER && deadline > now) {
            ts.tv_sec = (deadline - now) / 1000000000;
            ts.tv_nsec = (deadline - now) % 1000000000;
        }
        if (ppoll(fds, 3, deadline == NEVER ? NULL : &ts, NULL) < 0) {
            if (errno == EINTR) {
                continue;
            }
            die("poll: %s", strerror(errno));
        }
        now = now_ns();
        if (fds[1].revents) {
            if (!fill(&answer)) {
                die("the guest's answer port is closed");
            }
            while (take_line(&answer, line)) {
                answered(&b, now, line);
            }
        }
        if (fds[2].revents && !HandleRFBServerMessage(client)) {
            die("the VNC server has closed the connection");
        }
        while (client->buffered && HandleRFBServerMessage(client)) {
            /* what the library has read ahead */
        }
        if (fds[0].revents) {
            if (!fill(&in)) {
                fds[0].fd = -1;
            }
            while (take_line(&in, line)) {
                command(client, &b, line);
            }
        }
        if (b.waiting && now >= b.pressed + b.timeout * MS) {
            printf("lost %u %" PRIu64 "\n", b.index, b.pressed);
            plan_next(&b);
        } else if (!b.waiting && b.left && now >= b.next) {
            b.left--;
            b.pressed = press(client, b.keysym);
            b.waiting = true;
            printf("pressed %u %" PRIu64 "\n", b.index, b.pressed);
        }
        if (fds[0].fd < 0 && !b.left && !b.waiting) {
            return 0;
        }
    }
}
