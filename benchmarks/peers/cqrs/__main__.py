"""django-cqrs over RabbitMQ, drained by its own consumer.

The newest version, which supports Django 3.2 to 5.2. RabbitMQ is what the machine has, queue and
messages durable, as django-cqrs declares them. `--workers` is the option of `cqrs_consume`: the
documentation starts two, which is measured with PostgreSQL, though two keep no order. What comes
before the row that it points to fails then, and is tried again two seconds later. With SQLite two
are slower than one, so it is one. Central's connection is kept between messages.

The time is from the start of the consumer, a process that starts others, until central has
everything; "start_seconds" of it are those until the first row changed there. The bytes are those
of the messages' bodies. `cqrs_updated` is not compared: filling the tables sets it at each end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.peers import common
from benchmarks.peers.cqrs.broker import Epmd, RabbitMQ, find

ROOT = Path(__file__).resolve().parents[3]
PLACE = ROOT / ".bench" / "cqrs"
NEEDS = ("django-cqrs>=3.1,<3.2", "Django>=5.2,<5.3", "psycopg[binary]>=3.2")
PEER = "django-cqrs"
WORKERS = {"sqlite": 1, "postgresql": 2}


def environment() -> Path:
    """The Python of a virtual environment with NEEDS, made at the first use.

    Raises CalledProcessError if pip cannot install them.
    """
    python, stamp = PLACE / "bin" / "python", PLACE / "needs"
    if not stamp.exists() or stamp.read_text() != str(NEEDS):
        subprocess.run([sys.executable, "-m", "venv", "--clear", PLACE], check=True)
        pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
        subprocess.run([*pip, *NEEDS], check=True, stdout=sys.stderr)
        stamp.write_text(str(NEEDS))
    return python


def main() -> None:
    """Measure, or say what is missing."""
    parser = common.parser(__doc__)
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    workers = options.workers or WORKERS[options.central]
    if not all(map(find, ("rabbitmq-server", "rabbitmqctl", "epmd"))):
        common.missing(PEER, "RabbitMQ was not found: on Debian, apt install rabbitmq-server")
        return
    try:
        python = environment()
    except subprocess.CalledProcessError as error:
        common.missing(PEER, f"{', '.join(NEEDS)} could not be installed: {error}")
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        databases = common.ends(stack, folder, options.central)
        broker = stack.enter_context(RabbitMQ(stack.enter_context(Epmd())))
        control = broker.program("rabbitmqctl")
        release = subprocess.check_output([*control, "version"], text=True).strip()
        given = {
            "role": "master",
            "databases": {"default": databases["site"], "central": databases["central"]},
            "broker": broker.url,
            "ctl": control,
            "records": options.records,
            "workers": workers,
        }
        variables = {
            "CQRS_BENCH": json.dumps(given),
            "DJANGO_SETTINGS_MODULE": "benchmarks.peers.cqrs.settings",
        }
        # Its input is open for as long as this process is there.
        with subprocess.Popen(
            [python, "-m", "benchmarks.peers.cqrs.measure"],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            lines = process.stdout.read().splitlines()
        if process.returncode:
            sys.exit(process.returncode)
    found = json.loads(lines[-1])
    if differences := found.pop("differences"):
        found["note"] = f"{differences} ROWS DIFFER; {found['note']}"
    found["versions"]["RabbitMQ"] = release
    records, seconds = found.pop("records"), found.pop("seconds")
    common.report(PEER, records, options.central, seconds, workers=workers, **found)


if __name__ == "__main__":
    main()
