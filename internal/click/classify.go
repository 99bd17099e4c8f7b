package click

// Classify sets c.Bot: whether the caller is an automaton, going by its user agent alone. Crawlers, fetchers of link
// previews, monitors, headless browsers, command line tools and HTTP libraries are bots, and so is a caller without a
// user agent, since every browser sends one.
func Classify(c *Click) {
	c.Bot = readAgent(c.UserAgent).bot
}
