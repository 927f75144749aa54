"""Two hosts on a cable with a tunnel between them, inside a world of its own.

    host a, 192.0.2.1  eth0 ─────── eth0  host b, 192.0.2.2
    wga, 10.66.0.1                        wgb, 10.66.0.2
"""
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time

MTU = 1420
NUMBER = {"a": 1, "b": 2}
DEADLINE_S = 20  # far more than anything here takes
SOCKETS = "/run/wireguard"


class Failed(Exception):
    """Why a turn came to nothing."""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def on(host, *command, **options):
    return run("ip", "netns", "exec", host, *command, **options)


def comes(what, condition, patience=DEADLINE_S):
    deadline = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not come")
        time.sleep(0.02)
    return found


class Lab:
    """The hosts, the processes on them, and what the candidate needs to connect them."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(dir="/run")
        self.processes = []
        self.pid = {}
        self.keys = {}

    def __enter__(self):
        os.makedirs(SOCKETS, exist_ok=True)
        try:
            self.hosts()
        except Failed:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for host in NUMBER:
            subprocess.run(["ip", "netns", "del", host], capture_output=True)
        for name in os.listdir(SOCKETS):
            os.unlink(os.path.join(SOCKETS, name))
        self.folder.cleanup()

    def hosts(self):
        run("ip", "netns", "add", "a")
        run("ip", "netns", "add", "b")
        run("ip", "link", "add", "eth0", "netns", "a", "type", "veth", "peer", "name", "eth0", "netns", "b")
        for host, number in NUMBER.items():
            for line in ("link set lo up", "link set eth0 addrgenmode none up", f"addr add 192.0.2.{number}/24 dev eth0"):
                run("ip", "-n", host, *line.split())

    def start(self, host, *command, env=None, stdin=subprocess.DEVNULL):
        log = open(os.path.join(self.folder.name, f"{len(self.processes)}.log"), "w+")
        process = subprocess.Popen(
            ["ip", "netns", "exec", host, *command],
            stdin=stdin, stdout=log, stderr=log, env={**os.environ, **(env or {})},
        )
        process.log = log.name
        self.processes.append(process)
        return process

    def stop(self, process):
        self.processes.remove(process)
        process.kill()
        process.wait()

    def check(self):
        for process in self.processes:
            if process.poll() is not None:
                with open(process.log) as log:
                    raise Failed(f"{process.args[4]} ended: {log.read().strip()[-300:]}")

    # --- tunnels

    def connect(self, command, env=None):
        """Starts a WireGuard program on both hosts and makes them known to each other."""
        for host in NUMBER:
            interface = "wg" + host
            self.pid[host] = self.start(host, *command, interface, env=env).pid
            comes(interface, lambda: self.there(host, interface) and os.path.exists(f"{SOCKETS}/{interface}.sock"))
            private = run("wg", "genkey").strip()
            self.keys[host] = (private, run("wg", "pubkey", input=private).strip())
        for host, other in (("a", "b"), ("b", "a")):
            path = os.path.join(self.folder.name, host + ".key")
            with open(path, "w") as file:
                file.write(self.keys[host][0])
            run(
                "wg", "set", "wg" + host, "listen-port", "51820", "private-key", path, "peer", self.keys[other][1],
                "allowed-ips", f"10.66.0.{NUMBER[other]}/32", "endpoint", f"192.0.2.{NUMBER[other]}:51820",
            )
            self.address(host)

    def limit(self, program):
        """Starts the pipe without handshakes on both hosts."""
        for host, other in (("a", "b"), ("b", "a")):
            ends = [f"192.0.2.{NUMBER[which]}:51820" for which in (host, other)]
            self.pid[host] = self.start(host, program, "wg" + host, *ends).pid
            comes("wg" + host, lambda: self.there(host, "wg" + host))
        for host in NUMBER:
            self.address(host)

    def there(self, host, interface):
        self.check()
        return subprocess.run(["ip", "-n", host, "link", "show", interface], capture_output=True).returncode == 0

    def address(self, host):
        run("ip", "-n", host, "link", "set", "wg" + host, "addrgenmode", "none", "mtu", str(MTU), "up")
        run("ip", "-n", host, "addr", "add", f"10.66.0.{NUMBER[host]}/24", "dev", "wg" + host)

    def answers(self):
        ping = ["ip", "netns", "exec", "a", "ping", "-c", "1", "-W", "0.3", "10.66.0.2"]
        comes("an answer of the other host", lambda: subprocess.run(ping, capture_output=True).returncode == 0)

    # --- what the tunnel's own socket says

    def ask(self, host, text):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{SOCKETS}/wg{host}.sock")
            client.sendall(text.encode() + b"\n")
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: client.recv(1 << 16), b"")).decode()
        pairs = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
        if pairs.get("errno") != "0":
            raise Failed(f"wg{host} answered {answer[-80:]!r}")
        return pairs

    def counters(self, host):
        return {name: int(count) for name, count in self.ask(host, "counters=1\n").items()}

    def add_peers(self, host, keys):
        """Makes more peers known: none of them has an endpoint."""
        lines = ["set=1"]
        for at, key in enumerate(keys, 256):
            lines += [f"public_key={key}", f"allowed_ip=10.67.{at >> 8}.{at & 255}/32"]
        self.ask(host, "\n".join(lines) + "\n")

    def memory(self, host):
        """Private memory of the tunnel's process, in KiB (proc(5))."""
        with open(f"/proc/{self.pid[host]}/smaps_rollup") as file:
            sizes = dict(line.split(":") for line in file if line.startswith("Private_"))
        with open(f"/proc/{self.pid[host]}/status") as file:
            anonymous = next(line for line in file if line.startswith("RssAnon"))
        kib = lambda text: int(text.split()[0])
        return {
            "private_kib": kib(sizes["Private_Clean"]) + kib(sizes["Private_Dirty"]),
            "anonymous_kib": kib(anonymous.split(":")[1]),
        }


def random_keys(count):
    return [secrets.token_hex(32) for _ in range(count)]
