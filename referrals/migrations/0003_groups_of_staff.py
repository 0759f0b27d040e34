"""The groups that staff are put into: Support, who read, and Manager, who act too.

On an empty database the rights are only made after all migrations, so those that are needed are made here, as Django
makes them, which finds them then. A group that is there already keeps what it has, and gets these rights.
"""

from django.db import migrations

ACT = [("referrals", "referral"), ("referrals", "referralcode"), ("users", "outgoingemail"), ("users", "user")]
READ = [*ACT, ("referrals", "click"), ("social_django", "usersocialauth"), ("users", "auditevent")]


def make_groups(apps, schema_editor):
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    Group = apps.get_model("auth", "Group")

    def right_to(verb, app, model):
        kind, _made = ContentType.objects.get_or_create(app_label=app, model=model)
        name = f"Can {verb} {apps.get_model(app, model)._meta.verbose_name}"
        right, _made = Permission.objects.get_or_create(
            content_type=kind, codename=f"{verb}_{model}", defaults={"name": name}
        )
        return right

    reading = [right_to("view", *model) for model in READ]
    acting = [right_to("change", *model) for model in ACT]
    for name, rights in [("Support", reading), ("Manager", reading + acting)]:
        group, _made = Group.objects.get_or_create(name=name)
        group.permissions.add(*rights)


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("referrals", "0002_clicks"),
        ("social_django", "0001_initial"),
        ("users", "0003_name_codes_retired_by_staff"),
    ]

    # Taken back, it leaves the groups: people may be in them.
    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
