"""A consumer of cspr-relay's messages on RabbitMQ: drop known ids, apply only a higher sequence per token, acknowledge.

    AMQP_URL=amqp://user:password@host/vhost python consumer.py [queue]

`known` and `latest` live in memory to keep this short. In a real service they are in your database and change in the
same transaction as what you do with the event; only then is the message acknowledged, so that a crash in between
repeats nothing and loses nothing.
"""

import json
import os
import sys
from urllib.parse import unquote

import pika

KNOWN_IDS_MAX = 100_000
UNACKNOWLEDGED_MAX = 100

known = {}  # ids of events that were handled, the oldest first
latest = {}  # contract package and token id → the highest sequence that was applied


def decide(properties):
    id, headers = properties.message_id, properties.headers or {}
    # Header values come percent-encoded, since a token id is free text from the chain.
    package, token = (unquote(headers.get(f"cspr-relay-{name}", "")) for name in ("contract-package", "token-id"))
    if id in known:
        return {"id": id, "token": token, "verdict": "duplicate"}
    verdict = "applied"
    # Other streams tell what happened, which stays true when it comes late; this one tells how a token is now.
    if headers.get("cspr-relay-stream") == "nft-tokens":
        sequence = headers.get("cspr-relay-sequence", "")
        if not (id and package and token and sequence):
            return {"id": id, "token": token, "verdict": "unusable"}
        if sequence <= latest.get((package, token), ""):
            verdict = "stale"
        else:
            latest[package, token] = sequence
    # Here you would do something with the event: with the body or, if the sink has `format: cloudevents`, its `data`.
    known[id] = True
    if len(known) > KNOWN_IDS_MAX:
        del known[next(iter(known))]
    return {"id": id, "token": token, "verdict": verdict}


def take(channel, method, properties, body):
    decision = decide(properties)
    print(json.dumps(decision), flush=True)
    if decision["verdict"] == "unusable":
        channel.basic_reject(method.delivery_tag, requeue=False)  # to the queue's dead-letter exchange, if it has one
    else:
        channel.basic_ack(method.delivery_tag)


if __name__ == "__main__":
    queue = sys.argv[1] if len(sys.argv) > 1 else "nft"
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=UNACKNOWLEDGED_MAX)
    channel.basic_consume(queue, take)
    print(f"consuming {queue}", file=sys.stderr, flush=True)
    channel.start_consuming()
