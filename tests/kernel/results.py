"""
Where measurements of the companion modules are kept: kernel.json.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[1:1] = [os.path.join(os.path.dirname(HERE), 'functional')]
# pylint: disable=wrong-import-position
from vamp_guest import BUILD

FOLDER = os.path.join(BUILD, 'results')


def _load(path):
    with contextlib.suppress(OSError, ValueError), \
            open(path, encoding='ascii') as f:
        return json.load(f)
    return {}


def get(folder, name, default=None):
    """What @folder/kernel.json has as @name, else @default."""
    return _load(os.path.join(folder, 'kernel.json')).get(name, default)


def put(folder, name, value):
    """Makes @name in @folder/kernel.json be @value; the others stay."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, 'kernel.json')
    data = _load(path)
    data[name] = value
    with open(path, 'w', encoding='ascii') as f:
        json.dump(data, f, indent=1)
    print(f'-> {path}')
