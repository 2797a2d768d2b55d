package peer

import (
	"net/http"
	"slices"
	"testing"
)

func TestCall(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	resp, err := phone.client(nil, meter).Get("kindred://meter/properties/power")
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); resp.StatusCode != 200 || got != "good day, phone" {
		t.Errorf("got %d %q", resp.StatusCode, got)
	}
	who, ok := Callee(resp)
	if !ok || !who.Showed || !meter.public().Equal(who.Key) {
		t.Errorf("callee is %+v, %v", who, ok)
	}
	if who.Path.Kind != "loopback" || who.Path.Address != meter.Addresses()[1] || who.Path.Since.IsZero() {
		t.Errorf("path is %+v, want loopback %s", who.Path, meter.Addresses()[1])
	}
	waitFor(t, func() bool { // over TCP, the time there and back is measured beside the first call
		path, ok := phone.Path(meter.public())
		return ok && path.RTT > 0
	})
	if resp.Request.URL.String() != "kindred://meter/properties/power" {
		t.Errorf("the response is for %s", resp.Request.URL)
	}
}

func TestHelloOnceThenDigest(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	client := phone.client(nil, meter)
	ask := func() {
		t.Helper()
		if _, got := get(t, client, "kindred://meter/"); got != "good day, phone" {
			t.Fatalf("got %q", got)
		}
	}
	ask()
	ask() // on the same stream
	client.CloseIdleConnections()
	ask() // on another stream of the same connection: by digest, not verified again
	phone.renew("hello of phone, renewed")
	ask() // shown in full, on another stream
	ask()
	want := []string{"hello of phone", "hello of phone, renewed"}
	if got := meter.seen(); !slices.Equal(got, want) {
		t.Errorf("the meter verified %q, want %q", got, want)
	}
}

func TestStrangerIsRefused(t *testing.T) {
	p := newPlace(t)
	var served calls
	camera := p.join("camera", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) }))
	stranger := p.join("stranger", nil)
	stranger.renew("hello of phone")
	client := stranger.client(func(t *Target) { t.Check = nil }, camera)
	resp, err := client.Get("kindred://camera/properties/picture")
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); resp.StatusCode != 403 || got != "refused\n" {
		t.Errorf("got %d %q", resp.StatusCode, got)
	}
	if who, _ := Callee(resp); who.Showed {
		t.Error("the camera showed its hello to a stranger")
	}
	if served.Load() != 0 {
		t.Error("the handler ran")
	}
}
