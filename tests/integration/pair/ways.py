"""Every way to write into a site's database, a function each: `way(using)`.

A way leaves rows behind, and where it changes or deletes rows it has made them before, so that an
insert, an update and a delete of the same row are on their way together.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connections, migrations, transaction
from django.db.migrations.state import ProjectState
from django.db.models import F, Q
from django.utils import timezone

from polls.models import Choice, Question, Tag
from tests.zoo.models import (
    Author,
    Bird,
    Branch,
    Category,
    Chicken,
    Counter,
    Egg,
    Essay,
    Hall,
    Leaf,
    Member,
    Note,
    Noted,
    Parameter,
    Person,
    Pizza,
    Pizzeria,
    Reading,
    Required,
    Seat,
    Slot,
    Supplier,
    Topping,
    Translation,
    Tree,
)

Way = Callable[[str], None]
WAYS: list[Way] = []


def way(function: Way) -> Way:
    """Add a function to WAYS."""
    WAYS.append(function)
    return function


class Undone(Exception):
    """Rolls a transaction back."""


def ask(using: str, text: str, choices: int = 2) -> Question:
    """A question with choices, saved one by one."""
    question = Question(text=text, published_at=timezone.now())
    question.save(using=using)
    for number in range(choices):
        Choice(question=question, text=f"{text} {number}").save(using=using)
    return question


@way
def save(using: str) -> None:
    question = ask(using, "save")
    question.text = "saved again"
    question.save(using=using)
    question.closed = True
    question.save(using=using, update_fields=["closed"])


@way
def save_with_expression(using: str) -> None:
    choice = ask(using, "expression").choices.using(using)[0]
    choice.votes = F("votes") + 3
    choice.save(using=using)


@way
def delete(using: str) -> None:
    ask(using, "delete")
    choice = ask(using, "delete").choices.using(using)[0]
    choice.delete(using=using)


@way
def delete_with_cascades(using: str) -> None:
    trees = [Tree(name=str(number)) for number in range(3)]
    for tree in trees:
        tree.save(using=using)
        branch = Branch(tree=tree)
        branch.save(using=using)
        Leaf(branch=branch).save(using=using)
        Bird(sits_on=tree).save(using=using)
    trees[0].delete(using=using)
    Tree.objects.using(using).filter(name="1").delete()


@way
def update_queryset(using: str) -> None:
    ask(using, "update", choices=20)
    Choice.objects.using(using).filter(text__startswith="update").update(votes=F("votes") + 1)
    Choice.objects.using(using).filter(text="no such").update(votes=9)


@way
def bulk_create(using: str) -> None:
    question = ask(using, "bulk", choices=0)
    choices = [Choice(question=question, text=str(number)) for number in range(300)]
    Choice.objects.using(using).bulk_create(choices, batch_size=100)


@way
def bulk_create_with_conflicts(using: str) -> None:
    tags = Tag.objects.using(using)
    tags.bulk_create([Tag(name="old one"), Tag(name="old two")])
    known = list(tags.all())
    for tag in known:
        tag.name = f"new {tag.name}"
    more = [*known, Tag(name="a third")]
    # MySQL finds the conflict by itself, and may not be told where to look.
    told = {} if connections[using].vendor == "mysql" else {"unique_fields": ["id"]}
    tags.bulk_create(more, update_conflicts=True, update_fields=["name"], **told)  # type: ignore[arg-type]
    tags.bulk_create([Tag(name="a third"), Tag(name="a fourth")], ignore_conflicts=True)


@way
def bulk_update(using: str) -> None:
    choices = list(ask(using, "bulk update", choices=30).choices.using(using))
    for number, choice in enumerate(choices):
        choice.votes, choice.text = number, f"changed {number}"
    Choice.objects.using(using).bulk_update(choices, ["votes", "text"], batch_size=7)


@way
def get_or_create(using: str) -> None:
    for _ in range(2):
        Tag.objects.using(using).get_or_create(name="got or created")
    for name in ("one", "two"):
        Parameter.objects.using(using).update_or_create(name="u", defaults={"value": name})


@way
def many_to_many(using: str) -> None:
    toppings = [Topping(name=f"topping {number}") for number in range(5)]
    Topping.objects.using(using).bulk_create(toppings)
    pizzas = [Pizza(name=f"pizza {number}") for number in range(3)]
    Pizza.objects.using(using).bulk_create(pizzas)
    first, second, third = Pizza.objects.using(using).order_by("name")[:3]
    first.toppings.add(*toppings)
    first.toppings.remove(toppings[0], toppings[1])
    second.toppings.set(toppings[:3])
    second.toppings.set(toppings[2:])
    third.toppings.add(*toppings)
    third.toppings.clear()
    third.toppings.create(name="a sixth")
    toppings[4].pizzas.using(using)


@way
def many_to_many_with_local_keys(using: str) -> None:
    essay, authors = Essay(title="essay"), [Author(name=str(number)) for number in range(3)]
    for author in authors:
        author.save(using=using)
    essay.author, essay.editor = authors[0], authors[1]
    essay.save(using=using)
    essay.readers.set(authors)
    essay.readers.remove(authors[1])
    authors[1].delete(using=using)
    people, members = [Person(name=str(n)) for n in range(3)], [Member(name=str(n)) for n in "abc"]
    for each in (*people, *members):
        each.save(using=using)
    people[0].friends.set(people[1:])
    people[1].follows.add(people[0], people[2])
    people[0].friends.remove(people[2])
    members[0].others.add(*members[1:])
    members[0].others.remove(members[2])


@way
def loaddata(using: str) -> None:
    rows = [
        {"model": "zoo.category", "pk": str(uuid.uuid4()), "fields": {"name": "loaded"}},
        {"model": "zoo.counter", "pk": 77, "fields": {"name": "loaded", "value": 7}},
        {"model": "zoo.parameter", "pk": "loaded", "fields": {"value": "ü😀"}},
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.json")
        path.write_text(json.dumps(rows))
        for _ in range(2):
            call_command("loaddata", str(path), database=using, verbosity=0)


@way
def data_migration(using: str) -> None:
    def forwards(apps: Any, schema_editor: Any) -> None:
        alias = schema_editor.connection.alias
        tag = apps.get_model("polls", "Tag")
        for number in range(5):
            tag(name=f"migrated {number}").save(using=alias)
        tag.objects.using(alias).filter(name="migrated 0").delete()

    from django.apps import apps

    state = ProjectState.from_apps(apps)
    operation = migrations.RunPython(forwards)
    with connections[using].schema_editor(atomic=True) as editor:
        operation.database_forwards("polls", editor, state, state)


@way
def raw_sql(using: str) -> None:
    ask(using, "raw", choices=10)
    with connections[using].cursor() as cursor:
        cursor.execute("UPDATE polls_choice SET votes = votes + 5 WHERE text LIKE 'raw%'")
        cursor.execute("DELETE FROM polls_choice WHERE text = %s", ["raw 3"])
        cursor.execute("INSERT INTO zoo_parameter (name, value) VALUES (%s, %s)", ["raw", "sql"])
        cursor.execute("UPDATE zoo_parameter SET name = 'rawer' WHERE name = 'raw'")
        cursor.execute("INSERT INTO zoo_counter (name, value) SELECT text, 1 FROM polls_question")
        cursor.executemany(
            "INSERT INTO zoo_parameter (name, value) VALUES (%s, %s)",
            [(f"many {number}", "x") for number in range(5)],
        )


@way
def another_program(using: str) -> None:
    """Something that knows nothing of Django, nor of us."""
    ask(using, "other")
    statements = [
        "UPDATE polls_choice SET votes = 42 WHERE text = 'other 0'",
        "DELETE FROM polls_choice WHERE text = 'other 1'",
        "INSERT INTO zoo_parameter (name, value) VALUES ('other', 'program')",
    ]
    run_elsewhere(using, statements)


def run_elsewhere(using: str, statements: list[str]) -> None:
    """Run statements over a plain connection of the database's own driver, each committed."""
    connection = plain_connection(using)
    try:
        for statement in statements:
            connection.cursor().execute(statement)
    finally:
        connection.close()


