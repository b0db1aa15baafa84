#!/usr/bin/env python3
"""A Culvert device in plain Python 3, standard library only, written from docs/PROTOCOL.md.

    device.py --server http://HOST[:PORT] --name NAME --token-file FILE --ports 80,tcp:7 [--refuse 9=local_refused]
    device.py --server http://HOST[:PORT] --name NAME --token-file FILE tcp:22=127.0.0.1:22

http ports serve a tiny page (GET / and POST /echo), tcp ports echo until the visitor's END and then send their own. A mapping puts a
local target behind its port instead.
Every event is a JSON line on standard output: endpoint, ready, dial, refused_dial, transfer, wind_down, bye, refused, lost.

Exit codes: 0 after SIGTERM, SIGINT or a bye; refused by the server: the HTTP status minus 360 (400: 40, 401: 41, 403: 43,
409: 49, 429: 69, 503: 143); 1 the connection broke, 2 usage, 3 nothing heard for 2.5 heartbeats.
"""

import argparse
import base64
import hashlib
import http.server
import json
import os
import signal
import socket
import ssl
import struct
import sys
import threading
import urllib.parse

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MAX_FRAME = 65536
HANDSHAKE_S = 10
CLOSE_S = 2
CONNECT_S = 5

print_lock = threading.Lock()


def report(event, **fields):
    with print_lock:
        print(json.dumps({"event": event, **fields}), flush=True)


class Refused(Exception):
    def __init__(self, status, code, message, retry_after):
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after


class Closed(Exception):
    """The peer's close frame, or a broken connection (code 1006)."""

    def __init__(self, code, reason):
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


class WebSocket:
    """The client's side of RFC 6455, as far as the protocol needs it. One thread reads; any thread may send."""

    def __init__(self, server, path, token, context):
        url = urllib.parse.urlsplit(server)
        secure = url.scheme in ("https", "wss")
        raw = socket.create_connection((url.hostname, url.port or (443 if secure else 80)), HANDSHAKE_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = context.wrap_socket(raw, server_hostname=url.hostname) if secure else raw
        self.send_lock = threading.Lock()
        self.closing = False
        try:
            self.reader = self.sock.makefile("rb")
            self._handshake(url.netloc, path, token)
        except BaseException:
            self.sock.close()
            raise

    def _handshake(self, host, path, token):
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: culvert.v1\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        status = int((self.reader.readline(8192).split(b" ") + [b"0", b"0"])[1])
        headers = {}
        while (line := self.reader.readline(8192).strip()) != b"":
            name, _, value = line.decode("latin1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if status != 101:
            body = self.reader.read(min(int(headers.get("content-length", "0")), 4096))
            try:
                told = json.loads(body)
            except ValueError:
                told = {}
            raise Refused(status, told.get("code", ""), told.get("message", ""), headers.get("retry-after"))
        expected = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        if headers.get("sec-websocket-accept") != expected:
            raise Closed(1002, "wrong Sec-WebSocket-Accept")
        if headers.get("sec-websocket-protocol") != "culvert.v1":
            raise Closed(1002, "the server does not speak culvert.v1")
        if "sec-websocket-extensions" in headers:
            raise Closed(1002, "the server uses an extension that nobody offered")

    def send(self, opcode, payload=b""):
        length = len(payload)
        if length < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | length)
        elif length < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, length)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, length)
        mask = os.urandom(4)
        keys = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
        masked = (int.from_bytes(payload, "big") ^ keys).to_bytes(length, "big")
        with self.send_lock:
            self.sock.sendall(head + mask + masked)

    def send_message(self, **message):
        self.send(TEXT, json.dumps(message).encode())

    def send_close(self, code, reason=""):
        self.closing = True
        self.send(CLOSE, struct.pack(">H", code) + reason.encode()[:123])

    def _exactly(self, count):
        data = self.reader.read(count)
        if len(data) < count:
            raise Closed(1006, "the connection broke")
        return data

    def receive(self):
        """The next text or binary frame as (opcode, fin, payload); answers pings; raises Closed."""
        while True:
            first, second = self._exactly(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", self._exactly(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self._exactly(8))
            if length > MAX_FRAME:
                raise Closed(1009, f"a frame of {length} bytes")
            opcode, fin, payload = first & 0x0F, first & 0x80 != 0, self._exactly(length)
            if opcode == PING:
                self.send(PONG, payload)
            elif opcode == CLOSE:
                code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
                if not self.closing:
                    self.send_close(code if code != 1005 else 1000)
                raise Closed(code, payload[2:].decode("utf8", "replace"))
            elif opcode != PONG:
                return opcode, fin, payload

    def abort(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


class Page(http.server.BaseHTTPRequestHandler):
    """The tiny page of http ports."""

    protocol_version = "HTTP/1.1"

    def answer(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(b"<!doctype html><title>python</title><h1>A device in Python</h1>\n", "text/html; charset=utf-8")

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))), "application/octet-stream")

    def log_message(self, *_):
        pass


