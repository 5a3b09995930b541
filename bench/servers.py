"""Processes of servers, for the scripts here."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target")) / "release"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


class Server:
    """A running server: `process`, `port`, `mount_port`, `export`."""

    def __init__(self, folder, core, command, port, mount_port, export):
        self.port, self.mount_port, self.export = port, mount_port, export
        self.log = Path(folder) / "output"
        with open(self.log, "wb") as log:
            pinned = ["taskset", "-c", str(core)] + [str(word) for word in command]
            self.process = subprocess.Popen(pinned, stdout=log, stderr=log, cwd=folder)
        self.wait()

    def wait(self):
        end = time.monotonic() + 60
        for port in {self.port, self.mount_port}:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if self.process.poll() is not None or time.monotonic() > end:
                        self.stop()
                        sys.exit(f"compare: no server:\n{self.log.read_text()}")
                    time.sleep(0.05)

    def rss_mib(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
