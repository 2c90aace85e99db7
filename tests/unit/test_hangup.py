"""SIGHUP makes a request, and ends nothing."""

from __future__ import annotations

import os
import select
import signal
from concurrent.futures import ThreadPoolExecutor

from sockstream.hangup import hangups


def test_a_signal_is_heard_once() -> None:
    with hangups() as hangup:
        assert not hangup.take()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        assert select.select([hangup], [], [], 5)[0]
        assert hangup.take()
        assert not hangup.take()
        assert not select.select([hangup], [], [], 0)[0]


def test_more_signals_than_a_pipe_holds() -> None:
    with hangups() as hangup:
        for _ in range(100_000):
            hangup.request()
        assert hangup.take()


def test_the_handler_before_is_put_back() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with hangups():
        assert signal.getsignal(signal.SIGHUP) is not before
    assert signal.getsignal(signal.SIGHUP) is before


def test_in_another_thread_there_are_no_signals() -> None:
    def use() -> bool:
        with hangups() as hangup:
            hangup.request()
            return hangup.take()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(use).result(5)
