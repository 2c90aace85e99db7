"""Sources in the admin of the central site, in a process with that site's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.test_sites import ROOT, manage

TRY = """
import django
django.setup()
from django.conf import settings
settings.ALLOWED_HOSTS.append("testserver")
from django.contrib.auth.models import Permission, User
from django.test import Client
from polls.models import Tag
from sockstream.receiver.models import Holding, Offset, Source
from sockstream.wire.errors import WireError
from tests.integration.applier.feed import EPOCH, Feed

feed = Feed().insert(Tag(name="one"))
feed.applier("default").apply([feed.batch()])
other = Feed().insert(Tag(name="two"))
other.applier("default", "site-b").apply([other.batch()])

browser = Client()
browser.force_login(User.objects.create_superuser("ada"))
url = "/admin/sockstream_receiver/"

def act(page, action, *rows, **more):
    data = {"action": action, "_selected_action": [row.pk for row in rows], **more}
    answer = browser.post(url + page, data, follow=True)
    return answer.content.decode()

def change(name, **data):
    source = Source.objects.get(name=name)
    answer = browser.post(f"{url}source/{source.pk}/change/", data, follow=True)
    return answer.content.decode()

def states():
    return {s.name: (s.disabled, s.retired_at is not None) for s in Source.objects.all()}

assert browser.get(f"{url}source/add/").status_code == 403
change("site-a", disabled="on")
assert states()["site-a"] == (True, False)
change("site-a")
assert states()["site-a"] == (False, False)
page = change("site-a", new_name="site-b")
assert "has a history of its own" in page, page
change("site-a", new_name="harbour")
assert set(states()) == {"harbour", "site-b"}
assert feed.opened("default", "harbour", epoch=EPOCH).offset == 1
print("renamed")

act("source/", "retire_selected", Source.objects.get(name="site-b"))
assert states()["site-b"] == (True, True)
change("site-b")
assert states()["site-b"] == (False, False)
print("retired")

act("offset/", "adopt_selected", *Offset.objects.all())
assert set(Offset.objects.values_list("seq", "anew")) == {(0, True)}
print("adopted")

page = act("source/", "delete_selected", Source.objects.get(name="site-b"))
assert "its rows stay" in page and "Are you sure" in page, page
assert set(states()) == {"harbour", "site-b"}
act("source/", "delete_selected", Source.objects.get(name="site-b"), post="yes")
assert set(states()) == {"harbour"}
assert Holding.objects.count() == 1 and Tag.objects.count() == 2
print("forgotten")

viewer = User.objects.create_user("bea", is_staff=True)
for name in ("view_source", "view_offset"):
    viewer.user_permissions.add(Permission.objects.get(codename=name))
browser.force_login(viewer)
change("harbour", disabled="on", new_name="stolen")
act("source/", "retire_selected", Source.objects.get())
act("source/", "delete_selected", Source.objects.get(), post="yes")
Offset.objects.update(anew=False)
act("offset/", "adopt_selected", Offset.objects.get())
assert states() == {"harbour": (False, False)} and not Offset.objects.get().anew
print("only looked at")
"""


def test_people_change_sources(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/site.sqlite3"
    manage("receiver", tmp_path, url, "migrate", "--verbosity", "0")
    environment = {name: v for name, v in os.environ.items() if not name.startswith("DJANGO_")}
    environment |= {
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "receiver.settings",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TRY],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split("\n")[:-1] == [
        "renamed",
        "retired",
        "adopted",
        "forgotten",
        "only looked at",
    ]
