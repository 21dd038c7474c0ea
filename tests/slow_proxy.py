"""A proxy that makes each call of a server slow, for tests."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Proxy(ThreadingHTTPServer):
    """Passes each call on after some seconds, and counts them."""

    daemon_threads = True

    def __init__(self, target: str, seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target, self.seconds, self.calls = target, seconds, 0
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that went away is none of ours."""


class Handler(BaseHTTPRequestHandler):
    server: Proxy

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.calls += 1
        time.sleep(self.server.seconds)
        headers = {key: value for key, value in self.headers.items() if key != "Host"}
        url = self.server.target + self.path
        request = urllib.request.Request(url, body or None, headers, method=self.command)
        try:
            answer = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815 - as http.server has it

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def slow(target: str, seconds: float) -> Iterator[Proxy]:
    """A proxy before `target` that needs some seconds a call."""
    proxy = Proxy(target, seconds)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    yield proxy
    proxy.shutdown()
    proxy.server_close()
