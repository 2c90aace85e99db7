"""What one transaction has learnt about central's tables.

It is dropped on any end but a commit, in one place: what was made, claimed or promised may be
rolled back then. What a commit has made lasting is kept for the next transaction.
"""

from __future__ import annotations

from typing import Any

from sockstream.receiver.dialects import ForeignKey
from sockstream.receiver.models import Holding
from sockstream.rows import Row

_MOST_PKS = 50_000


class Memory:
    """Of one stream, used by one transaction after the other.

    `holdings` by model label; `owned`, the models that this stream alone may write; `numbered`,
    the models of whose rows some have a number reserved; `pks`, local primary keys by model and
    key, a bounded number of them. `adopting` are models whose adoption may have been used, which is
    looked at in the database, so that it need not be forgotten. `suspects` and `suspected` are
    foreign keys that may be broken (see foreign_keys.py), `stand_ins` the next number that stands
    in for one of a model's (see numbers.py); both only add up, also over a part that is rolled
    back.
    """

    def __init__(self) -> None:
        self._lasting: tuple[dict[str, Holding], set[str]] = ({}, set())
        self.numbered: dict[str, Row] = {}
        self._changed: set[str] = set()
        self.adopting: set[str] = set()
        self.suspects: dict[ForeignKey, set[Any]] = {}
        self.suspected: set[ForeignKey] = set()
        self.stand_ins: dict[str, int] = {}
        self.forget()

    def forget(self) -> None:
        """The transaction, or a part of it, was rolled back.

        The holdings that it has changed are asked for again, and what is `numbered` stays: that
        may have been before the part.
        """
        holdings, owned = self._lasting
        self.holdings = {
            label: each for label, each in holdings.items() if label not in self._changed
        }
        self.owned = set(owned)
        self.pks: dict[str, dict[Any, Any]] = {}
        self._count = 0

    def committed(self) -> None:
        """The transaction has ended well."""
        self._lasting = dict(self.holdings), set(self.owned)
        self._changed.clear()
        self.adopting.clear()
        self.numbered.clear()
        self.suspects.clear()
        self.suspected.clear()
        self.stand_ins.clear()

    def change(self, label: str, holding: Holding) -> None:
        """The transaction has changed this holding."""
        self._changed.add(label)
        self.holdings[label] = holding

    def remember(self, label: str, found: dict[Any, Any]) -> None:
        """Local primary keys of rows that are there, by their keys."""
        self.pks.setdefault(label, {}).update(found)
        self._count += len(found)
        if self._count > _MOST_PKS:
            self.forget_pks()

    def forget_pks(self) -> None:
        """Some of the local primary keys are others now."""
        self.pks.clear()
        self._count = 0