def plain_connection(using: str) -> Any:
    """A DB-API connection in autocommit, without Django."""
    django = connections[using]
    if django.vendor == "sqlite":
        return sqlite3.connect(django.settings_dict["NAME"], timeout=20, isolation_level=None)
    options = {"host": django.settings_dict["HOST"], "port": int(django.settings_dict["PORT"])}
    name, user = django.settings_dict["NAME"], django.settings_dict["USER"]
    if django.vendor == "postgresql":
        import psycopg

        return psycopg.connect(**options, dbname=name, user=user, autocommit=True)
    import pymysql

    return pymysql.connect(**options, database=name, user=user, autocommit=True)


@way
def rolled_back(using: str) -> None:
    ask(using, "kept")
    with suppress(Undone), transaction.atomic(using=using):
        ask(using, "undone")
        Question.objects.using(using).filter(text="kept").delete()
        raise Undone


@way
def savepoints(using: str) -> None:
    with transaction.atomic(using=using):
        ask(using, "before the savepoint")
        with suppress(Undone), transaction.atomic(using=using):
            ask(using, "inside the savepoint")
            Choice.objects.using(using).update(votes=99)
            with transaction.atomic(using=using):
                ask(using, "deeper")
            raise Undone
        with transaction.atomic(using=using):
            ask(using, "in another savepoint")


