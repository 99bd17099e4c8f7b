// Command collector takes spans over OTLP/HTTP, forgets them, and shows with which headers the latest came: GET / answers
// them as JSON.
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"sync"
	"time"
)

func main() {
	server := &http.Server{Addr: ":4318", Handler: new(collector), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

type collector struct {
	mu     sync.Mutex
	latest http.Header
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Method == http.MethodPost {
		c.latest = r.Header
		w.Header().Set("Content-Type", "application/x-protobuf") // of no bytes: all spans were taken
		return
	}
	_ = json.NewEncoder(w).Encode(c.latest)
}
