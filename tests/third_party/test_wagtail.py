"""Wagtail, which nobody here wrote: its own tests run at a site, and central stays equal to it."""

from __future__ import annotations

import re
import sqlite3

import pytest

from tests.third_party.conftest import Application
from tests.third_party.router import CENTRAL, SITE

# Tests that write: the page tree (treebeard's SQL), copies, aliases, translations, revisions,
# workflows, forms, imports, the admin's own views, and management commands.
WRITING = {
    "wagtail.admin.tests.pages.test_move_page": "TestPageMove",
    "wagtail.contrib.forms.tests.test_models": "TestFormSubmission",
    "wagtail.contrib.redirects.tests.test_import_command": "TestImportCommand",
    "wagtail.images.tests.test_models": "TestUsageCount",
    "wagtail.tests.actions.test_delete": "TestDeleteAction",
    "wagtail.tests.actions.test_edit": "TestEditAction",
    "wagtail.tests.test_collection_model": "TestCollectionTreeOperations",
    "wagtail.tests.test_management_commands": "TestCreateLogEntriesFromRevisionsCommand"
    " TestFixTreeCommand TestMovePagesCommand TestPublishScheduledPagesCommand"
    " TestPurgeRevisionsCommandForPages TestSetUrlPathsCommand",
    "wagtail.tests.test_page_model": "TestCopyForTranslation TestCopyPage TestLiveRevision"
    " TestMovePage TestSaveRevision TestUnpublish TestUpdateAliases",
    "wagtail.tests.test_revision_model": "TestRevisableModel",
    "wagtail.tests.test_workflow": "TestPageWorkflows",
}
LABELS = [f"{module}.{name}" for module, names in WRITING.items() for name in names.split()]
AT_LEAST = {"tests": 150, "models": 60, "records": 20_000}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_its_own_tests_leave_central_equal(application: Application) -> None:
    printed = application.run("test", "--noinput", *LABELS, within=800)
    found = re.search(r"^(\d+) tests, (\d+) models, (\d+) records: all at central$", printed, re.M)
    assert found is not None, printed
    counted = dict(zip(AT_LEAST, map(int, found.groups()), strict=True))
    assert all(counted[what] >= number for what, number in AT_LEAST.items()), counted
    if application.databases[SITE]["ENGINE"].endswith("sqlite3"):
        assert search_index(application, CENTRAL) == search_index(application, SITE)


def search_index(application: Application, alias: str) -> list[tuple[object, ...]]:
    """What SQLite's full-text search holds: Wagtail's triggers on the index fill it."""
    connection = sqlite3.connect(application.databases[alias]["NAME"])
    try:
        query = "SELECT rowid, title, body, autocomplete FROM wagtailsearch_indexentry_fts"
        return sorted(connection.execute(query).fetchall())
    finally:
        connection.close()
