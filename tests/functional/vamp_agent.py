"""
A qemu-ga of ours on this machine, and who answers it.

  Agent     a real qemu-ga that listens on a unix socket
  StandIn   a listener in vdiguest's place, which answers what a test tells it
  Isolated  a real vdiguest that sees only two hogs of its own

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading

# pylint: disable=wrong-import-position
import tap
from vamp_guest import BUILD, GuestError, Lines, QmpError

AGENT = os.path.join(BUILD, 'bin', 'qemu-ga')
VDIGUEST = os.path.join(BUILD, 'bin', 'vdiguest')
# An agent waits 5 s for vdiguest; the machine may be busy.
ANSWER_S = 60
# In namespaces: all that they see of processes is themselves.
UNSHARE = ['unshare', '--mount', '--pid', '--fork', '--kill-child',
           '--mount-proc']


def missing():
    """Why nothing can be tried here, or None."""
    for path in (AGENT, VDIGUEST):
        if not os.access(path, os.X_OK):
            return f'{path} is missing (make build)'
    return None


class Agent:
    """qemu-ga; kill() ends it. @listen: where vdiguest would be."""

    def __init__(self, rundir, listen):
        path = os.path.join(rundir, 'agent')
        self.log = path + '.log'
        with open(self.log, 'wb') as log:
            self._proc = subprocess.Popen(
                [AGENT, '-m', 'unix-listen', '-p', path, '-t', rundir,
                 '-f', path + '.pid'],
                env=dict(os.environ, VDIGUEST_SOCKET=listen,
                         QGA_CONF=path + '.conf'),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._lines = Lines(path, lambda: self._proc.poll() is None)
        except GuestError:
            self.kill()
            raise

    def cmd(self, command, **arguments):
        """Executes @command, returns its result. '_' in names becomes '-'."""
        self._lines.send(json.dumps({
            'execute': command, 'arguments': {
                k.replace('_', '-'): v for k, v in arguments.items()}}) + '\n')
        line = self._lines.line(ANSWER_S)
        if line is None:
            raise GuestError(f'the agent does not answer {command}')
        reply = json.loads(line)
        if 'error' in reply:
            raise QmpError(command, reply['error'])
        return reply['return']

    def refuses(self, command, *words, **arguments):
        """Fails unless @command fails, with all of @words in one sentence."""
        try:
            said = self.cmd(command, **arguments)
        except QmpError as e:
            said = e.desc
            if '\n' not in said and all(w in said for w in words):
                return
        raise tap.Fail(f'{command} {arguments}: {said}')

    def kill(self):
        """Ends it."""
        with contextlib.suppress(AttributeError):
            self._lines.close()
        self._proc.kill()
        self._proc.wait()


class StandIn:
    """
    Listens at @path. Each client's line goes into .heard, and gets .answer:
    bytes, or a function that is called with the connection.
    """

    def __init__(self, path):
        self.heard = []
        self.answer = b''
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(4)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return      # closed
            with peer, contextlib.suppress(OSError):
                line = b''
                while not line.endswith(b'\n'):
                    part = peer.recv(4096)
                    if not part:
                        break
                    line += part
                self.heard.append(line.decode())
                if callable(self.answer):
                    self.answer(peer)
                else:
                    peer.sendall(self.answer)

    def close(self):
        """Nobody listens any more."""
        # close() alone would not wake up who waits in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Isolated:
    """
    vdiguest and two hogs, for which it is as if they were alone on the
    machine: it can place nothing else. kill() ends all.
    """

    HOG = 'vamp-agent-hog'

    def __init__(self, rundir, *words):
        self.socket = os.path.join(rundir, 'vdiguest.sock')
        self.log = os.path.join(rundir, 'vdiguest.log')
        hog = os.path.join(rundir, self.HOG)
        if not os.path.exists(hog):
            os.symlink(shutil.which('sh'), hog)
        vdiguest = ' '.join((
            VDIGUEST, '-p', '200', '-v', '3', '-f', '1', '-i', 'none',
            '--means=affinity', '--sound=off', '--host=off', '--phase=60000',
            f'--state={rundir}/state', f'--socket={self.socket}') + words)
        busy = f'{hog} -c "while :; do :; done" &'
        with open(self.log, 'ab') as log:
            self._proc = subprocess.Popen(
                UNSHARE + ['sh', '-c', f'{busy} {busy} {vdiguest} & wait'],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        tap.eventually(lambda: None if os.path.exists(self.socket) else
                       f'vdiguest does not start: {self.said()}', ANSWER_S)

    @staticmethod
    def missing():
        """Why it cannot be tried here, or None."""
        if os.geteuid():
            return 'only root can move tasks'
        if len(os.sched_getaffinity(0)) < 2:
            return 'there is nothing to split with one CPU'
        done = subprocess.run(UNSHARE + ['true'], check=False, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        return done.stdout.strip() if done.returncode else None

    def said(self):
        """By vdiguest."""
        with open(self.log, encoding='utf-8', errors='replace') as f:
            return f.read()

    def hogs(self):
        """{their number in there: CPUs that they may run on}"""
        found = {}
        for pid in filter(str.isdigit, os.listdir('/proc')):
            with contextlib.suppress(OSError):
                with open(f'/proc/{pid}/status', encoding='utf-8') as f:
                    text = f.read()
                inside = re.search(r'^NSpid:\t\d+\t(\d+)$', text, re.M)
                if text.startswith(f'Name:\t{self.HOG}\n') and inside and \
                        self._is_ours(int(pid)):
                    found[int(inside[1])] = os.sched_getaffinity(int(pid))
        return found

    def _is_ours(self, pid):
        """Is it a grandchild of ours?"""
        for _ in range(2):
            with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
                pid = int(f.read().rpartition(')')[2].split()[1])
        return pid == self._proc.pid

    def kill(self):
        """Ends them."""
        self._proc.kill()
        self._proc.wait()
