// A receiver for cspr-relay's webhooks: verify, drop known ids, apply only a higher sequence per token, answer.
//
//   WEBHOOK_SECRET=whsec_… java Receiver.java [port]        (JDK 17 or later, nothing else)
//
// `known` and `latest` live in memory to keep this short. In a real service they are in your database and change in
// the same transaction as what you do with the event, so that a crash in between repeats nothing and loses nothing.

import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Receiver {
    static final int BODY_BYTES_MAX = 16 * 1024 * 1024;
    static final int KNOWN_IDS_MAX = 100_000;
    static final long TOLERANCE_SECONDS = 300;
    static final Map<String, Integer> STATUS =
            Map.of("applied", 204, "duplicate", 204, "stale", 204, "bad_signature", 401, "unusable", 422);

    /** Ids of events that were handled; beyond the limit the oldest is forgotten. */
    static final Map<String, Boolean> known = new LinkedHashMap<>() {
        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
            return size() > KNOWN_IDS_MAX;
        }
    };
    /** Contract package and token id → the highest sequence that was applied. */
    static final Map<List<String>, String> latest = new HashMap<>();

    public static void main(String[] arguments) throws IOException {
        String port = arguments.length > 0 ? arguments[0] : System.getenv().getOrDefault("PORT", "8080");
        byte[] key = Base64.getDecoder().decode(System.getenv("WEBHOOK_SECRET").replaceFirst("^whsec_", ""));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(port)), 0);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", exchange -> handle(exchange, key));
        server.start();
        System.err.println("listening on 127.0.0.1:" + server.getAddress().getPort());
    }

    static void handle(HttpExchange exchange, byte[] key) throws IOException {
        byte[] body = exchange.getRequestBody().readNBytes(BODY_BYTES_MAX + 1);
        int status = 413;
        if (body.length <= BODY_BYTES_MAX) {
            Headers headers = exchange.getRequestHeaders();
            status = STATUS.get(isSigned(body, headers, key) ? decide(headers) : print(headers, null, "bad_signature"));
        }
        exchange.sendResponseHeaders(status, -1);
        exchange.close();
    }

    static synchronized String decide(Headers headers) {
        String id = headers.getFirst("webhook-id");
        String contractPackage = text(headers.getFirst("cspr-relay-contract-package"));
        String token = text(headers.getFirst("cspr-relay-token-id"));
        if (known.containsKey(id)) return print(headers, token, "duplicate");
        String verdict = "applied";
        // Other streams tell what happened, which stays true when it comes late; this one tells how a token is now.
        if ("nft-tokens".equals(headers.getFirst("cspr-relay-stream"))) {
            String sequence = headers.getFirst("cspr-relay-sequence");
            if (contractPackage == null || token == null || sequence == null) return print(headers, token, "unusable");
            List<String> lane = List.of(contractPackage, token);
            if (sequence.compareTo(latest.getOrDefault(lane, "")) <= 0) verdict = "stale";
            else latest.put(lane, sequence);
        }
        // Here you would do something with the event: with the body or, if the sink has `format: cloudevents`, its `data`.
        known.put(id, true);
        return print(headers, token, verdict);
    }

    /** Standard Webhooks v1: HMAC-SHA256 over id, timestamp and the raw bytes, before anything parses them. */
    static boolean isSigned(byte[] body, Headers headers, byte[] key) {
        String id = headers.getFirst("webhook-id");
        String timestamp = headers.getFirst("webhook-timestamp");
        String signatures = headers.getFirst("webhook-signature");
        if (id == null || timestamp == null || signatures == null) return false;
        try {
            long age = System.currentTimeMillis() / 1000 - Long.parseLong(timestamp);
            if (Math.abs(age) > TOLERANCE_SECONDS) return false;
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
            mac.update((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
            byte[] expected = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body))).getBytes();
            boolean matches = false; // several signatures: the sender is changing its secret, one has to fit
            for (String signature : signatures.split(" ")) {
                matches |= MessageDigest.isEqual(expected, signature.getBytes());
            }
            return matches;
        } catch (NumberFormatException | GeneralSecurityException e) {
            return false;
        }
    }

    /** Header values come percent-encoded, since a token id is free text from the chain. A plus is just a plus. */
    static String text(String value) {
        return value == null ? null : URLDecoder.decode(value.replace("+", "%2B"), StandardCharsets.UTF_8);
    }

    static String print(Headers headers, String token, String verdict) {
        String shown = token == null ? "" : ",\"token\":" + json(token);
        System.out.println("{\"id\":" + json(headers.getFirst("webhook-id")) + shown + ",\"verdict\":\"" + verdict + "\"}");
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
