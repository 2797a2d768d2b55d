package identity_test

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
)

// Which certificates are tools': those that say so, and not whatever app's is short because its owner's ends.
func TestTools(t *testing.T) {
	tr := home(t)
	end := now.Add(identitytest.Lifetime)
	for _, test := range []struct {
		name      string
		from, to  time.Time
		marked    bool
		wantTool  bool
		wantError string
	}{
		{name: "a tool", from: now.Add(-time.Hour), to: now.Add(24 * time.Hour), marked: true, wantTool: true},
		{name: "a tool of an owner who ends tomorrow", from: end.Add(-20 * time.Hour), to: end.Add(4 * time.Hour), marked: true, wantTool: true},
		{name: "a tool for longer", from: now.Add(-time.Hour), to: now.Add(24*time.Hour + time.Second), marked: true, wantError: "a tool is an app for 25h0m0s at most"},
		{name: "an app", from: now.Add(-time.Hour), to: now.Add(1000 * time.Hour)},
		{name: "an app of an owner who ends tomorrow", from: end.Add(-20 * time.Hour), to: end.Add(1000 * time.Hour)},
		{name: "a tool from before they said so", from: now.Add(-time.Hour), to: now.Add(24 * time.Hour), wantTool: true},
	} {
		raw, err := tr.Authority("sam").Issue(identity.Subject{
			Kind: identity.App, Tool: test.marked, Member: identity.MemberID{1}, Name: "tools", Key: identitytest.NewKey(t).Public(),
			NotBefore: test.from, NotAfter: test.to,
		})
		check(t, test.name, err, test.wantError)
		if err != nil {
			continue
		}
		c, err := identity.Verify(raw, tr.ID, tr.Root, test.from)
		if err != nil || c.Self().Tool() != test.wantTool {
			t.Errorf("%s: is a tool: %v, error %v", test.name, c.Kind() == identity.App && c.Self().Tool(), err)
		}
	}
	_, err := tr.Authority("home").Issue(identity.Subject{
		Kind: identity.Device, Tool: true, Member: identity.MemberID{1}, Name: "lock", Key: identitytest.NewKey(t).Public(),
		NotBefore: now, NotAfter: now.Add(time.Hour),
	})
	check(t, "a device", err, "a tool is an app")
}

// The mark of a tool is on an app's certificate, for a day, or the certificate is none of the tree's.
func TestForgedTool(t *testing.T) {
	tr := home(t)
	oidTool := asn1.ObjectIdentifier{2, 25, 1802071524, 3}
	for _, test := range []struct {
		name string
		kind identity.Kind
		by   identity.Path
		life time.Duration
		mark []byte
		want string // "": accepted
	}{
		{"in order", identity.App, "sam", identity.ToolLife, []byte{1, 1, 0xff}, ""},
		{"for longer", identity.App, "sam", identity.ToolLife + time.Second, []byte{1, 1, 0xff}, "marked as a tool's"},
		{"a device's", identity.Device, "home", time.Hour, []byte{1, 1, 0xff}, "marked as a tool's"},
		{"false", identity.App, "sam", time.Hour, []byte{1, 1, 0}, "marked as a tool's"},
		{"empty", identity.App, "sam", time.Hour, []byte{}, "marked as a tool's"},
		{"more", identity.App, "sam", time.Hour, []byte{1, 1, 0xff, 0}, "marked as a tool's"},
	} {
		by := tr.At(test.by)
		f := newForge(t, tr, by, test.kind, "tools")
		f.NotBefore, f.NotAfter = now, now.Add(test.life)
		f.ExtraExtensions = append(f.ExtraExtensions, pkix.Extension{Id: oidTool, Value: test.mark})
		c, err := identity.Verify(append([][]byte{f.make(t)}, by.Raw...), tr.ID, tr.Root, now)
		check(t, test.name, err, test.want)
		if err == nil && !c.Self().Tool() {
			t.Errorf("%s: it is no tool", test.name)
		}
	}
}
