"""The canonical form of an e-mail address: one mailbox, one spelling."""

from functools import lru_cache

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

SPECIAL_USE_DOMAIN_NAMES.clear()  # a company's own network may well end in .local or .test

# IDNA 2003 and 2008 disagree on these: the same name would be two different domains (RFC 5894, section 7.2).
AMBIGUOUS = frozenset("ßẞς\u200c\u200d")


@lru_cache(maxsize=1024)  # a sign-up asks for it where it is read and where it is stored
def canonical_email(address: str) -> str:
    """Bring `address` into the one form in which it is stored, compared and written to.

    Lower case, the domain in ASCII (IDNA 2008). Raises ValueError for what is no deliverable address of the Internet:
    IP literals, names without a dot, quoted or non-ASCII local parts, more than 64 characters before the @, more than
    254 in all.
    """
    try:
        found = validate_email(address, check_deliverability=False, allow_smtputf8=False, strict=True)
    except EmailNotValidError:
        raise ValueError from None
    if AMBIGUOUS.intersection(address):
        raise ValueError
    return f"{found.local_part}@{found.ascii_domain}".lower()


def masked(address: str) -> str:
    """Show enough of `address` to recognise it and too little to write to it: `a***@example.com`."""
    local, _at, domain = address.rpartition("@")
    return f"{local[:1]}***@{domain}"
