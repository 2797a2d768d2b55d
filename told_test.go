package kindred

import (
	"net/http"
	"slices"
	"testing"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
)

// Members of its own tree are told what the router forwards to a member, others nothing.
func TestForwardsAreToldMembers(t *testing.T) {
	birch, oak := identity.TreeID{1}, identity.TreeID{2}
	mapped := []peer.Forward{
		{Address: "/ip4/9.9.9.9/udp/4711/quic-v1", By: "PCP", Door: peer.DoorOpen}, {Address: "/ip4/9.9.9.9/tcp/4711", By: "PCP"},
	}
	of := func(tree identity.TreeID) credential.Principal {
		return credential.Principal{Chain: identity.Chain{ID: identity.ID{Tree: tree}}}
	}
	if told := forwardsTold(of(oak), birch, mapped); told != nil {
		t.Errorf("somebody of another home is told %q", told)
	}
	told := forwardsTold(of(birch), birch, mapped)
	if want := []string{"/ip4/9.9.9.9/udp/4711/quic-v1 PCP", "/ip4/9.9.9.9/tcp/4711 PCP"}; !slices.Equal(told, want) {
		t.Errorf("a member is told %q, want %q", told, want)
	}
	h := http.Header{forwardedHeader: append([]string{"garbage", "/ip4/9.9.9.9/udp/4712/quic-v1 witchcraft"}, told...)}
	for address, want := range map[string]string{
		"/ip4/9.9.9.9/udp/4711/quic-v1": "PCP", "/ip4/9.9.9.9/tcp/4711": "PCP", "/ip4/9.9.9.9/udp/4712/quic-v1": "", "garbage": "",
	} {
		if by := forwardedAt(address, h); by != want {
			t.Errorf("the port at %s is said to be kept open by %q, want %q", address, by, want)
		}
	}
}
