"""What is measured over a tunnel, each as a function of the lab that gives a flat dictionary of numbers."""
import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

from lab import Failed, comes, on

FAR = "10.66.0.2"
GAPS = str(Path(__file__).parent / "gaps.py")
UDP_LADDER = (25_000, 50_000, 100_000, 150_000, 200_000, 300_000, 400_000, 600_000)


def iperf(lab, seconds, *arguments):
    server = lab.start("b", "iperf3", "-s", "-1", "--forceflush")
    comes("iperf3", lambda: "listening" in open(server.log).read())
    command = ["ip", "netns", "exec", "a", "iperf3", "-c", FAR, "-t", str(seconds), "-J", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 20)
    lab.stop(server)
    lab.check()
    try:
        result = json.loads(done.stdout)
    except ValueError:
        raise Failed(f"iperf3 {' '.join(arguments)}: {done.stderr[-200:]}") from None
    if "error" in result:
        raise Failed(f"iperf3 {' '.join(arguments)}: {result['error']}")
    return result["end"]


def gbit_s(end, name="sum_received"):
    return end[name]["bits_per_second"] / 1e9


def tcp(lab, seconds):
    forward = iperf(lab, seconds)
    reverse = iperf(lab, seconds, "--reverse")
    four = iperf(lab, seconds, "--parallel", "4")
    both = iperf(lab, seconds, "--bidir")
    retransmits = forward["sum_sent"]["retransmits"] + reverse["sum_sent"]["retransmits"]
    return {
        "tcp1_gbit_s": gbit_s(forward),
        "tcp1_reverse_gbit_s": gbit_s(reverse),
        "tcp4_gbit_s": gbit_s(four),
        "tcp_both_gbit_s": gbit_s(both) + gbit_s(both, "sum_received_bidir_reverse"),
        "tcp1_retransmits": retransmits,
        "tcp_out_of_order": sum(out_of_order(host) for host in ("a", "b")),
    }


def out_of_order(host):
    """Segments that came before their turn, since the host was made."""
    rows = [line.split() for line in on(host, "cat", "/proc/net/netstat").splitlines() if line.startswith("TcpExt:")]
    return int(dict(zip(*rows))["TCPOFOQueue"])


def segments(lab, seconds):
    """Datagrams per system call in the direction of the data, from the tunnels' own counters."""
    before = {host: lab.counters(host) for host in ("a", "b")}
    iperf(lab, seconds)
    moved = {host: {name: count - before[host][name] for name, count in lab.counters(host).items()} for host in before}
    a, b = moved["a"], moved["b"]
    calls = a["device_frames_in"] + a["trains_out"], b["trains_in"] + b["device_frames_out"]
    return {
        "segments_per_read": a["datagrams_out"] / max(1, a["device_frames_in"]),
        "segments_per_send": a["datagrams_out"] / max(1, a["trains_out"]),
        "segments_per_message": b["datagrams_in"] / max(1, b["trains_in"]),
        "segments_per_receive_call": b["datagrams_in"] / max(1, b["receives"]),
        "segments_per_write": b["device_packets_out"] / max(1, b["device_frames_out"]),
        "segments_per_call": (2 * a["datagrams_out"] + 2 * b["datagrams_in"]) / max(1, sum(calls)),
    }


def ping(lab, seconds):
    idle = echoes(lab, 200, 0.005)
    with stream(lab, 3 * seconds + 10):
        loaded = echoes(lab, int(seconds * 100), 0.01)
    return {
        "ping_idle_p50_us": quantile(idle, 0.5),
        "ping_idle_p99_us": quantile(idle, 0.99),
        "ping_loaded_p50_us": quantile(loaded, 0.5),
        "ping_loaded_p99_us": quantile(loaded, 0.99),
        "ping_loaded_lost": int(seconds * 100) - len(loaded),
    }


@contextlib.contextmanager
def stream(lab, seconds):
    """Has one TCP stream run from a to b, for that long at most."""
    server = lab.start("b", "iperf3", "-s", "-1", "--forceflush")
    comes("iperf3", lambda: "listening" in open(server.log).read())
    client = lab.start("a", "iperf3", "-c", FAR, "-t", str(seconds))
    comes("the stream", lambda: received(lab) > 10_000_000)
    yield
    lab.stop(client)
    lab.stop(server)


def received(lab):
    rows = on("b", "cat", "/proc/net/dev").splitlines()
    return int(next(row for row in rows if row.strip().startswith("wgb:")).split()[1])


def longest_gap(lab, meanwhile):
    """The longest time without a byte received by b while `meanwhile` runs, in ms."""
    sampler = lab.start("b", "nice", "-n", "-20", sys.executable, GAPS, "wgb", stdin=subprocess.PIPE)
    comes("the sampler", lambda: "ready" in open(sampler.log).read())
    meanwhile()
    lab.check()
    sampler.stdin.close()
    gap = comes("the longest gap", lambda: re.search(r"gap_ms=([0-9.]+)", open(sampler.log).read()))
    lab.stop(sampler)
    return float(gap[1])


def echoes(lab, count, interval):
    command = ["ip", "netns", "exec", "a", "ping", "-c", str(count), "-i", str(interval), "-W", "1", FAR]
    output = subprocess.run(command, capture_output=True, text=True).stdout
    times = sorted(float(found) * 1000 for found in re.findall(r"time=([0-9.]+) ms", output))
    lab.check()
    if not times:
        raise Failed("no echo came back")
    return times


def quantile(ordered, share):
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def udp(lab, size):
    """Datagrams without segmentation offload: the peak over offered loads, and what is left of it at twice that load."""
    steps, worse = [], 0
    for load in UDP_LADDER:
        steps.append(datagrams(lab, size, load))
        best = max(received for _, received in steps)
        # One second may be a bad one; two in a row are past the peak.
        worse = worse + 1 if steps[-1][1] < 0.9 * best else 0
        if worse == 2:
            break
    for factor in (0.75, 1.25):
        peak = max(steps, key=lambda step: step[1])
        steps.append(datagrams(lab, size, int(peak[0] * factor)))
    offered, peak = max(steps, key=lambda step: step[1])
    twice, left = datagrams(lab, size, int(2 * peak))
    # What came under twice the load could have come before as well.
    offered, peak = max((offered, peak), (twice, left), key=lambda step: step[1])
    return {
        f"udp{size}_peak_kpps": peak / 1e3,
        f"udp{size}_peak_offered_kpps": offered / 1e3,
        f"udp{size}_overload_offered_kpps": twice / 1e3,
        f"udp{size}_overload_share": left / max(1, peak),
    }


def datagrams(lab, size, load):
    """Offers `load` datagrams a second for one second; returns how many were sent and how many came, each second."""
    end = iperf(lab, 1, "--udp", "--length", str(size), "--bitrate", str(load * size * 8))["sum"]
    sent, lost, seconds = end["packets"], max(0, end["lost_packets"]), max(end["seconds"], 0.1)
    return sent / seconds, (sent - lost) / seconds
