"""Codes and the referrals that came by them. Both are kept for good: a code that ended is retired, never erased."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, models
from django.db.models import Count, F, Max, Min, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from config.api.compiled import ANOTHER_ID, ID, CompiledInsert, CompiledQuery, Row
from users.models import User


class WithShareLink:
    """Where a code leads."""

    code: Any

    @property
    def share_url(self) -> str:
        return f"{settings.PUBLIC_URL}/r/{self.code}"

    @property
    def sign_up_url(self) -> str:
        """Where people sign up with it, on the company's own site; empty where that is not known."""
        if not settings.SIGNUP_URL:
            return ""
        site = urlsplit(settings.SIGNUP_URL)
        return site._replace(query="&".join(filter(None, (site.query, f"ref={self.code}")))).geturl()


class ReferralCodeQuerySet(models.QuerySet["ReferralCode"]):
    def active(self, at: datetime | None = None) -> "ReferralCodeQuerySet":
        """Codes that are not retired and have not run out at the moment `at`, which is now by the database's clock."""
        return self.filter(retired_at=None, expires_at__gt=at or Now())

    def usable(self, at: datetime | None = None) -> "ReferralCodeQuerySet":
        """Active codes whose owner is not blocked: what others may see, and register with."""
        return self.active(at).filter(owner__is_active=True)

    def findable(self, email: str) -> "ReferralCodeQuerySet":
        """The usable code of the owner of an address, unless they do not want to be found by it."""
        findable = self.usable().filter(owner__email=email, owner__discoverable_by_email=True)
        return findable.select_related("owner")

    def holding(self, folded: str, since: datetime) -> "ReferralCodeQuerySet":
        """Codes of this folded form that are in force, or ended after the moment `since`."""
        in_force_or_ended_late = Q(retired_at=None, expires_at__gt=since) | Q(retired_at__gt=since)
        return self.filter(in_force_or_ended_late, folded=folded)


class ReferralCode(WithShareLink, CompiledInsert, models.Model):
    """A code that its owner, the referrer, hands on. At most one of an owner's codes is current: not retired."""

    owner = models.ForeignKey(User, models.PROTECT, related_name="referral_codes", verbose_name=_("owner"))
    code = models.CharField(_("code"), max_length=32, help_text=_("As it is shown."))
    folded = models.CharField(
        max_length=32, db_index=True, help_text=_("What must be unique and is looked up; see `codes.fold`.")
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now(), db_index=True)
    expires_at = models.DateTimeField(_("expires at"))
    retired_at = models.DateTimeField(
        _("retired at"),
        null=True,
        blank=True,
        help_text=_("When it was deleted, or made room for another after its end."),
    )

    objects = ReferralCodeQuerySet.as_manager()

    class Meta:
        verbose_name = _("referral code")
        verbose_name_plural = _("referral codes")
        constraints = [
            models.UniqueConstraint(
                fields=["owner"], condition=Q(retired_at=None), name="referrals_code_one_current_per_owner"
            ),
            models.UniqueConstraint(
                fields=["folded"], condition=Q(retired_at=None), name="referrals_code_current_folded_unique"
            ),
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("created_at")), name="referrals_code_expires_after_creation"
            ),
        ]

    def __str__(self) -> str:
        return self.code

    def is_usable(self, at: datetime | None = None) -> bool:
        at = at or timezone.now()
        return self.retired_at is None and self.expires_at > at and self.owner.is_active


class Click(models.Model):
    """Somebody opened a share link: see `clicks` for who counts. Nothing here says who it was."""

    class Device(models.TextChoices):
        PHONE = "phone", _("Phone")
        TABLET = "tablet", _("Tablet")
        DESKTOP = "desktop", _("Desktop")
        OTHER = "other", _("Other")

    code = models.ForeignKey(
        ReferralCode, models.PROTECT, related_name="clicks", verbose_name=_("code"), db_index=False
    )
    clicked_at = models.DateTimeField(_("clicked at"), db_index=True)
    channel = models.CharField(_("channel"), max_length=64, blank=True, help_text=_("What the link says it is in."))
    site = models.CharField(_("site"), max_length=253, blank=True, help_text=_("The host of the page it was on."))
    device = models.CharField(_("device"), max_length=7, choices=Device)
    visitor = models.CharField(_("visitor"), max_length=16, help_text=_("A pseudonym, a new one each day."))

    class Meta:
        verbose_name = _("click")
        verbose_name_plural = _("clicks")
        indexes = [models.Index(fields=["code", "visitor", "clicked_at"], name="referrals_click_of_visitor")]

    def __str__(self) -> str:
        return f"{self.code_id} {self.clicked_at}"


