"""A mail server with moods."""

from collections import defaultdict
from email import message_from_bytes, policy
from enum import Enum
from socketserver import StreamRequestHandler
from threading import Event, Lock

from users.tests.servers import Server


class Mood(Enum):
    WELL = "takes mail"
    NOT_NOW = "refuses it for now"
    NEVER = "refuses it for good"
    BREAKS_OFF = "takes the mail and goes away without a word"
    HANGS = "takes the mail and says nothing for a minute"


class MailServer(Server):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.mood = Mood.WELL
        self.brought: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        """Of each recipient, the Message-ID and the subject of what came, refused or not."""
        self.closing, self._lock = Event(), Lock()

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        super().__exit__(*error)

    def note(self, content: bytes) -> None:
        message = message_from_bytes(content, policy=policy.default)
        with self._lock:
            self.brought[message["To"]].append((message["Message-ID"], message["Subject"]))


class Conversation(StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        try:
            self.converse()
        except OSError:
            return

    def converse(self) -> None:
        self.say("220 ready")
        while line := self.rfile.readline():
            answer = "250 well"
            if line[:4].lower() == b"data":
                self.say("354 go on")
                self.server.note(b"".join(iter(self.rfile.readline, b".\r\n")))
                mood = self.server.mood
                if mood is Mood.BREAKS_OFF:
                    return
                if mood is Mood.HANGS:
                    self.server.closing.wait(timeout=60)
                answer = {Mood.NOT_NOW: "451 later", Mood.NEVER: "554 never"}.get(mood, answer)
            self.say(answer)

    def say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")
