package door_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/linktrail/linktrail/apps/url-api/internal/door"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// hidden is a request that is smuggled behind another: no shape of the other may have it answered, unless it is plainly
// the next request.
const hidden = "GET /moved HTTP/1.1\r\nHost: hidden\r\n\r\n"

// brisk has the door wait only a moment for what never comes.
func brisk(c *door.Config, _ *door.Deps, _ *linkcache.Config) { c.ReadTimeout = 500 * time.Millisecond }

// TestFraming is about where a request ends. RFC 9112 says when that is in doubt; then the answer is 400, the connection
// ends, and what came behind is nobody's request.
func TestFraming(t *testing.T) {
	h := open(t, brisk)
	get := func(headers string) string { return "GET /found HTTP/1.1\r\nHost: s\r\n" + headers + "\r\n" }
	bad := func(send string) exchange { return exchange{send, []int{400}, false, ""} }
	for name, x := range map[string]exchange{
		"OK pipelined": {strings.Repeat(get(""), 20) + hidden, append(times(20, 302), 301), true, strings.Repeat("found ", 20) + "moved"},
		"OK pipelined, others among them": {get("") + "POST /found HTTP/1.1\r\nHost: s\r\n\r\n" + "GET /unknown HTTP/1.1\r\nHost: s\r\n\r\n" + hidden,
			[]int{302, 405, 404, 301}, true, "found moved"},
		"OK nothing after Connection: close":     {get("Connection: close\r\n") + hidden, []int{302}, false, "found"},
		"OK nothing after close among others":    {get("Connection: Keep-Alive, CLOSE\r\n") + hidden, []int{302}, false, "found"},
		"OK blank lines before the request line": {"\r\n\r\n" + get("") + "\r\n" + hidden, []int{302, 301}, true, "found moved"},
		"OK an upgrade is not taken up": {get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n") + hidden,
			[]int{302, 301}, true, "found moved"},
		"OK no web socket": {get("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
			[]int{302}, true, "found"},

		"OK a body is not read as a request":                   {get("Content-Length: "+strconv.Itoa(len(hidden))+"\r\n") + hidden, []int{302}, false, "found"},
		"OK nor what follows a body":                           {get("Content-Length: 5\r\n") + "hello" + hidden, []int{302}, false, "found"},
		"OK nor a body in chunks, nor what follows":            {get("Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n" + hidden, []int{302}, false, "found"},
		"OK chunks with an extension and a trailer":            {get("Transfer-Encoding: chunked\r\n") + "5;a=b\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n" + hidden, []int{302}, false, "found"},
		"OK a body of no bytes":                                {get("Content-Length: 0\r\n") + hidden, []int{302, 301}, true, "found moved"},
		"OK a body that waits to be asked for is not wanted":   {get("Content-Length: 5\r\nExpect: 100-continue\r\n"), []int{302}, false, "found"},
		"OK nor read as a request when it comes all the same":  {get("Content-Length: "+strconv.Itoa(len(hidden))+"\r\nExpect: 100-continue\r\n") + hidden, []int{302}, false, "found"},
		"Err a POST whose body waits to be asked for":          {"POST /found HTTP/1.1\r\nHost: s\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n", []int{405}, false, ""},
		"Err a POST with a body":                               {"POST /found HTTP/1.1\r\nHost: s\r\nContent-Length: " + strconv.Itoa(len(hidden)) + "\r\n\r\n" + hidden, []int{405}, false, ""},
		"Err a body that does not come":                        {get("Content-Length: 5\r\n") + "hel", []int{408}, false, ""},
		"Err a body that is too large":                         {get("Content-Length: 1000000\r\n") + hidden, []int{413}, false, ""},
		"Err both lengths":                                     bad(get("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n" + hidden),
		"Err both lengths, the other way":                      bad(get("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n") + "0\r\n\r\n" + hidden),
		"Err both lengths, of nothing":                         bad(get("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n" + hidden),
		"Err two lengths":                                      bad(get("Content-Length: 4\r\nContent-Length: 5\r\n") + "hello" + hidden),
		"Err two lengths that are equal":                       bad(get("Content-Length: 5\r\nContent-Length: 5\r\n") + "hello" + hidden),
		"Err a list of lengths":                                bad(get("Content-Length: 5, 5\r\n") + "hello" + hidden),
		"Err a length with a sign":                             bad(get("Content-Length: +5\r\n") + "hello" + hidden),
		"Err a length below zero":                              bad(get("Content-Length: -1\r\n") + hidden),
		"Err a length in hexadecimal":                          bad(get("Content-Length: 0x5\r\n") + "hello" + hidden),
		"Err a length that is none":                            bad(get("Content-Length: \r\n") + hidden),
		"Err a length with a blank inside":                     bad(get("Content-Length: 1 0\r\n") + hidden),
		"Err a length beyond all integers":                     bad(get("Content-Length: 18446744073709551617\r\n") + "a" + hidden),
		"Err a blank before a length's colon":                  bad(get("Content-Length : 5\r\n") + "hello" + hidden),
		"Err a tab before a length's colon":                    bad(get("Content-Length\t: 5\r\n") + "hello" + hidden),
		"Err a blank before a coding's colon":                  bad(get("Transfer-Encoding : chunked\r\n") + "0\r\n\r\n" + hidden),
		"Err a blank within a name":                            bad(get("X Length: 5\r\n") + hidden),
		"Err a name that ends the line before":                 bad(get("X: y\rTransfer-Encoding: chunked\r\n") + "0\r\n\r\n" + hidden),
		"Err another coding":                                   bad(get("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n" + hidden),
		"Err no coding":                                        bad(get("Transfer-Encoding: identity\r\n") + hidden),
		"Err no coding, and a length":                          bad(get("Transfer-Encoding: identity\r\nContent-Length: 5\r\n") + "hello" + hidden),
		"Err a coding of no name":                              bad(get("Transfer-Encoding:\r\n") + hidden),
		"Err chunked is not the last coding":                   bad(get("Transfer-Encoding: chunked, identity\r\n") + "0\r\n\r\n" + hidden),
		"Err a coding that the door does not know":             bad(get("Transfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n" + hidden),
		"Err chunked twice":                                    bad(get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n" + hidden),
		"Err chunked in quotes":                                bad(get("Transfer-Encoding: \"chunked\"\r\n") + "0\r\n\r\n" + hidden),
		"Err chunked behind a vertical tab":                    bad(get("Transfer-Encoding: \x0bchunked\r\n") + "0\r\n\r\n" + hidden),
		"Err chunked in HTTP/1.0":                              bad("GET /found HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden),
		"Err a chunk beyond all integers":                      bad(get("Transfer-Encoding: chunked\r\n") + "10000000000000005\r\nhello\r\n0\r\n\r\n" + hidden),
		"Err a chunk that is large":                            {get("Transfer-Encoding: chunked\r\n") + "7fffffffffffff\r\nhello\r\n0\r\n\r\n" + hidden, []int{413}, false, ""},
		"Err a chunk below zero":                               bad(get("Transfer-Encoding: chunked\r\n") + "-5\r\nhello\r\n0\r\n\r\n" + hidden),
		"Err a chunk's size in hexadecimal notation":           bad(get("Transfer-Encoding: chunked\r\n") + "0x5\r\nhello\r\n0\r\n\r\n" + hidden),
		"Err a chunk that is longer than it says":              bad(get("Transfer-Encoding: chunked\r\n") + "3\r\nhello\r\n0\r\n\r\n" + hidden),
		"Err a bare LF ends a chunk's size":                    bad(get("Transfer-Encoding: chunked\r\n") + "5\nhello\r\n0\r\n\r\n" + hidden),
		"Err a bare LF in a chunk's extension":                 bad(get("Transfer-Encoding: chunked\r\n") + "5;a\nhello\r\n0\r\n\r\n" + hidden),
		"Err a trailer that would change the request":          bad(get("Transfer-Encoding: chunked\r\n") + "0\r\nContent-Length: 5\r\n\r\n" + hidden),
		"Err a header that goes on in the next line":           bad(get("X: a\r\n b\r\n") + hidden),
		"Err a length that goes on in the next line":           bad(get("Content-Length: 5\r\n 0\r\n") + "hello" + hidden),
		"Err a coding on the next line":                        bad(get("Transfer-Encoding:\r\n chunked\r\n") + "0\r\n\r\n" + hidden),
		"Err a blank before the first header":                  bad("GET /found HTTP/1.1\r\n Host: s\r\n\r\n" + hidden),
		"Err a bare LF ends a header":                          bad(get("X: a\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n" + hidden),
		"Err a bare LF ends the headers":                       bad("GET /found HTTP/1.1\r\nHost: s\r\n\n" + hidden),
		"Err two bare LF end the headers":                      bad("GET /found HTTP/1.1\r\nHost: s\n\n" + hidden),
		"Err a bare CR in a header":                            bad(get("X: a\rb\r\n") + hidden),
		"Err a bare CR ends the headers":                       bad("GET /found HTTP/1.1\r\nHost: s\r\n\r\r\n" + hidden),
		"Err NUL in a header":                                  bad(get("X: a\x00b\r\n") + hidden),
		"Err NUL in a header's name":                           bad(get("X\x00: a\r\n") + hidden),
		"Err a header without a colon":                         bad(get("Broken\r\n") + hidden),
		"Err a header without a name":                          bad(get(": a\r\n") + hidden),
		"Err a name that is no token":                          bad(get("X(a): a\r\n") + hidden),
		"Err a name that is not ASCII":                         bad(get("X\xc3\xbc: a\r\n") + hidden),
		"Err no request":                                       bad("hello\r\n\r\n" + hidden),
		"Err a good request, then none":                        {get("") + "hello\r\n\r\n" + hidden, []int{302, 400}, false, "found"},
		"Err a good request, then one that is doubtful":        {get("") + get("X: a\r\n b\r\n") + hidden, []int{302, 400}, false, "found"},
		"Err headers that never end because their ends are LF": {"GET /found HTTP/1.1\nHost: s\n\n", []int{408}, false, ""},
	} {
		t.Run(name, func(t *testing.T) { x.run(t, h) })
	}
}

func times(n, status int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = status
	}
	return list
}

// TestLargeRequests is about what is too large to be read.
func TestLargeRequests(t *testing.T) {
	h := open(t, brisk)
	for name, x := range map[string]exchange{
		"OK headers of almost 16 KiB":     {"GET /found HTTP/1.1\r\nHost: s\r\nCookie: " + strings.Repeat("a", 16<<10-64) + "\r\n\r\n" + hidden, []int{302, 301}, true, "found moved"},
		"OK a path of almost 16 KiB":      {"GET /" + strings.Repeat("a", 16<<10-64) + " HTTP/1.1\r\nHost: s\r\n\r\n" + hidden, []int{404, 301}, true, "moved"},
		"OK a thousand small headers":     {"GET /found HTTP/1.1\r\nHost: s\r\n" + strings.Repeat("a: b\r\n", 1000) + "\r\n" + hidden, []int{302, 301}, true, "found moved"},
		"Err headers of over 16 KiB":      {"GET /found HTTP/1.1\r\nHost: s\r\nCookie: " + strings.Repeat("a", 16<<10) + "\r\n\r\n" + hidden, []int{431}, false, ""},
		"Err headers of over 16 KiB of /": {"GET / HTTP/1.1\r\nHost: s\r\nCookie: " + strings.Repeat("a", 16<<10) + "\r\n\r\n" + hidden, []int{431}, false, ""},
		"Err many headers":                {"GET /found HTTP/1.1\r\nHost: s\r\n" + strings.Repeat("a: b\r\n", 3000) + "\r\n" + hidden, []int{431}, false, ""},
		"Err headers of a megabyte":       {"GET /found HTTP/1.1\r\nHost: s\r\nCookie: " + strings.Repeat("a", 1<<20) + "\r\n\r\n" + hidden, []int{431}, false, ""},
		"Err headers without a line":      {"GET /found HTTP/1.1\r\nHost: s\r\n" + strings.Repeat("a", 1<<20), []int{431}, false, ""},
		"Err a path of over 16 KiB":       {"GET /" + strings.Repeat("a", 16<<10) + " HTTP/1.1\r\nHost: s\r\n\r\n" + hidden, []int{431}, false, ""},
		"Err a path without an end":       {"GET /" + strings.Repeat("a", 1<<20), []int{431}, false, ""},
		"Err a method without an end":     {strings.Repeat("G", 1<<20), []int{431}, false, ""},
		"Err blank lines without end":     {strings.Repeat("\r\n", 1<<19), []int{}, false, ""},
		"Err a body of a megabyte":        {"POST /found HTTP/1.1\r\nHost: s\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("a", 1<<20), []int{405}, false, ""},
		"Err a GET's of a megabyte":       {"GET /found HTTP/1.1\r\nHost: s\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("a", 1<<20), []int{413}, false, ""},
		"Err one in chunks":               {"GET /found HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n" + strings.Repeat("a", 0x2000) + "\r\n0\r\n\r\n" + hidden, []int{413}, false, ""},
		"Err a chunk's long extension":    {"GET /found HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n5;" + strings.Repeat("a", 1<<20), []int{408}, false, ""},
		"Err a trailer of a megabyte":     {"GET /found HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + strings.Repeat("a", 1<<20), []int{431}, false, ""},
	} {
		t.Run(name, func(t *testing.T) { x.run(t, h) })
	}
}
