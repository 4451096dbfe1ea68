#!/usr/bin/env python3
"""
The broker's systemd units: as systemd reads them, and under a real systemd
(this machine's program as the init of a guest with a stock kernel).

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

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, 'tests'))
# pylint: disable=wrong-import-position
import tap
from test_cgroup2 import BROKER, libraries
from vamp_guest import BUILD, find_qemu

SYSTEMD = '/usr/lib/systemd/systemd'
CHECKS = os.path.join(HERE, 'guest', 'check-units.sh')
UNITS = ('qemu-vamp-broker.service', 'qemu-vamp-broker.socket')
# A minute on a quiet machine.
TIMEOUT_S = 600
APPEND = ('console=ttyS0 panic=-1 quiet systemd.log_target=kmsg '
          'systemd.show_status=no')

VM_SERVICE = '''[Service]
ExecStart=/bin/borrow
StandardOutput=append:/run/borrow.log
CPUWeight=100
'''

CHECK_SERVICE = '''[Unit]
Requires=qemu-vamp-broker.socket
After=qemu-vamp-broker.socket
[Service]
Type=oneshot
ExecStart=/bin/sh /check-units.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TimeoutStartSec=infinity
'''

DEFAULT_TARGET = '''[Unit]
Requires=basic.target check.service
After=basic.target
'''


def unit_files(folder, program):
    """Writes the units as they are installed, with the broker at @program."""
    for name in UNITS:
        path = os.path.join(TOP, 'broker', name)
        if not os.path.exists(path):
            path += '.in'
        with open(path, encoding='utf-8') as f:
            text = f.read()
        with open(os.path.join(folder, name), 'w', encoding='utf-8') as f:
            f.write(text.replace('@bindir@', program))


def verify(folder):
    """What systemd finds wrong with the units in @folder."""
    if not shutil.which('systemd-analyze'):
        raise tap.Skip('systemd-analyze is missing (package systemd)')
    done = subprocess.run(['systemd-analyze', 'verify', '--man=no'] +
                          [os.path.join(folder, name) for name in UNITS],
                          text=True, stdout=subprocess.PIPE, check=False,
                          stderr=subprocess.STDOUT)
    # It also looks at units of this machine that these refer to.
    wrong = [line for line in done.stdout.splitlines()
             if 'qemu-vamp-broker' in line]
    if done.returncode and not wrong:
        wrong = [f'exit status {done.returncode}: {done.stdout}']
    return '\n'.join(wrong)


class Root:
    """The guest's files."""

    def __init__(self, tmp):
        self.tmp = tmp
        self.files = {}

    def add(self, path, to=None):
        """The file @path."""
        self.files[(to or path).lstrip('/')] = os.path.realpath(path)

    def program(self, path, to=None):
        """The program @path with its libraries."""
        self.add(path, to)
        for library in libraries(os.path.realpath(path)):
            self.add(library)

    def text(self, to, text):
        """A file with @text."""
        path = os.path.join(self.tmp, to.strip('/').replace('/', '_'))
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        self.add(path, to)

    def pack(self, init, out):
        """An initramfs."""
        subprocess.run([os.path.join(TOP, 'scripts', 'mkinitramfs'), '-u',
                        '-i', init, '-o', out] +
                       [f'{f}:{to}' for to, f in self.files.items()],
                       check=True)


def is_static(program):
    """ldd fails on a static program."""
    return subprocess.run(['ldd', program], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL,
                          check=False).returncode != 0


