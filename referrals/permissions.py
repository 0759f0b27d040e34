from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class SelfOrReferralStaff(BasePermission):
    """The user whose id is in the path, and staff who may view referrals. Nobody else learns whether the id exists."""

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        return str(user.pk) == view.kwargs["pk"] or (user.is_staff and user.has_perm("referrals.view_referral"))
