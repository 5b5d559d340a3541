// Package consensus runs one node of a Raft group: it makes requests durable
// and ordered, and applies them to a StateMachine. A single node is a group of
// one; there is no other code path.
//
// Guarantees. A request that Propose answered was committed, is in the log of
// a majority on stable storage, and was applied once, in log order, as it is
// or will be on every replica. ReadIndex is linearizable. Nothing is answered
// or voted before it is synced (RULES E20); the log is truncated only behind
// what the state machine would keep through a power cut (E22). A log that
// fails to sync, an entry that fails its checksum and an Apply that fails halt
// the node: every waiting caller gets an error and Run returns it.
//
// Goroutines. Open starts none. Run owns them all: the loop (Raft, log, and
// network), the applier, the maintainer (flushing, what is durable), the
// fetcher (images) and the ticker. A Stepper drives the same steps by hand, in
// one goroutine and without time, for tests.
//
// The log keeps the entries, so the applier is handed only "apply up to n" and
// reads them back, usually from the log's cache: memory is bounded however far
// the state machine lags.
package consensus
