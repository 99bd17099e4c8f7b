package apitest

import (
	"regexp/syntax"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
)

// value makes one that a schema takes.
func (g *Generator) value(name string, s *openapi3.Schema) any {
	if s.Nullable && g.chance(8) {
		return nil
	}
	if hints := g.Hints(name); len(hints) > 0 && !g.chance(3) {
		return pick(g, hints)
	}
	switch {
	case len(s.Enum) > 0:
		return pick(g, s.Enum)
	case len(s.AnyOf) > 0:
		return g.value(name, pick(g, s.AnyOf).Value)
	case s.Type.Is("integer"):
		return g.integer(s)
	case s.Type.Is("boolean"):
		return g.chance(2)
	case s.Type.Is("array"):
		list := []any{}
		for range g.length(0, s.MaxItems, 5) {
			list = append(list, g.value(name+"[]", s.Items.Value))
		}
		return list
	}
	return g.text(s)
}

func (g *Generator) integer(s *openapi3.Schema) int64 {
	low, high := int64(-1<<31), int64(1<<31-1)
	if s.Min != nil {
		low = int64(*s.Min)
	}
	if s.Max != nil {
		high = int64(*s.Max)
	}
	return pick(g, []int64{low, high, low + g.random.Int64N(high-low+1)})
}

// length chooses how long something is: the least, the most, or some.
func (g *Generator) length(least uint64, most *uint64, usual int) int {
	switch {
	case g.chance(6):
		return int(least)
	case most != nil && g.chance(6):
		return int(*most)
	}
	n := int(least) + g.random.IntN(usual+1)
	if most != nil {
		n = min(n, int(*most))
	}
	return n
}

func (g *Generator) text(s *openapi3.Schema) string {
	switch s.Format {
	case "date-time":
		return g.moment().Format(pick(g, []string{time.RFC3339, time.RFC3339Nano}))
	case "date":
		return g.moment().Format(time.DateOnly)
	}
	if s.Pattern != "" {
		return g.matching(s)
	}
	var b strings.Builder
	for range g.length(s.MinLength, s.MaxLength, 12) {
		b.WriteRune(g.rune())
	}
	return b.String()
}

// moment is any time that RFC 3339 can tell, mostly one of these years.
func (g *Generator) moment() time.Time {
	zone := time.FixedZone("", pick(g, []int{0, 0, 3600, -34200, 50400, -43200}))
	if g.chance(6) {
		return pick(g, []time.Time{
			time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 30, 23, 59, 59, 999999999, time.UTC),
			time.Unix(0, 0), time.Date(2024, 2, 29, 0, 0, 0, 1, time.UTC), time.Date(2262, 4, 12, 0, 0, 0, 0, time.UTC),
		}).In(zone)
	}
	return time.Date(2020+g.random.IntN(20), time.Month(1+g.random.IntN(12)), 1+g.random.IntN(28), g.random.IntN(24),
		g.random.IntN(60), g.random.IntN(60), g.random.IntN(1e9), zone)
}

// odd are characters that programs stumble over: beyond ASCII, combining, right to left, beyond 16 bits, ignorable, not
// assigned, and those that mean something to HTML, SQL, JSON or a URL.
var odd = []rune("aZ09 äßİıſK\u0301\u200b\u202e\u2028\ufeff\ufffd漢字👩\U000E0041\U0010FFFF\u0378'\"<>&\\/%_*;{}[]()+-=?#@!$^`~|:,.\t\u00a0\u3000")

func (g *Generator) rune() rune {
	switch g.random.IntN(4) {
	case 0:
		return rune(' ' + g.random.IntN(95))
	case 1:
		return rune(0xa0 + g.random.IntN(0xd700-0xa0))
	}
	return pick(g, odd)
}

// matching makes a text of a pattern, within the schema's limits of length. What the pattern leaves open at its end goes
// on at will.
func (g *Generator) matching(s *openapi3.Schema) string {
	parsed, err := syntax.Parse(s.Pattern, syntax.Perl)
	if err != nil {
		panic("apitest: the document has the pattern " + s.Pattern) // which its validation refuses
	}
	for range 100 {
		var b strings.Builder
		g.write(&b, parsed, s)
		if !strings.HasSuffix(s.Pattern, "$") {
			for range g.random.IntN(12) {
				b.WriteRune(g.rune())
			}
		}
		if text := b.String(); s.MaxLength == nil || uint64(utf8.RuneCountInString(text)) <= *s.MaxLength {
			return text
		}
	}
	panic("apitest: nothing of the pattern " + s.Pattern + " is short enough")
}

func (g *Generator) write(b *strings.Builder, re *syntax.Regexp, s *openapi3.Schema) {
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		b.WriteRune(g.ofClass(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteRune('x')
	case syntax.OpConcat, syntax.OpCapture:
		for _, sub := range re.Sub {
			g.write(b, sub, s)
		}
	case syntax.OpAlternate:
		g.write(b, pick(g, re.Sub), s)
	case syntax.OpQuest:
		if g.chance(2) {
			g.write(b, re.Sub[0], s)
		}
	case syntax.OpStar, syntax.OpPlus, syntax.OpRepeat:
		g.repeat(b, re, s)
	}
}

func (g *Generator) repeat(b *strings.Builder, re *syntax.Regexp, s *openapi3.Schema) {
	least, most := uint64(0), s.MaxLength
	switch re.Op {
	case syntax.OpPlus:
		least = 1
	case syntax.OpRepeat:
		least = uint64(re.Min)
		if re.Max >= 0 {
			most = new(uint64(re.Max))
		}
	}
	for range g.length(max(least, s.MinLength), most, 12) {
		g.write(b, re.Sub[0], s)
	}
}

// ofClass chooses a character of a class, given as pairs of first and last.
func (g *Generator) ofClass(ranges []rune) rune {
	for range 20 {
		if r := g.rune(); inRanges(r, ranges) {
			return r
		}
	}
	i := 2 * g.random.IntN(len(ranges)/2)
	return ranges[i] + rune(g.random.IntN(int(ranges[i+1]-ranges[i]+1)))
}

func inRanges(r rune, ranges []rune) bool {
	for i := 0; i < len(ranges); i += 2 {
		if r >= ranges[i] && r <= ranges[i+1] {
			return true
		}
	}
	return false
}
