/*
 * VAMP: values of QAPI's type any from text
 *
 * QEMU's visitors of -object options and of HMP's qom-set have no such type.
 * The numbers of our objects are of type any, so that a setter can say what
 * was written and what would be valid; there they come as text.
 *
 * A header, because these visitors are in a library that tools use as well.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VAMP_OPTS_ANY_H
#define HW_VAMP_OPTS_ANY_H

#include "qapi/visitor.h"
#include "qobject/qstring.h"

/* The value @name as a string object, the caller's. See visit_type_any(). */
static bool vamp_opts_type_any(Visitor *v, const char *name, QObject **obj,
                               Error **errp)
{
    char *text;

    if (!visit_type_str(v, name, &text, errp)) {
        return false;
    }
    *obj = QOBJECT(qstring_from_str(text));
    g_free(text);
    return true;
}

#endif /* HW_VAMP_OPTS_ANY_H */
