package click

import "strings"

// Classify sets c.Bot: whether the caller is an automaton, going by its user agent alone. Crawlers, fetchers of link
// previews, monitors, headless browsers, command line tools and HTTP libraries are bots, and so is a caller without a
// user agent, since every browser sends one.
func Classify(c *Click) {
	c.Bot = readAgent(c.UserAgent).bot
}

// tools are marks of user agents, in lower case, that no browser has. The user agent library finds those which call
// themselves bot or give an address; these are the others.
var tools = [...]string{
	// what automata are called
	"bot/", "bot;", "bot)", "-bot", "bot-", "crawler", "spider", "scraper", "headless", "monitor", "preview", "fetcher",
	"validator", "archiver", "uptime",
	// fetchers of link previews
	"slackbot", "slack-imgproxy", "facebookexternalhit", "facebookcatalog", "meta-externalagent", "whatsapp/",
	"twitterbot", "discordbot", "telegrambot", "linkedinbot", "pinterestbot", "redditbot", "skypeuripreview",
	"embedly", "iframely", "vkshare", "bitlybot", "mastodon/", "http.rb/", "bingbot", "duckduckbot",
	"google-inspectiontool", "googleother", "google-read-aloud", "feedfetcher", "mediapartners", "adsbot",
	"yahoo! slurp", "ia_archiver", "lighthouse", "pingdom", "statuscake", "kube-probe", "blackbox", "phantomjs",
	// command line tools and libraries
	"curl/", "wget/", "libcurl", "httpie/", "aria2/", "go-http-client", "python-requests", "python-urllib", "python/",
	"aiohttp/", "httpx/", "scrapy", "okhttp/", "apache-httpclient", "java/", "java-http-client",
	"libwww-perl", "lwp::", "php/", "guzzlehttp", "ruby", "faraday", "node-fetch", "axios/", "undici", "got (", "deno/",
	"bun/", "dart/", "reqwest", "hyper/", "fasthttp", "postmanruntime", "insomnia/", "k6/", "vegeta", "hey/", "wrk/",
	"apachebench", "jmeter", "locust", "powershell", "winhttp", "restsharp", "nmap", "masscan", "zgrab", "nikto",
	"sqlmap", "linktrail",
}

func isTool(header string) bool {
	if strings.TrimSpace(header) == "" {
		return true
	}
	lower := strings.ToLower(header)
	for _, mark := range tools {
		if strings.Contains(lower, mark) {
			return !cubot(lower)
		}
	}
	return strings.HasSuffix(lower, "bot") && !cubot(lower)
}

// cubot tells a make of telephones from the bots that it is spelt like.
func cubot(lower string) bool {
	return strings.Contains(lower, "cubot") && strings.Contains(lower, "android")
}
