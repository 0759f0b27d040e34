"""What Unfold says in the admin and brings no translation of: named here, it is in ours."""

from django.utils.translation import gettext_noop as _

WORDS = [
    _("Add %(name)s"),
    _("After you've created a user, you’ll be able to edit more user options."),
    _("Apply Filters"),
    _("Cancel"),
    _("Dark"),
    _("Enter a new password for the user <strong>%(username)s</strong>."),
    _("False"),
    _("General"),
    _("Go back"),
    _("Light"),
    _("No results found"),
    _(
        "Raw passwords are not stored, so there is no way to see this user’s password, but you can change the password "
        'using <a href="{}" class="text-primary-600 dark:text-primary-500">this form</a>.'
    ),
    _("Reset filters"),
    _("Return to site"),
    _("Run"),
    _("Select action"),
    _("Select action to run"),
    _("Select all %(total_count)s %(module_name)s"),
    _("Select all rows"),
    _("Select record"),
    _("System"),
    _("This page yielded into no results. Create a new item or reset your filters."),
    _("Toggle password visibility"),
    _("True"),
    _("Welcome back to"),
    _("You have been successfully logged out from the administration"),
]