class ClickDay(models.Model):
    """How many clicks a code had on a day in UTC, and in each quarter of an hour that had any. It stays when they go.

    In quarters, since that is what all time zones are apart by: any of them has its days of these.
    """

    code = models.ForeignKey(ReferralCode, models.PROTECT, related_name="click_days", db_index=False)
    day = models.DateField()
    clicks = models.PositiveIntegerField(default=0)
    quarters = models.JSONField(default=dict, help_text="From 0 to 95, as text.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["code", "day"], name="referrals_clickday_one_per_code_and_day")]

    def __str__(self) -> str:
        return f"{self.code_id} {self.day}: {self.clicks}"

    def add(self, at: datetime) -> None:
        quarter = str(at.hour * 4 + at.minute // 15)
        self.quarters[quarter] = self.quarters.get(quarter, 0) + 1
        self.clicks += 1


class LookupCount(models.Model):
    """How often somebody's code was looked up by their address."""

    owner = models.OneToOneField(User, models.PROTECT, related_name="lookup_count", primary_key=True)
    lookups = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.lookups)


class ReferralQuerySet(models.QuerySet["Referral"]):
    def shown(self) -> "ReferralQuerySet":
        """Those that their referrer gets to see.

        Where sign-ups must not tell which addresses have accounts, that is who proved theirs: see `open_account`.
        """
        return self if settings.REGISTRATION_REVEALS_ACCOUNTS else self.exclude(referred__email_verified_at=None)

    def page(self, referrer: int, bound: int, is_backward: bool, most: int) -> "models.QuerySet[Referral, Any]":
        """What the list shows of those next to the id `bound`, the nearest first, each with its id before.

        What is told of each is asked for by itself: for a join, PostgreSQL may gather and sort all that there are.
        """
        beyond = {"id__gt" if is_backward else "id__lt": bound}
        rows = self.filter(referrer=referrer, **beyond).order_by("id" if is_backward else "-id")
        person = User.objects.filter(pk=OuterRef("referred_id"))
        code = ReferralCode.objects.filter(pk=OuterRef("code_id"))
        told = Subquery(person.values("username")), Subquery(person.values("email"))
        return rows.values_list("id", "referred_id", *told, "created_at", Subquery(code.values("code")))[:most]

    def summary(self, at: datetime | None = None) -> dict[str, Any]:
        """How many there are, how many came in the 7 and 30 days before `at`, and when the first and the last came."""
        at = at or timezone.now()
        return self.aggregate(
            total=Count("id"),
            last_7_days=Count("id", filter=Q(created_at__gt=at - timedelta(days=7))),
            last_30_days=Count("id", filter=Q(created_at__gt=at - timedelta(days=30))),
            first_at=Min("created_at"),
            last_at=Max("created_at"),
        )


class Referral(CompiledInsert, models.Model):
    """Who brought whom, by which code. Written once: with the referred user, or when they claim it soon after."""

    referrer = models.ForeignKey(
        User, models.PROTECT, related_name="referrals_made", verbose_name=_("referrer"), db_index=False
    )
    referred = models.OneToOneField(User, models.PROTECT, related_name="referral", verbose_name=_("referred user"))
    code = models.ForeignKey(ReferralCode, models.PROTECT, related_name="referrals", verbose_name=_("code"))
    created_at = models.DateTimeField(_("created at"), db_default=Now(), db_index=True)

    objects = ReferralQuerySet.as_manager()

    class Meta:
        verbose_name = _("referral")
        verbose_name_plural = _("referrals")
        constraints = [
            # Nobody is referred by themselves or by who came later; so no chain of referrals ever closes.
            models.CheckConstraint(
                condition=Q(referrer__lt=F("referred")), name="referrals_referral_referrer_is_older"
            ),
        ]
        # The list of a referrer's referrals, newest first, read straight off the index at any depth.
        indexes = [models.Index(fields=["referrer", "-id"], name="referrals_referral_newest")]

    def __str__(self) -> str:
        return f"{self.referrer_id} → {self.referred_id}"


_OWN = CompiledQuery[ReferralCode](lambda owner: ReferralCode.objects.usable().filter(owner=owner), ID)
_FINDABLE = CompiledQuery[ReferralCode](
    lambda email: ReferralCode.objects.findable(email).select_related(None), "somebody@example.com"
)


def own_code_of(owner: User) -> ReferralCode | None:
    return next(iter(_OWN.objects(owner.pk)), None)


def find_code_of(email: str, using: str = DEFAULT_DB_ALIAS) -> ReferralCode | None:
    """The code that `ReferralCodeQuerySet.findable` finds for a canonical address."""
    return next(iter(_FINDABLE.objects(email, using=using)), None)


_REFERRER = CompiledQuery[Referral](
    lambda referred: Referral.objects.filter(referred=referred).values_list("referrer__username"), ID
)


def referrer_of(user: User) -> str | None:
    """The username of who brought them."""
    return next((username for [username] in _REFERRER.rows(user.pk)), None)


_PAGE = CompiledQuery[Referral](
    lambda referrer, bound, _all, *shape: Referral.objects.shown().page(referrer, bound, *shape), ID, ANOTHER_ID
)


def page_of(referrer: int, bound: int, is_backward: bool, most: int, using: str = DEFAULT_DB_ALIAS) -> list[Row]:
    """The rows of `ReferralQuerySet.page`, of the referrals that the referrer gets to see."""
    shape = (settings.REGISTRATION_REVEALS_ACCOUNTS, is_backward, most)
    return _PAGE.rows(referrer, bound, shape=shape, using=using)


def summary_of(referrer: User | int, at: datetime | None = None, using: str = DEFAULT_DB_ALIAS) -> dict[str, Any]:
    """What a referrer's codes have brought: see `ReferralQuerySet.summary`, with totals of the newest 100 codes."""
    shown = Referral.objects.using(using).shown().filter(referrer=referrer)
    totals = dict(shown.order_by().values_list("code").annotate(Count("id")))
    own = ReferralCode.objects.using(using).filter(owner=referrer).order_by("-id")[:100]
    lookups = LookupCount.objects.using(using).filter(owner=referrer).values_list("lookups", flat=True).first()
    days = ClickDay.objects.using(using).filter(code__owner=referrer)
    clicks = days.aggregate(total=Sum("clicks", default=0))["total"]
    by_code = [{"code": code.code, "total": totals.get(code.pk, 0)} for code in own]
    summary = shown.summary(at)
    rate = round(summary["total"] / clicks, 4) if clicks else None
    return summary | {
        "clicks": clicks,
        "conversion_rate": rate,
        "lookups": lookups or 0,
        "codes": by_code,
        "series": [],
    }
