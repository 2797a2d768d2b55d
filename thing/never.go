package thing

// ClassNever is the class of an affordance that is shown to nobody in clear on one owner's word alone: where somebody is,
// whether a door is open. It stands in a Thing Description as "kindred:class".
const ClassNever = "never"

// vocabulary is the prefix of the terms that are not the W3C's.
var vocabulary = map[string]string{"kindred": "https://github.com/kindred-iot/kindred/ns#"}

// Never puts what has one of these names, property, action or event, into the class that is never shown in clear on one
// owner's word. It panics where there is nothing of a name.
func (t *Thing) Never(names ...string) {
	for _, name := range names {
		p, e, a := t.properties[name], t.events[name], t.actions[name]
		if p == nil && e == nil && a == nil {
			panic("thing: nothing is declared that is called " + name)
		}
		if p != nil {
			p.class = ClassNever
		}
		if e != nil {
			e.class = ClassNever
		}
		if a != nil {
			a.class = ClassNever
		}
	}
}

// Never reports whether an affordance of this name, whatever it is, is of the class that is never shown in clear.
func (d Description) Never(name string) bool {
	return d.Properties[name].Class == ClassNever || d.Actions[name].Class == ClassNever || d.Events[name].Class == ClassNever
}