def serve_page(sock):
    Page(sock, ("visitor", 0), None)


def serve_echo(sock):
    while data := sock.recv(MAX_FRAME):
        sock.sendall(data)


def run_service(service, sock):
    try:
        service(sock)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    finally:
        sock.close()


class Transfer:
    """One visitor: pumps bytes between the transfer connection and a service until both directions have ended."""

    def __init__(self, dial, websocket, near):
        self.dial, self.websocket, self.near = dial, websocket, near
        self.to_device = self.to_visitor = 0

    def run(self):
        self.websocket.sock.settimeout(None)
        up = threading.Thread(target=self.pump_to_visitor, daemon=True)
        up.start()
        outcome, ended = "ok", False
        try:
            self.pump_to_device()
            up.join()
            ended = True
            self.websocket.sock.settimeout(CLOSE_S)  # it is the server that closes
            while True:
                self.websocket.receive()
        except Closed as closed:
            outcome = "ok" if closed.code == 1000 and ended else f"closed {closed.code} {closed.reason}"
        except OSError as err:
            outcome = f"broken {err}"
        finally:
            self.websocket.abort()
            if outcome != "ok" and self.near.family == socket.AF_INET:
                self.near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not a FIN
                try:
                    self.near.shutdown(socket.SHUT_RD)  # the other thread may be inside a read, which would keep it open
                except OSError:
                    pass
                up.join(CLOSE_S)
            self.near.close()
        report("transfer", id=self.dial["id"], port=self.dial["port"], outcome=outcome,
               to_device=self.to_device, to_visitor=self.to_visitor)

    def pump_to_device(self):
        while True:
            opcode, fin, payload = self.websocket.receive()
            if opcode == TEXT:
                continue
            if opcode == BINARY and fin and not payload:
                self.near.shutdown(socket.SHUT_WR)
                return
            self.to_device += len(payload)
            self.near.sendall(payload)

    def pump_to_visitor(self):
        try:
            while data := self.near.recv(MAX_FRAME):
                self.websocket.send(BINARY, data)
                self.to_visitor += len(data)
            self.websocket.send(BINARY)  # END
        except ConnectionResetError:  # the target's: what the socket of the server does, the reader sees
            self.websocket.send_close(4430, "peer_reset")
        except OSError:
            self.websocket.abort()