def root(tmp):
    """Everything that the guest needs."""
    for path, package in ((SYSTEMD, 'systemd'),
                          (shutil.which('systemctl'), 'systemd'),
                          (shutil.which('busybox'), 'busybox-static')):
        if not path or not os.path.exists(path):
            raise tap.Skip(f'{path or "a program"} is missing (package '
                           f'{package})')
    if not os.path.exists(BROKER):
        raise tap.Skip(f'{BROKER} is not built')
    files = Root(tmp)
    files.program(SYSTEMD)
    files.program(shutil.which('systemctl'), '/bin/systemctl')
    files.program(BROKER, '/bin/qemu-vamp-broker')
    box = shutil.which('busybox')
    for name in ('sh', 'sleep', 'grep', 'seq', 'stat', 'test', 'sed', 'sync'):
        files.add(box, f'/bin/{name}')
    if not is_static(box):
        files.program(box, '/bin/busybox')
    for path in glob.glob('/usr/lib/systemd/system/*.target') + \
            glob.glob('/usr/lib/systemd/system/*.slice'):
        files.add(path)
    # Their folders *.wants are left out: the host's other services.
    borrow = os.path.join(tmp, 'borrow')
    subprocess.run(['cc', '-O2', '-static', '-s', f'-I{TOP}', '-o', borrow,
                    os.path.join(HERE, 'guest', 'borrow.c'),
                    os.path.join(TOP, 'core', 'brokermsg.c')], check=True)
    files.add(borrow, '/bin/borrow')
    unit_files(tmp, '/bin')
    for name in UNITS:
        files.add(os.path.join(tmp, name), f'/etc/systemd/system/{name}')
    files.text('/etc/systemd/system/vm.service', VM_SERVICE)
    files.text('/etc/systemd/system/check.service', CHECK_SERVICE)
    files.text('/etc/systemd/system/default.target', DEFAULT_TARGET)
    files.text('/etc/passwd', 'root:x:0:0::/:/bin/sh\n')
    files.text('/etc/group', 'root:x:0:\nkvm:x:106:\ntty:x:5:\n')
    files.text('/etc/machine-id', '0' * 31 + '1\n')
    files.text('/etc/os-release', 'ID=vamp-test\n')
    files.text('/run/lock/.here', '')
    files.add(CHECKS, '/check-units.sh')
    return files


def boot(tmp):
    """Runs the guest to its end; returns what its console said."""
    kernel = os.path.join(BUILD, 'kernel', 'vmlinuz')
    if not os.path.exists(kernel):
        raise tap.Skip(f'{kernel} is missing (make -C tests/functional)')
    initrd = os.path.join(tmp, 'initramfs')
    root(tmp).pack(SYSTEMD, initrd)
    args = [find_qemu(), '-accel', 'tcg,thread=multi', '-M', 'q35',
            '-cpu', 'max', '-smp', '2', '-m', '1024', '-nodefaults',
            '-display', 'none', '-serial', 'stdio', '-no-reboot',
            '-kernel', kernel, '-initrd', initrd, '-append', APPEND]
    try:
        return subprocess.run(args, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, check=False,
                              stderr=subprocess.STDOUT, errors='replace',
                              timeout=TIMEOUT_S).stdout
    except subprocess.TimeoutExpired as e:
        said = (e.stdout or b'').decode('utf-8', 'replace')
        raise tap.Fail('the guest came to no end:\n' + said[-3000:]) from None


def main():
    with tempfile.TemporaryDirectory(prefix='vamp-units-') as tmp:
        console = []

        def read():
            if not os.path.exists(BROKER):
                raise tap.Skip(f'{BROKER} is not built')
            unit_files(tmp, os.path.dirname(os.path.realpath(BROKER)))
            wrong = verify(tmp)
            tap.check(not wrong, wrong)

        def mistake():
            name = os.path.join(tmp, UNITS[0])
            with open(name, encoding='utf-8') as f:
                text = f.read()
            with open(name, 'w', encoding='utf-8') as f:
                f.write(text.replace('ProtectHome', 'ProtectHoem'))
            tap.check('ProtectHoem' in verify(tmp), 'a mistake is not seen')

        def booted():
            console.append(boot(tmp))
            tap.check('=== done' in console[0],
                      'the guest did not get to its end:\n' +
                      console[0][-3000:])

        def claim(name):
            def test():
                if not console:
                    raise tap.Skip('the guest did not run')
                tap.check(re.search(f'^ok {re.escape(name)}\r?$', console[0],
                                    re.M), console[0][-3000:])
            return test

        tests = [('systemd has nothing to say against the units', read),
                 ('it would', mistake),
                 ('a guest with a real systemd runs to its end', booted)]
        with open(CHECKS, encoding='utf-8') as f:
            for name in re.findall(r"^claim '([^']+)'", f.read(), re.M):
                tests.append((name, claim(name)))
        return tap.run(tests, (subprocess.SubprocessError,))


if __name__ == '__main__':
    sys.exit(main())
