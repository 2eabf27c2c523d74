"""A receiver for cspr-relay's webhooks: verify, drop known ids, apply only a higher sequence per token, answer.

    WEBHOOK_SECRET=whsec_… python receiver.py [port]

`known` and `latest` live in memory to keep this short. In a real service they are in your database and change in the
same transaction as what you do with the event, so that a crash in between repeats nothing and loses nothing.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from standardwebhooks import Webhook, WebhookVerificationError

BODY_BYTES_MAX = 16 * 1024 * 1024
KNOWN_IDS_MAX = 100_000
STATUS = {"applied": 204, "duplicate": 204, "stale": 204, "bad_signature": 401, "unusable": 422}

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
lock = threading.Lock()
known = {}  # ids of events that were handled, the oldest first
latest = {}  # contract package and token id → the highest sequence that was applied


def decide(headers):
    id = headers["webhook-id"]
    # Header values come percent-encoded, since a token id is free text from the chain.
    package, token = (unquote(headers.get(f"cspr-relay-{name}", "")) for name in ("contract-package", "token-id"))
    if id in known:
        return {"id": id, "token": token, "verdict": "duplicate"}
    verdict = "applied"
    # Other streams tell what happened, which stays true when it comes late; this one tells how a token is now.
    if headers.get("cspr-relay-stream") == "nft-tokens":
        sequence = headers.get("cspr-relay-sequence", "")
        if not (package and token and sequence):
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


def is_signed(body, headers):
    try:
        webhook.verify(body, dict(headers), json_parse=False)  # the raw bytes, before anything parses them
        return True
    except (WebhookVerificationError, ValueError):
        return False


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open between events
    timeout = 60

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > BODY_BYTES_MAX:
            self.close_connection = True
            return self.answer(413)
        body = self.rfile.read(length)
        with lock:
            if is_signed(body, self.headers):
                decision = decide(self.headers)
            else:
                decision = {"id": self.headers.get("webhook-id"), "verdict": "bad_signature"}
            print(json.dumps(decision), flush=True)
        self.answer(STATUS[decision["verdict"]])

    def answer(self, status):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass  # the decisions are the log


if __name__ == "__main__":
    port = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("PORT", 8080))
    server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    print(f"listening on 127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever()
