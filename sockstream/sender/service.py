"""What oplog_send does: number what was captured, keep a road to central open, start again.

While there is no road the intake goes on, so the oplog grows until central is back.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress

from django.db import Error as DatabaseError
from django.db import connections

from sockstream.conf import Settings
from sockstream.databases.readiness import is_unreachable, unreachable
from sockstream.databases.trouble import BUSY, FULL, Trouble, trouble
from sockstream.exceptions import ConfigError, SockstreamError
from sockstream.process import Hangup, Stop
from sockstream.wire.errors import Class, WireError

from . import capture
from .backoff import Backoff
from .dialing import Dialing
from .oplog import store
from .oplog.due import DueSnapshots
from .oplog.intake import Intake
from .oplog.lease import Lease
from .report import Report
from .road import PeerLeft, Road
from .roads import Roads

DRAIN = 30.0
_LOOK_AGAIN_EVERY = 20.0
_ASK_CENTRAL = "If it goes on, read the log of oplog_receive at central"


class Service:
    """Sends the stream of a database until asked to stop or, if `once`, until all is sent."""

    def __init__(
        self,
        using: str,
        settings: Settings,
        roads: Roads,
        report: Report,
        stop: Stop,
        hangup: Hangup,
        *,
        once: bool = False,
    ) -> None:
        self.using = using
        self.settings = settings
        self.once = once
        self._lease = Lease(using)
        self._roads = roads
        self._report = report
        self._stop = stop
        self._hangup = hangup
        self._turning_back = False
        self._backoff = Backoff(settings.BACKOFF_MAX)
        self._acked: int | None = None
        self._stuck_at: int | None = None
        self._refusal: tuple[str, str] | None = None
        self._look_again_at = 0.0
        self._too_large = False
        self._drift: SockstreamError | None = None
        self._due = DueSnapshots(using, settings, report.say)
        self._blocked: SockstreamError | None = None
        self._drained_by: float | None = None

    def run(self) -> None:
        """Raises SockstreamError if another sender runs or, if `once`, not everything was sent."""
        with ExitStack() as held:
            is_ours = False
            while not self._leaving():
                try:
                    if not is_ours:
                        held.enter_context(self._lease)
                        is_ours = True
                    self._serve()
                    return
                except DatabaseError as error:
                    connections[self.using].close()
                    if not is_unreachable(error):
                        raise
                    told = unreachable(self.using, error)
                    if self.once:
                        raise told from error
                    self._report.trouble(told)
                    self._show(told, trouble(error))
                    self._stop.wait(self._backoff.next())

    def _show(self, told: SockstreamError, met: Trouble | None) -> None:
        """Let the status say what the database has, if it can be written to all the same."""
        if met is not None and met.code in (BUSY, FULL):
            with suppress(DatabaseError):
                store.note_state(self.using, "waiting", error=told)
            connections[self.using].close()

    def _serve(self) -> None:
        with closing(Intake(self.using, self.settings)) as self._intake:
            try:
                if self.once:
                    self._due.take()
                while not self._done():
                    self._try_road()
            finally:
                self._due.close()
                # Whoever reads the status must not take a closed road for an open one.
                store.note_state(self.using, "stopped")
        self._say_end()
        if self.once and self._intake.error is not None:
            raise self._intake.error

    def _try_road(self) -> None:
        """Travel until the work is done, or the road is lost; then wait a while."""
        store.note_state(self.using, "connecting")
        asked, self._turning_back = None, False
        try:
            road = self._roads.new()
        except ConfigError as error:
            self._failed(error)
            self._wait_without_road(time.monotonic() + self._backoff.next())
            return
        try:
            with road:
                if self._reach(road):
                    road.open()
                    self._travel(road)
            return
        except PeerLeft as left:
            if self._turning_back:
                return
            asked = left.retry_after
            self._failed(SockstreamError("link-lost", str(left), _ASK_CENTRAL))
        except (OSError, UnicodeError) as error:  # the latter for a host that is no name
            self._failed(road.explain(error))
        except WireError as error:
            if road.welcomed and error.class_ is Class.PERSON:
                self._stuck_at = road.acked
            self._failed(SockstreamError(error.code, error.words, error.mend or _ASK_CENTRAL))
        self._wait_without_road(time.monotonic() + (asked or self._backoff.next()))

    def _reach(self, road: Road) -> bool:
        """Connect, numbering meanwhile; False if a stop or SIGHUP came first."""
        with Dialing(road) as dialing:
            while not dialing.over:
                if self._leaving() or self._hung_up():
                    return False
                self._report.show(self.using, "connecting", self._acked or 0)
                if not self._step():
                    self._wait(self._look_again_at, [dialing.fileno()])
            dialing.finish()
        return True

    def _travel(self, road: Road) -> None:
        while not self._done(road):
            more = self._step()
            intake = self._intake
            leaving, unfinished, news = self._leaving(), intake.numbering, intake.stepped
            moved = road.advance(leaving=leaving, unfinished=unfinished, news=news)
            self._look_at(road)
            if self._hung_up():
                road.leave()
                continue
            if not (more or moved or self._done(road)):
                self._wait(road.deadline, [road.fileno()], [road.fileno()] * bool(road.unsent))
        road.leave()

    def _wait_without_road(self, deadline: float) -> None:
        while time.monotonic() < deadline and not (self._leaving() or self._hung_up()):
            self._report.show(self.using, "waiting for central", self._acked or 0)
            if not self._step():
                self._wait(deadline)

    def _step(self) -> bool:
        self._lease.keep()
        had = self._intake.error
        more = self._intake.step()
        if had is None and self._intake.error is not None:
            self._tell(self._intake.error)
        elif had is not None and self._intake.error is None:
            store.note_error(self.using, self._standing)
            self._report.say("The record that could not be numbered was mended")
        if time.monotonic() >= self._look_again_at:
            self._look_at_capture()
            store.prune(self.using, self.settings.RETENTION)
            self._look_at_size()
            for line in self._roads.warnings():
                self._report.warn(line)
            self._look_again_at = time.monotonic() + _LOOK_AGAIN_EVERY
        if self._catch_up(self._due.step):
            self._intake.look()
            return True
        return more

    def _look_at_capture(self) -> None:
        """Say if triggers are missing; if none are, begin the snapshot that is due."""
        labels = capture.lost(self.using)
        if labels:
            more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
            drift = SockstreamError(
                "capture-drift",
                f"{labels[0]}{more}: triggers are missing, and writes are not captured",
                f"Run manage.py oplog_capture install --database {self.using}; "
                "a snapshot of what was missed follows by itself",
            )
            store.note_error(self.using, drift)
            if self._drift is None:
                self._report.trouble(drift)
            self._drift = drift
            return
        if self._drift is not None:
            self._drift = None
            store.note_error(self.using, self._standing)
            self._report.say("Triggers are as they have to be again")
        self._catch_up(self._due.look)

    def _catch_up(self, work: Callable[[], bool | None]) -> bool:
        """Go on with a snapshot that is due, and say once what stands in its way."""
        try:
            worked = bool(work())
        except SockstreamError as error:
            if self._blocked is None or str(error) != str(self._blocked):
                store.note_error(self.using, error)
                self._report.trouble(error)
            self._blocked = error
            return False
        if worked and self._blocked is not None:
            self._blocked = None
            store.note_error(self.using, self._standing)
        return worked

    @property
    def _standing(self) -> SockstreamError | None:
        """What stands in the way whether there is a road or not."""
        return self._intake.error or self._drift or self._blocked

    def _look_at_size(self) -> None:
        error = store.too_large(self.using, self.settings.OPLOG_MAX_BYTES)
        if error is not None and not self._too_large:
            self._report.trouble(error)
        self._too_large = error is not None

    def _wait(
        self, deadline: float, reading: Sequence[int] = (), writing: Sequence[int] = ()
    ) -> None:
        """Wait for a commit, for one of these files, for a stop, or for `deadline`."""
        reading = [*reading, self._hangup.fileno()]
        if self._drained_by is None:
            # Readable also if the stop came since the caller looked; once it is known, it stays so.
            reading.append(self._stop.fileno())
        if (commits := self._intake.fileno()) is not None:
            reading.append(commits)
        deadline = min(deadline, time.monotonic() + self._report.every, self._lease.deadline)
        if self._due.waits:
            deadline = min(deadline, time.monotonic() + self._due.pause)
        if self._drained_by is not None:
            deadline = min(deadline, self._drained_by)
        while (left := deadline - time.monotonic()) > 0 and not self._intake.ready():
            most = left if self._intake.interval is None else min(left, self._intake.interval)
            if any(select.select(reading, writing, [], most)):
                return

    def _look_at(self, road: Road) -> None:
        if road.welcomed:
            # Where a record stops the stream, each connection is welcomed and then ended: it is no
            # news before central has got beyond it.
            if not road.announced and (self._stuck_at is None or road.acked > self._stuck_at):
                road.announced, self._stuck_at, self._refusal = True, None, None
                error = self._standing
                store.note_state(self.using, "connected", peer=road.central, error=error)
                self._report.say(f"Connected to {road.central}, which has all up to {road.acked}")
                if road.warning is not None:
                    self._report.trouble(SockstreamError(road.warning.code, str(road.warning)))
            self._look_at_refusal(road)
            if road.acked > (self._acked or 0):
                self._backoff.reset()
            self._acked = road.acked
        self._report.show(self.using, road.state, road.acked)

    def _look_at_refusal(self, road: Road) -> None:
        """Central's database refuses and is asked again: the status shows it until it is over."""
        told = (road.refusing.code, str(road.refusing)) if road.refusing else None
        if road.announced and told != self._refusal:
            self._refusal = told
            error = SockstreamError(*told) if told else self._standing
            store.note_state(self.using, "connected", error=error)
            if told:
                self._report.trouble(SockstreamError(*told))
            else:
                self._report.say("Central's database takes records again")

    def _hung_up(self) -> bool:
        """Whether SIGHUP came: then the next road is to be taken at once, with files read anew."""
        if self._hangup.take():
            self._turning_back = True
            self._roads.say_again()
            self._look_again_at = 0.0
            self._report.say("SIGHUP: connecting anew, with the certificate files as they are now")
            return True
        return False

    def _leaving(self) -> bool:
        if self._stop.requested and self._drained_by is None:
            self._drained_by = time.monotonic() + DRAIN
        return self._stop.requested

    def _done(self, road: Road | None = None) -> bool:
        """Whether nothing is left to do: all is acked, or a stop was asked for."""
        if self._leaving():
            waiting = road is not None and road.in_flight > 0
            return not waiting or time.monotonic() > (self._drained_by or 0.0)
        end = self._intake.first_end
        return self.once and end is not None and self._acked is not None and self._acked >= end

    def _failed(self, error: SockstreamError) -> None:
        if self.once:
            raise error
        self._tell(error)

    def _tell(self, error: SockstreamError) -> None:
        store.note_state(self.using, "waiting", error=error)
        self._report.trouble(error)

    def _say_end(self) -> None:
        row = store.stream(self.using)
        captured, unacked = store.backlog(self.using)
        rest = f"{captured + unacked} wait here" if captured + unacked else "nothing waits here"
        self._report.say(f"Stopped: central has acked everything up to {row.acked_seq}, {rest}")
