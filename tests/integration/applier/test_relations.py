"""References of every sort, and rows whose local key is another one at central."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.test import override_settings

from sockstream.receiver.applying.applier import Stopped
from sockstream.receiver.models import Offset
from sockstream.wire.records import DELETE, INSERT, Layout
from tests.heirs.models import Heir
from tests.integration.applier.feed import Feed
from tests.zoo.models import (
    Author,
    BookReview,
    Category,
    Chicken,
    Comment,
    Egg,
    Essay,
    Frame,
    Grant,
    Hall,
    Label,
    Machine,
    Member,
    Note,
    Person,
    Pizza,
    Pizzeria,
    Portrait,
    Seat,
    Signature,
    Topping,
)

READERS = Layout("zoo.essay_readers", ("essay", "author"), ())


@pytest.fixture
def shifted(central: str) -> str:
    """Central has given integer keys already: they differ from those of the site."""
    for number in range(7):
        Author.objects.using(central).create(name=f"central {number}")
    return central


def test_integer_keys_stay_at_home(shifted: str) -> None:
    writer = Author(pkid=1, name="writer")
    editor = Author(pkid=2, name="editor", mentor=writer)
    essay = Essay(pkid=1, title="on keys", author=writer, editor=editor)
    comment = Comment(essay=essay, author=editor, text="well")
    feed = Feed()
    applier = feed.applier(shifted)
    applier.apply([feed.insert(writer, editor, essay, comment).batch()])
    found = Essay.objects.using(shifted).select_related("author", "editor__mentor").get()
    assert found.author.id == writer.id
    assert found.author.pkid != 1
    assert found.editor is not None
    assert found.editor.id == editor.id
    assert found.editor.mentor == found.author
    assert found.comment_set.get().author == found.editor
    kept = found.author.pkid
    writer.name = "renamed"
    essay.editor = None
    applier.apply([feed.update(writer, essay).batch()])
    assert Author.objects.using(shifted).get(id=writer.id).pkid == kept
    assert Essay.objects.using(shifted).get().editor is None


def test_many_to_many_between_them(shifted: str) -> None:
    reader, author = Author(pkid=1), Author(pkid=2)
    essay = Essay(pkid=1, title="read me", author=author)
    feed = Feed()
    applier = feed.applier(shifted)
    feed.insert(reader, author, essay).raw(INSERT, READERS, [essay.id.bytes, reader.id.bytes])
    applier.apply([feed.batch()])
    assert [each.id for each in Essay.objects.using(shifted).get().readers.all()] == [reader.id]
    feed.raw(DELETE, READERS, [essay.id.bytes, reader.id.bytes]).delete(reader)
    applier.apply([feed.batch()])
    assert not Essay.objects.using(shifted).get().readers.exists()
    feed.raw(DELETE, READERS, [essay.id.bytes, reader.id.bytes])
    applier.apply([feed.batch()])
    assert Offset.objects.using(shifted).get().deletes_missed == 1


def test_pupils_before_their_mentors(shifted: str) -> None:
    """The order inside a group may be any, since nothing is looked at before its end."""
    first, second = Author(pkid=1, name="first"), Author(pkid=2, name="second")
    first.mentor, second.mentor = second, first
    feed = Feed()
    feed.applier(shifted).apply([feed.insert(first, second).batch()])
    found = Author.objects.using(shifted).get(id=first.id)
    assert found.mentor is not None
    assert found.mentor.id == second.id
    assert found.mentor.mentor == found


def test_keys_that_are_references(shifted: str) -> None:
    author = Author(pkid=1, name="sitter")
    portrait = Portrait(author=author, caption="in oil")
    frame = Frame(portrait=portrait)
    signature = Signature(author=author, number=3, text="A.")
    feed = Feed()
    applier = feed.applier(shifted)
    applier.apply([feed.insert(author, portrait, frame, signature).batch()])
    found = Frame.objects.using(shifted).select_related("portrait__author").get()
    assert found.portrait is not None
    assert found.portrait.author.id == author.id
    assert Signature.objects.using(shifted).get().author == found.portrait.author
    portrait.caption = "in chalk"
    signature.text = "B."
    applier.apply([feed.update(portrait, signature).batch()])
    assert Portrait.objects.using(shifted).get().caption == "in chalk"
    assert Signature.objects.using(shifted).get().text == "B."
    applier.apply([feed.delete(frame, portrait, signature, author).batch()])
    assert not Portrait.objects.using(shifted).exists()
    assert not Signature.objects.using(shifted).exists()
    assert not Author.objects.using(shifted).filter(id=author.id).exists()


def test_inheritance(central: str) -> None:
    machine = Machine(pkid=5, name="press", power=9)
    machine.asset_ptr_id = 5
    pizzeria = Pizzeria(name="Da Gino", stars=2, oven="wood")
    pizzeria.restaurant_ptr_id = pizzeria.place_ptr_id = pizzeria.id
    review = BookReview(title="T", headline="H", verdict="fine")
    review.book_ptr_id, review.article_ptr_id = review.book_id, review.article_id
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(pizzeria, review).batch()])
    assert Pizzeria.objects.using(central).values("name", "stars", "oven").get() == {
        "name": "Da Gino",
        "stars": 2,
        "oven": "wood",
    }
    assert BookReview.objects.using(central).get().headline == "H"
    applier.apply([feed.delete(pizzeria, review).batch()])
    assert not Pizzeria.objects.using(central).exists()
    _check_machine(machine, feed, central)


def _check_machine(machine: Machine, feed: Feed, central: str) -> None:
    """Its key is a reference to a row with two names."""
    asset = Layout("zoo.asset", ("id",), ("name",))
    own = Layout("zoo.machine", ("asset_ptr",), ("power",))
    feed.raw(INSERT, asset, [machine.id.bytes, "press"])
    feed.raw(INSERT, own, [machine.id.bytes, 9])
    feed.applier(central).apply([feed.batch()])
    found = Machine.objects.using(central).get()
    assert (found.id, found.name, found.power) == (machine.id, "press", 9)


def test_composite_keys(central: str) -> None:
    hall = Hall(name="main")
    seats = [Seat(hall=hall, number=number) for number in range(5)]
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(hall, *seats).batch()])
    seats[3].taken = True
    applier.apply([feed.update(seats[3]).delete(seats[0], seats[4]).batch()])
    found = Seat.objects.using(central).order_by("number").values_list("number", "taken")
    assert list(found) == [(1, False), (2, False), (3, True)]


def test_trees_and_circles(central: str) -> None:
    root = Category(name="root")
    child = Category(name="child", parent=root)
    grandchild = Category(name="grandchild", parent=child)
    chicken, egg = Chicken(), Egg()
    chicken.egg, egg.chicken = egg, chicken
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(grandchild, child, root, chicken, egg).batch()])
    found = Category.objects.using(central).get(name="grandchild")
    assert found.parent is not None
    assert found.parent.parent_id == root.id
    assert Egg.objects.using(central).get().chicken_id == chicken.id
    applier.apply([feed.delete(root, child, grandchild, egg, chicken).batch()])
    assert not Category.objects.using(central).exists()
    assert not Egg.objects.using(central).exists()


def test_many_to_many(central: str) -> None:
    pizza = Pizza(name="quattro")
    toppings = [Topping(name=str(number)) for number in range(4)]
    layout = Layout("zoo.pizza_toppings", ("pizza", "topping"), ())
    friends = Layout("zoo.person_friends", ("from_person", "to_person"), ())
    one, two = Person(name="one"), Person(name="two")
    feed = Feed().insert(pizza, *toppings, one, two)
    for topping in toppings:
        feed.raw(INSERT, layout, [pizza.id.bytes, topping.id.bytes])
    feed.raw(INSERT, friends, [one.id.bytes, two.id.bytes])
    feed.raw(INSERT, friends, [two.id.bytes, one.id.bytes])
    applier = feed.applier(central)
    applier.apply([feed.batch()])
    assert Pizza.objects.using(central).get().toppings.count() == 4
    assert Person.objects.using(central).get(name="one").friends.get() == two
    feed.raw(DELETE, layout, [pizza.id.bytes, toppings[0].id.bytes])
    applier.apply([feed.batch()])
    assert Pizza.objects.using(central).get().toppings.count() == 3


NOTE = Layout("zoo.note", ("id",), ("content_type", "object_id", "text"))


def test_content_types_of_installed_models_are_found_or_made(central: str) -> None:
    """As Django does when somebody asks for the first time: migrate makes none for an m2m table."""
    category = Category(name="noted")
    feed = Feed().insert(category)
    for key, model in ((b"n" * 16, "category"), (b"m" * 16, "label_types")):
        feed.raw(INSERT, NOTE, [key, ["zoo", model], category.id.bytes, model])
    feed.applier(central).apply([feed.batch()])
    notes = Note.objects.using(central).select_related("content_type")
    assert {note.text: note.content_type.model for note in notes} == {
        "category": "category",
        "label_types": "label_types",
    }
    assert notes.get(text="category").content_type == (
        ContentType.objects.db_manager(central).get_for_model(Category)
    )
    ContentType.objects.using(central).filter(model="label_types").delete()


@pytest.mark.parametrize("name", [["gone", "model"], ["zoo", ""], [1, 2], ["zoo", None]])
def test_a_content_type_that_central_does_not_know_is_not_made(
    name: list[Any], central: str
) -> None:
    """A site writes the models in MODELS, and no other table."""
    before = set(ContentType.objects.using(central).values_list("app_label", "model"))
    feed = Feed().raw(INSERT, NOTE, [b"n" * 16, name, b"o" * 16, "unknown"])
    with pytest.raises(Stopped, match=r"contenttypes\.contenttype") as stopped:
        feed.applier(central).apply([feed.batch()])
    assert stopped.value.error.code == "missing-reference"
    assert set(ContentType.objects.using(central).values_list("app_label", "model")) == before


def test_content_types_in_a_key(central: str) -> None:
    layout = Layout("zoo.label_types", ("label", "contenttype"), ())
    label = Label(object_id="x")
    feed = Feed().insert(label)
    feed.raw(INSERT, layout, [label.id.bytes, ["zoo", "category"]])
    applier = feed.applier(central)
    applier.apply([feed.batch()])
    assert Label.objects.using(central).get().types.get().model == "category"
    feed.raw(DELETE, layout, [label.id.bytes, ["zoo", "category"]])
    applier.apply([feed.batch()])
    assert not Label.objects.using(central).get().types.exists()


def test_permissions_by_their_natural_key(central: str) -> None:
    layout = Layout("zoo.grant", ("id",), ("permission",))
    feed = Feed()
    feed.raw(INSERT, layout, [b"g" * 16, [["zoo", "category"], "add_category"]])
    applier = feed.applier(central)
    applier.apply([feed.batch()])
    wanted = Permission.objects.using(central).get(codename="add_category")
    assert Grant.objects.using(central).get().permission == wanted
    feed.raw(INSERT, layout, [b"h" * 16, [["zoo", "category"], "fly_category"]])
    with pytest.raises(Stopped) as stopped:
        applier.apply([feed.batch()])
    assert stopped.value.error.code == "missing-reference"
    assert "fly_category" in stopped.value.error.words


def test_integer_keys_of_one_site(central: str) -> None:
    one, two = Member(id=1, name="one"), Member(id=7, name="seven")
    layout = Layout("zoo.member_others", ("from_member", "to_member"), ())
    feed = Feed().insert(one, two)
    feed.raw(INSERT, layout, [1, 7]).raw(INSERT, layout, [7, 1])
    feed.applier(central).apply([feed.batch()])
    assert Member.objects.using(central).get(id=1).others.get().id == 7


def test_a_missing_target_names_model_key_and_field(central: str) -> None:
    author = Author(pkid=1, name="unsent")
    essay = Essay(pkid=1, title="orphan", author=author)
    feed = Feed().insert(essay)
    with pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([feed.batch()])
    error = stopped.value.error
    assert (error.code, error.model, error.key) == (
        "missing-reference",
        "zoo.essay",
        str(essay.id),
    )
    assert "'author'" in error.words
    assert str(author.id) in error.words


def test_the_database_names_no_row_but_we_do(central: str) -> None:
    """A plain foreign key is checked at the commit, where databases say little."""
    child = Category(name="child", parent=Category(name="unsent"))
    feed = Feed().insert(Category(name="good"), child, Category(name="after"))
    with pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([feed.batch()])
    error = stopped.value.error
    assert (error.code, error.model, error.key, error.seq) == (
        "missing-reference",
        "zoo.category",
        str(child.id),
        2,
    )
    assert not Category.objects.using(central).exists()


def test_a_delete_that_leaves_somebody_behind(central: str) -> None:
    root = Category(name="root")
    child = Category(name="child", parent=root)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(root, child).batch()])
    with pytest.raises(Stopped) as stopped:
        applier.apply([feed.insert(Category(name="other")).delete(root).batch()])
    assert (stopped.value.model, stopped.value.key, stopped.value.seq) == (
        "zoo.category",
        str(root.id),
        4,
    )
    assert Category.objects.using(central).count() == 2


@pytest.fixture
def founder(central: str) -> Iterator[Heir]:
    """Written at central itself: only there it has its number before it is inserted."""
    made = Heir(pkid=70)
    made.follows_id = made.pkid
    made.save(using=central)
    with override_settings(SOCKSTREAM={"MODELS": ["heirs"]}):
        yield made


def test_rows_that_need_each_other_are_written_in_their_order(founder: Heir, central: str) -> None:
    son = Heir(pkid=1, follows=founder)
    grandson = Heir(pkid=2, follows=son)
    feed = Feed()
    feed.applier(central).apply([feed.insert(grandson, son).batch()])
    found = Heir.objects.using(central).get(id=grandson.id)
    assert (found.follows.id, found.follows.follows.id) == (son.id, founder.id)


def test_a_row_is_changed_to_need_one_that_comes_with_it(founder: Heir, central: str) -> None:
    heir, new = Heir(pkid=1, follows=founder), Heir(pkid=2, follows=founder)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(heir).batch()])
    heir.follows = new
    applier.apply([feed.insert(new).update(heir).batch()])
    assert Heir.objects.using(central).get(id=heir.id).follows.id == new.id


def test_a_row_that_others_refer_to_by_their_key_cannot_go(central: str) -> None:
    author = Author(pkid=1, name="painted")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(author, Portrait(author=author, caption="")).batch()])
    here = Author.objects.using(central).get()
    with pytest.raises(Stopped) as stopped:
        applier.apply([feed.delete(author).batch()])
    assert stopped.value.error.code == "record-refused"
    words = f"{author.id} cannot be deleted: central's zoo.portrait {here.pkid} still points to it"
    assert words in str(stopped.value)


def test_a_pair_that_central_has_already(central: str) -> None:
    pizza, topping = Pizza(name="toast"), Topping(name="ham")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(pizza, topping).batch()])
    Pizza.objects.using(central).get().toppings.add(Topping.objects.using(central).get())
    on = Layout("zoo.pizza_toppings", ("pizza", "topping"), ())
    applier.apply([feed.raw(INSERT, on, [pizza.id.bytes, topping.id.bytes]).batch()])
    assert Pizza.objects.using(central).get().toppings.count() == 1
    assert Offset.objects.using(central).get().inserts_met == 0
