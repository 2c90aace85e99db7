"""Small writes that hypothesis strings together: `Writes(using).OP(a, b)`, for any two numbers.

What they touch is chosen by the numbers among the rows that are there, in an order that is the same
at every run, so that a failure can be repeated and made smaller.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import connections, models, transaction
from django.db.models import F

from tests.zoo.models import (
    Author,
    Bird,
    Branch,
    Category,
    Counter,
    Essay,
    Leaf,
    Parameter,
    Pizza,
    Pizzeria,
    Reading,
    Slot,
    Topping,
    Tree,
)

M = TypeVar("M", bound=models.Model)
Op = Callable[["Writes", int, int], None]


class Writes:
    """Writes into the database `using`; `count` grows, so that no two names are alike."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.count = 0

    def rows(self, model: type[M]) -> models.QuerySet[M]:
        return model._default_manager.using(self.using).order_by("pk")

    def pick(self, model: type[M], number: int) -> M | None:
        """The row of that number, counted round and round; None if there is none."""
        rows = self.rows(model)
        count = rows.count()
        return rows[number % count] if count else None

    def some(self, model: type[M], number: int) -> list[M]:
        """Every row whose place has its bit in `number`."""
        return [row for place, row in enumerate(self.rows(model)) if number >> place & 1]

    def name(self) -> str:
        self.count += 1
        return f"name {self.count}"

    def id(self) -> uuid.UUID:
        return uuid.uuid5(uuid.NAMESPACE_OID, self.name())

    def save(self, row: models.Model) -> None:
        row.save(using=self.using)

    # Rows with a UUID for everybody else and an integer at home.

    def add_author(self, a: int, b: int) -> None:
        self.save(Author(id=self.id(), name=self.name(), mentor=self.pick(Author, a)))

    def add_essay(self, a: int, b: int) -> None:
        if author := self.pick(Author, a):
            editor = self.pick(Author, b)
            self.save(Essay(id=self.id(), title=self.name(), author=author, editor=editor))

    def change_author(self, a: int, b: int) -> None:
        if author := self.pick(Author, a):
            author.name, author.mentor = self.name(), self.pick(Author, b)
            self.save(author)

    def move_essays(self, a: int, b: int) -> None:
        self.rows(Essay).filter(author=self.pick(Author, a)).update(author=self.pick(Author, b))

    def read_essay(self, a: int, b: int) -> None:
        if essay := self.pick(Essay, a):
            essay.readers.set(self.some(Author, b))

    def delete_author(self, a: int, b: int) -> None:
        if author := self.pick(Author, a):
            author.delete(using=self.using)

    # What may not be alike.

    def add_slot(self, a: int, b: int) -> None:
        highest = self.rows(Slot).aggregate(highest=models.Max("position"))["highest"]
        self.save(Slot(id=self.id(), position=(highest or 0) + 1, name=self.name()))

    def swap_slots(self, a: int, b: int) -> None:
        one, other = self.pick(Slot, a), self.pick(Slot, b)
        if one is None or other is None or one == other:
            return
        with transaction.atomic(using=self.using):
            self.rows(Slot).filter(id=one.id).update(position=None)
            self.rows(Slot).filter(id=other.id).update(position=one.position)
            self.rows(Slot).filter(id=one.id).update(position=other.position)

    def replace_slot(self, a: int, b: int) -> None:
        if slot := self.pick(Slot, a):
            with transaction.atomic(using=self.using):
                self.rows(Slot).filter(id=slot.id).delete()
                self.save(Slot(id=self.id(), position=slot.position, name=self.name()))

    def forget_slot(self, a: int, b: int) -> None:
        if slot := self.pick(Slot, a):
            self.rows(Slot).filter(id=slot.id).update(position=None)

    # Many to many.

    def add_pizza(self, a: int, b: int) -> None:
        self.save(Pizza(id=self.id(), name=self.name()))

    def add_toppings(self, a: int, b: int) -> None:
        toppings = [Topping(id=self.id(), name=self.name()) for _ in range(a % 4)]
        self.rows(Topping).bulk_create(toppings)

    def m2m_add(self, a: int, b: int) -> None:
        if pizza := self.pick(Pizza, a):
            pizza.toppings.add(*self.some(Topping, b))

    def m2m_remove(self, a: int, b: int) -> None:
        if pizza := self.pick(Pizza, a):
            pizza.toppings.remove(*self.some(Topping, b))

    def m2m_set(self, a: int, b: int) -> None:
        if pizza := self.pick(Pizza, a):
            pizza.toppings.set(self.some(Topping, b))

    def m2m_clear(self, a: int, b: int) -> None:
        if topping := self.pick(Topping, a):
            topping.pizzas.clear()

    def delete_topping(self, a: int, b: int) -> None:
        if topping := self.pick(Topping, a):
            topping.delete(using=self.using)

    # Keys that change.

    def add_parameters(self, a: int, b: int) -> None:
        rows = [Parameter(name=self.name(), value=str(b)) for _ in range(a % 5)]
        self.rows(Parameter).bulk_create(rows)

    def upsert_parameters(self, a: int, b: int) -> None:
        known = self.some(Parameter, a)
        rows = [*known, Parameter(name=self.name())]
        for row in rows:
            row.value = self.name()
        if b % 2:
            self.rows(Parameter).bulk_create(rows, ignore_conflicts=True)
        else:
            self.rows(Parameter).bulk_create(
                rows, update_conflicts=True, update_fields=["value"], unique_fields=["name"]
            )

    def change_key(self, a: int, b: int) -> None:
        if parameter := self.pick(Parameter, a):
            self.rows(Parameter).filter(name=parameter.name).update(name=self.name())

    def swap_keys(self, a: int, b: int) -> None:
        one, other = self.pick(Parameter, a), self.pick(Parameter, b)
        if one is None or other is None or one == other:
            return
        aside = self.name()
        with transaction.atomic(using=self.using):
            for before, after in ((one.name, aside), (other.name, one.name), (aside, other.name)):
                self.rows(Parameter).filter(name=before).update(name=after)

    def delete_parameters(self, a: int, b: int) -> None:
        names = [parameter.name for parameter in self.some(Parameter, a)]
        self.rows(Parameter).filter(name__in=names).delete()

    def come_back(self, a: int, b: int) -> None:
        """Delete a row and make it anew under the same key."""
        if parameter := self.pick(Parameter, a):
            self.rows(Parameter).filter(name=parameter.name).delete()
            self.save(Parameter(name=parameter.name, value=self.name()))

    # Cascades.

    def grow_tree(self, a: int, b: int) -> None:
        tree = Tree(id=self.id(), name=self.name())
        self.save(tree)
        for _ in range(a % 3):
            branch = Branch(id=self.id(), tree=tree)
            self.save(branch)
            self.save(Leaf(id=self.id(), branch=branch))
        self.save(Bird(id=self.id(), sits_on=self.pick(Tree, b)))

    def fell_tree(self, a: int, b: int) -> None:
        if tree := self.pick(Tree, a):
            tree.delete(using=self.using)

    def move_branches(self, a: int, b: int) -> None:
        self.rows(Branch).filter(tree=self.pick(Tree, a)).update(tree=self.pick(Tree, b))

    def add_category(self, a: int, b: int) -> None:
        self.save(Category(id=self.id(), name=self.name(), parent=self.pick(Category, a)))

    def move_category(self, a: int, b: int) -> None:
        if category := self.pick(Category, a):
            category.parent = self.pick(Category, b)
            self.save(category)

    def delete_category(self, a: int, b: int) -> None:
        if category := self.pick(Category, a):
            category.delete(using=self.using)

    # Integer keys.

    def add_counter(self, a: int, b: int) -> None:
        counter = Counter(name=self.name(), value=b)
        self.save(counter)
        readings = [Reading(counter=counter, value=number) for number in range(a % 4)]
        self.rows(Reading).bulk_create(readings)

    def count_on(self, a: int, b: int) -> None:
        self.rows(Counter).filter(value__gte=b % 5).update(value=F("value") + a)

    def count_in_bulk(self, a: int, b: int) -> None:
        counters = self.some(Counter, a)
        for counter in counters:
            counter.value, counter.name = counter.value + b, self.name()
        self.rows(Counter).bulk_update(counters, ["value", "name"])

    def delete_counters(self, a: int, b: int) -> None:
        chosen = [counter.pk for counter in self.some(Counter, a)]
        self.rows(Counter).filter(pk__in=chosen).delete()

    # Several tables a row.

    def add_pizzeria(self, a: int, b: int) -> None:
        self.save(Pizzeria(id=self.id(), name=self.name(), stars=a))

    def change_pizzeria(self, a: int, b: int) -> None:
        if pizzeria := self.pick(Pizzeria, a):
            pizzeria.stars, pizzeria.oven, pizzeria.name = b, self.name(), self.name()
            self.save(pizzeria)

    def delete_pizzeria(self, a: int, b: int) -> None:
        if pizzeria := self.pick(Pizzeria, a):
            pizzeria.delete(using=self.using, keep_parents=b % 2 == 1)

    # SQL.

    def sql_update(self, a: int, b: int) -> None:
        self._execute("UPDATE zoo_counter SET value = value + %s WHERE value < %s", a, b)

    def sql_insert(self, a: int, b: int) -> None:
        self._execute("INSERT INTO zoo_parameter (name, value) VALUES (%s, %s)", self.name(), "")

    def sql_delete(self, a: int, b: int) -> None:
        self._execute("DELETE FROM zoo_reading WHERE value >= %s", a)

    def _execute(self, statement: str, *parameters: Any) -> None:
        with connections[self.using].cursor() as cursor:
            cursor.execute(statement, parameters)


OPS: list[Op] = [
    function
    for function in vars(Writes).values()
    if inspect.isfunction(function) and [*inspect.signature(function).parameters][1:] == ["a", "b"]
]
ADDING = [op for op in OPS if op.__name__.startswith(("add_", "grow_"))]
