#!/usr/bin/env python3
"""
What `make check` does: everything that this machine can run.

Each group prints one line a test program and the output of what fails. What
fails with an emulated guest is run once more at the end; if it passes then, a
line says so. The last line is `N passed, N failed, N skipped`; each skip has its
reason above.

    tests/check.py [GROUP...]       only these groups (see --list)

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import argparse
import concurrent.futures
import functools
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build'))
SRC = os.path.join(BUILD, 'qemu', 'src')
SLIM = os.path.join(BUILD, 'qemu', 'build-slim')
ASAN = os.path.join(BUILD, 'qemu', 'build-asan')
BASELINE = os.path.join(TOP, 'upstream', 'qtest-baseline.txt')
# The limits of inserted lines that the house has set itself: of hooks, and of
# what mends errors of QEMU's (*-fix-*.patch) until QEMU has it.
MAX_PATCH_LINES = {'hooks': 40, 'fixes': 10}
# One test program. QEMU's slowest here takes half a minute alone; the
# machine may be ten times slower when others use it.
TIMEOUT_S = 600
# The host in a box boots three guests: 75 s alone.
NESTED_TIMEOUT_S = 1500
# In whole runs two to four of fifty programs failed because an emulated guest
# hung or was given no time, each time others, and passed alone. So these are run
# once more at the end. If more have failed, it is no accident.
MOST_AGAIN = 5
# What the kernel of a guest, or of a host in a box, says when it gives up
PANIC = re.compile(r'Kernel panic|BUG: |Oops: ')


def first_failure(output):
    """
    The lines of @output up to its first failure; those that follow are often
    its consequences. All, if it ended before it could say what was wrong.
    """
    lines = output.splitlines()
    wrong = [i for i, line in enumerate(lines) if line.startswith('not ok')]
    end = wrong[0] if wrong else len(lines) - 1
    begin = max([i for i in range(end) if re.match(r'ok\b', lines[i])],
                default=-1)
    return lines[begin + 1:end + 1]


class Tally:
    """Counts results and remembers what to say about them."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self.unsteady = []  # (program, why it has failed once)
        self._pending = []  # (counts, failure, function that runs it again)

    def add(self, program, passed, failed, skipped, seconds, notes=(),
            output='', again=None):
        """
        One program's result. @again runs it once more and adds that instead:
        see MOST_AGAIN.
        """
        failure = (program, output)
        if failed and again:
            self._pending.append(((passed, failed, skipped), failure, again))
        else:
            self._count(passed, failed, skipped)
            self.failures += [failure] if failed else []
        what = f'{passed} passed'
        if failed:
            what += f', {failed} FAILED'
        if skipped:
            what += f', {skipped} skipped'
        print(f'  {program:<44} {what} ({seconds:.1f} s)', flush=True)
        for note in notes:
            print(f'      skip: {note}', flush=True)
        if failed:
            for line in output.splitlines()[-60:]:
                print(f'      | {line}', flush=True)

    def _count(self, passed, failed, skipped):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped

    def run_again(self):
        """What has failed and may have been an accident, once more."""
        pending, self._pending = self._pending, []
        if len(pending) > MOST_AGAIN:
            print(f'{len(pending)} programs with emulated guests have failed: '
                  'that is no accident, none is run again')
            for counts, failure, _ in pending:
                self._count(*counts)
                self.failures.append(failure)
            return
        if pending:
            print('== again: what failed with an emulated guest', flush=True)
        for _, failure, again in pending:
            before = self.failed
            again()
            if self.failed == before:
                self.unsteady.append(failure)

    @staticmethod
    def _line(word, program, output):
        wrong = re.findall(r'^not ok (\d+)', output, re.M)
        reason = [line for line in first_failure(output)
                  if line.strip('# ') and not line.startswith('not ok')]
        # Of a kernel that gave up, not the last of many lines.
        reason += [line for line in reason if PANIC.search(line)][:1]
        print(f'{word}: {program}: {" ".join(wrong)[:60]}: '
              f'{"".join(reason[-1:]).strip("# ")[:200]}')

    def sum_up(self):
        """
        What failed, once more, then a line for each program: of a long log only
        the end is kept in many places, and how much is not known.
        """
        for program, output in self.failures:
            print(f'failed: {program}')
            for line in first_failure(output)[-30:]:
                print(f'      | {line[:400]}')
        for failure in self.unsteady:
            self._line('failed once, passed when run again', *failure)
        for failure in self.failures:
            self._line('failed', *failure)
        print(f'{self.passed} passed, {self.failed} failed, '
              f'{self.skipped} skipped')


