package click

// automata are the marks of what is no person's browser: the special ones first, for the sake of their names. The library
// finds some more, which give an address.
var automata = [...]mark{
	// crawlers
	{"googlebot", "Googlebot"}, {"google-inspectiontool", "Google"}, {"googleother", "Google"}, {"adsbot-google", "Google"},
	{"mediapartners-google", "Google"}, {"feedfetcher-google", "Google"}, {"google-read-aloud", "Google"}, {"apis-google", "Google"},
	{"bingbot", "Bingbot"}, {"bingpreview", "Bingbot"}, {"duckduckbot", "DuckDuckBot"}, {"duckduckgo-favicons", "DuckDuckBot"},
	{"yandexbot", "YandexBot"}, {"yandex.com/bots", "YandexBot"}, {"baiduspider", "Baiduspider"}, {"applebot", "Applebot"},
	{"ahrefsbot", "AhrefsBot"}, {"semrushbot", "SemrushBot"}, {"mj12bot", "MJ12bot"}, {"dotbot", "DotBot"},
	{"petalbot", "PetalBot"}, {"sogou web spider", "Sogou"}, {"seznambot", "SeznamBot"}, {"qwantbot", "Qwantbot"}, {"yahoo! slurp", "Yahoo! Slurp"},
	{"archive.org_bot", "Internet Archive"}, {"ia_archiver", "Internet Archive"}, {"gptbot", "GPTBot"}, {"chatgpt-user", "OpenAI"},
	{"oai-searchbot", "OpenAI"}, {"claudebot", "ClaudeBot"}, {"claude-user", "ClaudeBot"}, {"claude-searchbot", "ClaudeBot"},
	{"ccbot/", "CCBot"}, {"perplexity", "PerplexityBot"}, {"bytespider", "Bytespider"}, {"amazonbot", "Amazonbot"},
	// fetchers of link previews
	{"meta-external", "Meta"}, {"facebookexternalhit", "Meta"}, {"facebookcatalog", "Meta"}, {"facebot", "Meta"},
	{"telegrambot", "TelegramBot"}, {"twitterbot", "Twitterbot"}, {"linkedinbot", "LinkedInBot"}, {"slackbot", "Slackbot"},
	{"slack-imgproxy", "Slackbot"}, {"discordbot", "Discordbot"}, {"whatsapp/", "WhatsApp"}, {"pinterestbot", "Pinterestbot"},
	{"redditbot", "Redditbot"}, {"skypeuripreview", "Skype"}, {"mastodon/", "Mastodon"}, {"embedly", Unknown}, {"iframely", Unknown},
	{"vkshare", Unknown}, {"bitlybot", Unknown},
	// monitors, headless browsers and what measures pages
	{"uptimerobot", "UptimeRobot"}, {"pingdom", "Pingdom"}, {"statuscake", "StatusCake"}, {"datadog", "Datadog"}, {"googlehc/", "GoogleHC"},
	{"elb-healthchecker", "ELB-HealthChecker"}, {"kube-probe", "kube-probe"}, {"blackbox", "Prometheus"}, {"^prometheus/", "Prometheus"},
	{"headless", "Headless Chrome"}, {"lighthouse", "Lighthouse"}, {"page speed", "PageSpeed"}, {"phantomjs", "PhantomJS"},
	// command line tools and libraries
	{"python", "Python"}, {"aiohttp/", "Python"}, {"httpx/", "Python"}, {"scrapy", "Scrapy"}, {"httpie/", "HTTPie"}, {"curl", "curl"}, {"wget", "Wget"},
	{"go-http-client", "Go"}, {"fasthttp", "Go"}, {"okhttp/", "OkHttp"}, {"apache-httpclient", "Java"}, {"java-http-client", "Java"},
	{"java/", "Java"}, {"^dalvik/", "Java"}, {"axios/", "Node.js"}, {"node-fetch", "Node.js"}, {"undici", "Node.js"}, {"^node", "Node.js"}, {"^got (", "Node.js"},
	{"deno/", "Node.js"}, {"bun/", "Node.js"}, {"postmanruntime", "Postman"}, {"insomnia/", "Insomnia"}, {"guzzlehttp", "PHP"}, {"php/", "PHP"},
	{"http.rb/", "Ruby"}, {"faraday", "Ruby"}, {"^ruby", "Ruby"}, {"libwww-perl", "Perl"}, {"lwp::", "Perl"}, {"powershell", "PowerShell"},
	{"reqwest", "Rust"}, {"hyper/", "Rust"}, {"dart/", "Dart"}, {"cfnetwork/", "Apple"}, {"winhttp", Unknown}, {"restsharp", Unknown}, {"^aria2/", Unknown},
	// load generators and scanners
	{"linktrail", Unknown}, {"^k6/", Unknown}, {"vegeta", Unknown}, {"^hey/", Unknown}, {"^wrk/", Unknown}, {"apachebench", Unknown}, {"jmeter", Unknown},
	{"locust", Unknown}, {"nmap", Unknown}, {"masscan", Unknown}, {"zgrab", Unknown}, {"nikto", Unknown}, {"sqlmap", Unknown}, {"censysinspect", Unknown},
	{"palo alto networks", Unknown},
	// what automata are called
	{"bot/", Unknown}, {"bot;", Unknown}, {"bot)", Unknown}, {"-bot", Unknown}, {"bot-", Unknown}, {"_bot_", Unknown}, {"crawler", Unknown},
	{"spider", Unknown}, {"scraper", Unknown}, {"monitor", Unknown}, {"preview", Unknown}, {"fetcher", Unknown}, {"validator", Unknown},
	{"archiver", Unknown}, {"uptime", Unknown},
}

