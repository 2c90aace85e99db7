"""An app with as many models as SOCKSTREAM_BENCH_MODELS says, all alike."""

import os

COUNT = int(os.environ.get("SOCKSTREAM_BENCH_MODELS", "0"))
