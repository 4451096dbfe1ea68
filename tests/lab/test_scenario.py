#!/usr/bin/env python3
"""
Scenario files: what they mean, and what is said of a wrong one.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import glob
import os
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(TOP, 'tests'), os.path.join(TOP, 'lab')]
# pylint: disable=wrong-import-position
import scenario
import tap

GOOD = '''\
# A comment
[host]
title = Two of them
cpus = 4
measure-s = 20
response-limits = one

[vm A]
weight = 200        # and another
threads = interactive, hog
event-cpu-ms = 0.5 - 2.25
event-bursts = 2-2
sleep-s = 3-7
runaway-every = 5
runaway-cpu-ms = 700

[vm B]
count = 2
vamp = no
'''

# (file, line that is named, pieces of the error)
WRONG = [
    ('cpus = 2\n', 1, ["'cpus = 2' is before the first section", '[host]']),
    ('[hots]\n', 1, ["'[hots]' is not a section", '[host], [vm NAME]']),
    ('[host]\n[vm A]\nthreads = interactive\n[host]\n', 4,
     ['a second section [host]']),
    ('[host]\ncpu = 2\n', 2, ["'cpu' is not a key of [host]", 'cpus']),
    ('[host]\n\ncpus\n', 3, ["'cpus' is not KEY = VALUE"]),
    ('[host]\ncpus = 9\n', 2, ["cpus = '9'", 'from 1 to 8']),
    ('[host]\ncpus = two\n', 2, ["cpus = 'two'", 'from 1 to 8']),
    ('[host]\ncpus = 2\ncpus = 2\n', 3, ["'cpus' is given again", 'line 2']),
    ('[host]\nwarmup-s = 2\n', 2, ["warmup-s = '2'", 'from 3 to 60']),
    ('[host]\nmeasure-s = 9\n', 2, ["measure-s = '9'", 'from 10 to 400']),
    ('[host]\nresponse-limits = two\n', 2, ["'two'", 'one or all or none']),
    ("[host]\ntitle = it's\n", 2, ["title = 'it's'", 'letters']),
    ('[vm A B]\n', 1, ["'[vm A B]' is not a section"]),
    ('[vm 1A]\n', 1, ["'1A' is not a VM's name", 'a letter']),
    ('[vm A]\nthreads = hog, cow\n', 2, ["threads = 'hog, cow'", "'hog'"]),
    ('[vm A]\nthreads = ' + 'hog, ' * 16 + 'hog\n', 2, ['1 to 16 of']),
    ('[vm A]\nweight = 0\n', 2, ["weight = '0'", 'from 1 to 10000']),
    ('[vm A]\nvamp = maybe\n', 2, ["vamp = 'maybe'", 'yes or no']),
    ('[vm A]\nevent-cpu-ms = 5\n', 2, ["'5'", 'LOWEST-HIGHEST']),
    ('[vm A]\nevent-cpu-ms = 5-4\n', 2, ["'5-4'", 'from 0.1 to 10000']),
    ('[vm A]\nevent-bursts = 1-17\n', 2, ["'1-17'", 'from 1 to 16']),
    ('[vm A]\nevent-bursts = 1-1.5\n', 2, ["'1-1.5'", 'from 1 to 16']),
    ('[host]\n\n[vm A]\nrunaway-every = 5\n', 3, ['need each other']),
    ('[vm A]\n[vm A]\n', 2, ["a VM 'A' already"]),
    ('[vm A]\ncount = 129\n', 2, ["count = '129'", 'from 1 to 128']),
    ('[vm A]\ncount = 100\n[vm B]\ncount = 29\n', 3, ['more than 128 VMs']),
    ('[vm A]\nthreads = interactive\n', 3, ['no section [host]']),
    ('[host]\n', 2, ['no VM', '[vm NAME]']),
    ('[host]\n[vm A]\n', 3, ["'interactive'"]),
]


def load(text):
    """A scenario from @text."""
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, 'made-up.conf')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        return scenario.load(path)


def good():
    """Every value arrives, with its default where none is given."""
    s = load(GOOD)
    tap.check((s.name, s.title, s.cpus, s.warmup_s, s.measure_s, s.ratio) ==
              ('made-up', 'Two of them', 4, 4, 20, 3), str(s))
    a, b1, b2 = s.vms
    tap.check((a.name, a.id, a.weight, a.vamp, a.threads) ==
              ('A', 0, 200, True, ('interactive', 'hog')), str(a))
    tap.check((a.event_cpu_ms, a.event_bursts, a.sleep_s, a.runaway_every,
               a.runaway_cpu_ms) == ((0.5, 2.25), (2, 2), (3, 7), 5, 700),
              str(a))
    tap.check((b1.name, b1.id, b2.name, b2.id, b2.vamp, b2.threads) ==
              ('B1', 1, 'B2', 2, False, ('hog', 'hog')), f'{b1} {b2}')


def plans():
    """What the guest reads."""
    s = load(GOOD)
    text = scenario.plan(s, 'nice', 7)
    for line in ('policy nice', 'seed 7', 'cpus 4', 'ratio 3',
                 'warmup 4000000000', 'measure 20000000000',
                 'sample 100000000', 'vm A 0 200 1',
                 'interactive 0 200000000 400000000 500000 2250000 2 2 '
                 '1000000 5000000 5 700000000',
                 # Times of a sleep count from the measured time on.
                 'hog 1 7000000000 11000000000', 'vm B2 2 100 0',
                 'hog 0 0 0'):
        tap.check(line in text.splitlines(), f'no line "{line}" in:\n{text}')
    idle = scenario.plan(s, 'idle', 7, s.vms[0])
    tap.check('policy stock' in idle and 'vm B' not in idle and
              'hog' not in idle and 'interactive 0' in idle, idle)


def wrong(text, line, pieces):
    """An error names the file, the line, the value and what is valid."""
    def test():
        try:
            load(text)
        except scenario.ScenarioError as e:
            for piece in [f'made-up.conf:{line}: '] + pieces:
                tap.check(piece in str(e), f'no "{piece}" in "{e}"')
        else:
            raise tap.Fail('it was taken')
    return test


def unreadable():
    """A file that is not there, and one that is no text."""
    for path in ('/nonexistent/x.conf', '/bin/sh'):
        try:
            scenario.load(path)
        except scenario.ScenarioError as e:
            tap.check(f'{path}: cannot be read' in str(e), str(e))
        else:
            raise tap.Fail('it was taken')


def shipped():
    """The scenarios that issue 4 asks for can be read."""
    names = set()
    for path in glob.glob(os.path.join(TOP, 'lab', 'scenarios', '*.conf')):
        s = scenario.load(path)
        tap.check(s.title, f'{path} has no title')
        names.add(s.name)
    asked = {'2vms-2cpus', '3vms-2cpus', '4vms-2cpus', '6vms-4cpus',
             'all-interactive', 'short-events', 'runaway', 'idle-and-return',
             'unequal-weights', 'without-vamp', '100vms'}
    tap.check(asked <= names, f'missing: {asked - names}')


if __name__ == '__main__':
    sys.exit(tap.run(
        [('a good file', good), ('plans for the guest', plans)] +
        [(f'refused: {pieces[0]}', wrong(text, line, pieces))
         for text, line, pieces in WRONG] +
        [('files that cannot be read', unreadable),
         ('the shipped scenarios', shipped)]))
