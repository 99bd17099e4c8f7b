package door

import (
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/linkcache"
)

// lookup asks for a link that the process does not hold, unless too many wait for theirs already. Codes of which the
// process has never seen that there is a link have only a part of the places, so that a scanner leaves known ones theirs.
func (r *request) lookup(code string) (linkcache.Entry, error) {
	d := r.door
	waiting := d.lookups.Add(1)
	defer d.lookups.Add(-1)
	if waiting > int64(d.config.MaxLookups) {
		d.metrics.shed[shedLookups].Inc()
		return linkcache.Entry{}, tooMany()
	}
	if !d.deps.Links.Known(code) {
		if d.overload.refusesUnknown() {
			d.metrics.shed[shedOverload].Inc()
			return linkcache.Entry{}, tooMany()
		}
		unknown := d.unknown.Add(1)
		defer d.unknown.Add(-1)
		if unknown > int64(d.config.MaxUnknownLookups) {
			d.metrics.shed[shedUnknown].Inc()
			return linkcache.Entry{}, tooMany()
		}
	}
	l, err := d.deps.Links.Lookup(r.ctx, code)
	if link.KindOf(err) == link.KindNotFound {
		return linkcache.Entry{}, nil
	}
	return linkcache.Entry{Link: l, Found: true}, err
}

func tooMany() error {
	return &link.Error{Kind: link.KindUnavailable, Message: "too many requests at once, please try again"}
}
