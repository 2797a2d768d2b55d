package vault

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	sigAlgorithm = "AWS4-HMAC-SHA256"
	sigTime      = "20060102T150405Z"
	sigDay       = "20060102"
)

// sign signs a request to S3 in the way that Amazon calls Signature Version 4: all its headers, its path and query,
// which are as they will be sent, and the hash of its body.
func (c Credential) sign(req *http.Request, body []byte, region string, now time.Time) {
	now = now.UTC()
	sum := sha256.Sum256(body)
	payload := hex.EncodeToString(sum[:])
	req.Header.Set("X-Amz-Date", now.Format(sigTime))
	req.Header.Set("X-Amz-Content-Sha256", payload)
	if c.Session != "" {
		req.Header.Set("X-Amz-Security-Token", c.Session)
	}
	headers := map[string]string{"host": req.URL.Host}
	for name, values := range req.Header {
		headers[strings.ToLower(name)] = strings.TrimSpace(strings.Join(values, ","))
	}
	var canonical strings.Builder
	names := slices.Sorted(maps.Keys(headers))
	signed := strings.Join(names, ";")
	fmt.Fprintf(&canonical, "%s\n%s\n%s\n", req.Method, req.URL.EscapedPath(), req.URL.RawQuery)
	for _, name := range names {
		fmt.Fprintf(&canonical, "%s:%s\n", name, headers[name])
	}
	fmt.Fprintf(&canonical, "\n%s\n%s", signed, payload)

	scope := now.Format(sigDay) + "/" + region + "/s3/aws4_request"
	sum = sha256.Sum256([]byte(canonical.String()))
	text := strings.Join([]string{sigAlgorithm, now.Format(sigTime), scope, hex.EncodeToString(sum[:])}, "\n")
	key := []byte("AWS4" + c.Secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	req.Header.Set("Authorization", fmt.Sprintf("%s Credential=%s/%s,SignedHeaders=%s,Signature=%x",
		sigAlgorithm, c.ID, scope, signed, mac(key, text)))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
