"""RabbitMQTransport for keys by UUID: it can neither publish a reference nor delete by one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from dj_cqrs.transport import RabbitMQTransport


class Transport(RabbitMQTransport):  # type: ignore[misc]
    """Makes them text, as JSON wants them."""

    @classmethod
    def produce(cls, payload: Any) -> None:
        data = payload.instance_data
        data.update({name: str(value) for name, value in data.items() if isinstance(value, UUID)})
        super().produce(payload)
