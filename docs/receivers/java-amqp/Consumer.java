// A consumer of cspr-relay's messages on RabbitMQ: drop known ids, apply only a higher sequence per token, acknowledge.
//
//   AMQP_URL=amqp://user:password@host/vhost java -cp 'lib/*' Consumer.java [queue]
//
// It needs a JDK, 17 or later, and the library that pom.xml names. `known` and `latest` live in memory to keep this
// short. In a real service they are in your database and change in the same transaction as what you do with the event;
// only then is the message acknowledged, so that a crash in between repeats nothing and loses nothing.

import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import java.io.IOException;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

public class Consumer {
    static final int UNACKNOWLEDGED_MAX = 100;
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

    public static void main(String[] arguments) throws Exception {
        String queue = arguments.length > 0 ? arguments[0] : "nft";
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(System.getenv("AMQP_URL"));
        Connection connection = factory.newConnection(); // it comes back by itself when the broker does
        Channel channel = connection.createChannel();
        channel.basicQos(UNACKNOWLEDGED_MAX);
        channel.basicConsume(queue, false, (tag, delivery) -> take(channel, delivery), tag -> System.exit(1));
        System.err.println("consuming " + queue);
    }

    static void take(Channel channel, Delivery delivery) throws IOException {
        Map<String, String> headers = new HashMap<>();
        var sent = delivery.getProperties().getHeaders();
        if (sent != null) sent.forEach((name, value) -> headers.put(name, value.toString()));
        String verdict = decide(delivery.getProperties().getMessageId(), headers);
        long number = delivery.getEnvelope().getDeliveryTag();
        // To the queue's dead-letter exchange, if it has one.
        if (verdict.equals("unusable")) channel.basicReject(number, false);
        else channel.basicAck(number, false);
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
        // Here you would do something with the event: with the body or, if the sink has `format: cloudevents`, its `data`.
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
