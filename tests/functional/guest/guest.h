/*
 * The test guest: one static program that plays every role
 *
 * init (PID 1) mounts, loads modules and serves the control port; it starts
 * "respond" and the hogs as processes of their own (each with its own address
 * space, so that a task tracker tells them apart, and its own session, as the
 * programs of a desktop have).
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_TEST_GUEST_H
#define VAMP_TEST_GUEST_H

#include <stdint.h>

/* Names of the virtio-serial ports. */
#define PORT_CONTROL    "vamp.test.control"
#define PORT_ANSWER     "vamp.test.answer"
#define PORT_HINTS      "org.vamp.hints.0"

/* A line of the control or answer port is shorter than this. */
#define LINE_LEN        256

/* Opens the virtio-serial port @name; -1 if the machine does not have it. */
int port_open(const char *name, int flags);

/* Writes all of @text to @fd; false if that failed. */
int write_line(int fd, const char *text);

/*
 * Reads @fd up to the next newline into @line (without it). Returns the length,
 * 0 for an empty line, -1 at the end of file or on an error.
 */
int read_line(int fd, char line[LINE_LEN]);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t now_ns(void);

/* The process runs on @cpu and no other, or not at all. */
void run_on(int cpu);

/* Burns CPU: @loops times the same short sequence of instructions. */
void burn(uint64_t loops);

/*
 * Loops that take a millisecond when nobody else wants the CPU. The CPU time
 * of a guest includes what its host took away, so work is counted in loops,
 * and this is asked once while the host is idle.
 */
uint64_t burn_calibrate(void);

/* Obeys "read" and "write"; false: @line is neither. See files.c. */
int files_command(const char *line, char reply[LINE_LEN]);

/* Obeys "hints ..."; false: @line is something else. See hints.c. */
int hints_command(const char *line, char reply[LINE_LEN]);

/* Obeys what program.c says; false: @line is none of it. */
int program_command(const char *line, char reply[LINE_LEN]);

/* Obeys "kexec ..."; false: @line is something else. See kexec.c. */
int kexec_command(const char *line, char reply[LINE_LEN]);

/* Obeys "sound ..."; false: @line is something else. See sound.c. */
int sound_command(const char *line, char reply[LINE_LEN]);

/* Obeys "code ..."; false: @line is something else. See code.c. */
int code_command(const char *line, char reply[LINE_LEN]);

/* Obeys "play ..."; false: @line is something else. See play.c. */
int play_command(const char *line, char reply[LINE_LEN]);

/* The roles. @channel: a socket to init, one line each way. */
int respond_main(int channel);
int hog_main(void);

#endif /* VAMP_TEST_GUEST_H */
