"""
A stand-in for a QEMU: a process with threads of its own that speaks to the
broker. docs/interop/vamp-broker.rst describes the messages.

As a program it is that process. It reads commands from its standard input, one
a line, and answers each with one line of JSON.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import array
import ctypes
import json
import mmap
import os
import socket
import struct
import sys
import threading

MAGIC = 0x504d4156
VERSION = 1
HELLO, THREAD_ADD, THREAD_DEL, RATIO, CLASS, STATUS = range(1, 7)
WELCOME, OK, ERROR, REPORT = range(65, 69)
VCPU, IO = 0, 1
NEUTRAL, INTERACTIVE, BACKGROUND = range(3)
STATES = ('normal', 'boost', 'guard', 'weights')
HEAD = struct.Struct('=IIII')
PAGE = struct.Struct('=IIIIQIIqQQQQQQQ192s')
PAGE_THREAD = struct.Struct('=iIBBBBi')


def message(kind, body=b'', serial=1, size=None, magic=MAGIC):
    return HEAD.pack(magic, kind, HEAD.size + len(body) if size is None
                     else size, serial) + body


def hello(name='vm', ratio=3, version=VERSION):
    return message(HELLO, struct.pack('=II64s', version, ratio, name.encode()))


def thread_add(role, slot, tid):
    return message(THREAD_ADD, struct.pack('=IIiI', role, slot, tid, 0))


def thread_del(role, slot):
    return message(THREAD_DEL, struct.pack('=IIiI', role, slot, 0, 0))


def set_class(slot, vclass):
    return message(CLASS, struct.pack('=II', slot, vclass))


def set_ratio(ratio):
    return message(RATIO, struct.pack('=II', ratio, 0))


def status(form=0):
    return message(STATUS, struct.pack('=II', form, 0))


class Peer:
    """One connection."""

    def __init__(self, path, timeout=20):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.page = None

    def send(self, data):
        self.sock.send(data)

    def receive(self):
        """(type, body, descriptors); type 0: the broker hung up."""
        data, control, _, _ = self.sock.recvmsg(512, socket.CMSG_SPACE(8))
        fds = array.array('i')
        for level, kind, what in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(what[:len(what) - len(what) % fds.itemsize])
        if not data:
            return 0, b'', fds
        return HEAD.unpack_from(data)[1], data[HEAD.size:], fds

    def ask(self, data):
        """Sends and waits for the answer: None, or the error's text."""
        self.send(data)
        kind, body, fds = self.receive()
        if kind == WELCOME:
            size = struct.unpack_from('=III', body)[2]
            self.page = mmap.mmap(fds[0], size, mmap.MAP_SHARED,
                                  mmap.PROT_READ)
        for fd in fds:
            os.close(fd)
        if kind == ERROR:
            return body[8:].split(b'\0')[0].decode()
        return None if kind in (WELCOME, OK) else f'answer {kind}'

    def report(self, form=0):
        """The status as text."""
        self.send(status(form))
        kind, body, fds = self.receive()
        if kind != REPORT:
            raise OSError(f'answer {kind}: {body!r}')
        length = struct.unpack('=Q', body)[0]
        text = os.pread(fds[0], length, 0).decode()
        os.close(fds[0])
        return text

    def read_page(self):
        """The status page as a dictionary."""
        while True:
            seq = PAGE.unpack_from(self.page, 0)[2]
            data = bytes(self.page)
            if not seq % 2 and PAGE.unpack_from(self.page, 0)[2] == seq:
                break
        f = PAGE.unpack_from(data)
        threads = [PAGE_THREAD.unpack_from(data, PAGE.size + i *
                                           PAGE_THREAD.size)
                   for i in range(f[3])]
        return {
            'state': STATES[f[5]], 'debt_ns': f[7], 'used_ns': f[8],
            'entitled_ns': f[9], 'weight': f[10], 'weight_base': f[11],
            'boosts': f[12], 'guards': f[13], 'faults': f[14],
            'reason': f[15].split(b'\0')[0].decode(),
            'threads': [dict(zip(('tid', 'slot', 'role', 'class', 'sched',
                                  'zero', 'err'), t)) for t in threads],
        }


# --- the process ------------------------------------------------------------


class Worker(threading.Thread):
    """A thread that waits or burns CPU time, with a name of its own."""

    def __init__(self, name):
        super().__init__(daemon=True)
        self.comm = name
        self.tid = 0
        self.burn = False
        self.end = False
        self.go = threading.Event()
        self.started = threading.Event()
        self.start()
        self.started.wait()

    def run(self):
        self.tid = threading.get_native_id()
        ctypes.CDLL(None).prctl(15, self.comm.encode(), 0, 0, 0)
        self.started.set()
        while not self.end:
            self.go.wait()
            while self.burn and not self.end:
                # hashlib would do as well: long stretches without the GIL
                sum(range(2000))


def serve(path):
    """Commands: a JSON list of a name and arguments, one a line."""
    workers = []
    peer = None
    for line in sys.stdin:
        name, *args = json.loads(line)
        result = None
        if name == 'threads':
            workers += [Worker(n) for n in args]
            result = [w.tid for w in workers]
        elif name == 'end':
            workers[args[0]].end = True
            workers[args[0]].go.set()
            workers[args[0]].join()
        elif name == 'burn':
            workers[args[0]].burn = args[1]
            (workers[args[0]].go.set if args[1] else
             workers[args[0]].go.clear)()
        elif name == 'connect':
            peer = Peer(path)
            result = peer.ask(hello(*args))
        elif name == 'raw':
            peer = peer or Peer(path)
            peer.send(bytes.fromhex(args[0]))
        elif name == 'ask':
            result = peer.ask(bytes.fromhex(args[0]))
        elif name == 'receive':
            kind, body, _ = peer.receive()
            result = [kind, body.hex()]
        elif name == 'page':
            result = peer.read_page()
        elif name == 'nofile':
            result = len(os.listdir('/proc/self/fd'))
        elif name == 'close':
            peer.sock.close()
            peer = None
        elif name == 'fork':
            # A child that keeps the socket and outlives its parent
            result = os.fork()
            if result == 0:
                os.close(0)
                os.close(1)
                threading.Event().wait(args[0])
                os._exit(0)
        elif name == 'exit':
            os._exit(0)
        print(json.dumps(result), flush=True)


if __name__ == '__main__':
    serve(sys.argv[1])
