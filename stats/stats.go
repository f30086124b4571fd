// Package stats is what a node tells about itself: decayed counters, a page
// for people (/stats), the same for programs (/jsonstats), Prometheus
// (/metrics), and the token check in front of every control action.
//
// A role keeps [Counter] and [Timer] fields, and hands [Handler] functions
// that describe the moment: a [Page], a JSON value, a list of [Metric]. The
// functions run when somebody looks, so an unobserved role pays nothing but
// one atomic add per event.
//
// Nothing here may carry a prompt, an answer, a key or a token: pages are
// read over shoulders and end up in bug reports.
//
// Paths and JSON names are the reference network's (roles §2.11, §2.12).
package stats
