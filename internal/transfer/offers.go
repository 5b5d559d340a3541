package transfer

import (
	"context"
	"net/http"
)

// Offer is what a source answers to the question what it has.
type Offer struct {
	Source string
	Listed []Info
	Chosen string // by Options.Choose; "" when none will do
	Err    error  // why it does not answer
}

// Offers asks every source once what it has, and changes nothing anywhere: it
// is for those who want to know whether a Fetch would work. Dir is not looked at.
func Offers(ctx context.Context, o Options) ([]Offer, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	own := newTransport(&o)
	defer own.CloseIdleConnections()
	var out []Offer
	for _, s := range o.Sources {
		c, err := newClient(s, &o, nil, sharedClient(own), func(int) {})
		if err != nil {
			return nil, err
		}
		offer := Offer{Source: c.name}
		if offer.Listed, err = c.list(ctx); err != nil {
			offer.Err = c.fault(err, nil, 0)
		} else {
			offer.Chosen = o.Choose(c.name, offer.Listed, "")
		}
		out = append(out, offer)
	}
	return out, nil
}

// sharedClient follows no redirect: credentials stay with the source.
func sharedClient(t *http.Transport) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
