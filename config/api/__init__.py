"""What every endpoint shares: errors, fields, parsers, pages of a list, the schema.

The only part of `config` that apps import.
"""
