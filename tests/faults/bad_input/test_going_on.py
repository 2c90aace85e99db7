"""What runs on when something is wrong: it says so once, and goes on by itself after the mend."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.db import connections

from polls.models import Tag
from sockstream.receiver.roads.mtls.server import _WATCH as LOOKS
from tests.ends import wait_until, wait_until_applied
from tests.faults.bad_input.ends import (
    CENTRAL,
    SITE,
    Receiver,
    World,
    certs,
    is_clear,
    only_words,
)
from tests.faults.rig import WITHOUT_POWERS
from tests.servers import HOST, free_port


def test_central_is_unreachable_and_comes(world: World) -> None:
    address = f"{HOST}:{free_port()}"
    with world.sender("--to", address, once=False) as sender:
        sender.wait_for_line("Nothing listens")
        world.write()
        # Until this one is up, the sender tries again and again, twenty times a second.
        with Receiver(CENTRAL, world.certificates, "--bind", address) as receiver:
            sender.wait_until_connected()
            world.write()
            wait_until_applied(world.pair, sender, receiver)
            assert sender.stop() == 0
        trouble, connected, stopped = only_words(sender)
    assert is_clear(trouble).startswith(f"Nothing listens at {address}. Start oplog_receive there")
    assert connected.startswith("Connected to ")
    assert stopped.endswith("nothing waits here")
    world.is_whole()


def test_central_s_name_is_unknown(world: World) -> None:
    with world.sender("--to", "central.invalid:9000", once=False) as sender:
        sender.wait_for_line("is not known")
        assert sender.running
        assert sender.stop() == 0
    trouble, stopped = only_words(sender)
    assert is_clear(trouble).startswith("The host of central.invalid:9000 is not known")
    assert stopped.startswith("Stopped: central has acked everything up to ")
    assert stopped.endswith(" wait here")


def test_the_site_is_revoked_and_renewed(mended: World) -> None:
    folder = mended.certificates.folder
    with mended.sender(once=False) as sender:
        sender.wait_until_connected()
        wait_until_applied(mended.pair, sender, mended.receiver)
        certs(folder, "revoke", "site")
        sender.wait_for_line("was revoked on")
        mended.write()
        mended.other_goes_on()
        certs(folder, "renew", "site")
        wait_until_applied(mended.pair, sender, mended.receiver)
        mended.write()
        wait_until_applied(mended.pair, sender, mended.receiver)
        assert sender.stop() == 0
    assert len(only_words(sender)) == 4, sender.log
    first, trouble, again, _ = only_words(sender)
    assert is_clear(trouble).endswith("run where the authority is: sockstream certs renew site.")
    assert first.split(",")[0] == again.split(",")[0]


def test_central_begins_while_its_files_are_read_only(world: World) -> None:
    """SQLite's connections of a process share what the first one of them may do."""
    path = Path(connections[CENTRAL].settings_dict["NAME"])
    with (
        Receiver(CENTRAL, world.certificates) as receiver,
        world.sender("--to", receiver.address, once=False) as sender,
        ExitStack() as stack,
    ):
        if os.geteuid() == 0:
            if shutil.which(WITHOUT_POWERS[0]) is None:
                pytest.skip("root writes to every file, and there is no setpriv here")
            receiver.launcher = WITHOUT_POWERS
        sender.wait_until_connected()
        # Keeps the shared memory there, as any program beside central does.
        connections[CENTRAL].ensure_connection()
        receiver.kill()
        for file in path.parent.glob(f"{path.name}*"):
            stack.callback(file.chmod, file.stat().st_mode)
            file.chmod(0o444)
        receiver.start()
        receiver.wait_until_listening()
        sender.wait_for_line("readonly database")
        # Whether it has looked who is disabled, which only reads, is told by nothing.
        time.sleep(3 * LOOKS)
        stack.close()
        world.write()
        wait_until_applied(world.pair, sender, receiver)
        assert sender.stop() == 0


def test_the_site_s_key_is_gone_and_comes_back(world: World, tmp_path: Path) -> None:
    files = world.certificates.settings("site")
    key = Path(shutil.copy(files["KEY"], tmp_path))
    aside = tmp_path / "aside"
    with (
        Receiver(CENTRAL, world.certificates) as receiver,
        world.sender("--to", receiver.address, settings={"KEY": str(key)}, once=False) as sender,
    ):
        sender.wait_until_connected()
        key.rename(aside)
        receiver.kill()
        sender.wait_for_line("does not exist")
        world.write()
        aside.rename(key)
        receiver.start()
        receiver.wait_until_listening()
        wait_until_applied(world.pair, sender, receiver)
        assert sender.stop() == 0
    _, lost, trouble, *_ = only_words(sender)
    assert is_clear(lost).startswith("The peer closed the connection. If it goes on, read the log")
    assert is_clear(trouble).startswith(f'SOCKSTREAM["KEY"] or --key: {key} does not exist')
    world.is_whole()


def test_central_refuses_a_record_until_its_cause_is_mended(world: World) -> None:
    """Somebody wrote at central what a unique column has no second place for."""
    in_the_way = Tag(name="taken")
    in_the_way.save(using=CENTRAL)
    with world.sender(once=False) as sender:
        sender.wait_until_connected()
        wait_until_applied(world.pair, sender, world.receiver)
        world.listen()
        Tag(name="taken").save(using=SITE)
        sender.wait_for_line("Central's database refuses polls.tag")
        wait_until(lambda: len(world.heard("stopped at")) > 3, "more attempts")
        world.other_goes_on()
        Tag.objects.using(CENTRAL).filter(pk=in_the_way.pk).delete()
        wait_until_applied(world.pair, sender, world.receiver)
        assert sender.stop() == 0
    first, trouble, again, _ = only_words(sender)
    assert "UNIQUE constraint failed: polls_tag.name. Mend the cause at central" in is_clear(
        trouble
    )
    assert first.split(",")[0] == again.split(",")[0]
    world.is_whole()
