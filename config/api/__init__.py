"""What every endpoint shares: errors, fields, parsers, pages of a list, the schema.

The only part of `config` that apps import.
"""

API_PREFIXES = ("/api/", "/auth/")
"""What is under one of them speaks JSON; all else is pages."""
