package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

var jaegerKeys = keys{address: "TraceQuery.Jaeger", enable: "https in TraceQuery.Jaeger", ca: "the system's certificates", cert: "the proxy in front of it"}

func jaegerCheck(base string, _ []Service) check {
	return check{target: shownURL(base), run: func(ctx context.Context) (string, []Problem) { return examineJaeger(ctx, base) }}
}

// examineJaeger asks the query API, the one that Jaeger's own pages use, for the services that it knows.
func examineJaeger(ctx context.Context, base string) (string, []Problem) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return one(KindConfig, "write it as http://localhost:16686", "%q is not the URL of Jaeger's query service", shownURL(base))
	}
	shown := shownURL(base)
	const elsewhere = "use the URL of Jaeger's pages, port 16686 as a rule, with their base path where there is one"
	answer, p := get(ctx, u.JoinPath("api", "services").String(), jaegerKeys)
	if p != nil {
		return "", []Problem{*p}
	}
	if answer.code/100 != 2 {
		return "", []Problem{answer.fault(shown, elsewhere, "put user and password into its URL, or use one that asks for none", "use https://")}
	}
	var known struct {
		Data   *[]string
		Errors []struct{ Msg string }
	}
	if err := json.Unmarshal([]byte(answer.body), &known); err != nil || known.Data == nil && !strings.Contains(answer.body, `"data"`) {
		return one(KindProtocol, elsewhere, "%s is not Jaeger's query service: it answers %s", shown, answer)
	}
	for _, e := range known.Errors {
		return one(KindUnavailable, "look at Jaeger's log and its storage", "Jaeger answers that it cannot read: %s", shorten(e.Msg))
	}
	if known.Data == nil {
		return "its query API answers; no service has sent spans yet", nil
	}
	return fmt.Sprintf("its query API answers; it knows %s", number(len(*known.Data), "service")), nil
}
