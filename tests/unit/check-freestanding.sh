#!/bin/sh
#
# core/ must build wherever there is a C11 compiler: in QEMU, in a kernel
# module, in a guest tool. So its objects, taken together, may need no symbol
# but the four that GCC emits by itself, use no floating point, and its files
# may include nothing but core's own headers.
#
# Usage: check-freestanding.sh SOURCE-ROOT CC [CC-ARGUMENT...]
#
# SPDX-License-Identifier: GPL-2.0-or-later

set -eu

root=$1
shift
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM
status=0

fail()
{
    echo "check-freestanding: $*" >&2
    status=1
}

# Core's own headers by file name; port.h alone may name others, and only these
for file in "$root"/core/*.[ch]; do
    name=${file##*/}
    sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*//p' "$file" \
        > "$tmp/includes"
    while read -r header; do
        case $name:$header in
        port.h:'<stdbool.h>'|port.h:'<stddef.h>'|port.h:'<stdint.h>') ;;
        port.h:'<linux/types.h>'|port.h:'<linux/limits.h>') ;;
        *:'"'*/*) fail "$name includes $header: not a header of core/" ;;
        *:'"'*'"')
            own=${header#\"}
            [ -f "$root/core/${own%\"}" ] ||
                fail "$name includes $header: not a header of core/"
            ;;
        *) fail "$name includes $header: not a header of core/" ;;
        esac
    done < "$tmp/includes"
    if [ "$name" != port.h ] && grep -n '__KERNEL__' "$file" >&2; then
        fail "$name depends on where it is built; only port.h may"
    fi
done

# -mgeneral-regs-only makes any use of floating point an error (as in Linux)
for opt in -O2 -O0; do
    objects=
    for file in "$root"/core/*.c; do
        object=$tmp/$(basename "$file" .c)$opt.o
        if ! "$@" -std=c11 $opt -Wall -Wextra -Wconversion -Werror \
             -ffreestanding -nostdlib -mgeneral-regs-only \
             -c "$file" -o "$object"; then
            fail "${file##*/} does not compile with $opt"
            continue
        fi
        objects="$objects $object"
    done
    # shellcheck disable=SC2086
    "$@" -nostdlib -r $objects -o "$tmp/core$opt.o"
    symbols=$(nm -u "$tmp/core$opt.o" | sed 's/^ *U //' |
              grep -vxE 'memcpy|memset|memmove|memcmp' || true)
    if [ -n "$symbols" ]; then
        fail "undefined with $opt:" $symbols
    fi
done

[ $status -eq 0 ] && echo "check-freestanding: $* ok"
exit $status
