package thingtest

import "net/http"

// Cut returns a writer for an answer whose connection is cut once so many bytes of its body were written.
func Cut(w http.ResponseWriter, after int) http.ResponseWriter { return &cutWriter{w, after} }

type cutWriter struct {
	http.ResponseWriter
	left int
}

// Unwrap is for [http.ResponseController].
func (w *cutWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write writes p, or as much of it as is due, and then ends the handler.
func (w *cutWriter) Write(p []byte) (int, error) {
	if len(p) < w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	if _, err := w.ResponseWriter.Write(p[:w.left]); err == nil {
		_ = http.NewResponseController(w.ResponseWriter).Flush() // the other end may be gone
	}
	panic(http.ErrAbortHandler)
}
