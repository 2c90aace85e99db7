"""The two ready-to-run sites, each in a process of its own, as a reader meets them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.databases import Databases

ROOT = Path(__file__).resolve().parents[2]
SITES = ("sender", "receiver")

TRY_THE_ADMIN = """
import django
django.setup()
from django.conf import settings
settings.ALLOWED_HOSTS.append("testserver")
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from polls.models import Choice, Question
question = Question.objects.create(text="Why?", published_at=timezone.now())
Choice.objects.create(question=question, text="Because")
browser = Client()
browser.force_login(User.objects.create_superuser("ada"))
pages = "", "add/", f"{question.pk}/change/", f"{question.pk}/delete/"
for page in pages:
    print(browser.get(f"/admin/polls/question/{page}").status_code)
print(browser.post("/admin/polls/tag/add/", {"name": "new"}).status_code)
print(b'name="_save"' in browser.get(f"/admin/polls/question/{question.pk}/change/").content)
"""


def run(folder: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder`, warnings being errors, with the site's database at `url`."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")
    }
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=environment | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def manage(site: str, folder: Path, url: str, *arguments: str) -> str:
    """Run a command of the site's, which has to succeed; what it printed."""
    done = run(folder, url, str(ROOT / site / "manage.py"), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The address of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path}/site.sqlite3"


@pytest.mark.parametrize("site", SITES)
def test_a_site_migrates_and_has_no_complaint(site: str, url: str, tmp_path: Path) -> None:
    """From any working directory."""
    manage(site, tmp_path, url, "migrate")
    assert "no issues" in manage(site, tmp_path, url, "check", "--database", "default")
    assert "No changes" in manage(site, tmp_path, url, "makemigrations", "--check", "--dry-run")


@pytest.mark.parametrize("site", SITES)
def test_a_site_migrates_on_postgresql(site: str, databases: Databases, tmp_path: Path) -> None:
    url = databases.new_postgresql(f"of_the_{site}")
    manage(site, tmp_path, url, "migrate")
    assert "no issues" in manage(site, tmp_path, url, "check", "--database", "default")


def test_a_site_writes_ahead_into_its_sqlite_file(url: str, tmp_path: Path) -> None:
    manage("sender", tmp_path, url, "migrate")
    header = (tmp_path / "site.sqlite3").read_bytes()[:20]
    assert header[18:20] == b"\2\2"  # the format's "write version" and "read version": WAL


def test_every_module_of_a_site_has_one_name(url: str, tmp_path: Path) -> None:
    """`settings` alone is not importable, so that nothing is loaded twice by two names."""
    code = (
        "import importlib.util as i; print(i.find_spec('settings'), i.find_spec('sender.settings'))"
    )
    assert manage("sender", tmp_path, url, "shell", "-v0", "-c", code).startswith("None ModuleSpec")


@pytest.mark.parametrize(
    ("site", "answers"),
    [
        ("sender", ["200", "200", "200", "200", "302", "True"]),
        ("receiver", ["200", "403", "200", "403", "403", "False"]),
    ],
)
def test_the_admin_writes_at_the_site_alone(
    site: str, answers: list[str], url: str, tmp_path: Path
) -> None:
    """List, add, change and delete a question, add a tag, and whether there is a save button."""
    manage(site, tmp_path, url, "migrate")
    code = f"import os; os.environ['DJANGO_SETTINGS_MODULE'] = '{site}.settings'{TRY_THE_ADMIN}"
    done = run(ROOT, url, "-c", code)
    assert done.stdout.split() == answers, done.stderr
