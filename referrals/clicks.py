"""Which visits of a share link are clicks, and their way into the database, for which no page waits.

A page puts a click into a queue. Twice a second a thread of the process writes what is there. The queue has an end:
past it clicks are dropped, and the metrics say how many. At a graceful stop what waits is written first.
"""

import logging
import queue
import re
import threading
from functools import lru_cache
from multiprocessing.util import Finalize
from urllib.parse import urlsplit

from django.conf import settings
from django.db import close_old_connections
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from config.api import context, metrics
from config.api.problems import out_of_service
from referrals import services
from referrals.cache import PublicCode
from referrals.models import Click

logger = logging.getLogger(__name__)

MOST_WAITING = 10_000
BATCH = 500
PAUSE = 0.5  # seconds
LAST_WORDS = 5  # seconds that a process which stops has for what waits

# What names itself so is no person: crawlers, previews of messengers and mail, monitors, libraries. But browsers inside
# of messengers name those too, and Cubot makes phones.
BOT = re.compile(
    r"(?<!cu)bot(\b|_)|crawl|spider|slurp|scan|preview|facebookexternalhit|facebookcatalog|meta-external|whatsapp/|"
    r"vkshare|embed|iframely|fetch|feed|monitor|uptime|check|headless|lighthouse|phantom|prerender|"
    r"mediapartners|google-|googleother|ms-office|existence discovery|https?://|"
    r"curl|wget|python|java/|okhttp|axios|node|undici|go-http|libwww|perl|ruby|php|guzzle|postman|httpie|apache-http",
    re.IGNORECASE,
)
TABLET = re.compile(r"ipad|tablet|kindle|silk/|android(?!.*mobi)", re.IGNORECASE)
PHONE = re.compile(r"mobi|iphone|ipod|android", re.IGNORECASE)
DESKTOP = re.compile(r"windows|macintosh|x11|linux|cros", re.IGNORECASE)
CHANNEL = re.compile(r"[\w. -]{1,64}")
HOST = re.compile(r"[a-z0-9.-]{1,253}")

_waiting: queue.Queue[Click] = queue.Queue(MOST_WAITING)
_stopping, _starting = threading.Event(), threading.Lock()
_writer: threading.Thread | None = None


def is_click(request: HttpRequest, code: PublicCode) -> bool:
    """Whether a person other than the code's owner opened the link, as far as a request tells."""
    ahead = "".join(request.headers.get(name, "") for name in ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"))
    agent = agent_of(request)
    return (
        request.method == "GET"
        and not re.search("prefetch|prerender|preview", ahead, re.IGNORECASE)
        and request.headers.get("Sec-Fetch-Dest", "document") == "document"  # no image or frame in somebody's page
        and bool(agent)
        and not names_a_program(agent)
        and request.user.pk != code.owner_id
    )


@lru_cache(1024)
def names_a_program(agent: str) -> bool:
    return bool(BOT.search(agent))


def note(request: HttpRequest, code: PublicCode) -> None:
    """Have a click counted soon."""
    now, agent = timezone.now(), agent_of(request)
    visitor = salted_hmac(f"referrals.clicks {now.date()}", f"{context.client.get()} {agent}", algorithm="sha256")
    click = Click(
        code_id=code.id,
        clicked_at=now,
        channel=channel_of(request),
        site=site_of(request),
        device=device_of(agent),
        visitor=visitor.hexdigest()[:16],
    )
    _put(click)
    _begin()


def _put(click: Click) -> None:
    try:
        _waiting.put_nowait(click)
    except queue.Full:
        metrics.CLICKS.labels("dropped").inc()


def agent_of(request: HttpRequest) -> str:
    return request.headers.get("User-Agent", "").strip()[:512]


def channel_of(request: HttpRequest) -> str:
    """What the link says it is in: `ch`, or else what it has for campaigns; no e-mail address, and nothing odd."""
    said = (request.GET.get(name, "").strip().lower() for name in ("ch", "utm_source", "utm_medium", "utm_campaign"))
    return next((text for text in said if CHANNEL.fullmatch(text)), "")


def site_of(request: HttpRequest) -> str:
    """The host of the page that the link was on; empty for one of ours, and where it is not told."""
    try:
        host = urlsplit(request.headers.get("Referer", "")).hostname or ""
    except ValueError:
        return ""
    return host if HOST.fullmatch(host) and host != urlsplit(settings.PUBLIC_URL).hostname else ""


def device_of(agent: str) -> str:
    kinds = {Click.Device.TABLET: TABLET, Click.Device.PHONE: PHONE, Click.Device.DESKTOP: DESKTOP}
    return next((kind for kind, pattern in kinds.items() if pattern.search(agent)), Click.Device.OTHER)


def flush() -> None:
    """Write what waits. What the database does not take now waits on; what it never will is dropped."""
    while batch := _take():
        try:
            counted = services.count_clicks(batch)
        except Exception as error:
            if out_of_service(error):
                logger.warning("clicks wait for the database: %s", type(error).__name__)
                for click in batch:
                    _put(click)
                return
            logger.exception("clicks were dropped: %d", len(batch))
            metrics.CLICKS.labels("dropped").inc(len(batch))
        else:
            metrics.CLICKS.labels("counted").inc(counted)
            metrics.CLICKS.labels("again").inc(len(batch) - counted)


def _take() -> list[Click]:
    batch: list[Click] = []
    try:
        while len(batch) < BATCH:
            batch.append(_waiting.get_nowait())
    except queue.Empty:
        pass
    return batch


def _begin() -> None:
    """Start the writer of this process, unless it is there: a process that was forked off has none."""
    global _writer
    with _starting:
        if _writer is None or not _writer.is_alive():
            _writer = threading.Thread(target=_write, name="clicks", daemon=True)
            _writer.start()
            Finalize(None, _stop, exitpriority=1)  # unlike `atexit`, it is called in the server's workers too


def _write() -> None:
    while not _stopping.wait(PAUSE):
        flush()
        close_old_connections()
    flush()


def _stop() -> None:
    _stopping.set()
    if _writer:
        _writer.join(LAST_WORDS)
