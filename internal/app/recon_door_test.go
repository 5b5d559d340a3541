package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"o3/internal/access"
	"o3/internal/errs"
)

// onlyAnn is a store of principals with one user.
type onlyAnn struct{ broken error }

func (o onlyAnn) Secret(_ context.Context, id string) (string, access.Principal, error) {
	if o.broken != nil {
		return "", access.Principal{}, o.broken
	}
	if id != "ANN" {
		return "", access.Principal{}, errs.New(errs.NoSuchPrincipal, id, "")
	}
	return "secret", access.Principal{User: "ann"}, nil
}

func (o onlyAnn) User(context.Context, string) (access.Principal, error) {
	return access.Principal{}, errs.New(errs.NoSuchPrincipal, "", "")
}

// TestDoorBasic: a secret in the clear is taken over TLS and on loopback only,
// those who try wrong ones must wait, and that is noted of so many addresses only.
func TestDoorBasic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testDoorBasic)
}

func testDoorBasic(t *testing.T) {
	denied := map[string]int{}
	who := ""
	store := &onlyAnn{}
	d := newDoor(store, 0, func(how string) { denied[how]++ })
	in := d.to(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		who = access.FromContext(r.Context()).User
	}), nil)
	ask := func(from string, overTLS bool, id, secret string) int {
		r := httptest.NewRequest("GET", "/api/v1/clusterState", nil)
		r.RemoteAddr = from
		if overTLS {
			r.TLS = new(tls.ConnectionState)
		}
		r.SetBasicAuth(id, secret)
		w := httptest.NewRecorder()
		who = ""
		in.ServeHTTP(w, r)
		if (who == "ann") != (w.Code == 200) {
			t.Errorf("%d, and %q went in", w.Code, who)
		}
		return w.Code
	}
	for _, c := range []struct {
		from       string
		tls        bool
		id, secret string
		want       int
	}{
		{"127.0.0.1:5", false, "ANN", "secret", 200}, {"[::1]:5", false, "ANN", "secret", 200},
		{"192.0.2.1:5", false, "ANN", "secret", 403}, {"192.0.2.1:5", true, "ANN", "secret", 200},
		{"127.0.0.1:5", false, "ANN", "Secret", 401}, {"127.0.0.1:5", false, "ANN", "", 401}, {"127.0.0.1:5", false, "BOB", "", 401},
	} {
		if got := ask(c.from, c.tls, c.id, c.secret); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	for i := range wrongBurst + 1 {
		if got, want := ask("192.0.2.2:5", true, "ANN", "x"), map[bool]int{true: 401, false: 429}[i < wrongBurst]; got != want {
			t.Errorf("wrong secret %d: %d", i, got)
		}
	}
	if got := ask("192.0.2.2:6", true, "ANN", "secret"); got != 429 {
		t.Errorf("the right one after all the wrong ones: %d", got)
	}
	if got := ask("192.0.2.3:5", true, "ANN", "secret"); got != 200 {
		t.Errorf("from elsewhere: %d", got)
	}
	time.Sleep(time.Second / wrongRate)
	if got := ask("192.0.2.2:6", true, "ANN", "secret"); got != 200 {
		t.Errorf("the right one after a while: %d", got)
	}
	for i := range wrongKept + 10 {
		ask(fmt.Sprintf("10.%d.%d.1:5", i>>8, i&255), true, "ANN", "x")
	}
	if n := len(d.wrong); n > wrongKept {
		t.Errorf("%d addresses are remembered", n)
	}
	store.broken = errs.New(errs.Unavailable, "Recon", "it has not read the namespace yet")
	if got := ask("127.0.0.1:5", false, "ANN", "secret"); got != 503 {
		t.Errorf("without principals: %d", got)
	}
	if denied["basic"] < wrongBurst+3 || denied["throttled"] != 2 {
		t.Errorf("%v", denied)
	}
}