// browsers are the marks of browsers, and of apps that show web pages themselves, which the library does not know or takes
// for others: those first that also bear another's mark.
var browsers = [...]mark{
	{"nintendo", "Nintendo Browser"}, {"playstation", "PlayStation"},
	{"fban/messenger", "Messenger"}, {"orca-android", "Messenger"}, {"instagram", "Instagram"}, {" barcelona ", "Threads"},
	{"bytedancewebview", "TikTok"}, {"musical_ly", "TikTok"}, {"[fban/", "Facebook"}, {"[fb_iab/", "Facebook"}, {"fbav/", "Facebook"},
	{"micromessenger", "WeChat"}, {" qq/", "QQ"}, {" line/", "LINE"}, {"kakaotalk", "KakaoTalk"}, {"snapchat/", "Snapchat"},
	{"[linkedinapp]", "LinkedIn"}, {"telegram-android/", "Telegram"}, {"[pinterest/", "Pinterest"}, {"twitter for ip", "X"},
	{"twitterandroid", "X"}, {" gsa/", "Google App"},
	{"opera mini", "Opera Mini"}, {" opios/", "Opera Mini"}, {" opx/", "Opera"}, {" opt/", "Opera"}, {"^opera/", "Opera"},
	{"duckduckgo/", "DuckDuckGo"}, {" ddg/", "DuckDuckGo"}, {"ecosia", "Ecosia"}, {"brave", "Brave"}, {"vivaldi/", "Vivaldi"},
	{"yabrowser/", "Yandex Browser"}, {"ucbrowser/", "UC Browser"}, {"qqbrowser/", "QQ Browser"}, {"whale/", "Whale"}, {"coc_coc_browser/", "Coc Coc"},
	{"huaweibrowser/", "Huawei Browser"}, {"miuibrowser/", "Mi Browser"}, {"vivobrowser/", "Vivo Browser"}, {"heytapbrowser/", "HeyTap Browser"},
	{"puffin/", "Puffin"}, {"silk/", "Silk"}, {"tizen", "Samsung Internet"},
	{"epiphany/", "GNOME Web"}, {"konqueror", "Konqueror"}, {"falkon/", "Falkon"}, {"seamonkey/", "SeaMonkey"}, {"palemoon/", "Pale Moon"},
	{"chromium/", "Chromium"}, {"trident/", "Internet Explorer"}, {"blackberry", "BlackBerry Browser"}, {"(bb10;", "BlackBerry Browser"},
	{"; wv)", "WebView"},
}

// browserNames are the library's names of browsers that are believed, and what they are called here.
var browserNames = [...]mark{
	{"Chrome", "Chrome"}, {"Safari", "Safari"}, {"Firefox", "Firefox"}, {"Edge", "Edge"}, {"Opera", "Opera"}, {"Samsung Browser", "Samsung Internet"},
	{"Internet Explorer", "Internet Explorer"}, {"Android browser", "Android Browser"},
}

// systems are the marks of operating systems that the library does not know or takes for others.
var systems = [...]mark{
	{"windows phone", "Windows Phone"}, {"playstation", "PlayStation"}, {"nintendo", "Nintendo"}, {"tizen", "Tizen"},
	{"web0s", "webOS"}, {"(webos;", "webOS"}, {"kaios/", "KaiOS"}, {"harmony", "HarmonyOS"}, {"blackberry", "BlackBerry"}, {"(bb10;", "BlackBerry"},
	{"openbsd", "OpenBSD"}, {"netbsd", "NetBSD"}, {"freebsd", "FreeBSD"}, {"; cros ", "ChromeOS"}, {"(ipod", "iOS"},
}

// systemNames are the library's names of operating systems that are believed.
var systemNames = [...]mark{{"Windows", "Windows"}, {"macOS", "macOS"}, {"iOS", "iOS"}, {"Android", "Android"}, {"Linux", "Linux"}}

// devices are the marks of devices that are neither a computer nor a telephone nor a tablet.
var devices = [...]mark{
	{"nintendo", DeviceConsole}, {"playstation", DeviceConsole}, {"xbox", DeviceConsole},
	{"smart-tv", DeviceTV}, {"smarttv", DeviceTV}, {"web0s", DeviceTV}, {"android tv", DeviceTV}, {"googletv", DeviceTV}, {"bravia", DeviceTV},
	{"; aft", DeviceTV}, {"crkey/", DeviceTV}, {"hbbtv/", DeviceTV}, {"netcast", DeviceTV}, {"roku/", DeviceTV}, {"apple tv", DeviceTV},
}
