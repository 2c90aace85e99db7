"""Settings of the central site: SQLite beside this file, or what DATABASE_URL names.

This site is for trying sockstream out and for reading: its secret key is no secret.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CERTS = ROOT / "certs"

SECRET_KEY = "an example's key, which is no secret"
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "receiver.urls"
WSGI_APPLICATION = "receiver.wsgi.application"
STATIC_URL = "static/"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "polls",
    "sockstream.receiver",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def _database() -> dict[str, Any]:
    """The database that DATABASE_URL names, such as postgresql://user:password@host:5432/name."""
    database: dict[str, Any] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(ROOT / "receiver" / "db.sqlite3"),
    }
    if url := os.environ.get("DATABASE_URL"):
        import dj_database_url

        database = dict(dj_database_url.parse(url))
    if database["ENGINE"].endswith("sqlite3"):
        # Readers do not wait for the writer. A writer waits for its turn before it reads, and for
        # the disk before it goes on: what was acked is still there after a power cut.
        database["OPTIONS"] = {
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        }
    return database


DATABASES = {"default": _database()}

SOCKSTREAM = {
    "MODELS": ["polls"],
    "CA": str(CERTS / "ca.crt"),
    "CERT": str(CERTS / "localhost.crt"),
    "KEY": str(CERTS / "localhost.key"),
}

# The questions belong to the sites: central's admin shows them.
POLLS_READ_ONLY = True
