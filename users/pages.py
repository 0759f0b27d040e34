"""Where the links in e-mails lead: pages that ask for one press of a button, so that no mail scanner uses a link up."""

from typing import Any

from django import forms
from django.contrib.auth.password_validation import password_validators_help_text_html
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import FormView
from rest_framework.exceptions import ValidationError

from users.serializers import (
    ActivationSerializer,
    KeepEmailSerializer,
    LinkSerializer,
    PasswordResetConfirmSerializer,
    SetEmailConfirmSerializer,
)


class NoForm(forms.Form):
    """A button and nothing else."""


class NewPasswordForm(forms.Form):
    new_password = forms.CharField(
        label=_("New password"),
        help_text=password_validators_help_text_html(),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


@method_decorator(csrf_exempt, name="dispatch")
class LinkPage(FormView):
    """One link of an e-mail: `uid` and `token` in its path go to the serializer that the API uses for it.

    The link is all the right there is, no cookie adds to it: nothing for another site to ride on. And a page without
    a referrer posts its form with `Origin: null`, which a check of the origin could only refuse.
    """

    template_name = "pages/link.html"
    form_class: type[forms.Form] = NoForm
    serializer_class: type[LinkSerializer]
    heading: Any
    button: Any
    done: Any

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        response = super().dispatch(request, *args, **kwargs)
        response["Referrer-Policy"] = "no-referrer"  # the address of this page is a secret
        response["Cache-Control"] = "no-store"
        return response

    def form_valid(self, form: forms.Form) -> HttpResponse:
        link = {"uid": self.kwargs["uid"], "token": self.kwargs["token"]}
        serializer = self.serializer_class(data=link | form.cleaned_data)
        try:
            serializer.is_valid(raise_exception=True)
            serializer.save()
        except ValidationError as error:
            for name, texts in error.detail.items():  # type: ignore[union-attr]
                known = name if name in form.fields else None
                if known or name != "uid":
                    for text in texts:
                        form.add_error(known, str(text))
            return self.form_invalid(form)
        return self.render_to_response(self.get_context_data(form=None))

    def form_invalid(self, form: forms.Form) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=400)


class ActivationPage(LinkPage):
    serializer_class = ActivationSerializer
    heading, button = _("Confirm your e-mail address"), _("This is my address")
    done = _("Thank you. Your e-mail address is confirmed.")


class PasswordResetPage(LinkPage):
    serializer_class = PasswordResetConfirmSerializer
    form_class = NewPasswordForm
    heading, button = _("Set a new password"), _("Set the password")
    done = _("Your new password is set. Sign in with it now.")


class EmailChangePage(LinkPage):
    serializer_class = SetEmailConfirmSerializer
    heading, button = _("Change your e-mail address"), _("This is my new address")
    done = _("Thank you. Your account has the new e-mail address now.")


class KeepEmailPage(LinkPage):
    serializer_class = KeepEmailSerializer
    heading, button = _("Keep your old e-mail address"), _("Keep it and sign out every device")
    done = _("Your account keeps its old e-mail address. We have sent a link there to set a new password.")
