"""A site and central on this machine, under real traffic and real kills: `python -m demo`."""
