"""
A guest of a host in a box with background work: its hogs, and mixed phases.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[1:1] = [os.path.join(os.path.dirname(HERE), 'functional')]
# pylint: disable=wrong-import-position
from guest_interrupts import guest_file
from tap import eventually

PHASE_S = 120


def hog_vcpus(vm):
    """vCPUs that the guest's hogs run on now."""
    pids = guest_file(vm, '/proc/1/task/1/children').split()
    stats = [guest_file(vm, f'/proc/{pid}/stat') for pid in pids]
    # Field 39 of proc_pid_stat(5); the second one may have spaces
    return [int(s.rpartition(')')[2].split()[36]) for s in stats]


def mixed_phase(vm, hogs):
    """
    A phase with @hogs tasks in the background, by key presses; the answer of
    vamp-query.
    """
    vm.control(f'hogs {hogs}')

    def wrong():
        vm.qmp.cmd('send-key', keys=[{'type': 'qcode', 'data': 'ret'}])
        info = vm.qmp.cmd('vamp-query')
        return None if len(info.get('background-tasks', [])) == hogs else \
            f'{hogs} hogs, but {info}'
    eventually(wrong, PHASE_S, 1)
    return vm.qmp.cmd('vamp-query')


def busy_task(vm):
    """The one task in the background of a phase, by key presses."""
    found = []

    def wrong():
        vm.qmp.cmd('send-key', keys=[{'type': 'qcode', 'data': 'ret'}])
        found[:] = [t['task'] for t in
                    vm.qmp.cmd('vamp-query').get('background-tasks', [])]
        return None if len(found) == 1 else f'not one task is busy: {found}'
    eventually(wrong, PHASE_S, 1)
    return found[0]


def hog_task(vm):
    """
    The task of the one hog, when vCPUs that run it, and only they, are in the
    background.
    """
    found = []

    def wrong():
        # In the window before the first phase something else may have been
        # busy; and an idle vCPU may have the hog's page tables loaded.
        info = mixed_phase(vm, 1)
        hog = info['background-tasks'][0]['task']
        tasks = [v.get('current-task') for v in info['vcpus']
                 if v['class'] == 'background']
        found[:] = [hog]
        return None if tasks == found else f'not one for {hog}: {info["vcpus"]}'
    eventually(wrong, PHASE_S, 1)
    return found[0]


def follows_hog(vm, read, background, other):
    """
    Of what @read() says of each vCPU, the one that runs the hog has
    @background, the rest @other.
    """
    def wrong():
        mixed_phase(vm, 1)
        before = hog_vcpus(vm)
        found = read()
        want = [background if n in before else other
                for n in range(len(found))]
        return None if found == want or before != hog_vcpus(vm) else \
            f'the hog runs on vCPU {before}, and they have {found}'
    eventually(wrong, PHASE_S, 1)


def vcpu_weights(vm, group):
    """Weight of each vCPU's own group, which QEMU has made in @group."""
    return [int(vm.host.sh(f'cat {group}/vamp-{vm.pid}-vcpu{n}/cpu.weight'))
            for n in range(vm.smp)]