@way
def unique_swap(using: str) -> None:
    slots = [Slot(position=number, name=str(number)) for number in range(4)]
    Slot.objects.using(using).bulk_create(slots)
    query = Slot.objects.using(using)
    with transaction.atomic(using=using):
        query.filter(id=slots[0].id).update(position=100)
        query.filter(id=slots[1].id).update(position=0)
        query.filter(id=slots[2].id).update(position=1)
        query.filter(id=slots[0].id).update(position=2)
    with transaction.atomic(using=using):
        query.filter(id=slots[3].id).delete()
        Slot(position=3, name="in its place").save(using=using)


@way
def changed_keys(using: str) -> None:
    Parameter(name="a", value="1").save(using=using)
    Parameter(name="b", value="2").save(using=using)
    parameters = Parameter.objects.using(using)
    with transaction.atomic(using=using):
        parameters.filter(name="a").update(name="c")
        parameters.filter(name="b").update(name="a")
        parameters.filter(name="c").update(name="b")
    Translation(language="de", phrase="x", version=1, text="y").save(using=using)
    Translation.objects.using(using).update(version=2)
    topping = Topping(name="its key changes")
    topping.save(using=using)
    Topping.objects.using(using).filter(id=topping.id).update(id=uuid.uuid4())


@way
def integer_keys(using: str) -> None:
    counters = [Counter(name=str(number)) for number in range(3)]
    for counter in counters:
        counter.save(using=using)
        Reading(counter=counter, value=1).save(using=using)
    Reading.objects.using(using).filter(counter=counters[0]).update(counter=counters[1])
    counters[0].delete(using=using)
    counters[1].delete(using=using)


@way
def composite_keys(using: str) -> None:
    hall = Hall(name="hall")
    hall.save(using=using)
    Seat.objects.using(using).bulk_create([Seat(hall=hall, number=n) for n in range(6)])
    Seat.objects.using(using).filter(number__gte=3).update(taken=True)
    Seat.objects.using(using).filter(number=5).delete()


@way
def inheritance(using: str) -> None:
    pizzerias = [Pizzeria(name=f"place {number}", stars=1) for number in range(3)]
    for pizzeria in pizzerias:
        pizzeria.save(using=using)
    pizzerias[0].oven, pizzerias[0].name = "gas", "renamed"
    pizzerias[0].save(using=using)
    Pizzeria.objects.using(using).filter(name="place 1").update(stars=5, oven="stone")
    supplier = Supplier(name="supplier")
    supplier.save(using=using)
    supplier.customers.set(pizzerias)
    pizzerias[2].delete(using=using)


@way
def references_to_itself(using: str) -> None:
    root = Category(name="root")
    root.save(using=using)
    child = Category(name="child", parent=root)
    child.save(using=using)
    Category(name="grandchild", parent=child).save(using=using)
    with transaction.atomic(using=using):
        Category.objects.using(using).filter(id=child.id).update(parent=None)
        Category.objects.using(using).filter(id=root.id).update(parent=child)
    own = Category(name="its own")
    own.parent = own
    own.save(using=using)


@way
def references_in_a_circle(using: str) -> None:
    with transaction.atomic(using=using):
        chicken, egg = Chicken(), Egg()
        chicken.save(using=using)
        egg.chicken = chicken
        egg.save(using=using)
        chicken.egg = egg
        chicken.save(using=using)
    with transaction.atomic(using=using):
        Chicken.objects.using(using).update(egg=None)
        Egg.objects.using(using).all().delete()


@way
def generic_references(using: str) -> None:
    noted = Noted()
    noted.save(using=using)
    for number in range(3):
        Note(target=noted, text=str(number)).save(using=using)
    other = Noted()
    other.save(using=using)
    Note(target=other).save(using=using)
    other.delete(using=using)


@way
def filtered_deletes(using: str) -> None:
    for number in range(6):
        ask(using, f"filtered {number}", choices=3)
    wanted = Q(text__endswith="2") | Q(text__endswith="4")
    Question.objects.using(using).filter(wanted, text__startswith="filtered").delete()
    Choice.objects.using(using).filter(text__startswith="filtered 1")._raw_delete(using)


@way
def many_in_one_transaction(using: str) -> None:
    """More records than a batch holds."""
    with transaction.atomic(using=using):
        rows = [Required(name=f"row {number}", count=number) for number in range(2500)]
        Required.objects.using(using).bulk_create(rows, batch_size=500)
        Required.objects.using(using).filter(count__lt=1000).update(active=False)
        Required.objects.using(using).filter(count__gte=2000).delete()


@way
def clear_everything(using: str) -> None:
    for model in (Question, Tag, Tree, Category, Author, Slot, Required):
        model._base_manager.using(using).all().delete()
