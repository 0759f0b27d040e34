from referrals.models import ReferralCode
from users.mail import Email
from users.models import User


class ReferralCodeEmail(Email):
    """A referrer's own code, for them to hand on; `asked_by` is who asked for it, if somebody else did."""

    template_name = "email/referral_code.html"

    def __init__(self, owner: User, code: ReferralCode, asked_by: User | None = None) -> None:
        super().__init__(owner, code=code, asked_by=asked_by, url=code.share_url)
