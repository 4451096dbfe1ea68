#!/usr/bin/env python3
"""
What the scripts that build KVM's modules refuse, in which words; and the check
of our API's numbers finds a number that is taken.

With kernel sources and headers of a few lines: nothing is downloaded or built.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

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
from tap import check, main

PREFIX = 'vamp: error: '
UNAVAILABLE = 77
VERSION = '6.12.999-test-amd64'
API = '''
#define KVM_CAP_VAMP 0x564d
#define KVM_VAMP_NR 0xf0
#define KVM_VAMP_SET _IOW(KVMIO, KVM_VAMP_NR + 0, struct a)
#define KVM_VAMP_GET _IOR(0xAE, KVM_VAMP_NR + 1, struct a)
#define KVM_EXIT_VAMP 999
#define KVM_FEATURE_VAMP 30
#define MSR_KVM_VAMP 0x4b564dffUL
#define KVM_CPUID_VAMP 0x40005600
'''


def write(path, text):
    """A file, and the folders that it needs."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)


class Place:
    """A build folder, a kernel source and headers."""

    def __init__(self, tmp, name):
        self.path = os.path.join(tmp, re.sub(r'\W+', '-', name))
        self.source = os.path.join(self.path, 'source')
        self.headers = os.path.join(self.path, 'headers')
        self.bin = os.path.join(self.path, 'bin')
        self.api = os.path.join(self.path, 'kvm_vamp.h')
        for name in ('arch/x86/kvm/Makefile', 'virt/kvm/Makefile.kvm'):
            write(os.path.join(self.source, name), '# nothing\n')
        write(os.path.join(self.source, 'Makefile'),
              'VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 999\n')
        write(os.path.join(self.headers, 'Makefile'), 'modules:\n\tfalse\n')
        self.config()
        # More than a hundred numbers, as the real ones have
        write(os.path.join(self.source, 'include/uapi/linux/kvm.h'), ''.join(
            f'#define KVM_CAP_{n} {n}\n#define KVM_NR_{n} _IO(KVMIO, {n:#x})\n'
            for n in range(150)))
        for name in ('include/uapi/linux/kvm_para.h',
                     'arch/x86/include/uapi/asm/kvm.h',
                     'arch/x86/include/uapi/asm/kvm_para.h'):
            write(os.path.join(self.source, name), '#define X 1\n')
        write(self.api, API)

    def config(self, text='CONFIG_KVM=m\nCONFIG_KVM_AMD=m\n'
                          'CONFIG_KVM_INTEL=m\n'):
        """The kernel's configuration."""
        write(os.path.join(self.headers, '.config'), text)

    def run(self, name, *args, **env):
        """A script of ours."""
        done = subprocess.run(
            [os.path.join(TOP, 'scripts', name), *args], check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL, timeout=300,
            env=dict(os.environ, LC_ALL='C', BUILD=os.path.join(
                self.path, 'build'), VAMP_UAPI=self.api, **env))
        return done.returncode, done.stdout

    def refused(self, words, name, *args, status=1, **env):
        """It fails with one sentence that matches @words."""
        code, output = self.run(name, *args, **env)
        errors = [line[len(PREFIX):] for line in output.splitlines()
                  if line.startswith(PREFIX)]
        check(code == status and len(errors) == 1 and
              re.search(words, errors[0]),
              f'exit status {code}, wanted {status} and "{words}":\n{output}')

    def given(self):
        """The environment of who has the folders."""
        return {'LINUX_SRC': self.source, 'LINUX_BUILD': self.headers}


def series(place):
    """A kernel of another series"""
    place.refused('of the series 6.12', 'kmod-build', '6.1.0-1-amd64',
                  **place.given())
    # One that nobody has named is no error of the user's.
    release = os.uname().release
    if not release.startswith('6.12.'):
        place.refused(f'kernel {release} is not of', 'kmod-build',
                      status=UNAVAILABLE, **place.given())


def other_source(place):
    """A source of another point release"""
    place.refused('is Linux 6.12.999, but the kernel is 6.12.7', 'kmod-build',
                  '6.12.7-amd64', **place.given())


def white_space(place):
    """A build folder whose name the kernel's build cannot have"""
    place.path += '/white space'
    place.refused('because of a space', 'kmod-build', VERSION,
                  **place.given())


def no_source(place):
    """A source without KVM"""
    shutil.rmtree(os.path.join(place.source, 'virt'))
    place.refused('is no kernel source', 'kmod-build', VERSION,
                  **place.given())


def no_headers(place):
    """A folder of headers that is none"""
    os.unlink(os.path.join(place.headers, 'Makefile'))
    place.refused('no folder of kernel headers', 'kmod-build', VERSION,
                  **place.given())


def bad_archive(place):
    """A damaged archive of the source"""
    tar = os.path.join(place.path, 'linux.tar.xz')
    write(tar, 'this is no archive\n')
    place.refused('cannot be unpacked', 'fetch-linux', VERSION,
                  LINUX_SRC=tar, LINUX_BUILD=place.headers)


