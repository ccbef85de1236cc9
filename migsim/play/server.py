"""The little web server behind ``migsim play``: one page, and migrations as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from ..errors import ChannelError, MigsimError
from .answers import CHOICES, RANGES, Wish, play_migration

_LOCAL: Final = ("127.0.0.1", "localhost")
_QUERY_CHARACTERS: Final = 1000


class _Handler(BaseHTTPRequestHandler):
    """Answers ``/``, ``/api/controls`` and ``/api/migration``; asks nothing of anybody else."""

    server_version = "migsim"
    timeout = 30

    def do_GET(self) -> None:
        """Answer one request."""
        url = urlsplit(self.path)
        if self.headers.get("Host", "").rpartition(":")[0] not in _LOCAL:
            # A page elsewhere that was made to point here has no business with this server.
            self._send(HTTPStatus.FORBIDDEN, {"error": "served to this machine alone"})
        elif url.path == "/":
            page = files(__package__).joinpath("page.html").read_bytes()
            self._reply(HTTPStatus.OK, "text/html; charset=utf-8", page)
        elif url.path == "/api/controls":
            controls = {"ranges": RANGES, "choices": CHOICES, "values": asdict(Wish())}
            self._send(HTTPStatus.OK, controls)
        elif url.path == "/api/migration":
            self._migration(url.query)
        elif url.path == "/favicon.ico":
            self._reply(HTTPStatus.NO_CONTENT, "image/x-icon", b"")
        else:
            self._send(HTTPStatus.NOT_FOUND, {"error": "there is no such page"})

    def _migration(self, query: str) -> None:
        try:
            pairs = parse_qsl(query[:_QUERY_CHARACTERS], keep_blank_values=True)
            recording = play_migration(Wish.of(dict(pairs)))
        except MigsimError as error:
            self._send(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            return
        answer = recording.to_dict()
        stop = recording.stop()
        answer["status"] = recording.status
        answer["stop"] = None if stop is None else asdict(stop)
        answer["run_states"] = [asdict(span) for span in recording.run_states()]
        answer["passes"] = [asdict(span) for span in recording.passes()]
        self._send(HTTPStatus.OK, answer)

    def _send(self, status: HTTPStatus, value: object) -> None:
        body = json.dumps(value, separators=(",", ":")).encode()
        self._reply(status, "application/json", body)

    def _reply(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401
        """Keep quiet: the terminal belongs to the command."""


class PlayServer(ThreadingHTTPServer):
    """Serves the page on 127.0.0.1; ``serve_forever`` until ``shutdown``.

    Raises:
        ChannelError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise ChannelError(f"tcp:127.0.0.1:{port}", "listen", str(error)) from error

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://127.0.0.1:{self.server_address[1]}/"
