#!/usr/bin/env python3
"""
The patches for Linux insert hooks and nothing else, and apply without fuzz to
the sources of KVM that the package archive has: the oldest and the newest, or
with ALL_KERNELS=1 every one (each is a download of 150 MB).

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(1, os.path.join(TOP, 'tests'))
# pylint: disable=wrong-import-position
from tap import Fail, Skip, check, diagnose, main

PATCHES = sorted(glob.glob(os.path.join(TOP, 'upstream/patches/linux/*.patch')))
# The limit that the house has set itself for the kernel.
MAX_LINES = 60
UNAVAILABLE = 77
FETCH_S = 900


def script(name, *args, timeout=120):
    """(exit status, stdout, stderr) of one of our scripts."""
    done = subprocess.run([os.path.join(TOP, 'scripts', name), *args],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, check=False,
                          timeout=timeout)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def inserts_only():
    """No line of the kernel is changed or removed; the series stays small."""
    check(PATCHES, 'there are no patches')
    added = 0
    for path in PATCHES:
        with open(path, encoding='utf-8') as f:
            text = f.read()
        name = os.path.basename(path)
        check(text.startswith('Subject: '), f'{name}: no subject')
        body = text[text.index('\n--- '):]
        removed = re.findall(r'^-(?!-- )', body, re.M)
        check(not removed, f'{name} removes {len(removed)} lines')
        added += len(re.findall(r'^\+(?!\+\+ )', body, re.M))
    diagnose(f'{len(PATCHES)} patches, {added} lines')
    check(added <= MAX_LINES, f'{added} inserted lines, at most {MAX_LINES}')


class Suite:
    """Versions, each fetched once."""

    def __init__(self, stack):
        self.stack = stack
        self.tmp = stack.enter_context(tempfile.TemporaryDirectory())

    def source(self, version):
        """The unpacked source of @version, a version of the package."""
        status, out, err = script('fetch-linux', '--source', version,
                                  timeout=FETCH_S)
        if status == UNAVAILABLE:
            raise Skip(err.splitlines()[-1])
        check(not status, err)
        return out

    def applies(self, version):
        """The series to one version."""
        state = os.path.join(self.tmp, version)
        status, _, err = script('kmod-tree', self.source(version), state)
        check(not status, err)
        # It said so; is it there?
        for path in PATCHES:
            with open(path, encoding='utf-8') as f:
                for line in f:
                    target = re.match(r'\+\+\+ b/(\S+)', line)
                    if target:
                        with open(os.path.join(state, 'src', target.group(1)),
                                  encoding='utf-8') as patched:
                            text = patched.read()
                    elif line.startswith('+') and 'vamp' in line:
                        check(line[1:] in text, f'{version}: no {line[1:]}')

    def refused(self, version):
        """Context that has changed is an error, never a guess."""
        source = os.path.join(self.tmp, 'changed')
        shutil.copytree(self.source(version), source, symlinks=True)
        path = os.path.join(source, 'arch/x86/kvm/Makefile')
        with open(path, encoding='utf-8') as f:
            text = f.read()
        changed = text.replace('mmu/spte.o', 'mmu/spte.o mmu/new.o')
        check(changed != text, 'the makefile has changed: adapt this test')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(changed)
        status, _, err = script('kmod-tree', source,
                                os.path.join(self.tmp, 'refused'))
        errors = [e for e in err.splitlines() if e.startswith('vamp: error: ')]
        check(status == 1 and len(errors) == 1 and
              re.search(r'patch 0001-\S+ does not apply to Linux 6\.12\.\d+',
                        errors[0]), f'exit status {status}:\n{err}')

    def tests(self):
        """What tap.run() takes."""
        status, out, err = script('fetch-linux', '--list', timeout=FETCH_S)
        versions = out.split()
        tests = [('the patches insert lines', inserts_only)]
        if status or not versions:
            reason = (err.splitlines() or ['the archive has no kernel source'])

            def none():
                raise Skip(reason[-1])
            return tests + [('the patches apply', none)]
        chosen = versions if os.environ.get('ALL_KERNELS') else \
            sorted({versions[0], versions[-1]}, key=versions.index)
        diagnose(f'the archive has {" ".join(versions)}')
        return tests + \
            [(f'apply without fuzz to {v}', lambda v=v: self.applies(v))
             for v in chosen] + \
            [('changed context is refused',
              lambda: self.refused(versions[-1]))]


if __name__ == '__main__':
    sys.exit(main(lambda stack: Suite(stack).tests(), None, (Fail,)))