def no_network(place):
    """An archive that is out of reach: not an error of ours, status 77"""
    for tool in ('apt-get', 'apt-cache'):
        path = os.path.join(place.bin, tool)
        write(path, '#!/bin/sh\necho "E: no network" >&2\nexit 100\n')
        os.chmod(path, 0o755)
    place.refused('has no linux-headers-6.12.999', 'kmod-build', VERSION,
                  status=UNAVAILABLE,
                  PATH=f'{place.bin}:{os.environ["PATH"]}')


def tree(place):
    """A tree for kmod-make, without patches"""
    path = os.path.join(place.path, 'tree')
    write(os.path.join(path, 'arch/x86/kvm/Kbuild'), '# nothing\n')
    return path


def built_in(place):
    """A kernel with KVM built in"""
    place.config('CONFIG_KVM=y\nCONFIG_KVM_AMD=y\nCONFIG_KVM_INTEL=y\n')
    place.refused('no module for CONFIG_KVM', 'kmod-make', place.headers,
                  tree(place))


def no_compiler(place):
    """A kernel of a compiler that is not here"""
    place.config('CONFIG_KVM=m\nCONFIG_KVM_AMD=m\nCONFIG_KVM_INTEL=m\n'
                 'CONFIG_CC_VERSION_TEXT="x86_64-linux-gnu-gcc-99 (x) 99.1"\n')
    place.refused('compiled by x86_64-linux-gnu-gcc-99, which is missing '
                  r'\(package gcc-99\)', 'kmod-make', place.headers,
                  tree(place))


def failed_make(place):
    """A build that fails does not look like one that has not"""
    code, output = place.run('kmod-make', place.headers, tree(place))
    check(code, f'exit status 0:\n{output}')


def free(place):
    """Numbers that nobody has"""
    code, output = place.run('check-uapi', place.source)
    check(code == 0 and '7 numbers of our API' in output, output)


def taken(place):
    """A number that the kernel has taken, in each of its spaces"""
    path = os.path.join(place.source, 'include/uapi/linux/kvm.h')
    with open(path, encoding='utf-8') as f:
        headers = f.read()
    for line, words in (
            ('#define KVM_CAP_NEW 22093', 'KVM_CAP_VAMP: the capability'),
            ('#define KVM_NEW _IOWR(KVMIO, 0xf1, struct b)',
             'KVM_VAMP_GET: the ioctl 0xf1 is KVM_NEW'),
            ('#define KVM_EXIT_NEW (1000 - 1)', 'KVM_EXIT_VAMP: the exit'),
            ('#define KVM_FEATURE_NEW 30', 'KVM_FEATURE_VAMP: the CPUID'),
            ('#define MSR_KVM_NEW 0x4b564dff', 'MSR_KVM_VAMP: the MSR'),
            ('#define MSR_KVM_NEW 0x4b564d00',
             'MSR_KVM_VAMP: .* is in the block of MSR_KVM_NEW'),
            ('#define KVM_CPUID_NEW 0x40005677',
             'KVM_CPUID_VAMP: .* is in the block of KVM_CPUID_NEW')):
        write(path, f'{headers}{line}\n')
        place.refused(words, 'check-uapi', place.source)


def taken_in_qemu(place):
    """A number that only QEMU's headers have, which may be newer"""
    qemu = os.path.join(place.path, 'qemu')
    for name in ('linux/kvm.h', 'asm-x86/kvm.h', 'asm-x86/kvm_para.h'):
        write(os.path.join(qemu, name), '#define KVM_CAP_NEW 0x564d\n')
    place.refused('KVM_CAP_VAMP: the capability 0x564d is KVM_CAP_NEW',
                  'check-uapi', place.source, qemu)


def unreadable(place):
    """Headers that the check does not understand are no pass"""
    write(place.api, API.replace('0x564d', 'SOME_MACRO(7)'))
    place.refused('the number of KVM_CAP_VAMP cannot be told', 'check-uapi',
                  place.source)
    write(place.api, API + '#define KVM_VAMP_TWICE _IO(KVMIO, 0xf0)\n')
    place.refused('are both the ioctl 0xf0', 'check-uapi', place.source)
    write(place.api, API)
    write(os.path.join(place.source, 'include/uapi/linux/kvm.h'), 'text\n')
    place.refused('only 0 numbers', 'check-uapi', place.source)


def package_version(place):
    """A version that dpkg would not take"""
    place.refused('is no version of a package', 'kmod-deb',
                  VAMP_VERSION='1/2')


TESTS = (series, other_source, white_space, no_source, no_headers, bad_archive,
         no_network, built_in, no_compiler, failed_make, free, taken,
         taken_in_qemu, unreadable, package_version)


def tests(stack):
    """What tap.run() takes."""
    tmp = stack.enter_context(tempfile.TemporaryDirectory())
    return [(test.__doc__.splitlines()[0],
             lambda test=test: test(Place(tmp, test.__name__)))
            for test in TESTS]


if __name__ == '__main__':
    sys.exit(main(tests))
