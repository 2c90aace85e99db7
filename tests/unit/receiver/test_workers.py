"""The parent of several workers, when the machine has no process for one of them."""

from __future__ import annotations

import errno
import os
import socket
from unittest.mock import Mock

import pytest

from sockstream.exceptions import SockstreamError
from sockstream.process import hangups, stop_signals
from sockstream.receiver.roads.mtls.workers import Workers


def test_a_worker_that_cannot_be_started_ends_the_command_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    monkeypatch.setattr(os, "fork", Mock(side_effect=full))
    sockets = [[socket.create_server(("127.0.0.1", 0))] for _ in range(2)]
    with (
        stop_signals() as stop,
        hangups() as hangup,
        pytest.raises(SockstreamError, match=r"Worker 1 of 2 cannot be started: .*more memory"),
    ):
        Workers(Mock(), sockets).run(stop, hangup)
    assert {sock.fileno() for each in sockets for sock in each} == {-1}
