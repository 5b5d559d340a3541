// Package task derives Recon's tables from the rows of the namespace. Each row
// contributes to counters, by itself, as its task says: the derived tables are
// the sums of what all rows contribute. So a table built from all rows at one
// index and brought forward by the changes since is the table built at the later
// index (Law 7); only the totals of whole subtrees need more, and Tree gives it.
//
// Rebuild owns the goroutines it starts and ends them before it returns; nothing
// else here starts any. Applying belongs to one goroutine.
package task
