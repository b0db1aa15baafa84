"""A link with delay: two TUN devices in two network namespaces, packets carried from one to the other a while later.

    delay.py NAMESPACE_A DEVICE_A NAMESPACE_B DEVICE_B ONE_WAY_MS

Makes the devices, without addresses and down, prints `ready`, and carries packets until it is killed or its standard input
ends; the devices vanish with it. Packets beyond QUEUE_MAX on the way are dropped, as a router would.
"""
import collections
import ctypes
import fcntl
import os
import selectors
import struct
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
QUEUE_MAX = 20_000


def make_tun(namespace, name):
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as handle:
        if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {namespace}")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14s", name.encode(), IFF_TUN_NO_PI, b""))
    return tun


def carry(a, b, delay):
    # Stays in order of time: the delay is the same for all.
    on_the_way = collections.deque()
    selector = selectors.DefaultSelector()
    selector.register(a, selectors.EVENT_READ, b)
    selector.register(b, selectors.EVENT_READ, a)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        wait = max(0, on_the_way[0][0] - time.monotonic()) if on_the_way else None
        for key, _ in selector.select(wait):
            if key.fileobj is sys.stdin:
                return
            for _ in range(64):
                try:
                    packet = os.read(key.fd, 65536)
                except BlockingIOError:
                    break
                if len(on_the_way) < QUEUE_MAX:
                    on_the_way.append((time.monotonic() + delay, key.data, packet))
        now = time.monotonic()
        while on_the_way and on_the_way[0][0] <= now:
            _, out, packet = on_the_way.popleft()
            try:
                os.write(out, packet)
            except OSError:
                pass  # its queue is full, or the device is down: the packet is lost


def main():
    namespace_a, device_a, namespace_b, device_b, one_way_ms = sys.argv[1:]
    a = make_tun(namespace_a, device_a)
    b = make_tun(namespace_b, device_b)
    print("ready", flush=True)
    carry(a, b, float(one_way_ms) / 1000)


main()
