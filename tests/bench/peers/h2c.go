// Go's net/http with HTTP/2 in clear text (golang.org/x/net/http2/h2c), as a peer for `scripts/bench http2`.
//
// usage: h2c PORT
package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: h2c PORT")
		os.Exit(2)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello, world\n")
	})
	mux.HandleFunc("/big", func(w http.ResponseWriter, r *http.Request) {
		left, _ := strconv.Atoi(r.URL.Query().Get("n"))
		block := make([]byte, 16*1024)
		for left > 0 {
			size := len(block)
			if left < size {
				size = left
			}
			if _, err := w.Write(block[:size]); err != nil {
				return
			}
			left -= size
		}
	})
	server := &http.Server{
		Addr:              "127.0.0.1:" + os.Args[1],
		Handler:           h2c.NewHandler(mux, &http2.Server{}),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      10 * time.Minute,
		IdleTimeout:       60 * time.Second,
	}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
	os.Exit(1)
}
