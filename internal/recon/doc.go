// Package recon follows an OM and keeps tables of what its namespace holds, so
// that questions about all of it have quick answers.
//
// A Service applies the OM's log to a generation, its replica and the tables
// derived from it, and answers from that. When the log cannot be followed any
// more, for whatever reason that waiting does not cure, it brings an image of the
// OM's state, builds a new generation from it beside the old one, brings that up
// to date and then switches: who looked at the old one goes on doing so, who looks
// next sees the new one. A generation that serves is never changed but by the log,
// and never taken away before there is another.
//
// Run owns all goroutines and ends them before it returns. Every other method is
// safe for concurrent use.
package recon
