"""Follows what happens to devices, from the beginning of what is kept or from where it was the last time.

    pip install nats-py
    NATS_URL=nats://integrator:...@127.0.0.1:4222 python3 follow.py my-ledger

The name is a durable consumer: stopped or killed, it goes on where it was. Order by (epoch, seq), never by time; what is not
newer than the last event of its device is a duplicate.
"""

import asyncio
import json
import os
import sys
from urllib.parse import unquote, urlsplit

import nats
from nats.errors import TimeoutError
from nats.js.api import AckPolicy, ConsumerConfig


async def main(durable: str) -> None:
    url = urlsplit(os.environ["NATS_URL"])
    nc = await nats.connect(
        f"nats://{url.hostname}:{url.port}",
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        max_reconnect_attempts=-1,
    )
    # One event under way at a time keeps the order through a crash.
    config = ConsumerConfig(durable_name=durable, ack_policy=AckPolicy.EXPLICIT, max_ack_pending=1)
    subscription = await nc.jetstream().pull_subscribe("device.*.*", durable, stream="CULVERT_EVENTS", config=config)
    newest: dict[str, tuple[int, int]] = {}
    while True:
        try:
            [message] = await subscription.fetch(1, timeout=5)
        except TimeoutError:
            continue
        event = json.loads(message.data)
        place = (event["data"]["epoch"], event["data"]["seq"])
        if place > newest.get(event["subject"], (0, -1)):
            print(event["type"], event["subject"], event["data"]["reason"], flush=True)
            newest[event["subject"]] = place
        await message.ack()


asyncio.run(main(sys.argv[1]))
