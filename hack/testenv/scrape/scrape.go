// Package scrape reads the metrics of a service.
package scrape

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Metrics are lines of Prometheus' text format.
type Metrics []string

// Get reads the metrics at a URL.
func Get(ctx context.Context, c *http.Client, url string) (Metrics, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	return strings.Split(string(body), "\n"), nil
}

// With are the series that have a label, as in method="GET".
func (m Metrics) With(label string) (list Metrics) {
	for _, line := range m {
		if strings.Contains(line, label) {
			list = append(list, line)
		}
	}
	return list
}

// Sum adds up all series of a name.
func (m Metrics) Sum(name string) (sum float64) {
	for _, line := range m {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err == nil {
			sum += value
		}
	}
	return sum
}
