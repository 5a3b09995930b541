"""As much of an NFS version 3 client (RFC 1813) as the scripts here need, by the standard library."""

import os
import socket
import struct

NFS, MOUNT = (100003, 3), (100005, 3)
LOOKUP, READ, WRITE, CREATE, COMMIT = 3, 6, 7, 8, 21
UNSTABLE, FILE_SYNC = 0, 2
MIB = 1024 * 1024
# AUTH_SYS as root.
CREDENTIALS = struct.pack(">IIIIII", 1, 20, 0, 0, 0, 0) + struct.pack(">I", 0)


def opaque(data):
    return struct.pack(">I", len(data)) + data + b"\0" * (-len(data) % 4)


class Fault(Exception):
    """A status that is not OK, or a reply that is none."""


class Client:
    """One connection; calls may be sent ahead of replies."""

    def __init__(self, port, timeout=60):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.xid = int.from_bytes(os.urandom(3), "big") << 8

    def send(self, program, procedure, *parts):
        self.xid += 1
        head = struct.pack(">IIIIII", self.xid, 0, 2, *program, procedure)
        body = b"".join((head, CREDENTIALS, b"\0" * 8, *parts))
        self.socket.sendall(struct.pack(">I", len(body) | 1 << 31) + body)

    def receive(self):
        """The results of the next reply, behind the status, which must be OK."""
        body = b""
        while True:
            (mark,) = struct.unpack(">I", self.exactly(4))
            body += self.exactly(mark & 0x7fffffff)
            if mark >> 31:
                break
        _, kind, stat, _, length = struct.unpack_from(">IIIII", body)
        at = 20 + length + -length % 4
        accepted, status = struct.unpack_from(">II", body, at)
        if (kind, stat, accepted) != (1, 0, 0) or status:
            raise Fault(f"status {status}, accept_stat {accepted}")
        return body[at + 8:]

    def exactly(self, count):
        data = bytearray(count)
        view = memoryview(data)
        while view:
            got = self.socket.recv_into(view)
            if not got:
                raise Fault("the connection was closed")
            view = view[got:]
        return bytes(data)

    def call(self, program, procedure, *parts):
        self.send(program, procedure, *parts)
        return self.receive()

    def mount(self, path):
        answer = self.call(MOUNT, 1, opaque(path.encode()))
        (length,) = struct.unpack_from(">I", answer)
        return answer[4:4 + length]

    def create(self, folder, name):
        """UNCHECKED, with no attributes set."""
        arguments = opaque(folder) + opaque(name.encode()) + b"\0" * 4 * 7
        answer = self.call(NFS, CREATE, arguments)
        (length,) = struct.unpack_from(">I", answer, 4)
        return answer[8:8 + length]

    def lookup(self, folder, name):
        answer = self.call(NFS, LOOKUP, opaque(folder) + opaque(name.encode()))
        (length,) = struct.unpack_from(">I", answer)
        return answer[4:4 + length]

    def read(self, file, offset, count):
        answer = self.call(NFS, READ, opaque(file), struct.pack(">QI", offset, count))
        at = 4 + 84 * struct.unpack_from(">I", answer)[0] + 8
        (length,) = struct.unpack_from(">I", answer, at)
        return answer[at + 4:at + 4 + length]

    def write_all(self, file, size, piece, at=0, ahead=8):
        """Writes `size` bytes UNSTABLE from `at`, each MiB by `piece(number)`, some calls ahead."""
        waiting = 0
        for number in range(size // MIB):
            data = piece(number)
            self.send(NFS, WRITE, opaque(file),
                      struct.pack(">QIII", at + number * MIB, MIB, UNSTABLE, MIB), data)
            waiting += 1
            if waiting > ahead:
                self.receive()
                waiting -= 1
        for _ in range(waiting):
            self.receive()

    def commit(self, file):
        self.call(NFS, COMMIT, opaque(file), struct.pack(">QI", 0, 0))
