"""Servers on this machine that take mail, and that fail at it as a test says."""

import json
import socketserver
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler
from threading import Event, Thread


class Server(socketserver.ThreadingTCPServer):
    """A server in a thread of the test."""

    allow_reuse_address = daemon_threads = True

    def __enter__(self) -> "Server":
        Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever hangs up on it means to."""


class MailServer(Server):
    """Speaks enough SMTP to take mail. While it is not `awake` it lets who brings some wait for an answer.

    `answers` has what it says instead of "well" to a verb, where "data." is the end of a mail; to an answer of None it
    hangs up. It greets in drops, one byte at a time, where `drips`.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.address = {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": str(self.server_address[1]), "EMAIL_TIMEOUT": "60"}
        self.mails: list[EmailMessage] = []
        """What came, wanted or not."""
        self.awake = Event()
        self.be_well()

    def be_well(self) -> None:
        self.awake.set()
        self.answers: dict[str, str | None] = {}
        self.drips = False

    @property
    def brought(self) -> list[str]:
        """To whom each mail was that came."""
        return [mail["To"] for mail in self.mails]

    @property
    def message_ids(self) -> list[str]:
        return [mail["Message-ID"] for mail in self.mails]


class Conversation(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.server.drips:
            self.wfile.write(b"2")
            time.sleep(0.02)
        self.say("220 ready")
        while line := self.rfile.readline():
            verb = line[:4].decode().lower()
            if verb == "data" and "data" not in self.server.answers:
                self.say("354 go on")
                self.take(b"".join(iter(self.rfile.readline, b".\r\n")))
                verb = "data."
            answer = self.server.answers.get(verb, "250 well")
            if answer is None:
                return
            self.say(answer)

    def say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")

    def take(self, content: bytes) -> None:
        self.server.mails.append(message_from_bytes(content, policy=policy.default))
        self.server.awake.wait(timeout=300)


class Provider(Server):
    """A provider of e-mail, as Postmark is one. It answers with `status` and `body`; while not `awake`, it waits."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Call)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        self.address = {
            "EMAIL_PROVIDER": "postmark",
            "ANYMAIL_POSTMARK_SERVER_TOKEN": "0123456789",
            "ANYMAIL_POSTMARK_API_URL": self.url,
        }
        self.brought: list[dict[str, object]] = []
        self.tokens: list[str | None] = []
        self.awake = Event()
        self.take_mail()

    def take_mail(self) -> None:
        """Be well."""
        self.awake.set()
        self.answer(
            200,
            ErrorCode=0,
            Message="OK",
            MessageID="b7bc2f4a",
            SubmittedAt="2026-11-25T00:00:00Z",
            To="ada@example.com",
        )

    def answer(self, status: int, **body: object) -> None:
        self.status, self.body = status, json.dumps(body).encode()


class Call(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if "json" in self.headers.get("Content-Type", ""):
            content = json.loads(content)
        self.server.tokens.append(self.headers["X-Postmark-Server-Token"])
        self.server.brought.append(content)
        self.server.awake.wait(timeout=300)
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *args: object) -> None:
        pass
