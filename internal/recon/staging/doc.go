// Package staging says how a stage of Recon goes: its states and how one becomes
// another, what is kept of it in a file, when one that failed is tried again, and
// what a stage may take of the machine. A stage is a new generation in the making.
//
// Everything here is a function of what it is given: no clock, no files, no
// goroutines. Package recon does what it says.
package staging
