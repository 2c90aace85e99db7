"""The net effect of records against a table that takes them one by one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sockstream.receiver.applying.tables.reduce import Net, reduce
from sockstream.wire.records import DELETE, INSERT, UPDATE

Table = dict[int, str]
Record = tuple[int, int, list[Any]]


def one_by_one(records: list[Record], table: Table) -> Table:
    """What the records leave, whatever they meet."""
    table = dict(table)
    for op, _, values in records:
        if op == DELETE:
            table.pop(values[0], None)
        else:
            table[values[0]] = values[1]
    return table


def by_net(net: Net, table: Table) -> Table:
    """What the net effect leaves, in the applier's order: deletes, updates, inserts."""
    table = dict(table)
    for (key,) in [*net.deletes(), *net.passing()]:
        table.pop(key, None)
    for key, value in [*net.updates(), *net.inserts()]:
        table[key] = value
    return table


records = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from([INSERT, UPDATE]),
            st.just(0),
            st.tuples(st.integers(0, 4), st.text(max_size=2)).map(list),
        ),
        st.tuples(st.just(DELETE), st.just(0), st.integers(0, 4).map(lambda key: [key])),
    ),
    max_size=30,
)
tables = st.dictionaries(st.integers(0, 4), st.text(max_size=2))


@given(records, tables)
def test_any_records_end_as_one_by_one(written: list[Record], before: Table) -> None:
    net = Net()
    reduce(written, [net])
    assert by_net(net, before) == one_by_one(written, before)


@given(records, tables)
def test_each_key_is_in_one_list_and_once(written: list[Record], before: Table) -> None:
    net = Net()
    reduce(written, [net])
    lists = [net.deletes(), net.passing(), net.updates(), net.inserts()]
    keys = [values[0] for part in lists for values in part]
    assert sorted(keys) == sorted({values[0] for _, _, values in written})


@st.composite
def sensible(draw: st.DrawFn) -> tuple[list[Record], Table]:
    """Records of a site whose rows central has: an insert of a new row, and so on."""
    before = draw(tables)
    now = dict(before)
    written: list[Record] = []
    for _ in range(draw(st.integers(0, 20))):
        key = draw(st.integers(0, 4))
        value = draw(st.text(max_size=2))
        if key not in now:
            written.append((INSERT, 0, [key, value]))
            now[key] = value
        elif draw(st.booleans()):
            written.append((UPDATE, 0, [key, value]))
            now[key] = value
        else:
            written.append((DELETE, 0, [key]))
            del now[key]
    return written, before


@given(sensible())
def test_sensible_records_meet_what_they_expect(given_: tuple[list[Record], Table]) -> None:
    written, before = given_
    net = Net()
    reduce(written, [net])
    assert all(key in before for (key,) in net.deletes())
    assert all(key in before for key, _ in net.updates())
    assert all(key not in before for key, _ in net.inserts())
    assert all(key not in before for (key,) in net.passing())


def test_several_tables_and_keys_of_several_parts() -> None:
    one, two = Net(), Net(key_width=2)
    reduce(
        [
            (INSERT, 0, [1, "a"]),
            (INSERT, 1, [1, 1, "b"]),
            (INSERT, 1, [1, 2, "c"]),
            (DELETE, 1, [1, 1]),
        ],
        [one, two],
    )
    assert one.inserts() == [[1, "a"]]
    assert two.inserts() == [[1, 2, "c"]]
    assert two.passing() == [(1, 1)]


def test_keys_that_are_references_of_several_parts() -> None:
    net = Net(key_width=2, nested=True)
    name = [["auth", "user"], "add_user"]
    reduce([(INSERT, 0, [b"1", name]), (DELETE, 0, [b"1", name])], [net])
    assert net.passing() == [(b"1", (("auth", "user"), "add_user"))]
    single = Net(nested=True)
    reduce([(DELETE, 0, [["auth", "user"]])], [single])
    assert single.deletes() == [(("auth", "user"),)]
