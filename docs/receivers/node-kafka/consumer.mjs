// A consumer of cspr-relay's records on Kafka: drop known ids, apply only a higher sequence per token, commit.
//
//   KAFKA_BROKERS=host:port node consumer.mjs [topic]
//
// `known` and `latest` live in memory to keep this short. In a real service they are in your database and change in
// the same transaction as what you do with the event; only then is the offset committed, so that a crash in between
// repeats nothing and loses nothing.
import { Kafka, logLevel } from "kafkajs";

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
  // Here you would do something with the event: with the value or, if the sink has `format: cloudevents`, with its `data`.
  known.add(id);
  if (known.size > KNOWN_IDS_MAX) known.delete(known.values().next().value);
  return { id, token, verdict };
}

// Header values come percent-encoded, since a token id is free text from the chain.
function text(value) {
  return value === undefined ? null : decodeURIComponent(value);
}

const topic = process.argv[2] || "casper.nft";
const brokers = process.env.KAFKA_BROKERS.split(",");
const consumer = new Kafka({ clientId: "nft", brokers, logLevel: logLevel.ERROR }).consumer({
  groupId: process.env.KAFKA_GROUP || "nft",
});
await consumer.connect();
await consumer.subscribe({ topic, fromBeginning: true }); // at the end it would miss what was written before it joined
await consumer.run({
  // The offset counts as handled, and is committed soon after, once this has returned.
  eachMessage: async ({ message }) => {
    const headers = Object.fromEntries(
      Object.entries(message.headers).map(([name, value]) => [name, value?.toString()]),
    );
    // What is unusable a service puts where somebody looks: it will not become usable by being read again.
    console.log(JSON.stringify(decide(headers["cspr-relay-id"], headers)));
  },
});
console.error(`consuming ${topic}`);
