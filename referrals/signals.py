"""The news this app gives upward. Each is sent inside the transaction that makes it true."""

from django.dispatch import Signal

referral_created = Signal()
"""Somebody registered with a code. Arguments: referral."""
