// A receiver for cspr-relay's webhooks: verify, drop known ids, apply only a higher sequence per token, answer.
//
//	WEBHOOK_SECRET=whsec_… go run . [port]
//
// known and latest live in memory to keep this short. In a real service they are in your database and change in the
// same transaction as what you do with the event, so that a crash in between repeats nothing and loses nothing.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	bodyBytesMax = 16 << 20
	knownIDsMax  = 100_000
	tolerance    = 5 * time.Minute
)

var status = map[string]int{"applied": 204, "duplicate": 204, "stale": 204, "bad_signature": 401, "unusable": 422}

type decision struct {
	ID      string `json:"id"`
	Token   string `json:"token,omitempty"`
	Verdict string `json:"verdict"`
}

type lane struct{ contractPackage, token string }

type receiver struct {
	key    []byte
	lock   sync.Mutex
	known  map[string]bool // ids of events that were handled
	order  []string        // the same, the oldest first
	latest map[lane]string // the highest sequence that was applied
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, bodyBytesMax))
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	d := decision{ID: request.Header.Get("webhook-id"), Verdict: "bad_signature"}
	if r.isSigned(body, request.Header) {
		d = r.decide(d.ID, request.Header)
	}
	if err := json.NewEncoder(os.Stdout).Encode(d); err != nil {
		log.Print(err)
	}
	w.WriteHeader(status[d.Verdict])
}

func (r *receiver) decide(id string, headers http.Header) decision {
	// Header values come percent-encoded, since a token id is free text from the chain.
	contractPackage, err1 := url.PathUnescape(headers.Get("cspr-relay-contract-package"))
	token, err2 := url.PathUnescape(headers.Get("cspr-relay-token-id"))
	if r.known[id] {
		return decision{id, token, "duplicate"}
	}
	verdict := "applied"
	// Other streams tell what happened, which stays true when it comes late; this one tells how a token is now.
	if headers.Get("cspr-relay-stream") == "nft-tokens" {
		sequence := headers.Get("cspr-relay-sequence")
		if err1 != nil || err2 != nil || contractPackage == "" || token == "" || sequence == "" {
			return decision{id, token, "unusable"}
		}
		if at := (lane{contractPackage, token}); sequence <= r.latest[at] {
			verdict = "stale"
		} else {
			r.latest[at] = sequence
		}
	}
	// Here you would do something with the event: with the body or, if the sink has `format: cloudevents`, its `data`.
	r.remember(id)
	return decision{id, token, verdict}
}

func (r *receiver) remember(id string) {
	r.known[id] = true
	r.order = append(r.order, id)
	if len(r.order) > knownIDsMax {
		delete(r.known, r.order[0])
		r.order = r.order[1:]
	}
}

// isSigned checks Standard Webhooks v1: HMAC-SHA256 over id, timestamp and the raw bytes, before anything parses them.
func (r *receiver) isSigned(body []byte, headers http.Header) bool {
	id, timestamp := headers.Get("webhook-id"), headers.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return false
	}
	if age := time.Since(time.Unix(seconds, 0)); age > tolerance || age < -tolerance {
		return false
	}
	mac := hmac.New(sha256.New, r.key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	expected := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	// Several signatures: the sender is changing its secret, and one has to fit.
	for _, signature := range strings.Fields(headers.Get("webhook-signature")) {
		if hmac.Equal([]byte(signature), expected) {
			return true
		}
	}
	return false
}

func main() {
	port := os.Getenv("PORT")
	if len(os.Args) > 1 {
		port = os.Args[1]
	} else if port == "" {
		port = "8080"
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_"))
	if err != nil || len(key) == 0 {
		log.Fatal("WEBHOOK_SECRET is not a secret: expected whsec_ and base64")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on %s", listener.Addr())
	server := &http.Server{
		Handler:           &receiver{key: key, known: map[string]bool{}, latest: map[lane]string{}},
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
	}
	log.Fatal(server.Serve(listener))
}