TALLY = Tally()


def run(cmd, cwd=TOP, env=None, timeout=TIMEOUT_S):
    """Runs @cmd; returns (exit code, output, seconds). Never raises."""
    begin = time.monotonic()
    try:
        done = subprocess.run(cmd, cwd=cwd, env=env, timeout=timeout,
                              stdin=subprocess.DEVNULL, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as err:
        code = -1
        output = (err.stdout or b'') + f'\ntimeout: {timeout} s\n'.encode()
    except OSError as err:
        code, output = -1, str(err).encode()
    return code, output.decode(errors='replace'), time.monotonic() - begin


def parse_tap(code, output):
    """Returns (passed, failed, skipped, reasons of the skips)."""
    passed = failed = skipped = 0
    notes = []
    for line in output.splitlines():
        # GLib indents nothing; sub-tests of others are not counted.
        match = re.match(r'(not )?ok\b\s*(.*)', line)
        if match:
            skip = re.search(r'#\s*skip\b:?\s*(.*)', match.group(2), re.I)
            if skip:
                skipped += 1
                name = match.group(2).split('#')[0].strip()
                notes.append(f'{name}: {skip.group(1) or "no reason given"}')
            elif match.group(1):
                failed += 1
            else:
                passed += 1
        elif re.match(r'1\.\.0\b', line):
            skipped += 1
            notes.append(line.partition('#')[2].strip() or 'nothing to run')
    if code and not failed:
        failed = 1      # it ended before it could say so
    if not code and not passed and not failed and not skipped:
        failed = 1      # a test that says nothing tests nothing
    return passed, failed, skipped, notes


def tap_program(name, cmd, cwd=TOP, env=None, timeout=TIMEOUT_S, again=None):
    """A program that speaks TAP; @again as in Tally.add()."""
    tap_result(name, *run(cmd, cwd, env, timeout), again)


def tap_result(name, code, output, seconds, again=None):
    """What such a program has said."""
    passed, failed, skipped, notes = parse_tap(code, output)
    TALLY.add(name, passed, failed, skipped, seconds, notes, output, again)


def plain_program(name, cmd, cwd=TOP, env=None, timeout=TIMEOUT_S):
    """
    One test: exit 0 passes, 77 skips (the last line says why). Returns whether
    it has passed.
    """
    return plain_result(name, *run(cmd, cwd, env, timeout))


def plain_result(name, code, output, seconds):
    """What such a program has said."""
    last = output.strip().splitlines()[-1:] or ['no output']
    TALLY.add(name, int(code == 0), int(code not in (0, 77)), int(code == 77),
              seconds, last if code == 77 else (), output)
    return code == 0


def side_by_side(function, items):
    """
    What @function(item) returns, for each of @items in their order. As many at
    once as there are CPUs: for programs that do not mind a busy machine.
    """
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(function, items)


@functools.cache
def kvm_mask():
    """
    A prefix that hides /dev/kvm. QEMU's own tests take KVM when it is there;
    where it runs firmware but no system they fail, patched or not.
    """
    cpuinfo = open('/proc/cpuinfo', encoding='ascii', errors='replace').read()
    if not os.path.exists('/dev/kvm') or re.search(r'\b(vmx|svm)\b', cpuinfo):
        return []
    prefix = ['unshare', '--mount'] + ([] if os.geteuid() == 0 else ['-r'])
    hide = 'mount --bind /dev/null /dev/kvm && exec "$@"'
    if run(prefix + ['sh', '-c', hide, 'sh', 'true'])[0]:
        return []
    return prefix + ['sh', '-c', hide, 'sh']


def meson_tests(build):
    """Tests that a QEMU build folder has: name -> (cmd, env, suites)."""
    meson = os.path.join(build, 'pyvenv', 'bin', 'meson')
    code, output, _ = run([meson, 'introspect', '--tests', build])
    if code:
        return {}
    return {t['name']: (t['cmd'], t['env'], t['suite'])
            for t in json.loads(output[output.index('['):])}


def test_env(extra):
    env = dict(os.environ, MALLOC_PERTURB_='129', **extra)
    env['G_TEST_SLOW'] = ''
    return env


# --- groups -------------------------------------------------------------------


def group_core():
    """core/: unit tests, freestanding build, bounded fuzzing"""
    for name, options in (('core', []),
                          ('core-asan',
                           ['-Db_sanitize=address,undefined'])):
        build = os.path.join(BUILD, name)
        if not os.path.exists(os.path.join(build, 'build.ninja')):
            shutil.rmtree(build, ignore_errors=True)
            code, output, seconds = run(['meson', 'setup', build] + options)
            if code:
                TALLY.add(f'{name}: meson setup', 0, 1, 0, seconds, (), output)
                continue
        code, output, seconds = run(['ninja', '-C', build])
        if code:
            TALLY.add(f'{name}: build', 0, 1, 0, seconds, (), output)
            continue
        code, output, _ = run(['meson', 'introspect', '--tests', build])
        tests = json.loads(output[output.index('['):]) if not code else []
        if not options and not any('fuzz' in test['name'] for test in tests):
            TALLY.add(f'{name}: fuzz', 0, 0, 1, 0,
                      ['clang has no fuzzer runtime here'])
        tests.sort(key=lambda t: t['name'])
        for test, result in zip(tests, side_by_side(
                lambda t, build=build: run(t['cmd'], build, test_env(t['env'])),
                tests)):
            label = f'{name}: {test["name"]}'
            if test['protocol'] == 'tap':
                tap_result(label, *result)
            else:
                plain_result(label, *result)


def vamp_tests(build, label):
    tests = meson_tests(build)
    if not tests:
        TALLY.add(f'{label}: list of tests', 0, 1, 0, 0, (),
                  f'{build} is not built')
    for name, (cmd, env, _) in sorted(tests.items()):
        if 'vamp' in name:
            tap_program(f'{label}: {name.split("/")[-1]}', cmd, build,
                        test_env(env))


def group_qemu():
    """actuators and vamp-policy: unit tests and qtests"""
    vamp_tests(SLIM, 'qemu')


def group_asan():
    """the same with ASan and UBSan"""
    vamp_tests(ASAN, 'asan')


def upstream_qtests(build):
    return {name.split('/')[-1]: (cmd, env)
            for name, (cmd, env, suites) in meson_tests(build).items()
            if any('qtest' in s for s in suites) and 'vamp' not in name}


def run_upstream(build, cmd, env):
    """(passed, failed, skipped, notes, output, seconds) of one of QEMU's."""
    # --full is for hosts with a KVM that serves; the rest takes minutes.
    cmd = [c for c in cmd if c != '--full']
    code, output, seconds = run(kvm_mask() + cmd, build, test_env(env))
    return parse_tap(code, output) + (output, seconds)


def read_baseline():
    lines = [line.split() for line in open(BASELINE, encoding='ascii')
             if line.strip() and not line.startswith('#')]
    return {f[0]: tuple(int(n) for n in f[1:4]) for f in lines}


def group_upstream():
    """QEMU's own qtests: the same results as without our patches"""
    tests = upstream_qtests(SLIM)
    baseline = read_baseline()
    names = sorted(tests)
    print(f'  {len(tests)} programs: {" ".join(names)}')
    kvm_mask()      # once, before many ask
    for name, result in zip(names, side_by_side(
            lambda name: run_upstream(SLIM, *tests[name]), names)):
        passed, failed, skipped, notes, output, seconds = result
        want = baseline.get(name)
        label = f'upstream: {name}'
        if want and failed and failed <= want[1]:
            # It fails without us, too: not a result of ours.
            TALLY.add(label, passed, 0, failed, seconds,
                      [f'{failed} fail in the unpatched tree as well'])
        else:
            TALLY.add(label, passed, failed, skipped, seconds, notes, output)
        if want and passed < want[0] and not failed:
            TALLY.add(f'{label}: as unpatched', 0, 1, 0, 0, (),
                      f'{passed} passed, {want[0]} in the unpatched tree')
    missing = sorted(set(baseline) - set(tests))
    if missing:
        TALLY.add('upstream: all there', 0, 1, 0, 0, (), ' '.join(missing))


def write_baseline():
    """Runs the unpatched tree's qtests and records the results."""
    build = os.path.join(BUILD, 'qemu', 'build-unpatched')
    version = open(os.path.join(SRC, 'VERSION'), encoding='ascii').read()
    with open(BASELINE, 'w', encoding='ascii') as out:
        out.write("# QEMU's own qtests in the slim build, unpatched: passed, "
                  'failed, skipped.\n'
                  f'# Made from QEMU {version.strip()} by `make '
                  'qtest-baseline`.\n')
        for name, (cmd, env) in sorted(upstream_qtests(build).items()):
            passed, failed, skipped, *_ = run_upstream(build, cmd, env)
            line = f'{name} {passed} {failed} {skipped}'
            print(line, flush=True)
            out.write(line + '\n')


def group_style():
    """checkpatch, size of the patch series, documents"""
    checkpatch = os.path.join(SRC, 'scripts', 'checkpatch.pl')
    files = run(['git', 'ls-files', 'core/*.[ch]', 'hw/*.[ch]',
                 'include/*.h', 'accel/*.[ch]', 'ui/*.[ch]', 'audio/*.[ch]',
                 'tests/qtest/*.[ch]', 'tests/unit/*.[ch]',
                 'broker/*.[ch]', 'guest/*.[ch]', 'qga/*.[ch]',
                 'lab/*.[ch]'])[1].split()
    # It sees __KERNEL__ in the one file that may have it, and takes the
    # product sign of a comment for a pointer.
    code, output, seconds = run(
        ['perl', checkpatch, '--no-tree', '--terse', '--no-summary', '-f'] +
        [f for f in files if f != 'core/port.h'])
    # It fails of errors only, and we have no warnings either.
    silent = code == 0 and not output.strip()
    TALLY.add('style: checkpatch', int(silent), int(not silent), 0, seconds,
              (), output)
    patches = {'hooks': '', 'fixes': ''}
    for path in sorted(glob.glob(os.path.join(TOP,
                                              'upstream/patches/qemu/*.patch'))):
        with open(path, encoding='utf-8') as f:
            patches['fixes' if '-fix-' in path else 'hooks'] += f.read()
    for what, text in patches.items():
        added = len(re.findall(r'^\+(?!\+\+ )', text, re.M))
        removed = len(re.findall(r'^-(?!-- |--$)', text, re.M))
        ok = added <= MAX_PATCH_LINES[what] and removed == 0
        TALLY.add(f'style: patches insert {added} lines of {what}', int(ok),
                  int(not ok), 0, 0, (),
                  f'{added} inserted (at most {MAX_PATCH_LINES[what]}), '
                  f'{removed} removed (none)')
    for script in sorted(glob.glob(os.path.join(TOP, 'tests/docs/check-*'))):
        plain_program(f'style: {os.path.basename(script)}', [script])


def group_scripts():
    """the set-up scripts: their errors, and running them again"""
    for script in sorted(glob.glob(os.path.join(TOP, 'tests/scripts/test-*'))):
        tap_program(f'scripts: {os.path.basename(script)}', [script])


def scripts_of(group, folder, timeout=TIMEOUT_S):
    """Runs the test programs of a folder, which boot emulated guests."""
    for script in sorted(glob.glob(os.path.join(TOP, 'tests', folder,
                                                'test_*.py'))):
        once = functools.partial(
            tap_program, f'{group}: {os.path.basename(script)}',
            [sys.executable, script], timeout=timeout)
        once(again=once)


def group_functional():
    """real guests, real clients"""
    scripts_of('functional', 'functional')


def group_libvirt():
    """domains of a real libvirtd"""
    scripts_of('libvirt', 'libvirt')


def kernel_style():
    """The kernel's own checkpatch.pl over what runs in a kernel."""
    found = glob.glob(os.path.join(BUILD, 'linux', '*', 'source', 'scripts',
                                   'checkpatch.pl'))
    if not found:
        TALLY.add('kmod: checkpatch', 0, 0, 1, 0,
                  ['the kernel source has no scripts/checkpatch.pl'])
        return
    files = run(['git', 'ls-files', 'kernel/*.[ch]',
                 'linux-headers/*.h'])[1].split()
    # What has to be equal to this very tick is no time that may wrap.
    plain_program('kmod: checkpatch',
                  ['perl', found[0], '--no-tree', '--terse', '--no-summary',
                   '--ignore', 'JIFFIES_COMPARISON', '-f'] + files)


def group_kmod():
    """KVM's companion modules: build, numbers, patches, DKMS package"""
    if plain_program('kmod: kmod-build', ['scripts/kmod-build'],
                     timeout=NESTED_TIMEOUT_S):
        plain_program("kmod: the guest's module is built",
                      ['scripts/kmod-guest'])
        plain_program("kmod: KVM's selftests are built",
                      ['make', '-s', '-C', 'tests/kernel', f'BUILD={BUILD}',
                       f'-j{os.cpu_count()}'])
        plain_program('kmod: a VMM for their tests is built',
                      ['make', '-s', '-C', 'tests/kernel/vmm',
                       f'BUILD={BUILD}'])
    kernel_style()
    scripts_of('kmod', 'kmod', NESTED_TIMEOUT_S)


def group_kernel():
    """KVM with a real kernel, in a host in a box (after kmod)"""
    scripts_of('kernel', 'kernel', NESTED_TIMEOUT_S)


def group_debian():
    """a Debian guest with systemd, PipeWire, X, a compile job"""
    scripts_of('debian', 'debian', NESTED_TIMEOUT_S)


def group_lab():
    """the simulated host: scenarios, statistics, identical bytes"""
    scripts_of('lab', 'lab')


GROUPS = {
    'style': group_style,
    'core': group_core,
    'scripts': group_scripts,
    'qemu': group_qemu,
    'functional': group_functional,
    'libvirt': group_libvirt,
    'kmod': group_kmod,
    'kernel': group_kernel,
    'lab': group_lab,
    'upstream': group_upstream,
    'asan': group_asan,
    'debian': group_debian,
}


def main():
    parser = argparse.ArgumentParser(description='Runs VAMP\'s tests.')
    parser.add_argument('groups', nargs='*', metavar='GROUP',
                        help='one of: ' + ', '.join(GROUPS))
    parser.add_argument('--list', action='store_true', help='list the groups')
    parser.add_argument('--write-baseline', action='store_true',
                        help='record the unpatched tree\'s qtest results')
    args = parser.parse_args()
    if args.list:
        for name, group in GROUPS.items():
            print(f'{name:<12} {group.__doc__}')
        return 0
    if args.write_baseline:
        write_baseline()
        return 0
    unknown = [name for name in args.groups if name not in GROUPS]
    if unknown:
        parser.error(f"'{unknown[0]}' is not a group; valid are "
                     f'{", ".join(GROUPS)}')
    begin = time.monotonic()
    for name in args.groups or GROUPS:
        print(f'== {name}: {GROUPS[name].__doc__}', flush=True)
        GROUPS[name]()
    TALLY.run_again()
    print(f'{time.monotonic() - begin:.0f} s')
    TALLY.sum_up()
    return 1 if TALLY.failed else 0


if __name__ == '__main__':
    sys.exit(main())
