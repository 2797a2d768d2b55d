package portmap

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A service is what a device offers, as its description has it (UPnP Device Architecture 1.1 §2.3).
type service struct {
	Type    string `xml:"serviceType"`
	Control string `xml:"controlURL"`
}

// forwarding are the services that forward ports.
var forwarding = []string{
	"urn:schemas-upnp-org:service:WANIPConnection:2",
	"urn:schemas-upnp-org:service:WANIPConnection:1",
	"urn:schemas-upnp-org:service:WANPPPConnection:1",
}

// maxServices is how many of them a router may have.
const maxServices = 8

// parseDescription returns the services of some types, wherever in a description they are, and what their addresses are
// relative to; "" is where the description was read.
func parseDescription(b []byte, types []string) (base string, found []service, err error) {
	for d := reader(b); len(found) < maxServices; {
		var token xml.Token
		if token, err = d.Token(); err == io.EOF {
			return base, found, nil
		}
		if start, ok := token.(xml.StartElement); err == nil && ok {
			switch start.Name.Local {
			case "URLBase":
				err = d.DecodeElement(&base, &start)
				base = strings.TrimSpace(base)
			case "service":
				var s service
				err = d.DecodeElement(&s, &start)
				s.Type, s.Control = strings.TrimSpace(s.Type), strings.TrimSpace(s.Control)
				if slices.Contains(types, s.Type) {
					found = append(found, s)
				}
			}
		}
		if err != nil {
			return "", nil, fmt.Errorf("the router's description: %w", err)
		}
	}
	return base, found, nil
}

// reader reads XML whatever it is said to be encoded in: what is wanted of it is ASCII.
func reader(b []byte) *xml.Decoder {
	d := xml.NewDecoder(bytes.NewReader(bytes.ToValidUTF8(b, []byte("?"))))
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	return d
}

// maxValue is how many bytes of a value in an answer are read.
const maxValue = 256

// parseAnswer returns the text of the first elements with some names. What is not there, or not to be read, is left out.
func parseAnswer(b []byte, names ...string) map[string]string {
	said := make(map[string]string)
	in := ""
	for d := reader(b); ; {
		token, err := d.Token()
		if err != nil {
			return said
		}
		switch t := token.(type) {
		case xml.StartElement:
			in = t.Name.Local
		case xml.EndElement:
			in = ""
		case xml.CharData:
			if _, known := said[in]; !known && slices.Contains(names, in) {
				said[in] = strings.TrimSpace(string(t[:min(len(t), maxValue)]))
			}
		}
	}
}

// envelope is a request in SOAP 1.1.
func envelope(service, action string, args [][2]string) []byte {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0"?>` + "\r\n" + `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ` +
		`s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:` + action + ` xmlns:u="` + service + `">`)
	for _, a := range args {
		b.WriteString("<" + a[0] + ">")
		_ = xml.EscapeText(&b, []byte(a[1])) // a bytes.Buffer takes everything
		b.WriteString("</" + a[0] + ">")
	}
	b.WriteString("</u:" + action + "></s:Body></s:Envelope>\r\n")
	return b.Bytes()
}
