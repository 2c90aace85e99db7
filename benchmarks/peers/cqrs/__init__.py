"""django-cqrs over RabbitMQ: a master at the site, a replica at central.

    python -m benchmarks.peers.cqrs --records N [--central sqlite|postgresql] [--workers N]

`__main__` runs beside sockstream: it finds RabbitMQ on the machine, starts it, and makes a virtual
environment, since django-cqrs does not go with the Django that is installed here. `measure` runs in
there. `master` and `replica` are the apps of the two services, `settings` is for both.
"""
