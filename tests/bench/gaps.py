"""Watches an interface until standard input closes, then prints the longest time in which nothing was received."""
import select
import sys
import time

PAUSE_S = 0.002


def received(file, name):
    file.seek(0)
    return next(line for line in file if line.strip().startswith(name + ":")).split()[1]


def main():
    with open("/proc/net/dev") as file:
        longest, last, since = 0.0, received(file, sys.argv[1]), time.monotonic()
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
            seen, now = received(file, sys.argv[1]), time.monotonic()
            if seen != last:
                longest, last, since = max(longest, now - since), seen, now
        longest = max(longest, time.monotonic() - since)
    print(f"gap_ms={longest * 1000:.1f}", flush=True)


main()
