#!/usr/bin/env python3
"""
The tests of actuators and broker on a real cgroup v2, in a guest: the host may
have the cpu controller on cgroup v1, and then there is no other way to try.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, 'tests'))
# pylint: disable=wrong-import-position
import tap
from vamp_guest import BUILD, find_qemu

PROGRAMS = ['test-actuator-nice', 'test-actuator-cgroup',
            'test-actuator-cgroup-real', 'test-broker', 'test-broker-bad',
            'test-broker-group']
BROKER = os.path.join(BUILD, 'bin', 'qemu-vamp-broker')
FOLDER = os.path.join(BUILD, 'qemu', 'build-slim', 'tests', 'qtest', 'vamp')
# Half a minute on a quiet machine.
TIMEOUT_S = 400
# Old TCGs of a host's own hypervisor crash a guest's boot now and then.
BOOTS = 3


def libraries(program):
    """Shared libraries that @program needs, with its loader."""
    out = subprocess.run(['ldd', program], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    return re.findall(r'(/\S+)', out)


def boot(tmp):
    """Runs the guest to its end; returns what its console said."""
    init = os.path.join(tmp, 'init')
    initrd = os.path.join(tmp, 'initramfs.gz')
    subprocess.run(['cc', '-O2', '-static', '-s', '-o', init,
                    os.path.join(HERE, 'guest', 'run-tests.c')], check=True)
    files = {}
    for name in PROGRAMS + ['qemu-vamp-broker']:
        program = os.path.join(FOLDER, name)
        place = 'tests/' + name
        if name not in PROGRAMS:
            program, place = BROKER, 'broker/' + name
        if not os.path.exists(program):
            raise tap.Skip(f'{program} is not built')
        files[place] = os.path.realpath(program)
        for library in libraries(program):
            files[library.lstrip('/')] = os.path.realpath(library)
    subprocess.run([os.path.join(TOP, 'scripts', 'mkinitramfs'), '-i', init,
                    '-o', initrd] + [f'{f}:{to}' for to, f in files.items()],
                   check=True)
    kernel = os.path.join(BUILD, 'kernel', 'vmlinuz')
    if not os.path.exists(kernel):
        raise tap.Skip(f'{kernel} is missing (make -C tests/functional)')
    args = [find_qemu(), '-accel', 'tcg,thread=multi', '-M', 'q35',
            '-cpu', 'max', '-smp', '2', '-m', '512', '-nodefaults',
            '-display', 'none', '-serial', 'stdio', '-no-reboot',
            '-kernel', kernel, '-initrd', initrd,
            '-append', 'console=ttyS0 panic=-1 quiet']
    console = ''
    for _ in range(BOOTS):
        console = subprocess.run(args, stdin=subprocess.DEVNULL, text=True,
                                 stdout=subprocess.PIPE, check=False,
                                 stderr=subprocess.STDOUT, errors='replace',
                                 timeout=TIMEOUT_S).stdout
        if '=== ' in console:
            return console
    raise tap.Fail('the guest did not boot:\n' + console[-2000:])


def parse(console):
    """Yields (name of the program and place, its lines, exit status)."""
    for match in re.finditer(r'=== (\S+ in [^\r\n]+)(.*?)=== exit (\d+)',
                             console, re.S):
        yield match.group(1), match.group(2), int(match.group(3))


def claim(lines, status):
    """A test that passes if all subtests did."""
    def test():
        tap.diagnose('\n'.join(line.strip() for line in lines.splitlines()
                               if re.match(r'(not )?ok|Bail|\*\*|ERROR',
                                           line.strip())))
        tap.check(status == 0 and re.search(r'^ok ', lines, re.M),
                  f'exit status {status}')
    return test


def main():
    with tempfile.TemporaryDirectory(prefix='vamp-cgroup2-') as tmp:
        results = {}

        def booted():
            console = boot(tmp)
            for name, lines, status in parse(console):
                results[name] = (lines, status)
            tap.check('=== done' in console,
                      'the guest did not get to its end:\n' + console[-2000:])

        def each(name):
            def test():
                if name not in results:
                    raise tap.Fail('not run')
                claim(*results[name])()
            return test

        tests = [('the guest runs to its end', booted)]
        for program in PROGRAMS:
            for place in ('the root group', 'a scope'):
                name = f'{program} in {place}'
                tests.append((f'{name} of cgroup v2', each(name)))
        return tap.run(tests, (subprocess.SubprocessError,))


if __name__ == '__main__':
    sys.exit(main())
