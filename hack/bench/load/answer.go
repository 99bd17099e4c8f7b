package load

import (
	"bytes"
	"errors"
	"strconv"
)

// answer is what is looked at of a response.
type answer struct {
	status   int
	location []byte
	length   int  // of all of it, head and body
	last     bool // the server closes the connection
}

var (
	endOfHead = []byte("\r\n\r\n")
	endOfLine = []byte("\r\n")

	errNotHTTP = errors.New("not an HTTP/1.1 response with a length")
)

// parse reads the response at the beginning of in. It is not complete yet when ok is false.
func parse(in []byte) (a answer, ok bool, err error) {
	end := bytes.Index(in, endOfHead)
	if end < 0 {
		return a, false, nil
	}
	if end < 12 || string(in[:9]) != "HTTP/1.1 " {
		return a, false, errNotHTTP
	}
	if a.status, err = strconv.Atoi(string(in[9:12])); err != nil {
		return a, false, errNotHTTP
	}
	length, chunked := 0, false
	known := a.status == 204 || a.status == 304
	for rest := in[12 : end+2]; ; {
		eol := bytes.IndexByte(rest, '\n')
		if rest = rest[eol+1:]; len(rest) == 0 {
			break
		}
		// Of all headers only these begin so, as a rule; others are left after one look.
		switch rest[0] | 0x20 {
		case 'l':
			if value, is := header(rest, "location: "); is {
				a.location = value
			}
		case 'c':
			if value, is := header(rest, "content-length: "); is {
				if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
					return a, false, errNotHTTP
				}
				known = true
			} else if value, is := header(rest, "connection: "); is {
				a.last = bytes.EqualFold(value, []byte("close"))
			}
		case 't':
			if value, is := header(rest, "transfer-encoding: "); is {
				chunked = string(value) == "chunked"
			}
		}
	}
	body := end + len(endOfHead)
	if chunked {
		length, ok, err = chunks(in[body:])
		a.length = body + length
		return a, ok, err
	}
	if !known {
		return a, false, errNotHTTP
	}
	a.length = body + length
	return a, len(in) >= a.length, nil
}

// chunks returns the length of a body that comes in chunks, without trailers; ok is false when it is not complete.
func chunks(in []byte) (length int, ok bool, err error) {
	for {
		eol := bytes.Index(in[length:], endOfLine)
		if eol < 0 {
			return 0, false, nil
		}
		size, err := strconv.ParseUint(string(in[length:length+eol]), 16, 31)
		if err != nil {
			return 0, false, errNotHTTP
		}
		length += eol + len(endOfLine) + int(size) + len(endOfLine)
		if length > len(in) {
			return 0, false, nil
		}
		if size == 0 {
			return length, true, nil
		}
	}
}

// header returns the value of the header whose line begins line, when its name and colon are name, which is in small
// letters.
func header(line []byte, name string) ([]byte, bool) {
	if len(line) < len(name) {
		return nil, false
	}
	for i := range len(name) {
		c := line[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != name[i] {
			return nil, false
		}
	}
	value := line[len(name):]
	return value[:bytes.IndexByte(value, '\r')], true
}
