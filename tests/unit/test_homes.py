"""Routers that keep captured models apart from our tables, and databases without autocommit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from polls.models import Choice, Question, Tag
from sockstream.conf import Settings
from sockstream.databases.homes import apart, require_homes
from sockstream.exceptions import ConfigError, Refusal
from sockstream.receiver import checks as at_central
from sockstream.receiver.applying.plans import compile_plan
from sockstream.receiver.models import Offset
from sockstream.receiver.preflight import require_ready as require_central
from sockstream.sender import checks as at_site
from sockstream.sender.models import Capture
from sockstream.sender.preflight import require_ready as require_site
from sockstream.wire.records import Layout
from tests.databases import Databases
from tests.routers import Homes

POLLS = [Question, Choice, Tag]


class Apart(Homes):
    """The usual one: the application in a database of its own, everything else in another."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        if app_label == "polls":
            return db == "default"
        return super().allow_migrate(db, app_label, **hints)


class OneApart(Homes):
    """One model is kept where nothing of ours is."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        if hints.get("model_name") == "tag":
            return db == "default"
        return super().allow_migrate(db, app_label, **hints)


class Nowhere(Homes):
    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return app_label != "polls" and super().allow_migrate(db, app_label, **hints)


class OnPostgreSQL(Homes):
    """The application is in one of several databases that have our tables."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        if app_label == "polls":
            return db.endswith("_pg")
        return super().allow_migrate(db, app_label, **hints)


def router(class_: type[Homes]) -> override_settings:
    return override_settings(DATABASE_ROUTERS=[f"{__name__}.{class_.__name__}"])


def test_where_all_is_together_there_is_nothing_to_say() -> None:
    assert apart(POLLS, Capture) == []
    assert apart(POLLS, Offset) == []
    require_homes("site_sqlite", POLLS, Capture)


@pytest.mark.parametrize(
    ("class_", "named"),
    [(Apart, {"polls.question", "polls.choice", "polls.tag"}), (OneApart, {"polls.tag"})],
)
def test_a_model_in_another_database_is_named(class_: type[Homes], named: set[str]) -> None:
    with router(class_):
        found = apart(POLLS, Capture)
        assert {error.words.split()[2] for error in found} == named
        assert "in database 'default', without the tables of sockstream_sender" in found[0].words
        assert "EXCLUDE" in found[0].mend
        with pytest.raises(ConfigError, match="DATABASE_ROUTERS keep polls"):
            require_homes("site_sqlite", POLLS, Capture)


def test_a_model_in_no_database_is_named() -> None:
    with router(Nowhere):
        assert "in no database" in apart([Tag], Offset)[0].words


def test_the_database_that_has_the_models_is_named() -> None:
    with router(OnPostgreSQL):
        require_homes("central_pg", POLLS, Offset)
        with pytest.raises(ConfigError) as found:
            require_homes("central_sqlite", POLLS, Offset)
    assert found.value.mend == "Pass --database with one of: central_pg"


@pytest.mark.parametrize("check", [at_site.check_homes, at_central.check_homes])
def test_check_says_so(check: Any) -> None:
    with override_settings(SOCKSTREAM={"MODELS": ["polls"]}):
        assert check() == []
        with router(OneApart):
            [message] = check()
    assert message.id in {"sockstream.W011", "sockstream.W106"}
    assert "polls.tag" in message.msg


@pytest.fixture
def one_transaction() -> Iterator[None]:
    """As DATABASES with `"AUTOCOMMIT": False` would make it."""
    aliases = ("site_sqlite", "central_sqlite")
    for alias in aliases:
        connections[alias].settings_dict["AUTOCOMMIT"] = False
    yield
    for alias in aliases:
        connections[alias].settings_dict["AUTOCOMMIT"] = True


@pytest.mark.usefixtures("one_transaction")
def test_without_autocommit_nothing_begins() -> None:
    with override_settings(SOCKSTREAM={"MODELS": ["polls"]}):
        assert [message.id for message in at_site.check_homes()] == ["sockstream.E005"]
        assert [message.id for message in at_central.check_homes()] == ["sockstream.E104"]
    for require, alias in ((require_site, "site_sqlite"), (require_central, "central_sqlite")):
        with pytest.raises(ConfigError, match=r"AUTOCOMMIT.* is False"):
            require(alias, Settings(MODELS=("polls",)))


def test_neither_end_begins_with_models_apart(databases: Databases) -> None:
    databases.clean("site_sqlite", "central_sqlite")
    with router(OneApart):
        for require, alias in ((require_site, "site_sqlite"), (require_central, "central_sqlite")):
            with pytest.raises(ConfigError, match=r"keep polls\.tag in database 'default'"):
                require(alias, Settings(MODELS=("polls",)))


def test_a_record_of_a_model_that_is_elsewhere_says_where_to_run() -> None:
    """Central has several databases, and each has an `oplog_receive` of its own."""
    with router(OnPostgreSQL), pytest.raises(Refusal) as refused:
        compile_plan("central_sqlite", Tag, Layout("polls.tag", ("name",), ()))
    assert refused.value.code == "schema-mismatch"
    assert "--database" in refused.value.mend
