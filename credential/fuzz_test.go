package credential_test

import (
	"bytes"
	"testing"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// Nobody forges a signature. So whatever bytes are shown, what is accepted of them is what the home said.

func FuzzHello(f *testing.F) {
	h := household(f)
	lock := h.At("home/lock")
	hello := h.Hello("home/lock")
	f.Add(hello)
	short, err := credential.ParseHello(hello)
	if err != nil {
		f.Fatal(err)
	}
	data, err := short.Short().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{0xa0})
	trusted := h.Trusted()
	f.Fuzz(func(t *testing.T, data []byte) {
		hello, err := credential.ParseHello(data)
		if err != nil {
			return
		}
		if again, err := hello.Marshal(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x is read, and written as %x (%v)", data, again, err)
		}
		for _, p := range hello.Proofs {
			live, _, err := credential.VerifyProof(p, trusted, now)
			if err != nil {
				continue
			}
			who, err := credential.Verify(hello.Chain, lock.Signer.Public(), live)
			if err == nil && who.Member() != lock.Member() {
				t.Errorf("the lock is taken for %s", who.ID)
			}
		}
	})
}

func FuzzProof(f *testing.F) {
	h := household(f)
	proof := h.Prove(nil, h.At("home/lock"), h.At("sam/anna/phone"))
	data, err := proof.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{0xa0})
	trusted := h.Trusted()
	certificates := map[identity.MemberID]signed.Digest{}
	for e := range h.State.Members() {
		certificates[e.Chain.Member()] = e.Certificate
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := credential.ParseProof(data)
		if err != nil {
			return
		}
		if again, err := p.Marshal(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x is read, and written as %x (%v)", data, again, err)
		}
		live, next, err := credential.VerifyProof(p, trusted, now)
		if err != nil {
			if next.Sequence() != 0 {
				t.Errorf("%x is refused, and moves what is trusted to head %d", data, next.Sequence())
			}
			return
		}
		for _, e := range p.Entries {
			if m, ok := live.Member(e.Member); ok && m.Certificate != certificates[e.Member] {
				t.Errorf("%s has the certificate %s", e.Member, m.Certificate)
			}
		}
	})
}

func FuzzNotice(f *testing.F) {
	h := circle(f)
	lock := h.At("home/lock")
	leaf := leafOf(h, lock.Member())
	for _, signer := range []identity.Path{"sam/laptop", "sam/anna/phone"} {
		data, err := h.NoticeOfMember(h.At(signer), lock, now.Unix()).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	trusted := h.Trusted()
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := credential.ParseNotice(data)
		if err != nil {
			return
		}
		if again, err := n.Marshal(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x is read, and written as %x (%v)", data, again, err)
		}
		p, next, err := credential.VerifyNotice(n, trusted, now)
		if err == nil && (p.Leaf != leaf || !next.Strike(p).Revoked(leaf)) {
			t.Errorf("%x takes away %s", data, p.Leaf)
		}
	})
}

func FuzzTrusted(f *testing.F) {
	h := household(f)
	v := verifier{h.Trusted()}
	for _, look := range []bool{false, true} {
		if look {
			if _, err := v.see(h.Prove(nil), now); err != nil {
				f.Fatal(err)
			}
		}
		data, err := v.trusted.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		var s stored
		if err := signed.Unmarshal(data, &s); err != nil {
			f.Fatal(err)
		}
		f.Add(s.Body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		data := seal(t, body)
		trusted, err := credential.ParseTrusted(data)
		if err != nil {
			return
		}
		if again, err := trusted.Marshal(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x is read, and written as %x (%v)", data, again, err)
		}
	})
}
