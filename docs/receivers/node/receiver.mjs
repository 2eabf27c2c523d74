// A receiver for cspr-relay's webhooks: verify, drop known ids, apply only a higher sequence per token, answer.
//
//   WEBHOOK_SECRET=whsec_… node receiver.mjs [port]
//
// `known` and `latest` live in memory to keep this short. In a real service they are in your database and change in
// the same transaction as what you do with the event, so that a crash in between repeats nothing and loses nothing.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const BODY_BYTES_MAX = 16 * 1024 * 1024;
const KNOWN_IDS_MAX = 100000;

const webhook = new Webhook(process.env.WEBHOOK_SECRET || "");
const known = new Set(); // ids of events that were handled, the oldest first
const latest = new Map(); // contract package and token id → the highest sequence that was applied

function decide(headers) {
  const id = headers["webhook-id"];
  const [contractPackage, token] = [text(headers["cspr-relay-contract-package"]), text(headers["cspr-relay-token-id"])];
  if (known.has(id)) return { id, token, verdict: "duplicate" };
  let verdict = "applied";
  // Other streams tell what happened, which stays true when it comes late; this one tells how a token is now.
  if (headers["cspr-relay-stream"] === "nft-tokens") {
    const sequence = headers["cspr-relay-sequence"];
    if (!contractPackage || !token || !sequence) return { id, token, verdict: "unusable" };
    const lane = JSON.stringify([contractPackage, token]);
    if (sequence <= (latest.get(lane) || "")) verdict = "stale";
    else latest.set(lane, sequence);
  }
  // Here you would do something with the event: with the body or, if the sink has `format: cloudevents`, with its `data`.
  known.add(id);
  if (known.size > KNOWN_IDS_MAX) known.delete(known.values().next().value);
  return { id, token, verdict };
}

// Header values come percent-encoded, since a token id is free text from the chain.
function text(value) {
  return value === undefined ? null : decodeURIComponent(value);
}

async function read(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > BODY_BYTES_MAX) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function isSigned(body, headers) {
  try {
    webhook.verify(body, headers, { jsonParse: false }); // the raw bytes, before anything parses them
    return true;
  } catch {
    return false;
  }
}

const STATUS = { applied: 204, duplicate: 204, stale: 204, bad_signature: 401, unusable: 422 };

async function handle(request, response) {
  const body = await read(request);
  if (body === null) return response.writeHead(413, { connection: "close" }).end();
  const decision = isSigned(body, request.headers)
    ? decide(request.headers)
    : { id: request.headers["webhook-id"] || null, verdict: "bad_signature" };
  console.log(JSON.stringify(decision));
  response.writeHead(STATUS[decision.verdict]).end();
}

const server = createServer((request, response) => {
  handle(request, response).catch((error) => {
    console.error(error);
    response.writeHead(500).end(); // the relay tries again
  });
});
server.listen(Number(process.argv[2] || process.env.PORT || 8080), "127.0.0.1", () => {
  console.error(`listening on 127.0.0.1:${server.address().port}`);
});
