"""Parked records in the admin of the central site, in a process with that site's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.test_sites import ROOT, manage

TRY = """
import django
django.setup()
from datetime import UTC, datetime
from django.conf import settings
settings.ALLOWED_HOSTS.append("testserver")
settings.SOCKSTREAM = {**settings.SOCKSTREAM, "ON_ERROR": "park"}
from django.contrib.auth.models import User
from django.test import Client
from polls.models import Choice, Question, Tag
from sockstream.receiver.models import Offset, Parked
from sockstream.wire.records import INSERT, Layout
from tests.integration.applier.feed import Feed

Tag.objects.create(name="taken")
Tag.objects.create(name="again <b>")
bad, worse = Tag(name="taken"), Tag(name="taken")
question = Question(text="Why?", published_at=datetime(2026, 1, 1, tzinfo=UTC))
feed = Feed().insert(bad, worse, question)
bad.name = "again <b>"
feed.end().update(bad)
link = Layout("polls.question_tags", ("question", "tag"), ())
feed.raw(INSERT, link, [question.id.bytes, bad.id.bytes])
feed.applier("default").apply([feed.batch()])

browser = Client()
browser.force_login(User.objects.create_superuser("ada"))
url = "/admin/sockstream_receiver/parked/"
first, second, third = Parked.objects.order_by("seq")

def act(action, *rows, **more):
    data = {"action": action, "_selected_action": [row.pk for row in rows], **more}
    answer = browser.post(url, data, follow=True)
    return answer.status_code, answer.content.decode()

def said(what):
    print(what, Parked.objects.count(), Offset.objects.get().parked)

page = browser.get(url).content.decode()
assert "1 to 4" in page and "refers to the row of 1" in page and "polls.tag" in page
page = browser.get(f"{url}{first.pk}/change/").content.decode()
assert "again &lt;b&gt;" in page, page
assert 'name="_save"' not in page
assert browser.get(f"{url}{first.pk}/delete/").status_code == 403
assert browser.get(f"{url}add/").status_code == 403
said("looked at")

code, page = act("retry_selected", first)
assert "0 records are applied, 2 stay parked" in page, page
said("retried")

code, page = act("delete_selected", first)
assert "protected" in page and "(seq 5)" in page, page
act("delete_selected", first, post="yes")
said("not dropped")

code, page = act("delete_selected", second)
assert "Are you sure" in page, page
said("asked")
act("delete_selected", second, post="yes")
said("dropped")

Tag.objects.all().delete()
code, page = act("retry_selected", first)
assert "2 records are applied, 0 stay parked" in page, page
assert Tag.objects.get().name == "again <b>"
said("applied")

viewer = User.objects.create_user("bea", is_staff=True)
from django.contrib.auth.models import Permission
viewer.user_permissions.add(Permission.objects.get(codename="view_parked"))
Parked.objects.all().delete()
feed.insert(Tag(name="again <b>"))
feed.applier("default").apply([feed.batch()])
browser.force_login(viewer)
assert browser.get(url).status_code == 200
for action in ("retry_selected", "delete_selected"):
    act(action, Parked.objects.get(), post="yes")
said("only looked at")
"""


def test_look_retry_and_drop(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/site.sqlite3"
    manage("receiver", tmp_path, url, "migrate")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TRY],
        cwd=ROOT,
        env=environment | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "receiver.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "looked at 3 3",
        "retried 3 3",
        "not dropped 3 3",
        "asked 3 3",
        "dropped 2 2",
        "applied 0 0",
        "only looked at 1 1",
    ]