class Device:
    def __init__(self, options, token):
        self.options, self.token = options, token
        self.context = ssl.create_default_context()
        if options.ca_file:
            self.context.load_verify_locations(options.ca_file)
        self.services = {}
        self.targets = {}
        for mapping in options.mappings:
            spec, _, target = mapping.partition("=")
            host, _, port = target.rpartition(":")
            self.targets[int(spec.rpartition(":")[2])] = (host, int(port))
        for spec in options.ports.split(","):
            scheme, _, number = spec.rpartition(":")
            web = scheme == "http" or (scheme == "" and number == "80")
            if number.isdigit():
                self.services[int(number)] = serve_page if web else serve_echo
        self.refuse = dict((int(port), code) for port, _, code in (each.partition("=") for each in options.refuse))
        self.control = None

    def run(self):
        query = urllib.parse.urlencode({"name": self.options.name, "ports": self.options.ports, "boot": os.urandom(16).hex()}, safe=":,")
        self.control = WebSocket(self.options.server, f"/v1/control?{query}", self.token, self.context)
        self.control.sock.settimeout(HANDSHAKE_S)
        while True:
            opcode, _, payload = self.control.receive()
            if opcode != TEXT:
                raise Closed(1003, "binary on the control connection")
            message = json.loads(payload)
            kind = message.pop("type", None)
            if kind == "ready":
                self.control.sock.settimeout(message["heartbeat_ms"] * 2.5 / 1000)
                report("ready", **message)
            elif kind == "dial":
                report("dial", **message)
                threading.Thread(target=self.answer, args=(message,), daemon=True).start()
            elif kind in ("endpoint", "wind_down"):
                report(kind, **message)
            elif kind == "bye":
                report("bye", **message)
                return

    def answer(self, dial):
        service = self.services.get(dial["port"])
        code = self.refuse.get(dial["port"], None if service else "not_allowed")
        if code is not None:
            self.control.send_message(type="refused", id=dial["id"], code=code)
            report("refused_dial", id=dial["id"], port=dial["port"], code=code)
            return
        try:
            near = self.near_end(dial["port"], service)
        except OSError as err:
            code = "local_timeout" if isinstance(err, TimeoutError) else "local_refused"
            self.control.send_message(type="refused", id=dial["id"], code=code)
            report("refused_dial", id=dial["id"], port=dial["port"], code=code)
            return
        try:
            websocket = WebSocket(self.options.server, dial["path"], self.token, self.context)
        except (Refused, Closed, OSError) as err:
            near.close()
            report("transfer", id=dial["id"], port=dial["port"], outcome=f"not opened: {err}", to_device=0, to_visitor=0)
            return
        Transfer(dial, websocket, near).run()

    def near_end(self, port, service):
        """A socket with the local target, or the built-in service, at its other end."""
        if port in self.targets:
            near = socket.create_connection(self.targets[port], CONNECT_S)
            near.settimeout(None)
            return near
        near, far = socket.socketpair()
        threading.Thread(target=run_service, args=(service, far), daemon=True).start()
        return near

    def leave(self, *_):
        """On SIGTERM: bye, close, exit 0; the main thread may be inside a read, so this ends the process itself."""
        if self.control is not None:
            try:
                self.control.send_message(type="bye", code="bye", message="the device was stopped")
                self.control.send_close(1000)
            except OSError:
                pass
        report("stopped")
        os._exit(0)


def main():
    parser = argparse.ArgumentParser(description="a Culvert device in plain Python")
    parser.add_argument("--server", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--token-file", required=True)
    parser.add_argument("--ports")
    parser.add_argument("mappings", nargs="*", metavar="[http:|https:|tcp:]PORT=HOST:PORT")
    parser.add_argument("--refuse", action="append", default=[], metavar="PORT=CODE")
    parser.add_argument("--ca-file")
    options = parser.parse_args()
    options.ports = options.ports or ",".join(mapping.partition("=")[0] for mapping in options.mappings)
    with open(options.token_file, encoding="utf8") as file:
        device = Device(options, file.read().strip())
    signal.signal(signal.SIGTERM, device.leave)
    signal.signal(signal.SIGINT, device.leave)
    try:
        device.run()
        return 0
    except Refused as refused:
        report("refused", status=refused.status, code=refused.code, message=str(refused), retry_after=refused.retry_after)
        return refused.status - 360
    except Closed as closed:
        report("lost", code=closed.code, reason=closed.reason)
        return 1
    except TimeoutError:
        report("lost", code="heartbeat_lost", reason="nothing heard for 2.5 heartbeats")
        return 3
    except OSError as err:
        report("lost", code="unavailable", reason=str(err))
        return 1


if __name__ == "__main__":
    sys.exit(main())
