package door_test

import (
	"strings"
	"testing"
)

// TestTargets is about what a request asks for, in all the forms and spellings of RFC 9112, 3.2.
func TestTargets(t *testing.T) {
	h := open(t, nil)
	line := func(line string) string { return line + " HTTP/1.1\r\nHost: s.example\r\n\r\n" }
	get := func(target string) string { return line("GET " + target) }
	found, none := func(send string) exchange { return exchange{send, []int{302}, true, "found"} }, func(send string) exchange { return exchange{send, []int{404}, true, ""} }
	bad := func(send string) exchange { return exchange{send + hidden, []int{400}, false, ""} }
	other := func(send string) exchange { return exchange{send, []int{405}, true, ""} }
	for name, x := range map[string]exchange{
		"OK":                                {get("/found") + hidden, []int{302, 301}, true, "found moved"},
		"OK a query":                        found(get("/found?utm_source=mail&x=%zz&u=http://x/?y")),
		"OK an empty query":                 found(get("/found?")),
		"OK a fragment within a query":      bad(get("/found?a#b")),
		"OK percent-encoded without need":   found(get("/%66o%75nd")),
		"OK so in capitals and small":       {get("/%6doved") + get("/%6Doved"), []int{301, 301}, true, "moved moved"},
		"OK robots.txt, percent-encoded":    {get("/%72obots%2Etxt"), []int{200}, true, ""},
		"OK absolute form":                  found(get("http://s.example/found")),
		"OK absolute form with a query":     found(get("http://s.example/found?a=b")),
		"OK absolute form in capitals":      found(get("HTTP://S.EXAMPLE:80/found")),
		"OK absolute form over TLS's name":  found(get("https://s.example/found")),
		"OK absolute form of another host":  found(get("http://other.example/found")),
		"OK absolute form of an address":    found(get("http://[2001:db8::1]:8080/found")),
		"OK absolute form without a path":   {get("http://s.example"), []int{200}, true, ""},
		"OK absolute form, a query alone":   {get("http://s.example?a=b"), []int{200}, true, ""},
		"OK HEAD":                           {line("HEAD /found"), []int{302}, true, ""},
		"OK HEAD of nothing":                {line("HEAD /unknown"), []int{404}, true, ""},
		"OK a URL of another in the path":   none(get("/http://s.example/found")),
		"OK two slashes":                    none(get("//found")),
		"OK two slashes and a host":         none(get("//s.example/found")),
		"OK a slash at the end":             none(get("/found/")),
		"OK a further segment":              none(get("/found/x")),
		"OK dot segments":                   none(get("/x/../found")),
		"OK dot segments, percent-encoded":  none(get("/x/%2e%2e/found")),
		"OK a slash, percent-encoded":       none(get("/%2Ffound")),
		"OK a question mark, so":            none(get("/found%3Fa")),
		"OK NUL, so":                        none(get("/found%00")),
		"OK CR LF, so":                      none(get("/found%0d%0aX:%20y")),
		"OK encoded twice":                  none(get("/%2566ound")),
		"OK parameters":                     none(get("/found;v=1")),
		"OK UTF-8, percent-encoded":         none(get("/f%C3%BCnf")),
		"OK a backslash":                    none(get("/\\found")),
		"OK a code that is too long":        none(get("/" + strings.Repeat("a", 65))),
		"OK what scanners ask for":          none(get("/.env")),
		"Err UTF-8 as it is":                bad(get("/f\xc3\xbcnf")),
		"Err no UTF-8 at all":               bad(get("/f\xff")),
		"Err NUL":                           bad(get("/found\x00")),
		"Err a tab":                         bad(get("/fou\tnd")),
		"Err DEL":                           bad(get("/found\x7f")),
		"Err a blank":                       bad(get("/found x")),
		"Err two blanks before it":          bad(line("GET  /found")),
		"Err a blank before the method":     bad(line(" GET /found")),
		"Err a tab before it":               bad(line("GET\t/found")),
		"Err half an escape":                bad(get("/found%")),
		"Err an escape of one digit":        bad(get("/found%4")),
		"Err an escape of no digits":        bad(get("/found%zz")),
		"Err a fragment":                    bad(get("/found#frag")),
		"Err an empty fragment":             bad(get("/found#")),
		"Err no slash":                      bad(get("found")),
		"Err a query alone":                 bad(get("?a=b")),
		"Err nothing":                       bad(get("")),
		"Err asterisk form":                 bad(get("*")),
		"Err authority form":                bad(get("s.example:443")),
		"Err absolute form of another kind": bad(get("ftp://s.example/found")),
		"Err a script":                      bad(get("javascript:alert(1)")),
		"Err absolute form without a host":  bad(get("http:///found")),
		"Err a port without a host":         bad(get("http://:80/found")),
		"Err a user in it":                  bad(get("http://user:pass@s.example/found")),
		"Err a port that is none":           bad(get("http://s.example:x/found")),
		"Err one slash":                     bad(get("http:/s.example/found")),
		"Err absolute form, UTF-8":          bad(get("http://s.example/f\xc3\xbcnf")),

		"Err OPTIONS":                  other(line("OPTIONS /found")),
		"Err OPTIONS of the server":    other(line("OPTIONS *")),
		"Err TRACE":                    other(line("TRACE /found")),
		"Err CONNECT":                  other(line("CONNECT s.example:443")),
		"Err DELETE":                   other(line("DELETE /found")),
		"Err a method of our own":      other(line("BREW /found")),
		"Err a method in small":        other(line("get /found")),
		"Err a long method":            other(line(strings.Repeat("M", 10<<10) + " /found")),
		"Err an odd one that is legal": other(line("!#$%&'*+-.^_`|~0 /found")),
		"Err one that is not":          bad(line("G(ET) /found")),
		"Err one that is not ASCII":    bad(line("GÉT /found")),
	} {
		t.Run(name, func(t *testing.T) {
			for _, a := range x.run(t, h) {
				if strings.Contains(a.body, "frag") || strings.Contains(a.body, "example") {
					t.Errorf("the answer repeats the request: %s", a.body)
				}
			}
		})
	}
	for _, s := range h.spans.Ended() {
		switch s.Name() {
		case "GET /{code}", "HEAD /{code}", "GET /", "GET /robots.txt", "GET", "HTTP", "OPTIONS", "TRACE", "CONNECT", "DELETE":
		default:
			t.Errorf("a span is named %q", s.Name())
		}
	}
}

