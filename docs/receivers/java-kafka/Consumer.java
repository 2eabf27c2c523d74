// A consumer of cspr-relay's records on Kafka: drop known ids, apply only a higher sequence per token, commit.
//
//   KAFKA_BROKERS=host:port java -cp 'lib/*' Consumer.java [topic]        (JDK 17 or later; pom.xml names the library)
//
// `known` and `latest` live in memory to keep this short. In a real service they are in your database and change in
// the same transaction as what you do with the event; only then is the offset committed, so that a crash in between
// repeats nothing and loses nothing.

import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

public class Consumer {
    static final int KNOWN_IDS_MAX = 100_000;

    /** Ids of events that were handled; beyond the limit the oldest is forgotten. */
    static final Map<String, Boolean> known = new LinkedHashMap<>() {
        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
            return size() > KNOWN_IDS_MAX;
        }
    };
    /** Contract package and token id → the highest sequence that was applied. */
    static final Map<List<String>, String> latest = new HashMap<>();

    public static void main(String[] arguments) {
        String topic = arguments.length > 0 ? arguments[0] : "casper.nft";
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", System.getenv("KAFKA_BROKERS"),
                "group.id", System.getenv().getOrDefault("KAFKA_GROUP", "nft"),
                "auto.offset.reset", "earliest", // at the end it would miss what was written before it joined
                "enable.auto.commit", "false");
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            System.err.println("consuming " + topic);
            while (true) {
                ConsumerRecords<String, byte[]> records = consumer.poll(Duration.ofSeconds(1));
                for (ConsumerRecord<String, byte[]> record : records) {
                    Map<String, String> headers = new HashMap<>();
                    for (Header header : record.headers()) {
                        headers.put(header.key(), new String(header.value(), StandardCharsets.UTF_8));
                    }
                    // What is unusable a service puts where somebody looks: reading it again does not mend it.
                    decide(headers.get("cspr-relay-id"), headers);
                }
                consumer.commitSync();
            }
        }
    }

    static String decide(String id, Map<String, String> headers) {
        String contractPackage = text(headers.get("cspr-relay-contract-package"));
        String token = text(headers.get("cspr-relay-token-id"));
        if (id != null && known.containsKey(id)) return print(id, token, "duplicate");
        String verdict = "applied";
        // Other streams tell what happened, which stays true when it comes late; this one tells how a token is now.
        if ("nft-tokens".equals(headers.get("cspr-relay-stream"))) {
            String sequence = headers.get("cspr-relay-sequence");
            if (id == null || contractPackage == null || token == null || sequence == null) {
                return print(id, token, "unusable");
            }
            List<String> lane = List.of(contractPackage, token);
            if (sequence.compareTo(latest.getOrDefault(lane, "")) <= 0) verdict = "stale";
            else latest.put(lane, sequence);
        }
        // Here you would do something with the event: with the value or, if the sink has `format: cloudevents`, its `data`.
        known.put(id, true);
        return print(id, token, verdict);
    }

    /** Header values come percent-encoded, since a token id is free text from the chain. A plus is just a plus. */
    static String text(String value) {
        return value == null ? null : URLDecoder.decode(value.replace("+", "%2B"), StandardCharsets.UTF_8);
    }

    static String print(String id, String token, String verdict) {
        String shown = token == null ? "" : ",\"token\":" + json(token);
        System.out.println("{\"id\":" + json(id) + shown + ",\"verdict\":\"" + verdict + "\"}");
        return verdict;
    }

    static String json(String text) {
        if (text == null) return "null";
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            boolean isPlain = c >= ' ' && c <= '~' && c != '"' && c != '\\';
            out.append(isPlain ? String.valueOf(c) : String.format("\\u%04x", (int) c));
        }
        return out.append('"').toString();
    }
}
