/*
 * VAMP: the guest agent asks vdiguest
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QGA_VAMP_CLIENT_H
#define QGA_VAMP_CLIENT_H

#include "qobject/qdict.h"

/*
 * Where vdiguest listens, unless the environment variable VDIGUEST_SOCKET
 * names another place.
 */
#define VDIGUEST_SOCKET "/run/vamp/vdiguest.sock"

/*
 * Sends @request, one line of guest/request.h without its line feed, and waits
 * for the answer: for 5 s altogether, whatever the other side does. NULL with
 * an error if there is none, if it is not vdiguest's (root's, or this user's),
 * not an object of JSON, too long, or an error itself.
 */
QDict *vdiguest_ask(const char *request, Error **errp);

#endif /* QGA_VAMP_CLIENT_H */