// TestHost is about RFC 9112, 3.2: one Host in HTTP/1.1, and a valid one.
func TestHost(t *testing.T) {
	h := open(t, nil)
	get := func(headers string) string { return "GET /found HTTP/1.1\r\n" + headers + "\r\n" }
	bad := func(headers string) exchange { return exchange{get(headers) + hidden, []int{400}, false, ""} }
	found := func(headers string) exchange { return exchange{get(headers), []int{302}, true, "found"} }
	for name, x := range map[string]exchange{
		"OK a name":                         found("Host: s.example\r\n"),
		"OK a port":                         found("host:s.example:8080\r\n"),
		"OK an empty port":                  found("Host: s.example:\r\n"),
		"OK IPv6":                           found("Host: [2001:db8::1]:80\r\n"),
		"OK an underscore":                  found("Host: my_service.svc\r\n"),
		"Err none":                          bad(""),
		"Err none, with an absolute URI":    {"GET http://s.example/found HTTP/1.1\r\n\r\n" + hidden, []int{400}, false, ""},
		"Err an empty one":                  bad("Host:\r\n"),
		"Err blanks":                        bad("Host:  \r\n"),
		"Err two":                           bad("Host: a\r\nHost: b\r\n"),
		"Err two that are equal":            bad("Host: a\r\nHost: a\r\n"),
		"Err one that hides behind a blank": bad("Host: a\r\nHost : b\r\n"),
		"Err a user":                        bad("Host: user@s.example\r\n"),
		"Err a path":                        bad("Host: s.example/found\r\n"),
		"Err a blank within":                bad("Host: s.example evil\r\n"),
		"Err a tag":                         bad("Host: <script>\r\n"),
		"Err UTF-8":                         bad("Host: s\xc3\xbc.example\r\n"),
		"Err a port that is none":           bad("Host: s.example:http\r\n"),
		"Err two ports":                     bad("Host: s.example:80:80\r\n"),
		"Err half of brackets":              bad("Host: [2001:db8::1\r\n"),
	} {
		t.Run(name, func(t *testing.T) { x.run(t, h) })
	}
}

// TestVersions is about HTTP of other versions, and what is no HTTP.
func TestVersions(t *testing.T) {
	h := open(t, brisk)
	for name, x := range map[string]exchange{
		"OK 1.0":                      {"GET /found HTTP/1.0\r\n\r\n" + hidden, []int{302}, false, "found"},
		"OK 1.0, kept alive":          {"GET /found HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", []int{302}, true, "found"},
		"OK 1.2 is answered as 1.1":   {"GET /found HTTP/1.2\r\nHost: s\r\n\r\n", []int{302}, false, "found"},
		"Err 1.2 without a host":      {"GET /found HTTP/1.2\r\n\r\n", []int{400}, false, ""},
		"Err 2.0":                     {"GET /found HTTP/2.0\r\nHost: s\r\n\r\n" + hidden, []int{505}, false, ""},
		"Err 0.9 with a version":      {"GET /found HTTP/0.9\r\n\r\n" + hidden, []int{505}, false, ""},
		"Err 0.9":                     {"GET /found\r\n\r\n" + hidden, []int{400}, false, ""},
		"Err a version in small":      {"GET /found http/1.1\r\nHost: s\r\n\r\n" + hidden, []int{400}, false, ""},
		"Err a version of two digits": {"GET /found HTTP/1.11\r\nHost: s\r\n\r\n" + hidden, []int{400}, false, ""},
		"Err a blank behind it":       {"GET /found HTTP/1.1 \r\nHost: s\r\n\r\n" + hidden, []int{400}, false, ""},
		"Err another protocol":        {"GET /found FTP/1.1\r\nHost: s\r\n\r\n" + hidden, []int{400}, false, ""},
		"Err HTTP/2 out of the blue":  {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", []int{400}, false, ""},
		"Err TLS":                     {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x17", 100) + "\n", []int{400}, false, ""},
		"Err TLS without a line":      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", []int{408}, false, ""},
		"Err what a proxy says first": {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /found HTTP/1.1\r\nHost: s\r\n\r\n" + hidden, []int{400}, false, ""},
		"Err mail":                    {"EHLO s.example\r\n", []int{400}, false, ""},
		"Err SSH":                     {"SSH-2.0-OpenSSH_9.9\r\n", []int{400}, false, ""},
		"Err Redis":                   {"*1\r\n$4\r\nPING\r\n", []int{400}, false, ""},
		"Err NUL":                     {"\x00\x00\x00\x00\r\n\r\n" + hidden, []int{400}, false, ""},
	} {
		t.Run(name, func(t *testing.T) { x.run(t, h) })
	}
}
