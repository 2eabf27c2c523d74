// A consumer of cspr-relay's messages on RabbitMQ: drop known ids, apply only a higher sequence per token, acknowledge.
//
//   AMQP_URL=amqp://user:password@host/vhost node consumer.mjs [queue]
//
// `known` and `latest` live in memory to keep this short. In a real service they are in your database and change in
// the same transaction as what you do with the event; only then is the message acknowledged, so that a crash in
// between repeats nothing and loses nothing.
import amqp from "amqplib";

const UNACKNOWLEDGED_MAX = 100;
const KNOWN_IDS_MAX = 100000;

const known = new Set(); // ids of events that were handled, the oldest first
const latest = new Map(); // contract package and token id → the highest sequence that was applied

function decide(id, headers) {
  const [contractPackage, token] = [text(headers["cspr-relay-contract-package"]), text(headers["cspr-relay-token-id"])];
  if (known.has(id)) return { id, token, verdict: "duplicate" };
  let verdict = "applied";
  // Other streams tell what happened, which stays true when it comes late; this one tells how a token is now.
  if (headers["cspr-relay-stream"] === "nft-tokens") {
    const sequence = headers["cspr-relay-sequence"];
    if (!id || !contractPackage || !token || !sequence) return { id, token, verdict: "unusable" };
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

const queue = process.argv[2] || "nft";
const connection = await amqp.connect(process.env.AMQP_URL);
const channel = await connection.createChannel();
await channel.prefetch(UNACKNOWLEDGED_MAX);
await channel.consume(queue, (message) => {
  if (message === null) process.exit(1); // the queue was deleted
  const decision = decide(message.properties.messageId, message.properties.headers || {});
  console.log(JSON.stringify(decision));
  // To the queue's dead-letter exchange, if it has one.
  if (decision.verdict === "unusable") channel.reject(message, false);
  else channel.ack(message);
});
connection.on("close", () => process.exit(1)); // whoever runs this starts it again
console.error(`consuming ${queue}`);
