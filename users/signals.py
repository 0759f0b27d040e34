"""The news this app gives upward. Each is sent inside the transaction that makes it true."""

from django.dispatch import Signal

account_closed = Signal()
"""Somebody's account is being anonymised. Arguments: user."""
