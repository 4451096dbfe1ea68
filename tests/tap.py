"""
Tests that say what they found in TAP, the Test Anything Protocol.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import signal
import sys
import time
import traceback


class Skip(Exception):
    """This cannot be tried here; the text says why."""


class Fail(Exception):
    """The claim is wrong; the text says in which way."""


def check(condition, text):
    """A claim; @text says what was found instead."""
    if not condition:
        raise Fail(text)


def eventually(what, timeout=60, every=0.05):
    """Calls @what until it returns None; its last text is the failure."""
    deadline = time.monotonic() + timeout
    while True:
        wrong = what()
        if wrong is None:
            return
        if time.monotonic() > deadline:
            raise Fail(f'{wrong} (after {timeout} s)')
        time.sleep(every)


def diagnose(text):
    """Lines that explain."""
    for line in str(text).splitlines():
        print(f'#   {line}', flush=True)


def _terminated(signum, _frame):
    raise SystemExit(128 + signum)


def run(tests, plain=()):
    """
    Runs @tests, a list of (name, function), in their order; each is tried even
    if those before it have failed. Exceptions of the classes @plain need no
    traceback. Words on the command line choose the tests that contain one of
    them. Returns the exit status.
    """
    if sys.argv[1:]:
        tests = [t for t in tests if any(w in t[0] for w in sys.argv[1:])]
    # So that whoever started something gets to end it.
    signal.signal(signal.SIGTERM, _terminated)
    print(f'1..{len(tests)}', flush=True)
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
        begin = time.monotonic()
        try:
            function()
            result = f'ok {number} {name}'
        except Skip as reason:
            result = f'ok {number} {name} # SKIP {reason}'
        except Exception as e:  # pylint: disable=broad-except
            failed += 1
            result = f'not ok {number} {name}'
            known = isinstance(e, (Fail,) + tuple(plain))
            diagnose(e if known else traceback.format_exc())
        print(result.replace('\n', ' '), flush=True)
        print(f'# {time.monotonic() - begin:.1f} s', flush=True)
    return 1 if failed else 0


def main(tests, missing=None, plain=()):
    """
    A whole test program. @tests is called with an ExitStack, which ends what
    the tests start, and returns what run() takes; @missing says why nothing
    can be tried here, None if it can. Returns the exit status.
    """
    if missing:
        print(f'1..0 # SKIP {missing}')
        return 0
    with contextlib.ExitStack() as stack:
        return run(tests(stack), plain)
