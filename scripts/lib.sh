# Shared by the scripts of this folder (sourced, POSIX-ish bash).
# SPDX-License-Identifier: GPL-2.0-or-later

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$TOP/build}

# One line of progress on stderr; stdout is for results.
say() { printf '[vamp] %s\n' "$*" >&2; }

# One clear sentence, then the end.
die() { printf 'vamp: error: %s\n' "$*" >&2; exit 1; }

# run_logged LOG WHAT CMD...: runs CMD with its output in LOG, a progress line every ten seconds; on failure
# the log's last lines and one sentence.
run_logged() {
    local log=$1 what=$2 t0=$SECONDS pid rc=0
    shift 2
    mkdir -p "$(dirname "$log")"
    # A process group of its own, so that all of it ends with us: an orphan would keep the lock.
    set -m
    "$@" > "$log" 2>&1 < /dev/null &
    pid=$!
    set +m
    trap 'kill -- "-$pid" 2>/dev/null || true; exit 130' INT TERM
    local next=$((SECONDS + 10))
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.2
        if [ "$SECONDS" -ge "$next" ]; then
            next=$((SECONDS + 10))
            say "$what: $((SECONDS - t0)) s ($(tail -n 1 "$log" | tr -d '\r' | cut -c 1-70))"
        fi
    done
    wait "$pid" || rc=$?
    trap - INT TERM
    if [ "$rc" -ne 0 ]; then
        tail -n 25 "$log" >&2
        die "$what failed (exit code $rc); the whole output is in $log"
    fi
}

# version_ge A B: is version A at least B?
version_ge() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

# One writer at a time in the build folder.
lock_build() {
    mkdir -p "$BUILD"
    exec 9> "$BUILD/.lock"
    flock -n 9 || { say "waiting for another build in $BUILD"; flock 9; }
}
