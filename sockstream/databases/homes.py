"""Where the project's routers keep captured models: it has to be where our own tables are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from django.core import checks
from django.db import connections, models, router

from sockstream.exceptions import ConfigError, some_of

from .readiness import require_autocommit

Model = type[models.Model]


def require_homes(using: str, chosen: Iterable[Model], ours: Model) -> None:
    """Raises ConfigError if one of the models is kept apart from `ours`, a table of this end, in
    every database, or if none of them is in the database `using`."""
    chosen = list(chosen)
    for error in apart(chosen, ours):
        raise error
    if not any(router.allow_migrate_model(using, model) for model in chosen):
        named = ", ".join(alias for alias in _with(ours) if _holds_one(alias, chosen))
        raise ConfigError(
            f"DATABASE_ROUTERS keep no model of SOCKSTREAM['MODELS'] in database {using!r}",
            f"Pass --database with one of: {named}",
        )


def apart(chosen: Iterable[Model], ours: Model) -> list[ConfigError]:
    """An error for each of the models that has no table in any database with the table `ours`."""
    return [_error([model], ours) for model in _apart(chosen, ours)]


def misplaced(
    chosen: Iterable[Model],
    ours: Model,
    apart: Callable[..., checks.CheckMessage],
    *,
    autocommit_id: str,
) -> list[checks.CheckMessage]:
    """What Django's checks say: that models are kept apart from the table `ours`, and an error for
    each database with that table that has no autocommit."""
    found: list[checks.CheckMessage] = []
    if models_apart := _apart(chosen, ours):
        error = _error(models_apart, ours)
        found.append(apart(error.words, hint=error.mend))
    for alias in _with(ours):
        try:
            require_autocommit(alias)
        except ConfigError as error:
            found.append(checks.Error(error.words, hint=error.mend, id=autocommit_id))
    return found


def _apart(chosen: Iterable[Model], ours: Model) -> list[Model]:
    with_ours = _with(ours)
    return [
        model
        for model in chosen
        if not any(router.allow_migrate_model(alias, model) for alias in with_ours)
    ]


def _with(ours: Model) -> list[str]:
    return [alias for alias in connections if router.allow_migrate_model(alias, ours)]


def _holds_one(alias: str, chosen: Iterable[Model]) -> bool:
    return any(router.allow_migrate_model(alias, model) for model in chosen)


def _error(apart: Sequence[Model], ours: Model) -> ConfigError:
    app, labels = ours._meta.app_label, [model._meta.label_lower for model in apart]
    homes = [alias for alias in connections if _holds_one(alias, apart)]
    where = f"in database {', '.join(map(repr, homes))}" if homes else "in no database"
    return ConfigError(
        f"DATABASE_ROUTERS keep {some_of(labels, 'models')} {where}, without the tables of {app}",
        f"Let them allow {app} there and run manage.py migrate --database, "
        f'or add to SOCKSTREAM["EXCLUDE"]: {", ".join(labels)}',
    )
