"""A consumer of cspr-relay's records on Kafka: drop known ids, apply only a higher sequence per token, commit.

    KAFKA_BROKERS=host:port python consumer.py [topic]

`known` and `latest` live in memory to keep this short. In a real service they are in your database and change in the
same transaction as what you do with the event; only then is the offset committed, so that a crash in between repeats
nothing and loses nothing.
"""

import json
import os
import sys
from urllib.parse import unquote

from confluent_kafka import Consumer, KafkaError, KafkaException

KNOWN_IDS_MAX = 100_000

known = {}  # ids of events that were handled, the oldest first
latest = {}  # contract package and token id → the highest sequence that was applied


def decide(headers):
    id = headers.get("cspr-relay-id")
    # Header values come percent-encoded, since a token id is free text from the chain.
    package, token = (unquote(headers.get(f"cspr-relay-{name}", "")) for name in ("contract-package", "token-id"))
    if id in known:
        return {"id": id, "token": token, "verdict": "duplicate"}
    verdict = "applied"
    # Other streams tell what happened, which stays true when it comes late; this one tells how a token is now.
    if headers.get("cspr-relay-stream") == "nft-tokens":
        sequence = headers.get("cspr-relay-sequence", "")
        if not (id and package and token and sequence):
            # A service puts it where somebody looks: it will not become usable by being read again.
            return {"id": id, "token": token, "verdict": "unusable"}
        if sequence <= latest.get((package, token), ""):
            verdict = "stale"
        else:
            latest[package, token] = sequence
    # Here you would do something with the event: with the value or, if the sink has `format: cloudevents`, its `data`.
    known[id] = True
    if len(known) > KNOWN_IDS_MAX:
        del known[next(iter(known))]
    return {"id": id, "token": token, "verdict": verdict}


if __name__ == "__main__":
    topic = sys.argv[1] if len(sys.argv) > 1 else "casper.nft"
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BROKERS"],
            "group.id": os.environ.get("KAFKA_GROUP", "nft"),
            "auto.offset.reset": "earliest",  # a group that begins at the end misses what was written before it joined
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    print(f"consuming {topic}", file=sys.stderr, flush=True)
    while True:
        record = consumer.poll(1.0)
        if record is None:
            continue
        if record.error():
            # The client goes on by itself, unless it says that it cannot.
            if record.error().fatal() or record.error().code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise KafkaException(record.error())
            continue
        headers = {name: value.decode() for name, value in record.headers() or [] if value is not None}
        print(json.dumps(decide(headers)), flush=True)
        consumer.commit(record, asynchronous=True)
