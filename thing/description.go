package thing

// Description is a Thing Description (W3C TD 1.1, §5.3.1), as far as a
// servient of this package writes it.
type Description struct {
	Context             []any                         `json:"@context"`
	ID                  string                        `json:"id,omitempty"`
	Title               string                        `json:"title"`
	Description         string                        `json:"description,omitempty"`
	SecurityDefinitions map[string]SecurityScheme     `json:"securityDefinitions"`
	Security            []string                      `json:"security"`
	Base                string                        `json:"base,omitempty"`
	Properties          map[string]PropertyAffordance `json:"properties,omitempty"`
	Actions             map[string]ActionAffordance   `json:"actions,omitempty"`
	Events              map[string]EventAffordance    `json:"events,omitempty"`
}

// SecurityScheme says how a thing protects itself (TD 1.1, §5.3.3.1).
type SecurityScheme struct {
	Scheme      string `json:"scheme"`
	Description string `json:"description,omitempty"`
}

// PropertyAffordance describes a property (TD 1.1, §5.3.1.3).
type PropertyAffordance struct {
	Schema
	Class      string `json:"kindred:class,omitempty"`
	ReadOnly   bool   `json:"readOnly,omitempty"`
	Observable bool   `json:"observable,omitempty"`
	// URIVariables are what stands in braces in the forms' references (RFC 6570).
	URIVariables map[string]Schema `json:"uriVariables,omitempty"`
	Forms        []Form            `json:"forms"`
}

// ActionAffordance describes an action (TD 1.1, §5.3.1.4). A thing of this
// package answers when an action is done.
type ActionAffordance struct {
	Description string  `json:"description,omitempty"`
	Class       string  `json:"kindred:class,omitempty"`
	Input       *Schema `json:"input,omitempty"`
	Output      *Schema `json:"output,omitempty"`
	Synchronous bool    `json:"synchronous"`
	Forms       []Form  `json:"forms"`
}

// EventAffordance describes an event (TD 1.1, §5.3.1.5).
type EventAffordance struct {
	Description string  `json:"description,omitempty"`
	Class       string  `json:"kindred:class,omitempty"`
	Data        *Schema `json:"data,omitempty"`
	Forms       []Form  `json:"forms"`
}

// Form says where and how an operation is done (TD 1.1, §5.3.4.2).
type Form struct {
	Href        string `json:"href"`
	ContentType string `json:"contentType"`
	Subprotocol string `json:"subprotocol,omitempty"`    // SSE: server-sent events whose data is of the content type; MJPEG; connect-tcp, connect-udp: a service
	Method      string `json:"htv:methodName,omitempty"` // where it is not the one that the HTTP binding has for the operation
	Op          []Op   `json:"op"`
}

// The subprotocols of forms. MJPEG is no name of the W3C's: it says that the answer goes on, part after part, so that no
// client waits for its end.
const (
	SSE   = "sse"
	MJPEG = "mjpeg"
)

// FileVariable is the variable of the form by which a property's files are read.
const FileVariable = "file"

// Describe gives the Thing Description of what is declared so far.
func (t *Thing) Describe() Description {
	d := Description{
		// Clients for TD 1.0, node-wot among them, look for the first.
		Context:     []any{"https://www.w3.org/2019/wot/td/v1", "https://www.w3.org/2022/wot/td/v1.1", vocabulary},
		ID:          t.ID,
		Title:       t.Title,
		Description: t.Description,
		SecurityDefinitions: map[string]SecurityScheme{"transport": {
			Scheme:      "auto",
			Description: "The connection proves who calls; permission is decided for every request.",
		}},
		Security:   []string{"transport"},
		Base:       t.Base,
		Properties: map[string]PropertyAffordance{},
		Actions:    map[string]ActionAffordance{},
		Events:     map[string]EventAffordance{},
	}
	for name, p := range t.properties {
		d.Properties[name] = p.describe(name)
	}
	for name, a := range t.actions {
		d.Actions[name] = ActionAffordance{
			Description: a.description,
			Class:       a.class,
			Input:       a.input,
			Output:      a.output,
			Synchronous: true,
			Forms:       []Form{{Href: "actions/" + name, ContentType: jsonType, Op: []Op{OpInvokeAction}}},
		}
	}
	for name, s := range t.services {
		d.Actions[name] = s.describe()
	}
	for name, e := range t.events {
		d.Events[name] = EventAffordance{
			Description: e.description,
			Class:       e.class,
			Data:        new(e.schema),
			Forms:       []Form{streamForm("events/"+name, OpSubscribeEvent, "unsubscribeevent")},
		}
	}
	return d
}

func (p *property) describe(name string) PropertyAffordance {
	a := PropertyAffordance{Schema: p.schema, ReadOnly: p.write == nil, Observable: p.hub != nil || p.every > 0}
	a.Schema.Description, a.Class = p.description, p.class
	form := Form{Href: "properties/" + name, ContentType: p.contentType, Op: []Op{OpReadProperty}}
	if p.write != nil {
		form.Op = append(form.Op, OpWriteProperty)
	}
	a.Forms = []Form{form}
	if p.hub != nil {
		a.Forms = append(a.Forms, streamForm("properties/"+name+"/observe", OpObserveProperty, "unobserveproperty"))
	}
	if p.every > 0 {
		form := streamForm("properties/"+name+"/observe", OpObserveProperty, "unobserveproperty")
		form.ContentType, form.Subprotocol = framesType, MJPEG
		a.Forms = append(a.Forms, form)
	}
	if p.history != nil {
		moment := Schema{Type: "string", Format: "date-time"}
		a.URIVariables = map[string]Schema{
			FromVariable: moment, UntilVariable: moment,
			StepVariable: {Type: "string", Enum: stepNames[1:]},
			ZoneVariable: {Type: "string", Description: "IANA name of the time zone that steps begin and end in"},
		}
		a.Forms[0].Href += "{?" + FromVariable + "," + UntilVariable + "," + StepVariable + "," + ZoneVariable + "}"
	}
	if p.files != nil {
		a.URIVariables = map[string]Schema{FileVariable: {Type: "string", Description: "a name of the list"}}
		a.Forms = append(a.Forms, Form{
			Href: "files/" + name + "/{+" + FileVariable + "}", ContentType: "application/octet-stream", Op: []Op{OpReadProperty},
		})
	}
	return a
}

// streamForm describes a stream, which a client ends by closing it.
func streamForm(href string, begin, end Op) Form {
	return Form{Href: href, ContentType: jsonType, Subprotocol: SSE, Op: []Op{begin, end}}
}
