package click

import (
	"strings"

	"github.com/mileusna/useragent"
)

// The values of DimensionDevice. A Windows computer is a desktop whatever its shape, since it does not tell.
const (
	DeviceDesktop = "desktop"
	DeviceMobile  = "mobile"
	DeviceTablet  = "tablet"
	DeviceTV      = "tv"
	DeviceConsole = "console"
	DeviceBot     = "bot"
)

// agent is what a User-Agent header says. Its names are those of the tables in marks.go, or Unknown.
type agent struct {
	browser, os, device string
	bot                 bool
}

// readAgent asks the tables of marks first, which are what the library does not know or gets wrong, and then the library.
func readAgent(header string) agent {
	lower := strings.ToLower(header)
	name, bot := automaton(lower)
	var ua useragent.UserAgent
	if !bot {
		ua = useragent.Parse(header)
	}
	if bot || ua.Bot {
		return agent{browser: name, os: Unknown, device: DeviceBot, bot: true}
	}
	a := agent{os: find(systems[:], lower)}
	if a.os == Unknown {
		a.os = named(systemNames[:], ua.OS)
	}
	if a.browser = find(browsers[:], lower); a.browser == Unknown {
		a.browser = named(browserNames[:], ua.Name)
	}
	switch {
	case a.browser == Unknown:
		a.browser = ofEngine(lower, a.os)
	case a.browser == "Safari" && a.os == "Android": // there is none
		a.browser = "Android Browser"
	}
	a.device = deviceOf(lower, a.os, ua)
	return a
}

// automaton tells what is no person's browser, and its name.
func automaton(lower string) (name string, ok bool) {
	if strings.TrimSpace(lower) == "" {
		return Unknown, true
	}
	if strings.Contains(lower, "cubot") && strings.Contains(lower, "android") {
		return Unknown, false // a make of telephones that is spelt like a bot
	}
	for _, m := range automata {
		if m.in(lower) {
			return m.name, true
		}
	}
	return Unknown, strings.HasSuffix(lower, "bot")
}

// ofEngine names a browser that nobody knows by the engine that it is made of, as the browser itself does.
func ofEngine(lower, os string) string {
	switch {
	case strings.Contains(lower, "chrome/"):
		return "Chrome"
	case strings.Contains(lower, "firefox/"):
		return "Firefox"
	case os == "iOS" && strings.Contains(lower, "applewebkit/") && !strings.Contains(lower, "safari/"):
		return "WebView"
	case strings.Contains(lower, "version/") && strings.Contains(lower, "safari/"):
		return "Safari"
	}
	return Unknown
}

func deviceOf(lower, os string, ua useragent.UserAgent) string {
	if device := find(devices[:], lower); device != Unknown {
		return device
	}
	mobile := ua.Mobile || strings.Contains(lower, "mobile") || strings.Contains(lower, "opera mini")
	switch os {
	case "Android":
		// Browsers on Android say "Mobile" on telephones and leave it out on tablets.
		if ua.Tablet || !strings.Contains(lower, "mobile") && !strings.Contains(lower, "opera mini") {
			return DeviceTablet
		}
		return DeviceMobile
	case "iOS", "HarmonyOS":
		if ua.Tablet || strings.Contains(lower, "tablet") {
			return DeviceTablet
		}
		return DeviceMobile
	case "Windows Phone", "KaiOS", "BlackBerry", "Tizen":
		return DeviceMobile
	case Unknown:
		if mobile {
			return DeviceMobile
		}
		return Unknown
	}
	return DeviceDesktop
}

// A mark is a piece of a user agent in lower case, and what it stands for. One that begins with "^" is a user agent's
// start.
type mark struct{ text, name string }

func (m mark) in(lower string) bool {
	if start, ok := strings.CutPrefix(m.text, "^"); ok {
		return strings.HasPrefix(lower, start)
	}
	return strings.Contains(lower, m.text)
}

// find returns the name of the first mark that the user agent has.
func find(marks []mark, lower string) string {
	for _, m := range marks {
		if m.in(lower) {
			return m.name
		}
	}
	return Unknown
}

// named returns what the library's name is called here; names that are not in the table are no names of browsers.
func named(names []mark, name string) string {
	for _, m := range names {
		if m.text == name {
			return m.name
		}
	}
	return Unknown
}

// Browsers returns every name that the browser of a person has besides Unknown, in no order and without repetition.
func Browsers() []string { return distinct([]mark{{name: "WebView"}}, browsers[:], browserNames[:]) }

// Systems returns every name that an operating system has besides Unknown.
func Systems() []string { return distinct(systems[:], systemNames[:]) }

// Bots returns every name that a bot has besides Unknown; it is shown as its browser.
func Bots() []string { return distinct(automata[:]) }

func distinct(tables ...[]mark) []string {
	var names []string
	seen := map[string]bool{Unknown: true}
	for _, table := range tables {
		for _, m := range table {
			if !seen[m.name] {
				seen[m.name] = true
				names = append(names, m.name)
			}
		}
	}
	return names
}
