"""The news this app gives upward. Each is sent inside the transaction that makes it true."""

from django.dispatch import Signal

account_closed = Signal()
"""Somebody's account is being anonymised. Arguments: user."""

appearance_changed = Signal()
"""Somebody has a new username, was blocked or unblocked; the row says so already. Arguments: user."""

tidying = Signal()
"""No news but a question, outside of any transaction: which rows of yours are over? A receiver returns {name: rows}."""
