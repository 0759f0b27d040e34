from referrals.models import ReferralCode
from users.mail import Email
from users.models import User


class ReferralCodeEmail(Email):
    """A referrer's own code, for them to hand on; `asked_by` is who asked for it, if somebody else did."""

    template_name = "email/referral_code.html"

    def __init__(self, owner: User, code: ReferralCode, asked_by: User | None = None) -> None:
        super().__init__(owner, code=code, asked_by=asked_by, url=code.share_url)


def send_code(email: str, asked_by: int) -> None:
    """The code of whoever has this address, to that very address, if they want to be found by it."""
    code = ReferralCode.objects.findable(email).first()
    if code:
        ReferralCodeEmail(code.owner, code, asked_by=User.objects.get(pk=asked_by)).queue()
